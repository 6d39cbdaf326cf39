//! Bindings of the ledger: entries, batches and what commits them.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::city_keys::CityKeys;
use super::dispersal::Manifest;
use super::repair::Repair;
use super::selection::Epoch;
use super::sharding::Ruling;
use crate::crypto::hash::Digest;
use crate::primitives::wire;
use crate::proofs::dpos::VALIDATORS_MAX;
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::dpos::{Certificate, Slot};
use crate::python::int::Int;
use crate::python::record::{Wrapper, each, items, record};
use crate::python::text::Str;
use crate::records::batch as model;

record! {
    /// One line of the ledger: a transaction is committed, fragments of one moved, or the city ruled about one of
    /// several cities.
    ///
    /// Example:
    ///     >>> from city_chain.records import Entry
    ///     >>> Entry.transaction(manifest).kind
    ///     'transaction'
    Entry(model::Entry) in "city_chain.records";
    properties {
        /// `"transaction"`, `"repair"` or `"sharding"`.
        kind: &'static str = |core| match core {
            model::Entry::Transaction { .. } => "transaction",
            model::Entry::Repair { .. } => "repair",
            model::Entry::Sharding { .. } => "sharding",
        };
        /// The id of the transaction that it is about, 32 bytes; of a ruling: its subject.
        tx_id: Digest = |core| *core.tx_id();
        /// Of a transaction: its manifest's hash, 32 bytes.
        manifest_hash: Option<Digest> = |core| match core {
            model::Entry::Transaction { manifest_hash, .. } => Some(*manifest_hash),
            _ => None,
        };
        /// Of a transaction: its sender, 32 bytes.
        sender: Option<Digest> = |core| match core {
            model::Entry::Transaction { sender, .. } => Some(*sender),
            _ => None,
        };
        /// Of a transaction: its sender's public key of draws, 32 bytes, which may not change.
        vrf_public: Option<Digest> = |core| match core {
            model::Entry::Transaction { vrf_public, .. } => Some(*vrf_public),
            _ => None,
        };
        /// Of a transaction: its running number.
        sequence: Option<u64> = |core| match core {
            model::Entry::Transaction { sequence, .. } => Some(*sequence),
            _ => None,
        };
        /// Of a repair: its hash, 32 bytes.
        repair_hash: Option<Digest> = |core| match core {
            model::Entry::Repair { repair_hash, .. } => Some(*repair_hash),
            _ => None,
        };
        /// Of a repair: its running number, from 1.
        generation: Option<u32> = |core| match core {
            model::Entry::Repair { generation, .. } => Some(*generation),
            _ => None,
        };
        /// Of a ruling: its digest, 32 bytes.
        ruling_hash: Option<Digest> = |core| match core {
            model::Entry::Sharding { ruling_hash, .. } => Some(*ruling_hash),
            _ => None,
        };
    }
}

#[pymethods]
impl Entry {
    /// The entry that commits a transaction.
    ///
    /// Args:
    ///     manifest: The transaction's manifest.
    #[staticmethod]
    fn transaction(py: Python<'_>, manifest: &Manifest) -> PyResult<Self> {
        short(py, || Self::wrap(model::Entry::of(manifest.core(), manifest.id()?)))
    }

    /// The entry that commits a repair.
    ///
    /// Args:
    ///     repair: The repair.
    #[staticmethod]
    fn repair(py: Python<'_>, repair: &Repair) -> PyResult<Self> {
        short(py, || Self::wrap(model::Entry::repair(repair.core())?))
    }

    /// The entry that commits a ruling.
    ///
    /// Args:
    ///     ruling: What the city says to a command of sharding coordination.
    #[staticmethod]
    fn sharding(py: Python<'_>, ruling: &Ruling) -> PyResult<Self> {
        short(py, || Self::wrap(model::Entry::sharding(ruling.core())?))
    }
}

