//! Bindings of the receipt and of what a verifier believes beforehand.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::dispersal::{AvailabilityCertificate, Manifest};
use super::ledger::{Batch, BatchHeader, CommitCertificate};
use super::selection::Epoch;
use super::transaction::Transaction;
use crate::crypto::hash::Digest;
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::int::Int;
use crate::python::record::{Wrapper, check_tuple, each, items, record};
use crate::records::batch::ENTRIES_MAX;
use crate::records::receipt as model;

record! {
    /// What the sender keeps: proof, checked offline, that a transaction was dispersed to enough holders and committed.
    ///
    /// Args:
    ///     availability: Who holds it.
    ///     epoch: Who voted.
    ///     batch: The batch that it is in.
    ///     certificate: That the batch is committed.
    ///     position: Where in the batch it is, from 0.
    ///
    /// Raises:
    ///     VerificationError: The transaction is not at that place of the batch.
    ///     InputError: There is no such place.
    ///
    /// Example:
    ///     >>> from city_chain.records import Receipt, Trust
    ///     >>> trust = Trust.of(epoch)
    ///     >>> again = Receipt.from_bytes(receipt.to_bytes())
    ///     >>> again.verify(trust)
    ///     >>> again.verify_transaction(transaction)
    Receipt(model::Receipt) in "city_chain.records",
        work = |core| core.availability.acks.len() * 512 + core.epoch.validators.items().len() * 64;
    parts {
        /// Who holds the transaction.
        availability: AvailabilityCertificate;
        /// Who voted.
        epoch: Epoch;
        /// The batch that it is in.
        header: BatchHeader;
        /// That the batch is committed.
        certificate: CommitCertificate;
    }
    properties {
        /// The transaction's id, 32 bytes.
        tx_id: Digest = |core| *core.tx_id();
        /// Where in the batch it is.
        position: u32 = |core| core.position;
    }
}

#[pymethods]
impl Receipt {
    #[new]
    fn new(
        py: Python<'_>,
        availability: &AvailabilityCertificate,
        epoch: &Epoch,
        batch: &Batch,
        certificate: &CommitCertificate,
        position: Int<u32>,
    ) -> PyResult<Self> {
        let (availability, epoch) = (availability.core().clone(), epoch.core().clone());
        let (batch, certificate) = (batch.core(), certificate.core().clone());
        long(py, || Self::wrap(model::Receipt::new(availability, epoch, batch, certificate, position.0)?))
    }

