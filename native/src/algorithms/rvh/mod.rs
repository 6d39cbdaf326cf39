//! RVH: rendezvous (highest-random-weight) hashing (Thaler, Ravishankar 1998).
//!
//! Every participant ranks the nodes for a key alike, with no state shared. The placement is frozen by vectors:
//!
//! 1. `node` and `key` are the first 8 bytes (little-endian) of domain-separated BLAKE3 of the id and of the key;
//! 2. `draw = mix(node ^ key)`, a bijection (MurmurHash3's 64-bit finaliser), so distinct node hashes cannot tie;
//! 3. the score is −log₂(u)/w with u = (draw + 1)/2⁶⁴, as in Ceph's straw2 and in Schindelhauer and Schomaker's weighted
//!    hashing; the smallest wins. The logarithm is computed in integers (`cost::cost`) and the quotients are compared by
//!    cross multiplication, because libm's logarithm is not the same bits everywhere and a placement must be;
//! 4. ties break on the larger draw, then the smaller id. The logarithm is monotonic, so nodes of equal weight are in the
//!    order of their draws.
//!
//! With failure domains, the best node of every domain comes first (in the order of rank), then the second best of every
//! domain, and so on: n nodes are spread over the domains as evenly as these allow.
//!
//! The main type is [`NodeSet`]. `group` finds the best of some nodes without scoring all, `kernel` has the loops for each set
//! of instructions, `digest` hashes many keys at once, `spread` deals with domains.

use std::collections::BTreeSet;

use rayon::prelude::*;

use crate::error::{Error, Result};

mod cost;
mod digest;
mod group;
mod kernel;
mod spread;

pub use cost::{WEIGHT_ONE, fixed_weight};
pub use digest::Keys;
use group::{Found, Group, Mask};
pub use kernel::Kernel;
use spread::{Domains, Quota, Spreading};

/// The most nodes of a set.
pub const NODES_MAX: usize = 1 << 20;

/// The most bytes of a node's id.
pub const ID_MAX: usize = 1024;

/// The most nodes that one call picks, over all its keys.
pub const PICKS_MAX: usize = 1 << 28;

/// Keys that are hashed, then placed, at a time.
const KEYS: usize = 64;

/// Nanoseconds of work for one thread, from which on others help.
const PARALLEL_MIN: usize = 400_000;

/// Stands for a node that no key can have.
const NONE: u32 = u32::MAX;

/// Some nodes, hashed once. Unchanging, but for what is prepared at the first call that needs it.
#[derive(Debug, Clone)]
pub struct NodeSet {
    ids: Vec<Box<[u8]>>,
    /// Positions in the order of the ids.
    order: Vec<u32>,
    /// The node of each position; [`NONE`] if its weight is 0.
    nodes: Vec<u32>,
    /// The position of each node. Nodes are those of weight above 0, in the order of their ids.
    positions: Vec<u32>,
    /// The weight of each node.
    weights: Vec<u32>,
    whole: Group,
    domains: Option<Domains>,
    kernel: Kernel,
}

/// What one call asks of every key.
struct Call {
    n: usize,
    mask: Mask,
    quota: Option<Quota>,
}

/// Space to work in.
#[derive(Default)]
struct Space {
    found: Found,
    spreading: Spreading,
}

impl NodeSet {
    /// A set of nodes with weights (default: all equal) and failure domains (default: none).
    pub fn new(ids: &[&[u8]], weights: Option<&[f64]>, domains: Option<&[&[u8]]>) -> Result<Self> {
        let fixed: Option<Vec<u32>> =
            weights.map(|weights| weights.iter().map(|weight| fixed_weight(*weight)).collect()).transpose()?;
        Self::from_fixed(ids, fixed.as_deref(), domains)
    }