record! {
    /// What is voted on: a batch's place in the ledger and the root over its entries.
    ///
    /// Example:
    ///     >>> batch.header.height, batch.header.count, batch.header.previous == epoch.network
    ///     (1, 1, True)
    BatchHeader(model::BatchHeader) in "city_chain.records", id = model::BatchHeader::digest;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The number of the epoch whose delegates vote.
        epoch: u64 = |core| core.epoch;
        /// The batch's place in the ledger, from 1.
        height: u64 = |core| core.height;
        /// The digest of the batch before, 32 bytes; of the first: the network's id.
        previous: Digest = |core| core.previous;
        /// The name of the unit (the city).
        unit: String = |core| core.unit.to_string();
        /// The leader's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// How many entries there are, 1 to 4,096.
        count: u32 = |core| core.count;
        /// The Merkle root over the entries, 32 bytes.
        entries_root: Digest = |core| core.entries_root;
    }
}

#[pymethods]
impl BatchHeader {
    /// The digest that is voted on and that the next batch names, 32 bytes.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }
}

record! {
    /// A header and its entries, in the order of the ledger.
    ///
    /// Args:
    ///     epoch: The epoch whose delegates vote.
    ///     height: The batch's place in the ledger, from 1.
    ///     previous: The digest of the batch before, 32 bytes; of the first: the network's id.
    ///     unit: The name of the unit, at most 64 bytes of UTF-8.
    ///     hlc: The leader's hybrid logical clock.
    ///     entries: 1 to 4,096, no transaction and no repaired transaction twice.
    ///
    /// Raises:
    ///     InputError: A wrong length, height 0, no entry, too many, or one twice.
    ///
    /// Example:
    ///     >>> from city_chain.records import Batch, Entry
    ///     >>> first = Batch(epoch, height=1, previous=epoch.network, unit="Utrecht", hlc=4,
    ///     ...               entries=[Entry.transaction(manifest)])
    ///     >>> [entry.tx_id == transaction.tx_id for entry in first.entries]
    ///     [True]
    Batch(model::Batch) in "city_chain.records",
        id = |core| core.header.digest(), work = |core| core.entries.len() * 1024, keeps = true;
    parts {
        /// What is voted on.
        header: BatchHeader;
    }
    properties {
    }
}

#[pymethods]
impl Batch {
    #[new]
    #[pyo3(signature = (epoch, *, height, previous, unit, hlc, entries))]
    fn new(
        py: Python<'_>,
        epoch: &Epoch,
        height: Int<u64>,
        previous: Input<'_>,
        unit: Str,
        hlc: Int<u64>,
        entries: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let previous = previous.digest(py, "batch: previous")?;
        let entries = each(entries, "batch: entries", model::ENTRIES_MAX, |entry: &Entry| entry.core().clone())?;
        let epoch = epoch.core();
        let work = entries.len() * 1024;
        sized(py, work, || Self::wrap(model::Batch::new(epoch, height.0, previous, &unit.0, hlc.0, entries)?))
    }

    /// The entries, in order.
    #[getter]
    fn entries(&self, py: Python<'_>) -> PyResult<Vec<Entry>> {
        short(py, || self.core.entries.iter().cloned().map(Entry::wrap).collect())
    }

    /// The header's digest, 32 bytes.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }
}

record! {
    /// What a commit engine produced for a batch. Each engine has its own kind; the interface is the same.
    ///
    /// Example:
    ///     >>> commit.engine
    ///     'dpos'
    ///     >>> commit.verify(epoch, batch.header)
    CommitCertificate(model::CommitCertificate) in "city_chain.records",
        work = |core| match core {
            model::CommitCertificate::Dpos(inner) => inner.signatures.len() * 66,
            model::CommitCertificate::Bls { .. } | model::CommitCertificate::City { .. } => 0,
            _ => 4096,
        };
    properties {
        /// The engine's name, `"dpos"`, `"hotstuff"` or `"abba"`; `"bls"` where it is compressed.
        engine: &'static str = |core| core.engine();
    }
}

#[pymethods]
impl CommitCertificate {
    /// Of the engine `"dpos"`.
    ///
    /// Args:
    ///     certificate: The delegates' votes.
    #[staticmethod]
    fn dpos(py: Python<'_>, certificate: &Certificate) -> PyResult<Self> {
        short(py, || Self::wrap(model::CommitCertificate::Dpos(certificate.core().clone())))
    }

