//! The outbox of a sans-I/O machine: what it wants done, in order, with persist-before-send.
//!
//! An output that must not be contradicted after a crash (a vote, a report) is pushed behind a journal record. The caller
//! drains the outbox, makes every [`Effect::Persist`] durable and says so with [`Outbox::durable`]; only then do the outputs
//! behind it come out. An output can therefore never be on its way while the record that forbids contradicting it is not.

use std::collections::VecDeque;

use crate::error::{Error, Result};

/// The most effects an outbox holds.
pub const EFFECTS_MAX: usize = 4096;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<T> {
    /// Make `record` durable, then call [`Outbox::durable`] with `ticket`.
    Persist {
        /// Names the record.
        ticket: u64,
        /// What to make durable.
        record: Vec<u8>,
    },
    /// Send or hand on.
    Output(T),
}

/// Pending effects of one machine.
#[derive(Debug)]
pub struct Outbox<T> {
    ready: VecDeque<Effect<T>>,
    held: VecDeque<(u64, T)>,
    issued: u64,
    durable: u64,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), held: VecDeque::new(), issued: 0, durable: 0 }
    }
}

impl<T> Outbox<T> {
    /// Whether `more` effects fit; to be asked before a state changes.
    pub fn room(&self, more: usize) -> Result<()> {
        let free = EFFECTS_MAX.saturating_sub(self.ready.len() + self.held.len());
        if more > free {
            return Err(Error::unavailable("outbox: room for effects", more as u64, free as u64));
        }
        Ok(())
    }

    /// Adds an output that nothing forbids to contradict.
    pub fn push(&mut self, output: T) {
        self.ready.push_back(Effect::Output(output));
    }

    /// Adds a journal record and the outputs that wait for it.
    pub fn push_behind(&mut self, record: Vec<u8>, outputs: impl IntoIterator<Item = T>) {
        self.issued += 1;
        self.ready.push_back(Effect::Persist { ticket: self.issued, record });
        self.held.extend(outputs.into_iter().map(|output| (self.issued, output)));
    }

    /// Takes what may be done now.
    pub fn drain(&mut self) -> Vec<Effect<T>> {
        self.ready.drain(..).collect()
    }

    /// All records up to `ticket` are durable: what waited for them is ready.
    pub fn durable(&mut self, ticket: u64) -> Result<()> {
        if ticket > self.issued || self.persisting(ticket) {
            return Err(Error::input(format!("outbox: ticket {ticket} was not handed out")));
        }
        self.durable = self.durable.max(ticket);
        while self.held.front().is_some_and(|(waits_for, _)| *waits_for <= self.durable) {
            if let Some((_, output)) = self.held.pop_front() {
                self.ready.push_back(Effect::Output(output));
            }
        }
        Ok(())
    }

    /// Whether the record of `ticket`, or an earlier one, has not even been drained.
    fn persisting(&self, ticket: u64) -> bool {
        self.ready.iter().any(|effect| matches!(effect, Effect::Persist { ticket: other, .. } if *other <= ticket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_wait_for_their_record() {
        let mut outbox = Outbox::default();
        outbox.push(1);
        outbox.push_behind(vec![7], [2, 3]);
        outbox.push(4);
        assert!(outbox.durable(1).is_err(), "not drained yet");
        let persist = Effect::Persist { ticket: 1, record: vec![7] };
        assert_eq!(outbox.drain(), [Effect::Output(1), persist, Effect::Output(4)]);
        assert_eq!(outbox.drain(), []);
        assert!(outbox.durable(2).is_err(), "never handed out");
        outbox.durable(1).unwrap();
        assert_eq!(outbox.drain(), [Effect::Output(2), Effect::Output(3)]);
        outbox.durable(1).unwrap();
        assert_eq!(outbox.drain(), []);
    }

    #[test]
    fn a_later_record_stands_for_the_earlier_ones() {
        let mut outbox = Outbox::default();
        outbox.push_behind(vec![1], ['a']);
        outbox.push_behind(vec![2], ['b']);
        assert_eq!(outbox.drain().len(), 2);
        outbox.durable(2).unwrap();
        assert_eq!(outbox.drain(), [Effect::Output('a'), Effect::Output('b')]);
    }

    #[test]
    fn it_is_bounded() {
        let mut outbox = Outbox::default();
        for at in 0..EFFECTS_MAX {
            outbox.room(1).unwrap();
            outbox.push(at);
        }
        assert!(matches!(outbox.room(1), Err(Error::Unavailable { needed: 1, had: 0, .. })));
    }
}
