//! HyParView: joining, links, and what replaces them.

use super::machine::{Ask, Asked, Hvp, Link, Lost, Spare};
use super::message::{Contact, Control, PeerId, Priority, TTL_AT};
use super::{Action, Down, LOST_MAX, TTL_MAX};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;

/// How often a lost neighbour is asked again.
const LOST_TRIES: u8 = 8;

/// How many SHUFFLEs a neighbour may send or forward in a period: with everybody sending one that walks 6 links, 1.2 come
/// over a link on average, and more than this once in a hundred and thirty periods.
pub(super) const SHUFFLES: u8 = 4;

impl Hvp {
    /// The place of a link.
    pub(super) fn link_to(&self, peer: &PeerId) -> Option<usize> {
        self.active.iter().position(|link| link.contact.id == *peer)
    }

    /// Whether a peer is a neighbour, may become one soon, or is this node.
    pub(super) fn is_near(&self, peer: &PeerId) -> bool {
        *peer == self.me.id || self.link_to(peer).is_some() || self.asked.iter().any(|asked| asked.contact.id == *peer)
    }

    /// The place of a neighbour that speaks; a stranger is told that there is no link.
    pub(super) fn neighbour(&mut self, sender: &PeerId, what: &str) -> Result<usize> {
        if let Some(at) = self.link_to(sender) {
            return Ok(at);
        }
        self.say(*sender, Control::Disconnect { leaves: false });
        Err(Error::protocol(format!("hvp: {what} of a peer that is no neighbour")))
    }

    /// A newcomer asks for a link and to be made known.
    pub(super) fn take_join(&mut self, now: u64, sender: &PeerId, contact: Contact) -> Result<()> {
        self.check_own(sender, &contact)?;
        if !self.may_forward_join(now) {
            self.say(*sender, Control::Reject);
            return Ok(());
        }
        self.answer(now, contact.clone(), true);
        let others: Vec<PeerId> = self.active().into_iter().filter(|peer| peer != sender).collect();
        for to in others {
            self.say(to, Control::ForwardJoin { ttl: self.config.arwl, contact: contact.clone() });
        }
        Ok(())
    }

    /// Takes one of the JOINs that may be forwarded in this second.
    fn may_forward_join(&mut self, now: u64) -> bool {
        let rate = u64::from(self.config.joins_per_s);
        let gained = now.saturating_sub(self.joins.1).saturating_mul(rate);
        let tokens = self.joins.0.saturating_add(gained).min(rate * 1_000_000);
        let may = tokens >= 1_000_000;
        self.joins = (if may { tokens - 1_000_000 } else { tokens }, now);
        may
    }

    /// Answers one who asks for a link; `forced` makes room for it.
    fn answer(&mut self, now: u64, contact: Contact, forced: bool) {
        let peer = contact.id;
        let known = self.link_to(&peer).filter(|at| self.active[*at].contact.sequence >= contact.sequence);
        let restarted = self.link_to(&peer).filter(|_| known.is_none());
        if let Some(at) = restarted {
            self.unlink(at, Down::Failed);
        }
        let room = self.active.len() < self.config.active;
        if known.is_none() && !room && !(forced && self.evict(now)) {
            self.say(peer, Control::Reject);
            self.spare(contact, now.saturating_add(self.config.retry_us), &[]);
            return;
        }
        self.say(peer, Control::Accept { contact: self.me.clone() });
        if known.is_none() {
            self.link(now, contact);
        }
    }

