//! Who holds a transaction: the candidates, the draw and its proof.
//!
//! The candidate list of an epoch is a Merkle tree over the logged-in holders. The sender's VRF, evaluated once per epoch
//! over (network, epoch, role, epoch seed), gives every transaction a seed that the sender cannot choose
//! ([`vrf::transaction_seed`]); weighted rendezvous hashing under that seed ranks the candidates, failure domains first.
//! Anyone with the candidate list can recompute the whole selection ([`Selection::verify_nodes`]); the proof alone is
//! checked without it ([`Selection::verify_proof`]).
//!
//! A list of version 2 says by which rules places are graded, and of each candidate where it is, its grade and the digest of
//! the attestation behind it; the weights follow from these. A selection from such a list names the grades of the chosen.

use std::io::{Read, Write};

use borsh::{BorshDeserialize, BorshSerialize};

use super::attestation::Attestation;
use super::epoch::Epoch;
use super::grading::{Moment, Rules};
use super::{Key, NAME_MAX, NODES_MAX, extended};
use crate::algorithms::rvh::NodeSet;
use crate::algorithms::vrf;
use crate::crypto::hash::{Digest, Hasher, hex};
use crate::crypto::merkle;
use crate::crypto::remembered::{self, Table};
use crate::error::{Error, Result};
use crate::primitives::wire::{List, Record, Text};

/// The most candidates a list may have.
pub const CANDIDATES_MAX: usize = 1 << 16;

/// The role (part of the VRF's input) under which holders are drawn.
pub const ROLE_HOLDER: u16 = 1;

const CONTEXT_CANDIDATES: &str = "city-chain v1 candidates";
const CONTEXT_CANDIDATES_PLACED: &str = "city-chain v2 candidates";
const CONTEXT_DRAW: &str = "city-chain v1 remembered draw";

/// The outputs of proofs that were found right, by the digest of key, proof and input: a sender's proof serves a whole
/// epoch, and comes with every one of its transactions.
static DRAWS: Table<[u8; vrf::OUTPUT_LEN]> = Table::new(256);

/// Where a candidate is, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Standing {
    /// The municipality that it says it is in; empty if it says none.
    pub municipality: Text<NAME_MAX>,
    /// How good its word is ([`Rules::grade`]).
    pub grade: u8,
    /// The digest of the attestation ([`Attestation::digest`]); zeros if there is none.
    pub evidence: Digest,
}

impl Standing {
    /// That of a node of whose place nothing is known.
    pub fn none() -> Self {
        Self { municipality: Text::default(), grade: 0, evidence: [0; 32] }
    }

    /// That of a node with such an attestation: its grade is computed here.
    ///
    /// # Errors
    /// [`Error::Verification`] if it is not the node's, or not of that network and epoch, or not signed by it.
    pub fn of(node: &Key, attestation: &Attestation, placing: &Placing, network: &Digest) -> Result<Self> {
        if attestation.claim.subject != *node {
            return Err(Error::verification(format!(
                "place attestation: of node {}, not of {}",
                hex(&attestation.claim.subject),
                hex(node)
            )));
        }
        let moment = Moment { network: *network, epoch: placing.epoch, at_ms: placing.at_ms };
        Ok(Self {
            municipality: attestation.claim.spot.municipality.clone(),
            grade: placing.rules.grade(attestation, &moment)?.grade,
            evidence: attestation.digest()?,
        })
    }
}

/// One node that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Candidate {
    /// The node.
    pub node: Key,
    /// Its share of the load, in 1/65536; in a list with places what it can take, from which its weight follows.
    pub weight: u32,
    /// Its failure domain (a district).
    pub domain: Text<NAME_MAX>,
    /// Where it is; `None` in a list without places.
    pub standing: Option<Standing>,
}

/// By what the candidates of a list are placed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Placing {
    /// The epoch that the claims are of.
    pub epoch: u64,
    /// When the grades were computed, UTC epoch milliseconds.
    pub at_ms: u64,
    /// The rules.
    pub rules: Rules,
}

/// The candidates of one region, ascending by node. Without places it is written in version 1, which knew of none.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CandidateList {
    /// The network.
    pub network: Digest,
    /// The region.
    pub region: Text<NAME_MAX>,
    /// By what they are placed; `None` if their places do not count.
    pub placing: Option<Placing>,
    /// The candidates, ascending and distinct by node.
    pub items: List<Candidate, CANDIDATES_MAX>,
}

impl Record for CandidateList {
    const TAG: [u8; 4] = *b"CCcl";
    const VERSION: u16 = 2;
    const NAME: &'static str = "candidate list";
    const LEN_MAX: usize = 16 << 20;

    fn version(&self) -> u16 {
        if self.placing.is_some() { 2 } else { 1 }
    }

