//! Who sits in which committee, and how large a committee must be.
//!
//! [`assign`] deals nodes to shards by a seeded permutation and moves at most so many of those who have a seat already.
//! Its seed must be one that nobody could bend (an output of the threshold coin keyed by the epoch). [`failure_log2`] is the
//! chance that a committee drawn without replacement has a third or more of faulty members.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::crypto::hash::{Digest, Hasher, hex};
use crate::error::{Error, Result};

/// The most nodes that are dealt at once.
pub const NODES_MAX: usize = 1 << 20;

/// The largest population for which chances are computed.
pub const POPULATION_MAX: u64 = 1 << 20;

const CONTEXT_NODE: &str = "city-chain v1 sc order of nodes";
const CONTEXT_PLACE: &str = "city-chain v1 sc order of places";

/// Positions 0 to `count` - 1 in an order that only the seed decides; `of` names what stands at a position.
fn shuffled(context: &'static str, seed: &Digest, count: usize, of: impl Fn(usize) -> Digest) -> Vec<usize> {
    let mut order: Vec<(Digest, usize)> =
        (0..count).map(|at| (Hasher::new(context).fixed(seed).fixed(&of(at)).finish(), at)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

/// Where a count stands among places that are alike.
fn numbered(at: usize, shard: u16) -> Digest {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&(at as u64).to_le_bytes());
    name[8..10].copy_from_slice(&shard.to_le_bytes());
    name
}

/// Deals `nodes` to the shards 0 to `shards` - 1: the shard of each, in the order of `nodes`.
///
/// Who had a seat in `previous` keeps it, but for at most `moves_max` of them: first those that shards of more than their
/// share (⌊N/S⌋ or ⌈N/S⌉) give up, then, to keep committees from ageing, a seeded draw of nodes that change places among
/// each other. Newcomers, and nodes whose shard is gone, are dealt to the free places and are no moves. With `moves_max` ≥ N
/// all are dealt anew.
///
/// # Errors
/// [`Error::Input`] if there are no shards, fewer nodes than shards, too many nodes, or a node stands twice.
pub fn assign(
    seed: &Digest,
    nodes: &[Digest],
    previous: &BTreeMap<Digest, u16>,
    shards: u16,
    moves_max: usize,
) -> Result<Vec<u16>> {
    check_nodes(nodes, shards)?;
    let order = shuffled(CONTEXT_NODE, seed, nodes.len(), |at| nodes[at]);
    let mut seats: Vec<Option<u16>> =
        nodes.iter().map(|node| previous.get(node).copied().filter(|shard| *shard < shards)).collect();
    let quotas = quotas(&seats, shards, seed);
    let mut moves = moves_max;
    let mut counts = counts(&seats, shards);
    for &at in order.iter().rev() {
        let Some(shard) = seats[at].map(usize::from) else { continue };
        if counts[shard] > quotas[shard] && moves > 0 {
            (counts[shard], moves) = (counts[shard] - 1, moves - 1);
            seats[at] = None;
        }
    }
    let kept: Vec<bool> = seats.iter().map(Option::is_some).collect();
    let free = free_places(&counts, &quotas, seed);
    let unseated = order.iter().copied().filter(|at| seats[*at].is_none());
    for (at, shard) in unseated.collect::<Vec<_>>().into_iter().zip(free) {
        seats[at] = Some(shard);
    }
    let movable: Vec<usize> = order
        .into_iter()
        .filter(|at| moves_max >= nodes.len() || kept[*at])
        .take(if moves_max >= nodes.len() { nodes.len() } else { moves })
        .collect();
    exchange(&mut seats, &movable, seed);
    Ok(seats.into_iter().map(|seat| seat.unwrap_or(0)).collect())
}

fn check_nodes(nodes: &[Digest], shards: u16) -> Result<()> {
    if shards == 0 || nodes.len() < usize::from(shards) || nodes.len() > NODES_MAX {
        return Err(Error::input(format!(
            "assign: {} nodes for {shards} shards; at least one shard, a node for each, and at most {NODES_MAX} nodes are \
             needed",
            nodes.len()
        )));
    }
    let mut sorted: Vec<&Digest> = nodes.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::input(format!("assign: the node {} stands twice", hex(pair[0])))),
        None => Ok(()),
    }
}

