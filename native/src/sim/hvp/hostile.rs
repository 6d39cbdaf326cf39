//! Announcements of broadcasts that do not exist, at one node of an overlay.

use super::overlay::Overlay;
use super::setup::Setup;
use super::watch::Watch;
use crate::algorithms::hvp::message::{Announced, Control, control};
use crate::algorithms::hvp::{IDS_MAX, MessageId, Stats};
use crate::error::{Error, Result};
use crate::primitives::wire::List;
use crate::sim::Rng;

/// The most ids that are made up.
pub const FABRICATED_MAX: u64 = 100_000_000;

/// The time between two announcements of a neighbour, µs.
const APART_US: u64 = 2_000;

/// How many announcements are a step for a watcher.
const STEP: u64 = 1_000;

/// What a node held while its neighbours made up ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fabricated {
    /// Ids that were announced.
    pub announced: u64,
    /// Of these, those in announcements that the node refused.
    pub refused: u64,
    /// The most that it held at any time: ids that it waited for,
    pub awaited: usize,
    /// ids remembered as seen,
    pub seen: usize,
    /// and actions waiting.
    pub outbox: usize,
    /// Ids that it still waited for when all that is remembered for a time had been forgotten.
    pub awaited_after: usize,
    /// How many nodes the next broadcast reached, of how many.
    pub reached: (u32, u32),
}

/// All neighbours of one node announce `count` ids that nobody has, all different, one neighbour after another.
///
/// # Errors
/// [`Error::Input`] for more than [`FABRICATED_MAX`]; as the machines', or if the watcher stops it.
pub fn fabricated(setup: &Setup, overlay: &Overlay, count: u64, watch: &Watch) -> Result<Fabricated> {
    if count > FABRICATED_MAX {
        return Err(Error::input(format!("fabricated: {count} ids, at most {FABRICATED_MAX} are allowed")));
    }
    watch.plan(count.div_ceil(IDS_MAX as u64 * STEP));
    let mut overlay = overlay.clone();
    let mut rng = Rng::new(setup.seed, "hvp: fabricated", 0);
    let victim = rng.below(u64::from(overlay.len())) as u32;
    let mut most = Stats::default();
    let (mut announced, mut refused, mut messages) = (0, 0, 0u64);
    while announced < count {
        let neighbours = overlay.active(victim);
        let Some(from) = neighbours.get(messages as usize % neighbours.len().max(1)) else { break };
        let ids = (count - announced).min(IDS_MAX as u64);
        let outcome = overlay.inject(*from, victim, &made_up(ids, &mut rng)?);
        refused += if outcome.is_err() { ids } else { 0 };
        announced += ids;
        messages += 1;
        note(&overlay, victim, &mut most);
        overlay.run(overlay.now() + APART_US);
        if messages.is_multiple_of(STEP) {
            watch.step()?;
        }
    }
    overlay.run(overlay.now() + setup.cycle_us() * 4);
    let after = overlay.machine(victim).map(crate::algorithms::hvp::Hvp::stats).unwrap_or_default();
    let id = overlay.broadcast(victim, b"a true one")?;
    overlay.run(overlay.now() + setup.cycle_us());
    let reached = overlay.told(&id).map_or(0, |told| told.reached);
    Ok(Fabricated {
        announced,
        refused,
        awaited: most.awaited,
        seen: most.seen,
        outbox: most.outbox,
        awaited_after: after.awaited,
        reached: (reached, overlay.honest().len() as u32),
    })
}

fn made_up(count: u64, rng: &mut Rng) -> Result<Vec<u8>> {
    let one = |_| {
        let mut id = MessageId::default();
        rng.fill(&mut id);
        Announced { id, hops: 1 }
    };
    control(Control::IHave { announced: List::new("fabricated", (0..count).map(one).collect())? })
}

fn note(overlay: &Overlay, victim: u32, most: &mut Stats) {
    if let Some(stats) = overlay.machine(victim).map(crate::algorithms::hvp::Hvp::stats) {
        most.awaited = most.awaited.max(stats.awaited);
        most.seen = most.seen.max(stats.seen);
        most.outbox = most.outbox.max(stats.outbox);
    }
}
