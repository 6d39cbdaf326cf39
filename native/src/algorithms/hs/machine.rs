//! The machine's frame: what it holds, how it begins, and what its driver calls.

use std::collections::VecDeque;
use std::sync::Arc;

use super::certificate::{Domain, Qc, Tc};
use super::evidence::Evidence;
use super::journal::{Entry, State, replay};
use super::keys::Keys;
use super::message::{Message, PAYLOAD_MAX, Proposal, Timeout, Vote};
use super::proof::CommitProof;
use super::sync::Served;
use super::tree::Tree;
use super::{Config, Event};
use crate::crypto::bls;
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::mutant::mutant;
use crate::primitives::outbox::{Effect, Outbox};
use crate::primitives::wire;

/// Effects that one call may have, beside a commit of each block that waits.
const EFFECTS: usize = 256;

/// What the machine says to itself; heard when it is durable.
#[derive(Debug, Clone)]
pub(super) enum Own {
    Vote(Vote),
    Timeout(Timeout),
}

/// A validator's vote, and its share of a certificate.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub vote: Vote,
    /// The share, if it is needed and not known to be wrong.
    pub share: Option<bls::Signature>,
}

/// A validator's timeout, as far as a certificate needs it.
#[derive(Debug, Clone)]
pub(super) struct GivenUp {
    pub round: u64,
    pub qc: Arc<Qc>,
    pub signature: [u8; 64],
}

/// One validator's agreement machine. Not `Clone`: two copies could vote against each other.
///
/// Driven as every [`Machine`]: first [`HotStuff::start`], then messages and the time.
pub struct HotStuff {
    pub(super) committee: Committee,
    pub(super) keys: Keys,
    pub(super) config: Config,
    pub(super) state: State,
    pub(super) round: u64,
    pub(super) tree: Tree,
    /// The highest block that is certified and known: (round, id).
    pub(super) tip: (u64, Digest),
    /// The last vote of each for a round whose next this validator leads.
    pub(super) votes: Vec<Option<Heard>>,
    /// The last timeout of each.
    pub(super) timeouts: Vec<Option<GivenUp>>,
    /// The first proposal of this round.
    pub(super) seen: Option<Arc<Proposal>>,
    /// Whether it waits for its parent.
    pub(super) waits: bool,
    /// A payload is awaited, to follow this certificate's block.
    pub(super) asked: Option<Qc>,
    pub(super) deadline: u64,
    pub(super) now: u64,
    pub(super) outbox: Outbox<Action<Event>>,
    /// Kinds of evidence given against each, so that each comes once.
    pub(super) accused: Vec<u8>,
    /// How each was answered last.
    pub(super) served: Vec<Option<Served>>,
    pub(super) next_peer: u16,
    own: VecDeque<(u64, Own)>,
    issued: u64,
    durable: u64,
    started: bool,
    restored: bool,
    retired: bool,
    announced: (u64, u64),
}

impl HotStuff {
    /// A machine at the beginning of an epoch. `genesis` stands in place of the block before the first: any digest that all
    /// validators agree on, such as [`CommitProof::next_genesis`] of the last block of the epoch before.
    ///
    /// # Errors
    /// [`Error::Input`] for keys that are not in the committee, and for a configuration that is none.
    pub fn new(
        chain: Digest,
        epoch: u64,
        committee: Committee,
        keys: impl Into<Keys>,
        genesis: Digest,
        config: Config,
    ) -> Result<Self> {
        config.check(&committee)?;
        let keys = keys.into();
        let me = keys.place(&committee)?;
        let state = State {
            chain,
            epoch,
            committee: committee.digest(),
            genesis,
            me,
            observer: false,
            last_voted: 0,
            locked: 0,
            proposed: 0,
            high_qc: Qc::genesis(genesis),
            high_tc: None,
            vote: None,
            timeout: None,
            committed: (0, genesis),
        };
        let tree = Tree::new(state.committed, config.history);
        Ok(Self::with(committee, keys, config, state, tree))
    }

    fn with(committee: Committee, keys: Keys, config: Config, state: State, tree: Tree) -> Self {
        let count = committee.count();
        let before = state.high_tc.as_ref().map_or(0, |tc| tc.round).max(state.high_qc.round);
        Self {
            committee,
            keys,
            config,
            round: before.saturating_add(1),
            tip: state.committed,
            next_peer: state.me,
            state,
            tree,
            votes: vec![None; count],
            timeouts: vec![None; count],
            seen: None,
            waits: false,
            asked: None,
            deadline: 0,
            now: 0,
            outbox: Outbox::default(),
            accused: vec![0; count],
            served: vec![None; count],
            own: VecDeque::new(),
            issued: 0,
            durable: 0,
            started: false,
            restored: false,
            retired: false,
            announced: (0, 0),
        }
    }

