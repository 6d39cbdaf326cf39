//! Bindings of repairs.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::primitives::wire::List;
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::poh::Ack;
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, digests, each, items, record, verdicts};
use crate::records::FRAGMENTS_MAX;
use crate::records::message::{self, WANTED_MAX, Wanted};
use crate::records::repair as model;
use crate::records::signed::{self, SIGNATURE_LEN, Signed};

record! {
    /// New holders for some fragments of a transaction, signed by who restored them.
    ///
    /// Args:
    ///     identity: Who repaired.
    ///     network: The network's id, 32 bytes.
    ///     tx_id: The transaction, 32 bytes.
    ///     manifest_hash: Its manifest, 32 bytes.
    ///     generation: The running number of the repair, from 1.
    ///     candidates_root: The root of the list that the new holders are from, 32 bytes.
    ///     moves: (fragment index, new holder) each, 1 to 1,024, distinct by index; in any order.
    ///     hlc: The repairer's hybrid logical clock.
    ///
    /// Raises:
    ///     InputError: A wrong length, generation 0, no move, too many, or a fragment twice.
    ///
    /// Example:
    ///     >>> from city_chain.records import Repair
    ///     >>> moved = Repair(identity, network=epoch.network, tx_id=transaction.tx_id,
    ///     ...                manifest_hash=manifest.manifest_hash, generation=1,
    ///     ...                candidates_root=candidates.root, moves=[(3, holders[0].id)], hlc=9)
    ///     >>> moved.verify()
    Repair(model::Repair) in "city_chain.records", id = Signed::digest;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The transaction's id, 32 bytes.
        tx_id: Digest = |core| core.tx_id;
        /// The hash of its manifest, 32 bytes.
        manifest_hash: Digest = |core| core.manifest_hash;
        /// The running number of the repair, from 1.
        generation: u32 = |core| core.generation;
        /// The root of the list that the new holders are from, 32 bytes.
        candidates_root: Digest = |core| core.candidates_root;
        /// (fragment index, new holder) each, by index.
        moves: Vec<(u16, Digest)> = |core| core.moves.iter().map(|to| (to.index, to.node)).collect();
        /// The repairer's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// Who repaired, 32 bytes.
        repairer: Digest = |core| core.repairer;
    }
}

#[pymethods]
impl Repair {
    #[new]
    #[pyo3(signature = (identity, *, network, tx_id, manifest_hash, generation, candidates_root, moves, hlc))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        tx_id: Input<'_>,
        manifest_hash: Input<'_>,
        generation: Int<u32>,
        candidates_root: Input<'_>,
        moves: &Bound<'_, PyAny>,
        hlc: Int<u64>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "repair: network")?;
        let tx_id = tx_id.digest(py, "repair: tx_id")?;
        let manifest_hash = manifest_hash.digest(py, "repair: manifest_hash")?;
        let candidates_root = candidates_root.digest(py, "repair: candidates_root")?;
        let mut moves = items(moves, "repair: moves", FRAGMENTS_MAX, |item| {
            check_tuple(item, 2, "repair: move")?;
            let (index, node): (Int<u16>, Input<'_>) = item.extract()?;
            Ok(model::Move { index: index.0, node: node.digest(py, "repair: new holder")? })
        })?;
        moves.sort_by_key(|to| to.index);
        let identity = identity.core();
        sized(py, moves.len() * 34, || {
            let repair = model::Repair {
                network,
                tx_id,
                manifest_hash,
                generation: generation.0,
                candidates_root,
                moves: List::new("repair: moves", moves)?,
                hlc: hlc.0,
                repairer: identity.id(),
                signature: [0; SIGNATURE_LEN],
            };
            Self::wrap(repair.sign(identity.signing())?)
        })
    }

    /// The repair's digest, 32 bytes.
    #[getter]
    fn repair_hash(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }

    /// Checks the repairer's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the repairer's over this repair.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }
}

record! {
    /// A repair and the new holders' acks, one for each move.
    ///
    /// Args:
    ///     repair: What moved.
    ///     acks: The new holders' acks, in any order. Their signatures are checked by `verify`, not here.
    ///
    /// Raises:
    ///     InputError: The acks are not those of the moves.
    ///
    /// Example:
    ///     >>> from city_chain.records import Repair, RepairCertificate
    ///     >>> spare = next(node for node in nodes if node.id == selection.nodes[3])
    ///     >>> moved = Repair(identity, network=epoch.network, tx_id=transaction.tx_id,
    ///     ...                manifest_hash=manifest.manifest_hash, generation=1,
    ///     ...                candidates_root=candidates.root, moves=[(3, spare.id)], hlc=9)
    ///     >>> [asked] = poh.request_many(identity, [(manifest, hashes[3], spare.id, 3, bytes(32))],
    ///     ...                            hlc=9, deadline_ms=1_000, hold_until_ms=2_000)
    ///     >>> acks = poh.hold_many(spare, [(asked, fragments[3])], 10)
    ///     >>> RepairCertificate(moved, acks).verify(epoch.network, hashes)
    RepairCertificate(model::RepairCertificate) in "city_chain.records", work = |core| core.acks.len() * 512;
    parts {
        /// What moved.
        repair: Repair;
    }
    properties {
    }
}