    /// Of the engine `"hotstuff"`.
    ///
    /// Args:
    ///     batch: The digest of the batch, 32 bytes.
    ///     proof: The proof that a block with that payload is committed (see `city_chain.algorithms.hs`).
    ///
    /// Raises:
    ///     InputError: A wrong length, or a proof that is not well-formed.
    #[staticmethod]
    fn hotstuff(py: Python<'_>, batch: Input<'_>, proof: Input<'_>) -> PyResult<Self> {
        let batch = batch.digest(py, "commit certificate: batch")?;
        let proof = proof.as_slice();
        short(py, || Self::wrap(model::CommitCertificate::Hotstuff { batch, proof: wire::decode(proof)? }))
    }

    /// Of the engine `"abba"`.
    ///
    /// Args:
    ///     certificate: What a quorum confirmed (see `city_chain.algorithms.abba`).
    ///
    /// Raises:
    ///     InputError: It is not well-formed.
    #[staticmethod]
    fn abba(py: Python<'_>, certificate: Input<'_>) -> PyResult<Self> {
        let certificate = certificate.as_slice();
        short(py, || Self::wrap(model::CommitCertificate::Abba(wire::decode(certificate)?)))
    }

    /// The engine's own certificate, of the engine `"dpos"`.
    ///
    /// Raises:
    ///     InputError: The certificate is compressed (there are no votes in it any more), or another engine's.
    #[getter]
    fn certificate(&self, py: Python<'_>) -> PyResult<Certificate> {
        short(py, || Certificate::wrap(self.core.votes()?.clone()))
    }

    /// What was voted for, of the engine `"dpos"`; None of the others, whose votes name the batch by its digest alone.
    #[getter]
    fn slot(&self) -> Option<Slot> {
        self.core.slot().map(|slot| Slot::wrap(*slot))
    }

    /// The digest of the batch that it is about, 32 bytes. Nothing is checked: see `verify`.
    #[getter]
    fn batch(&self) -> Digest {
        self.core.batch()
    }

    /// The places of the delegates whose signatures are in it, from 0, in the epoch's order; none where it is compressed.
    /// Nothing is checked: see `verify`.
    #[getter]
    fn signers(&self) -> Vec<u16> {
        self.core.signers()
    }

    /// The commit proof of the engine `"hotstuff"`, for `city_chain.algorithms.hs.verify_commit`; None of the others.
    #[getter]
    fn proof<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.core
            .proof()
            .map(|proof| short(py, || wire::encode(proof)).map(|bytes| PyBytes::new(py, &bytes)))
            .transpose()
    }

    /// What the city's key signs to compress the certificate, 32 bytes.
    #[getter]
    fn compressed_message(&self) -> Digest {
        self.core.compressed_message()
    }

    /// The compressed certificate, as the delegates' shares of its signature make it.
    ///
    /// Args:
    ///     keys: The city's keys.
    ///     shares: Shares of the signature over `compressed_message` (see `KeyShares.sign`), a threshold of them or more.
    ///
    /// Returns:
    ///     The compressed certificate, and the places (from 1) of the delegates whose shares were found to be wrong.
    ///
    /// Raises:
    ///     UnavailableError: Fewer right shares than the threshold.
    ///     InputError: A share has another length, or is there twice.
    fn compressed(&self, py: Python<'_>, keys: &CityKeys, shares: &Bound<'_, PyAny>) -> PyResult<(Self, Vec<u16>)> {
        let shares: Vec<Vec<u8>> = items(shares, "commit certificate: shares", VALIDATORS_MAX, |item| {
            Ok(item.extract::<Input<'_>>()?.as_slice().to_vec())
        })?;
        let shares: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
        long(py, || {
            let (made, wrong) = self.core.compressed(keys.core(), &shares)?;
            Ok((Self::wrap(made)?, wrong))
        })
    }

    /// Checks that the epoch's delegates committed the batch with this header. A compressed certificate is refused: only a
    /// receipt's `verify` takes one, with the city's key.
    ///
    /// Args:
    ///     epoch: Who votes.
    ///     header: The batch.
    ///
    /// Raises:
    ///     VerificationError: Another batch, epoch or network, too little stake, or a wrong signature.
    fn verify(&self, py: Python<'_>, epoch: &Epoch, header: &BatchHeader) -> PyResult<()> {
        long(py, || self.core.verify(epoch.core(), header.core()))
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Entry>()?;
    module.add_class::<BatchHeader>()?;
    module.add_class::<Batch>()?;
    module.add_class::<CommitCertificate>()
}