    fn write_body(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        if self.placing.is_some() {
            return self.serialize(out);
        }
        (self.network, &self.region).serialize(out)?;
        u32::try_from(self.items.len()).unwrap_or(u32::MAX).serialize(out)?;
        self.items.iter().try_for_each(|item| (item.node, item.weight, &item.domain).serialize(out))
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        let read = |body: &mut &[u8]| {
            let (network, region) = <(Digest, Text<NAME_MAX>)>::deserialize(body)?;
            let items = List::<(Key, u32, Text<NAME_MAX>), CANDIDATES_MAX>::deserialize(body)?;
            let placeless = |(node, weight, domain)| Candidate { node, weight, domain, standing: None };
            let items = items.into_vec().into_iter().map(placeless).collect();
            let items = List::new("candidates", items).map_err(std::io::Error::other)?;
            Ok(Self { network, region, placing: None, items })
        };
        (version == 1).then(|| read(body))
    }

    fn check(&self) -> Result<()> {
        if !self.items.windows(2).all(|pair| pair[0].node < pair[1].node) {
            return Err(Error::input("candidate list: the nodes must be ascending and distinct"));
        }
        if self.items.iter().any(|item| item.standing.is_some() != self.placing.is_some()) {
            return Err(Error::input(
                "candidate list: all candidates have a standing, or none has and there are no rules",
            ));
        }
        self.placing.as_ref().map_or(Ok(()), |placing| placing.rules.check())
    }
}

impl CandidateList {
    /// The weight of a candidate.
    fn weight(&self, candidate: &Candidate) -> Result<u32> {
        match (&self.placing, &candidate.standing) {
            (Some(placing), Some(of)) => {
                placing.rules.weight(candidate.weight, &of.municipality, of.grade, placing.at_ms)
            }
            _ => Ok(candidate.weight),
        }
    }

    fn leaf(&self, candidate: &Candidate) -> Result<Digest> {
        if self.placing.is_none() {
            return Ok(leaf(candidate));
        }
        let bytes = borsh::to_vec(candidate).map_err(|error| Error::input(format!("candidate: {error}")))?;
        Ok(merkle::leaf(&bytes))
    }

    fn root(&self) -> Result<Digest> {
        let leaves = self.items.iter().map(|item| self.leaf(item)).collect::<Result<_>>()?;
        let top = merkle::Tree::new(leaves)?.root();
        let context = if self.placing.is_some() { CONTEXT_CANDIDATES_PLACED } else { CONTEXT_CANDIDATES };
        let mut hasher = Hasher::new(context);
        hasher.fixed(&self.network).field(self.region.as_bytes());
        if let Some(placing) = &self.placing {
            hasher.field(&borsh::to_vec(placing).map_err(|error| Error::input(format!("place rules: {error}")))?);
        }
        Ok(hasher.fixed(&top).finish())
    }

    /// Checks the grade of every candidate whose attestation is given, in any order; of the others nothing.
    ///
    /// # Errors
    /// [`Error::Verification`] if an attestation is no candidate's, or the list says something else than it shows;
    /// [`Error::Input`] if the list has no places.
    pub fn verify_standings(&self, attestations: &[Attestation]) -> Result<()> {
        let Some(placing) = &self.placing else {
            return Err(Error::input("candidate list: it says nothing of places, so no attestation is behind it"));
        };
        for attestation in attestations {
            let node = &attestation.claim.subject;
            let at = self
                .items
                .binary_search_by(|candidate| candidate.node.cmp(node))
                .map_err(|_| Error::verification(format!("place attestation: {} is no candidate", hex(node))))?;
            let shown = Standing::of(node, attestation, placing, &self.network)?;
            let said = self.items[at].standing.clone().unwrap_or_else(Standing::none);
            if said != shown {
                return Err(Error::verification(format!(
                    "candidate list: node {} is said to be in {:?} with grade {} by evidence {}; its attestation {} shows \
                     {:?} with grade {}",
                    hex(node),
                    &*said.municipality,
                    said.grade,
                    hex(&said.evidence),
                    hex(&shown.evidence),
                    &*shown.municipality,
                    shown.grade
                )));
            }
        }
        Ok(())
    }
}

/// A candidate list made ready for choosing: nodes hashed once, root computed once.
pub struct Candidates {
    list: CandidateList,
    root: Digest,
    weights: Vec<u32>,
    nodes: NodeSet,
}

