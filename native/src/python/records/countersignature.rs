//! Bindings of countersignatures.

use std::collections::{HashMap, HashSet};

use pyo3::prelude::*;

use super::message::NodeRecord;
use super::receipt::{Receipt, Trust};
use crate::crypto::hash::Digest;
use crate::python::buffer::Input;
use crate::python::call::{long, short};
use crate::python::identity::Identity;
use crate::python::poh::Ack;
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, items, record};
use crate::records::countersignature as model;

record! {
    /// A node's ML-DSA-65 signature of an ack that it made, or of a batch that is committed. Made by `of_ack`, `of_batch`.
    ///
    /// Example:
    ///     >>> from city_chain.records import Countersignature
    ///     >>> made = Countersignature.of_ack(holders[0], acks[0])
    ///     >>> made.verify()
    ///     >>> made.kind, made.subject == acks[0].digest, len(made.signature)
    ///     ('ack', True, 3309)
    Countersignature(model::Countersignature) in "city_chain.records";
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// Who signed, 32 bytes.
        node: Digest = |core| core.node;
        /// The ML-DSA public key, type prefix included.
        public: &[u8] = |core| &core.public;
        /// What is signed: ``"ack"`` or ``"batch"``.
        kind: &'static str = |core| match core.subject {
            model::Subject::Ack(_) => "ack",
            model::Subject::Batch(_) => "batch",
        };
        /// The digest of what is signed, 32 bytes.
        subject: Digest = |core| match core.subject {
            model::Subject::Ack(digest) | model::Subject::Batch(digest) => digest,
        };
        /// The signature.
        signature: &[u8] = |core| &core.signature;
    }
}

#[pymethods]
impl Countersignature {
    /// Countersigns an ack of the identity's own.
    ///
    /// Args:
    ///     identity: The holder.
    ///     ack: What it signed by Ed25519 before.
    ///
    /// Raises:
    ///     InputError: The ack is another node's.
    ///     VerificationError: Its signature is wrong.
    #[staticmethod]
    fn of_ack(py: Python<'_>, identity: &Identity, ack: &Ack) -> PyResult<Self> {
        let (identity, ack) = (identity.core(), ack.core());
        long(py, || Self::wrap(model::Countersignature::of_ack(identity, ack)?))
    }

    /// Countersigns a batch that the signer knows to be committed.
    ///
    /// Args:
    ///     identity: The delegate.
    ///     network: The network's id, 32 bytes.
    ///     digest: The digest of the batch's header, 32 bytes.
    ///
    /// Raises:
    ///     InputError: A wrong length.
    #[staticmethod]
    fn of_batch(py: Python<'_>, identity: &Identity, network: Input<'_>, digest: Input<'_>) -> PyResult<Self> {
        let network = network.digest(py, "countersignature: network")?;
        let digest = digest.digest(py, "countersignature: batch")?;
        let identity = identity.core();
        long(py, || Self::wrap(model::Countersignature::of_batch(identity, network, digest)?))
    }

    /// Checks that it is of the node of a record, made with the ML-DSA key in that record, and right.
    ///
    /// Args:
    ///     entry: The signer's node record, whose own signature is not checked here.
    ///
    /// Raises:
    ///     VerificationError: It is of another node, with another key, or wrong.
    fn verify_by(&self, py: Python<'_>, entry: &NodeRecord) -> PyResult<()> {
        long(py, || self.core.verify_by(entry.core()))
    }

    /// Checks the signature under the key in it; whose key that is, a `CountersignedReceipt` checks.
    ///
    /// Raises:
    ///     VerificationError: It is wrong.
    ///     InputError: The key is no ML-DSA public key.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify())
    }
}