    /// A machine as it was when the last of `records` was written. The first may be a [`HotStuff::snapshot`].
    ///
    /// With `amnesia` something of the journal was lost, so that this validator may have signed what it does not know: it
    /// watches and signs nothing until the next epoch, whatever is restored from the journal that it writes from now on.
    ///
    /// # Errors
    /// [`Error::Input`] for records that are not well-formed, or not of this validator and epoch, and what
    /// [`HotStuff::new`] refuses.
    #[allow(clippy::too_many_arguments, reason = "the arguments of `new`, and the journal")]
    pub fn restore(
        chain: Digest,
        epoch: u64,
        committee: Committee,
        keys: impl Into<Keys>,
        genesis: Digest,
        config: Config,
        records: &[Vec<u8>],
        amnesia: bool,
    ) -> Result<Self> {
        let fresh = Self::new(chain, epoch, committee, keys, genesis, config)?;
        let replayed = replay(&fresh.state, records)?;
        let mut state = replayed.state.unwrap_or_else(|| fresh.state.clone());
        state.observer |= amnesia;
        let voted = state.vote.map_or(state.committed.1, |vote| vote.block);
        let kept = [state.high_qc.block, voted];
        let tree = Tree::restore(state.committed, fresh.config.history, replayed.blocks, &kept);
        let mut machine = Self::with(fresh.committee, fresh.keys, fresh.config, state, tree);
        machine.restored = amnesia || !records.is_empty();
        Ok(machine)
    }

    /// Begins, or goes on after [`HotStuff::restore`]: what was said last is said again, in the same bytes.
    ///
    /// # Errors
    /// [`Error::Input`] if it has begun already.
    pub fn start(&mut self, now: u64) -> Result<()> {
        if self.started {
            return Err(Error::input("hotstuff: it has begun already"));
        }
        self.started = true;
        self.now = now;
        if self.state.observer {
            self.persist(self.state.clone(), Vec::new())?;
        }
        for proposal in self.tree.path(&self.state.high_qc.block.clone()) {
            self.try_commit(&proposal.qc);
        }
        let high_qc = self.state.high_qc.clone();
        self.on_qc(&high_qc, self.state.me);
        self.enter(self.round);
        self.recall();
        self.resend();
        if self.restored {
            self.ask_all()?;
        }
        self.settle();
        Ok(())
    }

    /// What was said before the restart counts as heard.
    fn recall(&mut self) {
        let voted = self.state.vote.filter(|vote| vote.round == self.round);
        self.seen = voted.and_then(|vote| self.tree.get(&vote.block).cloned());
        if self.is_silent() {
            return;
        }
        if let Some(vote) = self.state.vote
            && self.next_leader(vote.round) == Some(self.state.me)
        {
            self.own.push_back((0, Own::Vote(vote)));
        }
        if let Some(timeout) = self.state.timeout.clone() {
            self.own.push_back((0, Own::Timeout(timeout)));
        }
    }

