//! Bindings of the manifest and the availability certificate.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::selection::{Candidates, Epoch, Selection};
use super::transaction::Transaction;
use crate::algorithms::ec::Code;
use crate::crypto::hash::Digest;
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::poh::Ack;
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, digests, each, items, record, verdicts};
use crate::records::FRAGMENTS_MAX;
use crate::records::manifest as model;
use crate::records::signed::Signed;
use crate::records::{availability, bursts};

record! {
    /// The sender's signed description of a dispersal: what was cut, how, and who holds it.
    ///
    /// Its digest is the manifest hash that every ack names.
    ///
    /// Args:
    ///     identity: The transaction's sender.
    ///     transaction: What was dispersed.
    ///     length: Bytes of the encoded transaction.
    ///     k: How many fragments restore it, at least 1.
    ///     n: How many fragments there are, at most 1,024.
    ///     quorum: How many acks make the dispersal available, k to n; see `city_chain.proofs.poh.write_quorum`.
    ///     fragment_hashes: The n fragments' BLAKE3 hashes, by index.
    ///     selection: Who holds them, at least `quorum` nodes.
    ///     code: The erasure code's id; ``None`` is that of `city_chain.algorithms.ec.code_for`.
    ///
    /// Raises:
    ///     InputError: Numbers that do not fit each other, or an identity that is not the sender.
    ///
    /// Example:
    ///     >>> manifest.verify()
    ///     >>> manifest.verify_hashes(hashes)
    ///     >>> manifest.tx_id == transaction.tx_id, (manifest.k, manifest.n, manifest.quorum)
    ///     (True, (2, 4, 3))
    Manifest(model::Manifest) in "city_chain.records", id = Signed::digest;
    parts {
        /// Who holds the fragments, and why they.
        selection: Selection;
    }
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The transaction's id, 32 bytes.
        tx_id: Digest = |core| core.tx_id;
        /// The sender's public signing key, 32 bytes.
        sender: Digest = |core| core.sender;
        /// The transaction's running number.
        sequence: u64 = |core| core.sequence;
        /// Bytes of the encoded transaction.
        length: u64 = |core| core.length;
        /// The erasure code's id; see `city_chain.algorithms.ec`.
        code: u8 = |core| core.code;
        /// How many fragments restore it.
        k: u16 = |core| core.k;
        /// How many fragments there are.
        n: u16 = |core| core.n;
        /// How many acks make the dispersal available.
        quorum: u16 = |core| core.quorum;
        /// How the payload is sealed: None, ``"city"`` or ``"readers"``; see `seal_to_city` and `seal_to_readers`.
        cipher: Option<&'static str> = |core| core.cipher.name();
        /// The hash of the capsule that delegates give decryption shares for, 32 bytes; None if it is not sealed to the city.
        capsule_hash: Option<Digest> = |core| core.cipher.capsule();
        /// The Merkle root over the fragments' hashes, 32 bytes.
        fragment_root: Digest = |core| core.fragment_root;
        /// The sender's signature, 64 bytes.
        signature: [u8; 64] = |core| core.signature;
    }
}