    /// A newcomer is made known along a walk.
    pub(super) fn take_forward_join(
        &mut self,
        now: u64,
        sender: &PeerId,
        message: &[u8],
        ttl: u8,
        contact: Contact,
    ) -> Result<()> {
        self.neighbour(sender, "FORWARD_JOIN")?;
        self.verify(&contact)?;
        if self.is_near(&contact.id) && ttl == 0 || contact.id == self.me.id {
            return Ok(());
        }
        let ttl = if mutant!("hvp.ttl") { ttl } else { ttl.min(TTL_MAX) };
        let next = if ttl == 0 { None } else { self.next_of_walk(&[*sender, contact.id]) };
        let Some(next) = next else {
            self.end_of_walk(now, contact);
            return Ok(());
        };
        if ttl == self.config.prwl {
            self.spare_if_room(contact);
        }
        self.send(next, with_ttl(message, ttl - 1));
        Ok(())
    }

    /// Where a walk goes on.
    pub(super) fn next_of_walk(&mut self, not: &[PeerId]) -> Option<PeerId> {
        let next: Vec<PeerId> = self.active().into_iter().filter(|peer| !not.contains(peer)).collect();
        next.get(self.chance.below(next.len())).copied()
    }

    /// The newcomer is asked for a link; it is a neighbour only when it has answered.
    fn end_of_walk(&mut self, now: u64, contact: Contact) {
        if self.is_near(&contact.id) {
            return;
        }
        let full = self.active.len() >= self.config.active && now < self.evict_from;
        if full || self.asked.len() >= self.config.active {
            self.spare_if_room(contact);
        } else if mutant!("hvp.walk-answer") {
            self.link(now, contact);
        } else {
            self.ask(now, contact, Ask::Walk);
        }
    }

    /// Asks for a link.
    pub(super) fn ask(&mut self, now: u64, contact: Contact, why: Ask) {
        // With one link only the two could be a pair that nobody else knows of.
        let priority = match why {
            Ask::Again => Priority::Again,
            _ if self.active.len() < 2 && self.asked.is_empty() => Priority::High,
            _ => Priority::Low,
        };
        let (to, me) = (contact.id, self.me.clone());
        self.passive.retain(|spare| spare.contact.id != to);
        self.asked.push(Asked { contact, why, until: now.saturating_add(self.config.answer_us) });
        self.say(
            to,
            if why == Ask::Join { Control::Join { contact: me } } else { Control::Neighbor { priority, contact: me } },
        );
    }

    /// Somebody asks for a link.
    pub(super) fn take_neighbor(
        &mut self,
        now: u64,
        sender: &PeerId,
        priority: Priority,
        contact: Contact,
    ) -> Result<()> {
        self.check_own(sender, &contact)?;
        let forced = match priority {
            Priority::Low => false,
            Priority::High => true,
            Priority::Again => self.lost.iter().any(|lost| lost.contact.id == *sender),
        };
        self.answer(now, contact, forced);
        Ok(())
    }

    /// A peer speaks for itself.
    fn check_own(&self, sender: &PeerId, contact: &Contact) -> Result<()> {
        if contact.id != *sender {
            return Err(Error::protocol("hvp: a contact that is not the sender's"));
        }
        self.verify(contact)
    }

    /// The answer: a link. One that nobody asked for, or not any more, or that there is no place for, is given back.
    pub(super) fn take_accept(&mut self, now: u64, sender: &PeerId, contact: Contact) -> Result<()> {
        self.check_own(sender, &contact)?;
        if self.link_to(sender).is_some() {
            self.asked.retain(|asked| asked.contact.id != *sender);
            return Ok(());
        }
        let Some(at) = self.asked.iter().position(|asked| asked.contact.id == *sender) else {
            self.say(*sender, Control::Disconnect { leaves: false });
            return Ok(());
        };
        let forced = self.asked.remove(at).why != Ask::Fill;
        if self.active.len() < self.config.active || (forced && self.evict(now)) {
            self.link(now, contact);
        } else {
            self.say(*sender, Control::Disconnect { leaves: false });
            self.outbox.push(Action::Close { peer: *sender });
            self.spare(contact, now.saturating_add(self.config.retry_us), &[]);
        }
        Ok(())
    }

