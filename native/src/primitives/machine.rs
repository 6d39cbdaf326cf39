//! What every agreement machine looks like from outside: bytes in, effects out.
//!
//! A machine has no threads, clocks, sockets or randomness. Its driver (the simulator, a node of a city, a caller of one's
//! own) hands it messages and the time, drains its effects, makes every [`Effect::Persist`] durable and says so; only then
//! do the actions that rest on it come out. The same inputs give the same bytes.

use crate::error::Result;
use crate::primitives::outbox::Effect;

/// What a machine asks of its driver; `E` are the happenings of its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<E> {
    /// Send to one party.
    Send {
        /// Its place in the committee.
        to: u16,
        /// An encoding that the receiver's [`Machine::handle`] reads.
        message: Vec<u8>,
    },
    /// Send to every other party. The machine has taken its own copy already.
    Broadcast {
        /// An encoding that the receivers' [`Machine::handle`] reads.
        message: Vec<u8>,
    },
    /// Call [`Machine::tick`] at that time, µs of the driver's clock; replaces what was set before.
    Deadline {
        /// When.
        at: u64,
    },
    /// Something the driver must act on or may want to know.
    Event(E),
}

/// A sans-I/O agreement machine.
pub trait Machine {
    /// The happenings of the protocol.
    type Event;

    /// Takes a message of a party. What is refused leaves the state as it was.
    ///
    /// # Errors
    /// What is wrong with the message.
    fn handle(&mut self, sender: u16, message: &[u8], now: u64) -> Result<()>;

    /// The time is `now`; a machine without timing assumptions has nothing to do here.
    ///
    /// # Errors
    /// [`crate::error::Error::Unavailable`] if too many effects wait to be drained.
    fn tick(&mut self, now: u64) -> Result<()>;

    /// Takes the effects that may be carried out now, in their order.
    fn drain(&mut self) -> Vec<Effect<Action<Self::Event>>>;

    /// The record of `ticket` and all before it are durable.
    ///
    /// # Errors
    /// [`crate::error::Error::Input`] if no such ticket was handed out.
    fn durable(&mut self, ticket: u64) -> Result<()>;
}
