//! Bindings of what a city rules about transactions of several cities.

use pyo3::prelude::*;

use crate::crypto::hash::Digest;
use crate::python::buffer::Input;
use crate::python::call::{short, sized};
use crate::python::record::{Wrapper, record};
use crate::records::sharding as model;

record! {
    /// A command of sharding coordination, and what the city says to it: the evidence behind a ledger's entry.
    ///
    /// Args:
    ///     subject: What the command is about, 32 bytes.
    ///     command: The command, encoded, 1 byte to 1 MiB.
    ///     statement: What the city's delegates sign once it is committed, encoded, 1 byte to 4 KiB.
    ///     warrant: The head of the transaction that the command is about, encoded, at most 8 KiB; empty where none is
    ///         needed.
    ///
    /// Raises:
    ///     InputError: A wrong length.
    ///
    /// Example:
    ///     >>> from city_chain.records import Entry, Ruling
    ///     >>> ruling = Ruling(bytes(32), command=b"prepare", statement=b"prepared")
    ///     >>> Entry.sharding(ruling).ruling_hash == ruling.digest
    ///     True
    Ruling(model::Ruling) in "city_chain.records", id = model::Ruling::digest, work = |core| core.command.len();
    properties {
        /// What the command is about, 32 bytes.
        subject: Digest = |core| core.subject;
        /// The command, encoded.
        command: Vec<u8> = |core| core.command.to_vec();
        /// What the city's delegates sign, encoded.
        statement: Vec<u8> = |core| core.statement.to_vec();
        /// The head of the transaction that the command is about, encoded; empty where none is needed.
        warrant: Vec<u8> = |core| core.warrant.to_vec();
    }
}

#[pymethods]
impl Ruling {
    #[new]
    #[pyo3(
        signature = (subject, *, command, statement, warrant = None),
        text_signature = "(subject, *, command, statement, warrant=b'')"
    )]
    fn new(
        py: Python<'_>,
        subject: Input<'_>,
        command: Input<'_>,
        statement: Input<'_>,
        warrant: Option<Input<'_>>,
    ) -> PyResult<Self> {
        let subject = subject.digest(py, "ruling: subject")?;
        let (command, statement) = (command.as_slice(), statement.as_slice());
        let warrant = warrant.as_ref().map_or(&[][..], |warrant| warrant.as_slice());
        let work = command.len().min(model::COMMAND_MAX);
        sized(py, work, || {
            let ruling = model::Ruling::new(subject, command.to_vec(), statement.to_vec())?;
            Self::wrap(ruling.with_warrant(warrant.to_vec())?)
        })
    }

    /// What a ledger's entry names, 32 bytes.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Ruling>()
}
