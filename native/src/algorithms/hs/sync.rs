//! Catching up: one who misses a certified block asks for what follows the last one that it has, and gets certified blocks,
//! oldest first, in answers of bounded size and rate.

use std::sync::Arc;

use super::certificate::{Qc, Tc};
use super::machine::HotStuff;
use super::message::{Proposal, SYNC_BLOCKS, SYNC_BYTES, SyncRequest, SyncResponse};
use super::tree::Verdict;
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::machine::Action;
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List};

/// Bytes of answers after which one who asks has to wait for the next half of a round's time.
pub(super) const SERVED_BYTES: usize = 4 * SYNC_BYTES;

/// A certificate that comes so many rounds late is taken when its block is here, not before.
const LATE_ROUNDS: u64 = 32;

/// What one who asks has had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// When its time began.
    since: u64,
    /// The round of the first block that was sent last.
    round: u64,
    /// Bytes since then.
    bytes: usize,
}

impl HotStuff {
    /// Whether a certificate is so late, and its block not here, that nobody may have the block any more: those that are not
    /// known to be certified are dropped when there are too many. Then it counts as not heard, and is asked for: with its
    /// block it is taken. To wait for that block would let one who held the certificate back stop all.
    pub(super) fn is_late(&self, qc: &Qc) -> bool {
        let late = qc.round.saturating_add(LATE_ROUNDS) <= self.round && qc.round > self.state.high_qc.round;
        late && !self.tree.knows(&qc.block) && !mutant!("hs.late")
    }

    /// Asks for the block of a late certificate, if one of these is.
    pub(super) fn ask_late(&mut self, qc: &Qc, tc: Option<&Tc>, from: u16) -> bool {
        let is_late = self.is_late(qc) || tc.is_some_and(|tc| self.is_late(&tc.high_qc));
        if is_late {
            self.ask(from);
        }
        is_late
    }

    /// Makes a place for a block and adds it. Nothing goes that leads to the highest certified block, or to a block voted for
    /// that may still be certified.
    pub(super) fn add(&mut self, proposal: Arc<Proposal>, verdict: Verdict) -> Result<()> {
        let high_qc = &self.state.high_qc;
        let voted = self.state.vote.filter(|vote| vote.round > high_qc.round).map(|vote| vote.block);
        let kept: Vec<Digest> = [high_qc.block, self.tip.1].into_iter().chain(voted).collect();
        self.tree.make_room(&proposal, &kept)?;
        self.tree.insert(proposal, verdict);
        Ok(())
    }

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

    /// Whether a party may be answered now: once in half a round's time; and in between with blocks of this chain that are
    /// later than those before, until it has had [`SERVED_BYTES`]. `first` is the round of the first block.
    fn may_serve(&mut self, to: u16, first: Option<u64>) -> bool {
        let round = first.unwrap_or(0);
        let next = match self.current(to) {
            None => Served { since: self.now, round, bytes: 0 },
            Some(served) if round > served.round && served.bytes < SERVED_BYTES => Served { round, ..served },
            Some(served) if mutant!("hs.served") => served,
            Some(_) => return false,
        };
        match self.served.get_mut(usize::from(to)).filter(|_| to != self.state.me) {
            Some(served) => *served = Some(next),
            None => return false,
        }
        true
    }

    /// What a party has had in the time that still runs.
    fn current(&self, to: u16) -> Option<Served> {
        let pause = (self.config.timeout_us / 2).max(1);
        let served = self.served.get(usize::from(to)).copied().flatten();
        served.filter(|served| self.now < served.since.saturating_add(pause))
    }

    fn respond(&mut self, to: u16, blocks: Vec<Proposal>, qc: Qc) -> Result<()> {
        let blocks = List::new("hotstuff sync response: blocks", blocks)?;
        let tc = self.state.high_tc.clone().filter(|tc| tc.round > self.state.high_qc.round);
        let response = SyncResponse { chain: self.state.chain, epoch: self.state.epoch, blocks, qc, tc };
        let message = wire::encode(&response)?;
        if let Some(Some(served)) = self.served.get_mut(usize::from(to)) {
            served.bytes = served.bytes.saturating_add(message.len());
        }
        self.outbox.push(Action::Send { to, message });
        Ok(())
    }

    /// One who is in an earlier round gets the certificates that ended it.
    pub(super) fn help(&mut self, to: u16) {
        if self.may_serve(to, None) {
            let _ = self.respond(to, Vec::new(), self.state.high_qc.clone());
        }
    }

    /// Somebody asks for what follows.
    pub(super) fn on_request(&mut self, request: &SyncRequest, sender: u16) -> Result<()> {
        if self.current(sender).is_some_and(|served| served.bytes >= SERVED_BYTES && !mutant!("hs.served")) {
            return Ok(());
        }
        let chain = self.after(request);
        if !self.may_serve(sender, chain.first().map(|proposal| proposal.round())) {
            return Ok(());
        }
        let (blocks, qc) = self.answer(&chain);
        self.respond(sender, blocks, qc)
    }

    /// The highest block that is certified and here.
    fn top(&self) -> Digest {
        if self.is_behind() { self.tip.1 } else { self.state.high_qc.block }
    }

    /// The certified blocks after what the request names. Of that only the ids count, for nobody has signed the rounds.
    fn after(&self, request: &SyncRequest) -> Vec<Arc<Proposal>> {
        let top = self.top();
        let mut chain: Vec<Arc<Proposal>> = self.tree.history().iter().cloned().chain(self.tree.path(&top)).collect();
        let after = |id| chain.iter().position(|proposal| proposal.block.header.parent == id);
        match after(request.tip.1).or_else(|| after(request.committed.1)) {
            Some(start) if request.tip.1 != top => chain.split_off(start),
            _ => Vec::new(),
        }
    }

    /// As many blocks as an answer holds, and the certificate of the last.
    fn answer(&self, chain: &[Arc<Proposal>]) -> (Vec<Proposal>, Qc) {
        let (high_qc, top) = (&self.state.high_qc, self.top());
        let mut bytes = 0;
        let mut blocks: Vec<Proposal> = Vec::new();
        for proposal in chain.iter().take(SYNC_BLOCKS) {
            bytes += proposal.block.payload.len();
            if !blocks.is_empty() && bytes > SYNC_BYTES {
                break;
            }
            blocks.push(Proposal::clone(proposal));
        }
        let next = chain.get(blocks.len()).map(|proposal| proposal.qc.clone());
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
            if self.add(Arc::new(proposal), Verdict::Good).is_err() {
                break;
            }
            taken += 1;
        }
        if !self.is_late(&response.qc) {
            self.on_qc(&response.qc, sender);
        }
        if let Some(tc) = response.tc.filter(|tc| !self.is_late(&tc.high_qc)) {
            self.on_tc(&tc, sender);
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