    /// Everything that must survive a crash; stands for all journal records before it.
    ///
    /// # Errors
    /// [`Error::Input`] if it gets too large, which the limits of what waits rule out.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        Entry::encode(&self.state, true, self.tree.all())
    }

    /// The payload that [`Event::NeedPayload`] asked for; it may be empty.
    ///
    /// # Errors
    /// [`Error::Protocol`] if none is asked for (any more), [`Error::Input`] if it is too long, [`Error::Unavailable`] if
    /// too many effects or blocks wait.
    pub fn propose(&mut self, payload: Vec<u8>, now: u64) -> Result<()> {
        if payload.len() > PAYLOAD_MAX {
            return Err(Error::input(format!(
                "hotstuff: {} bytes of payload, at most {PAYLOAD_MAX} are allowed",
                payload.len()
            )));
        }
        self.step(now, |machine| machine.lead(payload))
    }

    /// What the driver makes of the payload of [`Event::ValidatePayload`]. Its first answer counts; a block that is gone
    /// needs none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if too many effects wait.
    pub fn payload_result(&mut self, block: Digest, ok: bool, now: u64) -> Result<()> {
        self.step(now, |machine| machine.on_verdict(&block, ok))
    }

    /// Time stood still, because there was nothing to agree on: the round has all its time again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if too many effects wait.
    pub fn resume(&mut self, now: u64) -> Result<()> {
        self.step(now, |machine| {
            machine.arm();
            Ok(())
        })
    }

    /// How long a round may take from now on, µs, before it is given up; the round under way keeps what it has. Drivers that
    /// know how long rounds take here wait no longer for a leader that fails. What failed rounds add stays: however little
    /// is set, rounds get longer until messages arrive in time.
    ///
    /// # Errors
    /// [`Error::Input`] if it is zero or above the most that a round is given.
    pub fn pace(&mut self, timeout_us: u64) -> Result<()> {
        if timeout_us == 0 || timeout_us > self.config.timeout_max_us {
            return Err(Error::input(format!(
                "hotstuff: a pace of {timeout_us} µs, 1 to {} are allowed",
                self.config.timeout_max_us
            )));
        }
        self.config.timeout_us = timeout_us;
        Ok(())
    }

    /// A commit that was learned elsewhere, by one who is so far behind that nobody keeps what it needs: the machine goes on
    /// from that block. What was committed up to it, itself included, is for the driver to get; no events come for it.
    ///
    /// # Errors
    /// [`Error::Verification`] if the proof is wrong, [`Error::Unavailable`] if too many effects wait.
    pub fn adopt(&mut self, proof: &CommitProof, now: u64) -> Result<()> {
        self.step(now, |machine| {
            proof.verify(&machine.committee, &machine.state.chain, machine.state.epoch)?;
            let Some(header) = proof.header().filter(|header| header.round > machine.state.committed.0) else {
                return Ok(());
            };
            let root = (header.round, header.id());
            machine.tree.move_root(root);
            let next = State { committed: root, ..machine.state.clone() };
            machine.state = next;
            machine.on_qc(&proof.qc, machine.state.me);
            machine.persist(machine.state.clone(), Vec::new())
        })
    }

    /// The epoch is over for this validator: it signs nothing any more, and still answers those that are behind.
    pub fn retire(&mut self) {
        self.retired = true;
        self.asked = None;
    }

    /// The current round.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// This validator's place.
    pub fn me(&self) -> u16 {
        self.state.me
    }

    /// Who leads a round.
    pub fn leader_of(&self, round: u64) -> u16 {
        self.config.leader(&self.committee, round)
    }

    /// Round and id of the last committed block.
    pub fn committed(&self) -> (u64, Digest) {
        self.state.committed
    }

    /// The highest quorum certificate.
    pub fn high_qc(&self) -> &Qc {
        &self.state.high_qc
    }

    /// The highest round that was voted in or given up.
    pub fn last_voted(&self) -> u64 {
        self.state.last_voted
    }

    /// Blocks with a payload that are certified, as far as is known, and not committed: as long as there are any, empty
    /// proposals bring them on.
    pub fn pending(&self) -> usize {
        let path = self.tree.path(&self.state.high_qc.block);
        path.iter().filter(|proposal| !proposal.block.payload.is_empty()).count()
    }

    /// Whether a certified block is not here yet, and is being asked for.
    pub fn is_behind(&self) -> bool {
        !self.tree.knows(&self.state.high_qc.block)
    }

    /// Whether it only watches: its journal was lost, or it is retired.
    pub fn is_silent(&self) -> bool {
        (self.state.observer && !mutant!("hs.amnesia")) || self.retired
    }

    pub(super) fn domain(&self) -> Domain<'_> {
        let State { chain, epoch, genesis, .. } = &self.state;
        Domain { committee: &self.committee, chain, epoch: *epoch, genesis: Some(genesis) }
    }

    /// Who gets the votes of a round.
    pub(super) fn next_leader(&self, round: u64) -> Option<u16> {
        round.checked_add(1).map(|next| self.leader_of(next))
    }

    /// Checks a certificate, unless it is the one that is known.
    pub(super) fn verify_qc(&self, qc: &Qc) -> Result<()> {
        if let Some(round) = self.tree.round_of(&qc.block).filter(|round| *round != qc.round && !mutant!("hs.qc-round"))
        {
            return Err(Error::protocol(format!(
                "hotstuff: certificate of round {} for {}, which is of round {round}",
                qc.round,
                hex(&qc.block)
            )));
        }
        if *qc == self.state.high_qc { Ok(()) } else { qc.verify(self.domain()) }
    }

    /// Checks a timeout certificate, unless it is the one that is known.
    pub(super) fn verify_tc(&self, tc: Option<&Tc>) -> Result<()> {
        match tc {
            Some(tc) if self.state.high_tc.as_ref() != Some(tc) => tc.verify(self.domain()),
            _ => Ok(()),
        }
    }

    /// One call of the driver.
    fn step(&mut self, now: u64, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if !self.started {
            return Err(Error::input("hotstuff: it has not begun"));
        }
        self.outbox.room(EFFECTS + self.tree.len())?;
        self.now = self.now.max(now);
        self.hear_own();
        let result = work(self);
        self.settle();
        result
    }

    /// Journals a state with the new blocks, takes it, and has `outputs` wait for it.
    pub(super) fn persist(&mut self, next: State, outputs: Vec<Action<Event>>) -> Result<()> {
        let mut written = next.clone();
        if mutant!("hs.last-voted") {
            (written.last_voted, written.vote) = (self.state.last_voted.min(written.locked), None);
        }
        let record = Entry::encode(&written, false, self.tree.take_new())?;
        self.state = next;
        self.issued += 1;
        let (early, outputs) = if mutant!("hs.persist-first") { (outputs, Vec::new()) } else { (Vec::new(), outputs) };
        early.into_iter().for_each(|output| self.outbox.push(output));
        self.outbox.push_behind(record, outputs);
        Ok(())
    }

    /// Says something to itself, behind the last record.
    pub(super) fn say_own(&mut self, own: Own) {
        self.own.push_back((self.issued, own));
    }

    /// Whether all records are durable.
    pub(super) fn all_durable(&self) -> bool {
        self.durable == self.issued
    }

    /// Hears what it said itself, as far as that is durable.
    fn hear_own(&mut self) {
        while self.outbox.room(EFFECTS + self.tree.len()).is_ok()
            && self.own.front().is_some_and(|(ticket, _)| *ticket <= self.durable)
        {
            // What it said may be out of date by now, which is no error of anybody's.
            let _ = match self.own.pop_front() {
                Some((_, Own::Vote(vote))) => self.on_vote(vote, self.state.me),
                Some((_, Own::Timeout(timeout))) => self.on_timeout(timeout, self.state.me),
                None => Ok(()),
            };
        }
    }

    /// Tells the driver what has come of a call.
    fn settle(&mut self) {
        if self.announced.0 != self.round {
            self.announced.0 = self.round;
            self.outbox.push(Action::Event(Event::EnteredRound { round: self.round }));
        }
        if self.announced.1 != self.deadline {
            self.announced.1 = self.deadline;
            self.outbox.push(Action::Deadline { at: self.deadline });
        }
        self.ask_payload();
    }

    /// Gives evidence, once for each kind and culprit.
    pub(super) fn accuse(&mut self, place: u16, kind: u8, evidence: &Evidence) -> Result<()> {
        let bytes = wire::encode(evidence)?;
        if let Some(accused) = self.accused.get_mut(usize::from(place))
            && *accused & kind == 0
        {
            *accused |= kind;
            self.outbox.push(Action::Event(Event::Evidence(bytes)));
        }
        Ok(())
    }

    fn dispatch(&mut self, sender: u16, message: Message) -> Result<()> {
        match message {
            Message::Proposal(proposal) => self.on_proposal(proposal, sender),
            Message::Vote(vote) => self.on_vote(vote, sender),
            Message::Timeout(timeout) => self.on_timeout(timeout, sender),
            Message::SyncRequest(request) => self.on_request(&request, sender),
            Message::SyncResponse(response) => self.on_response(response, sender),
        }
    }
}