#[pymethods]
impl RepairCertificate {
    #[new]
    fn new(py: Python<'_>, repair: &Repair, acks: &Bound<'_, PyAny>) -> PyResult<Self> {
        let acks = each(acks, "repair certificate: acks", FRAGMENTS_MAX, |ack: &Ack| ack.core().clone())?;
        let repair = repair.core().clone();
        sized(py, acks.len() * 64, || Self::wrap(model::RepairCertificate::new(repair, acks)?))
    }

    /// The new holders' acks, in the order of the moves.
    #[getter]
    fn acks(&self, py: Python<'_>) -> PyResult<Vec<Ack>> {
        short(py, || self.core.acks.iter().cloned().map(Ack::wrap).collect())
    }

    /// Checks all signatures, and the acks against the fragments' hashes.
    ///
    /// Args:
    ///     network: The network that it must be of, 32 bytes.
    ///     fragment_hashes: The hashes of all fragments, by index: those of the availability certificate.
    ///
    /// Raises:
    ///     VerificationError: Another network, another fragment, or a wrong signature.
    fn verify(&self, py: Python<'_>, network: Input<'_>, fragment_hashes: &Bound<'_, PyAny>) -> PyResult<()> {
        let network = network.digest(py, "repair certificate: network")?;
        let hashes = digests(fragment_hashes, "repair certificate: fragment hash", FRAGMENTS_MAX)?;
        long(py, || self.core.verify(&network, &hashes))
    }
}

record! {
    /// A signed request to one node for fragments, or for word of them.
    ///
    /// Args:
    ///     identity: Who asks.
    ///     network: The network's id, 32 bytes.
    ///     node: Who is asked, 32 bytes.
    ///     hlc: The requester's hybrid logical clock.
    ///     deadline_ms: Until when an answer is of use, UTC epoch milliseconds.
    ///     items: (transaction id, fragment index) each, at most 65,536.
    ///
    /// Raises:
    ///     InputError: A wrong length, too many, or a number that does not fit.
    ///
    /// Example:
    ///     >>> from city_chain.records import RepairRequest
    ///     >>> wanted = RepairRequest(identity, network=epoch.network, node=holders[0].id, hlc=1, deadline_ms=2,
    ///     ...                        items=[(transaction.tx_id, 0)])
    ///     >>> wanted.verify()
    RepairRequest(message::RepairRequest) in "city_chain.records",
        id = Signed::digest, work = |core| core.items.len() * 34;
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// Who is asked, 32 bytes.
        node: Digest = |core| core.node;
        /// Who asks, 32 bytes.
        requester: Digest = |core| core.requester;
        /// The requester's hybrid logical clock.
        hlc: u64 = |core| core.hlc;
        /// Until when an answer is of use, UTC epoch milliseconds.
        deadline_ms: u64 = |core| core.deadline_ms;
        /// (transaction id, fragment index) each.
        items: Vec<(Digest, u16)> = |core| core.items.iter().map(|wanted| (wanted.tx_id, wanted.index)).collect();
    }
}

#[pymethods]
impl RepairRequest {
    #[new]
    #[pyo3(signature = (identity, *, network, node, hlc, deadline_ms, items))]
    fn new(
        py: Python<'_>,
        identity: &Identity,
        network: Input<'_>,
        node: Input<'_>,
        hlc: Int<u64>,
        deadline_ms: Int<u64>,
        items: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "repair request: network")?;
        let node = node.digest(py, "repair request: node")?;
        let wanted = self::items(items, "repair request: items", WANTED_MAX, |item| {
            check_tuple(item, 2, "repair request: item")?;
            let (tx_id, index): (Input<'_>, Int<u16>) = item.extract()?;
            Ok(Wanted { tx_id: tx_id.digest(py, "repair request: tx_id")?, index: index.0 })
        })?;
        let identity = identity.core();
        sized(py, wanted.len() * 34, || {
            let request = message::RepairRequest {
                network,
                node,
                requester: identity.id(),
                hlc: hlc.0,
                deadline_ms: deadline_ms.0,
                items: List::new("repair request: items", wanted)?,
                signature: [0; SIGNATURE_LEN],
            };
            Self::wrap(request.sign(identity.signing())?)
        })
    }

    /// Checks the requester's signature.
    ///
    /// Raises:
    ///     VerificationError: It is not the requester's over this request.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        long(py, || self.core.verify_digest(&self.id()?))
    }
}

/// Checks the signatures of many repair requests in one batch.
///
/// Args:
///     requests: At most 1,048,576.
///
/// Returns:
///     One verdict each, the same that `RepairRequest.verify` gives: None, or a VerificationError (not raised).
///
/// Example:
///     >>> from city_chain.records import verify_repair_requests
///     >>> verify_repair_requests([])
///     []
#[pyfunction]
fn verify_repair_requests(py: Python<'_>, requests: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Py<PyBaseException>>>> {
    let requests = each(requests, "repair requests", MANY_MAX, RepairRequest::shared_with_id)?;
    let checked = long(py, || {
        let requests = requests.into_iter().collect::<Result<Vec<_>>>()?;
        signed::verify_many::<message::RepairRequest, _>(&requests)
    })?;
    Ok(verdicts(py, checked))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Repair>()?;
    module.add_class::<RepairCertificate>()?;
    module.add_class::<RepairRequest>()?;
    module.add_function(wrap_pyfunction!(verify_repair_requests, module)?)
}
