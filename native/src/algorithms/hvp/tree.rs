//! Plumtree: broadcasts go along eager links, their ids along the others, and who lacks one asks for it.

use std::sync::Arc;

use super::awaited::Announcer;
use super::kept::Answer;
use super::machine::Hvp;
use super::message::{Announced, Control, Gossip, HOPS_AT, PeerId};
use super::{Action, HOPS_MAX, IDS_MAX, MessageId, Trust};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, Bytes, List};

impl Hvp {
    /// Sends a broadcast to all; returns its id. It is not delivered here. Without links it is kept for those to come.
    ///
    /// # Errors
    /// [`Error::Input`] for a payload above [`super::PAYLOAD_MAX`] or a topic above [`super::TOPIC_MAX`] bytes, and before
    /// [`Hvp::join`]; [`Error::Unavailable`] if too many actions wait to be drained.
    pub fn broadcast(&mut self, now: u64, topic: &[u8], payload: &[u8]) -> Result<MessageId> {
        self.room()?;
        if !self.is_joined() {
            return Err(Error::input("hvp: a broadcast before join or after leave"));
        }
        let mut gossip = Gossip {
            hops: 1,
            origin: self.me.id,
            life: self.me.sequence,
            number: self.number + 1,
            signature: [0; 64],
            topic: Bytes::new("hvp broadcast: topic", topic.to_vec())?,
            payload: Bytes::new("hvp broadcast: payload", payload.to_vec())?,
        };
        let id = gossip.id();
        if let Trust::Signed(key) = &self.trust {
            gossip.sign(key, &id, &self.config.network);
        }
        let message: Arc<[u8]> = wire::encode(&gossip)?.into();
        let now = self.advance(now);
        self.number += 1;
        self.keep(id, &message, 0);
        self.spread(now, None, id, &message, 0, &[]);
        Ok(id)
    }

    /// A broadcast comes over a link.
    pub(super) fn take_gossip(&mut self, now: u64, sender: &PeerId, message: &[u8], gossip: Gossip) -> Result<()> {
        let at = self.neighbour(sender, "a broadcast")?;
        let id = gossip.id();
        if self.seen.contains(&id) {
            self.duplicates += 1;
            self.active[at].eager = false;
            self.say(*sender, Control::Prune);
            return Ok(());
        }
        if matches!(self.trust, Trust::Signed(_)) && !mutant!("hvp.origin") {
            gossip.verify(&id, &self.config.network)?;
        }
        let announcers = self.awaited.arrived(&id);
        let hops = gossip.hops;
        let mut relayed: Arc<[u8]> = message.into();
        if let Some(bytes) = Arc::get_mut(&mut relayed) {
            bytes[HOPS_AT] = hops.saturating_add(1).min(HOPS_MAX);
        }
        self.keep(id, &relayed, hops);
        self.active[at].eager = true;
        self.spread(now, Some(sender), id, &relayed, hops, &announcers);
        self.optimize(sender, hops, &announcers);
        self.deliver(now, id, gossip);
        Ok(())
    }

    fn keep(&mut self, id: MessageId, message: &Arc<[u8]>, hops: u8) {
        self.seen.insert(id, self.config.dedup);
        self.cache.insert(id, message, hops, &self.config);
    }

    fn deliver(&mut self, now: u64, id: MessageId, gossip: Gossip) {
        if gossip.origin == self.me.id {
            return; // of an earlier life of this node
        }
        let place = (gossip.origin, gossip.life, gossip.number);
        let (topic, payload) = (gossip.topic.into_vec(), gossip.payload.into_vec());
        self.count_delivered(payload.len());
        let action = Action::Deliver { id, origin: gossip.origin, hops: gossip.hops, topic, payload };
        if self.config.ordered {
            self.order.take(now, place, action, &self.config, &mut self.outbox);
        } else {
            self.outbox.push(action);
        }
    }

