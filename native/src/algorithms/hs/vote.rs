//! Blocks and votes: proposing, voting, certifying, committing.

use std::sync::Arc;

use super::certificate::Qc;
use super::evidence::Evidence;
use super::journal::State;
use super::machine::{Heard, HotStuff, Own};
use super::message::{Block, Header, Proposal, SharedVote, Vote, payload_digest, verify_by, vote_message};
use super::proof::CommitProof;
use super::tree::Verdict;
use super::{Event, certificate::Tc};
use crate::crypto::bls;
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::committee::Tally;
use crate::primitives::machine::Action;
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, Bytes, List, Record};

/// Evidence of two proposals.
const PROPOSED_TWICE: u8 = 1;

/// Evidence of two votes.
const VOTED_TWICE: u8 = 2;

/// Evidence of a wrong share.
const WRONG_SHARE: u8 = 8;

/// The most headers of proofs that come of one certificate, if it commits more than one block.
const PROOFS_HEADERS: usize = 1 << 16;

impl HotStuff {
    /// Asks the driver for a payload, if this validator leads and has not proposed in this round.
    pub(super) fn ask_payload(&mut self) {
        let leads = self.leader_of(self.round) == self.state.me && !self.is_silent();
        let done = self.state.proposed >= self.round || self.state.last_voted >= self.round;
        if !leads || done || self.asked.is_some() || self.is_behind() || self.round == u64::MAX {
            return;
        }
        let qc = self.state.high_qc.clone();
        self.outbox.push(Action::Event(Event::NeedPayload { round: self.round, parent: qc.block }));
        self.asked = Some(qc);
    }

    /// Proposes once per round, and votes for it: both come out behind one record.
    pub(super) fn lead(&mut self, payload: Vec<u8>) -> Result<()> {
        let round = self.round;
        let Some(qc) = self.asked.clone().filter(|_| self.state.last_voted < round) else {
            return Err(Error::protocol(format!(
                "hotstuff: no payload is asked for in round {round}, which place {} leads",
                self.leader_of(round)
            )));
        };
        if !self.tree.knows(&qc.block) {
            self.asked = None; // asked for again, with another parent
            return Err(Error::protocol(format!("hotstuff: the parent {} has been passed over", hex(&qc.block))));
        }
        let tc = if qc.round.checked_add(1) == Some(round) { None } else { self.state.high_tc.clone() };
        let header = Header {
            chain: self.state.chain,
            epoch: self.state.epoch,
            round,
            parent: qc.block,
            qc_round: qc.round,
            tc: tc.as_ref().map(Tc::digest).transpose()?,
            payload: payload_digest(&payload),
            proposer: self.state.me,
        };
        let block = Block { header, payload: Bytes::new("hotstuff: payload", payload)? };
        let proposal = Arc::new(Proposal::new(&self.keys.signing, block, qc, tc));
        self.tree.room(&proposal)?;
        let message = wire::encode(&*proposal)?;
        self.add(Arc::clone(&proposal), Verdict::Good)?;
        self.asked = None;
        self.seen = Some(Arc::clone(&proposal));
        self.cast(&proposal, Some(message))
    }

    /// Votes for a block, after `said`, its proposal, if that is this validator's.
    fn cast(&mut self, proposal: &Proposal, said: Option<Vec<u8>>) -> Result<()> {
        let (round, block, me) = (proposal.round(), proposal.id(), self.state.me);
        let vote = Vote::cast(&self.keys, self.state.chain, self.state.epoch, round, block, me);
        let locked = self.state.locked.max(proposal.qc.round);
        let proposed = if said.is_some() { round } else { self.state.proposed };
        let next = State { last_voted: round, locked, proposed, vote: Some(vote), ..self.state.clone() };
        let to = self.next_leader(round).unwrap_or(me);
        let mut outputs: Vec<_> = said.map(|message| Action::Broadcast { message }).into_iter().collect();
        if to != me {
            outputs.push(Action::Send { to, message: vote.encode()? });
        }
        self.persist(next, outputs)?;
        if to == me {
            self.say_own(Own::Vote(vote));
        }
        Ok(())
    }