impl Machine for HotStuff {
    type Event = Event;

    fn handle(&mut self, sender: u16, message: &[u8], now: u64) -> Result<()> {
        if self.committee.get(sender).is_none() {
            return Err(Error::input(format!(
                "hotstuff: sender {sender} of a committee of {}",
                self.committee.count()
            )));
        }
        let message = Message::decode(message)?;
        let (chain, epoch) = message.domain();
        if (chain, epoch) != (self.state.chain, self.state.epoch) {
            return Err(Error::protocol(format!(
                "hotstuff message: of epoch {epoch} of chain {}, but this is epoch {} of {}",
                hex(&chain),
                self.state.epoch,
                hex(&self.state.chain)
            )));
        }
        self.step(now, |machine| machine.dispatch(sender, message))
    }

    fn tick(&mut self, now: u64) -> Result<()> {
        self.step(now, Self::on_time)
    }

    fn drain(&mut self) -> Vec<Effect<Action<Event>>> {
        self.outbox.drain()
    }

    fn durable(&mut self, ticket: u64) -> Result<()> {
        self.outbox.durable(ticket)?;
        self.durable = self.durable.max(ticket);
        self.hear_own();
        self.settle();
        Ok(())
    }
}

impl std::fmt::Debug for HotStuff {
    /// All that decides what it does next, the keys left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotStuff")
            .field("state", &self.state)
            .field("round", &self.round)
            .field("tree", &self.tree)
            .field("tip", &self.tip)
            .field("votes", &self.votes)
            .field("timeouts", &self.timeouts)
            .field("seen", &self.seen)
            .field("waits", &self.waits)
            .field("asked", &self.asked)
            .field("deadline", &self.deadline)
            .field("outbox", &self.outbox)
            .field("accused", &self.accused)
            .field("served", &self.served)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