    /// Pushes a broadcast over eager links and notes it for the others. Who has announced it has it.
    fn spread(
        &mut self,
        now: u64,
        sender: Option<&PeerId>,
        id: MessageId,
        message: &Arc<[u8]>,
        hops: u8,
        announcers: &[Announcer],
    ) {
        for at in 0..self.active.len() {
            let peer = self.active[at].contact.id;
            if Some(&peer) == sender || announcers.iter().any(|announcer| announcer.peer == peer) {
                continue;
            }
            if self.active[at].eager {
                self.send(peer, message.clone());
            } else {
                self.announce(now, at, Announced { id, hops });
            }
        }
    }

    /// Notes an id to be announced over a link.
    fn announce(&mut self, now: u64, at: usize, announced: Announced) {
        let link = &mut self.active[at];
        link.announce.push(announced);
        if link.announce.len() >= IDS_MAX {
            self.flush(at);
        } else if link.announce_at.is_none() {
            link.announce_at = Some(now.saturating_add(self.config.ihave_us));
        }
    }

    fn flush(&mut self, at: usize) {
        let link = &mut self.active[at];
        link.announce_at = None;
        let (peer, announced) = (link.contact.id, std::mem::take(&mut link.announce));
        if let Ok(announced) = List::new("hvp ids", announced) {
            self.say(peer, Control::IHave { announced });
        }
    }

    /// Tells a new neighbour what is kept here.
    pub(super) fn catch_up(&mut self, now: u64, at: usize) {
        for announced in self.cache.newest(self.config.catch_up) {
            self.announce(now, at, announced);
        }
    }

    /// A better way to a broadcast than the one it came: the links change their roles.
    fn optimize(&mut self, sender: &PeerId, hops: u8, announcers: &[Announcer]) {
        let Some(threshold) = self.config.optimize_hops else { return };
        let best = announcers.iter().filter(|announcer| announcer.peer != *sender).min_by_key(|best| best.hops);
        let Some(best) = best.filter(|best| best.hops.saturating_add(1).saturating_add(threshold) <= hops) else {
            return;
        };
        let (Some(from), Some(to)) = (self.link_to(sender), self.link_to(&best.peer)) else { return };
        self.active[from].eager = false;
        self.active[to].eager = true;
        self.say(*sender, Control::Prune);
        self.say(best.peer, Control::Graft { ids: List::default() });
    }

    /// A neighbour announces what it has.
    pub(super) fn take_ihave(&mut self, now: u64, sender: &PeerId, announced: &[Announced]) -> Result<()> {
        if !mutant!("hvp.ihave-stranger") {
            self.neighbour(sender, "IHAVE")?;
        }
        let new: Vec<Announced> =
            announced.iter().filter(|announced| !self.seen.contains(&announced.id)).copied().collect();
        self.awaited.announce(now, sender, &new, &self.config)
    }

    /// A neighbour asks for what it lacks, and for what comes next.
    pub(super) fn take_graft(&mut self, sender: &PeerId, ids: &[MessageId]) -> Result<()> {
        let at = self.neighbour(sender, "GRAFT")?;
        let asker = (*sender, self.active[at].contact.sequence);
        let mut given = 0;
        for id in ids {
            if let Answer::Give(message) = self.cache.give(id, asker) {
                self.send(*sender, message);
                given += 1;
            }
        }
        if given == 0 && !ids.is_empty() {
            return Err(Error::protocol("hvp: a GRAFT for what is not kept or was given already"));
        }
        self.active[at].eager = true;
        Ok(())
    }

    /// A neighbour wants no more pushes.
    pub(super) fn take_prune(&mut self, sender: &PeerId) -> Result<()> {
        let at = self.neighbour(sender, "PRUNE")?;
        self.active[at].eager = false;
        Ok(())
    }

    /// Announces what is due, and asks for what was announced and has not come.
    pub(super) fn tick_tree(&mut self, now: u64) {
        for at in 0..self.active.len() {
            if self.active[at].announce_at.is_some_and(|due| due <= now) {
                self.flush(at);
            }
        }
        for (peer, ids) in self.awaited.due(now, &self.config) {
            let Some(at) = self.link_to(&peer) else { continue };
            self.active[at].eager = true;
            for some in ids.chunks(IDS_MAX) {
                if let Ok(ids) = List::new("hvp ids", some.to_vec()) {
                    self.say(peer, Control::Graft { ids });
                }
            }
        }
    }
}
