//! HyParView's experiments: the steady state, crashes of a share of all nodes, attackers, what returns after that.

use rayon::prelude::*;

use super::attack::eclipsed;
use super::graph::{Flood, Graph};
use super::overlay::{Detection, Overlay};
use super::setup::{CYCLES_MAX, Setup, check};
use super::watch::Watch;
use crate::error::Result;
use crate::sim::Rng;

/// The largest share that crashes, percent.
pub(super) const CRASHED_MAX: u32 = 99;

/// The largest share of attackers, percent.
const ATTACKERS_MAX: u32 = 50;

/// From how many nodes floods are measured.
const FLOODS: usize = 100;

/// As many draws of a crash are made as leave so many nodes together, but no more than some.
const COUNTED: u32 = 5_000;
const DRAWS_MAX: u32 = 10;

/// How long after a crash its effects are measured: less than the first half of a cycle, so that few have shuffled.
const AFTER_US: u64 = 4_000_000;

/// How many broadcasts are sent after a crash that is found by sending only, and how far apart.
const SENT: u32 = 50;
const SENT_EVERY_US: u64 = 80_000;

/// How many well-known contacts there are in [`rejoin`].
const SERVERS: u32 = 8;

/// The steady state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steady {
    /// Nodes.
    pub nodes: u32,
    /// Whether every node can reach every other: into how many parts the overlay falls.
    pub components: usize,
    /// The mean clustering coefficient.
    pub clustering: f64,
    /// The mean length of a shortest path, from the nodes that were drawn to all.
    pub shortest_path: f64,
    /// The mean of links to a node, the least and the most.
    pub in_degree: (f64, u32, u32),
    /// The mean of contacts in reserve.
    pub passive: f64,
    /// The share of links that both ends have.
    pub symmetric: f64,
    /// Copies of a flooded message beyond one for each node, per node.
    pub flood_rmr: f64,
    /// The mean of the most hops that a flooded message needs.
    pub flood_last_hop: f64,
    /// Messages of the membership, for each node and cycle, from the first join on.
    pub messages: f64,
    /// Bytes of these.
    pub bytes: f64,
}

/// What a crash of a share of all nodes left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crashed {
    /// How failures were detected.
    pub detection: Detection,
    /// The share that crashed, percent.
    pub percent: u32,
    /// Nodes that are left.
    pub left: u32,
    /// How often it was drawn who crashes; the rest are means.
    pub draws: u32,
    /// The share of those left that a message reaches.
    pub reliability: f64,
    /// Parts that the overlay falls into.
    pub components: f64,
    /// Nodes without a neighbour.
    pub alone: f64,
}

/// What attackers came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eclipse {
    /// Honest nodes.
    pub honest: u32,
    /// Attackers.
    pub attackers: u32,
    /// Honest nodes without an honest neighbour.
    pub eclipsed: u32,
    /// The attackers' share of places in the views of honest nodes.
    pub places: f64,
    /// Honest nodes in the largest part that honest links join.
    pub largest: usize,
}

/// How an overlay came together again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Nodes that are left.
    pub nodes: u32,
    /// Parts right after what tore it.
    pub components_then: usize,
    /// Parts in the end.
    pub components: usize,
    /// How long it took until there was one part, µs; none if that did not come.
    pub one_us: Option<u64>,
}

