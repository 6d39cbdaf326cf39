//! Some nodes side by side, and the best of them for a key.
//!
//! Few nodes can be among the best n: those whose score is under a bound that about n + 2.5·√n + 2 nodes stay under. A node
//! stays under it exactly if its draw reaches a limit, which follows from its weight alone. So one pass over the nodes
//! compares draws with limits, and only the few hits are scored and put in order. Where they turn out too few, the next pass
//! has a wider bound. Bounds and limits decide how fast the answer comes, never what it is: nodes that are no hits have at
//! least the score [`Plan::bound`], and only what is better than that counts as found.

use std::cmp::Ordering;
use std::sync::OnceLock;

use super::cost::{self, ERROR, about, cost};
use super::kernel::{BLOCK, COUNTED, Hits, Kernel, Limits};

/// Keeps a bound on the safe side of the rounding of a quotient.
const DOWN: f64 = 1.0 - 1.0 / (1u64 << 48) as f64;

/// Nodes of weight above 0, in the order of their ids.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Padded to whole blocks, unless that would be the larger part.
    hashes: Vec<u64>,
    len: usize,
    /// Each node's number among all nodes of the set; None if these are all of them.
    members: Option<Vec<u32>>,
    /// None if all weights are equal.
    weighted: Option<Box<Weighted>>,
}

#[derive(Debug, Clone)]
struct Weighted {
    /// The different weights, how many nodes have each, and which each node has.
    weights: Vec<u32>,
    counts: Vec<u32>,
    classes: Vec<u32>,
    /// By [`level`].
    plans: Vec<OnceLock<Plan>>,
}

/// The limits for one number of hits.
#[derive(Debug, Clone)]
struct Plan {
    /// Padded like the hashes.
    limits: Vec<u64>,
    /// In units of log₂ over fixed weights.
    bound: f64,
}

/// Nodes that no key may have, in one call.
#[derive(Debug, Default)]
pub(super) struct Mask {
    bits: Vec<u64>,
    /// The nodes of weight above 0 among them, each once.
    pub nodes: Vec<u32>,
}

/// The best nodes for a key, and the space to find them in.
#[derive(Debug, Default)]
pub(super) struct Found {
    hits: Hits,
    lows: Vec<u64>,
    highs: Vec<f64>,
    spans: Vec<(f64, f64)>,
    padded: Vec<[u64; 8]>,
    pairs: Vec<(u64, u32)>,
    /// Node numbers in the set, best first.
    pub nodes: Vec<u32>,
    /// The draws of `nodes`.
    pub draws: Vec<u64>,
}

impl Mask {
    /// Over `count` nodes.
    pub fn new(nodes: impl Iterator<Item = u32>, count: usize) -> Self {
        let mut mask = Self::default();
        for node in nodes {
            if mask.bits.is_empty() {
                mask.bits = vec![0; count.div_ceil(64)];
            }
            let word = &mut mask.bits[node as usize / 64];
            if *word >> (node % 64) & 1 == 0 {
                *word |= 1 << (node % 64);
                mask.nodes.push(node);
            }
        }
        mask
    }