fn counts(seats: &[Option<u16>], shards: u16) -> Vec<usize> {
    let mut counts = vec![0; usize::from(shards)];
    for shard in seats.iter().flatten() {
        counts[usize::from(*shard)] += 1;
    }
    counts
}

/// How many each shard should have: the larger shares go to the shards that are fuller, so that fewer nodes move.
fn quotas(seats: &[Option<u16>], shards: u16, seed: &Digest) -> Vec<usize> {
    let counts = counts(seats, shards);
    let (share, larger) = (seats.len() / counts.len(), seats.len() % counts.len());
    let mut order = shuffled(CONTEXT_PLACE, seed, counts.len(), |at| numbered(at, 0));
    order.sort_by_key(|shard| std::cmp::Reverse(counts[*shard]));
    let mut quotas = vec![share; counts.len()];
    for shard in order.into_iter().take(larger) {
        quotas[shard] += 1;
    }
    quotas
}

/// The shards of the places that are free, in seeded order.
fn free_places(counts: &[usize], quotas: &[usize], seed: &Digest) -> Vec<u16> {
    let places: Vec<u16> = (0u16..)
        .zip(counts.iter().zip(quotas))
        .flat_map(|(shard, (count, quota))| std::iter::repeat_n(shard, quota.saturating_sub(*count)))
        .collect();
    let order = shuffled(CONTEXT_PLACE, seed, places.len(), |at| numbered(at, places[at]));
    order.into_iter().map(|at| places[at]).collect()
}

/// Deals the places of some nodes among them anew.
fn exchange(seats: &mut [Option<u16>], nodes: &[usize], seed: &Digest) {
    let places: Vec<Option<u16>> = nodes.iter().map(|at| seats[*at]).collect();
    let order = shuffled(CONTEXT_PLACE, seed, places.len(), |at| numbered(at, u16::MAX));
    for (node, place) in nodes.iter().zip(order) {
        seats[*node] = places[place];
    }
}

/// log₂ of the chance that of `members` drawn from `population` nodes, `faulty` of them faulty, more than ⌊(members - 1)/3⌋
/// are faulty: the tail of the hypergeometric distribution, every term of it, summed in logarithms. -∞ if it cannot be.
///
/// # Errors
/// [`Error::Input`] if `members` is 0 or there are not so many, or `faulty` exceeds the population.
pub fn failure_log2(population: u64, faulty: u64, members: u64) -> Result<f64> {
    let table = Logs::new(population, faulty)?;
    if members == 0 || members > population {
        return Err(Error::input(format!(
            "committee: {members} members of {population} nodes, 1 to {population} can be"
        )));
    }
    Ok(table.failure(members))
}

/// The least number of members with which [`failure_log2`] is at most `bound_log2` (1e-6 is -19.93).
///
/// # Errors
/// [`Error::Input`] as of [`failure_log2`], or if not even the whole population is enough.
pub fn committee_size(population: u64, faulty: u64, bound_log2: f64) -> Result<u64> {
    let table = Logs::new(population, faulty)?;
    if bound_log2.is_nan() {
        return Err(Error::input("committee: the bound is no number"));
    }
    (1..=population).find(|members| !table.exceeds(*members, bound_log2)).ok_or_else(|| {
        Error::input(format!(
            "committee: with {faulty} of {population} nodes faulty no committee is safe with a chance of failure of \
             2^{bound_log2:.2}, not even all nodes"
        ))
    })
}

/// Refuses a committee that fails with a greater chance than 2^`bound_log2`, naming the size that would do.
///
/// # Errors
/// [`Error::Input`] as of [`committee_size`], or if the committee is too small.
pub fn check_size(population: u64, faulty: u64, members: u64, bound_log2: f64) -> Result<()> {
    let chance = failure_log2(population, faulty, members)?;
    if chance <= bound_log2 {
        return Ok(());
    }
    let enough = committee_size(population, faulty, bound_log2)?;
    Err(Error::input(format!(
        "committee: {members} of {population} nodes, {faulty} of them faulty, fail with a chance of 2^{chance:.2}, and \
         2^{bound_log2:.2} is the bound: {enough} members would do"
    )))
}

/// How much of a sum rounding may be at most, as a share of it.
const CLOSE: f64 = 1e-6;