/// Measures a steady overlay.
pub fn steady(setup: &Setup, overlay: &Overlay) -> Steady {
    let graph = overlay.graph();
    let floods = graph.floods(FLOODS, &mut Rng::new(setup.seed, "hvp: floods", 0));
    let degrees = graph.in_degrees();
    let nodes = graph.len();
    let spent = overlay.now() as f64 / setup.cycle_us() as f64 * nodes as f64;
    let passive: usize = overlay.honest().into_iter().map(|node| overlay.passive(node).len()).sum();
    Steady {
        nodes: nodes as u32,
        components: graph.components().len(),
        clustering: graph.clustering(),
        shortest_path: mean(&floods, |flood| flood.hops as f64 / (flood.reached as f64 - 1.0).max(1.0)),
        in_degree: (
            graph.links() as f64 / nodes as f64,
            degrees.iter().min().copied().unwrap_or(0),
            degrees.iter().max().copied().unwrap_or(0),
        ),
        passive: passive as f64 / nodes as f64,
        symmetric: graph.symmetric(),
        flood_rmr: mean(&floods, |flood| flood.messages as f64 / (flood.reached as f64 - 1.0).max(1.0) - 1.0),
        flood_last_hop: mean(&floods, |flood| f64::from(flood.last_hop)),
        messages: overlay.sent().membership() as f64 / spent,
        bytes: overlay.bytes() as f64 / spent,
    }
}

/// Crashes a share of the nodes of copies of `overlay` at once, and measures how many of the others a message reaches.
///
/// With closed connections that is the mean over floods some seconds after the crash, before most nodes shuffle again. If
/// failures are found on sending, broadcasts are sent for as long, and the mean is over them. Where few nodes are left, the mean
/// is over several draws of who crashes: a single one would say little.
///
/// # Errors
/// As the machines', or if the watcher stops it.
pub fn crash(setup: &Setup, overlay: &Overlay, detection: Detection, percent: u32, watch: &Watch) -> Result<Crashed> {
    let left = overlay.len() - setup.draw(percent, 0, "hvp: crash", &[]).len() as u32;
    let draws = (COUNTED / left.max(1)).clamp(1, DRAWS_MAX);
    let mut all = Crashed { detection, percent, left, draws, reliability: 0.0, components: 0.0, alone: 0.0 };
    for draw in 0..draws {
        let mut overlay = overlay.clone();
        overlay.detect(detection);
        overlay.crash(&setup.draw(percent, draw, "hvp: crash", &[]));
        let mut rng = Rng::new(setup.seed, "hvp: after a crash", u64::from(percent) << 32 | u64::from(draw));
        let reliability = match detection {
            Detection::ClosedConnections => {
                overlay.run(overlay.now() + AFTER_US);
                reached(&overlay.graph(), &mut rng)
            }
            Detection::FoundOnSend => broadcasts(&mut overlay, &mut rng)?,
        };
        watch.go_on()?;
        let graph = overlay.graph();
        let alone = (0..graph.len()).filter(|node| graph.of(*node).is_empty()).count();
        all.reliability += reliability / f64::from(draws);
        all.components += graph.components().len() as f64 / f64::from(draws);
        all.alone += alone as f64 / f64::from(draws);
    }
    watch.step()?;
    Ok(all)
}

/// All of these crashes, on all cores.
///
/// # Errors
/// As [`crash`], and [`Error::Input`] for a share above 99 percent.
pub fn crashes(setup: &Setup, overlay: &Overlay, shares: &[(Detection, u32)], watch: &Watch) -> Result<Vec<Crashed>> {
    shares.iter().try_for_each(|(_, percent)| check("percent that crash", *percent, CRASHED_MAX))?;
    watch.plan(shares.len() as u64);
    shares.par_iter().map(|(detection, percent)| crash(setup, overlay, *detection, *percent, watch)).collect()
}

fn broadcasts(overlay: &mut Overlay, rng: &mut Rng) -> Result<f64> {
    let left = overlay.honest();
    let mut ids = Vec::new();
    for _ in 0..SENT {
        let Some(from) = left.get(rng.below(left.len() as u64) as usize) else { break };
        ids.push(overlay.broadcast(*from, b"after the crash")?);
        overlay.run(overlay.now() + SENT_EVERY_US);
    }
    overlay.run(overlay.now() + SENT_EVERY_US * 4);
    let shares = ids.iter().filter_map(|id| overlay.told(id)).map(|told| f64::from(told.reached) / left.len() as f64);
    Ok(shares.sum::<f64>() / ids.len().max(1) as f64)
}

