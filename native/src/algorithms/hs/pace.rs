//! Rounds and time: when a round is given up, and how those that gave it up come to the next.

use std::sync::Arc;

use super::certificate::{Qc, Tc, TimeoutVote};
use super::evidence::{Evidence, SignedTimeout};
use super::journal::State;
use super::machine::{GivenUp, HotStuff, Own};
use super::message::Timeout;
use crate::error::{Error, Result};
use crate::primitives::committee::Tally;
use crate::primitives::machine::Action;
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{self, List};

/// Evidence of two timeouts.
const GAVE_UP_TWICE: u8 = 4;

/// Certified blocks that may wait for their commit before rounds get longer.
const PILE_MAX: usize = 16;

/// Steps of the backoff; after so many of any size the most is reached, or stays what it is.
const STEPS_MAX: u64 = 128;

impl HotStuff {
    /// Begins a round.
    pub(super) fn enter(&mut self, round: u64) {
        self.round = round;
        if self.seen.as_ref().is_some_and(|first| first.round() < round) {
            self.seen = None;
            self.waits = false;
        }
        self.asked = None;
        self.forget();
        self.arm();
    }

    /// Drops what was needed to leave earlier rounds: a certificate ends them all now. It would stand in every record.
    fn forget(&mut self) {
        let round = self.round;
        self.state.high_tc.take_if(|tc| tc.round.saturating_add(1) < round);
        self.state.timeout.take_if(|timeout| timeout.round < round);
    }

    /// The round has all its time from now on.
    pub(super) fn arm(&mut self) {
        self.deadline = self.now.saturating_add(self.duration());
    }

    /// How long the round may take: longer for each one that failed since the last that did not, and where certified blocks
    /// pile up because every other round fails.
    fn duration(&self) -> u64 {
        let failed = self.round.saturating_sub(self.state.high_qc.round).saturating_sub(1);
        let piled = self.tree.depth(&self.state.high_qc.block).saturating_sub(PILE_MAX);
        let failed = failed.max(piled as u64);
        let mut time = self.config.timeout_us;
        for _ in 0..failed.min(STEPS_MAX) {
            time = (time * u64::from(self.config.backoff_percent) / 100).min(self.config.timeout_max_us);
        }
        time
    }

    /// The deadline has come: the round is given up, and what was said is said again.
    pub(super) fn on_time(&mut self) -> Result<()> {
        if self.now < self.deadline {
            return Ok(());
        }
        if !self.give_up()? {
            self.resend();
        }
        if self.is_behind() {
            self.ask_next();
        }
        self.arm();
        Ok(())
    }

    /// Gives the round up: no vote in it from now on. `false` if it is already, or must not be.
    fn give_up(&mut self) -> Result<bool> {
        let (round, state) = (self.round, &self.state);
        let given_up = state.timeout.as_ref().is_some_and(|timeout| timeout.round >= round);
        if given_up || self.is_silent() || round < state.last_voted || round == u64::MAX {
            return Ok(false);
        }
        let (high_qc, follows) = (state.high_qc.clone(), |before: u64| before.checked_add(1) == Some(round));
        let tc = if follows(high_qc.round) { None } else { state.high_tc.clone() };
        if high_qc.round < state.locked || !follows(tc.as_ref().map_or(high_qc.round, |tc| tc.round)) {
            return Ok(false);
        }
        let high_qc = if mutant!("hs.lock") { Qc::genesis(state.genesis) } else { high_qc };
        let timeout = Timeout::new(&self.keys.signing, (state.chain, state.epoch, round), high_qc, tc, state.me);
        let message = wire::encode(&timeout)?;
        let last_voted = if mutant!("hs.vote-after-timeout") { state.last_voted } else { round };
        let next = State { last_voted, timeout: Some(timeout.clone()), ..state.clone() };
        self.persist(next, vec![Action::Broadcast { message }])?;
        self.asked = None;
        self.say_own(Own::Timeout(timeout));
        Ok(true)
    }

    /// Says the last vote, proposal and timeout again, if they are of use and durable: the same bytes.
    pub(super) fn resend(&mut self) {
        if !self.all_durable() || self.is_silent() {
            return;
        }
        if self.state.proposed == self.round
            && let Some(own) = self.seen.clone().filter(|own| own.block.header.proposer == self.state.me)
            && let Ok(message) = wire::encode(&*own)
        {
            self.outbox.push(Action::Broadcast { message });
        }
        self.resend_vote();
        let mut timeout = self.state.timeout.clone().filter(|timeout| timeout.round == self.round);
        if mutant!("hs.same-bytes")
            && let Some(Timeout { chain, epoch, round, tc, voter, .. }) = timeout
        {
            timeout =
                Some(Timeout::new(&self.keys.signing, (chain, epoch, round), self.state.high_qc.clone(), tc, voter));
        }
        if let Some(Ok(message)) = timeout.as_ref().map(wire::encode) {
            self.outbox.push(Action::Broadcast { message });
        }
    }

