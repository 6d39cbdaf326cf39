//! The blocks that are not committed yet, as a tree over the last one that is, and the last of those that are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::message::Proposal;
use super::proof::HEADERS_MAX;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};

/// The most payload bytes of blocks that wait.
const WAITING_BYTES: usize = 64 << 20;

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

    /// From journalled blocks: what leads to the root is history, what hangs on it waits, and the rest is dropped.
    pub fn restore(root: (u64, Digest), history_max: u16, blocks: BTreeMap<(u64, Digest), Proposal>) -> Self {
        let mut tree = Self::new(root, history_max);
        let mut at = root;
        let mut back = Vec::new();
        while let Some(proposal) = blocks.get(&at) {
            back.push(Arc::new(proposal.clone()));
            at = (proposal.qc.round, proposal.qc.block);
        }
        back.into_iter().rev().for_each(|proposal| tree.remember(proposal));
        for proposal in blocks.into_values().filter(|proposal| proposal.round() > root.0) {
            if tree.room(&proposal).is_ok() && tree.knows(&proposal.block.header.parent) {
                let id = proposal.id();
                tree.insert(Arc::new(proposal), Verdict::Open);
                tree.journalled(&id);
            }
        }
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

    /// Whether one more block fits.
    pub fn room(&self, proposal: &Proposal) -> Result<()> {
        if self.nodes.len() >= HEADERS_MAX {
            return Err(Error::unavailable("hotstuff: places for blocks that wait", 1, 0));
        }
        let free = WAITING_BYTES.saturating_sub(self.bytes);
        if proposal.block.payload.len() > free {
            let needed = proposal.block.payload.len() as u64;
            return Err(Error::unavailable("hotstuff: bytes for blocks that wait", needed, free as u64));
        }
        Ok(())
    }

    /// Makes places where all are taken: forks beside the path to `tip` go, except for blocks of later rounds.
    pub fn make_room(&mut self, tip: &Digest) {
        let Some(round) = self.round_of(tip).filter(|_| self.nodes.len() >= HEADERS_MAX / 2) else { return };
        let path: BTreeSet<Digest> = self.path(tip).iter().map(|proposal| proposal.id()).collect();
        let mut kept: BTreeSet<Digest> = path.clone();
        for proposal in self.by_round() {
            let header = &proposal.block.header;
            if header.round > round && kept.contains(&header.parent) {
                kept.insert(header.id());
            }
        }
        self.retain(&kept);
    }

    /// Adds a block whose parent is known, and for which there is [`Tree::room`].
    pub fn insert(&mut self, proposal: Arc<Proposal>, verdict: Verdict) {
        self.bytes += proposal.block.payload.len();
        self.nodes.insert(proposal.id(), Node { proposal, verdict, journalled: false });
    }

    /// The blocks from the child of the root to `id`, oldest first; none if it is the root or not known.
    pub fn path(&self, id: &Digest) -> Vec<Arc<Proposal>> {
        let mut path = Vec::new();
        let mut at = *id;
        while let Some(proposal) = self.get(&at) {
            path.push(Arc::clone(proposal));
            at = proposal.block.header.parent;
        }
        path.reverse();
        path
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
        self.bytes = self.nodes.values().map(|node| node.proposal.block.payload.len()).sum();
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
