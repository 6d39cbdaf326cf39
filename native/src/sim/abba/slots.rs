//! Parties that make one common subset after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::coins::{Coins, Query, Share};
use super::faulty::{Fault, Faulty};
use super::{City, Scheme};
use crate::algorithms::abba::{FIRST_COINS, PAYLOAD_MAX, Subset, SubsetEvent};
use crate::crypto::hash::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;
use crate::sim::node::{MakeNode, Node, Step, Turn};

const CONTEXT_OUTCOME: &str = "city-chain v1 simulation abba outcome";

/// Where a message has its scope: behind the envelope.
const SCOPE: std::ops::Range<usize> = wire::ENVELOPE_LEN..wire::ENVELOPE_LEN + 32;

/// The most messages of the next slot that wait for it.
const EARLY_MAX: usize = 4096;

/// What the parties do in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Bytes of each party's proposal, 16 to 65,536.
    pub batch: usize,
    /// They make so many subsets, then fall silent.
    pub slots: u64,
    /// How long a party waits before it says everything again, µs.
    pub patience: u64,
    /// What tosses the coins.
    pub scheme: Scheme,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch: 1024, slots: 20, patience: 200_000, scheme: Scheme::Bls }
    }
}

/// Parties of common subsets.
pub struct Subsets {
    city: Arc<City>,
    config: Config,
    /// How many of the last parties are faulty, and what they do.
    faulty: (u16, Fault),
}

impl Subsets {
    /// `nodes` parties.
    ///
    /// # Errors
    /// [`Error::Input`] if there are too many, a batch is too small or too large, or the scheme tosses no coin.
    pub fn new(seed: u64, nodes: u16, config: Config) -> Result<Self> {
        if !(16..=PAYLOAD_MAX).contains(&config.batch) {
            let what = format!("abba: batches of {} bytes, 16 to {PAYLOAD_MAX} are allowed", config.batch);
            return Err(Error::input(what));
        }
        let city = City::new(seed, nodes, config.scheme, config.patience)?;
        Ok(Self { city, config, faulty: (0, Fault::Silent) })
    }

    /// The last `count` parties are faulty.
    ///
    /// # Errors
    /// [`Error::Input`] if they are all.
    pub fn with_faulty(mut self, count: u16, fault: Fault) -> Result<Self> {
        if usize::from(count) >= self.city.keys.len() {
            return Err(Error::input(format!("abba: {count} faulty parties of {}", self.city.keys.len())));
        }
        self.faulty = (count, fault);
        Ok(self)
    }
}

impl MakeNode for Subsets {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        if !self.is_honest(me) {
            let (_, fault) = self.faulty;
            return Ok(Box::new(Faulty::new(me, Arc::clone(&self.city), fault, self.config.batch)));
        }
        let mut party = Party {
            me,
            city: Arc::clone(&self.city),
            config: self.config,
            slots: BTreeMap::new(),
            current: 0,
            early: Vec::new(),
            tickets: BTreeMap::new(),
            issued: 0,
            unasked: BTreeSet::new(),
        };
        loop {
            let scope = party.city.instance(party.current).scope(&party.city.committee);
            let records: Vec<Vec<u8>> =
                disk.iter().filter(|record| record.get(SCOPE) == Some(&scope[..])).cloned().collect();
            let slot = Slot::restore(&party.city, me, party.current, &records)?;
            let done = slot.done();
            party.slots.insert(party.current, slot);
            if !done || party.current + 1 >= party.config.slots {
                return Ok(Box::new(party));
            }
            party.current += 1;
        }
    }

    fn is_honest(&self, me: u16) -> bool {
        usize::from(me + self.faulty.0) < self.city.keys.len()
    }
}

/// One common subset.
struct Slot {
    scope: Digest,
    machine: Subset,
    coins: Coins,
    /// The most rounds that one of its agreements has come to.
    rounds: u32,
}

impl Slot {
    fn restore(city: &City, me: u16, slot: u64, records: &[Vec<u8>]) -> Result<Self> {
        let (instance, key) = (city.instance(slot), city.keys[usize::from(me)].clone());
        let machine = Subset::restore(instance, city.committee.clone(), key, records)?;
        Ok(Self { scope: instance.scope(&city.committee), machine, coins: Coins::default(), rounds: 0 })
    }