    /// The answer: no link.
    pub(super) fn take_reject(&mut self, now: u64, sender: &PeerId) -> Result<()> {
        let Some(at) = self.asked.iter().position(|asked| asked.contact.id == *sender) else {
            return Err(Error::protocol("hvp: REJECT of a peer that was not asked"));
        };
        let asked = self.asked.remove(at);
        self.lost.retain(|lost| lost.contact.id != *sender);
        self.outbox.push(Action::Close { peer: *sender });
        let from = now.saturating_add(self.chance.around(self.config.retry_us));
        self.spare(asked.contact, from, &[]);
        Ok(())
    }

    /// A neighbour cuts the link.
    pub(super) fn take_disconnect(&mut self, now: u64, sender: &PeerId, leaves: bool) -> Result<()> {
        let Some(at) = self.link_to(sender) else {
            if mutant!("hvp.disconnect-stranger") {
                self.passive.retain(|spare| spare.contact.id != *sender);
                return Ok(());
            }
            return Err(Error::protocol("hvp: DISCONNECT of a peer that is no neighbour"));
        };
        let link = self.unlink(at, if leaves { Down::Left } else { Down::Disconnected });
        self.outbox.push(Action::Close { peer: *sender });
        if !leaves {
            let from = now.saturating_add(self.chance.around(self.config.retry_us));
            self.spare(link.contact, from, &[]);
        }
        Ok(())
    }

    /// Makes a link. There must be room.
    fn link(&mut self, now: u64, contact: Contact) {
        let peer = contact.id;
        self.passive.retain(|spare| spare.contact.id != peer);
        self.asked.retain(|asked| asked.contact.id != peer);
        self.lost.retain(|lost| lost.contact.id != peer);
        let guest = std::mem::take(&mut self.guest);
        let link = Link {
            contact,
            since: now,
            guest,
            eager: true,
            shuffles: SHUFFLES,
            announce: Vec::new(),
            announce_at: None,
        };
        self.active.push(link);
        (self.isolated, self.rejoin_pause) = (false, self.config.rejoin_us);
        self.outbox.push(Action::Up { peer });
        self.catch_up(now, self.active.len() - 1);
    }

    /// Cuts the link at a place.
    pub(super) fn unlink(&mut self, at: usize, reason: Down) -> Link {
        let link = self.active.remove(at);
        let peer = link.contact.id;
        self.guest |= link.guest;
        if !mutant!("hvp.forget") {
            self.awaited.forget(&peer);
        }
        self.outbox.push(Action::Down { peer, reason });
        link
    }

    /// Which link makes room for another, and whether that one is to be the guest: a random one of those that have not
    /// settled; if all have, the guest; without a guest a random one.
    fn who_makes_room(&mut self, now: u64) -> (usize, bool) {
        let settled = self.active.iter().take_while(|link| now.saturating_sub(link.since) >= self.config.settled_us);
        let settled = if mutant!("hvp.youngest") { 0 } else { settled.count() };
        let guest = self.active.iter().position(|link| link.guest);
        match guest.filter(|_| settled == self.active.len()) {
            Some(at) => (at, true),
            None if settled == self.active.len() => (self.chance.below(settled), true),
            None => (settled + self.chance.below(self.active.len() - settled), false),
        }
    }

    /// Drops a link to make room, unless that was done a moment ago.
    fn evict(&mut self, now: u64) -> bool {
        if now < self.evict_from && !mutant!("hvp.eviction-pause") || self.active.is_empty() {
            return false;
        }
        let (at, guest) = self.who_makes_room(now);
        let link = self.unlink(at, Down::Evicted);
        self.guest |= guest;
        self.evictions += 1;
        self.evict_from = now.saturating_add(self.config.eviction_us);
        self.say(link.contact.id, Control::Disconnect { leaves: false });
        self.outbox.push(Action::Close { peer: link.contact.id });
        self.spare(link.contact, now.saturating_add(self.config.retry_us), &[]);
        true
    }

