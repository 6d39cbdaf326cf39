//! The order of one origin's broadcasts: what comes too early is held back until what is missing comes, or for a while.

use std::collections::{BTreeMap, BTreeSet};

use super::message::PeerId;
use super::{Action, Config};

/// The most origins whose order is known; the one that was silent for longest is forgotten.
const ORIGINS_MAX: usize = 4096;

/// The most broadcasts that are held back, of all origins together.
const HELD_MAX: usize = 1024;

/// The most bytes of these.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Clone)]
struct Origin {
    life: u64,
    next: u64,
    held: BTreeMap<u64, Action>,
    gap_at: Option<u64>,
    used: u64,
}

/// Where every origin stands.
#[derive(Clone, Default)]
pub struct Order {
    origins: BTreeMap<PeerId, Origin>,
    gaps: BTreeSet<(u64, PeerId)>,
    held: usize,
    bytes: usize,
    uses: u64,
}

fn weight(action: &Action) -> usize {
    match action {
        Action::Deliver { payload, .. } => payload.len(),
        _ => 0,
    }
}

impl Order {
    /// Takes in a broadcast, number `number` of a life of `peer`, and puts into `out` what may be handed on.
    pub fn take(
        &mut self,
        now: u64,
        (peer, life, number): (PeerId, u64, u64),
        action: Action,
        config: &Config,
        out: &mut Vec<Action>,
    ) {
        self.make_room(&peer, out);
        self.uses += 1;
        let fresh = Origin { life, next: 1, held: BTreeMap::new(), gap_at: None, used: 0 };
        let origin = self.origins.entry(peer).or_insert(fresh);
        origin.used = self.uses;
        if life > origin.life {
            self.release(&peer, true, out);
            if let Some(origin) = self.origins.get_mut(&peer) {
                (origin.life, origin.next) = (life, 1);
            }
        }
        let Some(origin) = self.origins.get_mut(&peer) else { return };
        if life < origin.life || number < origin.next {
            return;
        }
        self.bytes += weight(&action);
        self.held += 1;
        if let Some(twice) = origin.held.insert(number, action) {
            self.bytes -= weight(&twice);
            self.held -= 1;
        }
        self.release(&peer, false, out);
        while self.held > HELD_MAX || self.bytes > HELD_BYTES_MAX {
            self.skip(&peer, out);
        }
        self.set_gap(now, &peer, config);
    }

    /// Forgets the origin that was silent for longest if there are too many; what it holds back is handed on first.
    fn make_room(&mut self, peer: &PeerId, out: &mut Vec<Action>) {
        if self.origins.len() < ORIGINS_MAX || self.origins.contains_key(peer) {
            return;
        }
        let silent = self.origins.iter().min_by_key(|(_, origin)| origin.used).map(|(peer, _)| *peer);
        if let Some(silent) = silent {
            self.release(&silent, true, out);
            self.origins.remove(&silent);
        }
    }

    /// Hands on what is next of an origin; with `all`, over every gap.
    fn release(&mut self, peer: &PeerId, all: bool, out: &mut Vec<Action>) {
        let Some(origin) = self.origins.get_mut(peer) else { return };
        while let Some(first) = origin.held.first_entry() {
            if !all && *first.key() != origin.next {
                break;
            }
            origin.next = first.key().saturating_add(1);
            let action = first.remove();
            self.held -= 1;
            self.bytes -= weight(&action);
            out.push(action);
        }
        if let Some(at) = origin.gap_at.filter(|_| origin.held.is_empty() || all) {
            self.gaps.remove(&(at, *peer));
            origin.gap_at = None;
        }
    }

    /// Gives the first gap of an origin up.
    fn skip(&mut self, peer: &PeerId, out: &mut Vec<Action>) {
        let Some(origin) = self.origins.get_mut(peer) else { return };
        if let Some(first) = origin.held.keys().next() {
            origin.next = *first;
        }
        if let Some(at) = origin.gap_at.take() {
            self.gaps.remove(&(at, *peer));
        }
        self.release(peer, false, out);
    }

    fn set_gap(&mut self, now: u64, peer: &PeerId, config: &Config) {
        let Some(origin) = self.origins.get_mut(peer) else { return };
        if !origin.held.is_empty() && origin.gap_at.is_none() {
            let at = now.saturating_add(config.gap_us);
            origin.gap_at = Some(at);
            self.gaps.insert((at, *peer));
        }
    }

    /// Gives up the gaps whose time is over.
    pub fn tick(&mut self, now: u64, config: &Config, out: &mut Vec<Action>) {
        while let Some((_, peer)) = self.gaps.first().copied().filter(|(at, _)| *at <= now) {
            self.skip(&peer, out);
            self.set_gap(now, &peer, config);
        }
    }

    /// When a gap is given up next.
    pub fn deadline(&self) -> Option<u64> {
        self.gaps.first().map(|(at, _)| *at)
    }

    /// How many broadcasts are held back.
    pub fn len(&self) -> usize {
        self.held
    }
}
