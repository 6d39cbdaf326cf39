//! Bindings of the epoch, the candidates and the choice of nodes.

use std::sync::Arc;

use pyo3::prelude::*;

use super::place::{PlaceAttestation, PlaceRules};
use crate::crypto::hash::Digest;
use crate::error::Result;
use crate::primitives::wire::{List, Text};
use crate::python::buffer::Input;
use crate::python::call::{long, short, sized};
use crate::python::dpos::ValidatorSet;
use crate::python::identity::Identity;
use crate::python::int::Int;
use crate::python::record::{MANY_MAX, Wrapper, check_tuple, digests, items, properties, record, record_methods};
use crate::python::text::Str;
use crate::records::attestation::Attestation;
use crate::records::epoch as model_epoch;
use crate::records::selection as model;
use crate::records::selection::CANDIDATES_MAX;

record! {
    /// An epoch of a network: who votes in it, and the seed of its draws. Its root is what a `Trust` believes.
    ///
    /// Example:
    ///     >>> from city_chain.records import Epoch
    ///     >>> Epoch.first("Utrecht", bytes(32), validators).number
    ///     0
    Epoch(model_epoch::Epoch) in "city_chain.records", id = |core| Ok(core.root());
    parts {
        /// Who votes, with what stake.
        validators: ValidatorSet;
    }
    properties {
        /// The network's id, 32 bytes.
        network: Digest = |core| core.network;
        /// The epoch's number.
        number: u64 = |core| core.number;
        /// What feeds the draws, 32 bytes.
        seed: Digest = |core| core.seed;
    }
}

#[pymethods]
impl Epoch {
    /// The first epoch of a new network.
    ///
    /// Args:
    ///     name: The network's name.
    ///     nonce: 32 bytes of fresh entropy, so that two networks of one name never mix.
    ///     validators: The delegates; the epoch's number is theirs.
    ///
    /// Raises:
    ///     InputError: The nonce is not 32 bytes.
    #[staticmethod]
    fn first(py: Python<'_>, name: Str, nonce: Input<'_>, validators: &ValidatorSet) -> PyResult<Self> {
        let nonce = nonce.digest(py, "epoch: nonce")?;
        let validators = validators.core().clone();
        short(py, || Self::wrap(model_epoch::Epoch::first(&name.0, &nonce, validators)?))
    }

    /// What stands for the epoch in a trust anchor, 32 bytes.
    #[getter]
    fn root(&self, py: Python<'_>) -> PyResult<Digest> {
        short(py, || self.id())
    }
}

/// The nodes of a region that may be chosen, made ready for choosing.
///
/// The list is a Merkle tree; its root stands in every `Selection`, so that anyone with the list can repeat the choice.
///
/// Args:
///     network: The network's id, 32 bytes.
///     region: The region's name, at most 64 bytes of UTF-8.
///     items: (node, weight, domain) each: the node's id, its share of the load in 1/65536 (0 takes it out of every
///         choice), and its failure domain, at most 64 bytes. In any order; at most 65,536. With `placing` each has a
///         fourth part, its `PlaceAttestation` or None, and the second is what it can take: its weight follows from that
///         and from the grade, which is computed here.
///     placing: (rules, number of the epoch, UTC epoch milliseconds) by which attestations are graded; None if places do
///         not count.
///
/// Raises:
///     InputError: A wrong length, a node twice, too many, or a weight that does not fit into 32 bits.
///     VerificationError: An attestation is another node's, of another network or epoch, or not signed by its subject.
///     UnavailableError: There is no candidate at all.
///
/// Example:
///     >>> from city_chain.records import Candidates
///     >>> few = Candidates(bytes(32), "Utrecht", [(bytes([i]) * 32, 65536, "north") for i in range(5)])
///     >>> len(few), len(few.choose(b"seed", 3)), bytes([4]) * 32 in few
///     (5, 3, True)
#[pyclass(frozen, module = "city_chain.records")]
pub(in crate::python) struct Candidates {
    core: Arc<model::Candidates>,
}

