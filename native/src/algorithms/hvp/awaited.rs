//! Announced ids that are awaited: who has announced them and when they are asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Announced, PeerId};
use super::{AWAITED_MAX, AWAITED_PEER_MAX, Config, MessageId};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;

/// One who says that it has a broadcast.
#[derive(Clone)]
pub struct Announcer {
    /// Who.
    pub peer: PeerId,
    /// Over how many links it had come to it.
    pub hops: u8,
    asked: bool,
}

#[derive(Clone)]
struct Wait {
    announcers: Vec<Announcer>,
    ends: u64,
    at: u64,
}

/// Awaited ids.
#[derive(Clone, Default)]
pub struct Awaited {
    waits: BTreeMap<MessageId, Wait>,
    due: BTreeSet<(u64, MessageId)>,
    counts: BTreeMap<PeerId, usize>,
    total: usize,
}

impl Awaited {
    /// Notes what `peer` has announced; `new` are the ids not seen yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if not all of them fit; then none is noted.
    pub fn announce(&mut self, now: u64, peer: &PeerId, new: &[Announced], config: &Config) -> Result<()> {
        let fresh: BTreeMap<MessageId, u8> = new
            .iter()
            .filter(|announced| !self.names(&announced.id, peer))
            .map(|announced| (announced.id, announced.hops))
            .collect();
        let of_peer = self.counts.get(peer).copied().unwrap_or(0);
        let free = AWAITED_PEER_MAX.saturating_sub(of_peer).min(AWAITED_MAX.saturating_sub(self.total));
        if fresh.len() > free && !mutant!("hvp.awaited-bound") {
            return Err(Error::unavailable("hvp: room for announced ids", fresh.len() as u64, free as u64));
        }
        if fresh.is_empty() {
            return Ok(());
        }
        self.total += fresh.len();
        *self.counts.entry(*peer).or_default() += fresh.len();
        for (id, hops) in fresh {
            let wait = self.waits.entry(id).or_insert_with(|| {
                let at = now.saturating_add(config.graft_us.min(config.awaited_us));
                self.due.insert((at, id));
                Wait { announcers: Vec::new(), ends: now.saturating_add(config.awaited_us), at }
            });
            wait.announcers.push(Announcer { peer: *peer, hops, asked: false });
        }
        Ok(())
    }

    fn names(&self, id: &MessageId, peer: &PeerId) -> bool {
        self.waits.get(id).is_some_and(|wait| wait.announcers.iter().any(|announcer| announcer.peer == *peer))
    }

    /// The broadcast has come: who had announced it.
    pub fn arrived(&mut self, id: &MessageId) -> Vec<Announcer> {
        let Some(wait) = self.waits.remove(id) else { return Vec::new() };
        self.due.remove(&(wait.at, *id));
        for announcer in &wait.announcers {
            self.uncount(&announcer.peer, 1);
        }
        wait.announcers
    }

    fn uncount(&mut self, peer: &PeerId, by: usize) {
        self.total = self.total.saturating_sub(by);
        if let Some(count) = self.counts.get_mut(peer) {
            *count = count.saturating_sub(by);
            if *count == 0 {
                self.counts.remove(peer);
            }
        }
    }

    /// A neighbour is no more: so is what it has announced.
    pub fn forget(&mut self, peer: &PeerId) {
        let Some(count) = self.counts.get(peer).copied() else { return };
        self.uncount(peer, count);
        let due = &mut self.due;
        self.waits.retain(|id, wait| {
            wait.announcers.retain(|announcer| announcer.peer != *peer);
            if wait.announcers.is_empty() {
                due.remove(&(wait.at, *id));
            }
            !wait.announcers.is_empty()
        });
    }

    /// What is to be asked for now, and of whom: each id of the first who was not asked for it yet.
    pub fn due(&mut self, now: u64, config: &Config) -> BTreeMap<PeerId, Vec<MessageId>> {
        let mut asks: BTreeMap<PeerId, Vec<MessageId>> = BTreeMap::new();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            let Some(wait) = self.waits.get_mut(&id) else { continue };
            if wait.ends <= now {
                self.arrived(&id);
                continue;
            }
            wait.at = wait.ends;
            if let Some(next) = wait.announcers.iter_mut().find(|announcer| !announcer.asked) {
                next.asked = true;
                asks.entry(next.peer).or_default().push(id);
                wait.at = now.saturating_add(config.graft_again_us).min(wait.ends);
            }
            self.due.insert((wait.at, id));
        }
        asks
    }

    /// When something is due next.
    pub fn deadline(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many announcements are held.
    pub fn len(&self) -> usize {
        self.total
    }
}
