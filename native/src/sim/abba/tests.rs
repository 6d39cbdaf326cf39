//! Runs: what the page counts, and what it must survive.

use super::one::value;
use super::*;
use crate::sim::many::each_seed;
use crate::sim::{Crash, Failure, Faults, Moment, Network, Simulation, Stop, Storm};

type Outcome<T> = std::result::Result<T, Failure>;

const PATIENCE: u64 = 500_000;

fn agreements(seed: u64, nodes: u16, inputs: Inputs, liars: u16, network: Network, faults: Faults) -> Simulation {
    let made = Agreements::new(seed, nodes, inputs, liars, Scheme::Coin, PATIENCE).unwrap();
    let replay = format!("CITY_CHAIN_SEED={seed} cargo test --lib sim::abba");
    let run = Simulation::new(seed, nodes, network, faults, made).unwrap().with_replay(replay);
    match inputs {
        Inputs::Same(bit) => run.with_validity(Box::new(move |_, _, decided| {
            if *decided == value(bit) { Ok(()) } else { Err("decided what nobody held".into()) }
        })),
        Inputs::Split => run,
    }
}

/// A random schedule: no message is lost, and each takes 1 to 10 ms.
fn random() -> Network {
    Network { jitter: 9_000, ..Network::exact(1_000) }
}

/// Rounds until the first decision, and votes sent, in units of n².
fn measure(seed: u64, nodes: u16, inputs: Inputs) -> Outcome<(f64, f64)> {
    let mut run = agreements(seed, nodes, inputs, 0, random(), Faults::none());
    if run.run(20_000_000)? != Stop::Idle {
        return Err(run.fail("it has not ended"));
    }
    if (0..nodes).any(|node| run.agreement().count(node) != 1) {
        return Err(run.fail("somebody has not decided"));
    }
    // The first to decide does so by a coin, and has entered the next round, which are numbered from 0.
    let mut decided = run.trace().rows().iter().filter(|row| row.kind == "decided");
    let rounds = decided.next().map_or(0, |row| row.number);
    let votes = run.trace().messages_of(*b"CCab").messages;
    let squared = f64::from(nodes) * f64::from(nodes - 1);
    Ok((rounds as f64, votes as f64 / squared))
}

/// Means over seeds.
fn means(count: u64, nodes: u16, inputs: impl Fn(u64) -> Inputs + Sync + Send) -> (f64, f64) {
    let all = each_seed(0, count, |seed| measure(seed, nodes, inputs(seed))).unwrap();
    let mean = |pick: fn(&(f64, f64)) -> f64| all.iter().map(pick).sum::<f64>() / all.len() as f64;
    (mean(|one| one.0), mean(|one| one.1))
}

#[test]
fn countable_unanimous() {
    for nodes in [4, 7] {
        let (rounds, votes) = means(150, nodes, |seed| Inputs::Same(seed % 2 == 0));
        println!("\nunanimous, n = {nodes}: {rounds:.2} rounds, {votes:.2} n(n-1) votes");
        assert!((1.6..=2.4).contains(&rounds), "n = {nodes}: {rounds:.2} rounds where 2 are expected");
        assert!((6.5..=10.5).contains(&votes), "n = {nodes}: {votes:.2} n² votes where 7 to 10 are expected");
    }
}

#[test]
fn countable_split() {
    for nodes in [4, 7] {
        let (rounds, votes) = means(150, nodes, |_| Inputs::Split);
        println!("\nsplit, n = {nodes}: {rounds:.2} rounds, {votes:.2} n(n-1) votes");
        assert!((2.2..=3.4).contains(&rounds), "n = {nodes}: {rounds:.2} rounds where 2.7 to 3.0 are expected");
        assert!((9.0..=15.0).contains(&votes), "n = {nodes}: {votes:.2} n² votes where 10 to 14 are expected");
    }
}

fn ends(run: &mut Simulation, honest: u16) -> Outcome<()> {
    run.run(60_000_000)?;
    match (0..honest).find(|node| run.agreement().count(*node) == 0) {
        Some(node) => Err(run.fail(format!("party {node} has not decided"))),
        None => Ok(()),
    }
}

#[test]
fn coin_adaptive_scheduler_with_a_liar_that_says_e3_and_shows_bad_shares() {
    each_seed(0, 60, |seed| {
        let (nodes, liars) = if seed % 3 == 0 { (7, 2) } else { (4, 1) };
        let inputs = if seed % 4 == 0 { Inputs::Same(true) } else { Inputs::Split };
        let run = agreements(seed, nodes, inputs, liars, random(), Faults::none());
        let mut run = run.with_scheduler(Contrary::new(seed as u16 % (nodes - liars), 50_000));
        ends(&mut run, nodes - liars)
    })
    .unwrap();
}

#[test]
fn duplicates_reorder_and_loss() {
    each_seed(0, 40, |seed| {
        let network = Network { calm: Some(20_000_000), ..Network::hostile() };
        ends(&mut agreements(seed, 4, Inputs::Split, (seed % 2) as u16, network, Faults::none()), 3)
    })
    .unwrap();
}

