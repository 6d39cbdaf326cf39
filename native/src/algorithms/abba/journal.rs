//! What came in, in order: all there is to a machine's state, and what it writes before anything goes out.
//!
//! A machine is the fold of its inputs. Inputs that let nothing out wait in memory and are written with the next one that
//! does: a crash forgets them as if they had never arrived, and nothing that was said rests on them.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::machine::Action;
use crate::primitives::mutant::mutant;
use crate::primitives::outbox::{Effect, Outbox};
use crate::primitives::wire::{self, List, Record};

/// The most inputs of one record.
pub(super) const INPUTS_MAX: usize = 1 << 24;

/// Bytes of inputs that may wait for the next record.
const WAITING_MAX: usize = 64 * 1024;

/// Inputs in a row.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inputs<I> {
    /// The agreement.
    pub scope: Digest,
    /// Whose machine.
    pub party: u16,
    /// How many inputs came before these; 0 is the start, and makes what stood before it void.
    pub before: u64,
    /// The inputs.
    pub inputs: List<I, INPUTS_MAX>,
}

/// An input that has a size.
pub(super) trait Measured {
    /// Its bytes, about.
    fn size(&self) -> usize;
}

/// The journal and the outbox of one machine.
#[derive(Debug)]
pub(super) struct Journal<I, E> {
    scope: Digest,
    party: u16,
    inputs: Vec<I>,
    written: usize,
    waiting: usize,
    issued: u64,
    durable: u64,
    outbox: Outbox<Action<E>>,
}

impl<I: Measured + Clone, E> Journal<I, E>
where
    Inputs<I>: Record,
{
    pub(super) fn new(scope: Digest, party: u16) -> Self {
        let outbox = Outbox::default();
        Self { scope, party, inputs: Vec::new(), written: 0, waiting: 0, issued: 0, durable: 0, outbox }
    }

    /// Whether so many outputs fit; to be asked before a state changes.
    pub(super) fn room(&self, outputs: usize) -> Result<()> {
        self.outbox.room(outputs + 1)
    }

    /// Notes an input.
    pub(super) fn note(&mut self, input: I) {
        self.waiting += input.size();
        self.inputs.push(input);
    }

    /// Lets outputs out once all inputs up to here are durable.
    pub(super) fn release(&mut self, outputs: Vec<Action<E>>) -> Result<()> {
        let written = self.written == self.inputs.len() && self.durable == self.issued;
        if written || mutant!("abba.journal_late") {
            outputs.into_iter().for_each(|output| self.outbox.push(output));
        } else if !outputs.is_empty() || self.waiting > WAITING_MAX {
            let record = self.record(self.written)?;
            self.outbox.push_behind(record, outputs);
            (self.written, self.waiting) = (self.inputs.len(), 0);
            self.issued += 1;
        }
        Ok(())
    }

    fn record(&self, from: usize) -> Result<Vec<u8>> {
        let inputs = List::new("abba: inputs", self.inputs[from..].to_vec())?;
        wire::encode(&Inputs { scope: self.scope, party: self.party, before: from as u64, inputs })
    }

    /// All inputs, as one record that stands for all others.
    pub(super) fn snapshot(&self) -> Result<Vec<u8>> {
        self.record(0)
    }

    pub(super) fn drain(&mut self) -> Vec<Effect<Action<E>>> {
        self.outbox.drain()
    }

    pub(super) fn durable(&mut self, ticket: u64) -> Result<()> {
        self.outbox.durable(ticket)?;
        self.durable = self.durable.max(ticket);
        Ok(())
    }

    /// Reads records in order and takes their inputs for written.
    ///
    /// # Errors
    /// [`Error::Input`] if a record is not well-formed, of another machine, or one before it is missing.
    pub(super) fn read(&mut self, records: &[Vec<u8>]) -> Result<Vec<I>> {
        let mut inputs = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let record: Inputs<I> = wire::decode(record)?;
            if (record.scope, record.party) != (self.scope, self.party) {
                return Err(Error::input(format!("abba: journal record {at} is of another agreement or party")));
            }
            if record.before == 0 {
                inputs.clear();
            }
            if record.before != inputs.len() as u64 {
                let (needed, found) = (inputs.len(), record.before);
                let what = format!("abba: journal record {at} goes on after {found} inputs, there are {needed}");
                return Err(Error::input(what));
            }
            inputs.extend(record.inputs.into_vec());
        }
        self.inputs.clone_from(&inputs);
        (self.written, self.waiting) = (inputs.len(), 0);
        Ok(inputs)
    }
}