#[pymethods]
impl Manifest {
    #[new]
    #[pyo3(signature = (identity, *, transaction, length, k, n, quorum, fragment_hashes, selection, code = None))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        transaction: &Transaction,
        length: Int<u64>,
        k: Int<u16>,
        n: Int<u16>,
        quorum: Int<u16>,
        fragment_hashes: &Bound<'_, PyAny>,
        selection: &Selection,
        code: Option<Int<u64>>,
    ) -> PyResult<Self> {
        let hashes = digests(fragment_hashes, "manifest: fragment hash", FRAGMENTS_MAX)?;
        let code = code.map(|id| short(py, || Code::from_id(id.0))).transpose()?;
        let shape = model::Shape { length: length.0, k: k.0, n: n.0, quorum: quorum.0, code };
        let (identity, selection) = (identity.core(), selection.core().clone());
        let work = hashes.len() * 64;
        sized(py, work, || {
            let (sent, tx_id) = (transaction.core(), transaction.id()?);
            Self::wrap(model::Manifest::new(identity, sent, tx_id, shape, &hashes, selection)?)
        })
    }

    /// Makes and signs the manifests of many dispersals of one shape.
    ///
    /// Args:
    ///     identity: The transactions' sender.
    ///     items: (transaction, bytes of it, the n fragments' hashes, selection) each, at most 1,048,576.
    ///     k: How many fragments restore one, at least 1.
    ///     n: How many fragments there are, at most 1,024.
    ///     quorum: How many acks make a dispersal available, k to n.
    ///     code: The erasure code's id; None is the one that `city_chain.algorithms.ec` takes for (k, n - k).
    ///
    /// Returns:
    ///     One manifest each, in order.
    ///
    /// Raises:
    ///     InputError: Numbers that do not fit each other, or an identity that is not the sender.
    ///
    /// Example:
    ///     >>> from city_chain.records import Manifest
    ///     >>> item = (transaction, len(transaction.to_bytes()), hashes, selection)
    ///     >>> Manifest.many(identity, [item], k=2, n=4, quorum=3) == [manifest]
    ///     True
    #[staticmethod]
    #[pyo3(signature = (identity, items, *, k, n, quorum, code = None))]
    fn many(
        py: Python<'_>,
        identity: &Identity,
        items: &Bound<'_, PyAny>,
        k: Int<u16>,
        n: Int<u16>,
        quorum: Int<u16>,
        code: Option<Int<u64>>,
    ) -> PyResult<Vec<Self>> {
        let code = code.map(|id| short(py, || Code::from_id(id.0))).transpose()?;
        let given = self::items(items, "manifests", MANY_MAX, |item| {
            check_tuple(item, 4, "manifest")?;
            type Given<'py> = (Bound<'py, Transaction>, Int<u64>, Bound<'py, PyAny>, Bound<'py, Selection>);
            let (transaction, length, hashes, selection): Given<'_> = item.extract()?;
            let hashes = digests(&hashes, "manifest: fragment hash", FRAGMENTS_MAX)?;
            let (sent, tx_id) = short(py, || transaction.get().shared_with_id())?;
            Ok((sent, tx_id, length.0, hashes, selection.get().shared()))
        })?;
        let identity = identity.core();
        long(py, || {
            bursts::make_many(&given, |(sent, tx_id, length, hashes, selection)| {
                let shape = model::Shape { length: *length, k: k.0, n: n.0, quorum: quorum.0, code };
                Self::wrap(model::Manifest::new(identity, sent, *tx_id, shape, hashes, (**selection).clone())?)
            })
        })
    }

    /// The manifest's digest, 32 bytes, which every ack names.
    #[getter]
    fn manifest_hash(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }

    /// Checks the sender's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the sender's over this manifest.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }

    /// The label under which the payload was sealed to the city.
    ///
    /// Args:
    ///     capsule: The capsule of the sealed payload.
    ///
    /// Returns:
    ///     32 bytes: with them and the capsule a delegate makes its decryption share.
    ///
    /// Raises:
    ///     VerificationError: The payload is not sealed to the city, or this is not its capsule.
    fn opening_label(&self, py: Python<'_>, capsule: Input<'_>) -> PyResult<Digest> {
        let capsule = capsule.as_slice();
        sized(py, capsule.len(), || self.core.opening_label(capsule))
    }

    /// Checks that these are the hashes of all fragments.
    ///
    /// Args:
    ///     fragment_hashes: 32 bytes each, by index.
    ///
    /// Raises:
    ///     VerificationError: They are not n, or do not lead to the manifest's root.
    fn verify_hashes(&self, py: Python<'_>, fragment_hashes: &Bound<'_, PyAny>) -> PyResult<()> {
        let hashes = digests(fragment_hashes, "manifest: fragment hash", FRAGMENTS_MAX)?;
        sized(py, hashes.len() * 128, || self.core.verify_hashes(&hashes))
    }
}

record! {
    /// A manifest and enough holders' acks: the content outlives any tolerated fault.
    ///
    /// Args:
    ///     manifest: What was dispersed.
    ///     fragment_hashes: The n fragments' hashes, by index.
    ///     acks: The holders' acks, in any order, distinct by fragment and by node. Their signatures are checked by
    ///         `verify`, not here.
    ///
    /// Raises:
    ///     VerificationError: The hashes are not the manifest's, or an ack is about something else.
    ///     InputError: A fragment or a node twice.
    ///
    /// Example:
    ///     >>> availability.verify(epoch)
    ///     >>> [index for index, node in availability.holders]
    ///     [0, 1, 2]
    AvailabilityCertificate(availability::AvailabilityCertificate) in "city_chain.records",
        work = |core| core.acks.len() * 512, keeps = true;
    parts {
        /// What was dispersed.
        manifest: Manifest;
    }
    properties {
        /// The hash of every fragment, by index.
        fragment_hashes: Vec<Digest> = |core| core.fragment_hashes.to_vec();
        /// Who holds what, as (fragment index, node), by index.
        holders: Vec<(u16, Digest)> = |core| core.holders();
        /// The grade of place with which each holder was chosen, as (fragment index, grade), by index; empty if places did
        /// not count. The sender signed them, and whoever voted for the transaction compared them with the candidate list.
        grades: Vec<(u16, u8)> = |core| core.grades();
    }
}