    /// Notes a contact in the passive view; a full one loses one of `first`, or any.
    pub(super) fn spare(&mut self, contact: Contact, from: u64, first: &[PeerId]) {
        if self.is_near(&contact.id) {
            return;
        }
        if let Some(known) = self.passive.iter_mut().find(|spare| spare.contact.id == contact.id) {
            known.from = known.from.max(from);
            if contact.sequence > known.contact.sequence {
                known.contact = contact;
            }
            return;
        }
        if self.passive.len() >= self.config.passive {
            let sent = self.passive.iter().position(|spare| first.contains(&spare.contact.id));
            let at = sent.unwrap_or_else(|| self.chance.below(self.passive.len()));
            self.passive.swap_remove(at);
        }
        self.passive.push(Spare { contact, from });
    }

    /// Notes a contact if nobody has to go for it.
    fn spare_if_room(&mut self, contact: Contact) {
        if self.passive.len() < self.config.passive {
            self.spare(contact, 0, &[]);
        }
    }

    /// Asks as many of the passive view as there are free places.
    pub(super) fn fill(&mut self, now: u64) {
        while self.active.len() + self.asked.len() < self.config.active {
            let ready: Vec<usize> = (0..self.passive.len()).filter(|at| self.passive[*at].from <= now).collect();
            let Some(at) = ready.get(self.chance.below(ready.len())) else { return };
            let spare = self.passive.swap_remove(*at);
            self.ask(now, spare.contact, Ask::Fill);
        }
    }

    /// Whether there are places that nobody known can fill.
    pub(super) fn is_starving(&self, now: u64) -> bool {
        let nobody = self.passive.is_empty();
        let alone = self.active.is_empty() && self.passive.iter().all(|spare| spare.from > now);
        self.asked.is_empty() && (alone || nobody && self.active.len() < self.config.active)
    }

    /// The remembered contacts that this node is not linked to.
    pub(super) fn to_join(&self) -> Vec<&Contact> {
        self.bootstrap.iter().filter(|contact| !self.is_near(&contact.id)).collect()
    }

    /// Joins again over a remembered contact.
    pub(super) fn rejoin(&mut self, now: u64) {
        let contacts: Vec<Contact> = self.to_join().into_iter().cloned().collect();
        if let Some(contact) = contacts.get(self.chance.below(contacts.len())) {
            self.ask(now, contact.clone(), Ask::Join);
        }
    }

    /// One who was asked does not answer.
    pub(super) fn drop_asked(&mut self, peer: &PeerId) {
        self.asked.retain(|asked| asked.contact.id != *peer);
    }

    /// A neighbour's connection has closed: it may come back.
    pub(super) fn remember_lost(&mut self, now: u64, contact: Contact) {
        if self.lost.len() >= LOST_MAX {
            self.lost.remove(0);
        }
        let pause = self.config.retry_us;
        let at = now.saturating_add(self.chance.around(pause));
        self.lost.push(Lost { contact, at, pause, tries: 0 });
    }

    /// Asks lost neighbours again whose time it is.
    pub(super) fn retry_lost(&mut self, now: u64) {
        let mut again = Vec::new();
        for lost in self.lost.iter_mut().filter(|lost| lost.at <= now) {
            lost.tries += 1;
            lost.pause = lost.pause.saturating_mul(2);
            lost.at = now.saturating_add(self.chance.around(lost.pause));
            again.push(lost.contact.clone());
        }
        for contact in again.into_iter().filter(|contact| !self.is_near(&contact.id)).collect::<Vec<_>>() {
            self.ask(now, contact, Ask::Again);
        }
        self.lost.retain(|lost| lost.tries < LOST_TRIES);
    }
}

/// A message of a walk with other steps left.
pub(super) fn with_ttl(message: &[u8], ttl: u8) -> std::sync::Arc<[u8]> {
    let mut copy: Vec<u8> = message.to_vec();
    if let Some(byte) = copy.get_mut(TTL_AT) {
        *byte = ttl;
    }
    copy.into()
}
