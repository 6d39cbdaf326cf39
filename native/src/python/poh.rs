//! Bindings of the Proof of Hold.

use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::buffer::Input;
use super::call::{long, short, sized};
use super::identity::Identity;
use super::int::Int;
use super::record::{MANY_MAX, Wrapper, check_tuple, each, items, record, verdicts};
use super::records::Manifest;
use super::session;
use crate::crypto::hash::{self, Digest};
use crate::primitives::bulk::BulkSignature;
use crate::primitives::quorum;
use crate::proofs::poh as model;
use crate::records::bursts;

record! {
    /// What a sender asks of one node: to hold a fragment, and to prove it for a challenge. Made by `request_many`.
    ///
    /// Example:
    ///     >>> requests[0].verify()
    ///     >>> requests[0].node == holders[0].id, requests[0].index, requests[0].n
    ///     (True, 0, 4)
    HoldRequest(model::HoldRequest) in "city_chain.proofs.poh";
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// Who asks, 32 bytes.
        sender: Digest = |core| core.sender;
        /// Who is asked, 32 bytes.
        node: Digest = |core| core.node;
        /// The transaction's id, 32 bytes.
        tx_id: Digest = |core| core.tx_id;
        /// The hash of its manifest, 32 bytes.
        manifest_hash: Digest = |core| core.manifest_hash;
        /// Which fragment.
        index: u16 = |core| core.index;
        /// Of how many.
        n: u16 = |core| core.n;
        /// The fragment's BLAKE3 hash, 32 bytes.
        fragment_hash: Digest = |core| core.fragment_hash;
        /// What the node must key its proof with, 32 bytes.
        challenge: Digest = |core| core.challenge;
        /// The sender's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// Until when an ack is of use, UTC epoch milliseconds.
        deadline_ms: u64 = |core| core.deadline_ms;
        /// Until when the fragment is to be held, UTC epoch milliseconds.
        hold_until_ms: u64 = |core| core.hold_until_ms;
        /// The id of the session that seals the fragment on its way, 32 bytes; empty if it is not sealed.
        session: &[u8] = |core| &core.session;
    }
}

#[pymethods]
impl HoldRequest {
    /// Checks the sender's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the sender's over this request.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify())
    }
}

record! {
    /// A node's signed word that it holds a fragment, with a proof over its bytes. Made by `hold_many`.
    ///
    /// Example:
    ///     >>> acks[0].verify()
    ///     >>> acks[0].verify_answers(requests[0])
    ///     >>> acks[0].verify_held(fragments[0])
    Ack(model::Ack) in "city_chain.proofs.poh";
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// Who holds, 32 bytes.
        node: Digest = |core| core.node;
        /// The transaction's id, 32 bytes.
        tx_id: Digest = |core| core.tx_id;
        /// The hash of its manifest, 32 bytes.
        manifest_hash: Digest = |core| core.manifest_hash;
        /// Which fragment.
        index: u16 = |core| core.index;
        /// Of how many.
        n: u16 = |core| core.n;
        /// The fragment's BLAKE3 hash, 32 bytes.
        fragment_hash: Digest = |core| core.fragment_hash;
        /// The node's hybrid logical clock when the fragment was stored.
        hlc: u64 = |core| core.hlc;
        /// Until when it is held, UTC epoch milliseconds.
        hold_until_ms: u64 = |core| core.hold_until_ms;
        /// What the node was challenged with, 32 bytes.
        challenge: Digest = |core| core.challenge;
        /// Keyed BLAKE3 of the fragment under the challenge, 32 bytes.
        proof: Digest = |core| core.proof;
    }
}

#[pymethods]
impl Ack {
    /// What stands for the ack: the digest of everything but its signature, 32 bytes.
    #[getter]
    fn digest(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.core.digest())
    }

    /// Checks the node's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the node's over this ack.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify())
    }

    /// Checks that the ack answers a request in every field.
    ///
    /// Args:
    ///     request: What was asked.
    ///
    /// Raises:
    ///     VerificationError: It answers another one.
    fn verify_answers(&self, py: Python<'_>, request: &HoldRequest) -> PyResult<()> {
        short(py, || self.core.verify_answers(request.core()))
    }

    /// Checks the proof over the bytes, which only those who have the fragment can.
    ///
    /// Args:
    ///     fragment: The fragment's bytes.
    ///
    /// Raises:
    ///     VerificationError: It is another fragment, or the proof is not over it.
    fn verify_held(&self, py: Python<'_>, fragment: Input<'_>) -> PyResult<()> {
        let fragment = fragment.as_slice();
        sized(py, fragment.len() * 2, || self.core.verify_held(fragment))
    }
}

