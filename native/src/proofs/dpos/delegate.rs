//! One delegate's voting machine: sans-I/O, persist-before-send.
//!
//! | input | condition | effects |
//! |---|---|---|
//! | `prepare(height, attempt)` | height = tip + 1, attempt > 0, attempt ≥ promised | journal the promise, then a [`Report`] |
//! | `propose(proposal)` | height = tip + 1, previous = tip, its slot's leader signed it, attempt ≥ promised; attempt > 0: a quorum of reports, and the digest of the highest accepted attempt among them | journal the acceptance, then a [`Vote`] |
//! | the same proposal again | already accepted | the same vote again |
//! | `committed(certificate)` | height = tip + 1, previous = tip, certificate right | journal the new tip |
//!
//! Whatever is refused leaves the state as it was. A vote or report is held back until its journal record is durable
//! ([`crate::primitives::outbox`]).

use borsh::{BorshDeserialize, BorshSerialize};

use super::validators::{VALIDATORS_MAX, ValidatorSet, leader};
use super::vote::{Certificate, Slot, Vote};
use crate::crypto::ed25519::{self, SigningKey};
use crate::crypto::hash::{self, Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::outbox::{Effect, Outbox};
use crate::primitives::wire::{self, List, Record};

const CONTEXT_REPORT: &str = "city-chain v1 dpos report";
const CONTEXT_PROPOSAL: &str = "city-chain v1 dpos proposal";

/// What a delegate accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Accepted {
    /// At which attempt.
    pub attempt: u32,
    /// Which batch.
    pub digest: Digest,
}

/// A delegate's promise to the leader of a later attempt, and what it accepted before.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Report {
    /// The network.
    pub network: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The place in the ledger.
    pub height: u64,
    /// The attempt that the promise is for: no vote for an earlier one will follow.
    pub attempt: u32,
    /// What was accepted at that height before.
    pub accepted: Option<Accepted>,
    /// Who reports.
    pub voter: [u8; 32],
    /// The reporter's signature.
    pub signature: [u8; 64],
}

impl Record for Report {
    const TAG: [u8; 4] = *b"CCrt";
    const VERSION: u16 = 1;
    const NAME: &'static str = "report";
    const LEN_MAX: usize = 512;
}

impl Report {
    fn message(&self) -> Result<Digest> {
        let encoding = wire::encode(self)?;
        Ok(hash::digest(CONTEXT_REPORT, &encoding[..encoding.len() - 64]))
    }
}

/// A leader's signed proposal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// What to vote for.
    pub slot: Slot,
    /// For a later attempt: a quorum of reports.
    pub reports: List<Report, VALIDATORS_MAX>,
    /// Who leads.
    pub leader: [u8; 32],
    /// The leader's signature.
    pub signature: [u8; 64],
}

impl Record for Proposal {
    const TAG: [u8; 4] = *b"CCpr";
    const VERSION: u16 = 1;
    const NAME: &'static str = "proposal";
    const LEN_MAX: usize = VALIDATORS_MAX * 256 + 1024;
}

impl Proposal {
    /// Signs a proposal.
    pub fn new(key: &SigningKey, slot: Slot, reports: Vec<Report>) -> Result<Self> {
        let reports = List::new("proposal: reports", reports)?;
        let mut proposal = Self { slot, reports, leader: key.public(), signature: [0; 64] };
        proposal.signature = key.sign(&proposal.message()?);
        Ok(proposal)
    }

    fn message(&self) -> Result<Digest> {
        let encoding = wire::encode(self)?;
        Ok(hash::digest(CONTEXT_PROPOSAL, &encoding[..encoding.len() - 64]))
    }
}

/// What the leader of a later attempt must propose: the batch of the highest accepted attempt, if there is any.
pub fn choose(reports: &[Report]) -> Option<Digest> {
    reports.iter().filter_map(|report| report.accepted).max_by_key(|accepted| accepted.attempt).map(|a| a.digest)
}

/// What survives a crash.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct State {
    network: Digest,
    epoch: u64,
    voter: [u8; 32],
    height: u64,
    tip: Digest,
    promised: u32,
    accepted: Option<Accepted>,
}