record! {
    /// A receipt with countersignatures of a write quorum of its holders and a quorum of its delegates.
    ///
    /// Args:
    ///     receipt: What is countersigned.
    ///     signed: (the signer's node record, its countersignature) each, in any order.
    ///
    /// Raises:
    ///     VerificationError: A countersignature is of something else than an ack or the batch of the receipt.
    ///     InputError: A node signed one thing twice, or there are too many.
    ///
    /// Example:
    ///     >>> from city_chain.records import Countersignature, CountersignedReceipt, NodeRecord, Trust
    ///     >>> terms = {"network": epoch.network, "region": "Utrecht", "domain": "north", "address": "local:1",
    ///     ...          "roles": 3, "weight": 65536, "stake": 1, "sequence": 1, "hlc": 1}
    ///     >>> signed = [(NodeRecord(node, **terms), Countersignature.of_ack(node, ack))
    ///     ...           for node, ack in zip(holders, acks)]
    ///     >>> whole = Countersignature.of_batch(delegate, epoch.network, batch.digest)
    ///     >>> made = CountersignedReceipt(receipt, [*signed, (NodeRecord(delegate, **terms), whole)])
    ///     >>> len(made.verify(Trust.of(epoch)))
    ///     4
    CountersignedReceipt(model::CountersignedReceipt) in "city_chain.records",
        work = |core| (core.holders.len() + core.delegates.len()) * 4096;
    parts {
        /// What is countersigned.
        receipt: Receipt;
    }
    properties {
        /// The holders that countersigned their acks, 32 bytes each, ascending.
        holders: Vec<Digest> = |core| core.holders.iter().map(|vouched| vouched.entry.node).collect();
        /// The delegates that countersigned the batch, 32 bytes each, ascending.
        delegates: Vec<Digest> = |core| core.delegates.iter().map(|vouched| vouched.entry.node).collect();
    }
}

#[pymethods]
impl CountersignedReceipt {
    #[new]
    fn new(py: Python<'_>, receipt: &Receipt, signed: &Bound<'_, PyAny>) -> PyResult<Self> {
        let signed = items(signed, "countersigned receipt", MANY_MAX, |item| {
            check_tuple(item, 2, "countersigned receipt")?;
            let (entry, made): (Bound<'_, NodeRecord>, Bound<'_, Countersignature>) = item.extract()?;
            Ok(model::Vouched { entry: entry.get().core().clone(), countersignature: made.get().core().clone() })
        })?;
        let receipt = receipt.core().clone();
        long(py, || Self::wrap(model::CountersignedReceipt::new(receipt, signed)?))
    }

    /// Checks the receipt and every countersignature; needs no network.
    ///
    /// Args:
    ///     trust: What is believed beforehand.
    ///     keys: (node, digest of its ML-DSA key: `NodeRecord.ml_dsa`) of the nodes whose keys are known beforehand, such
    ///         as delegates'. Those of the others are believed on their node records, which are signed by Ed25519.
    ///
    /// Returns:
    ///     The signers whose keys were believed on their node records, 32 bytes each, ascending.
    ///
    /// Raises:
    ///     VerificationError: The receipt or a countersignature is wrong, or a key is not the one that is known.
    ///     UnavailableError: The holders are fewer than the manifest's quorum, or the delegates' stake is no quorum:
    ///         `needed` and `had`.
    #[pyo3(signature = (trust, keys = None))]
    fn verify(&self, py: Python<'_>, trust: &Trust, keys: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Digest>> {
        let known: HashMap<Digest, Digest> = match keys {
            None => HashMap::new(),
            Some(keys) => items(keys, "countersigned receipt: keys", MANY_MAX, |item| {
                check_tuple(item, 2, "countersigned receipt: key")?;
                let (node, digest): (Input<'_>, Input<'_>) = item.extract()?;
                let node = node.digest(py, "countersigned receipt: node")?;
                Ok((node, digest.digest(py, "countersigned receipt: key")?))
            })?
            .into_iter()
            .collect(),
        };
        let trust = trust.core();
        long(py, || {
            self.core.verify(trust, &known)?;
            Ok(self.core.believed(&known.keys().copied().collect::<HashSet<_>>()))
        })
    }

    /// (the signer's node record, its countersignature) each: holders' first.
    fn signed(&self, py: Python<'_>) -> PyResult<Vec<(NodeRecord, Countersignature)>> {
        let both = self.core.holders.iter().chain(self.core.delegates.iter());
        short(py, || {
            both.map(|vouched| {
                let made = Countersignature::wrap(vouched.countersignature.clone())?;
                Ok((NodeRecord::wrap(vouched.entry.clone())?, made))
            })
            .collect()
        })
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Countersignature>()?;
    module.add_class::<CountersignedReceipt>()
}
