//! One delegate's voting machine: sans-I/O, persist-before-send.
//!
//! | input | condition | effects |
//! |---|---|---|
//! | `prepare(height, attempt)` | height = tip + 1, attempt > 0, attempt ≥ promised | journal the promise, then a [`Report`] |
//! | `propose(proposal)` | height = tip + 1, previous = tip, its slot's leader signed it, attempt ≥ promised; attempt > 0: a quorum of reports, and the digest of the highest accepted attempt among them | journal the acceptance, then a [`Vote`] |
//! | the same proposal again | already accepted | the same vote again |
//! | `lead(attempt, digest, reports)` | this delegate leads the attempt, and `propose` would accept what it proposes | journal the acceptance, then the [`Proposal`] and a [`Vote`] |
//! | `committed(certificate)` | height = tip + 1, previous = tip, certificate right | journal the new tip |
//!
//! Whatever is refused leaves the state as it was. A vote, report or proposal is held back until its journal record is
//! durable ([`crate::primitives::outbox`]).
//!
//! A report's word alone is worth nothing: what it says was accepted carries the signature of the leader who proposed it
//! ([`Accepted::leader_signature`]), so that a faulty voter cannot make up an acceptance and lead the next leader away from
//! a batch that is certified already. Two such signatures for one attempt prove that its leader is faulty; where they
//! decide, nothing is voted for, because either batch may be certified.

use borsh::{BorshDeserialize, BorshSerialize};

use super::validators::{VALIDATORS_MAX, ValidatorSet, leader};
use super::vote::{Certificate, Slot, Vote};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, hex};
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::outbox::{Effect, Outbox};
use crate::primitives::wire::{self, List, Record};

const CONTEXT_REPORT: &str = "city-chain v1 dpos report";
const CONTEXT_PROPOSAL: &str = "city-chain v1 dpos proposal";

/// What a delegate accepted, and the evidence that it was proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Accepted {
    /// At which attempt.
    pub attempt: u32,
    /// Which batch.
    pub digest: Digest,
    /// The signature of that attempt's leader over [`proposal_message`].
    pub leader_signature: [u8; 64],
}