/// The share of a sum from which on terms are left out.
const NEGLIGIBLE: f64 = 1e-15;

/// log₂ of factorials up to the population.
struct Logs {
    factorials: Vec<f64>,
    faulty: usize,
}

impl Logs {
    fn new(population: u64, faulty: u64) -> Result<Self> {
        if population == 0 || population > POPULATION_MAX || faulty > population {
            return Err(Error::input(format!(
                "committee: {faulty} faulty of {population} nodes; 1 to {POPULATION_MAX} nodes, and no more faulty ones \
                 than there are, can be"
            )));
        }
        let mut factorials = vec![0.0f64];
        let mut sum = 0.0f64;
        let mut lost = 0.0f64; // Kahan's sum: what rounding left out
        for number in 1..=population {
            let term = (number as f64).log2() - lost;
            let next = sum + term;
            lost = (next - sum) - term;
            sum = next;
            factorials.push(sum);
        }
        Ok(Self { factorials, faulty: usize::try_from(faulty).unwrap_or(usize::MAX) })
    }

    fn choose(&self, of: usize, count: usize) -> f64 {
        self.factorials[of] - self.factorials[count] - self.factorials[of - count]
    }

    /// The numbers of faulty members with which a committee fails.
    fn failing(&self, members: usize) -> RangeInclusive<usize> {
        let good = self.factorials.len() - 1 - self.faulty;
        ((members - 1) / 3 + 1).max(members.saturating_sub(good))..=members.min(self.faulty)
    }

    /// log₂ of the number of committees with so many faulty members.
    fn term(&self, members: usize, bad: usize) -> f64 {
        let good = self.factorials.len() - 1 - self.faulty;
        self.choose(self.faulty, bad) + self.choose(good, members - bad)
    }

    fn failure(&self, members: u64) -> f64 {
        let (population, members) = (self.factorials.len() - 1, usize::try_from(members).unwrap_or(usize::MAX));
        let terms: Vec<f64> = self.failing(members).map(|bad| self.term(members, bad)).collect();
        let greatest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if greatest == f64::NEG_INFINITY {
            return greatest;
        }
        let sum: f64 = terms.iter().map(|term| (term - greatest).exp2()).sum();
        (greatest + sum.log2() - self.choose(population, members)).min(0.0)
    }

    /// Whether `failure` is above a bound. The terms are added from the greatest on, which shows most of what exceeds the
    /// bound after a few of them; what is too close to tell is computed in full.
    fn exceeds(&self, members: u64, bound_log2: f64) -> bool {
        let (population, count) = (self.factorials.len() - 1, usize::try_from(members).unwrap_or(usize::MAX));
        let range = self.failing(count);
        if range.is_empty() {
            return false; // a chance of 2^-∞
        }
        let mode = (count + 1) * (self.faulty + 1) / (population + 2);
        let peak = mode.clamp(*range.start(), *range.end());
        let greatest = self.term(count, peak) - self.choose(population, count);
        let enough = (bound_log2 - greatest).exp2() * (1.0 + CLOSE);
        self.add_up(count, peak, enough) > enough || self.failure(members) > bound_log2
    }

    /// The sum of the terms in units of that at `peak`, until it is more than `enough` or the rest is negligible.
    fn add_up(&self, members: usize, peak: usize, enough: f64) -> f64 {
        let (range, good) = (self.failing(members), self.factorials.len() - 1 - self.faulty);
        // What the term for one faulty member more is of the term for `bad`.
        let next = |bad: usize| {
            let (fewer, more) = ((self.faulty - bad) * (members - bad), (bad + 1) * (good + bad + 1 - members));
            fewer as f64 / more as f64
        };
        let upwards: &mut dyn Iterator<Item = f64> = &mut (peak..*range.end()).map(&next);
        let downwards: &mut dyn Iterator<Item = f64> = &mut (*range.start()..peak).rev().map(|bad| 1.0 / next(bad));
        let mut sum = 1.0;
        for ratios in [upwards, downwards] {
            let mut term = 1.0;
            for ratio in ratios {
                term *= ratio;
                sum += term;
                if sum > enough {
                    return sum;
                }
                if term < sum * NEGLIGIBLE {
                    break;
                }
            }
        }
        sum
    }
}