#[test]
fn crashes_at_any_time_change_nothing() {
    each_seed(0, 40, |seed| {
        let storm = Storm { begin: 0, end: 400_000, every: 10_000, down: 20_000, at_once: 2 };
        let faults = Faults { crashes: Vec::new(), storm: Some(storm) };
        ends(&mut agreements(seed, 4, Inputs::Split, 0, random(), faults), 4)
    })
    .unwrap();
}

#[test]
fn a_node_that_comes_when_all_have_left() {
    each_seed(0, 20, |seed| {
        let crash = Crash { node: 1, when: Moment::At(1), restart: Some(5_000_000), wiped: true };
        let faults = Faults { crashes: vec![crash], storm: None };
        ends(&mut agreements(seed, 4, Inputs::Split, 0, random(), faults), 4)
    })
    .unwrap();
}

fn subsets(seed: u64, nodes: u16, config: Config, network: Network, faults: Faults) -> Simulation {
    let made = Subsets::new(seed, nodes, config).unwrap();
    let replay = format!("CITY_CHAIN_SEED={seed} cargo test --lib sim::abba");
    Simulation::new(seed, nodes, network, faults, made).unwrap().with_replay(replay)
}

#[test]
fn subsets_one_after_another() {
    let config = Config { slots: 3, batch: 64, scheme: Scheme::Coin, ..Config::default() };
    each_seed(0, 6, |seed| {
        let mut run = subsets(seed, 4, config, random(), Faults::none());
        run.run(60_000_000)?;
        let all = (0..4).all(|node| run.agreement().count(node) == 3);
        if all { Ok(()) } else { Err(run.fail("somebody has not three outcomes")) }
    })
    .unwrap();
}

#[test]
fn subsets_through_storms_and_losses() {
    let config = Config { slots: 1_000, batch: 64, scheme: Scheme::Coin, ..Config::default() };
    each_seed(0, 6, |seed| {
        let storm = Storm { begin: 0, end: 1_000_000, every: 100_000, down: 50_000, at_once: 1 };
        let network = Network { calm: Some(1_000_000), ..Network::hostile() };
        let mut run = subsets(seed, 4, config, network, Faults { crashes: Vec::new(), storm: Some(storm) });
        run.progress(2, 20_000_000)
    })
    .unwrap();
}

const FAULTS: [Fault; 6] =
    [Fault::Silent, Fault::Proposals, Fault::Echoes, Fault::Statements, Fault::Coins, Fault::Everything];

fn faulty_subsets(seed: u64, nodes: u16, count: u16, fault: Fault, slots: u64, network: Network) -> Simulation {
    let config = Config { slots, batch: 64, scheme: Scheme::Coin, ..Config::default() };
    let made = Subsets::new(seed, nodes, config).unwrap().with_faulty(count, fault).unwrap();
    let replay = format!("CITY_CHAIN_SEED={seed} cargo test --lib sim::abba");
    Simulation::new(seed, nodes, network, Faults::none(), made).unwrap().with_replay(replay)
}

/// Honest parties agree in every slot and get on, whatever f faulty ones say, each with real keys.
#[test]
fn faulty_parties_neither_fork_nor_stop_the_subsets() {
    each_seed(0, 24, |seed| {
        let fault = FAULTS[seed as usize % FAULTS.len()];
        let (nodes, count) = if seed % 8 == 7 { (7, 2) } else { (4, 1) };
        let mut run = faulty_subsets(seed, nodes, count, fault, 2, random());
        run.run(120_000_000)?;
        if let Some(node) = (0..nodes - count).find(|node| run.agreement().count(*node) != 2) {
            return Err(run.fail(format!("{fault:?}: party {node} has not two outcomes")));
        }
        let spoke = run.trace().sent().keys().any(|(node, _)| *node == nodes - 1);
        let refused: u64 = (0..nodes - count).map(|node| run.trace().notes(node, "refused")).sum();
        let noticed = matches!(fault, Fault::Proposals | Fault::Echoes | Fault::Everything);
        if spoke == (fault == Fault::Silent) || noticed && refused == 0 {
            return Err(run.fail(format!("{fault:?} did not do what it is for: {refused} refusals")));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digest = |seed| {
        let config = Config { slots: 1, batch: 64, ..Config::default() };
        let mut run = subsets(seed, 4, config, random(), Faults::none());
        run.run(60_000_000).unwrap();
        run.trace().digest().unwrap()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn what_is_no_run_is_refused() {
    assert!(Subsets::new(1, 4, Config { batch: 15, ..Config::default() }).is_err());
    assert!(Subsets::new(1, 4, Config { scheme: Scheme::Tdh2, ..Config::default() }).is_err());
    assert!(Agreements::new(1, 4, Inputs::Split, 4, Scheme::Coin, PATIENCE).is_err());
    assert!(Subsets::new(1, 4, Config::default()).unwrap().with_faulty(4, Fault::Silent).is_err());
}

#[test]
fn the_bytes_of_shares_and_queries_are_pinned() {
    use crate::crypto::hash::hex;
    use crate::primitives::wire::{self, Bytes};
    let share = Share { slot: 5, of: 2, round: 1, share: Bytes::new("share", vec![9]).unwrap() };
    assert_eq!(
        hex(&wire::encode(&share).unwrap()),
        "434367730100050000000000000002000100000001000000".to_owned() + "09"
    );
    assert_eq!(hex(&wire::encode(&Query { slot: 5 }).unwrap()), "4343737101000500000000000000");
}