impl Wrapper for Candidates {
    type Core = model::CandidateList;

    fn core(&self) -> &model::CandidateList {
        self.core.list()
    }

    fn wrap(core: model::CandidateList) -> Result<Self> {
        Ok(Self { core: Arc::new(model::Candidates::new(core)?) })
    }

    fn id(&self) -> Result<Digest> {
        Ok(*self.core.root())
    }

    fn work(&self) -> usize {
        self.weight(1)
    }
}

impl Candidates {
    /// The prepared list.
    pub(super) fn prepared(&self) -> &model::Candidates {
        &self.core
    }

    /// What `times` passes over the list cost; see [`sized`].
    fn weight(&self, times: usize) -> usize {
        self.core.list().items.len().saturating_mul(64).saturating_mul(times)
    }
}

record_methods!(Candidates);

properties!(Candidates {
    /// The network's id, 32 bytes.
    network: Digest = |core| core.network;
    /// The region's name.
    region: String = |core| core.region.to_string();
    /// (node, weight, domain) each, ascending by node; in a list with places the second is what the node can take.
    items: Vec<(Digest, u32, String)> =
        |core| core.items.iter().map(|item| (item.node, item.weight, item.domain.to_string())).collect();
    /// (municipality, grade, digest of the attestation) each, in the order of `items`; empty if places do not count.
    standings: Vec<(String, u8, Digest)> = |core| {
        let row = |of: &model::Standing| (of.municipality.to_string(), of.grade, of.evidence);
        core.items.iter().filter_map(|item| item.standing.as_ref().map(row)).collect()
    };
    /// When the grades were computed, UTC epoch milliseconds; None if places do not count.
    graded_at_ms: Option<u64> = |core| core.placing.as_ref().map(|placing| placing.at_ms);
});

#[pymethods]
impl Candidates {
    #[new]
    #[pyo3(signature = (network, region, items, placing = None))]
    fn new(
        py: Python<'_>,
        network: Input<'_>,
        region: Str,
        items: &Bound<'_, PyAny>,
        placing: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let network = network.digest(py, "candidates: network")?;
        let placing = placing.map(self::placing).transpose()?;
        let rows = self::items(items, "candidates", CANDIDATES_MAX, |item| self::row(item, placing.is_some()))?;
        let work = rows.len() * if placing.is_some() { 4096 } else { 64 };
        sized(py, work, || {
            let mut items =
                rows.into_iter().map(|row| row.candidate(&network, placing.as_ref())).collect::<Result<Vec<_>>>()?;
            items.sort_unstable_by_key(|candidate| candidate.node);
            Self::wrap(model::CandidateList {
                network,
                region: Text::new("candidates: region", region.0)?,
                placing,
                items: List::new("candidates", items)?,
            })
        })
    }

    /// The rules by which places are graded; None if they do not count.
    #[getter]
    fn rules(&self, py: Python<'_>) -> PyResult<Option<PlaceRules>> {
        let placing = self.core.list().placing.as_ref();
        short(py, || placing.map(|placing| PlaceRules::wrap(placing.rules.clone())).transpose())
    }

    /// The weight by which each is chosen, in the order of `items`.
    #[getter]
    fn weights(&self) -> Vec<u32> {
        self.core.weights().to_vec()
    }

    /// The list's root, 32 bytes.
    #[getter]
    fn root(&self) -> Digest {
        *self.core.root()
    }