fn reached(graph: &Graph, rng: &mut Rng) -> f64 {
    mean(&graph.floods(FLOODS, rng), |flood| flood.reached as f64 / graph.len() as f64)
}

fn mean(floods: &[Flood], of: impl Fn(&Flood) -> f64) -> f64 {
    floods.iter().map(of).sum::<f64>() / floods.len().max(1) as f64
}

/// An overlay that has settled, to which attackers come that are `percent` of all nodes, after all cycles.
///
/// # Errors
/// As the machines', or if the watcher stops it; [`Error::Input`] for more than 50 percent.
pub fn eclipse(setup: &Setup, percent: u32, watch: &Watch) -> Result<Eclipse> {
    check("percent of attackers", percent, ATTACKERS_MAX)?;
    let attackers = setup.draw(percent, 0, "hvp: attackers", &[0]);
    let overlay = setup.attacked(&attackers, watch)?;
    let (eclipsed, places) = eclipsed(&overlay);
    Ok(Eclipse {
        honest: overlay.honest().len() as u32,
        attackers: attackers.len() as u32,
        eclipsed,
        places,
        largest: overlay.graph().components().first().copied().unwrap_or(0),
    })
}

/// A crash of `percent` of the nodes, when everybody knows a few contacts that survive it.
///
/// # Errors
/// As the machines', or if the watcher stops it.
pub fn rejoin(setup: &Setup, overlay: &Overlay, percent: u32, cycles: u32, watch: &Watch) -> Result<Returned> {
    check("percent that crash", percent, CRASHED_MAX)?;
    check("cycles", cycles, CYCLES_MAX)?;
    let mut overlay = overlay.clone();
    let servers: Vec<u32> = (0..SERVERS.min(setup.nodes)).collect();
    for node in overlay.honest() {
        overlay.join(node, &servers.iter().copied().filter(|server| *server != node).collect::<Vec<_>>())?;
    }
    overlay.run(overlay.now() + setup.cycle_us());
    overlay.crash(&setup.draw(percent, 0, "hvp: crash", &servers));
    overlay.run(overlay.now() + AFTER_US);
    together(setup, overlay, cycles, watch)
}

/// The network is cut into halves for `cut` cycles, then it heals; from then on nodes join again over contacts of before, one
/// in a hundred of each side, as operators make them.
///
/// # Errors
/// As the machines', or if the watcher stops it.
pub fn partition(setup: &Setup, overlay: &Overlay, cut: u32, cycles: u32, watch: &Watch) -> Result<Returned> {
    check("cycles", cut.max(cycles), CYCLES_MAX)?;
    let mut overlay = overlay.clone();
    let mut rng = Rng::new(setup.seed, "hvp: partition", 0);
    overlay.cut((0..setup.nodes).map(|_| rng.below(2) as u8).collect());
    watch.plan(u64::from(cut));
    setup.pass(&mut overlay, cut, watch)?;
    overlay.heal();
    together(setup, overlay, cycles, watch)
}

/// Waits for one part.
fn together(setup: &Setup, mut overlay: Overlay, cycles: u32, watch: &Watch) -> Result<Returned> {
    watch.plan(u64::from(cycles));
    let begin = overlay.now();
    let parts = |overlay: &Overlay| overlay.graph().components().len();
    let components_then = parts(&overlay);
    let mut components = components_then;
    let mut one_us = (components == 1).then_some(0);
    for _ in 0..cycles {
        if one_us.is_none() {
            setup.pass(&mut overlay, 1, watch)?;
            components = parts(&overlay);
            one_us = (components == 1).then(|| overlay.now() - begin);
        } else {
            watch.step()?;
        }
    }
    Ok(Returned { nodes: overlay.honest().len() as u32, components_then, components, one_us })
}
