//! Looks at the blocks that a machine knows, for drivers that decide by the chain what may follow.

use std::sync::Arc;

use super::HotStuff;
use super::message::Proposal;
use crate::crypto::hash::Digest;

impl HotStuff {
    /// A block that waits, or one of the last that were committed.
    pub fn block(&self, id: &Digest) -> Option<&Proposal> {
        let waiting = self.tree.get(id).map(AsRef::as_ref);
        waiting.or_else(|| self.tree.history().iter().rev().map(AsRef::as_ref).find(|known| known.id() == *id))
    }

    /// The blocks that are not committed, as far as is known, lower rounds first.
    pub fn waiting(&self) -> Vec<Arc<Proposal>> {
        let committed = self.committed().0;
        self.tree.by_round().into_iter().filter(|proposal| proposal.round() > committed).collect()
    }
}
