//! The machine's frame: its state, what comes in, what is due.

use super::awaited::Awaited;
use super::chance::Chance;
use super::kept::{Cache, Seen};
use super::message::{Announced, Contact, Control, Gossip, Message, PeerId, control};
use super::order::Order;
use super::{Action, BOOTSTRAP_MAX, Config, Down, OUTBOX_BYTES_MAX, OUTBOX_MAX, Stats, Trust};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Record};

/// A link.
#[derive(Clone)]
pub(super) struct Link {
    /// To whom.
    pub contact: Contact,
    /// Since when.
    pub since: u64,
    /// Whether it has the one place that a crowd can have of links that have all settled.
    pub guest: bool,
    /// Whether broadcasts are pushed over it, or only announced.
    pub eager: bool,
    /// How many SHUFFLEs may still come over it in this period.
    pub shuffles: u8,
    /// Ids that are to be announced over it.
    pub announce: Vec<Announced>,
    /// When they are.
    pub announce_at: Option<u64>,
}

/// A contact in reserve.
#[derive(Clone)]
pub(super) struct Spare {
    pub contact: Contact,
    /// Not to be asked before.
    pub from: u64,
}

/// Why a peer was asked for a link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// This node joins over it.
    Join,
    /// A walk has brought the newcomer here.
    Walk,
    /// It is to take a free place.
    Fill,
    /// It was a neighbour and was lost.
    Again,
}

/// A peer that was asked for a link.
#[derive(Clone)]
pub(super) struct Asked {
    pub contact: Contact,
    pub why: Ask,
    pub until: u64,
}

/// A neighbour that was lost.
#[derive(Clone)]
pub(super) struct Lost {
    pub contact: Contact,
    pub at: u64,
    pub pause: u64,
    pub tries: u8,
}

/// The SHUFFLE that awaits its answer.
#[derive(Clone)]
pub(super) struct Shuffled {
    pub nonce: u64,
    pub named: Vec<PeerId>,
}

/// A node of the overlay: bytes and time in, [`Action`]s out.
#[derive(Clone)]
pub struct Hvp {
    pub(super) me: Contact,
    pub(super) config: Config,
    pub(super) trust: Trust,
    pub(super) chance: Chance,
    pub(super) outbox: Vec<Action>,
    outbox_bytes: usize,
    now: u64,
    /// Oldest first.
    pub(super) active: Vec<Link>,
    pub(super) passive: Vec<Spare>,
    pub(super) asked: Vec<Asked>,
    pub(super) lost: Vec<Lost>,
    pub(super) bootstrap: Vec<Contact>,
    joined: bool,
    /// Whether it was said that nobody is left, or there was nobody yet.
    pub(super) isolated: bool,
    pub(super) shuffled: Option<Shuffled>,
    shuffle_at: Option<u64>,
    rejoin_at: Option<u64>,
    pub(super) rejoin_pause: u64,
    pub(super) evict_from: u64,
    /// Whether the guest's place is free: the next link has it.
    pub(super) guest: bool,
    /// JOINs that may still be forwarded, in millionths, and as of when.
    pub(super) joins: (u64, u64),
    pub(super) number: u64,
    pub(super) seen: Seen,
    pub(super) cache: Cache,
    pub(super) awaited: Awaited,
    pub(super) order: Order,
    pub(super) delivered: u64,
    pub(super) duplicates: u64,
    pub(super) evictions: u64,
}

