//! Bindings of sharding: committees, layouts, and the records of a commit across shards.

mod machine;

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::buffer::Input;
use super::call::{long, short};
use super::identity::Identity;
use super::int::Int;
use super::real::Real;
use super::record::{Wrapper, check_tuple, digests, each, items, record};
use crate::algorithms::sc as model;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, MEMBERS_MAX, Member};
use crate::primitives::wire::{self, List};

/// The name of a verdict.
fn verdict_name(verdict: model::Verdict) -> &'static str {
    match verdict {
        model::Verdict::Prepared => "prepared",
        model::Verdict::Abort => "abort",
        model::Verdict::Expired => "expired",
        model::Verdict::Released => "released",
        model::Verdict::Imported => "imported",
    }
}

fn read_shards(shards: &Bound<'_, PyAny>) -> PyResult<BTreeMap<u16, Committee>> {
    let py = shards.py();
    let read = items(shards, "layout: shards", model::SHARDS_MAX, |item| {
        check_tuple(item, 2, "layout: a shard")?;
        let (shard, members) = item.extract::<(Int<u16>, Bound<'_, PyAny>)>()?;
        let members = items(&members, "layout: members", MEMBERS_MAX, |member| {
            check_tuple(member, 2, "layout: a member")?;
            let (key, weight) = member.extract::<(Input<'_>, Int<u64>)>()?;
            Ok(Member { key: key.digest(py, "layout: key")?, weight: weight.0 })
        })?;
        Ok((shard.0, short(py, || Committee::new(members))?))
    })?;
    let count = read.len();
    let made: BTreeMap<u16, Committee> = read.into_iter().collect();
    short(py, || match made.len() == count {
        true => Ok(made),
        false => Err(Error::input("layout: a shard stands twice")),
    })
}

record! {
    /// The shards of an epoch, their committees, and which shard has a key.
    ///
    /// Args:
    ///     chain_id: The chain, 32 bytes.
    ///     epoch: The epoch.
    ///     shards: (number, members) of each shard; members are (public key of 32 bytes, weight), 1 to 1,024 of them.
    ///         At most 256 shards.
    ///
    /// Raises:
    ///     InputError: A wrong length, no shards or too many, a shard or key twice, or a weight of 0.
    ///
    /// Example:
    ///     >>> from city_chain.algorithms import sc
    ///     >>> layout = sc.Layout(bytes(32), 0, [(1, [(b"\x01" * 32, 1)]), (2, [(b"\x02" * 32, 1)])])
    ///     >>> layout.shards, layout.shard_of(b"\x05" * 32) in (1, 2)
    ///     ([1, 2], True)
    Layout(model::Layout) in "city_chain.algorithms.sc", id = model::Layout::digest;
    properties {
        /// The chain, 32 bytes.
        chain_id: Digest = |core| *core.chain();
        /// The epoch.
        epoch: u64 = |core| core.epoch();
        /// The epoch since which there have been these shards: what a manifest names.
        since: u64 = |core| core.since();
        /// The numbers of the shards, ascending.
        shards: Vec<u16> = |core| core.shards().collect();
    }
}

#[pymethods]
impl Layout {
    #[new]
    fn new(py: Python<'_>, chain_id: Input<'_>, epoch: Int<u64>, shards: &Bound<'_, PyAny>) -> PyResult<Self> {
        let chain = chain_id.digest(py, "layout: chain id")?;
        let shards = read_shards(shards)?;
        short(py, || Self::wrap(model::Layout::new(chain, epoch.0, shards)?))
    }

    /// The layout of the epoch after this one. At most 4 shards may come and go at once.
    ///
    /// Args:
    ///     shards: As for the constructor.
    ///
    /// Raises:
    ///     InputError: As by the constructor, or too many shards come and go.
    fn next(&self, shards: &Bound<'_, PyAny>) -> PyResult<Self> {
        let made = read_shards(shards)?;
        short(shards.py(), || Self::wrap(self.core().next(made)?))
    }

    /// The shard that has a key: the one with the highest hash over (shard, key).
    ///
    /// Args:
    ///     key: The key, 32 bytes.
    ///
    /// Raises:
    ///     InputError: The key is not of 32 bytes.
    fn shard_of(&self, py: Python<'_>, key: Input<'_>) -> PyResult<u16> {
        let key = key.digest(py, "layout: key")?;
        short(py, || Ok(self.core().shard_of(&key)))
    }

    /// (public key, weight) of the members of a shard's committee, in order.
    ///
    /// Args:
    ///     shard: The shard. One that is gone has the committee of the shard that speaks for it.
    fn members(&self, py: Python<'_>, shard: Int<u16>) -> PyResult<Vec<(Digest, u64)>> {
        short(py, || {
            let members = self.core().committee(shard.0)?.members();
            Ok(members.iter().map(|member| (member.key, member.weight)).collect())
        })
    }
}

record! {
    /// One attempt of a transaction across shards. Its hash is its id. The last shard listed decides.
    ///
    /// Args:
    ///     chain_id: The chain, 32 bytes.
    ///     layout: The layout's `since`.
    ///     body: What is to be done: 32 bytes that the applications understand.
    ///     expiry: The last height at which a shard prepares it.
    ///     inputs: (shard, key of 32 bytes, version) of each key that is read and written; at most 64.
    ///     outputs: (shard, key) of each key that is only written; at most 64.
    ///
    /// Raises:
    ///     InputError: A wrong length, no keys or too many, more than 16 shards, or a key twice.
    ///
    /// Example:
    ///     >>> from city_chain.algorithms import sc
    ///     >>> manifest = sc.Manifest(bytes(32), 0, bytes(32), 100, [(2, b"a" * 32, 0)], [(1, b"b" * 32)])
    ///     >>> manifest.shards, manifest.decider
    ///     ([1, 2], 2)
    Manifest(model::Manifest) in "city_chain.algorithms.sc", id = model::Manifest::txid;
    properties {
        /// The chain, 32 bytes.
        chain_id: Digest = |core| core.chain;
        /// The epoch since which there have been these shards.
        layout: u64 = |core| core.layout;
        /// What is to be done, 32 bytes.
        body: Digest = |core| core.body;
        /// The last height at which a shard prepares it.
        expiry: u64 = |core| core.expiry;
        /// The shards, ascending.
        shards: Vec<u16> = |core| core.shards.to_vec();
        /// The shard that decides.
        decider: u16 = |core| core.decider();
        /// (shard, key, version) of the inputs.
        inputs: Vec<(u16, Digest, u64)> = |core| core.inputs.iter().map(|i| (i.shard, i.key, i.version)).collect();
        /// (shard, key) of the outputs.
        outputs: Vec<(u16, Digest)> = |core| core.outputs.iter().map(|output| (output.shard, output.key)).collect();
        /// The digest of the versions of the inputs, 32 bytes.
        session: Digest = |core| core.session();
    }
}

#[pymethods]
impl Manifest {
    #[new]
    #[pyo3(signature = (chain_id, layout, body, expiry, inputs, outputs = None))]
    #[pyo3(text_signature = "(chain_id, layout, body, expiry, inputs, outputs=())")]
    fn new(
        py: Python<'_>,
        chain_id: Input<'_>,
        layout: Int<u64>,
        body: Input<'_>,
        expiry: Int<u64>,
        inputs: &Bound<'_, PyAny>,
        outputs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let chain = chain_id.digest(py, "manifest: chain id")?;
        let body = body.digest(py, "manifest: body")?;
        let inputs = items(inputs, "manifest: inputs", model::KEYS_LISTED_MAX, |item| {
            check_tuple(item, 3, "manifest: an input")?;
            let (shard, key, version) = item.extract::<(Int<u16>, Input<'_>, Int<u64>)>()?;
            Ok(model::Input { shard: shard.0, key: key.digest(py, "manifest: key")?, version: version.0 })
        })?;
        let read = |outputs| {
            items(outputs, "manifest: outputs", model::KEYS_LISTED_MAX, |item| {
                check_tuple(item, 2, "manifest: an output")?;
                let (shard, key) = item.extract::<(Int<u16>, Input<'_>)>()?;
                Ok(model::Output { shard: shard.0, key: key.digest(py, "manifest: key")? })
            })
        };
        let outputs = outputs.map(read).transpose()?.unwrap_or_default();
        short(py, || Self::wrap(model::Manifest::new(chain, layout.0, body, expiry.0, inputs, outputs)?))
    }

    /// The digest of everything but the body, 32 bytes: what the sender of the body signs.
    #[getter]
    fn terms(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.core().terms())
    }

    /// The transaction's id, 32 bytes.
    #[getter]
    fn txid(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }
}

record! {
    /// What a shard says of a transaction; what the members of its committee sign. Made by a `Participant`.
    Statement(model::Statement) in "city_chain.algorithms.sc";
    properties {
        /// The chain, 32 bytes.
        chain_id: Digest = |core| core.chain;
        /// The epoch whose committee says it.
        epoch: u64 = |core| core.epoch;
        /// The shard that is spoken for.
        shard: u16 = |core| core.shard;
        /// The transaction's id, 32 bytes.
        txid: Digest = |core| core.txid;
        /// The digest of the versions of its inputs, 32 bytes.
        session: Digest = |core| core.session;
        /// `"prepared"`, `"abort"`, `"expired"`, `"released"` or `"imported"`.
        verdict: &'static str = |core| verdict_name(core.verdict);
    }
}

#[pymethods]
impl Statement {
    /// A member's signature, 64 bytes.
    ///
    /// Args:
    ///     identity: The member.
    fn sign(&self, py: Python<'_>, identity: &Identity) -> PyResult<[u8; 64]> {
        let key = identity.shared();
        long(py, || Ok(self.core().sign(key.signing())))
    }
}

fn read_signatures(signatures: &Bound<'_, PyAny>) -> PyResult<Vec<model::Signature>> {
    let py = signatures.py();
    items(signatures, "certificate: signatures", MEMBERS_MAX, |item| {
        check_tuple(item, 2, "certificate: a signature")?;
        let (position, signature) = item.extract::<(Int<u16>, Input<'_>)>()?;
        Ok(model::Signature { position: position.0, signature: signature.array(py, "certificate: signature")? })
    })
}

fn read_layouts(layouts: &Bound<'_, PyAny>) -> PyResult<Vec<std::sync::Arc<model::Layout>>> {
    each(layouts, "layouts", model::SHARDS_MAX, Layout::shared)
}

record! {
    /// A statement with the signatures of a quorum of the shard's committee.
    ///
    /// Args:
    ///     layout: The layout of the statement's epoch.
    ///     statement: What is said.
    ///     signatures: (place in the committee, signature of 64 bytes); wrong, foreign and double ones are left out.
    ///
    /// Raises:
    ///     UnavailableError: There is no quorum; says the weight needed and had.
    ///     InputError: A wrong length, or too many signatures.
    Certificate(model::Certificate) in "city_chain.algorithms.sc", work = |core| core.signatures.len() * 66;
    properties {
        /// The places of those who signed.
        signers: Vec<u16> = |core| core.signatures.iter().map(|entry| entry.position).collect();
    }
}

#[pymethods]
impl Certificate {
    #[new]
    fn new(py: Python<'_>, layout: &Layout, statement: &Statement, signatures: &Bound<'_, PyAny>) -> PyResult<Self> {
        let signatures = read_signatures(signatures)?;
        long(py, || {
            let statement = *statement.core();
            let committee = layout.core().committee(statement.shard)?;
            Self::wrap(model::Certificate::collect(committee, statement, &signatures)?)
        })
    }

    /// What is said.
    #[getter]
    fn statement(&self, py: Python<'_>) -> PyResult<Statement> {
        short(py, || Statement::wrap(self.core().statement))
    }

    /// Checks the quorum's signatures.
    ///
    /// Args:
    ///     layouts: Layouts, among them that of the statement's epoch.
    ///
    /// Raises:
    ///     VerificationError: The epoch is none of them, too little weight signed, or a signature is wrong.
    fn verify(&self, py: Python<'_>, layouts: &Bound<'_, PyAny>) -> PyResult<()> {
        let layouts = read_layouts(layouts)?;
        long(py, || self.core().verify(layouts.iter().map(AsRef::as_ref)))
    }
}

record! {
    /// What the old committee hands over at a boundary, with a quorum's signatures.
    ///
    /// Args:
    ///     layout: The layout of the epoch that ends.
    ///     handover: The bytes of a `"hand_over"` effect.
    ///     signatures: (place in the old committee, signature of 64 bytes over `handover_message`).
    ///
    /// Raises:
    ///     UnavailableError: There is no quorum; says the weight needed and had.
    ///     InputError: The handover is not well-formed.
    Handover(model::HandoverCertificate) in "city_chain.algorithms.sc", work = |core| core.signatures.len() * 66;
    properties {
        /// The epoch that ends.
        epoch: u64 = |core| core.handover.epoch;
        /// The shard that hands over.
        shard: u16 = |core| core.handover.shard;
        /// The digest of the next layout, 32 bytes.
        next: Digest = |core| core.handover.next;
        /// What the application bound to it, 32 bytes.
        application: Digest = |core| core.handover.application;
        /// (shard, number, digest) of each part; the shard's own is that of the state that stays.
        parts: Vec<(u16, u16, Digest)> = |core| core.handover.parts.to_vec();
    }
}

record! {
    /// What one shard gets of another's state at a boundary, or as much of it as fits: 256 KiB. Made by a `Participant`.
    Part(model::Part) in "city_chain.algorithms.sc", id = model::Part::digest, work = |_| model::PART_LEN;
    properties {
        /// The chain, 32 bytes.
        chain_id: Digest = |core| core.chain;
        /// Whose it was.
        giver: u16 = |core| core.from;
        /// Whose it is from now on.
        taker: u16 = |core| core.to;
        /// The epoch that begins.
        epoch: u64 = |core| core.epoch;
        /// Which of the parts from the one shard for the other it is, from 0.
        number: u16 = |core| core.number;
        /// How many of them there are.
        count: u16 = |core| core.count;
        /// How many keys it brings whose versions are kept apart.
        keys: usize = |core| core.versions.len();
        /// The manifests of the transactions for which it brings locked keys.
        open: Vec<Digest> = |core| core.open.iter().filter_map(|open| open.manifest.txid().ok()).collect();
    }
}

fn read_handover(bytes: &[u8]) -> Result<model::Handover> {
    wire::decode(bytes)
}

#[pymethods]
impl Handover {
    #[new]
    fn new(py: Python<'_>, layout: &Layout, handover: Input<'_>, signatures: &Bound<'_, PyAny>) -> PyResult<Self> {
        let signatures = read_signatures(signatures)?;
        let bytes = handover.as_slice();
        long(py, || {
            let handover = read_handover(bytes)?;
            let committee = layout.core().committee(handover.shard)?;
            Self::wrap(model::HandoverCertificate::collect(committee, handover, &signatures)?)
        })
    }

    /// Checks the quorum's signatures.
    ///
    /// Args:
    ///     layout: The layout of the epoch that ends.
    ///
    /// Raises:
    ///     VerificationError: It is of another epoch, too little weight signed, or a signature is wrong.
    fn verify(&self, py: Python<'_>, layout: &Layout) -> PyResult<()> {
        long(py, || self.core().verify(layout.core()))
    }
}

/// A member's signature, 64 bytes, over the bytes of a `"hand_over"` effect.
#[pyfunction]
fn sc_sign_handover(py: Python<'_>, handover: Input<'_>, identity: &Identity) -> PyResult<[u8; 64]> {
    let (bytes, key) = (handover.as_slice(), identity.shared());
    long(py, || Ok(key.signing().sign(&read_handover(bytes)?.message()?)))
}

record! {
    /// One step of a shard, for its consensus to order. Made by a `Coordinator`, a `Participant`, or by the static methods.
    Command(model::Command) in "city_chain.algorithms.sc", work = |_| 64 << 10;
    properties {
        /// `"prepare"`, `"commit"`, `"abort"`, `"expire"`, `"acknowledge"`, `"boundary"`, `"import"` or `"delivered"`.
        kind: &'static str = |core| match core {
            model::Command::Prepare { .. } => "prepare",
            model::Command::Commit { .. } => "commit",
            model::Command::Abort { .. } => "abort",
            model::Command::Expire { .. } => "expire",
            model::Command::Acknowledge { .. } => "acknowledge",
            model::Command::Boundary { .. } => "boundary",
            model::Command::Import { .. } => "import",
            model::Command::Delivered { .. } => "delivered",
        };
    }
}

fn read_certificates(certificates: Option<&Bound<'_, PyAny>>) -> PyResult<model::Certificates> {
    let Some(certificates) = certificates else { return Ok(model::Certificates::default()) };
    let read = |one: &Certificate| one.core().clone();
    let read = each(certificates, "command: certificates", model::LISTED_MAX, read)?;
    short(certificates.py(), || List::new("command: certificates", read))
}

#[pymethods]
impl Command {
    /// Lock the keys and vote; at the decider, with the Prepared of all others, commit.
    ///
    /// Args:
    ///     manifest: The transaction.
    ///     certificates: For the decider: the Prepared of all other shards.
    #[staticmethod]
    #[pyo3(signature = (manifest, certificates = None), text_signature = "(manifest, certificates=())")]
    fn prepare(py: Python<'_>, manifest: &Manifest, certificates: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let (manifest, certificates) = (manifest.core().clone(), read_certificates(certificates)?);
        short(py, || Self::wrap(model::Command::Prepare { manifest, certificates }))
    }

    /// The next epoch begins after this block.
    ///
    /// Args:
    ///     layout: Its layout.
    ///     application: 32 bytes that the application binds to the handover, such as the root of its own state.
    #[staticmethod]
    fn boundary(py: Python<'_>, layout: &Layout, application: Input<'_>) -> PyResult<Self> {
        let (layout, application) = (layout.core().clone(), application.digest(py, "command: application")?);
        short(py, || Self::wrap(model::Command::Boundary { layout, application }))
    }

    /// A part of another shard's state arrives. Not named `import`, which Python keeps for itself.
    ///
    /// Args:
    ///     part: One of `Participant.exports`.
    ///     handover: The old quorum's handover.
    #[staticmethod]
    fn take_part(py: Python<'_>, part: &Part, handover: &Handover) -> PyResult<Self> {
        long(py, || Self::wrap(model::Command::Import { part: part.core().clone(), handover: handover.core().clone() }))
    }

    /// Another shard has taken a part over: it need not be kept any more.
    ///
    /// Args:
    ///     certificate: Its `"imported"`.
    #[staticmethod]
    fn delivered(py: Python<'_>, certificate: &Certificate) -> PyResult<Self> {
        short(py, || Self::wrap(model::Command::Delivered { certificate: certificate.core().clone() }))
    }

    /// The layout that a boundary brings, or None.
    #[getter]
    fn layout(&self, py: Python<'_>) -> PyResult<Option<Layout>> {
        short(py, || self.core().layout().cloned().map(Layout::wrap).transpose())
    }

    /// The transaction that it is about, or None.
    #[getter]
    fn manifest(&self, py: Python<'_>) -> PyResult<Option<Manifest>> {
        short(py, || self.core().manifest().cloned().map(Manifest::wrap).transpose())
    }
}

/// Deals nodes to shards; see the facade.
#[pyfunction]
#[pyo3(signature = (seed, nodes, shards, *, previous = None, moves_max = Int(0)))]
#[pyo3(text_signature = "(seed, nodes, shards, *, previous=None, moves_max=0)")]
fn sc_assign(
    py: Python<'_>,
    seed: Input<'_>,
    nodes: &Bound<'_, PyAny>,
    shards: Int<u16>,
    previous: Option<&Bound<'_, PyDict>>,
    moves_max: Int<usize>,
) -> PyResult<Vec<u16>> {
    let seed = seed.digest(py, "assign: seed")?;
    let nodes = digests(nodes, "assign: nodes", model::NODES_MAX)?;
    let mut before = BTreeMap::new();
    for (node, shard) in previous.into_iter().flatten() {
        before.insert(node.extract::<Input<'_>>()?.digest(py, "assign: node")?, shard.extract::<Int<u16>>()?.0);
    }
    long(py, || model::assign(&seed, &nodes, &before, shards.0, moves_max.0))
}

/// log2 of the chance that a committee is unsafe; see the facade.
#[pyfunction]
fn sc_failure_log2(py: Python<'_>, population: Int<u64>, faulty: Int<u64>, members: Int<u64>) -> PyResult<f64> {
    long(py, || model::failure_log2(population.0, faulty.0, members.0))
}

/// The least committee that is safe; see the facade.
#[pyfunction]
fn sc_committee_size(py: Python<'_>, population: Int<u64>, faulty: Int<u64>, bound_log2: Real) -> PyResult<u64> {
    long(py, || model::committee_size(population.0, faulty.0, bound_log2.0))
}

/// Refuses a committee that is too small; see the facade.
#[pyfunction]
fn sc_check_size(
    py: Python<'_>,
    population: Int<u64>,
    faulty: Int<u64>,
    members: Int<u64>,
    bound_log2: Real,
) -> PyResult<()> {
    long(py, || model::check_size(population.0, faulty.0, members.0, bound_log2.0))
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("ScLayout", py.get_type::<Layout>())?;
    module.add("ScManifest", py.get_type::<Manifest>())?;
    module.add("ScStatement", py.get_type::<Statement>())?;
    module.add("ScCertificate", py.get_type::<Certificate>())?;
    module.add("ScHandover", py.get_type::<Handover>())?;
    module.add("ScPart", py.get_type::<Part>())?;
    module.add("ScCommand", py.get_type::<Command>())?;
    module.add_function(wrap_pyfunction!(sc_sign_handover, module)?)?;
    module.add_function(wrap_pyfunction!(sc_assign, module)?)?;
    module.add_function(wrap_pyfunction!(sc_failure_log2, module)?)?;
    module.add_function(wrap_pyfunction!(sc_committee_size, module)?)?;
    module.add_function(wrap_pyfunction!(sc_check_size, module)?)?;
    machine::register(module)
}