    /// A set of nodes with weights in 1/65536 (default: all equal) and failure domains (default: none).
    pub fn from_fixed(ids: &[&[u8]], weights: Option<&[u32]>, domains: Option<&[&[u8]]>) -> Result<Self> {
        if ids.is_empty() || ids.len() > NODES_MAX {
            return Err(Error::input(format!("rvh: {} nodes, 1 to {NODES_MAX} are allowed", ids.len())));
        }
        for (what, count) in [("weights", weights.map(<[_]>::len)), ("domains", domains.map(<[_]>::len))] {
            if let Some(count) = count.filter(|count| *count != ids.len()) {
                return Err(Error::input(format!("rvh: {count} {what} for {} nodes", ids.len())));
            }
        }
        for (at, id) in ids.iter().enumerate() {
            if id.is_empty() || id.len() > ID_MAX {
                return Err(Error::input(format!(
                    "rvh: node {at}: an id of {} bytes, 1 to {ID_MAX} are allowed",
                    id.len()
                )));
            }
        }
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_unstable_by_key(|at| (ids[*at as usize], *at));
        let twice = order.windows(2).filter(|pair| ids[pair[0] as usize] == ids[pair[1] as usize]);
        if let Some(at) = twice.map(|pair| pair[1]).min() {
            return Err(Error::input(format!("rvh: node {at}: its id is there twice")));
        }
        let weight = |at: u32| weights.map_or(WEIGHT_ONE, |weights| weights[at as usize]);
        let positions: Vec<u32> = order.iter().copied().filter(|at| weight(*at) > 0).collect();
        let mut nodes = vec![NONE; ids.len()];
        for (node, at) in (0u32..).zip(&positions) {
            nodes[*at as usize] = node;
        }
        let weights: Vec<u32> = positions.iter().map(|at| weight(*at)).collect();
        let hashes: Vec<u64> = positions.iter().map(|at| digest::node(ids[*at as usize])).collect();
        let domains = domains.and_then(|domains| {
            let of = |at: &u32| domains[*at as usize];
            let names: BTreeSet<&[u8]> = positions.iter().map(of).collect();
            let names: Vec<&[u8]> = names.into_iter().collect();
            let number = |at: &u32| names.partition_point(|name| *name < of(at)) as u32;
            (names.len() > 1).then(|| Domains::new(positions.iter().map(number).collect(), &hashes, &weights))
        });
        let whole = Group::new(None, &hashes, &weights);
        let ids = ids.iter().map(|id| Box::from(*id)).collect();
        Ok(Self { ids, order, nodes, positions, weights, whole, domains, kernel: Kernel::chosen()? })
    }

    /// The same set, worked on with a kernel of one's own choice.
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// The kernel that works on it.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Never: a set has at least one node.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of a node.
    pub fn id(&self, at: u32) -> Option<&[u8]> {
        self.ids.get(at as usize).map(Box::as_ref)
    }

    /// The index of an id.
    pub fn position(&self, id: &[u8]) -> Option<u32> {
        self.order.binary_search_by(|at| self.ids[*at as usize].as_ref().cmp(id)).ok().map(|place| self.order[place])
    }

    /// All nodes of weight above 0 that are not excluded, best first, domains spread.
    pub fn rank(&self, key: &[u8], excluded: &[u32]) -> Result<Vec<u32>> {
        self.pick_up_to(key, usize::MAX, excluded)
    }

    /// The first `n` of [`NodeSet::rank`], or all of them where they are fewer.
    pub fn pick_up_to(&self, key: &[u8], n: usize, excluded: &[u32]) -> Result<Vec<u32>> {
        let mask = self.mask(excluded)?;
        let n = n.min(self.positions.len() - mask.nodes.len());
        Ok(self.one(key, &self.call(n, mask)?))
    }

    /// The first `n` of [`NodeSet::rank`].
    pub fn pick(&self, key: &[u8], n: usize, excluded: &[u32]) -> Result<Vec<u32>> {
        Ok(self.one(key, &self.call(n, self.mask(excluded)?)?))
    }

    /// How many numbers [`NodeSet::pick_many`] gives for `keys` keys, checked before anything is allocated for them.
    pub fn picks(&self, keys: usize, n: usize, excluded: &[u32]) -> Result<usize> {
        self.enough(n, &self.mask(excluded)?)?;
        let picks = keys.saturating_mul(n);
        if picks > PICKS_MAX {
            return Err(Error::input(format!("rvh: {keys} keys of {n} nodes each; at most {PICKS_MAX} in all")));
        }
        Ok(picks)
    }

    /// [`NodeSet::pick`] for many keys: fills `rows`, which has [`NodeSet::picks`] places, with one row of `n` positions
    /// after another, little-endian. Large batches use rayon.
    pub fn pick_many_into(&self, keys: Keys<'_>, n: usize, excluded: &[u32], rows: &mut [[u8; 4]]) -> Result<()> {
        let picks = self.picks(keys.len(), n, excluded)?;
        if rows.len() != picks {
            return Err(Error::input(format!("rvh: room for {} positions, {picks} are needed", rows.len())));
        }
        let call = self.call(n, self.mask(excluded)?)?;
        self.batches((keys, n), n, rows, |start, rows| {
            let (mut space, mut hashes) = (Space::default(), [0; KEYS]);
            for (piece, rows) in rows.chunks_mut(KEYS * n).enumerate() {
                let hashes = &mut hashes[..rows.len() / n];
                keys.hash(self.kernel, start + piece * KEYS, hashes);
                for (hash, row) in hashes.iter().zip(rows.chunks_exact_mut(n)) {
                    for (place, node) in row.iter_mut().zip(self.best(*hash, &call, &mut space)) {
                        *place = self.positions[*node as usize].to_le_bytes();
                    }
                }
            }
        });
        Ok(())
    }

    /// [`NodeSet::pick`] for many keys, one row of `n` after another.
    pub fn pick_many(&self, keys: Keys<'_>, n: usize, excluded: &[u32]) -> Result<Vec<u32>> {
        let mut rows = vec![[0; 4]; self.picks(keys.len(), n, excluded)?];
        self.pick_many_into(keys, n, excluded, &mut rows)?;
        Ok(rows.into_iter().map(u32::from_le_bytes).collect())
    }

