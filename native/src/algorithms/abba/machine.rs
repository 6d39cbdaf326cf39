//! One agreement on one bit, as a machine.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Instance;
use super::binary::{Binary, OUTPUTS_MAX, Outcome, ROUND_MAX};
use super::journal::{Inputs, Journal, Measured};
use super::message::{Statement, Vote};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{Digest, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire::{self, Record};

/// What happens in an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The coin of this round is needed: show this party's share of it, and tell what it shows ([`Abba::coin_result`]).
    /// Never before, because whoever knows a coin early can keep the parties apart.
    NeedCoin {
        /// The round.
        round: u32,
    },
    /// The bit is decided, once and for ever. Go on: others need this party until [`Event::Halted`].
    Decided {
        /// The bit.
        bit: bool,
    },
    /// All others can decide without this party; it answers only [`Abba::resend`].
    Halted,
    /// A round was entered that a fair coin leads to once in 2^120 agreements: the coin is broken.
    Alarm {
        /// The round.
        round: u32,
    },
}

/// What a machine was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Input {
    Start { bit: bool },
    Heard { sender: u16, statement: Statement },
    Coin { round: u32, bit: bool },
}

impl Measured for Input {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Record for Inputs<Input> {
    const TAG: [u8; 4] = *b"CCaj";
    const VERSION: u16 = 1;
    const NAME: &'static str = "abba journal";
    const LEN_MAX: usize = 256 << 20;
}

/// One agreement on one bit. Not `Clone`: two copies could contradict each other.
///
/// | input | condition | what comes of it |
/// |---|---|---|
/// | `input(bit)` | once | the rules of [`super`] begin |
/// | `handle(sender, message)` | signed by the sender, new, at most [`super::ROUNDS_AHEAD_MAX`] rounds ahead | it is counted |
/// | `coin_result(round, bit)` | the coin was asked for | the round ends |
/// | `resend()` | | everything that is still needed goes out again |
///
/// Links that lose nothing need no `resend`; over others, call it from time to time, and when another party asks.
pub struct Abba {
    scope: Digest,
    committee: Committee,
    key: SigningKey,
    me: u16,
    binary: Binary,
    journal: Journal<Input, Event>,
}

impl Abba {
    /// The machine of the holder of `key`.
    ///
    /// # Errors
    /// [`Error::Input`] if the key is not of the committee.
    pub fn new(instance: Instance, committee: Committee, key: SigningKey) -> Result<Self> {
        let me = place(&committee, &key)?;
        let scope = instance.scope(&committee);
        Ok(Self { scope, committee, key, me, binary: Binary::new(me), journal: Journal::new(scope, me) })
    }

    /// The machine as it was when the last of `records` (in order; the first may be a [`Self::snapshot`]) was written. The
    /// events that its driver may have lost come out again. Call [`Self::resend`] when the others can hear.
    ///
    /// # Errors
    /// [`Error::Input`] if the records are not this machine's, or one is missing.
    pub fn restore(instance: Instance, committee: Committee, key: SigningKey, records: &[Vec<u8>]) -> Result<Self> {
        let mut machine = Self::new(instance, committee, key)?;
        for input in machine.journal.read(records)? {
            machine.apply(input);
        }
        let mut events: Vec<Event> = machine.binary.asked().map(|round| Event::NeedCoin { round }).collect();
        events.extend(machine.binary.decided().map(|bit| Event::Decided { bit }));
        events.extend(machine.binary.halted().then_some(Event::Halted));
        machine.journal.release(events.into_iter().map(Action::Event).collect())?;
        Ok(machine)
    }

    /// Everything that must survive a crash, as one record that stands for all before it.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too large to be written.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        self.journal.snapshot()
    }

    /// Begins with this party's bit; the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if it has begun; [`Error::Unavailable`] if too many effects wait to be drained.
    pub fn input(&mut self, bit: bool) -> Result<()> {
        if self.binary.started() {
            return Err(Error::input("abba: it has begun; a party has one input"));
        }
        self.journal.room(OUTPUTS_MAX)?;
        self.take(Input::Start { bit })
    }

    /// Tells what the coin of a round shows; the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if the coin was not asked for or has shown the other side; [`Error::Unavailable`] if too many
    /// effects wait to be drained.
    pub fn coin_result(&mut self, round: u32, bit: bool) -> Result<()> {
        if !self.binary.admits_coin(round, bit)? {
            return Ok(());
        }
        self.journal.room(OUTPUTS_MAX)?;
        self.take(Input::Coin { round, bit })
    }