/// The challenge of one node, from one secret seed per transaction.
///
/// Args:
///     seed: 32 secret bytes of the sender.
///     node: The node's id, 32 bytes.
///     index: Which fragment, 0 to 65,535.
///
/// Returns:
///     32 bytes that the node cannot know before.
///
/// Raises:
///     InputError: A wrong length, or an index that does not fit.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.challenge(bytes(32), bytes(32), 0) != poh.challenge(bytes(32), bytes(32), 1)
///     True
#[pyfunction]
fn challenge(py: Python<'_>, seed: Input<'_>, node: Input<'_>, index: Int<u16>) -> PyResult<Digest> {
    let (seed, node) = (seed.digest(py, "challenge: seed")?, node.digest(py, "challenge: node")?);
    short(py, || Ok(model::challenge(&seed, &node, index.0)))
}

/// Asks many nodes to hold fragments, with one signature over all requests.
///
/// Args:
///     identity: Who asks.
///     items: (manifest, fragment hash, node, index, challenge) each; hash, node and challenge are 32 bytes.
///     sessions: The sessions with the nodes; a request to a node without one names none.
///     hlc: The sender's hybrid logical clock.
///     deadline_ms: Until when an ack is of use, UTC epoch milliseconds.
///     hold_until_ms: Until when the fragments are to be held, UTC epoch milliseconds.
///
/// Returns:
///     One request each, in order.
///
/// Raises:
///     InputError: A wrong length, an index that is not below n, more than 1,048,576.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> item = (manifest, hashes[0], holders[0].id, 0, poh.challenge(bytes(32), holders[0].id, 0))
///     >>> asked = poh.request_many(identity, [item], hlc=1, deadline_ms=1000, hold_until_ms=2000)
///     >>> asked[0].verify()
#[pyfunction]
#[pyo3(signature = (identity, items, sessions = None, *, hlc, deadline_ms, hold_until_ms))]
#[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
fn request_many(
    py: Python<'_>,
    identity: &Identity,
    items: &Bound<'_, PyAny>,
    sessions: Option<&Bound<'_, PyAny>>,
    hlc: Int<u64>,
    deadline_ms: Int<u64>,
    hold_until_ms: Int<u64>,
) -> PyResult<Vec<HoldRequest>> {
    let sender = identity.core().id();
    let sessions = bursts::sessions_by_node(&session::read(sessions)?);
    let requests = self::items(items, "hold requests", MANY_MAX, |item| {
        check_tuple(item, 5, "hold request")?;
        let (manifest, fragment_hash, node, index, challenge): (
            Bound<'_, Manifest>,
            Input<'_>,
            Input<'_>,
            Int<u16>,
            Input<'_>,
        ) = item.extract()?;
        let manifest = manifest.get();
        let manifest_hash = short(py, || manifest.id())?;
        let manifest = manifest.core();
        let node = node.digest(py, "hold request: node")?;
        Ok(model::HoldRequest {
            network: manifest.network,
            sender,
            node,
            tx_id: manifest.tx_id,
            manifest_hash,
            index: index.0,
            n: manifest.n,
            fragment_hash: fragment_hash.digest(py, "hold request: fragment hash")?,
            challenge: challenge.digest(py, "hold request: challenge")?,
            hlc: hlc.0,
            deadline_ms: deadline_ms.0,
            hold_until_ms: hold_until_ms.0,
            session: short(py, || bursts::session_with(&sessions, &node))?,
            authorization: BulkSignature::empty(),
        })
    })?;
    let key = identity.shared();
    sized(py, requests.len() * 1024, || {
        model::request_many(key.signing(), requests)?.into_iter().map(HoldRequest::wrap).collect()
    })
}

/// Checks the signatures of many hold requests; a signature that serves many is checked once.
///
/// Args:
///     requests: At most 1,048,576.
///
/// Returns:
///     One verdict each, the same that `HoldRequest.verify` gives: None, or a VerificationError (not raised).
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.verify_requests(requests)
///     [None, None, None]
#[pyfunction]
fn verify_requests(py: Python<'_>, requests: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let requests = each(requests, "hold requests", MANY_MAX, HoldRequest::shared)?;
    Ok(verdicts(py, long(py, || model::verify_requests(&requests))?))
}