    /// Says the last vote again, if a certificate can still come of it.
    pub(super) fn resend_vote(&mut self) {
        let of_use = |round: u64| round > self.state.high_qc.round;
        let Some(vote) = self.state.vote.filter(|vote| of_use(vote.round) && self.all_durable()) else { return };
        let to = self.next_leader(vote.round).filter(|to| *to != self.state.me && !self.is_silent());
        if let (Some(to), Ok(message)) = (to, vote.encode()) {
            self.outbox.push(Action::Send { to, message });
        }
    }

    /// Somebody gives a round up. The last round of each counts, and in it the first timeout.
    pub(super) fn on_timeout(&mut self, timeout: Timeout, sender: u16) -> Result<()> {
        let at = usize::from(timeout.voter);
        if let Some(first) = self.timeouts.get(at).and_then(Option::as_ref) {
            if first.round > timeout.round {
                return Err(Error::protocol(format!(
                    "hotstuff timeout: of round {}, after one of round {}",
                    timeout.round, first.round
                )));
            }
            if first.round == timeout.round && first.qc.round != timeout.high_qc.round {
                return self.on_second_timeout(first.clone(), &timeout);
            }
            if first.round == timeout.round && timeout.round >= self.round {
                return Ok(());
            }
        }
        if !mutant!("hs.timeout-signature") {
            timeout.verify_signature(&self.committee)?;
        }
        if timeout.round < self.round {
            self.help(sender);
            return Ok(());
        }
        self.verify_qc(&timeout.high_qc)?;
        self.verify_tc(timeout.tc.as_ref())?;
        if self.ask_late(&timeout.high_qc, timeout.tc.as_ref(), sender) {
            return Ok(());
        }
        if let Some(tc) = &timeout.tc {
            self.on_tc(tc, sender);
        }
        self.on_qc(&timeout.high_qc, sender);
        let Timeout { round, high_qc, signature, .. } = timeout;
        self.timeouts[at] = Some(GivenUp { round, qc: self.shared(high_qc), signature });
        self.count_timeouts(round, sender)
    }

    /// One copy of each certificate: there are as many slots as validators, and most of them hold the same.
    fn shared(&self, qc: Qc) -> Arc<Qc> {
        let same = self.timeouts.iter().flatten().find(|slot| slot.qc.round == qc.round && slot.qc.block == qc.block);
        same.map_or_else(|| Arc::new(qc), |slot| Arc::clone(&slot.qc))
    }

    fn on_second_timeout(&mut self, first: GivenUp, second: &Timeout) -> Result<()> {
        second.verify_signature(&self.committee)?;
        let said = |qc_round: u64, signature: [u8; 64]| {
            let Timeout { chain, epoch, round, voter, .. } = *second;
            SignedTimeout { chain, epoch, round, qc_round, voter, signature }
        };
        let pair = [said(first.qc.round, first.signature), said(second.high_qc.round, second.signature)];
        self.accuse(second.voter, GAVE_UP_TWICE, &Evidence::Timeouts(pair))
    }

    /// Joins those that gave the round up, if one of them at least is not faulty; a quorum of them ends it.
    fn count_timeouts(&mut self, round: u64, sender: u16) -> Result<()> {
        let mut tally = Tally::default();
        let mut votes = Vec::new();
        let mut high_qc: Option<Arc<Qc>> = None;
        for (voter, slot) in (0u16..).zip(&self.timeouts) {
            let Some(slot) = slot.as_ref().filter(|slot| slot.round == round) else { continue };
            tally.add(&self.committee, voter);
            votes.push(TimeoutVote { voter, qc_round: slot.qc.round, signature: slot.signature });
            if high_qc.as_ref().is_none_or(|high| high.round < slot.qc.round) {
                high_qc = Some(Arc::clone(&slot.qc));
            }
        }
        if let Some(high_qc) = high_qc.filter(|_| tally.is_quorum(&self.committee)) {
            let votes = List::new("timeout certificate: votes", votes)?;
            self.on_tc(&Tc { round, high_qc: Arc::unwrap_or_clone(high_qc), votes }, sender);
        } else if tally.has_honest(&self.committee) && round == self.round && !mutant!("hs.join") {
            self.give_up()?;
        }
        Ok(())
    }

    /// A timeout certificate that is verified.
    pub(super) fn on_tc(&mut self, tc: &Tc, from: u16) {
        let of_use = tc.round.saturating_add(1) >= self.round;
        if of_use && self.state.high_tc.as_ref().is_none_or(|high| high.round < tc.round) {
            self.state.high_tc = Some(tc.clone());
        }
        self.on_qc(&tc.high_qc, from);
        if let Some(next) = tc.round.checked_add(1).filter(|next| *next > self.round) {
            self.enter(next);
        }
    }
}
