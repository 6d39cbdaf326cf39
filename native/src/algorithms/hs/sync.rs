//! Catching up: one who misses a certified block asks for what follows the last one that it has, and gets certified blocks,
//! oldest first, in answers of bounded size and rate.

use std::sync::Arc;

use super::certificate::Qc;
use super::machine::HotStuff;
use super::message::{Proposal, SYNC_BLOCKS, SYNC_BYTES, SyncRequest, SyncResponse};
use super::tree::Verdict;
use crate::error::{Error, Result};
use crate::primitives::machine::Action;
use crate::primitives::wire::{self, List};

impl HotStuff {
    fn request(&self) -> SyncRequest {
        let committed = self.state.committed;
        let tip = if self.tree.knows(&self.tip.1) { self.tip } else { committed };
        SyncRequest { chain: self.state.chain, epoch: self.state.epoch, committed, tip }
    }

    /// Asks one who may know; if that is this validator itself, the next in turn.
    pub(super) fn ask(&mut self, from: u16) {
        if from == self.state.me {
            return self.ask_next();
        }
        if let Ok(message) = wire::encode(&self.request()) {
            self.outbox.push(Action::Send { to: from, message });
        }
    }

    /// Asks the next in turn.
    pub(super) fn ask_next(&mut self) {
        let count = u16::try_from(self.committee.count()).unwrap_or(u16::MAX);
        self.next_peer = (self.next_peer + 1) % count;
        if self.next_peer == self.state.me {
            self.next_peer = (self.next_peer + 1) % count;
        }
        if self.next_peer != self.state.me {
            self.ask(self.next_peer);
        }
    }

    /// Asks everybody, after a restart.
    pub(super) fn ask_all(&mut self) -> Result<()> {
        let message = wire::encode(&self.request())?;
        self.outbox.push(Action::Broadcast { message });
        Ok(())
    }

    /// Whether a party may be answered now: once in half a round's time, and whenever it has come further.
    fn may_serve(&mut self, to: u16, round: u64) -> bool {
        let (now, pause) = (self.now, self.config.timeout_us / 2);
        let Some(served) = self.served.get_mut(usize::from(to)).filter(|_| to != self.state.me) else { return false };
        let (at, highest) = served.unwrap_or((0, 0));
        if served.is_some() && now < at.saturating_add(pause) && round <= highest {
            return false;
        }
        *served = Some((now, highest.max(round)));
        true
    }

    fn respond(&mut self, to: u16, blocks: Vec<Proposal>, qc: Qc) -> Result<()> {
        let blocks = List::new("hotstuff sync response: blocks", blocks)?;
        let tc = self.state.high_tc.clone().filter(|tc| tc.round > self.state.high_qc.round);
        let response = SyncResponse { chain: self.state.chain, epoch: self.state.epoch, blocks, qc, tc };
        self.outbox.push(Action::Send { to, message: wire::encode(&response)? });
        Ok(())
    }

    /// One who is in an earlier round gets the certificates that ended it.
    pub(super) fn help(&mut self, to: u16) {
        if self.may_serve(to, 0) {
            let _ = self.respond(to, Vec::new(), self.state.high_qc.clone());
        }
    }

    /// Somebody asks for what follows.
    pub(super) fn on_request(&mut self, request: &SyncRequest, sender: u16) -> Result<()> {
        if !self.may_serve(sender, request.tip.0) {
            return Ok(());
        }
        let (blocks, qc) = self.after(request);
        self.respond(sender, blocks, qc)
    }

    /// The certified blocks after what the request names, as many as an answer holds, and the certificate of the last.
    fn after(&self, request: &SyncRequest) -> (Vec<Proposal>, Qc) {
        let high_qc = &self.state.high_qc;
        let top = if self.tree.knows(&high_qc.block) { high_qc.block } else { self.tip.1 };
        let chain: Vec<Arc<Proposal>> = self.tree.history().iter().cloned().chain(self.tree.path(&top)).collect();
        let after = |id| chain.iter().position(|proposal| proposal.block.header.parent == id);
        let Some(start) = after(request.tip.1).or_else(|| after(request.committed.1)) else {
            return (Vec::new(), high_qc.clone());
        };
        let mut bytes = 0;
        let mut blocks: Vec<Proposal> = Vec::new();
        for proposal in chain[start..].iter().take(SYNC_BLOCKS) {
            bytes += proposal.block.payload.len();
            if !blocks.is_empty() && bytes > SYNC_BYTES {
                break;
            }
            blocks.push(Proposal::clone(proposal));
        }
        let next = chain.get(start + blocks.len()).map(|proposal| proposal.qc.clone());
        match next.or_else(|| Some(high_qc.clone()).filter(|qc| qc.block == top)) {
            Some(qc) => (blocks, qc),
            None => match blocks.pop() {
                Some(last) if !blocks.is_empty() => (blocks, last.qc),
                _ => (Vec::new(), high_qc.clone()),
            },
        }
    }

    /// What was asked for, or the certificates that ended a round.
    pub(super) fn on_response(&mut self, response: SyncResponse, sender: u16) -> Result<()> {
        let committed = self.state.committed.0;
        let is_new = |proposal: &Proposal| proposal.round() > committed && !self.tree.knows(&proposal.id());
        let blocks = response.blocks.into_vec();
        let start = blocks.iter().position(is_new).unwrap_or(blocks.len());
        self.verify_qc(&response.qc)?;
        self.verify_tc(response.tc.as_ref())?;
        self.verify_blocks(&blocks[start..])?;
        let mut taken = 0;
        for proposal in blocks.into_iter().skip(start) {
            self.on_qc(&proposal.qc, sender);
            if self.tree.knows(&proposal.id()) || self.check_parent(&proposal).is_err() {
                break;
            }
            self.tree.insert(Arc::new(proposal), Verdict::Good);
            taken += 1;
        }
        self.on_qc(&response.qc, sender);
        if let Some(tc) = &response.tc {
            self.on_tc(tc, sender);
        }
        self.retry();
        if taken > 0 {
            self.ask(sender);
        }
        Ok(())
    }

    /// The blocks hang on one that is here, and each is its leader's, with a certificate of the one before.
    fn verify_blocks(&self, blocks: &[Proposal]) -> Result<()> {
        let Some(first) = blocks.first() else { return Ok(()) };
        if self.tree.round_of(&first.qc.block) != Some(first.qc.round) {
            return Err(Error::protocol("hotstuff sync response: the first block follows none that is here"));
        }
        let follows = |pair: &[Proposal]| pair[1].qc.round == pair[0].round();
        if !blocks.windows(2).all(follows) {
            return Err(Error::protocol("hotstuff sync response: a certificate is not of its block's round"));
        }
        for proposal in blocks {
            let header = &proposal.block.header;
            let here = (header.chain, header.epoch) == (self.state.chain, self.state.epoch);
            if !here || header.proposer != self.leader_of(header.round) {
                return Err(Error::protocol(format!(
                    "hotstuff sync response: the block of round {} is not its leader's, or of another chain or epoch",
                    header.round
                )));
            }
        }
        for proposal in blocks {
            self.verify_proposer(proposal)?;
            self.verify_qc(&proposal.qc)?;
        }
        Ok(())
    }
}