    /// A leader's proposal.
    pub(super) fn on_proposal(&mut self, proposal: Proposal, sender: u16) -> Result<()> {
        let header = proposal.block.header;
        let leader = self.leader_of(header.round);
        if header.proposer != leader && !mutant!("hs.leader") {
            return Err(Error::protocol(format!(
                "hotstuff proposal: by place {}, but place {leader} leads round {}",
                header.proposer, header.round
            )));
        }
        if let Some(first) = self.seen.clone().filter(|first| first.round() == header.round) {
            return self.on_second(&first, &proposal);
        }
        if header.round < self.round {
            return self.on_late(proposal);
        }
        self.check_parent(&proposal)?;
        self.verify_proposer(&proposal)?;
        self.verify_qc(&proposal.qc)?;
        self.verify_tc(proposal.tc.as_ref())?;
        if self.ask_late(&proposal.qc, proposal.tc.as_ref(), sender) {
            return Ok(());
        }
        if let Some(tc) = &proposal.tc {
            self.on_tc(tc, sender);
        }
        self.on_qc(&proposal.qc, sender);
        self.take(Arc::new(proposal));
        Ok(())
    }

    /// The parent must be the certified block of that round; it may be one that is not here yet, but not one that was
    /// passed over.
    pub(super) fn check_parent(&self, proposal: &Proposal) -> Result<()> {
        let Header { parent, qc_round, .. } = &proposal.block.header;
        match self.tree.round_of(parent) {
            Some(round) if round != *qc_round && !mutant!("hs.qc-round") => Err(Error::protocol(format!(
                "hotstuff proposal: certificate of round {qc_round} for {}, which is of round {round}",
                hex(parent)
            ))),
            Some(_) => self.tree.room(proposal),
            None if *qc_round <= self.state.committed.0 => Err(Error::protocol(format!(
                "hotstuff proposal: follows round {qc_round}, but round {} is committed",
                self.state.committed.0
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn verify_proposer(&self, proposal: &Proposal) -> Result<()> {
        let header = &proposal.block.header;
        verify_by(&self.committee, Proposal::NAME, header.proposer, &header.message(), &proposal.signature)
    }

    /// A second proposal of a round: the same one gets the same vote again, another one is evidence.
    fn on_second(&mut self, first: &Proposal, second: &Proposal) -> Result<()> {
        let (one, other) = (first.block.header, second.block.header);
        if one == other {
            if self.state.vote.is_some_and(|vote| vote.round == one.round) {
                self.resend_vote();
            }
            return Ok(());
        }
        self.verify_proposer(second)?;
        let pair = [(one, first.signature), (other, second.signature)];
        self.accuse(one.proposer, PROPOSED_TWICE, &Evidence::Proposals(pair))
    }

    /// A proposal of a round that is over: only of use if it is certified, and was missing.
    fn on_late(&mut self, proposal: Proposal) -> Result<()> {
        let id = proposal.id();
        if id != self.state.high_qc.block || self.tree.knows(&id) || !self.tree.knows(&proposal.qc.block) {
            return Err(Error::protocol(format!(
                "hotstuff proposal: of round {}, but this is round {}",
                proposal.round(),
                self.round
            )));
        }
        self.check_parent(&proposal)?;
        self.verify_proposer(&proposal)?;
        self.verify_qc(&proposal.qc)?;
        self.add(Arc::new(proposal), Verdict::Good)?;
        let high_qc = self.state.high_qc.clone();
        self.on_qc(&high_qc, self.state.me);
        self.retry();
        Ok(())
    }

    /// The first proposal of this round, which is verified: a block, if its parent is here.
    fn take(&mut self, proposal: Arc<Proposal>) {
        self.seen = Some(Arc::clone(&proposal));
        self.waits = true;
        self.retry();
    }

    /// Takes the proposal that waited for its parent, if that is here now.
    pub(super) fn retry(&mut self) {
        let Some(proposal) = self.seen.clone().filter(|_| self.waits) else { return };
        let header = proposal.block.header;
        if !self.tree.knows(&header.parent) && !mutant!("hs.unknown-parent") {
            return;
        }
        self.waits = false;
        let id = header.id();
        let fits = |machine: &mut Self| {
            machine.check_parent(&proposal)?;
            machine.add(Arc::clone(&proposal), Verdict::Open)
        };
        if !self.tree.knows(&id) && fits(self).is_err() {
            return;
        }
        if self.may_vote(&proposal) {
            let payload = proposal.block.payload.to_vec();
            self.outbox.push(Action::Event(Event::ValidatePayload { block: id, payload, parent: header.parent }));
        }
    }

    /// Whether nothing was voted for or given up in its round, or in a later one.
    fn may_vote(&self, proposal: &Proposal) -> bool {
        let round = proposal.round();
        round == self.round && round > self.state.last_voted && !self.is_silent()
    }

    /// The driver's answer about a payload.
    pub(super) fn on_verdict(&mut self, block: &Digest, ok: bool) -> Result<()> {
        self.tree.judge(block, ok);
        let Some(proposal) = self.seen.clone().filter(|first| first.id() == *block && self.may_vote(first)) else {
            return Ok(());
        };
        if self.tree.verdict(block) != Some(Verdict::Good) {
            return Ok(());
        }
        self.cast(&proposal, None)
    }

    /// A vote for a block of a round whose next this validator leads. The first of each author in a round counts.
    pub(super) fn on_vote(&mut self, vote: Vote, sender: u16) -> Result<()> {
        if self.next_leader(vote.round) != Some(self.state.me) {
            return Err(Error::protocol(format!("hotstuff vote: round {} is for another to certify", vote.round)));
        }
        if vote.round <= self.state.high_qc.round {
            return Err(Error::protocol(format!("hotstuff vote: round {} is certified already", vote.round)));
        }
        if vote.share.is_some() != self.committee.aggregates().is_some() {
            return Err(Error::protocol(match vote.share {
                Some(_) => "hotstuff vote: with a share, but the committee has no aggregate keys",
                None => "hotstuff vote: without a share, but the committee has aggregate keys",
            }));
        }
        let at = usize::from(vote.voter);
        match self.votes.get(at).and_then(Option::as_ref).map(|heard| heard.vote) {
            Some(first) if first.round > vote.round => {
                return Err(Error::protocol(format!(
                    "hotstuff vote: of round {}, after one of round {}",
                    vote.round, first.round
                )));
            }
            Some(first) if first.round == vote.round && first.block == vote.block => return Ok(()),
            Some(first) if first.round == vote.round && !mutant!("hs.first-vote") => {
                vote.verify(&self.committee)?;
                return self.accuse(vote.voter, VOTED_TWICE, &Evidence::of_votes([first, vote]));
            }
            _ => vote.verify(&self.committee)?,
        }
        self.votes[at] = Some(Heard { vote, share: vote.share_point() });
        let known = self.accused.get(at).is_some_and(|accused| accused & WRONG_SHARE != 0);
        // Whoever spoiled a certificate once is not trusted to be right again, the others are until it fails.
        let wrong = vote.share.is_some() && (vote.share_point().is_none() || known && !self.has_right_share(&vote));
        if wrong {
            return self.doubt(at);
        }
        self.certify(&vote, sender)
    }

    fn has_right_share(&self, vote: &Vote) -> bool {
        vote.has_right_share(&self.committee)
    }

    /// A share is wrong: the vote stays, for there must be no other, and does not count.
    fn doubt(&mut self, at: usize) -> Result<()> {
        let Some(heard) = self.votes.get_mut(at).and_then(Option::as_mut) else { return Ok(()) };
        heard.share = None;
        let vote = heard.vote;
        self.accuse(vote.voter, WRONG_SHARE, &Evidence::WrongShare(SharedVote(vote)))
    }

    /// Makes the certificate of a block, if a quorum has voted for it.
    fn certify(&mut self, last: &Vote, sender: u16) -> Result<()> {
        let (round, block) = (last.round, last.block);
        let shared = self.committee.aggregates().is_some();
        let same = |heard: &&Heard| (heard.vote.round, heard.vote.block) == (round, block);
        let counts = |heard: &&Heard| same(heard) && (!shared || heard.share.is_some());
        let votes: Vec<Heard> = self.votes.iter().flatten().filter(counts).cloned().collect();
        let mut tally = Tally::default();
        for heard in &votes {
            tally.add(&self.committee, heard.vote.voter);
        }
        if !tally.is_quorum(&self.committee) {
            return Ok(());
        }
        if shared {
            return self.sum_up(&votes, last, sender);
        }
        let votes = votes.iter().map(|heard| (heard.vote.voter, heard.vote.signature)).collect();
        let qc = Qc::new(&self.committee, round, block, votes)?;
        self.on_own_qc(&qc, sender);
        Ok(())
    }

    /// Sums the shares of a quorum up. If the sum is wrong, the wrong ones are looked for and left out from now on.
    fn sum_up(&mut self, votes: &[Heard], last: &Vote, sender: u16) -> Result<()> {
        let (round, block) = (last.round, last.block);
        let shares: Vec<(u16, bls::Signature)> =
            votes.iter().filter_map(|heard| Some((heard.vote.voter, heard.share?))).collect();
        let made = Qc::aggregate(&self.committee, round, block, &shares);
        let check = |qc: &Qc| if mutant!("hs.share") { Ok(()) } else { qc.verify(self.domain()) };
        if let Ok(qc) = made.and_then(|qc| check(&qc).map(|()| qc)) {
            self.on_own_qc(&qc, sender);
            return Ok(());
        }
        let keys = self.committee.aggregates().unwrap_or_default();
        let signed: Vec<_> =
            shares.iter().filter_map(|(at, share)| Some((*keys.get(usize::from(*at))?, *share))).collect();
        let message = vote_message(&self.state.chain, self.state.epoch, round, &block);
        let wrong = bls::wrong_ones(&signed, &message);
        for at in &wrong {
            self.doubt(usize::from(shares[*at].0))?;
        }
        // With weights the rest may still be a quorum; it is smaller each time.
        if wrong.is_empty() { Ok(()) } else { self.certify(last, sender) }
    }

    /// A certificate that was made here, of votes the last of which `from` sent.
    fn on_own_qc(&mut self, qc: &Qc, from: u16) {
        if !self.ask_late(qc, None, from) {
            self.on_qc(qc, from);
        }
    }

    /// A certificate that is verified; `from` may have the block.
    pub(super) fn on_qc(&mut self, qc: &Qc, from: u16) {
        let known = self.tree.knows(&qc.block);
        if qc.round > self.state.high_qc.round {
            self.state.high_qc = qc.clone();
            if !known {
                self.ask(from);
            }
        }
        if known && qc.round > self.tip.0 {
            self.tip = (qc.round, qc.block);
        }
        self.try_commit(qc);
        if let Some(next) = qc.round.checked_add(1).filter(|next| *next > self.round) {
            self.enter(next);
        }
    }

    /// Commits the first of two (or three) certified blocks of consecutive rounds, each the next one's parent, and all that
    /// is before it, oldest first.
    pub(super) fn try_commit(&mut self, qc: &Qc) {
        // A certificate may have come before its block, with a round that is not the block's.
        let here = self.tree.get(&qc.block).filter(|block| block.round() == qc.round);
        let Some(mut child) = here.cloned() else { return };
        let mut tail = vec![child.block.header];
        for _ in 1..self.config.commit_rule {
            let direct = self.tree.get(&child.block.header.parent).cloned();
            let parent = if mutant!("hs.direct-parent") { self.tree.before(child.round()) } else { direct };
            let Some(parent) = parent else { return };
            if parent.round().checked_add(1) != Some(child.round()) && !mutant!("hs.consecutive") {
                return;
            }
            tail.push(parent.block.header);
            child = parent;
        }
        let mut path = self.tree.path(&child.id());
        if mutant!("hs.commit-order") {
            path.reverse();
        }
        if mutant!("hs.commit-ancestors") {
            path = path.split_off(path.len() - 1);
        }
        let mut headers: Vec<Header> = path.iter().map(|proposal| proposal.block.header).collect();
        path.truncate(at_once(headers.len()));
        headers.extend(tail.iter().rev().skip(1));
        for (at, proposal) in path.iter().enumerate() {
            let Ok(headers) = List::new("commit proof: headers", headers[at..].to_vec()) else { return };
            let proof = CommitProof { headers, qc: qc.clone() };
            let (block, payload) = (proposal.id(), proposal.block.payload.to_vec());
            self.outbox.push(Action::Event(Event::Commit { block, payload, proof }));
        }
        let Some(last) = path.last() else { return };
        self.state.committed = (last.round(), last.id());
        if !mutant!("hs.commit-once") {
            self.tree.commit(&last.id());
        }
    }
}

/// How many blocks of a path to a commit are committed at once: their proofs grow with the path. The next commits go on.
fn at_once(path: usize) -> usize {
    let mut headers = 0;
    let fits = |count: &usize| {
        headers += path - count;
        headers <= PROOFS_HEADERS
    };
    (0..path).take_while(fits).count().max(1)
}