#[pymethods]
impl AvailabilityCertificate {
    #[new]
    fn new(
        py: Python<'_>,
        manifest: &Manifest,
        fragment_hashes: &Bound<'_, PyAny>,
        acks: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let hashes = digests(fragment_hashes, "availability certificate: fragment hash", FRAGMENTS_MAX)?;
        let acks = each(acks, "availability certificate: acks", FRAGMENTS_MAX, Ack::shared)?;
        let manifest = manifest.core().clone();
        sized(py, (hashes.len() + acks.len()) * 64, || {
            Self::wrap(availability::AvailabilityCertificate::new(manifest, hashes, &acks)?)
        })
    }

    /// Makes many certificates.
    ///
    /// Args:
    ///     items: (manifest, fragment hashes, acks) each, at most 1,048,576.
    ///
    /// Returns:
    ///     One certificate each, in order.
    ///
    /// Raises:
    ///     VerificationError: The hashes are not the manifest's, or an ack is about something else.
    ///     InputError: A fragment or a node twice.
    ///
    /// Example:
    ///     >>> from city_chain.records import AvailabilityCertificate
    ///     >>> AvailabilityCertificate.many([(manifest, hashes, acks)]) == [availability]
    ///     True
    #[staticmethod]
    fn many(py: Python<'_>, items: &Bound<'_, PyAny>) -> PyResult<Vec<Self>> {
        let given = self::items(items, "availability certificates", MANY_MAX, |item| {
            check_tuple(item, 3, "availability certificate")?;
            let (manifest, hashes, acks): (Bound<'_, Manifest>, Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let hashes = digests(&hashes, "availability certificate: fragment hash", FRAGMENTS_MAX)?;
            let acks = each(&acks, "availability certificate: acks", FRAGMENTS_MAX, Ack::shared)?;
            Ok((manifest.get().shared(), hashes, acks))
        })?;
        let work = given.iter().map(|(_, hashes, acks)| (hashes.len() + acks.len()) * 64).sum();
        sized(py, work, || {
            bursts::make_many(&given, |(manifest, hashes, acks)| {
                let (manifest, hashes) = ((**manifest).clone(), hashes.clone());
                Self::wrap(availability::AvailabilityCertificate::new(manifest, hashes, acks)?)
            })
        })
    }

    /// The holders' acks in full, by fragment index.
    #[getter]
    fn acks(&self, py: Python<'_>) -> PyResult<Vec<Ack>> {
        short(py, || self.core.full_acks()?.into_iter().map(Ack::wrap).collect())
    }

    /// Checks everything but the choice of nodes, which needs the candidate list (see `verify_selections`): the
    /// sender's signature, the proof of the draw, the hashes, and a write quorum of right acks.
    ///
    /// Args:
    ///     epoch: The epoch it must be of.
    ///
    /// Raises:
    ///     VerificationError: Something in it is wrong.
    ///     UnavailableError: The acks are fewer than the manifest's quorum.
    fn verify(&self, py: Python<'_>, epoch: &Epoch) -> PyResult<()> {
        long(py, || self.core.verify(epoch.core()))
    }
}

/// Checks many availability certificates, all signatures in two batches and every distinct draw once.
///
/// Args:
///     certificates: At most 1,048,576.
///     epoch: The epoch they must be of.
///
/// Returns:
///     One verdict each, the same that `AvailabilityCertificate.verify` gives: None, or an exception (not raised).
///
/// Example:
///     >>> from city_chain.records import verify_availability
///     >>> verify_availability([availability], epoch)
///     [None]
#[pyfunction]
fn verify_availability(
    py: Python<'_>,
    certificates: &Bound<'_, PyAny>,
    epoch: &Epoch,
) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let certificates = each(certificates, "availability certificates", MANY_MAX, AvailabilityCertificate::shared)?;
    let epoch = epoch.core();
    Ok(verdicts(py, long(py, || availability::verify_many(&certificates, epoch))?))
}

/// Checks the choice of nodes of many manifests; every distinct proof is checked once, however many manifests it serves.
///
/// Args:
///     manifests: At most 1,048,576.
///     epoch: The epoch they must be of.
///     candidates: The list that the nodes must be from.
///
/// Returns:
///     One verdict each: None, or a VerificationError (not raised).
///
/// Example:
///     >>> from city_chain.records import verify_selections
///     >>> verify_selections([manifest], epoch, candidates)
///     [None]
#[pyfunction]
fn verify_selections(
    py: Python<'_>,
    manifests: &Bound<'_, PyAny>,
    epoch: &Epoch,
    candidates: &Candidates,
) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let manifests = each(manifests, "manifests", MANY_MAX, Manifest::shared)?;
    let (epoch, prepared) = (epoch.core(), candidates.prepared());
    Ok(verdicts(py, long(py, || Ok(availability::verify_selections(&manifests, epoch, prepared)))?))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Manifest>()?;
    module.add_class::<AvailabilityCertificate>()?;
    module.add_function(wrap_pyfunction!(verify_availability, module)?)?;
    module.add_function(wrap_pyfunction!(verify_selections, module)?)
}
