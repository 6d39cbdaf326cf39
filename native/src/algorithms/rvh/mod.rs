//! RVH: rendezvous (highest-random-weight) hashing (Thaler, Ravishankar 1998).
//!
//! Every participant ranks the nodes for a key alike, with no state shared. The placement is frozen by vectors:
//!
//! 1. `node` and `key` are the first 8 bytes (little-endian) of domain-separated BLAKE3 of the id and of the key;
//! 2. `draw = mix(node ^ key)`, a bijection (MurmurHash3's 64-bit finaliser), so distinct node hashes cannot tie;
//! 3. the score is −log₂(u)/w with u = (draw + 1)/2⁶⁴, as in Ceph's straw2 and in Schindelhauer and Schomaker's weighted
//!    hashing; the smallest wins. The logarithm is computed in integers ([`cost`]) and the quotients are compared by cross
//!    multiplication, because libm's logarithm is not the same bits everywhere and a placement must be;
//! 4. ties break on the larger draw, then the smaller id. The logarithm is monotonic, so nodes of equal weight are in the
//!    order of their draws.
//!
//! With failure domains, the best node of every domain comes first (in the order of rank), then the second best of every
//! domain, and so on: n nodes are spread over the domains as evenly as these allow.
//!
//! The main type is [`NodeSet`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::crypto::hash;
use crate::error::{Error, Result};

/// The most nodes of a set.
pub const NODES_MAX: usize = 1 << 20;

/// The most bytes of a node's id.
pub const ID_MAX: usize = 1024;

/// The most nodes that one call picks, over all its keys.
pub const PICKS_MAX: usize = 1 << 28;

/// A weight of 1 in the fixed point of the weights: 16 bits before and 16 bits after the point.
pub const WEIGHT_ONE: u32 = 1 << 16;

const CONTEXT_NODE: &str = "city-chain v1 rvh node";
const CONTEXT_KEY: &str = "city-chain v1 rvh key";

/// Fractional bits of [`cost`].
const COST_BITS: u32 = 48;

fn hash64(context: &'static str, bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash::digest(context, bytes)[..8]);
    u64::from_le_bytes(first)
}

/// MurmurHash3's 64-bit finaliser, a bijection.
fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// −log₂((draw + 1)/2⁶⁴) with [`COST_BITS`] fractional bits, by repeated squaring; never rises with `draw`.
fn cost(draw: u64) -> u64 {
    let value = u128::from(draw) + 1;
    let whole = value.ilog2();
    // 1 ≤ x < 2 with 63 fractional bits.
    let mut x = if whole <= 63 { value << (63 - whole) } else { value >> (whole - 63) };
    let mut log = u64::from(whole);
    for _ in 0..COST_BITS {
        x = (x * x) >> 63;
        log <<= 1;
        if x >> 64 != 0 {
            x >>= 1;
            log |= 1;
        }
    }
    (64 << COST_BITS) - log
}

/// A weight as fixed point, rounded to the nearest; refuses what is negative, not finite or too large.
pub fn fixed_weight(weight: f64) -> Result<u32> {
    let scaled = weight * f64::from(WEIGHT_ONE);
    if !scaled.is_finite() || scaled < 0.0 || scaled.round() > f64::from(u32::MAX) {
        return Err(Error::input(format!("rvh: a weight of {weight}; 0 to 65535 is allowed")));
    }
    let fixed = scaled.round() as u32;
    if fixed == 0 && weight > 0.0 {
        return Err(Error::input(format!("rvh: a weight of {weight} is below 1/65536; use 0 for never")));
    }
    Ok(fixed)
}

#[derive(Debug, Clone)]
struct Node {
    id: Vec<u8>,
    hash: u64,
    weight: u32,
    domain: u32,
}

/// Some nodes, hashed once.
#[derive(Debug, Clone)]
pub struct NodeSet {
    nodes: Vec<Node>,
    by_id: BTreeMap<Vec<u8>, u32>,
    eligible: usize,
    even: bool,
    spread: bool,
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
        let names: BTreeSet<&[u8]> = domains.into_iter().flatten().copied().collect();
        let numbers: BTreeMap<&[u8], u32> = names.into_iter().zip(0..).collect();
        let mut by_id = BTreeMap::new();
        let mut nodes = Vec::with_capacity(ids.len());
        for (at, id) in (0u32..).zip(ids) {
            if id.is_empty() || id.len() > ID_MAX {
                return Err(Error::input(format!(
                    "rvh: node {at}: an id of {} bytes, 1 to {ID_MAX} are allowed",
                    id.len()
                )));
            }
            if by_id.insert(id.to_vec(), at).is_some() {
                return Err(Error::input(format!("rvh: node {at}: its id is there twice")));
            }
            let place = at as usize;
            nodes.push(Node {
                id: id.to_vec(),
                hash: hash64(CONTEXT_NODE, id),
                weight: weights.map_or(WEIGHT_ONE, |weights| weights[place]),
                domain: domains.map_or(0, |domains| numbers[domains[place]]),
            });
        }
        let eligible = nodes.iter().filter(|node| node.weight > 0).count();
        let first = nodes.iter().map(|node| node.weight).find(|weight| *weight > 0).unwrap_or(0);
        let even = nodes.iter().all(|node| node.weight == 0 || node.weight == first);
        Ok(Self { nodes, by_id, eligible, even, spread: numbers.len() > 1 })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a set has at least one node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether all nodes that can be chosen have one weight, so that scoring needs no logarithm.
    pub fn even(&self) -> bool {
        self.even
    }

