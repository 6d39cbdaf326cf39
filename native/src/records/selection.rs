//! Who holds a transaction: the candidates, the draw and its proof.
//!
//! The candidate list of an epoch is a Merkle tree over the logged-in holders. The sender's VRF, evaluated once per epoch
//! over (network, epoch, role, epoch seed), gives every transaction a seed that the sender cannot choose
//! ([`vrf::transaction_seed`]); weighted rendezvous hashing under that seed ranks the candidates, failure domains first.
//! Anyone with the candidate list can recompute the whole selection ([`Selection::verify_nodes`]); the proof alone is
//! checked without it ([`Selection::verify_proof`]).

use borsh::{BorshDeserialize, BorshSerialize};

use super::epoch::Epoch;
use super::{Key, NAME_MAX, NODES_MAX};
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
const CONTEXT_DRAW: &str = "city-chain v1 remembered draw";

/// The outputs of proofs that were found right, by the digest of key, proof and input: a sender's proof serves a whole
/// epoch, and comes with every one of its transactions.
static DRAWS: Table<[u8; vrf::OUTPUT_LEN]> = Table::new(256);

/// One node that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Candidate {
    /// The node.
    pub node: Key,
    /// Its share of the load, in 1/65536.
    pub weight: u32,
    /// Its failure domain (a district).
    pub domain: Text<NAME_MAX>,
}

/// The candidates of one region, ascending by node.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CandidateList {
    /// The network.
    pub network: Digest,
    /// The region.
    pub region: Text<NAME_MAX>,
    /// The candidates, ascending and distinct by node.
    pub items: List<Candidate, CANDIDATES_MAX>,
}

impl Record for CandidateList {
    const TAG: [u8; 4] = *b"CCcl";
    const VERSION: u16 = 1;
    const NAME: &'static str = "candidate list";
    const LEN_MAX: usize = 16 << 20;

    fn check(&self) -> Result<()> {
        if !self.items.windows(2).all(|pair| pair[0].node < pair[1].node) {
            return Err(Error::input("candidate list: the nodes must be ascending and distinct"));
        }
        Ok(())
    }
}

/// A candidate list made ready for choosing: nodes hashed once, root computed once.
pub struct Candidates {
    list: CandidateList,
    root: Digest,
    nodes: NodeSet,
}

impl Candidates {
    /// Prepares a list with at least one candidate.
    pub fn new(list: CandidateList) -> Result<Self> {
        list.check()?;
        if list.items.is_empty() {
            return Err(Error::unavailable("candidates", 1, 0));
        }
        let leaves = list.items.iter().map(leaf).collect();
        let top = merkle::Tree::new(leaves)?.root();
        let root =
            Hasher::new(CONTEXT_CANDIDATES).fixed(&list.network).field(list.region.as_bytes()).fixed(&top).finish();
        let ids: Vec<&[u8]> = list.items.iter().map(|c| c.node.as_slice()).collect();
        let weights: Vec<u32> = list.items.iter().map(|c| c.weight).collect();
        let domains: Vec<&[u8]> = list.items.iter().map(|c| c.domain.as_bytes()).collect();
        let nodes = NodeSet::from_fixed(&ids, Some(&weights), Some(&domains))?;
        Ok(Self { list, root, nodes })
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

    fn position(&self, node: &Key) -> Option<usize> {
        self.list.items.binary_search_by(|candidate| candidate.node.cmp(node)).ok()
    }

    /// Whether `node` may be chosen.
    pub fn contains(&self, node: &Key) -> bool {
        self.position(node).is_some_and(|at| self.list.items[at].weight > 0)
    }
}

fn leaf(candidate: &Candidate) -> Digest {
    let mut bytes = Vec::with_capacity(36 + candidate.domain.len());
    bytes.extend_from_slice(&candidate.node);
    bytes.extend_from_slice(&candidate.weight.to_le_bytes());
    bytes.extend_from_slice(candidate.domain.as_bytes());
    merkle::leaf(&bytes)
}

/// Who was chosen, and the proof that the sender had no say in it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
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
}

impl Record for Selection {
    const TAG: [u8; 4] = *b"CCse";
    const VERSION: u16 = 1;
    const NAME: &'static str = "selection";
    const LEN_MAX: usize = NODES_MAX * 32 + 512;
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
        Ok(Selection {
            epoch: self.epoch,
            vrf_public: self.vrf_public,
            proof: self.proof,
            candidates_root: *candidates.root(),
            nodes: List::new("selection: nodes", candidates.choose(&seed, count)?)?,
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
            return Err(Error::verification("selection: the nodes are not those that the draw gives"));
        }
        Ok(())
    }
}
