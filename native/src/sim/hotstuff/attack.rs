//! Validators that break the rules, with their real keys.
//!
//! Each runs the machine, so that it keeps up with the others, and says something else than the machine tells it to: what
//! the machine hands out passes through [`Attack`]. It writes nothing to its disk and believes every payload.

use std::sync::{Arc, Mutex};

use super::super::node::{Node, Turn};
use super::super::rng::Rng;
use super::{EPOCH, Shared, lock};
use crate::algorithms::hs::message::{
    Block, Header, Message, Proposal, Qc, SyncResponse, Tc, Timeout, TimeoutVote, Vote, payload_digest, timeout_message,
};
use crate::algorithms::hs::{Event, HotStuff, Keys};
use crate::crypto::hash::{self, Digest};
use crate::error::Result;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox::Effect;
use crate::primitives::wire::{self, Bytes, List, Record};

/// Messages that somebody heard, to be said again elsewhere.
pub type Recording = Arc<Mutex<Vec<Vec<u8>>>>;

/// The most messages that a replayer keeps.
const HEARD_MAX: usize = 4096;

/// How many old messages a replayer says again at a time.
const REPLAYS: usize = 4;

const CONTEXT_INVENTED: &str = "city-chain v1 simulation hotstuff invented block";

/// What a dishonest validator does.
#[derive(Debug, Clone)]
pub enum Attack {
    /// Says nothing; keeps what it hears, if there is something to keep it in.
    Silent(Option<Recording>),
    /// Proposes one block to some and another to the rest, and both to a few; votes for both.
    TwoProposals,
    /// Votes for every block that it sees, and for one that nobody proposed; gives rounds up twice.
    TwoVotes,
    /// Shows its certificates and proposals to one replica only.
    Withholds,
    /// Sends timeout certificates that are old, too large, of other epochs, or say less than was signed.
    BadTimeoutCertificates,
    /// Gives every round up twice, with different certificates, and early.
    TwoTimeouts,
    /// Says that an old certificate is of a later round.
    InflatedRounds,
    /// Proposes blocks that follow what nobody has.
    UnknownParents,
    /// Votes in rounds that it has given up, and gives up rounds that it votes in.
    VotesAfterTimeout,
    /// Sends shares of certificates that are of something else, or no shares at all, and now and then a right one.
    BadShares,
    /// Says again what it heard, from the beginning of the run on.
    Replays,
    /// Says again what was said elsewhere: on another chain, or in another epoch.
    Foreign(Recording),
}

/// A dishonest validator.
pub(super) fn node(shared: Arc<Shared>, me: u16, attack: Attack) -> Result<Box<dyn Node>> {
    let (machine, keys) = (shared.machine(me, &[])?, shared.key(me)?);
    let rng = Rng::new(u64::from(me), "attack", 0);
    Ok(Box::new(Liar { shared, me, keys, machine, attack, rng, heard: Vec::new(), timeouts: Vec::new() }))
}

struct Liar {
    shared: Arc<Shared>,
    me: u16,
    keys: Keys,
    machine: HotStuff,
    attack: Attack,
    rng: Rng,
    heard: Vec<Vec<u8>>,
    /// Timeout certificates that it saw.
    timeouts: Vec<Tc>,
}

impl Liar {
    /// Says something to everybody.
    fn tell(turn: &mut Turn, message: &impl Record) {
        if let Ok(bytes) = wire::encode(message) {
            turn.broadcast(&bytes);
        }
    }