    fn done(&self) -> bool {
        self.machine.certificate().is_some() && self.machine.output().is_some()
    }
}

struct Party {
    me: u16,
    city: Arc<City>,
    config: Config,
    /// All slots so far: who is behind asks for them.
    slots: BTreeMap<u64, Slot>,
    current: u64,
    /// Messages of the next slot, from who is ahead.
    early: Vec<(u16, Vec<u8>)>,
    /// The slot and the machine's ticket of each ticket.
    tickets: BTreeMap<u64, (u64, u64)>,
    issued: u64,
    /// Slots whose machines have been told something and not asked what follows.
    unasked: BTreeSet<u64>,
}

impl Party {
    fn payload(&self, slot: u64) -> Vec<u8> {
        let mut payload = vec![0; self.config.batch];
        payload[..8].copy_from_slice(&slot.to_le_bytes());
        payload[8..10].copy_from_slice(&self.me.to_le_bytes());
        payload
    }

    fn finished(&self) -> bool {
        self.current + 1 >= self.config.slots && self.slots.get(&self.current).is_some_and(Slot::done)
    }

    /// Begins the current slot, or goes on with it.
    fn begin(&mut self, turn: &mut Turn) -> Result<()> {
        let payload = self.payload(self.current);
        if let Some(slot) = self.slots.get_mut(&self.current) {
            slot.machine.input(payload)?;
        }
        self.speak(self.current, None, turn)
    }

