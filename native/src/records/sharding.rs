//! What a city rules about transactions that touch several cities: a command of sharding coordination and the statement
//! that the city makes upon it, committed like a transaction.
//!
//! Command and statement are opaque here (see [`crate::algorithms::sc`]): whoever judges a batch evaluates the command
//! against the city's state and refuses a ruling with another statement than what comes out. What locks a key for the
//! first time has a warrant with it: the head of the sender's transaction ([`TransactionHead::verify_crossing`]).
//!
//! [`TransactionHead::verify_crossing`]: super::transaction::TransactionHead::verify_crossing

use borsh::{BorshDeserialize, BorshSerialize};

use super::transaction::HEAD_LEN_MAX;
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, Bytes, Record};

/// The most bytes of a command: certificates of all the cities that it rests on, or the keys that move.
pub const COMMAND_MAX: usize = 1 << 20;

/// The most bytes of a statement.
pub const STATEMENT_MAX: usize = 4 << 10;

const CONTEXT_RULING: &str = "city-chain v1 sharding ruling";

/// A command, and what the city says to it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ruling {
    /// What the command is about: the id of a transaction of several cities, or of a change of the layout.
    pub subject: Digest,
    /// The command, encoded.
    pub command: Bytes<COMMAND_MAX>,
    /// What the city's delegates sign once the ruling is committed, encoded.
    pub statement: Bytes<STATEMENT_MAX>,
    /// The head of the transaction that the command is about, encoded; empty where the command needs none, and then the
    /// ruling is written in version 1, which knew of none.
    pub warrant: Bytes<HEAD_LEN_MAX>,
}

impl Record for Ruling {
    const TAG: [u8; 4] = *b"CCru";
    const VERSION: u16 = 2;
    const NAME: &'static str = "ruling";
    const LEN_MAX: usize = COMMAND_MAX + STATEMENT_MAX + HEAD_LEN_MAX + 64;

    fn version(&self) -> u16 {
        if self.warrant.is_empty() { 1 } else { 2 }
    }

    fn write_body(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        if !self.warrant.is_empty() {
            return self.serialize(out);
        }
        self.subject.serialize(out)?;
        self.command.serialize(out)?;
        self.statement.serialize(out)
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        let read = |body: &mut &[u8]| {
            let subject = Digest::deserialize(body)?;
            let command = Bytes::deserialize(body)?;
            Ok(Self { subject, command, statement: Bytes::deserialize(body)?, warrant: Bytes::default() })
        };
        (version == 1).then(|| read(body))
    }

    fn check(&self) -> Result<()> {
        if self.command.is_empty() || self.statement.is_empty() {
            return Err(Error::input("ruling: a command and a statement are needed, one of them is empty"));
        }
        Ok(())
    }
}

impl Ruling {
    /// A ruling about `subject`.
    ///
    /// # Errors
    /// [`Error::Input`] if command or statement is empty or too long.
    pub fn new(subject: Digest, command: Vec<u8>, statement: Vec<u8>) -> Result<Self> {
        let made = Self {
            subject,
            command: Bytes::new("ruling: command", command)?,
            statement: Bytes::new("ruling: statement", statement)?,
            warrant: Bytes::default(),
        };
        made.check()?;
        Ok(made)
    }

    /// The same ruling with the head of the transaction that its command is about.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too long.
    pub fn with_warrant(self, warrant: Vec<u8>) -> Result<Self> {
        Ok(Self { warrant: Bytes::new("ruling: warrant", warrant)?, ..self })
    }

    /// What a ledger's entry names.
    ///
    /// # Errors
    /// [`Error::Input`] if it cannot be encoded.
    pub fn digest(&self) -> Result<Digest> {
        Ok(hash::digest(CONTEXT_RULING, &wire::encode(self)?))
    }
}