impl Hvp {
    /// A node that knows nobody yet. `seed` must be secret and another one in every life of the node.
    ///
    /// # Errors
    /// [`Error::Input`] for a configuration out of its limits or a contact that is not the key's,
    /// [`Error::Verification`] for one that is not signed for the network.
    pub fn new(me: Contact, seed: [u8; 32], config: Config, trust: Trust) -> Result<Self> {
        config.check()?;
        me.check()?;
        if let Trust::Signed(key) = &trust {
            if key.public() != me.id {
                return Err(Error::input("hvp: the contact is not that of the key"));
            }
            me.verify(&config.network)?;
        }
        let (rejoin_pause, joins) = (config.rejoin_us, (u64::from(config.joins_per_s) * 1_000_000, 0));
        Ok(Self {
            me,
            config,
            trust,
            chance: Chance::new(seed),
            outbox: Vec::new(),
            outbox_bytes: 0,
            now: 0,
            active: Vec::new(),
            passive: Vec::new(),
            asked: Vec::new(),
            lost: Vec::new(),
            bootstrap: Vec::new(),
            joined: false,
            isolated: true,
            shuffled: None,
            shuffle_at: None,
            rejoin_at: None,
            rejoin_pause,
            evict_from: 0,
            guest: false,
            joins,
            number: 0,
            seen: Seen::default(),
            cache: Cache::default(),
            awaited: Awaited::default(),
            order: Order::default(),
            delivered: 0,
            duplicates: 0,
            evictions: 0,
        })
    }

    /// Remembers contacts and joins over one of them; if that fails, over the others, with growing pauses. Called at the
    /// start, by the first node with no contacts, and again whenever there are contacts to join over.
    ///
    /// # Errors
    /// [`Error::Input`] for more than [`BOOTSTRAP_MAX`] contacts, [`Error::Verification`] for one that is not signed for the
    /// network; the state is as it was.
    pub fn join(&mut self, now: u64, contacts: &[Contact]) -> Result<()> {
        if contacts.len() > BOOTSTRAP_MAX {
            let count = contacts.len();
            return Err(Error::input(format!(
                "hvp: {count} contacts to join over, at most {BOOTSTRAP_MAX} are allowed"
            )));
        }
        self.room()?;
        for contact in contacts {
            contact.check()?;
            self.verify(contact)?;
        }
        let now = self.advance(now);
        let others: Vec<&Contact> = contacts.iter().filter(|contact| contact.id != self.me.id).collect();
        for contact in &others {
            self.bootstrap.retain(|known| known.id != contact.id);
            self.bootstrap.push((*contact).clone());
        }
        let over = self.bootstrap.len().saturating_sub(BOOTSTRAP_MAX);
        self.bootstrap.drain(..over);
        self.joined = true;
        self.rejoin_pause = self.config.rejoin_us;
        self.isolated = self.isolated && others.is_empty();
        let asked = self.chance.below(others.len());
        if let Some(contact) = others.get(asked).filter(|contact| !self.is_near(&contact.id)) {
            self.ask(now, (*contact).clone(), Ask::Join);
        }
        self.settle(now);
        Ok(())
    }

    /// Takes a message of an authenticated peer.
    ///
    /// # Errors
    /// What is wrong with it; views, caches and timers are as they were. A stranger that speaks as a neighbour is told that
    /// there is no link.
    pub fn handle(&mut self, now: u64, sender: &PeerId, message: &[u8]) -> Result<()> {
        self.room()?;
        if !self.joined {
            return Err(Error::input("hvp: a message before join or after leave"));
        }
        if *sender == self.me.id {
            return Err(Error::protocol("hvp: a message of this node itself"));
        }
        if message.starts_with(&Gossip::TAG) {
            let gossip: Gossip = wire::decode(message)?;
            let now = self.advance(now);
            return self.take_gossip(now, sender, message, gossip);
        }
        let Message(said) = wire::decode(message)?;
        let now = self.advance(now);
        self.take_control(now, sender, message, said)?;
        self.settle(now);
        Ok(())
    }