    fn has(&self, node: u32) -> bool {
        self.bits.get(node as usize / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }
}

/// Hits to aim at for `want` nodes: too few come out about once in 200 keys.
fn aim(want: usize) -> f64 {
    let want = want as f64;
    want + 2.5 * want.sqrt() + 2.0
}

/// The number of the plan for at least so many hits; every plan has √2 times the hits of the one before.
fn level(hits: f64) -> usize {
    ((hits / 4.0).log2() * 2.0).ceil().max(0.0) as usize
}

fn level_hits(level: usize) -> f64 {
    4.0 * (level as f64 / 2.0).exp2()
}

impl Group {
    /// The members of a set whose hashes and weights are these; all its nodes if none are named.
    pub fn new(members: Option<Vec<u32>>, hashes: &[u64], weights: &[u32]) -> Self {
        let (mut hashes, weights): (Vec<u64>, Vec<u32>) = match &members {
            Some(members) => members.iter().map(|node| (hashes[*node as usize], weights[*node as usize])).unzip(),
            None => (hashes.to_vec(), weights.to_vec()),
        };
        let len = hashes.len();
        let padded = len.next_multiple_of(BLOCK);
        if padded <= 2 * len {
            hashes.resize(padded, 0);
        }
        hashes.shrink_to_fit();
        let even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let weighted = (!even).then(|| Box::new(Weighted::new(&weights)));
        Self { hashes, len, members, weighted }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether all weights are equal.
    pub fn even(&self) -> bool {
        self.weighted.is_none()
    }

    /// Whether the best `want` can be found without making a plan first.
    pub fn ready(&self, want: usize) -> bool {
        let Some(weighted) = &self.weighted else { return true };
        let hits = aim(want.min(self.len()));
        hits >= self.whole() || weighted.plans.get(level(hits)).is_none_or(|plan| plan.get().is_some())
    }

    /// From so many hits on, all nodes are taken.
    fn whole(&self) -> f64 {
        0.75 * self.len() as f64
    }

    /// Puts the best `want` nodes into `found`, and perhaps more; all there are if these are fewer. `gone` nodes of the
    /// mask are members; `weights` are those of the set.
    pub fn best(
        &self,
        kernel: Kernel,
        key: u64,
        want: usize,
        mask: (&Mask, usize),
        weights: &[u32],
        found: &mut Found,
    ) {
        let (mask, gone) = mask;
        let left = self.len() - gone;
        let want = want.min(left);
        found.clear();
        if want == 0 {
            return;
        }
        let mut hits = aim(want) * (self.len() as f64 / left as f64);
        loop {
            found.clear();
            let bound = self.scan(kernel, key, hits, &mut found.hits);
            if let Some(members) = &self.members {
                found.hits.nodes.iter_mut().for_each(|node| *node = members[*node as usize]);
            }
            if gone > 0 {
                found.hits.keep(|node| !mask.has(node));
            }
            if found.hits.nodes.len() >= want {
                found.settle(kernel, (!self.even()).then_some((weights, bound)));
                if found.nodes.len() >= want {
                    return;
                }
            }
            hits *= 4.0;
        }
    }

    /// Collects about so many hits; what is no hit has at least the score that is returned.
    fn scan(&self, kernel: Kernel, key: u64, aim: f64, hits: &mut Hits) -> f64 {
        let (limits, bound) = match &self.weighted {
            _ if aim >= self.whole() => (Limits::One(0), f64::INFINITY),
            // The float is below 2⁶⁴, for the quotient is below 0.75.
            None => (Limits::One(u64::MAX - (aim / self.len() as f64 * 2f64.powi(64)) as u64), f64::INFINITY),
            Some(weighted) => {
                let level = level(aim).min(weighted.plans.len() - 1);
                let plan = weighted.plans[level].get_or_init(|| weighted.plan(level_hits(level), self.hashes.len()));
                (Limits::Each(&plan.limits), plan.bound)
            }
        };
        kernel.scan(&self.hashes, self.len(), limits, key, hits);
        bound
    }
}

impl Weighted {
    fn new(each: &[u32]) -> Self {
        let mut weights = each.to_vec();
        weights.sort_unstable();
        weights.dedup();
        let class = |weight: &u32| weights.partition_point(|other| other < weight) as u32;
        let classes: Vec<u32> = each.iter().map(class).collect();
        let mut counts = vec![0; weights.len()];
        for class in &classes {
            counts[*class as usize] += 1;
        }
        let plans = vec![OnceLock::new(); level(each.len() as f64) + 1];
        Self { weights, counts, classes, plans }
    }

    /// Limits that about so many nodes reach.
    fn plan(&self, hits: f64, padded: usize) -> Plan {
        let most = self.most(hits);
        let mut bound = f64::INFINITY;
        let by_class: Vec<u64> = self
            .weights
            .iter()
            .map(|weight| {
                let weight = f64::from(*weight);
                // The share of draws that pass is 1 − 2^(−most·weight); at least one does.
                let share = -(-most * weight * std::f64::consts::LN_2).exp_m1();
                let passing = (share * 2f64.powi(64)) as u64;
                let limit = u64::MAX - passing;
                if let Some(below) = limit.checked_sub(1) {
                    bound = bound.min(least(below) / weight * DOWN);
                }
                limit
            })
            .collect();
        let mut limits: Vec<u64> = self.classes.iter().map(|class| by_class[*class as usize]).collect();
        limits.resize(padded, u64::MAX);
        Plan { limits, bound }
    }