impl Candidates {
    /// Prepares a list with at least one candidate.
    pub fn new(list: CandidateList) -> Result<Self> {
        list.check()?;
        if list.items.is_empty() {
            return Err(Error::unavailable("candidates", 1, 0));
        }
        let root = list.root()?;
        let ids: Vec<&[u8]> = list.items.iter().map(|c| c.node.as_slice()).collect();
        let weights = list.items.iter().map(|c| list.weight(c)).collect::<Result<Vec<u32>>>()?;
        let domains: Vec<&[u8]> = list.items.iter().map(|c| c.domain.as_bytes()).collect();
        let nodes = NodeSet::from_fixed(&ids, Some(&weights), Some(&domains))?;
        Ok(Self { list, root, weights, nodes })
    }

    /// The list.
    pub fn list(&self) -> &CandidateList {
        &self.list
    }

    /// The root that a selection names.
    pub fn root(&self) -> &Digest {
        &self.root
    }

    /// The nodes for `seed`: the best of each domain first, then by rank; at most `count`, fewer if there are fewer.
    pub fn choose(&self, seed: &[u8], count: usize) -> Result<Vec<Key>> {
        self.choose_without(seed, count, &[])
    }

    /// [`Candidates::choose`] with some nodes left out; it does not matter if one of those is no candidate.
    pub fn choose_without(&self, seed: &[u8], count: usize, excluded: &[Key]) -> Result<Vec<Key>> {
        let excluded: Vec<u32> = excluded.iter().filter_map(|node| u32::try_from(self.position(node)?).ok()).collect();
        let picked = self.nodes.pick_up_to(seed, count, &excluded)?;
        Ok(picked.into_iter().map(|at| self.list.items[at as usize].node).collect())
    }

    /// Where in the list a node is.
    pub(super) fn position(&self, node: &Key) -> Option<usize> {
        self.list.items.binary_search_by(|candidate| candidate.node.cmp(node)).ok()
    }

    /// Whether `node` may be chosen.
    pub fn contains(&self, node: &Key) -> bool {
        self.position(node).is_some_and(|at| self.weights[at] > 0)
    }

    /// The weights by which nodes are chosen, in the order of the list.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Where a candidate is; `None` if it is none, or the list says nothing of places.
    pub fn standing(&self, node: &Key) -> Option<&Standing> {
        self.list.items[self.position(node)?].standing.as_ref()
    }

    /// The grades of some candidates, in their order; empty if the list says nothing of places.
    pub fn grades(&self, nodes: &[Key]) -> Vec<u8> {
        if self.list.placing.is_none() {
            return Vec::new();
        }
        nodes.iter().map(|node| self.standing(node).map_or(0, |standing| standing.grade)).collect()
    }
}

fn leaf(candidate: &Candidate) -> Digest {
    let mut bytes = Vec::with_capacity(36 + candidate.domain.len());
    bytes.extend_from_slice(&candidate.node);
    bytes.extend_from_slice(&candidate.weight.to_le_bytes());
    bytes.extend_from_slice(candidate.domain.as_bytes());
    merkle::leaf(&bytes)
}

/// Who was chosen, and the proof that the sender had no say in it. Without grades it is written in version 1, which knew of
/// none; inside another record the same bytes tell, by the top bit of the nodes' count ([`extended`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The epoch of the draw.
    pub epoch: u64,
    /// The sender's VRF key.
    pub vrf_public: Key,
    /// The proof for the epoch's input.
    pub proof: [u8; vrf::PROOF_LEN],
    /// The root of the candidate list.
    pub candidates_root: Digest,
    /// The holders in order, then the spares that may stand in for them.
    pub nodes: List<Key, NODES_MAX>,
    /// The grade of each of them, in their order; empty if it was drawn from a list without places.
    pub grades: List<u8, NODES_MAX>,
}

impl BorshSerialize for Selection {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        (self.epoch, self.vrf_public, self.proof, self.candidates_root).serialize(writer)?;
        extended::write(writer, &self.nodes, &self.grades, !self.grades.is_empty())
    }
}

impl BorshDeserialize for Selection {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let (epoch, vrf_public) = BorshDeserialize::deserialize_reader(reader)?;
        let (proof, candidates_root) = BorshDeserialize::deserialize_reader(reader)?;
        let (nodes, grades) = extended::read::<_, List<Key, NODES_MAX>, List<u8, NODES_MAX>>(reader)?;
        let grades = grades.unwrap_or_default();
        Ok(Self { epoch, vrf_public, proof, candidates_root, nodes, grades })
    }
}

impl Record for Selection {
    const TAG: [u8; 4] = *b"CCse";
    const VERSION: u16 = 2;
    const NAME: &'static str = "selection";
    const LEN_MAX: usize = NODES_MAX * 33 + 512;

    fn version(&self) -> u16 {
        if self.grades.is_empty() { 1 } else { 2 }
    }

    fn read_older(version: u16, body: &mut &[u8]) -> Option<std::io::Result<Self>> {
        (version == 1).then(|| Self::deserialize(body))
    }