    fn go_on(&mut self, turn: &mut Turn) {
        loop {
            let effects = self.machine.drain();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { ticket, .. } => drop(self.machine.durable(ticket)),
                    Effect::Output(action) => self.act(action, turn),
                }
            }
        }
    }

    fn act(&mut self, action: Action<Event>, turn: &mut Turn) {
        let now = turn.now();
        match action {
            Action::Deadline { at } => turn.step(super::super::node::Step::Wake { at }),
            Action::Event(Event::NeedPayload { round, parent }) => {
                let payload = self.shared.payload(self.me, round, &parent);
                drop(self.machine.propose(payload, now));
            }
            Action::Event(Event::ValidatePayload { block, .. }) => {
                drop(self.machine.payload_result(block, true, now));
            }
            Action::Event(_) => {}
            Action::Send { to, message } => self.send(to, message, turn),
            Action::Broadcast { message } => self.broadcast(message, turn),
        }
    }

    fn send(&mut self, to: u16, message: Vec<u8>, turn: &mut Turn) {
        match (&self.attack, Message::decode(&message)) {
            (Attack::Silent(_) | Attack::Withholds, _) => {}
            (Attack::BadShares, Ok(Message::Vote(vote))) => {
                if let Ok(bytes) = self.with_bad_share(&vote).encode() {
                    turn.send(to, bytes);
                }
            }
            (Attack::TwoVotes, Ok(Message::Vote(vote))) => {
                turn.send(to, message);
                self.vote_for(vote.round, hash::digest(CONTEXT_INVENTED, &vote.block), turn);
            }
            _ => turn.send(to, message),
        }
    }

    fn broadcast(&mut self, message: Vec<u8>, turn: &mut Turn) {
        match (self.attack.clone(), Message::decode(&message)) {
            (Attack::Silent(_), _) => {}
            (Attack::TwoProposals, Ok(Message::Proposal(proposal))) => self.propose_two(&proposal, turn),
            (Attack::Withholds, Ok(Message::Proposal(proposal))) => {
                turn.send((proposal.round() % u64::from(turn.nodes())) as u16, message);
            }
            (Attack::Withholds, _) => turn.send(self.rng.below(u64::from(turn.nodes())) as u16, message),
            (Attack::TwoTimeouts | Attack::TwoVotes, Ok(Message::Timeout(timeout))) => {
                self.time_out_twice(&timeout, turn);
                turn.broadcast(&message);
            }
            (Attack::BadTimeoutCertificates, Ok(Message::Timeout(timeout))) => {
                turn.broadcast(&message);
                self.lie_about_timeouts(&timeout, turn);
            }
            (Attack::BadTimeoutCertificates, Ok(Message::Proposal(proposal))) => {
                turn.broadcast(&message);
                self.propose_after_lies(&proposal, turn);
            }
            (Attack::InflatedRounds, Ok(Message::Proposal(proposal))) => {
                self.inflate(&proposal, turn);
                turn.broadcast(&message);
            }
            (Attack::UnknownParents, Ok(Message::Proposal(proposal))) => self.propose_on_nothing(&proposal, turn),
            (Attack::VotesAfterTimeout, Ok(Message::Timeout(timeout))) => {
                turn.broadcast(&message);
                for message in self.heard.clone() {
                    if let Ok(Message::Proposal(old)) = Message::decode(&message)
                        && old.round() + 3 > timeout.round
                    {
                        self.vote_for(old.round(), old.id(), turn);
                    }
                }
            }
            _ => turn.broadcast(&message),
        }
    }

    fn vote(&self, round: u64, block: Digest) -> Vote {
        Vote::cast(&self.keys, self.shared.chain, EPOCH, round, block, self.me)
    }

    /// The same vote with a wrong share, if it has one.
    fn with_bad_share(&mut self, vote: &Vote) -> Vote {
        let other = self.vote(vote.round, hash::digest(CONTEXT_INVENTED, &vote.block)).share;
        let share = match self.rng.below(4) {
            0 => vote.share,
            1 => Some([0xff; 48]),
            _ => other,
        };
        let of = (vote.chain, vote.epoch, vote.round, vote.block);
        Vote::with_share(&self.keys.signing, of, self.me, share.filter(|_| vote.share.is_some()))
    }

    /// A vote of its own, to everybody.
    fn vote_for(&self, round: u64, block: Digest, turn: &mut Turn) {
        if let Ok(bytes) = self.vote(round, block).encode() {
            turn.broadcast(&bytes);
        }
    }

    /// A proposal of its own with other contents.
    fn signed(&self, header: Header, payload: Vec<u8>, qc: Qc, tc: Option<Tc>) -> Option<Proposal> {
        let tc_digest = tc.as_ref().map(Tc::digest).transpose().ok()?;
        let header = Header { payload: payload_digest(&payload), tc: tc_digest, proposer: self.me, ..header };
        let block = Block { header, payload: Bytes::new("payload", payload).ok()? };
        Some(Proposal::new(&self.keys.signing, block, qc, tc))
    }

    fn propose_two(&mut self, first: &Proposal, turn: &mut Turn) {
        let payload = [&first.block.payload[..], b" and more"].concat();
        let Some(second) = self.signed(first.block.header, payload, first.qc.clone(), first.tc.clone()) else { return };
        let (Ok(one), Ok(other)) = (wire::encode(first), wire::encode(&second)) else { return };
        for to in (0..turn.nodes()).filter(|to| *to != self.me) {
            match self.rng.below(5) {
                0 | 1 => turn.send(to, one.clone()),
                2 | 3 => turn.send(to, other.clone()),
                _ => {
                    turn.send(to, other.clone());
                    turn.send(to, one.clone());
                }
            }
        }
        self.vote_for(first.round(), first.id(), turn);
        self.vote_for(first.round(), second.id(), turn);
    }

    fn time_out_twice(&self, timeout: &Timeout, turn: &mut Turn) {
        let genesis = Qc::genesis(self.shared.genesis);
        let at = (self.shared.chain, EPOCH, timeout.round);
        Self::tell(turn, &Timeout::new(&self.keys.signing, at, genesis, timeout.tc.clone(), self.me));
        let early = (self.shared.chain, EPOCH, timeout.high_qc.round + 1);
        Self::tell(turn, &Timeout::new(&self.keys.signing, early, timeout.high_qc.clone(), None, self.me));
    }

    /// Certificates that no quorum signed, made from one that a quorum did.
    fn spoilt(&self, tc: &Tc) -> Vec<Tc> {
        let votes = tc.votes.clone().into_vec();
        let with = |votes: Vec<TimeoutVote>| List::new("votes", votes).map(|votes| Tc { votes, ..tc.clone() }).ok();
        let mut oversized = votes.clone();
        oversized.extend(votes.iter().cycle().take(900));
        let mut others = votes.clone();
        for vote in &mut others {
            let message = timeout_message(&self.shared.chain, EPOCH + 1, tc.round, vote.qc_round);
            (vote.voter, vote.signature) = (self.me, self.keys.signing.sign(&message));
        }
        let mut lower = votes.clone();
        lower.iter_mut().for_each(|vote| vote.qc_round = vote.qc_round.saturating_sub(1));
        let few = votes.iter().take(1).copied().collect();
        let mut made: Vec<Tc> = [oversized, others, lower, few].into_iter().filter_map(with).collect();
        made.push(Tc { round: tc.round + 1, ..tc.clone() });
        made.push(Tc { high_qc: Qc::genesis(self.shared.genesis), ..tc.clone() });
        made
    }

    fn lie_about_timeouts(&mut self, timeout: &Timeout, turn: &mut Turn) {
        for tc in self.timeouts.iter().rev().take(2).chain(self.timeouts.first()) {
            let mut lies = self.spoilt(tc);
            lies.push(tc.clone());
            for lie in lies {
                let at = (self.shared.chain, EPOCH, lie.round.max(timeout.round - 1) + 1);
                Self::tell(
                    turn,
                    &Timeout::new(&self.keys.signing, at, timeout.high_qc.clone(), Some(lie.clone()), self.me),
                );
                let (chain, blocks, qc) = (self.shared.chain, List::default(), timeout.high_qc.clone());
                Self::tell(turn, &SyncResponse { chain, epoch: EPOCH, blocks, qc, tc: Some(lie) });
            }
        }
    }

    fn propose_after_lies(&mut self, proposal: &Proposal, turn: &mut Turn) {
        let Some(tc) = self.timeouts.last().cloned() else { return };
        let genesis = Qc::genesis(self.shared.genesis);
        for lie in self.spoilt(&tc) {
            let header = Header { round: lie.round + 1, parent: genesis.block, qc_round: 0, ..proposal.block.header };
            let payload = proposal.block.payload.to_vec();
            if let Some(made) = self.signed(header, payload, genesis.clone(), Some(lie)) {
                Self::tell(turn, &made);
            }
        }
    }

    /// The same certificate, said to be of a later round, so that the block would have to be accepted in that.
    fn inflate(&mut self, proposal: &Proposal, turn: &mut Turn) {
        for more in [1, 4, 1000, u64::MAX - 2 - proposal.round()] {
            let qc = Qc { round: proposal.qc.round + more, ..proposal.qc.clone() };
            let round = qc.round + 1;
            let header = Header { round, qc_round: qc.round, ..proposal.block.header };
            if let Some(made) = self.signed(header, proposal.block.payload.to_vec(), qc.clone(), None) {
                Self::tell(turn, &made);
            }
            let at = (self.shared.chain, EPOCH, round);
            Self::tell(turn, &Timeout::new(&self.keys.signing, at, qc, None, self.me));
            self.vote_for(round, proposal.id(), turn);
        }
    }

    fn propose_on_nothing(&mut self, proposal: &Proposal, turn: &mut Turn) {
        let block = hash::digest(CONTEXT_INVENTED, &proposal.id());
        let qc = Qc { block, ..proposal.qc.clone() };
        let header = Header { parent: block, ..proposal.block.header };
        let payload = proposal.block.payload.to_vec();
        if let Some(made) = self.signed(header, payload.clone(), qc.clone(), proposal.tc.clone()) {
            Self::tell(turn, &made);
        }
        // And one whose parent is certified by its own vote alone.
        let vote = self.vote(proposal.qc.round, block);
        let committee = &self.shared.committee;
        let made = match vote.share_point() {
            Some(share) => Qc::aggregate(committee, vote.round, block, &[(self.me, share)]),
            None => Qc::new(committee, vote.round, block, vec![(self.me, vote.signature)]),
        };
        if let Ok(qc) = made
            && let Some(made) = self.signed(header, payload, qc, proposal.tc.clone())
        {
            Self::tell(turn, &made);
        }
    }

    /// Keeps what was heard, and answers some of it at once.
    fn hear(&mut self, message: &[u8], turn: &mut Turn) {
        if let Attack::Silent(Some(recording)) = &self.attack {
            lock(recording).push(message.to_vec());
        }
        if self.heard.len() < HEARD_MAX {
            self.heard.push(message.to_vec());
        }
        let tc = match Message::decode(message) {
            Ok(Message::Proposal(proposal)) => {
                if matches!(self.attack, Attack::TwoVotes) {
                    self.vote_for(proposal.round(), proposal.id(), turn);
                }
                proposal.tc
            }
            Ok(Message::Timeout(timeout)) => timeout.tc,
            _ => None,
        };
        let newer = |tc: &Tc| self.timeouts.last().is_none_or(|last| last.round < tc.round);
        if let Some(tc) = tc.filter(newer) {
            self.timeouts.push(tc);
        }
    }

    /// Says old or foreign messages again.
    fn replay(&mut self, turn: &mut Turn) {
        let source = match &self.attack {
            Attack::Replays => self.heard.clone(),
            Attack::Foreign(recording) => lock(recording).clone(),
            _ => return,
        };
        let first = source.iter().take(2).cloned().collect::<Vec<_>>();
        let drawn = (0..REPLAYS).filter_map(|_| source.get(self.rng.below(source.len() as u64) as usize).cloned());
        for message in first.into_iter().chain(drawn.collect::<Vec<_>>()) {
            turn.broadcast(&message);
        }
    }
}

impl Node for Liar {
    fn start(&mut self, turn: &mut Turn) {
        drop(self.machine.start(turn.now()));
        self.go_on(turn);
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        self.hear(message, turn);
        drop(self.machine.handle(from, message, turn.now()));
        self.go_on(turn);
        if self.rng.below(16) == 0 {
            self.replay(turn);
        }
    }

    fn wake(&mut self, turn: &mut Turn) {
        drop(self.machine.tick(turn.now()));
        self.go_on(turn);
        self.replay(turn);
    }

    fn durable(&mut self, _ticket: u64, _turn: &mut Turn) {}
}
