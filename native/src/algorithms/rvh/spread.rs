//! Failure domains: the best of every domain first, then the second best of every domain, and so on.
//!
//! For n nodes each domain gives at most as many as there are rounds. With few domains, each is asked for its best alone.
//! With many, the best n of a first round are soon found among the best of all nodes.

use super::group::{Found, Group, Mask};
use super::kernel::Kernel;

/// Up to so many nodes are all ranked at once.
const SMALL: usize = 64;

/// The nodes of a set, by domain.
#[derive(Debug, Clone)]
pub(super) struct Domains {
    /// The domain of every node of the set.
    of: Vec<u32>,
    groups: Vec<Group>,
}

/// What one call asks of every key: the same `n` and the same mask.
#[derive(Debug)]
pub(super) struct Quota {
    n: usize,
    /// How many nodes each domain gives at most.
    rounds: usize,
    /// The nodes of each domain under the mask; empty if there are none.
    gone: Vec<usize>,
    few: bool,
}

/// Space to work in.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    /// The nodes and draws of each round.
    rounds: Vec<Vec<(u32, u64)>>,
    taken: Vec<u32>,
}

impl Domains {
    /// Domain numbers from 0 on, none left out, of the nodes of a set.
    pub fn new(of: Vec<u32>, hashes: &[u64], weights: &[u32]) -> Self {
        let count = of.iter().max().map_or(0, |most| *most as usize + 1);
        let mut members = vec![Vec::new(); count];
        for (node, domain) in (0u32..).zip(&of) {
            members[*domain as usize].push(node);
        }
        let groups = members.into_iter().map(|members| Group::new(Some(members), hashes, weights)).collect();
        Self { of, groups }
    }

    /// What a call for `n` nodes, of which there are enough, asks of every key.
    pub fn quota(&self, n: usize, mask: &Mask) -> Quota {
        let mut gone = Vec::new();
        if !mask.nodes.is_empty() {
            gone = vec![0; self.groups.len()];
            mask.nodes.iter().for_each(|node| gone[self.of[*node as usize] as usize] += 1);
        }
        let left = |(at, group): (usize, &Group)| group.len() - gone.get(at).copied().unwrap_or(0);
        let given = |rounds: usize| -> usize { self.groups.iter().enumerate().map(|g| left(g).min(rounds)).sum() };
        // The fewest rounds that give n.
        let (mut below, mut rounds) = (0, n);
        while rounds - below > 1 {
            let middle = below + (rounds - below) / 2;
            if given(middle) < n { below = middle } else { rounds = middle }
        }
        let few = rounds > 1 || self.groups.len() <= 2 * n;
        Quota { n, rounds, gone, few }
    }

    /// Puts the best `quota.n` nodes into `found.nodes`.
    pub fn best(
        &self,
        whole: &Group,
        kernel: Kernel,
        key: u64,
        (quota, mask): (&Quota, &Mask),
        weights: &[u32],
        (found, space): (&mut Found, &mut Spreading),
    ) {
        let gone = mask.nodes.len();
        let left = whole.len() - gone;
        if whole.len() <= SMALL || quota.n == left {
            whole.best(kernel, key, left, (mask, gone), weights, found);
            self.deal(quota.n, found, space);
            return;
        }
        if !quota.few {
            let mut want = quota.n + quota.n / 2 + 4;
            while want < left / 4 {
                whole.best(kernel, key, want, (mask, gone), weights, found);
                if self.first_round(quota.n, found, space) {
                    return;
                }
                want *= 4;
            }
        }
        space.clear(quota.rounds);
        for (at, group) in self.groups.iter().enumerate() {
            let gone = quota.gone.get(at).copied().unwrap_or(0);
            group.best(kernel, key, quota.rounds, (mask, gone), weights, found);
            for ((node, draw), round) in found.nodes.iter().zip(&found.draws).zip(&mut space.rounds) {
                round.push((*node, *draw));
            }
        }
        let weights = (!whole.even()).then_some(weights);
        let mut nodes = Vec::with_capacity(quota.n);
        for round in &space.rounds {
            found.sort(kernel, round.iter().copied(), weights);
            nodes.extend_from_slice(&found.nodes);
        }
        nodes.truncate(quota.n);
        found.nodes = nodes;
    }

    /// Deals all nodes, which are in the order of rank, out into rounds, and keeps the first `n`.
    fn deal(&self, n: usize, found: &mut Found, space: &mut Spreading) {
        space.clear(0);
        space.taken.resize(self.groups.len(), 0);
        for node in &found.nodes {
            let taken = &mut space.taken[self.of[*node as usize] as usize];
            let round = *taken as usize;
            *taken += 1;
            if round == space.rounds.len() {
                space.rounds.push(Vec::new());
            }
            space.rounds[round].push((*node, 0));
        }
        found.nodes.clear();
        found.nodes.extend(space.rounds.iter().flatten().map(|(node, _)| *node).take(n));
    }

    /// Keeps the best of each domain among nodes that are the first in the order of rank. False if they are fewer than `n`.
    fn first_round(&self, n: usize, found: &mut Found, space: &mut Spreading) -> bool {
        space.taken.clear();
        let mut kept = 0;
        for at in 0..found.nodes.len() {
            let domain = self.of[found.nodes[at] as usize];
            if kept < n && !space.taken.contains(&domain) {
                space.taken.push(domain);
                found.nodes[kept] = found.nodes[at];
                kept += 1;
            }
        }
        found.nodes.truncate(kept);
        kept == n
    }

    /// Whether about `n` of so many nodes can be found without making a plan first.
    pub fn ready(&self, nodes: usize, n: usize) -> bool {
        nodes <= SMALL || self.groups.iter().all(|group| group.ready(n.div_ceil(self.groups.len())))
    }
}

impl Spreading {
    fn clear(&mut self, rounds: usize) {
        self.taken.clear();
        self.rounds.iter_mut().for_each(Vec::clear);
        self.rounds.resize(rounds.max(self.rounds.len()), Vec::new());
    }
}
