//! Adversaries of an agreement on one bit, with real keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::City;
use super::coins::Share;
use crate::algorithms::abba::{Statement, Vote};
use crate::algorithms::tes::coin::Name;
use crate::error::Result;
use crate::primitives::wire::{self, Bytes};
use crate::sim::network::{Envelope, Fate, Scheduler};
use crate::sim::node::{Node, Step, Turn};
use crate::sim::rng::Rng;

/// A party that says one thing to half of the others and the opposite to the rest, third echoes and decisions included, in
/// every round that it hears of, and shows shares of coins that are none.
pub struct Liar {
    me: u16,
    city: Arc<City>,
    rounds: BTreeSet<u32>,
}

impl Liar {
    pub(super) fn new(me: u16, city: Arc<City>) -> Self {
        Self { me, city, rounds: BTreeSet::new() }
    }

    fn say(&self, to: u16, statement: Statement, turn: &mut Turn) -> Result<()> {
        let scope = self.city.instance(0).scope(&self.city.committee);
        let vote = Vote::new(&self.city.keys[usize::from(self.me)], scope, statement)?;
        turn.send(to, wire::encode(&vote)?);
        Ok(())
    }

    fn lie(&mut self, round: u32, turn: &mut Turn) -> Result<()> {
        if !self.rounds.insert(round) {
            return Ok(());
        }
        for to in (0..turn.nodes()).filter(|to| *to != self.me) {
            let bit = (u32::from(to) + round).is_multiple_of(2);
            self.say(to, Statement::Echo1 { round, bit }, turn)?;
            self.say(to, Statement::Echo1 { round, bit: !bit }, turn)?;
            self.say(to, Statement::Echo2 { round, bit }, turn)?;
            let third = if round % 3 == 2 { None } else { Some(bit) };
            for bit in [third, Some(!bit), None] {
                self.say(to, Statement::Echo3 { round, bit }, turn)?;
            }
            self.say(to, Statement::Decide { bit }, turn)?;
        }
        let name = Name { chain: b"another", epoch: 0, instance: b"another", round: 0 };
        let share = self.city.coin.share(&self.city.secrets[usize::from(self.me)], &name)?;
        let share = Share { slot: 0, of: 0, round, share: Bytes::new("share", share)? };
        turn.broadcast(&wire::encode(&share)?);
        Ok(())
    }
}

impl Node for Liar {
    fn start(&mut self, turn: &mut Turn) {
        let _ = self.lie(0, turn);
    }

    fn receive(&mut self, _: u16, message: &[u8], turn: &mut Turn) {
        let round = wire::decode::<Vote>(message).ok().and_then(|vote| vote.statement.round());
        let _ = round.map(|round| self.lie(round, turn));
    }

    fn wake(&mut self, _: &mut Turn) {}

    fn durable(&mut self, _: u64, _: &mut Turn) {}
}

/// A network that waits for the coin: as soon as some party knows what it shows, everything that says so is late, and what
/// says the opposite is early. What one party of its choice hears is late always.
pub struct Contrary {
    victim: u16,
    late: u64,
    coins: Vec<Option<bool>>,
}

impl Contrary {
    /// Against the party `victim`; messages are up to `late` µs late.
    pub fn new(victim: u16, late: u64) -> Self {
        Self { victim, late, coins: Vec::new() }
    }
}

impl Scheduler for Contrary {
    fn fate(&mut self, envelope: &Envelope<'_>, rng: &mut Rng) -> Fate {
        let quick = Fate::After(1 + rng.below(100));
        let Ok(vote) = wire::decode::<Vote>(envelope.message) else { return quick };
        let coin = vote.statement.round().and_then(|round| *self.coins.get(round as usize)?);
        let bit = match vote.statement {
            Statement::Echo1 { bit, .. } | Statement::Echo2 { bit, .. } | Statement::Decide { bit } => Some(bit),
            Statement::Echo3 { bit, .. } => bit,
        };
        match coin {
            Some(coin) if bit == Some(!coin) => quick,
            _ if coin.is_some() || envelope.to == self.victim => Fate::After(self.late + rng.below(self.late)),
            _ => quick,
        }
    }

    fn saw(&mut self, _node: u16, _at: u64, step: &Step) {
        if let Step::Note { kind: "coin", number, bytes } = step {
            let (round, bit) = (*number as usize, bytes == &[1]);
            if self.coins.len() <= round {
                self.coins.resize(round + 1, None);
            }
            self.coins[round] = Some(bit);
        }
    }
}