impl Record for State {
    const TAG: [u8; 4] = *b"CCds";
    const VERSION: u16 = 1;
    const NAME: &'static str = "delegate state";
    const LEN_MAX: usize = 512;
}

/// What a delegate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saying {
    /// A vote.
    Vote(Vote),
    /// A report.
    Report(Report),
}

/// The voting machine. Not `Clone`: two copies could vote against each other.
pub struct Delegate {
    key: SigningKey,
    set: ValidatorSet,
    seed: Digest,
    state: State,
    outbox: Outbox<Saying>,
}

impl Delegate {
    /// A delegate at the start of the ledger, whose tip is `genesis` at height 0.
    pub fn new(key: SigningKey, set: ValidatorSet, network: Digest, seed: Digest, genesis: Digest) -> Result<Self> {
        let voter = key.public();
        if set.position(&voter).is_none() {
            return Err(Error::input(format!("delegate: {} is not one of epoch {}", hex(&voter), set.epoch())));
        }
        let state = State { network, epoch: set.epoch(), voter, height: 0, tip: genesis, promised: 0, accepted: None };
        Ok(Self { key, set, seed, state, outbox: Outbox::default() })
    }

    /// A delegate as it was when `snapshot` (the last durable journal record) was written.
    pub fn restore(key: SigningKey, set: ValidatorSet, network: Digest, seed: Digest, snapshot: &[u8]) -> Result<Self> {
        let state: State = wire::decode(snapshot)?;
        if (state.network, state.epoch, state.voter) != (network, set.epoch(), key.public()) {
            return Err(Error::input("delegate: the journal record is another delegate's or of another epoch"));
        }
        let mut delegate = Self::new(key, set, network, seed, state.tip)?;
        delegate.state = state;
        Ok(delegate)
    }