    /// The positions of the keys whose first `n` nodes, as a set of ids, are others in `other`.
    pub fn owner_changes(&self, other: &Self, keys: Keys<'_>, n: usize) -> Result<Vec<usize>> {
        let calls = [self.call(n, Mask::default())?, other.call(n, Mask::default())?];
        if n == 0 {
            return Ok(Vec::new());
        }
        // What the nodes of `other` are called here.
        let here = |at: &u32| self.position(&other.ids[*at as usize]).map_or(NONE, |at| self.nodes[at as usize]);
        let names: Vec<u32> = other.positions.iter().map(here).collect();
        let mut moved = vec![false; keys.len()];
        self.batches((keys, 2 * n), 1, &mut moved, |start, moved| {
            let (mut space, mut hashes) = (Space::default(), [0; KEYS]);
            let (mut held, mut holders) = (Vec::with_capacity(n), Vec::with_capacity(n));
            for (piece, moved) in moved.chunks_mut(KEYS).enumerate() {
                let hashes = &mut hashes[..moved.len()];
                keys.hash(self.kernel, start + piece * KEYS, hashes);
                for (hash, moved) in hashes.iter().zip(moved) {
                    held.clear();
                    held.extend_from_slice(self.best(*hash, &calls[0], &mut space));
                    held.sort_unstable();
                    holders.clear();
                    holders.extend(other.best(*hash, &calls[1], &mut space).iter().map(|node| names[*node as usize]));
                    holders.sort_unstable();
                    *moved = held != holders;
                }
            }
        });
        Ok(moved.into_iter().enumerate().filter_map(|(at, moved)| moved.then_some(at)).collect())
    }

    /// About how many nanoseconds a call for some keys takes on one thread, for a caller that decides where it runs.
    pub fn work(&self, keys: usize, bytes: usize, n: usize) -> usize {
        let (nodes, n) = (self.positions.len(), n.min(self.positions.len()));
        let (each, ordered) = if self.whole.even() { (1, 8) } else { (1, 40) };
        // Everything scored and sorted, or a pass and a few hits scored.
        let scored = if n > nodes / 8 { nodes } else { 2 * n + 8 };
        let ready = self.domains.as_ref().map_or_else(|| self.whole.ready(n), |domains| domains.ready(nodes, n));
        (100 + nodes * each + scored * ordered).saturating_mul(keys).saturating_add(bytes).saturating_add(if ready {
            0
        } else {
            nodes.saturating_mul(100)
        })
    }

    fn mask(&self, excluded: &[u32]) -> Result<Mask> {
        if let Some(at) = excluded.iter().find(|at| **at as usize >= self.ids.len()) {
            return Err(Error::input(format!("rvh: node {at}: there are only {}", self.ids.len())));
        }
        Ok(Mask::new(
            excluded.iter().map(|at| self.nodes[*at as usize]).filter(|node| *node != NONE),
            self.positions.len(),
        ))
    }

    fn enough(&self, n: usize, mask: &Mask) -> Result<()> {
        let left = self.positions.len() - mask.nodes.len();
        if n > left {
            return Err(Error::unavailable("rvh: nodes with weight above 0", n as u64, left as u64));
        }
        Ok(())
    }

    fn call(&self, n: usize, mask: Mask) -> Result<Call> {
        self.enough(n, &mask)?;
        let quota = self.domains.as_ref().map(|domains| domains.quota(n, &mask));
        Ok(Call { n, mask, quota })
    }

    fn one(&self, key: &[u8], call: &Call) -> Vec<u32> {
        let mut space = Space::default();
        let nodes = self.best(digest::key(key), call, &mut space);
        nodes.iter().map(|node| self.positions[*node as usize]).collect()
    }

    fn best<'a>(&self, key: u64, call: &Call, space: &'a mut Space) -> &'a [u32] {
        let Space { found, spreading } = space;
        match (&self.domains, &call.quota) {
            (Some(domains), Some(quota)) => {
                let call = (quota, &call.mask);
                domains.best(&self.whole, self.kernel, key, call, &self.weights, (found, spreading));
            }
            _ => {
                let mask = (&call.mask, call.mask.nodes.len());
                self.whole.best(self.kernel, key, call.n, mask, &self.weights, found);
            }
        }
        &found.nodes[..call.n]
    }

    /// Calls `work` with the first key and the places of one piece of the keys after another, on several threads if that
    /// pays. Every key has `each` places.
    fn batches<T: Send>(
        &self,
        (keys, n): (Keys<'_>, usize),
        each: usize,
        places: &mut [T],
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        if places.is_empty() {
            return;
        }
        let total = self.work(keys.len(), keys.bytes(), n);
        if total < PARALLEL_MIN || rayon::current_num_threads() == 1 {
            work(0, places);
            return;
        }
        let count = keys.len().div_ceil((total / (PARALLEL_MIN / 4)).max(1)).next_multiple_of(KEYS);
        places.par_chunks_mut(count * each).enumerate().for_each(|(at, places)| work(at * count, places));
    }
}

#[cfg(test)]
mod tests;
