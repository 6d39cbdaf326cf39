//! Seeded mutants: rules of the machines and proofs that are broken on purpose, one at a time, to see that a scenario
//! notices.
//!
//! `mutant!("hs.name")` stands in the sources where a rule is kept. Each is registered here with the scenario that must
//! kill it: clean, the scenario passes; with the rule broken, it panics or gives an error. The files of this folder hold
//! those of one machine each.
//!
//! ```text
//! cargo test -p city-chain-native --features mutants --test mutants -- --nocapture    # prints what killed each
//! ```

mod abba;
mod hs;
mod hvp;
mod pop;
mod sc;

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

use city_chain_native::primitives::mutant;

/// A fault's name, as it stands in the sources, and the scenario that notices it. The scenario runs in the calling thread
/// only: the switch does not reach others.
pub type Mutant = (&'static str, fn() -> Result<(), String>);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics inside [`outcome`] are expected: they print nothing.
fn hush() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into())
}

/// What a scenario says: an error of it or the text of its panic.
fn outcome(scenario: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    hush();
    let before = QUIET.replace(true);
    let said = panic::catch_unwind(AssertUnwindSafe(scenario));
    QUIET.set(before);
    said.unwrap_or_else(|panic| Err(text_of(&*panic)))
}

/// Runs every scenario clean and with its rule broken.
fn all_are_killed(mutants: &[Mutant]) {
    let mut faults = Vec::new();
    for &(name, scenario) in mutants {
        if let Err(error) = outcome(scenario) {
            faults.push(format!("{name}: the scenario fails without the mutant: {error}"));
        }
        match outcome(|| mutant::with(name, scenario)) {
            Ok(()) => faults.push(format!("{name}: survives")),
            Err(error) => println!("{name}: killed: {}", error.lines().next().unwrap_or_default()),
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn those_of_hotstuff_are_killed() {
    all_are_killed(hs::MUTANTS);
}

#[test]
fn those_of_abba_are_killed() {
    all_are_killed(abba::MUTANTS);
}

#[test]
fn those_of_the_overlay_are_killed() {
    all_are_killed(hvp::MUTANTS);
}

#[test]
fn those_of_places_are_killed() {
    all_are_killed(pop::MUTANTS);
}

#[test]
fn those_of_sharding_are_killed() {
    all_are_killed(sc::MUTANTS);
}

/// The names in `mutant!("…")` of the sources, sorted.
fn placed(folder: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            placed(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("primitives/mutant.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let found = source.split("mutant!(\"").skip(1).filter_map(|rest| rest.split_once('"'));
            names.extend(found.map(|(name, _)| name.to_string()));
        }
    }
}

#[test]
fn every_mutant_of_the_sources_has_its_scenario() {
    let mut names = Vec::new();
    placed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    let placed: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let all: Vec<&str> = [hs::MUTANTS, abba::MUTANTS, hvp::MUTANTS, sc::MUTANTS, pop::MUTANTS]
        .concat()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let registered: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(registered.len(), all.len(), "a mutant is registered twice");
    assert_eq!(placed, registered);
    assert!(all.len() >= 20, "{} mutants of all machines together", all.len());
}

#[test]
fn the_harness_sees_errors_panics_and_survivors() {
    assert_eq!(outcome(|| Ok(())), Ok(()));
    assert_eq!(outcome(|| Err("error".into())), Err("error".into()));
    assert_eq!(outcome(|| panic!("panic {}", 1)), Err("panic 1".into()));
    let notices = || if mutant::is_on("of.the.test") { Err("on".into()) } else { Ok(()) };
    all_are_killed(&[("of.the.test", notices)]);
    assert!(outcome(|| mutant::with("another", notices)).is_ok() && !mutant::is_on("another"));
    for (scenario, word) in [(always as fn() -> Result<(), String>, "without the mutant"), (never, "survives")] {
        let said = outcome(|| {
            all_are_killed(&[("of.the.test", scenario)]);
            Ok(())
        });
        assert!(said.unwrap_err().contains(word));
    }
}

fn always() -> Result<(), String> {
    Err("always".into())
}

fn never() -> Result<(), String> {
    Ok(())
}