    /// The id of a node.
    pub fn id(&self, at: u32) -> Option<&[u8]> {
        self.nodes.get(at as usize).map(|node| node.id.as_slice())
    }

    /// All nodes of weight above 0 that are not excluded, best first, domains spread.
    pub fn rank(&self, key: &[u8], excluded: &[u32]) -> Result<Vec<u32>> {
        let mut left_out = vec![false; self.nodes.len()];
        for at in excluded {
            match left_out.get_mut(*at as usize) {
                Some(flag) => *flag = true,
                None => return Err(Error::input(format!("rvh: node {at}: there are only {}", self.nodes.len()))),
            }
        }
        let key = hash64(CONTEXT_KEY, key);
        let mut scored: Vec<(u64, u64, u32)> = (0u32..)
            .zip(&self.nodes)
            .filter(|(at, node)| node.weight > 0 && !left_out[*at as usize])
            .map(|(at, node)| {
                let draw = mix(node.hash ^ key);
                (if self.even { 0 } else { cost(draw) }, draw, at)
            })
            .collect();
        scored.sort_unstable_by(|a, b| self.compare(a, b));
        let ranked = scored.into_iter().map(|(_, _, at)| at);
        Ok(if self.spread { self.spread(ranked) } else { ranked.collect() })
    }

    fn compare(&self, a: &(u64, u64, u32), b: &(u64, u64, u32)) -> Ordering {
        let (left, right) = (&self.nodes[a.2 as usize], &self.nodes[b.2 as usize]);
        let scores = (u128::from(a.0) * u128::from(right.weight)).cmp(&(u128::from(b.0) * u128::from(left.weight)));
        scores.then(b.1.cmp(&a.1)).then_with(|| left.id.cmp(&right.id))
    }

    /// The best of every domain, then the second best of every domain, and so on.
    fn spread(&self, ranked: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
        let mut rounds: Vec<Vec<u32>> = Vec::new();
        for at in ranked {
            let round = taken.entry(self.nodes[at as usize].domain).or_default();
            if *round == rounds.len() {
                rounds.push(Vec::new());
            }
            rounds[*round].push(at);
            *round += 1;
        }
        rounds.concat()
    }

    /// The first `n` of [`NodeSet::rank`].
    pub fn pick(&self, key: &[u8], n: usize, excluded: &[u32]) -> Result<Vec<u32>> {
        let mut ranked = self.rank(key, excluded)?;
        if ranked.len() < n {
            return Err(Error::unavailable("rvh: nodes with weight above 0", n as u64, ranked.len() as u64));
        }
        ranked.truncate(n);
        Ok(ranked)
    }

    /// How many numbers [`NodeSet::pick_many`] gives for `keys` keys, checked before anything is allocated for them.
    pub fn picks(&self, keys: usize, n: usize) -> Result<usize> {
        if n > self.eligible {
            return Err(Error::unavailable("rvh: nodes with weight above 0", n as u64, self.eligible as u64));
        }
        let picks = keys.saturating_mul(n);
        if picks > PICKS_MAX {
            return Err(Error::input(format!("rvh: {keys} keys of {n} nodes each; at most {PICKS_MAX} in all")));
        }
        Ok(picks)
    }

    /// [`NodeSet::pick`] for many keys: calls `put` with one row of `n` after another.
    pub fn pick_many_with(&self, keys: &[&[u8]], n: usize, put: &mut impl FnMut(&[u32])) -> Result<()> {
        self.picks(keys.len(), n)?;
        for key in keys {
            put(&self.pick(key, n, &[])?);
        }
        Ok(())
    }

    /// [`NodeSet::pick`] for many keys, one row of `n` after another.
    pub fn pick_many(&self, keys: &[&[u8]], n: usize) -> Result<Vec<u32>> {
        let mut rows = Vec::with_capacity(self.picks(keys.len(), n)?);
        self.pick_many_with(keys, n, &mut |row| rows.extend_from_slice(row))?;
        Ok(rows)
    }

    /// The positions of the keys whose first `n` nodes, as a set of ids, are others in `other`.
    pub fn owner_changes(&self, other: &Self, keys: &[&[u8]], n: usize) -> Result<Vec<usize>> {
        let mut changed = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let ids = |set: &Self| -> Result<BTreeSet<Vec<u8>>> {
                Ok(set.pick(key, n, &[])?.into_iter().map(|at| set.nodes[at as usize].id.clone()).collect())
            };
            if ids(self)? != ids(other)? {
                changed.push(at);
            }
        }
        Ok(changed)
    }

    /// The index of an id.
    pub fn position(&self, id: &[u8]) -> Option<u32> {
        self.by_id.get(id).copied()
    }
}

#[cfg(test)]
mod tests;