    /// The score that about so many nodes stay under, by Newton's method from below; the sum is concave.
    fn most(&self, hits: f64) -> f64 {
        let classes = || self.weights.iter().map(|w| f64::from(*w)).zip(self.counts.iter().map(|c| f64::from(*c)));
        let total: f64 = classes().map(|(weight, count)| weight * count).sum();
        let mut most = hits / (total * std::f64::consts::LN_2);
        for _ in 0..100 {
            let (mut sum, mut slope) = (0.0, 0.0);
            for (weight, count) in classes() {
                let fails = (-most * weight).exp2();
                sum += count * (1.0 - fails);
                slope += count * weight * fails * std::f64::consts::LN_2;
            }
            if hits - sum < 0.01 * hits || slope <= 0.0 {
                break;
            }
            most += (hits - sum) / slope;
        }
        most
    }
}

/// No more than the cost of a draw, in units of log₂, and little less.
fn least(draw: u64) -> f64 {
    let near = about(draw);
    if near > 1.0 / 1024.0 { near - ERROR } else { cost(draw) as f64 / (1u64 << cost::COST_BITS) as f64 * DOWN }
}

impl Hits {
    fn keep(&mut self, keep: impl Fn(u32) -> bool) {
        let mut kept = 0;
        for at in 0..self.nodes.len() {
            let node = self.nodes[at];
            if keep(node) {
                (self.nodes[kept], self.draws[kept]) = (node, self.draws[at]);
                kept += 1;
            }
        }
        self.nodes.truncate(kept);
        self.draws.truncate(kept);
    }
}

/// The scores between which a node's own lies, which is never below 0.
fn interval(draw: u64, weight: u32) -> (f64, f64) {
    let (about, weight) = (about(draw), f64::from(weight));
    ((about - ERROR).max(0.0) / weight, (about + ERROR) / weight)
}

impl Found {
    fn clear(&mut self) {
        self.hits.nodes.clear();
        self.hits.draws.clear();
        self.nodes.clear();
        self.draws.clear();
    }

    /// Orders any nodes of a set by rank.
    pub fn sort(&mut self, kernel: Kernel, some: impl Iterator<Item = (u32, u64)>, weights: Option<&[u32]>) {
        self.clear();
        for (node, draw) in some {
            self.hits.nodes.push(node);
            self.hits.draws.push(draw);
        }
        self.settle(kernel, weights.map(|weights| (weights, f64::INFINITY)));
    }

    /// Puts the hits in order, and with weights leaves those out that are not surely better than the bound.
    fn settle(&mut self, kernel: Kernel, weighted: Option<(&[u32], f64)>) {
        let Some((weights, bound)) = weighted else {
            let Self { hits, padded, pairs, nodes, draws, .. } = self;
            order(kernel, &hits.draws, &hits.nodes, padded, pairs, |at| {
                nodes.push(hits.nodes[at]);
                draws.push(hits.draws[at]);
            });
            return;
        };
        self.lows.clear();
        self.highs.clear();
        for (node, draw) in self.hits.nodes.iter().zip(&self.hits.draws) {
            let (low, high) = interval(*draw, weights[*node as usize]);
            // Floats that are not negative are in the order of their bits. The largest comes first, as with draws.
            self.lows.push(!low.to_bits());
            self.highs.push(high);
        }
        self.spans.clear();
        let Self { hits, padded, pairs, nodes, draws, lows, highs, spans } = self;
        order(kernel, lows, &hits.nodes, padded, pairs, |at| {
            nodes.push(hits.nodes[at]);
            draws.push(hits.draws[at]);
            spans.push((f64::from_bits(!lows[at]), highs[at]));
        });
        self.refine(weights, bound);
    }

    /// From the order by the lower ends of the intervals to that by rank: where intervals meet, costs decide. Then leaves
    /// out what may be no better than the bound.
    fn refine(&mut self, weights: &[u32], bound: f64) {
        let (mut start, mut sure, mut highest) = (0, 0, f64::NEG_INFINITY);
        for at in 0..=self.nodes.len() {
            let (low, high) = self.spans.get(at).copied().unwrap_or((f64::INFINITY, f64::INFINITY));
            if low > highest {
                if at - start > 1 {
                    self.decide(start, at, weights);
                }
                if highest < bound {
                    sure = at;
                }
                start = at;
            }
            highest = highest.max(high);
        }
        self.nodes.truncate(sure);
        self.draws.truncate(sure);
    }

