//! Parties that agree on one bit.

use std::sync::Arc;

use super::coins::{Coins, Query, Share};
use super::liar::Liar;
use super::{City, Scheme};
use crate::algorithms::abba::{Abba, Event};
use crate::crypto::hash::{Digest, digest};
use crate::error::{Error, Result};
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire;
use crate::sim::node::{MakeNode, Node, Step, Turn};

const CONTEXT_BIT: &str = "city-chain v1 simulation abba bit";

/// What the parties begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// All with the same bit.
    Same(bool),
    /// Those with an odd place with 1, the others with 0.
    Split,
}

/// What is decided in slot 0, by the bit.
pub fn value(bit: bool) -> Digest {
    digest(CONTEXT_BIT, &[u8::from(bit)])
}

/// Parties of one agreement; the last `liars` of them are the adversary's.
pub struct Agreements {
    city: Arc<City>,
    inputs: Inputs,
    liars: u16,
}

impl Agreements {
    /// `nodes` parties that say everything again every `patience` µs.
    ///
    /// # Errors
    /// [`Error::Input`] if there are too many, or the scheme tosses no coin.
    pub fn new(seed: u64, nodes: u16, inputs: Inputs, liars: u16, scheme: Scheme, patience: u64) -> Result<Self> {
        if liars >= nodes {
            return Err(Error::input("abba: somebody must be honest"));
        }
        Ok(Self { city: City::new(seed, nodes, scheme, patience)?, inputs, liars })
    }

    fn is_liar(&self, me: u16) -> bool {
        usize::from(me) >= self.city.committee.count() - usize::from(self.liars)
    }
}

impl MakeNode for Agreements {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        if self.is_liar(me) {
            return Ok(Box::new(Liar::new(me, Arc::clone(&self.city))));
        }
        let city = Arc::clone(&self.city);
        let key = city.keys[usize::from(me)].clone();
        let machine = Abba::restore(city.instance(0), city.committee.clone(), key, disk)?;
        let input = match self.inputs {
            Inputs::Same(bit) => bit,
            Inputs::Split => me % 2 == 1,
        };
        Ok(Box::new(Party { city, machine, input, coins: Coins::default(), told: false }))
    }

    fn is_honest(&self, me: u16) -> bool {
        !self.is_liar(me)
    }
}

struct Party {
    city: Arc<City>,
    machine: Abba,
    input: bool,
    coins: Coins,
    told: bool,
}

impl Party {
    /// Carries out what the machine wants; `only`: what it broadcasts is for one party.
    fn speak(&mut self, only: Option<u16>, turn: &mut Turn) {
        loop {
            let effects = self.machine.drain();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, record } => turn.step(Step::Persist { ticket, record }),
                    Effect::Output(Action::Broadcast { message }) => match only {
                        Some(to) => turn.send(to, message),
                        None => turn.broadcast(&message),
                    },
                    Effect::Output(Action::Event(event)) => {
                        if let Err(error) = self.event(event, turn) {
                            turn.fail(error.to_string());
                        }
                    }
                    Effect::Output(Action::Send { .. } | Action::Deadline { .. }) => {}
                }
            }
        }
    }

    fn event(&mut self, event: Event, turn: &mut Turn) -> Result<()> {
        match event {
            Event::NeedCoin { round } => {
                turn.note("round", u64::from(round), Vec::new());
                let share = self.coins.ask(&self.city, turn.me(), 0, 0, round)?;
                turn.broadcast(&wire::encode(&share)?);
                self.toss(round, turn)
            }
            Event::Decided { bit } => {
                if !self.told {
                    self.told = true;
                    turn.note("decided", u64::from(self.machine.round().unwrap_or(0)), Vec::new());
                    turn.decide(0, value(bit));
                }
                Ok(())
            }
            Event::Halted => Ok(()),
            Event::Alarm { .. } => Err(Error::protocol("abba: so many rounds, and a fair coin")),
        }
    }

    fn toss(&mut self, round: u32, turn: &mut Turn) -> Result<()> {
        if let Some(bit) = self.coins.toss(&self.city, 0, 0, round) {
            turn.note("coin", u64::from(round), vec![bit.into()]);
            self.machine.coin_result(round, bit)?;
        }
        Ok(())
    }

    fn take(&mut self, from: u16, message: &[u8], turn: &mut Turn) -> Result<()> {
        match message.first_chunk::<4>() {
            Some(b"CCgs") => {
                let share: Share = wire::decode(message)?;
                let round = share.round;
                self.coins.hear(&self.city, from, share)?;
                self.toss(round, turn)?;
            }
            Some(b"CCsq") => {
                let _: Query = wire::decode(message)?;
                if self.machine.halted() {
                    self.machine.resend()?;
                    self.speak(Some(from), turn);
                }
                return Ok(());
            }
            _ => self.machine.handle(from, message, turn.now())?,
        }
        self.speak(None, turn);
        Ok(())
    }
}

impl Node for Party {
    fn start(&mut self, turn: &mut Turn) {
        if self.machine.round().is_none() && !self.machine.halted() && self.machine.decided().is_none() {
            let _ = self.machine.input(self.input);
        }
        self.speak(None, turn);
        self.wake_later(turn);
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        if let Err(error) = self.take(from, message, turn) {
            turn.note("refused", u64::from(from), error.to_string().into_bytes());
        }
    }

    fn wake(&mut self, turn: &mut Turn) {
        if self.machine.halted() {
            return;
        }
        if let Ok(query) = wire::encode(&Query { slot: 0 }) {
            turn.broadcast(&query);
        }
        for share in self.coins.shown(turn.me(), 0) {
            if let Ok(share) = wire::encode(&share) {
                turn.broadcast(&share);
            }
        }
        if let Err(error) = self.machine.resend() {
            turn.fail(error.to_string());
        }
        self.speak(None, turn);
        self.wake_later(turn);
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        if let Err(error) = self.machine.durable(ticket) {
            turn.fail(error.to_string());
        }
        self.speak(None, turn);
    }
}

impl Party {
    fn wake_later(&self, turn: &mut Turn) {
        if !self.machine.halted() {
            turn.step(Step::Wake { at: turn.now().saturating_add(self.city.patience) });
        }
    }
}