/// What a leader signs to propose `slot`. The reports are not part of it: they are signed each by its voter.
pub fn proposal_message(slot: &Slot) -> Digest {
    hash::digest(CONTEXT_PROPOSAL, &slot.message())
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
    /// Signs a report for the attempt of `slot`, whose batches do not matter here.
    /// Nothing here remembers what was promised before: a delegate reports by [`Delegate::prepare`].
    pub fn new(key: &SigningKey, slot: &Slot, accepted: Option<Accepted>) -> Result<Self> {
        let Slot { network, epoch, height, attempt, .. } = *slot;
        let mut report = Self { network, epoch, height, attempt, accepted, voter: key.public(), signature: [0; 64] };
        report.signature = key.sign(&report.message()?);
        Ok(report)
    }

    fn message(&self) -> Result<Digest> {
        let encoding = wire::encode(self)?;
        Ok(hash::digest(CONTEXT_REPORT, &encoding[..encoding.len() - 64]))
    }

    /// Checks a report for the leader of `slot`'s attempt: that it is about that attempt, by a delegate of `set`, signed,
    /// and that what it accepted was proposed by the leader of its attempt. Returns where the voter stands in `set`.
    pub fn verify(&self, set: &ValidatorSet, seed: &Digest, slot: &Slot) -> Result<usize> {
        let voter = hex(&self.voter);
        let about = (self.network, self.epoch, self.height, self.attempt);
        let position = set.position(&self.voter);
        let (true, Some(position)) = (about == (slot.network, slot.epoch, slot.height, slot.attempt), position) else {
            return Err(Error::protocol(format!("report: of {voter}: it is not of use for this attempt")));
        };
        remembered::verify(&self.voter, &self.message()?, &self.signature)
            .map_err(|_| Error::verification(format!("report: of {voter}: it is forged")))?;
        if let Some(accepted) = &self.accepted {
            if accepted.attempt >= slot.attempt {
                return Err(Error::protocol(format!(
                    "report: of {voter}: it accepted attempt {} and promises only attempt {}",
                    accepted.attempt, slot.attempt
                )));
            }
            let proposed = Slot { attempt: accepted.attempt, digest: accepted.digest, ..*slot };
            let leader = leader(set, seed, slot.height, accepted.attempt)?;
            remembered::verify(&leader, &proposal_message(&proposed), &accepted.leader_signature).map_err(|_| {
                Error::verification(format!(
                    "report: of {voter}: {} leads attempt {} and never proposed {}",
                    hex(&leader),
                    accepted.attempt,
                    hex(&accepted.digest)
                ))
            })?;
        }
        Ok(position)
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
    /// The leader's signature over [`proposal_message`].
    pub signature: [u8; 64],
}

impl Record for Proposal {
    const TAG: [u8; 4] = *b"CCpr";
    const VERSION: u16 = 1;
    const NAME: &'static str = "proposal";
    const LEN_MAX: usize = VALIDATORS_MAX * 256 + 1024;
}

impl Proposal {
    /// Signs a proposal. Nothing here remembers what was signed before: a delegate leads by [`Delegate::lead`].
    pub fn new(key: &SigningKey, slot: Slot, reports: Vec<Report>) -> Result<Self> {
        let reports = List::new("proposal: reports", reports)?;
        Ok(Self { slot, reports, leader: key.public(), signature: key.sign(&proposal_message(&slot)) })
    }
}

/// What the leader of a later attempt must propose: the batch of the highest accepted attempt, if there is any. Believes
/// the reports ([`Report::verify`], [`Delegate::weigh`]); of two digests at that attempt it names the smaller one.
pub fn choose(reports: &[Report]) -> Option<Digest> {
    let accepted = reports.iter().filter_map(|report| report.accepted);
    accepted.max_by(|a, b| a.attempt.cmp(&b.attempt).then(b.digest.cmp(&a.digest))).map(|accepted| accepted.digest)
}

/// The two digests that the leader of the highest accepted attempt proposed, if it proposed more than one.
fn equivocation(reports: &[Report]) -> Option<(Accepted, Accepted)> {
    let accepted = || reports.iter().filter_map(|report| report.accepted);
    let highest = accepted().max_by_key(|accepted| accepted.attempt)?;
    accepted()
        .find(|other| other.attempt == highest.attempt && other.digest != highest.digest)
        .map(|other| (highest, other))
}

/// What [`Delegate::weigh`] made of some reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed {
    /// The reports that count: right, and one of each voter.
    pub reports: Vec<Report>,
    /// What they ask for; `None` leaves the leader free.
    pub digest: Option<Digest>,
    /// Reports that do not count: position in the input and why.
    pub refused: Vec<(usize, String)>,
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

    fn check(&self) -> Result<()> {
        if self.height == u64::MAX {
            return Err(Error::input(format!("delegate state: after height {} there is none", self.height)));
        }
        if self.accepted.is_some_and(|accepted| accepted.attempt > self.promised) {
            return Err(Error::input("delegate state: it accepted a later attempt than it promised"));
        }
        Ok(())
    }
}