    fn take_control(&mut self, now: u64, sender: &PeerId, message: &[u8], said: Control) -> Result<()> {
        match said {
            Control::Join { contact } => self.take_join(now, sender, contact),
            Control::ForwardJoin { ttl, contact } => self.take_forward_join(now, sender, message, ttl, contact),
            Control::Neighbor { priority, contact } => self.take_neighbor(now, sender, priority, contact),
            Control::Accept { contact } => self.take_accept(now, sender, contact),
            Control::Reject => self.take_reject(now, sender),
            Control::Disconnect { leaves } => self.take_disconnect(now, sender, leaves),
            Control::Shuffle { ttl, nonce, records } => self.take_shuffle(sender, message, ttl, nonce, &records),
            Control::ShuffleReply { nonce, records } => self.take_shuffle_reply(nonce, records.into_vec()),
            Control::IHave { announced } => self.take_ihave(now, sender, &announced),
            Control::Graft { ids } => self.take_graft(sender, &ids),
            Control::Prune => self.take_prune(sender),
        }
    }

    /// The connection to a peer has closed, or could not be made. Must be called whenever that happens.
    pub fn peer_down(&mut self, now: u64, peer: &PeerId) {
        let now = self.advance(now);
        if let Some(at) = self.link_to(peer) {
            let link = self.unlink(at, Down::Failed);
            self.remember_lost(now, link.contact);
        }
        self.drop_asked(peer);
        if self.joined {
            self.settle(now);
        }
    }

    /// The time is `now`.
    pub fn tick(&mut self, now: u64) {
        if !self.joined || self.room().is_err() {
            return;
        }
        let now = self.advance(now);
        let late: Vec<PeerId> =
            self.asked.iter().filter(|asked| asked.until <= now).map(|asked| asked.contact.id).collect();
        for peer in late {
            self.drop_asked(&peer);
            self.outbox.push(Action::Close { peer });
        }
        self.retry_lost(now);
        if self.shuffle_at.is_some_and(|at| at <= now) {
            self.shuffle_at = Some(now.saturating_add(self.chance.around(self.config.shuffle_us)));
            self.shuffle();
        }
        if self.rejoin_at.is_some_and(|at| at <= now) {
            self.rejoin_at = None;
            self.say_isolated(now);
            self.rejoin(now);
        }
        self.tick_tree(now);
        self.order.tick(now, &self.config, &mut self.outbox);
        self.settle(now);
    }

    /// Says goodbye to all neighbours. Nothing is sent or taken after that, until [`Hvp::join`].
    pub fn leave(&mut self, now: u64) {
        self.advance(now);
        while let Some(at) = self.active.len().checked_sub(1) {
            let link = self.unlink(at, Down::Evicted);
            self.say(link.contact.id, Control::Disconnect { leaves: true });
            self.outbox.push(Action::Close { peer: link.contact.id });
            self.spare(link.contact, 0, &[]);
        }
        self.asked.clear();
        self.lost.clear();
        (self.shuffled, self.shuffle_at, self.rejoin_at) = (None, None, None);
        (self.joined, self.isolated) = (false, true);
    }

    /// Fills free places, and sets the timers that follow from how things stand.
    fn settle(&mut self, now: u64) {
        self.fill(now);
        if self.shuffle_at.is_none() && !self.active.is_empty() {
            self.shuffle_at = Some(now.saturating_add(self.chance.around(self.config.shuffle_us)));
        }
        if !self.is_starving(now) || self.to_join().is_empty() {
            self.rejoin_at = None;
            self.say_isolated(now);
        } else if self.rejoin_at.is_none() {
            self.rejoin_at = Some(now.saturating_add(self.chance.around(self.rejoin_pause)));
            self.rejoin_pause = self.rejoin_pause.saturating_mul(2).min(self.config.rejoin_max_us);
        }
    }

    /// Says once that nobody is left. While there is somebody to join over, only when a first pause is over: a newcomer whose
    /// JOIN found no room is being made known all the same.
    fn say_isolated(&mut self, now: u64) {
        if !self.isolated && self.active.is_empty() && self.is_starving(now) {
            self.isolated = true;
            self.outbox.push(Action::Isolated);
        }
    }