/// Acknowledges fragments that are stored, with one signature over all acks.
///
/// Call it after the fragments are durable: an ack is a promise.
///
/// Args:
///     identity: The node that was asked.
///     held: (request, fragment) each.
///     hlc: The node's hybrid logical clock.
///
/// Returns:
///     One ack each, in order.
///
/// Raises:
///     VerificationError: A request for another node, or a fragment whose hash is not the one requested.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> [ack] = poh.hold_many(holders[0], [(requests[0], fragments[0])], 2)
///     >>> ack.verify_answers(requests[0])
#[pyfunction]
fn hold_many(py: Python<'_>, identity: &Identity, held: &Bound<'_, PyAny>, hlc: Int<u64>) -> PyResult<Vec<Ack>> {
    let held: Vec<(Arc<model::HoldRequest>, Input<'_>)> = items(held, "held fragments", MANY_MAX, |item| {
        check_tuple(item, 2, "held fragment")?;
        let (request, fragment): (Bound<'_, HoldRequest>, Input<'_>) = item.extract()?;
        Ok((request.get().shared(), fragment))
    })?;
    let pairs: Vec<(&model::HoldRequest, &[u8])> =
        held.iter().map(|(request, fragment)| (&**request, fragment.as_slice())).collect();
    let key = identity.shared();
    let work = pairs.iter().map(|(_, fragment)| 1024 + fragment.len() * 2).sum();
    sized(py, work, || model::hold_many(key.signing(), &pairs, hlc.0)?.into_iter().map(Ack::wrap).collect())
}

/// Checks the signatures of many acks; a signature that serves many is checked once, and all in one batch.
///
/// Args:
///     acks: At most 1,048,576.
///
/// Returns:
///     One verdict each, the same that `Ack.verify` gives: None, or a VerificationError (not raised).
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.verify_acks(acks)
///     [None, None, None]
#[pyfunction]
fn verify_acks(py: Python<'_>, acks: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let acks = each(acks, "acks", MANY_MAX, Ack::shared)?;
    Ok(verdicts(py, long(py, || model::verify_acks(&acks))?))
}

/// The hash of a fragment: plain BLAKE3 of its bytes, so that any BLAKE3 tool can check one.
///
/// Args:
///     fragment: The fragment's bytes.
///
/// Returns:
///     32 bytes.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.hash_fragment(b"").hex()[:16]
///     'af1349b9f5f9a1a6'
#[pyfunction]
fn hash_fragment(py: Python<'_>, fragment: Input<'_>) -> PyResult<Digest> {
    let fragment = fragment.as_slice();
    sized(py, fragment.len(), || Ok(hash::fragment(fragment)))
}

/// Checks that a fragment has the hash that it should have.
///
/// Args:
///     fragment_hash: The hash, 32 bytes.
///     fragment: The fragment's bytes.
///     index: Which fragment, for the error.
///
/// Raises:
///     VerificationError: It has another hash.
///     InputError: The hash is not 32 bytes.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.verify_fragment(poh.hash_fragment(b"bytes"), b"bytes", 0)
#[pyfunction]
fn verify_fragment(py: Python<'_>, fragment_hash: Input<'_>, fragment: Input<'_>, index: Int<u16>) -> PyResult<()> {
    let fragment_hash = fragment_hash.digest(py, "fragment hash")?;
    let fragment = fragment.as_slice();
    sized(py, fragment.len(), || model::verify_fragment(&fragment_hash, fragment, index.0))
}

/// How many acks make a dispersal available: k + ⌊(n − k)/2⌋.
///
/// So many of the holders may be lost afterwards, or have lied, and k fragments are left.
///
/// Args:
///     k: How many fragments restore.
///     n: How many there are.
///
/// Raises:
///     InputError: Not 1 ≤ k ≤ n.
///
/// Example:
///     >>> from city_chain.proofs import poh
///     >>> poh.write_quorum(6, 10)
///     8
#[pyfunction]
fn write_quorum(py: Python<'_>, k: Int<usize>, n: Int<usize>) -> PyResult<usize> {
    short(py, || quorum::write(k.0, n.0))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HoldRequest>()?;
    module.add_class::<Ack>()?;
    module.add_function(wrap_pyfunction!(challenge, module)?)?;
    module.add_function(wrap_pyfunction!(request_many, module)?)?;
    module.add_function(wrap_pyfunction!(verify_requests, module)?)?;
    module.add_function(wrap_pyfunction!(hold_many, module)?)?;
    module.add_function(wrap_pyfunction!(verify_acks, module)?)?;
    module.add_function(wrap_pyfunction!(hash_fragment, module)?)?;
    module.add_function(wrap_pyfunction!(verify_fragment, module)?)?;
    module.add_function(wrap_pyfunction!(write_quorum, module)?)
}