    /// Carries out what the machine of a slot wants; `only`: what it broadcasts is for one party.
    ///
    /// One write at a time: what comes in while the disk is busy is answered together, as a host of nodes does it.
    fn speak(&mut self, at: u64, only: Option<u16>, turn: &mut Turn) -> Result<()> {
        self.unasked.insert(at);
        if !self.tickets.is_empty() {
            return Ok(());
        }
        self.unasked.remove(&at);
        loop {
            let effects = self.slots.get_mut(&at).map(|slot| slot.machine.drain()).unwrap_or_default();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, record } => {
                        self.issued += 1;
                        self.tickets.insert(self.issued, (at, ticket));
                        turn.step(Step::Persist { ticket: self.issued, record });
                    }
                    Effect::Output(Action::Broadcast { message }) => match only {
                        Some(to) => turn.send(to, message),
                        None => turn.broadcast(&message),
                    },
                    Effect::Output(Action::Send { to, message }) => turn.send(to, message),
                    Effect::Output(Action::Deadline { .. }) => {}
                    Effect::Output(Action::Event(event)) => self.event(at, event, turn)?,
                }
            }
        }
        let ready = at == self.current && self.slots.get(&at).is_some_and(Slot::done);
        if ready && self.current + 1 < self.config.slots { self.next(turn) } else { Ok(()) }
    }

    fn next(&mut self, turn: &mut Turn) -> Result<()> {
        self.current += 1;
        self.slots.insert(self.current, Slot::restore(&self.city, self.me, self.current, &[])?);
        self.begin(turn)?;
        for (from, message) in std::mem::take(&mut self.early) {
            self.receive(from, &message, turn);
        }
        Ok(())
    }

    fn event(&mut self, at: u64, event: SubsetEvent, turn: &mut Turn) -> Result<()> {
        let Some(slot) = self.slots.get_mut(&at) else { return Ok(()) };
        match event {
            SubsetEvent::NeedCoin { proposer, round } => {
                if round >= slot.rounds {
                    slot.rounds = round + 1;
                    turn.note("round", u64::from(round), Vec::new());
                }
                if let Some(bit) = FIRST_COINS.get(round as usize) {
                    return slot.machine.coin_result(proposer, round, *bit);
                }
                let share = slot.coins.ask(&self.city, self.me, at, proposer, round)?;
                turn.broadcast(&wire::encode(&share)?);
                self.toss(at, proposer, round)
            }
            SubsetEvent::ValidatePayload { proposer, payload } => {
                let good =
                    payload.get(..8) == Some(&at.to_le_bytes()) && payload.get(8..10) == Some(&proposer.to_le_bytes());
                slot.machine.payload_result(proposer, good)
            }
            SubsetEvent::Output { accepted } => {
                let mut hasher = Hasher::new(CONTEXT_OUTCOME);
                for (proposer, payload) in &accepted {
                    hasher.u64(u64::from(*proposer)).field(payload);
                }
                turn.note("proposals", accepted.len() as u64, Vec::new());
                turn.decide(at, hasher.finish());
                slot.machine.confirm(hasher.finish())
            }
            SubsetEvent::Confirmed(certificate) => certificate.verify(&self.city.committee),
            SubsetEvent::Alarm { .. } => Err(Error::protocol("abba: so many rounds, and a fair coin")),
        }
    }

    fn toss(&mut self, at: u64, of: u16, round: u32) -> Result<()> {
        let Some(slot) = self.slots.get_mut(&at) else { return Ok(()) };
        match slot.coins.toss(&self.city, at, of, round) {
            Some(bit) => slot.machine.coin_result(of, round, bit),
            None => Ok(()),
        }
    }

    fn take(&mut self, from: u16, message: &[u8], turn: &mut Turn) -> Result<()> {
        let at = match message.first_chunk::<4>() {
            Some(b"CCgs") => return self.take_share(from, message, turn),
            Some(b"CCsq") => {
                let Query { slot: at } = wire::decode(message)?;
                let free = self.tickets.is_empty(); // otherwise all would hear it; it is asked again
                if let Some(slot) = self.slots.get_mut(&at).filter(|slot| free && slot.done()) {
                    slot.machine.resend()?;
                    self.speak(at, Some(from), turn)?;
                }
                return Ok(());
            }
            _ => self.slots.iter().rev().find(|(_, slot)| message.get(SCOPE) == Some(&slot.scope[..])),
        };
        let Some(at) = at.map(|(at, _)| *at) else {
            let next = self.city.instance(self.current + 1).scope(&self.city.committee);
            return self.keep(message.get(SCOPE) == Some(&next[..]), from, message);
        };
        if let Some(slot) = self.slots.get_mut(&at) {
            slot.machine.handle(from, message, turn.now())?;
        }
        self.speak(at, None, turn)
    }

    fn take_share(&mut self, from: u16, message: &[u8], turn: &mut Turn) -> Result<()> {
        let share: Share = wire::decode(message)?;
        let (at, of, round) = (share.slot, share.of, share.round);
        let Some(slot) = self.slots.get_mut(&at) else {
            return self.keep(at == self.current + 1, from, message);
        };
        slot.coins.hear(&self.city, from, share)?;
        self.toss(at, of, round)?;
        self.speak(at, None, turn)
    }

    fn keep(&mut self, of_next: bool, from: u16, message: &[u8]) -> Result<()> {
        if !of_next || self.early.len() >= EARLY_MAX {
            return Err(Error::protocol("abba: of no slot that is now or next"));
        }
        self.early.push((from, message.to_vec()));
        Ok(())
    }

    fn again(&mut self, turn: &mut Turn) -> Result<()> {
        turn.broadcast(&wire::encode(&Query { slot: self.current })?);
        let Some(slot) = self.slots.get_mut(&self.current) else { return Ok(()) };
        for share in slot.coins.shown(self.me, self.current) {
            turn.broadcast(&wire::encode(&share)?);
        }
        slot.machine.resend()?;
        self.speak(self.current, None, turn)
    }
}

impl Node for Party {
    fn start(&mut self, turn: &mut Turn) {
        if let Err(error) = self.begin(turn) {
            turn.fail(error.to_string());
        }
        turn.step(Step::Wake { at: turn.now().saturating_add(self.city.patience) });
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        if let Err(error) = self.take(from, message, turn) {
            turn.note("refused", u64::from(from), error.to_string().into_bytes());
        }
    }

    fn wake(&mut self, turn: &mut Turn) {
        if self.finished() {
            return;
        }
        if let Err(error) = self.again(turn) {
            turn.fail(error.to_string());
        }
        turn.step(Step::Wake { at: turn.now().saturating_add(self.city.patience) });
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        let later = self.tickets.split_off(&(ticket + 1));
        let written = std::mem::replace(&mut self.tickets, later);
        let last: BTreeMap<u64, u64> = written.into_values().collect();
        for (at, ticket) in last {
            let durable = self.slots.get_mut(&at).map_or(Ok(()), |slot| slot.machine.durable(ticket));
            self.unasked.insert(at);
            if let Err(error) = durable {
                turn.fail(error.to_string());
            }
        }
        for at in self.unasked.clone() {
            if let Err(error) = self.speak(at, None, turn) {
                turn.fail(error.to_string());
            }
        }
    }
}