    /// Everything that must survive a crash; every journal record is such a snapshot.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        wire::encode(&self.state)
    }

    /// Height and digest of the last committed batch.
    pub fn tip(&self) -> (u64, Digest) {
        (self.state.height, self.state.tip)
    }

    /// The digest accepted at the height after the tip, if any.
    pub fn accepted(&self) -> Option<Digest> {
        self.state.accepted.map(|accepted| accepted.digest)
    }

    /// Who leads `attempt` at the height after the tip.
    pub fn leader(&self, attempt: u32) -> Result<[u8; 32]> {
        leader(&self.set, &self.seed, self.state.height + 1, attempt)
    }

    /// Takes the effects that may be carried out now.
    pub fn drain(&mut self) -> Vec<Effect<Saying>> {
        self.outbox.drain()
    }

    /// The journal record of `ticket` is durable.
    pub fn durable(&mut self, ticket: u64) -> Result<()> {
        self.outbox.durable(ticket)
    }

    fn next_height(&self, what: &str, height: u64) -> Result<()> {
        if height != self.state.height + 1 {
            return Err(Error::protocol(format!(
                "{what}: at height {height}, but this delegate's tip is at height {}",
                self.state.height
            )));
        }
        Ok(())
    }

    fn not_promised_away(&self, what: &str, attempt: u32) -> Result<()> {
        if attempt < self.state.promised {
            return Err(Error::protocol(format!(
                "{what}: attempt {attempt}, but attempt {} has been promised",
                self.state.promised
            )));
        }
        Ok(())
    }

    /// A later leader asks what was accepted, and for the promise to vote for nothing earlier.
    pub fn prepare(&mut self, height: u64, attempt: u32) -> Result<()> {
        self.next_height("prepare", height)?;
        self.not_promised_away("prepare", attempt)?;
        if attempt == 0 {
            return Err(Error::protocol("prepare: the first attempt needs none"));
        }
        self.outbox.room(2)?;
        let mut report = Report {
            network: self.state.network,
            epoch: self.state.epoch,
            height,
            attempt,
            accepted: self.state.accepted,
            voter: self.state.voter,
            signature: [0; 64],
        };
        report.signature = self.key.sign(&report.message()?);
        let next = State { promised: attempt, ..self.state.clone() };
        self.outbox.push_behind(wire::encode(&next)?, [Saying::Report(report)]);
        self.state = next;
        Ok(())
    }

    /// A leader's proposal. That the batch itself is right is for the caller to check before.
    pub fn propose(&mut self, proposal: &Proposal) -> Result<()> {
        let slot = &proposal.slot;
        if (slot.network, slot.epoch) != (self.state.network, self.state.epoch) {
            return Err(Error::protocol("proposal: of another network or epoch"));
        }
        self.next_height("proposal", slot.height)?;
        if slot.previous != self.state.tip {
            return Err(Error::protocol(format!(
                "proposal: follows {}, but this delegate's tip is {}",
                hex(&slot.previous),
                hex(&self.state.tip)
            )));
        }
        self.not_promised_away("proposal", slot.attempt)?;
        let due = self.leader(slot.attempt)?;
        if proposal.leader != due {
            return Err(Error::protocol(format!(
                "proposal: by {}, but {} leads attempt {} at height {}",
                hex(&proposal.leader),
                hex(&due),
                slot.attempt,
                slot.height
            )));
        }
        ed25519::verify(&proposal.leader, &proposal.message()?, &proposal.signature)
            .map_err(|_| Error::verification("proposal: the leader's signature is wrong"))?;
        self.verify_reports(proposal)?;
        if let Some(accepted) = self.state.accepted
            && accepted.attempt == slot.attempt
            && accepted.digest != slot.digest
        {
            return Err(Error::protocol(format!(
                "proposal: the leader already proposed {} for attempt {}",
                hex(&accepted.digest),
                slot.attempt
            )));
        }
        self.outbox.room(2)?;
        let accepted = Some(Accepted { attempt: slot.attempt, digest: slot.digest });
        let next = State { promised: slot.attempt, accepted, ..self.state.clone() };
        self.outbox.push_behind(wire::encode(&next)?, [Saying::Vote(Vote::new(&self.key, *slot))]);
        self.state = next;
        Ok(())
    }

    fn verify_reports(&self, proposal: &Proposal) -> Result<()> {
        let slot = &proposal.slot;
        if slot.attempt == 0 {
            return if proposal.reports.is_empty() {
                Ok(())
            } else {
                Err(Error::protocol("proposal: the first attempt carries no reports"))
            };
        }
        let mut reported = vec![false; self.set.items().len()];
        let mut stake = 0u128;
        for report in proposal.reports.iter() {
            let about = (report.network, report.epoch, report.height, report.attempt);
            let position = self.set.position(&report.voter).filter(|position| !reported[*position]);
            let (true, Some(position)) = (about == (slot.network, slot.epoch, slot.height, slot.attempt), position)
            else {
                return Err(Error::protocol(format!("proposal: the report of {} is not of use", hex(&report.voter))));
            };
            if report.accepted.is_some_and(|accepted| accepted.attempt >= slot.attempt) {
                return Err(Error::protocol("proposal: a report accepts a later attempt than it promises"));
            }
            ed25519::verify(&report.voter, &report.message()?, &report.signature).map_err(|_| {
                Error::verification(format!("proposal: the report of {} is forged", hex(&report.voter)))
            })?;
            reported[position] = true;
            stake += u128::from(self.set.items()[position].stake);
        }
        let needed = self.set.quorum()?;
        if stake < needed {
            return Err(Error::protocol(format!("proposal: reports of stake {stake}, {needed} are needed")));
        }
        match choose(&proposal.reports) {
            Some(digest) if digest != slot.digest => Err(Error::protocol(format!(
                "proposal: of {}, but the reports ask for {}",
                hex(&slot.digest),
                hex(&digest)
            ))),
            _ => Ok(()),
        }
    }

    /// The batch after the tip is committed: the tip moves on.
    pub fn committed(&mut self, certificate: &Certificate) -> Result<()> {
        let slot = &certificate.slot;
        if slot.network != self.state.network {
            return Err(Error::protocol("certificate: of another network"));
        }
        self.next_height("certificate", slot.height)?;
        if slot.previous != self.state.tip {
            return Err(Error::protocol("certificate: it does not follow this delegate's tip"));
        }
        certificate.verify(&self.set)?;
        self.outbox.room(1)?;
        let next = State { height: slot.height, tip: slot.digest, promised: 0, accepted: None, ..self.state.clone() };
        self.outbox.push_behind(wire::encode(&next)?, []);
        self.state = next;
        Ok(())
    }
}
