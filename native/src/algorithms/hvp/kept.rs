//! Ids that were seen, and broadcasts kept for those who ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::message::{Announced, PeerId};
use super::{Config, MessageId};
use crate::primitives::mutant::mutant;

/// How many answers for one broadcast are remembered; after that it is given to nobody any more.
const ANSWERS_MAX: usize = 64;

/// Ids in two generations: when the young one is full it becomes the old one, and that is forgotten.
#[derive(Clone, Default)]
pub struct Seen {
    young: BTreeSet<MessageId>,
    old: BTreeSet<MessageId>,
}

impl Seen {
    /// Whether an id was seen.
    pub fn contains(&self, id: &MessageId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    /// Notes an id; `most` is that of both generations together.
    pub fn insert(&mut self, id: MessageId, most: usize) {
        if self.young.len() >= most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[derive(Clone)]
struct Kept {
    message: Arc<[u8]>,
    hops: u8,
    /// Who was given it, in which of its lives.
    given: Vec<(PeerId, u64)>,
}

/// What a GRAFT for an id gets.
#[derive(Clone)]
pub enum Answer {
    /// The broadcast.
    Give(Arc<[u8]>),
    /// It is not there any more, or never was.
    Unknown,
    /// The peer has had it.
    Given,
}

/// Broadcasts by id, the oldest dropped first.
#[derive(Clone, Default)]
pub struct Cache {
    kept: BTreeMap<MessageId, Kept>,
    order: VecDeque<MessageId>,
    bytes: usize,
}

impl Cache {
    /// Keeps the bytes that are sent on; `hops` is over how many links they came here.
    pub fn insert(&mut self, id: MessageId, message: &Arc<[u8]>, hops: u8, config: &Config) {
        if config.cache == 0 || message.len() > config.cache_bytes || self.kept.contains_key(&id) {
            return;
        }
        self.bytes += message.len();
        self.order.push_back(id);
        self.kept.insert(id, Kept { message: message.clone(), hops, given: Vec::new() });
        while !mutant!("hvp.cache-bound") && (self.kept.len() > config.cache || self.bytes > config.cache_bytes) {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(kept) = self.kept.remove(&oldest) {
                self.bytes -= kept.message.len();
            }
        }
    }

    /// What `peer` gets for an id, and notes that it got it.
    pub fn give(&mut self, id: &MessageId, peer: (PeerId, u64)) -> Answer {
        let Some(kept) = self.kept.get_mut(id) else { return Answer::Unknown };
        if !mutant!("hvp.graft-once") && (kept.given.contains(&peer) || kept.given.len() >= ANSWERS_MAX) {
            return Answer::Given;
        }
        kept.given.push(peer);
        Answer::Give(kept.message.clone())
    }

    /// The newest ids, oldest of them first.
    pub fn newest(&self, count: usize) -> Vec<Announced> {
        let from = self.order.len().saturating_sub(count);
        let announced = |id: &MessageId| self.kept.get(id).map(|kept| Announced { id: *id, hops: kept.hops });
        self.order.iter().skip(from).filter_map(announced).collect()
    }

    /// How many are kept, and their bytes.
    pub fn len(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }
}