    fn check(&self) -> Result<()> {
        if !self.grades.is_empty() && self.grades.len() != self.nodes.len() {
            let (had, needed) = (self.grades.len(), self.nodes.len());
            return Err(Error::input(format!("selection: {had} grades of {needed} nodes")));
        }
        Ok(())
    }
}

/// A sender's draw for an epoch: one proof, good for every transaction of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// The epoch.
    pub epoch: u64,
    /// The sender's VRF key.
    pub vrf_public: Key,
    /// The proof.
    pub proof: [u8; vrf::PROOF_LEN],
    /// The VRF's output.
    pub beta: [u8; vrf::OUTPUT_LEN],
}

impl Draw {
    /// Evaluates the VRF for `epoch`.
    pub fn new(secret: &vrf::SecretKey, epoch: &Epoch) -> Result<Self> {
        let alpha = alpha(epoch);
        let proof = secret.prove(&alpha);
        Ok(Self { epoch: epoch.number, vrf_public: secret.public(), proof, beta: vrf::proof_to_hash(&proof)? })
    }

    /// Chooses `count` nodes for the transaction `sequence` of `sender`.
    pub fn select(&self, candidates: &Candidates, sender: &Key, sequence: u64, count: usize) -> Result<Selection> {
        let seed = vrf::transaction_seed(&self.beta, sender, sequence);
        let nodes = candidates.choose(&seed, count)?;
        Ok(Selection {
            epoch: self.epoch,
            vrf_public: self.vrf_public,
            proof: self.proof,
            candidates_root: *candidates.root(),
            grades: List::new("selection: grades", candidates.grades(&nodes))?,
            nodes: List::new("selection: nodes", nodes)?,
        })
    }
}

fn alpha(epoch: &Epoch) -> Vec<u8> {
    vrf::alpha(&epoch.network, epoch.number, ROLE_HOLDER, &epoch.seed).to_vec()
}

impl Selection {
    /// Checks the proof and returns the VRF's output.
    pub fn verify_proof(&self, epoch: &Epoch) -> Result<[u8; vrf::OUTPUT_LEN]> {
        if self.epoch != epoch.number {
            return Err(Error::verification(format!(
                "selection: of epoch {}, but epoch {} is asked for",
                self.epoch, epoch.number
            )));
        }
        let alpha = alpha(epoch);
        let print = Hasher::new(CONTEXT_DRAW).fixed(&self.vrf_public).fixed(&self.proof).fixed(&alpha).finish();
        if remembered::enabled()
            && let Some(output) = DRAWS.get_many(&[print])[0]
        {
            return Ok(output);
        }
        let output = vrf::verify(&self.vrf_public, &alpha, &self.proof)
            .map_err(|error| Error::verification(format!("selection: {error}")))?;
        if remembered::enabled() {
            DRAWS.put_many([(print, output)]);
        }
        Ok(output)
    }

    /// Checks the proof and the choice of nodes for the transaction `sequence` of `sender`.
    pub fn verify(&self, epoch: &Epoch, candidates: &Candidates, sender: &Key, sequence: u64) -> Result<()> {
        self.verify_nodes(&self.verify_proof(epoch)?, candidates, sender, sequence)
    }

    /// Recomputes the choice from the proof's output (see [`Selection::verify_proof`]) and the candidate list.
    pub fn verify_nodes(
        &self,
        beta: &[u8; vrf::OUTPUT_LEN],
        candidates: &Candidates,
        sender: &Key,
        sequence: u64,
    ) -> Result<()> {
        if self.candidates_root != *candidates.root() {
            return Err(Error::verification(format!(
                "selection: drawn from the candidate list {}, not from {}",
                hex(&self.candidates_root),
                hex(candidates.root())
            )));
        }
        let expected = candidates.choose(&vrf::transaction_seed(beta, sender, sequence), self.nodes.len())?;
        if expected != *self.nodes {
            let at = expected.iter().zip(self.nodes.iter()).position(|(right, said)| right != said);
            return Err(Error::verification(match at {
                Some(at) => format!(
                    "selection: the nodes are not those that the draw gives: at {at} is {}, the draw gives {}",
                    hex(&self.nodes[at]),
                    hex(&expected[at])
                ),
                None => format!(
                    "selection: the nodes are not those that the draw gives: {} instead of {}",
                    self.nodes.len(),
                    expected.len()
                ),
            }));
        }
        let grades = candidates.grades(&self.nodes);
        if grades != *self.grades {
            return Err(Error::verification(format!(
                "selection: the grades are {:?}; by the candidate list they are {grades:?}",
                &*self.grades
            )));
        }
        Ok(())
    }
}
