//! Many runs, each of its own seed, on all cores.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::check::Failure;

/// Which seed alone to run: [`each_seed`] reads it from the environment, so that a failing test can be replayed.
pub const SEED_VARIABLE: &str = "CITY_CHAIN_SEED";

/// How many times as many seeds to run: a long search with the same scenarios. Without it there are as many as a build
/// without optimisation has time for.
pub const SEEDS_VARIABLE: &str = "CITY_CHAIN_SEEDS";

/// Runs `scenario` with `count` seeds from `first` on, on all cores, and returns what each gave, in the order of seeds. With
/// the environment variable [`SEED_VARIABLE`] set to a number only that seed runs, with [`SEEDS_VARIABLE`] set to one there
/// are so many times `count` seeds.
///
/// # Errors
/// The failure with the smallest seed; larger ones that have not begun by then do not run.
pub fn each_seed<T: Send>(
    first: u64,
    count: u64,
    scenario: impl Fn(u64) -> Result<T, Failure> + Send + Sync,
) -> Result<Vec<T>, Failure> {
    let number = |variable| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let (alone, times) = (number(SEED_VARIABLE), number(SEEDS_VARIABLE).unwrap_or(1).max(1));
    let count = count.saturating_mul(times);
    let seeds = alone.map_or(first..first.saturating_add(count), |seed| seed..seed.saturating_add(1));
    run_seeds(seeds, scenario)
}

pub(super) fn run_seeds<T: Send>(
    seeds: Range<u64>,
    scenario: impl Fn(u64) -> Result<T, Failure> + Send + Sync,
) -> Result<Vec<T>, Failure> {
    let failed = AtomicU64::new(u64::MAX);
    let run = |seed: u64| {
        if seed > failed.load(Ordering::Relaxed) {
            return None;
        }
        let outcome = scenario(seed);
        if outcome.is_err() {
            failed.fetch_min(seed, Ordering::Relaxed);
        }
        Some(outcome)
    };
    let outcomes: Vec<Option<Result<T, Failure>>> = seeds.into_par_iter().map(run).collect();
    outcomes.into_iter().flatten().collect()
}
