//! Nodes that want to be all that an honest node sees.
//!
//! They know every node and each other. They take whoever asks; answer whatever names contacts with their own; ask honest
//! nodes for links that are urgently wanted, over and over; shuffle in attackers' contacts; ask again whoever drops them;
//! leave links, so that these must be replaced; and hand on no broadcast.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::algorithms::hvp::message::{Control, Message, Priority, control};
use crate::algorithms::hvp::{Contact, RECORDS_MAX};
use crate::error::Result;
use crate::primitives::wire::{self, List};
use crate::sim::Rng;

/// How often an attacker attacks, µs.
const PERIOD_US: u64 = 2_500_000;

/// How many honest nodes it asks for a link each time.
const ASKED: usize = 4;

/// How many honest nodes get contacts of attackers each time, of those that are linked to it and of all.
const SHUFFLED: usize = 4;

/// In how many of its turns it leaves a link, so that it must be replaced.
const LEAVES: u64 = 4;

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Attacker {
    rng: Rng,
    /// The places of all attackers.
    crowd: Arc<[u32]>,
    /// Those who have a link to it, as far as it knows.
    links: Vec<u32>,
}

impl Attacker {
    pub(super) fn new(seed: u64, place: u32, crowd: Arc<[u32]>) -> Self {
        Self { rng: Rng::new(seed, "hvp: attacker", u64::from(place)), crowd, links: Vec::new() }
    }

    /// Some of its friends.
    fn friends(&mut self, count: usize) -> Vec<u32> {
        let crowd = self.crowd.len() as u64;
        (0..count).map(|_| self.crowd[self.rng.below(crowd) as usize]).collect()
    }

    fn linked(&mut self, to: u32) {
        if !self.links.contains(&to) {
            self.links.push(to);
        }
    }
}

impl Overlay {
    /// The turn of an attacker whose time has come.
    pub(super) fn attack(&mut self, me: u32) {
        let places = u64::from(self.len());
        let Some(attacker) = self.attacker(me) else { return };
        let any = |rng: &mut Rng| rng.below(places) as u32;
        let asked: Vec<u32> = (0..ASKED).map(|_| any(&mut attacker.rng)).collect();
        let mut shuffled: Vec<u32> = (0..SHUFFLED).map(|_| any(&mut attacker.rng)).collect();
        let mut links = attacker.links.clone();
        attacker.rng.shuffle(&mut links);
        shuffled.extend(links.into_iter().take(SHUFFLED));
        let nonce = attacker.rng.next_u64();
        let left = if attacker.rng.below(LEAVES) == 0 { attacker.links.pop() } else { None };
        if let Some(to) = left {
            self.tell(me, to, |_| Control::Disconnect { leaves: true });
        }
        for to in asked {
            self.tell(me, to, |contact| Control::Neighbor { priority: Priority::High, contact });
        }
        for to in shuffled {
            if let Some(records) = self.own_records(me) {
                self.tell(me, to, |_| Control::Shuffle { ttl: u8::MAX, nonce, records });
            }
        }
        self.wake_at(me, self.now + PERIOD_US);
    }

    /// What an attacker does with a message.
    pub(super) fn lie(&mut self, me: u32, from: u32, bytes: &[u8]) {
        let Ok(Message(said)) = wire::decode::<Message>(bytes) else { return };
        match said {
            Control::Join { .. } | Control::Neighbor { .. } => {
                self.note_link(me, from);
                self.tell(me, from, |contact| Control::Accept { contact });
            }
            Control::Accept { .. } => self.note_link(me, from),
            Control::ForwardJoin { contact: newcomer, .. } => {
                if let Some(to) = self.place(&newcomer.id) {
                    self.tell(me, to, |contact| Control::Neighbor { priority: Priority::High, contact });
                }
            }
            Control::Disconnect { .. } => {
                if let Some(attacker) = self.attacker(me) {
                    attacker.links.retain(|link| *link != from);
                }
                self.tell(me, from, |contact| Control::Neighbor { priority: Priority::Again, contact });
            }
            Control::Shuffle { nonce, records, .. } => {
                let asker = records.first().and_then(|asker: &Contact| self.place(&asker.id));
                if let (Some(asker), Some(records)) = (asker, self.own_records(me)) {
                    self.tell(me, asker, |_| Control::ShuffleReply { nonce, records });
                }
            }
            _ => {}
        }
    }

    fn note_link(&mut self, me: u32, to: u32) {
        if let Some(attacker) = self.attacker(me) {
            attacker.linked(to);
        }
    }

    /// As many contacts of attackers as a message holds, `me` first.
    fn own_records(&mut self, me: u32) -> Option<List<Contact, RECORDS_MAX>> {
        let friends = self.attacker(me)?.friends(RECORDS_MAX - 1);
        let all = std::iter::once(me).chain(friends).map(|friend| self.contact(friend));
        List::new("attacker", all.collect::<Result<Vec<_>>>().ok()?).ok()
    }

    /// Sends to an honest node what is made with the attacker's contact.
    fn tell(&mut self, me: u32, to: u32, make: impl FnOnce(Contact) -> Control) {
        if self.machine(to).is_none() {
            return;
        }
        if let Ok(bytes) = self.contact(me).and_then(|contact| control(make(contact))) {
            self.send(me, to, bytes.into());
        }
    }
}

/// How many honest nodes have no honest neighbour, and which share of all places in honest active views is attackers'.
pub(super) fn eclipsed(overlay: &Overlay) -> (u32, f64) {
    let honest = |peer: &u32| overlay.machine(*peer).is_some();
    let (mut alone, mut theirs, mut all) = (0, 0usize, 0usize);
    for node in overlay.honest() {
        let peers = overlay.active(node);
        let good = peers.iter().filter(|peer| honest(peer)).count();
        alone += u32::from(good == 0);
        theirs += peers.len() - good;
        all += peers.len();
    }
    (alone, theirs as f64 / all.max(1) as f64)
}