/// What a delegate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saying {
    /// A vote.
    Vote(Vote),
    /// A report.
    Report(Report),
    /// A proposal, for all delegates.
    Proposal(Proposal),
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
        Self::after(key, set, network, seed, 0, genesis)
    }

    /// A delegate at the start of its epoch, which begins after the batch `tip` at `height`.
    pub fn after(
        key: SigningKey,
        set: ValidatorSet,
        network: Digest,
        seed: Digest,
        height: u64,
        tip: Digest,
    ) -> Result<Self> {
        let voter = key.public();
        if set.position(&voter).is_none() {
            return Err(Error::input(format!("delegate: {} is not one of epoch {}", hex(&voter), set.epoch())));
        }
        let state = State { network, epoch: set.epoch(), voter, height, tip, promised: 0, accepted: None };
        state.check()?;
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

    /// The attempt below which nothing is voted for any more at the height after the tip.
    pub fn promised(&self) -> u32 {
        self.state.promised
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

    /// A later leader asks what was accepted, and for the promise to vote for nothing earlier. That it is the leader of the
    /// attempt ([`Delegate::leader`]) who asks is for the caller to check before: whoever may ask can take the earlier
    /// attempts away.
    pub fn prepare(&mut self, height: u64, attempt: u32) -> Result<()> {
        self.next_height("prepare", height)?;
        self.not_promised_away("prepare", attempt)?;
        if attempt == 0 {
            return Err(Error::protocol("prepare: the first attempt needs none"));
        }
        self.outbox.room(2)?;
        let report = Report::new(&self.key, &self.slot(attempt, Digest::default()), self.state.accepted)?;
        let next = State { promised: attempt, ..self.state.clone() };
        self.outbox.push_behind(wire::encode(&next)?, [Saying::Report(report)]);
        self.state = next;
        Ok(())
    }

    /// A leader's proposal. That the batch itself is right is for the caller to check before.
    pub fn propose(&mut self, proposal: &Proposal) -> Result<()> {
        self.verify_proposal(proposal)?;
        self.accept(proposal, None)
    }

    /// Leads `attempt`: proposes `digest` with the reports that [`Delegate::weigh`] let pass (none for attempt 0), and votes
    /// for it. The proposal comes out behind the journal record of its acceptance, so that no crash can make this delegate
    /// propose two batches in one attempt.
    pub fn lead(&mut self, attempt: u32, digest: Digest, reports: Vec<Report>) -> Result<()> {
        let proposal = Proposal::new(&self.key, self.slot(attempt, digest), reports)?;
        self.verify_proposal(&proposal)?;
        self.accept(&proposal, Some(proposal.clone()))
    }

    /// Sorts out the reports for `attempt`: forged, foreign and double ones must not be shown to the others.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the stake needed and had if the quorum is missed; [`Error::Verification`] if the leader
    /// of the deciding attempt signed two proposals.
    pub fn weigh(&self, attempt: u32, reports: &[Report]) -> Result<Weighed> {
        let slot = self.slot(attempt, Digest::default());
        let mut weighed = Weighed { reports: Vec::new(), digest: None, refused: Vec::new() };
        let mut reported = vec![false; self.set.items().len()];
        let mut stake = 0u128;
        for (at, report) in reports.iter().enumerate() {
            match report.verify(&self.set, &self.seed, &slot) {
                Ok(position) if !reported[position] => {
                    reported[position] = true;
                    stake += u128::from(self.set.items()[position].stake);
                    weighed.reports.push(report.clone());
                }
                Ok(_) => weighed.refused.push((at, format!("report: of {}: it is there twice", hex(&report.voter)))),
                Err(error) => weighed.refused.push((at, error.to_string())),
            }
        }
        let needed = self.set.quorum()?;
        if stake < needed {
            let clip = |value: u128| u64::try_from(value).unwrap_or(u64::MAX);
            return Err(Error::unavailable("reports: stake", clip(needed), clip(stake)));
        }
        self.refuse_equivocation(&weighed.reports)?;
        weighed.digest = choose(&weighed.reports);
        Ok(weighed)
    }

    /// What is voted on after the tip.
    fn slot(&self, attempt: u32, digest: Digest) -> Slot {
        let State { network, epoch, height, tip, .. } = self.state;
        Slot { network, epoch, height: height + 1, attempt, previous: tip, digest }
    }

    fn verify_proposal(&self, proposal: &Proposal) -> Result<()> {
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
        remembered::verify(&proposal.leader, &proposal_message(slot), &proposal.signature)
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
        Ok(())
    }

    fn accept(&mut self, proposal: &Proposal, said: Option<Proposal>) -> Result<()> {
        self.outbox.room(3)?;
        let slot = proposal.slot;
        let accepted = Accepted { attempt: slot.attempt, digest: slot.digest, leader_signature: proposal.signature };
        let next = State { promised: slot.attempt, accepted: Some(accepted), ..self.state.clone() };
        let vote = Saying::Vote(Vote::new(&self.key, slot));
        self.outbox.push_behind(wire::encode(&next)?, said.map(Saying::Proposal).into_iter().chain([vote]));
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
            let position = report.verify(&self.set, &self.seed, slot)?;
            if std::mem::replace(&mut reported[position], true) {
                return Err(Error::protocol(format!("proposal: the report of {} is there twice", hex(&report.voter))));
            }
            stake += u128::from(self.set.items()[position].stake);
        }
        let needed = self.set.quorum()?;
        if stake < needed {
            return Err(Error::protocol(format!("proposal: reports of stake {stake}, {needed} are needed")));
        }
        self.refuse_equivocation(&proposal.reports)?;
        match choose(&proposal.reports) {
            Some(digest) if digest != slot.digest => Err(Error::protocol(format!(
                "proposal: of {}, but the reports ask for {}",
                hex(&slot.digest),
                hex(&digest)
            ))),
            _ => Ok(()),
        }
    }

    fn refuse_equivocation(&self, reports: &[Report]) -> Result<()> {
        if let Some((one, other)) = equivocation(reports) {
            return Err(Error::verification(format!(
                "reports: {} signed two proposals for attempt {}, of {} and of {}; either may be certified",
                hex(&self.leader(one.attempt)?),
                one.attempt,
                hex(&one.digest),
                hex(&other.digest)
            )));
        }
        Ok(())
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