    /// When [`Hvp::tick`] is to be called, µs; later calls of anything may bring it forward.
    pub fn next_deadline(&self) -> Option<u64> {
        if !self.joined {
            return None;
        }
        let free = self.active.len() + self.asked.len() < self.config.active;
        let single = [self.shuffle_at, self.rejoin_at, self.awaited.deadline(), self.order.deadline()];
        let asked = self.asked.iter().map(|asked| asked.until);
        let lost = self.lost.iter().map(|lost| lost.at);
        let announce = self.active.iter().filter_map(|link| link.announce_at);
        let spare = self.passive.iter().filter(|_| free).map(|spare| spare.from);
        single.into_iter().flatten().chain(asked).chain(lost).chain(announce).chain(spare).min()
    }

    /// Takes the actions, in the order in which they are to be done.
    pub fn drain(&mut self) -> Vec<Action> {
        self.outbox_bytes = 0;
        std::mem::take(&mut self.outbox)
    }

    /// The peers of the active view, the oldest link first.
    pub fn active(&self) -> Vec<PeerId> {
        self.active.iter().map(|link| link.contact.id).collect()
    }

    /// Those of them that broadcasts are pushed to.
    pub fn eager(&self) -> Vec<PeerId> {
        self.active.iter().filter(|link| link.eager).map(|link| link.contact.id).collect()
    }

    /// The peers of the passive view.
    pub fn passive(&self) -> Vec<PeerId> {
        self.passive.iter().map(|spare| spare.contact.id).collect()
    }

    /// What is known of where a peer is reached. Known for whomever an action sends to, if drained right after the call.
    pub fn contact(&self, peer: &PeerId) -> Option<&Contact> {
        let active = self.active.iter().map(|link| &link.contact);
        let asked = self.asked.iter().map(|asked| &asked.contact);
        let passive = self.passive.iter().map(|spare| &spare.contact);
        let lost = self.lost.iter().map(|lost| &lost.contact);
        active.chain(asked).chain(passive).chain(lost).chain(&self.bootstrap).find(|contact| contact.id == *peer)
    }

    /// This node's own contact.
    pub fn me(&self) -> &Contact {
        &self.me
    }

    /// How it is set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is held.
    pub fn stats(&self) -> Stats {
        let (cached, cached_bytes) = self.cache.len();
        Stats {
            active: self.active.len(),
            eager: self.active.iter().filter(|link| link.eager).count(),
            passive: self.passive.len(),
            asked: self.asked.len(),
            lost: self.lost.len(),
            awaited: self.awaited.len(),
            seen: self.seen.len(),
            cached,
            cached_bytes,
            held: self.order.len(),
            outbox: self.outbox.len(),
            delivered: self.delivered,
            duplicates: self.duplicates,
            evictions: self.evictions,
        }
    }

    /// Whether the node takes part.
    pub(super) fn is_joined(&self) -> bool {
        self.joined
    }

    /// Whether there is room for what one more call wants done.
    pub(super) fn room(&self) -> Result<()> {
        if self.outbox.len() >= OUTBOX_MAX || self.outbox_bytes >= OUTBOX_BYTES_MAX {
            return Err(Error::unavailable("hvp: room for actions (drain them first)", 1, 0));
        }
        Ok(())
    }

    /// Time does not run backwards.
    pub(super) fn advance(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, to: PeerId, message: std::sync::Arc<[u8]>) {
        self.outbox_bytes += message.len();
        self.outbox.push(Action::Send { to, message });
    }

    /// Sends a control message. What this node says itself is always within the limits.
    pub(super) fn say(&mut self, to: PeerId, said: Control) {
        if let Ok(message) = control(said) {
            self.send(to, message.into());
        }
    }

    /// Hands a broadcast on.
    pub(super) fn count_delivered(&mut self, bytes: usize) {
        self.outbox_bytes += bytes;
        self.delivered += 1;
    }

    /// Checks a contact's signature.
    pub(super) fn verify(&self, contact: &Contact) -> Result<()> {
        match self.trust {
            Trust::Signed(_) => contact.verify(&self.config.network),
            Trust::Unsigned => Ok(()),
        }
    }
}
