//! Plumtree's experiments: what a broadcast costs with one sender and with many, and how a tree heals.

use rayon::prelude::*;

use super::kind::Sent;
use super::membership::CRASHED_MAX;
use super::overlay::{Detection, Overlay, Told};
use super::setup::{Setup, check};
use super::watch::Watch;
use crate::algorithms::hvp::MessageId;
use crate::error::Result;
use crate::sim::Rng;

/// The time between two broadcasts whose cost is measured, µs: long enough for every announcement and answer.
const APART_US: u64 = 1_500_000;

/// The time between two broadcasts while a tree heals, µs.
const HEALING_APART_US: u64 = 500_000;

/// For how long a healing is looked at, µs.
const HEALING_US: u64 = 30_000_000;

/// The most broadcasts of each kind whose costs are measured.
pub const BROADCASTS_MAX: u32 = 1_000;

/// What broadcasts came to, as a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// How many were sent.
    pub sent: u32,
    /// The share of nodes that got one.
    pub reliability: f64,
    /// Copies beyond one for each node that got it, per node (relative message redundancy).
    pub rmr: f64,
    /// The most hops to a node.
    pub last_hop: f64,
    /// Until the last node had it, µs.
    pub last_us: f64,
    /// IHAVE, GRAFT and PRUNE for each node.
    pub control: f64,
}

/// Broadcasts in a steady overlay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trees {
    /// The very first one, which floods and so makes the tree.
    pub first: Costs,
    /// Those of the same sender after it.
    pub single: Costs,
    /// Those of senders drawn by chance, after these.
    pub many: Costs,
}

/// How broadcasts went on after a crash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Healed {
    /// How failures were detected.
    pub detection: Detection,
    /// The share that crashed, percent.
    pub percent: u32,
    /// Nodes that are left.
    pub left: u32,
    /// The share of them that got the first broadcast after it, sent at once.
    pub first: f64,
    /// The share that got the last one.
    pub last: f64,
    /// From the crash to the first broadcast from which on all got as many as the last, µs.
    pub healed_us: u64,
    /// Copies beyond one for each node, per node, over all of them.
    pub rmr: f64,
}

/// Sends broadcasts in a copy of a steady overlay: one, `count` by the same sender, `count` by others.
///
/// # Errors
/// As the machines', or if the watcher stops it.
pub fn trees(setup: &Setup, overlay: &Overlay, count: u32, watch: &Watch) -> Result<Trees> {
    check("broadcasts", count, BROADCASTS_MAX)?;
    watch.plan(u64::from(count) * 2 + 1);
    let mut overlay = overlay.clone();
    let mut rng = Rng::new(setup.seed, "hvp: senders", 0);
    let honest = overlay.honest();
    let sender = honest[rng.below(honest.len() as u64) as usize];
    let first = costs(&mut overlay, 1, || sender, watch)?;
    let single = costs(&mut overlay, count, || sender, watch)?;
    let many = costs(&mut overlay, count, || honest[rng.below(honest.len() as u64) as usize], watch)?;
    Ok(Trees { first, single, many })
}

fn costs(overlay: &mut Overlay, count: u32, mut sender: impl FnMut() -> u32, watch: &Watch) -> Result<Costs> {
    overlay.forget_counts();
    let nodes = overlay.honest().len() as f64;
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(overlay.broadcast(sender(), b"a batch's root")?);
        overlay.run(overlay.now() + APART_US);
        watch.step()?;
    }
    let told = all_told(overlay, &ids);
    let mean = |of: fn(&Told) -> f64| told.iter().map(of).sum::<f64>() / told.len().max(1) as f64;
    let sent: &Sent = overlay.sent();
    Ok(Costs {
        sent: count,
        reliability: mean(|told| f64::from(told.reached)) / nodes,
        rmr: redundancy(sent, &told),
        last_hop: mean(|told| f64::from(told.last_hop)),
        last_us: mean(|told| (told.last_at - told.sent_at) as f64),
        control: sent.control() as f64 / told.len().max(1) as f64 / nodes,
    })
}

fn all_told(overlay: &Overlay, ids: &[MessageId]) -> Vec<Told> {
    ids.iter().filter_map(|id| overlay.told(id)).collect()
}

/// Copies sent, over those that somebody needed, beyond one.
fn redundancy(sent: &Sent, told: &[Told]) -> f64 {
    let needed: u64 = told.iter().map(|told| u64::from(told.reached) - 1).sum();
    if needed == 0 { 0.0 } else { sent.payloads() as f64 / needed as f64 - 1.0 }
}

/// Builds a tree in a copy of a steady overlay, crashes a share of its nodes, and goes on sending, from one node that is left.
///
/// # Errors
/// As the machines', or if the watcher stops it.
pub fn heal(setup: &Setup, overlay: &Overlay, detection: Detection, percent: u32, watch: &Watch) -> Result<Healed> {
    let mut overlay = overlay.clone();
    overlay.detect(detection);
    let gone = setup.draw(percent, 0, "hvp: crash", &[]);
    let sender = overlay.honest().into_iter().find(|node| !gone.contains(node)).unwrap_or(0);
    for _ in 0..5 {
        overlay.broadcast(sender, b"before the crash")?;
        overlay.run(overlay.now() + APART_US);
    }
    overlay.forget_counts();
    overlay.crash(&gone);
    let (begin, left) = (overlay.now(), overlay.honest().len() as u32);
    let mut ids = Vec::new();
    while overlay.now() < begin + HEALING_US {
        ids.push(overlay.broadcast(sender, b"after the crash")?);
        overlay.run(overlay.now() + HEALING_APART_US);
        watch.go_on()?;
    }
    overlay.run(overlay.now() + APART_US);
    watch.step()?;
    let told = all_told(&overlay, &ids);
    let reached = |told: Option<&Told>| told.map_or(0.0, |told| f64::from(told.reached) / f64::from(left));
    let last = told.last().map_or(0, |told| told.reached);
    let healed = told.iter().rposition(|told| told.reached < last).map_or(0, |at| at + 1);
    Ok(Healed {
        detection,
        percent,
        left,
        first: reached(told.first()),
        last: reached(told.last()),
        healed_us: told.get(healed).map_or(0, |told| told.sent_at - begin),
        rmr: redundancy(overlay.sent(), &told),
    })
}

/// All of these, on all cores.
///
/// # Errors
/// As [`heal`].
pub fn healings(setup: &Setup, overlay: &Overlay, shares: &[(Detection, u32)], watch: &Watch) -> Result<Vec<Healed>> {
    shares.iter().try_for_each(|(_, percent)| check("percent that crash", *percent, CRASHED_MAX))?;
    watch.plan(shares.len() as u64);
    shares.par_iter().map(|(detection, percent)| heal(setup, overlay, *detection, *percent, watch)).collect()
}