    /// Orders a run of nodes by score, then by the larger draw, then by the smaller id.
    fn decide(&mut self, start: usize, end: usize, weights: &[u32]) {
        let (nodes, draws) = (&mut self.nodes[start..end], &mut self.draws[start..end]);
        let scored = draws.iter().zip(nodes.iter()).map(|(draw, node)| (cost(*draw), *draw, *node));
        let mut scored: Vec<(u64, u64, u32)> = scored.collect();
        scored.sort_unstable_by(|a, b| compare(a, b, weights));
        for (at, (_, draw, node)) in scored.into_iter().enumerate() {
            (nodes[at], draws[at]) = (node, draw);
        }
    }
}

/// Cost, draw and node against another's: quotients by cross multiplication.
fn compare(a: &(u64, u64, u32), b: &(u64, u64, u32), weights: &[u32]) -> Ordering {
    let (left, right) = (weights[a.2 as usize], weights[b.2 as usize]);
    let scores = (u128::from(a.0) * u128::from(right)).cmp(&(u128::from(b.0) * u128::from(left)));
    scores.then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2))
}

/// Calls `put` with the places of the values, largest first, equal ones in the order of their nodes.
fn order(
    kernel: Kernel,
    values: &[u64],
    nodes: &[u32],
    padded: &mut Vec<[u64; 8]>,
    pairs: &mut Vec<(u64, u32)>,
    mut put: impl FnMut(usize),
) {
    if values.len() <= COUNTED {
        let (eights, rest) = values.as_chunks::<8>();
        padded.clear();
        padded.extend_from_slice(eights);
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            padded.push(last);
        }
        let mut places = [0; COUNTED];
        if kernel.rank(padded, values.len(), &mut places) {
            places[..values.len()].iter().for_each(|at| put(usize::from(*at)));
            return;
        }
    }
    pairs.clear();
    pairs.extend(values.iter().copied().zip(0..));
    pairs.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| nodes[a.1 as usize].cmp(&nodes[b.1 as usize])));
    pairs.iter().for_each(|(_, at)| put(*at as usize));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithms::rvh::kernel::unmix;

    #[test]
    fn what_lies_at_the_bound_is_not_taken_for_found() {
        // Every draw is at its node's limit or one off, so that all scores are about the bound, and some of the best are
        // no hits.
        for (round, count) in [(0u64, 150), (1, 600), (2, 600), (3, 2_000)] {
            let weights: Vec<u32> = (0..count).map(|at| 1 + at * 7_919 % (1 << (4 + 8 * round))).collect();
            let weighted = Weighted::new(&weights);
            for level in 2..12 {
                let limits = weighted.plan(level_hits(level), weights.len()).limits;
                let draw = |at: usize| limits[at].wrapping_add_signed((at as i64 + round as i64) % 3 - 1);
                let draws: Vec<u64> = (0..weights.len()).map(draw).collect();
                let hashes: Vec<u64> = draws.iter().map(|draw| unmix(*draw)).collect();
                let group = Group::new(None, &hashes, &weights);
                let mut expected: Vec<u32> = (0..count).collect();
                let scored = |node: &u32| (cost(draws[*node as usize]), draws[*node as usize], *node);
                expected.sort_by(|a, b| compare(&scored(a), &scored(b), &weights));
                for kernel in Kernel::available() {
                    for want in [1, 2, 3, 10, 30] {
                        let mut found = Found::default();
                        group.best(kernel, 0, want, (&Mask::default(), 0), &weights, &mut found);
                        assert_eq!(found.nodes[..want], expected[..want], "{} {want} {level}", kernel.name());
                    }
                }
            }
        }
    }

    #[test]
    fn about_as_many_hits_come_as_are_aimed_at() {
        let mix = |at: u64| super::super::kernel::mix(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let even: Vec<u32> = vec![7; 5_000];
        let several: Vec<u32> = (0..5_000).map(|at| 1 + at % 5).collect();
        let many: Vec<u32> = (0..5_000).map(|at| mix(at) as u32 >> 8 | 1).collect();
        let far: Vec<u32> = (0..5_000).map(|at| if at % 100 == 0 { u32::MAX } else { 1 }).collect();
        for weights in [even, several, many, far] {
            let hashes: Vec<u64> = (0..5_000).map(mix).collect();
            let group = Group::new(None, &hashes, &weights);
            for aim in [8.0, 20.0, 45.0] {
                let (mut hits, mut total) = (Hits::default(), 0);
                for key in 0..200 {
                    hits.nodes.clear();
                    hits.draws.clear();
                    group.scan(Kernel::available()[0], mix(!key), aim, &mut hits);
                    total += hits.nodes.len();
                }
                let each = f64::from(total as u32) / 200.0;
                assert!(each > 0.9 * aim && each < 1.6 * aim, "{each} for {aim}");
            }
        }
    }
}
