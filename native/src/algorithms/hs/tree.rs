//! The blocks that are not committed yet, as a tree over the last one that is, and the last of those that are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::message::{Proposal, Qc};
use super::proof::HEADERS_MAX;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;

/// The most blocks that wait: a path to a commit, as long as a proof may be, and blocks that nobody is known to have certified.
pub(super) const WAITING_MAX: usize = HEADERS_MAX + 512;

/// The most bytes of blocks that wait.
const WAITING_BYTES: usize = 128 << 20;

/// The most bytes of a block and those before it that wait.
const PATH_BYTES: usize = 64 << 20;

/// Bytes of a block with its certificates, or a little more.
fn size(proposal: &Proposal) -> usize {
    let signed = |qc: &Qc| qc.signers.len() * 8 * 64;
    let tc = proposal.tc.as_ref().map_or(0, |tc| tc.votes.len() * 74 + signed(&tc.high_qc));
    proposal.block.payload.len() + signed(&proposal.qc) + tc + 512
}

/// The most payload bytes of the history.
const HISTORY_BYTES: usize = 16 << 20;

/// What the driver made of a block's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not asked yet, or has not answered.
    Open,
    /// It may be voted for, or is certified already.
    Good,
    /// It must not be voted for.
    Bad,
}

#[derive(Debug, Clone)]
struct Node {
    proposal: Arc<Proposal>,
    verdict: Verdict,
    journalled: bool,
}

/// Every block in it has its parent in it, or is a child of the root.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: (u64, Digest),
    nodes: BTreeMap<Digest, Node>,
    bytes: usize,
    history: VecDeque<Arc<Proposal>>,
    history_bytes: usize,
    history_max: usize,
}

impl Tree {
    /// Nothing above `root`, the last committed block.
    pub fn new(root: (u64, Digest), history_max: u16) -> Self {
        let (nodes, history) = (BTreeMap::new(), VecDeque::new());
        Self { root, nodes, bytes: 0, history, history_bytes: 0, history_max: usize::from(history_max) }
    }

    /// From journalled blocks, each of a later round than its parent: what leads to the root is history, what hangs on it
    /// waits, and the rest is dropped. Where there are too many, those that lead to `kept` stay.
    pub fn restore(
        root: (u64, Digest),
        history_max: u16,
        blocks: BTreeMap<(u64, Digest), Proposal>,
        kept: &[Digest],
    ) -> Self {
        let mut tree = Self::new(root, history_max);
        let mut at = root;
        let mut back = Vec::new();
        while let Some(proposal) = blocks.get(&at) {
            back.push(Arc::new(proposal.clone()));
            let header = &proposal.block.header;
            at = (header.qc_round, header.parent);
        }
        back.into_iter().rev().for_each(|proposal| tree.remember(proposal));
        for proposal in blocks.into_values().filter(|proposal| proposal.round() > root.0) {
            if tree.room(&proposal).is_ok() && tree.knows(&proposal.block.header.parent) {
                let id = proposal.id();
                tree.insert(Arc::new(proposal), Verdict::Open);
                tree.journalled(&id);
            }
        }
        tree.drop_oldest(0, 0, kept);
        tree
    }

    /// How many blocks wait.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a block is here with all before it.
    pub fn knows(&self, id: &Digest) -> bool {
        self.root.1 == *id || self.nodes.contains_key(id)
    }

    /// The round of a block that is known.
    pub fn round_of(&self, id: &Digest) -> Option<u64> {
        if self.root.1 == *id { Some(self.root.0) } else { self.get(id).map(|proposal| proposal.round()) }
    }

    /// A block that waits.
    pub fn get(&self, id: &Digest) -> Option<&Arc<Proposal>> {
        self.nodes.get(id).map(|node| &node.proposal)
    }

    /// What the driver made of it.
    pub fn verdict(&self, id: &Digest) -> Option<Verdict> {
        self.nodes.get(id).map(|node| node.verdict)
    }

    /// The driver has answered; its first answer counts.
    pub fn judge(&mut self, id: &Digest, good: bool) {
        if let Some(node) = self.nodes.get_mut(id)
            && node.verdict == Verdict::Open
        {
            node.verdict = if good { Verdict::Good } else { Verdict::Bad };
        }
    }

    /// Whether a block fits on those before it: they all must go into one proof of their commit.
    pub fn room(&self, proposal: &Proposal) -> Result<()> {
        let (mut count, mut bytes) = (0, 0);
        for before in self.back(proposal.block.header.parent) {
            count += 1;
            bytes += size(before);
        }
        if count >= HEADERS_MAX {
            return Err(Error::unavailable("hotstuff: places for blocks before one that waits", 1, 0));
        }
        let (needed, free) = (size(proposal), PATH_BYTES.saturating_sub(bytes));
        if needed > free {
            return Err(Error::unavailable(
                "hotstuff: bytes for blocks before one that waits",
                needed as u64,
                free as u64,
            ));
        }
        Ok(())
    }

    /// Makes a place for a block: the oldest of those that lead neither to its parent nor to one of `kept` go. They were
    /// passed over, or nobody is known to have certified them.
    pub fn make_room(&mut self, proposal: &Proposal, kept: &[Digest]) -> Result<()> {
        let kept = [kept, &[proposal.block.header.parent]].concat();
        self.drop_oldest(1, size(proposal), &kept);
        if self.nodes.len() >= WAITING_MAX {
            return Err(Error::unavailable("hotstuff: places for blocks that wait", 1, 0));
        }
        let (needed, free) = (size(proposal), WAITING_BYTES.saturating_sub(self.bytes));
        if needed > free {
            return Err(Error::unavailable("hotstuff: bytes for blocks that wait", needed as u64, free as u64));
        }
        Ok(())
    }