    /// Many receipts of one batch; the batch's Merkle tree is built once.
    ///
    /// Args:
    ///     availabilities: Who holds what, one per transaction.
    ///     epoch: Who voted.
    ///     batch: The batch that they are in.
    ///     certificate: That the batch is committed.
    ///     positions: Where in the batch they are, one per transaction.
    ///
    /// Raises:
    ///     VerificationError: A transaction is not at its place of the batch.
    ///     InputError: There is no such place, or the two lists differ in length.
    #[staticmethod]
    fn many(
        py: Python<'_>,
        availabilities: &Bound<'_, PyAny>,
        epoch: &Epoch,
        batch: &Batch,
        certificate: &CommitCertificate,
        positions: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<Self>> {
        let availabilities =
            each(availabilities, "receipt: availabilities", ENTRIES_MAX, AvailabilityCertificate::shared)?;
        let positions = items(positions, "receipt: positions", ENTRIES_MAX, |item| Ok(item.extract::<Int<u32>>()?.0))?;
        let (epoch, batch, certificate) = (epoch.core(), batch.core(), certificate.core());
        long(py, || {
            let made = model::Receipt::many(&availabilities, epoch, batch, certificate, &positions)?;
            made.into_iter().map(Self::wrap).collect()
        })
    }

    /// What was dispersed.
    #[getter]
    fn manifest(&self, py: Python<'_>) -> PyResult<Py<Manifest>> {
        self.availability(py)?.get().manifest(py)
    }

    /// Checks the whole receipt: the sender's signature, the draw, the holders' acks, the place in the batch and the
    /// delegates' votes. Needs no network.
    ///
    /// Args:
    ///     trust: What is believed beforehand.
    ///
    /// Raises:
    ///     VerificationError: Another network or epoch, or something in it is wrong.
    ///     UnavailableError: The acks are fewer than the manifest's quorum.
    fn verify(&self, py: Python<'_>, trust: &Trust) -> PyResult<()> {
        long(py, || self.core.verify(trust.core()))
    }

    /// The same receipt with another certificate of the same votes: the compressed one instead of the full one.
    ///
    /// Args:
    ///     certificate: The certificate.
    ///
    /// Raises:
    ///     VerificationError: It is about another batch or attempt.
    fn with_certificate(&self, py: Python<'_>, certificate: &CommitCertificate) -> PyResult<Self> {
        let certificate = certificate.core().clone();
        short(py, || Self::wrap(self.core.with_certificate(certificate)?))
    }

    /// Checks that a transaction is the one that the receipt is about, whole and signed.
    ///
    /// Args:
    ///     transaction: What was sent, or came back.
    ///
    /// Raises:
    ///     VerificationError: It is another one, or its signature is wrong.
    fn verify_transaction(&self, py: Python<'_>, transaction: &Transaction) -> PyResult<()> {
        long(py, || self.core.verify_transaction(transaction.core()))
    }
}

record! {
    /// What a verifier believes beforehand: a network, the roots of its epochs, and the city's public key, if compressed
    /// certificates are to be checked.
    ///
    /// Args:
    ///     network: The network's id, 32 bytes.
    ///     epochs: (number, root) each, 1 to 4,096, distinct by number.
    ///     city_key: The BLS public key of the city (typed bytes), which all its epochs share.
    ///
    /// Raises:
    ///     InputError: A wrong length, no epoch, too many, one twice, or a key that is none.
    ///
    /// Example:
    ///     >>> from city_chain.records import Trust
    ///     >>> Trust(epoch.network, [(0, epoch.root)]) == Trust.of(epoch)
    ///     True
    Trust(model::Trust) in "city_chain.records";
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// (number, root) each, ascending by number.
        epochs: Vec<(u64, Digest)> = |core| core.epochs.iter().map(|epoch| (epoch.number, epoch.root)).collect();
    }
}

#[pymethods]
impl Trust {
    #[new]
    #[pyo3(signature = (network, epochs, city_key = None))]
    fn new(
        py: Python<'_>,
        network: Input<'_>,
        epochs: &Bound<'_, PyAny>,
        city_key: Option<Input<'_>>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "trust anchor: network")?;
        let epochs = items(epochs, "trust anchor: epochs", model::EPOCHS_MAX, |item| {
            check_tuple(item, 2, "trust anchor: epoch")?;
            let (number, root): (Int<u64>, Input<'_>) = item.extract()?;
            Ok(model::TrustedEpoch { number: number.0, root: root.digest(py, "trust anchor: root")? })
        })?;
        let city_key = city_key.as_ref().map(Input::as_slice);
        long(py, || {
            let trust = model::Trust::new(network, epochs)?;
            Self::wrap(match city_key {
                Some(key) => trust.with_city_key(key)?,
                None => trust,
            })
        })
    }

    /// The BLS public key of the city (typed bytes), if compressed certificates are to be checked.
    #[getter]
    fn city_key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.core.city_key_typed().map(|key| PyBytes::new(py, &key))
    }

    /// Trust in one epoch.
    ///
    /// Args:
    ///     epoch: The epoch.
    #[staticmethod]
    fn of(py: Python<'_>, epoch: &Epoch) -> PyResult<Self> {
        short(py, || Self::wrap(model::Trust::of(epoch.core())?))
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Receipt>()?;
    module.add_class::<Trust>()
}