    /// The nodes for a seed by weighted rendezvous hashing: the best of each failure domain first, then by rank.
    ///
    /// Args:
    ///     seed: Any bytes.
    ///     count: How many nodes.
    ///     exclude: Nodes to leave out; it does not matter if one is no candidate.
    ///
    /// Returns:
    ///     `count` node ids, best first; fewer if there are fewer.
    #[pyo3(signature = (seed, count, exclude = None), text_signature = "($self, seed, count, exclude=())")]
    fn choose(
        &self,
        py: Python<'_>,
        seed: Input<'_>,
        count: Int<usize>,
        exclude: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Digest>> {
        let exclude = match exclude {
            Some(nodes) => digests(nodes, "candidates: excluded node", MANY_MAX)?,
            None => Vec::new(),
        };
        let seed = seed.as_slice();
        sized(py, self.weight(1) + exclude.len() * 64, || self.core.choose_without(seed, count.0, &exclude))
    }

    fn __len__(&self) -> usize {
        self.core.list().items.len()
    }

    fn __contains__(&self, node: &Bound<'_, PyAny>) -> bool {
        let node = node.extract::<Input<'_>>().ok().and_then(|node| node.as_slice().try_into().ok());
        node.is_some_and(|node: Digest| self.core.contains(&node))
    }
}

/// A candidate as Python gave it.
struct Row {
    node: Digest,
    weight: u32,
    domain: String,
    attestation: Option<Arc<Attestation>>,
}

impl Row {
    fn candidate(self, network: &Digest, placing: Option<&model::Placing>) -> Result<model::Candidate> {
        let standing = match (placing, self.attestation) {
            (None, _) => None,
            (Some(_), None) => Some(model::Standing::none()),
            (Some(placing), Some(shown)) => Some(model::Standing::of(&self.node, &shown, placing, network)?),
        };
        let domain = Text::new("candidate: domain", self.domain)?;
        Ok(model::Candidate { node: self.node, weight: self.weight, domain, standing })
    }
}

fn row(item: &Bound<'_, PyAny>, placed: bool) -> PyResult<Row> {
    let py = item.py();
    check_tuple(item, if placed { 4 } else { 3 }, "candidate")?;
    let (node, weight, domain): (Input<'_>, Int<u32>, Str) =
        (item.get_item(0)?.extract()?, item.get_item(1)?.extract()?, item.get_item(2)?.extract()?);
    let attestation = match placed {
        true => item.get_item(3)?.extract::<Option<Bound<'_, PlaceAttestation>>>()?.map(|of| of.get().shared()),
        false => None,
    };
    Ok(Row { node: node.digest(py, "candidate: node")?, weight: weight.0, domain: domain.0, attestation })
}

fn placing(given: &Bound<'_, PyAny>) -> PyResult<model::Placing> {
    check_tuple(given, 3, "candidates: placing")?;
    let (rules, epoch, at_ms): (Bound<'_, PlaceRules>, Int<u64>, Int<u64>) = given.extract()?;
    Ok(model::Placing { epoch: epoch.0, at_ms: at_ms.0, rules: rules.get().core().clone() })
}

/// A sender's draw for one epoch: one VRF proof, good for every transaction that it sends in it.
///
/// Args:
///     identity: The sender.
///     epoch: The epoch.
///
/// Example:
///     >>> from city_chain.records import Draw
///     >>> draw = Draw(identity, epoch)
///     >>> len(draw.proof), len(draw.beta), draw.epoch
///     (80, 64, 0)
#[pyclass(frozen, module = "city_chain.records")]
pub(in crate::python) struct Draw {
    core: model::Draw,
}

#[pymethods]
impl Draw {
    #[new]
    fn new(py: Python<'_>, identity: &Identity, epoch: &Epoch) -> PyResult<Self> {
        let (identity, epoch) = (identity.core(), epoch.core());
        long(py, || Ok(Self { core: model::Draw::new(identity.vrf(), epoch)? }))
    }

    /// The epoch's number.
    #[getter]
    fn epoch(&self) -> u64 {
        self.core.epoch
    }

    /// The sender's public key of draws, 32 bytes.
    #[getter]
    fn vrf_public(&self) -> Digest {
        self.core.vrf_public
    }

    /// The proof, 80 bytes (RFC 9381, suite 4).
    #[getter]
    fn proof(&self) -> [u8; 80] {
        self.core.proof
    }

    /// The output, 64 bytes.
    #[getter]
    fn beta(&self) -> [u8; 64] {
        self.core.beta
    }

    /// Chooses the nodes of many transactions.
    ///
    /// Args:
    ///     candidates: Who may be chosen.
    ///     sender: The sender's id, 32 bytes.
    ///     sequences: The transactions' running numbers.
    ///     count: How many nodes each: the holders first, then the spares; at most 2,048.
    ///
    /// Returns:
    ///     One `Selection` per sequence; with fewer nodes if there are fewer.
    ///
    /// Raises:
    ///     InputError: A wrong length or a number that does not fit.
    fn select_many(
        &self,
        py: Python<'_>,
        candidates: &Candidates,
        sender: Input<'_>,
        sequences: &Bound<'_, PyAny>,
        count: Int<usize>,
    ) -> PyResult<Vec<Selection>> {
        let sender = sender.digest(py, "selection: sender")?;
        let sequences = items(sequences, "selection: sequences", MANY_MAX, |item| Ok(item.extract::<Int<u64>>()?.0))?;
        let prepared = candidates.prepared();
        sized(py, candidates.weight(sequences.len()), || {
            let select = |sequence| Selection::wrap(self.core.select(prepared, &sender, sequence, count.0)?);
            sequences.into_iter().map(select).collect()
        })
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.core == other.get().core)
    }

    fn __hash__(&self) -> u64 {
        self.core.beta[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    fn __repr__(&self) -> String {
        format!("Draw(epoch {} of {}…)", self.core.epoch, crate::crypto::hash::hex(&self.core.vrf_public[..4]))
    }
}

record! {
    /// The nodes that hold a transaction, and the proof that the sender had no say in it. Made by `Draw.select_many`.
    ///
    /// Example:
    ///     >>> from city_chain.records import Selection
    ///     >>> selection.verify(epoch, candidates, identity.id, 0)
    ///     >>> Selection.from_bytes(selection.to_bytes()) == selection
    ///     True
    Selection(model::Selection) in "city_chain.records";
    properties {
        /// The number of the draw's epoch.
        epoch: u64 = |core| core.epoch;
        /// The sender's public key of draws, 32 bytes.
        vrf_public: Digest = |core| core.vrf_public;
        /// The proof, 80 bytes.
        proof: [u8; 80] = |core| core.proof;
        /// The root of the candidate list, 32 bytes.
        candidates_root: Digest = |core| core.candidates_root;
        /// The chosen nodes: the holders in order, then the spares.
        nodes: Vec<Digest> = |core| core.nodes.to_vec();
        /// The grade of place of each of them, 0 to 3, in their order; empty if places did not count.
        grades: Vec<u16> = |core| core.grades.iter().map(|grade| u16::from(*grade)).collect();
    }
}

#[pymethods]
impl Selection {
    /// Checks the proof, and repeats the choice.
    ///
    /// Args:
    ///     epoch: The epoch it must be of.
    ///     candidates: The list it must be from.
    ///     sender: The transaction's sender, 32 bytes.
    ///     sequence: The transaction's running number.
    ///
    /// Raises:
    ///     VerificationError: Another epoch or list, a wrong proof, or other nodes than the draw gives.
    fn verify(
        &self,
        py: Python<'_>,
        epoch: &Epoch,
        candidates: &Candidates,
        sender: Input<'_>,
        sequence: Int<u64>,
    ) -> PyResult<()> {
        let sender = sender.digest(py, "selection: sender")?;
        let (epoch, prepared) = (epoch.core(), candidates.prepared());
        long(py, || self.core.verify(epoch, prepared, &sender, sequence.0))
    }
}

/// Adds this file's functions and classes to the extension.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Epoch>()?;
    module.add_class::<Candidates>()?;
    module.add_class::<Draw>()?;
    module.add_class::<Selection>()
}