    /// Drops blocks of the lowest rounds, with all that hangs on them, until so many more blocks and bytes fit.
    fn drop_oldest(&mut self, count: usize, bytes: usize, kept: &[Digest]) {
        let fits = |tree: &Self| tree.nodes.len() + count <= WAITING_MAX && tree.bytes + bytes <= WAITING_BYTES;
        if fits(self) {
            return;
        }
        let mut paths: BTreeSet<Digest> = kept.iter().copied().collect();
        paths.extend(kept.iter().flat_map(|id| self.back(*id)).map(|proposal| proposal.block.header.parent));
        let mut all: Vec<(u64, Digest)> = self.nodes.iter().map(|(id, node)| (node.proposal.round(), *id)).collect();
        all.sort_unstable();
        let mut dropped = BTreeSet::new();
        for (_, id) in all {
            let Some(proposal) = self.get(&id) else { continue };
            let may_go = !paths.contains(&id) || mutant!("hs.kept");
            if dropped.contains(&proposal.block.header.parent) || (may_go && !fits(self)) {
                self.bytes -= size(proposal);
                self.nodes.remove(&id);
                dropped.insert(id);
            }
        }
    }

    /// Adds a block whose parent is known, and for which there is [`Tree::room`] and a place.
    pub fn insert(&mut self, proposal: Arc<Proposal>, verdict: Verdict) {
        self.bytes += size(&proposal);
        self.nodes.insert(proposal.id(), Node { proposal, verdict, journalled: false });
    }

    /// The blocks from the child of the root to `id`, oldest first; none if it is the root or not known.
    pub fn path(&self, id: &Digest) -> Vec<Arc<Proposal>> {
        let mut path: Vec<Arc<Proposal>> = self.back(*id).cloned().collect();
        path.reverse();
        path
    }

    /// The block and those before it that wait, newest first.
    fn back(&self, id: Digest) -> impl Iterator<Item = &Arc<Proposal>> {
        std::iter::successors(self.get(&id), |proposal| self.get(&proposal.block.header.parent))
    }

    /// How many blocks a commit of this one commits.
    pub fn depth(&self, id: &Digest) -> usize {
        self.back(*id).count()
    }

    /// The blocks to `id` are committed: it is the root, and what does not hang on it is dropped.
    pub fn commit(&mut self, id: &Digest) {
        for proposal in self.path(id) {
            self.root = (proposal.round(), proposal.id());
            self.remember(proposal);
        }
        self.prune();
    }

    /// A later block is committed, which is not here.
    pub fn move_root(&mut self, root: (u64, Digest)) {
        if self.nodes.contains_key(&root.1) {
            return self.commit(&root.1);
        }
        self.root = root;
        self.history.clear();
        self.history_bytes = 0;
        self.prune();
    }

    /// Drops what does not hang on the root.
    fn prune(&mut self) {
        let mut kept = BTreeSet::new();
        for proposal in self.by_round() {
            let header = &proposal.block.header;
            if header.parent == self.root.1 || kept.contains(&header.parent) {
                kept.insert(header.id());
            }
        }
        self.retain(&kept);
    }

    fn retain(&mut self, kept: &BTreeSet<Digest>) {
        self.nodes.retain(|id, _| kept.contains(id));
        self.bytes = self.nodes.values().map(|node| size(&node.proposal)).sum();
    }

    fn remember(&mut self, proposal: Arc<Proposal>) {
        self.history_bytes += proposal.block.payload.len();
        self.history.push_back(proposal);
        while self.history.len() > self.history_max || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else { return };
            self.history_bytes -= oldest.block.payload.len();
        }
    }

    /// The blocks that wait, lower rounds first.
    pub fn by_round(&self) -> Vec<Arc<Proposal>> {
        let mut all: Vec<Arc<Proposal>> = self.nodes.values().map(|node| Arc::clone(&node.proposal)).collect();
        all.sort_by_key(|proposal| proposal.round());
        all
    }

    /// A block of the round before.
    pub fn before(&self, round: u64) -> Option<Arc<Proposal>> {
        self.by_round().into_iter().find(|proposal| proposal.round().checked_add(1) == Some(round))
    }

    /// The blocks that no journal record holds yet, lower rounds first.
    pub fn take_new(&mut self) -> Vec<Proposal> {
        let fresh = |proposal: &Arc<Proposal>| self.nodes.get(&proposal.id()).is_some_and(|node| !node.journalled);
        let new: Vec<Arc<Proposal>> = self.by_round().into_iter().filter(fresh).collect();
        new.iter().for_each(|proposal| self.journalled(&proposal.id()));
        new.iter().map(|proposal| Proposal::clone(proposal)).collect()
    }

    fn journalled(&mut self, id: &Digest) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.journalled = true;
        }
    }

    /// The committed blocks that are kept, oldest first.
    pub fn history(&self) -> &VecDeque<Arc<Proposal>> {
        &self.history
    }

    /// All blocks: the history, and those that wait.
    pub fn all(&self) -> Vec<Proposal> {
        let history = self.history.iter().cloned();
        history.chain(self.by_round()).map(|proposal| Proposal::clone(&proposal)).collect()
    }
}