    /// Says again all that was said and somebody may still need: at most four statements a round and the decision.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if too many effects wait to be drained.
    pub fn resend(&mut self) -> Result<()> {
        let said = self.binary.said();
        self.journal.room(said.len())?;
        let actions = said.into_iter().map(|statement| self.broadcast(statement)).collect::<Result<_>>()?;
        self.journal.release(actions)
    }

    /// This party's place.
    pub fn me(&self) -> u16 {
        self.me
    }

    /// The round that was entered last; `None` before [`Self::input`].
    pub fn round(&self) -> Option<u32> {
        self.binary.round()
    }

    /// The decision, if there is one.
    pub fn decided(&self) -> Option<bool> {
        self.binary.decided()
    }

    /// Whether all others can decide without this party.
    pub fn halted(&self) -> bool {
        self.binary.halted()
    }

    fn take(&mut self, input: Input) -> Result<()> {
        self.journal.note(input);
        let outcomes = self.apply(input);
        let actions = outcomes.into_iter().map(|outcome| self.action(outcome)).collect::<Result<_>>()?;
        self.journal.release(actions)
    }

    fn apply(&mut self, input: Input) -> Vec<Outcome> {
        match input {
            Input::Start { bit } => self.binary.start(&self.committee, bit),
            Input::Heard { sender, statement } => self.binary.hear(&self.committee, sender, statement),
            Input::Coin { round, bit } => self.binary.coin(&self.committee, round, bit),
        }
    }

    fn action(&self, outcome: Outcome) -> Result<Action<Event>> {
        Ok(Action::Event(match outcome {
            Outcome::Say(statement) => return self.broadcast(statement),
            Outcome::NeedCoin(round) => Event::NeedCoin { round },
            Outcome::Decided(bit) => Event::Decided { bit },
            Outcome::Halted => Event::Halted,
            Outcome::Alarm(round) => Event::Alarm { round },
        }))
    }

    fn broadcast(&self, statement: Statement) -> Result<Action<Event>> {
        let message = wire::encode(&Vote::new(&self.key, self.scope, statement)?)?;
        Ok(Action::Broadcast { message })
    }
}

impl Machine for Abba {
    type Event = Event;

    fn handle(&mut self, sender: u16, message: &[u8], _now: u64) -> Result<()> {
        let vote: Vote = wire::decode(message)?;
        let member = sender_of(&self.committee, self.me, &self.scope, sender, &vote.scope)?;
        if !self.binary.admits(sender, &vote.statement)? {
            return Ok(());
        }
        self.journal.room(OUTPUTS_MAX)?;
        remembered::verify(&member, &vote.message()?, &vote.signature)
            .map_err(|_| Error::verification(format!("abba vote: the signature is not of party {sender}")))?;
        self.take(Input::Heard { sender, statement: vote.statement })
    }

    fn tick(&mut self, _now: u64) -> Result<()> {
        Ok(())
    }

    fn drain(&mut self) -> Vec<Effect<Action<Event>>> {
        self.journal.drain()
    }

    fn durable(&mut self, ticket: u64) -> Result<()> {
        self.journal.durable(ticket)
    }
}

/// Where the holder of `key` stands.
pub(super) fn place(committee: &Committee, key: &SigningKey) -> Result<u16> {
    let public = key.public();
    committee.position(&public).ok_or_else(|| Error::input(format!("abba: {} is not of the committee", hex(&public))))
}

/// The key of a sender whose message is of the agreement `scope`.
pub(super) fn sender_of(committee: &Committee, me: u16, scope: &Digest, sender: u16, of: &Digest) -> Result<[u8; 32]> {
    if of != scope {
        return Err(Error::protocol(format!("abba: a message of the agreement {}, not of {}", hex(of), hex(scope))));
    }
    if sender == me {
        return Err(Error::protocol(format!("abba: a message of party {sender}, which this is")));
    }
    let member = committee.get(sender);
    member
        .map(|member| member.key)
        .ok_or_else(|| Error::protocol(format!("abba: there is no party {sender}, there are {}", committee.count())))
}

const _: () = assert!(ROUND_MAX as usize * 4 + 5 < crate::primitives::outbox::EFFECTS_MAX);
