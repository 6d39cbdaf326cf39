//! The common subset as a pure state.
//!
//! | rule | condition | what follows |
//! |---|---|---|
//! | S1 | a proposal of a proposer, the first | ask whether it is right; if it is, echo it, and no other of that proposer |
//! | S2 | a quorum of echoes of one's own proposal | tell everybody: the proposal is final |
//! | S3 | a proposal is here and final | 1 into the agreement on it |
//! | S4 | agreements on the proposals of a quorum have decided 1 | 0 into all that have no input |
//! | S5 | an agreement decided 1, and its proposal is not here | ask everybody for it |
//! | S6 | all agreements have decided and all that is in is here | the outcome |
//! | S7 | what the driver made of the outcome | sign it, once, and tell everybody |
//! | S8 | a quorum of such signatures over one digest | the certificate |

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::super::binary::{Binary, Outcome};
use super::super::certificate::{Endorsement, Signatures};
use super::super::journal::{Inputs, Measured};
use super::super::message::{PAYLOAD_MAX, Statement, payload_digest};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::committee::{Committee, Tally};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{Bytes, Record};

/// What a machine was told, checked.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(in super::super) enum Input {
    /// With the proposer's own echo.
    Propose {
        payload: Bytes<PAYLOAD_MAX>,
        echo: [u8; 64],
    },
    Initial {
        proposer: u16,
        payload: Bytes<PAYLOAD_MAX>,
    },
    Validated {
        proposer: u16,
        good: bool,
    },
    Echo {
        sender: u16,
        signature: [u8; 64],
    },
    Final {
        proposer: u16,
        digest: Digest,
        signatures: Signatures,
    },
    Delivery {
        proposer: u16,
        payload: Bytes<PAYLOAD_MAX>,
        signatures: Signatures,
    },
    Heard {
        sender: u16,
        proposer: u16,
        statement: Statement,
    },
    Coin {
        proposer: u16,
        round: u32,
        bit: bool,
    },
    Confirm {
        digest: Digest,
        signature: [u8; 64],
    },
    Confirmation {
        sender: u16,
        digest: Digest,
        signature: [u8; 64],
    },
    Confirmed {
        digest: Digest,
        signatures: Signatures,
    },
}

impl Measured for Input {
    fn size(&self) -> usize {
        let inner = match self {
            Self::Propose { payload, .. } | Self::Initial { payload, .. } => payload.len(),
            Self::Final { signatures, .. } | Self::Confirmed { signatures, .. } => signatures.items().len() * 66,
            Self::Delivery { payload, signatures, .. } => payload.len() + signatures.items().len() * 66,
            _ => 0,
        };
        size_of::<Self>() + inner
    }
}

impl Record for Inputs<Input> {
    const TAG: [u8; 4] = *b"CCas";
    const VERSION: u16 = 1;
    const NAME: &'static str = "subset journal";
    const LEN_MAX: usize = 256 << 20;
}

/// What follows from an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Initial,
    Echo { proposer: u16, digest: Digest },
    Final { proposer: u16 },
    Request { proposers: Vec<u16> },
    Confirm,
    Confirmed,
    Validate { proposer: u16 },
    Output,
    Of { proposer: u16, outcome: Outcome },
}

/// One proposer's proposal, and the agreement on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    pub(super) payload: Option<(Digest, Vec<u8>)>,
    /// What the driver said of it.
    verdict: Option<bool>,
    /// What was echoed: there is no second.
    pub(super) echoed: Option<Digest>,
    pub(super) proof: Option<(Digest, Signatures)>,
    pub(super) binary: Binary,
    requested: bool,
}

impl Proposal {
    /// Whether it is here and final.
    pub(super) fn is_in(&self) -> bool {
        match (&self.payload, &self.proof) {
            (Some((payload, _)), Some((proof, _))) => payload == proof,
            _ => false,
        }
    }

    /// Whether it will come out, and is not here.
    pub(super) fn is_missing(&self) -> bool {
        self.binary.decided() == Some(true) && !self.is_in()
    }
}

/// The state of one party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    me: u16,
    pub(super) proposals: Vec<Proposal>,
    /// The echoes of this party's own proposal.
    echoes: Vec<Endorsement>,
    echoed_by: Tally,
    /// What each party made of the outcome.
    confirmations: BTreeMap<u16, (Digest, [u8; 64])>,
    pub(super) confirmed: Option<(Digest, Signatures)>,
    zeros: bool,
    pub(super) complete: bool,
}

impl State {
    pub(super) fn new(me: u16, committee: &Committee) -> Self {
        let binary = Binary::new(me);
        let proposal = Proposal { payload: None, verdict: None, echoed: None, proof: None, binary, requested: false };
        let (echoes, echoed_by, confirmations) = (Vec::new(), Tally::default(), BTreeMap::new());
        let proposals = vec![proposal; committee.count()];
        Self { me, proposals, echoes, echoed_by, confirmations, confirmed: None, zeros: false, complete: false }
    }

    pub(super) fn proposal(&self, proposer: u16) -> Result<&Proposal> {
        let none = || Error::protocol(format!("subset: there is no proposer {proposer}"));
        self.proposals.get(usize::from(proposer)).ok_or_else(none)
    }

    pub(super) fn own(&self) -> Result<&Proposal> {
        self.proposal(self.me)
    }

    /// What this party made of the outcome.
    pub(super) fn confirmation(&self) -> Option<&(Digest, [u8; 64])> {
        self.confirmations.get(&self.me)
    }

    /// Whether an input is new; `false` if it changes nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn admits(&self, input: &Input) -> Result<bool> {
        match input {
            Input::Propose { payload, .. } => self.admits_propose(payload),
            Input::Initial { proposer, payload } => self.admits_initial(*proposer, payload),
            Input::Validated { proposer, good } => self.admits_verdict(*proposer, *good),
            Input::Echo { sender, .. } => match self.own()? {
                Proposal { payload: None, .. } => Err(Error::protocol("subset: an echo, and nothing was proposed")),
                own => Ok(own.proof.is_none() && !self.echoed_by.has(*sender)),
            },
            Input::Final { proposer, digest, .. } => self.admits_proof(*proposer, digest),
            Input::Delivery { proposer, payload, .. } => {
                let proposal = self.proposal(*proposer)?;
                if !proposal.is_in() {
                    self.admits_proof(*proposer, &payload_digest(payload))?;
                }
                Ok(!proposal.is_in())
            }
            Input::Heard { sender, proposer, statement } => self.proposal(*proposer)?.binary.admits(*sender, statement),
            Input::Coin { proposer, round, bit } => self.proposal(*proposer)?.binary.admits_coin(*round, *bit),
            Input::Confirm { digest, .. } => match self.confirmation() {
                Some((known, _)) if known == digest => Ok(false),
                Some((known, _)) => Err(Error::input(format!("subset: {} was confirmed before", hex(known)))),
                None if !self.complete => Err(Error::input("subset: there is no outcome to confirm")),
                None => Ok(true),
            },
            Input::Confirmation { sender, digest, .. } => match self.confirmations.get(sender) {
                Some((known, _)) if known != digest => {
                    Err(Error::protocol(format!("subset: party {sender} confirmed another digest before")))
                }
                known => Ok(known.is_none() && self.confirmed.is_none()),
            },
            Input::Confirmed { .. } => Ok(self.confirmed.is_none()),
        }
    }

    fn admits_propose(&self, payload: &[u8]) -> Result<bool> {
        match &self.own()?.payload {
            Some((_, known)) if known == payload => Ok(false),
            Some(_) => Err(Error::input("subset: another payload was proposed before")),
            None => Ok(true),
        }
    }

    fn admits_initial(&self, proposer: u16, payload: &[u8]) -> Result<bool> {
        let proposal = self.proposal(proposer)?;
        if let Some((known, _)) = &proposal.payload {
            if mutant!("abba.echo_twice") {
                return Ok(*known != payload_digest(payload));
            }
            if *known != payload_digest(payload) {
                return Err(Error::protocol(format!("subset: a second proposal of party {proposer}")));
            }
            return Ok(false);
        }
        match &proposal.proof {
            Some((known, _)) if *known != payload_digest(payload) => {
                Err(Error::protocol(format!("subset: another proposal of party {proposer} is final")))
            }
            _ => Ok(true),
        }
    }

    fn admits_verdict(&self, proposer: u16, good: bool) -> Result<bool> {
        let proposal = self.proposals.get(usize::from(proposer)).filter(|proposal| proposal.payload.is_some());
        match proposal.map(|proposal| proposal.verdict) {
            None => Err(Error::input(format!("subset: there is no proposal of party {proposer} to judge"))),
            Some(Some(known)) if known != good => {
                Err(Error::input(format!("subset: the proposal of party {proposer} was judged otherwise before")))
            }
            Some(known) => Ok(known.is_none()),
        }
    }

    fn admits_proof(&self, proposer: u16, digest: &Digest) -> Result<bool> {
        match &self.proposal(proposer)?.proof {
            Some((known, _)) if known != digest => {
                Err(Error::protocol(format!("subset: another proposal of party {proposer} is final")))
            }
            known => Ok(known.is_none()),
        }
    }

    /// Takes an input that it admits.
    pub(super) fn apply(&mut self, committee: &Committee, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.admits(&input).is_ok_and(|new| new) {
            return effects;
        }
        match input {
            Input::Propose { payload, echo } => {
                self.receive(self.me, payload.into_vec());
                effects.push(Effect::Initial);
                self.judge(self.me, true);
                self.echo(committee, self.me, echo, &mut effects);
            }
            Input::Initial { proposer, payload } => {
                self.receive(proposer, payload.into_vec());
                effects.extend(self.to_judge(proposer).then_some(Effect::Validate { proposer }));
            }
            Input::Validated { proposer, good } => {
                effects.extend(self.judge(proposer, good).map(|digest| Effect::Echo { proposer, digest }));
            }
            Input::Echo { sender, signature } => self.echo(committee, sender, signature, &mut effects),
            Input::Final { proposer, digest, signatures } => self.prove(proposer, digest, signatures),
            Input::Delivery { proposer, payload, signatures } => {
                self.prove(proposer, payload_digest(&payload), signatures);
                self.receive(proposer, payload.into_vec());
            }
            Input::Heard { sender, proposer, statement } => {
                let outcomes = self.proposals[usize::from(proposer)].binary.hear(committee, sender, statement);
                follow(proposer, outcomes, &mut effects);
            }
            Input::Coin { proposer, round, bit } => {
                let outcomes = self.proposals[usize::from(proposer)].binary.coin(committee, round, bit);
                follow(proposer, outcomes, &mut effects);
            }
            Input::Confirm { digest, signature } => {
                self.confirmations.insert(self.me, (digest, signature));
                effects.push(Effect::Confirm);
                self.certify(committee, &mut effects);
            }
            Input::Confirmation { sender, digest, signature } => {
                self.confirmations.insert(sender, (digest, signature));
                self.certify(committee, &mut effects);
            }
            Input::Confirmed { digest, signatures } => {
                self.confirmed = Some((digest, signatures));
                effects.push(Effect::Confirmed);
            }
        }
        self.settle(committee, &mut effects);
        effects
    }

    fn receive(&mut self, proposer: u16, payload: Vec<u8>) {
        let proposal = &mut self.proposals[usize::from(proposer)];
        proposal.payload = Some((payload_digest(&payload), payload));
        proposal.verdict = None;
    }

    fn prove(&mut self, proposer: u16, digest: Digest, signatures: Signatures) {
        let proposal = &mut self.proposals[usize::from(proposer)];
        // What a quorum echoed is the proposal; another that its proposer showed here is none.
        if proposal.payload.as_ref().is_some_and(|(known, _)| *known != digest) {
            proposal.payload = None;
        }
        proposal.proof.get_or_insert((digest, signatures));
    }

    /// Whether the driver must say if a proposal is right.
    pub(super) fn to_judge(&self, proposer: u16) -> bool {
        let proposal = &self.proposals[usize::from(proposer)];
        proposal.payload.is_some() && proposal.verdict.is_none() && proposal.proof.is_none()
    }

    /// S1: what is echoed, if anything.
    fn judge(&mut self, proposer: u16, good: bool) -> Option<Digest> {
        let proposal = &mut self.proposals[usize::from(proposer)];
        proposal.verdict = Some(good);
        let (digest, _) =
            proposal.payload.as_ref().filter(|_| good && (proposal.echoed.is_none() || mutant!("abba.echo_twice")))?;
        proposal.echoed = Some(*digest);
        proposal.echoed
    }

    /// S2.
    fn echo(&mut self, committee: &Committee, sender: u16, signature: [u8; 64], effects: &mut Vec<Effect>) {
        if !self.echoed_by.add(committee, sender) {
            return;
        }
        self.echoes.push(Endorsement { party: sender, signature });
        let own = &mut self.proposals[usize::from(self.me)];
        if let (true, Some((digest, _))) = (self.echoed_by.is_quorum(committee), &own.payload)
            && let Ok(signatures) = Signatures::new(std::mem::take(&mut self.echoes))
        {
            own.proof = Some((*digest, signatures));
            effects.push(Effect::Final { proposer: self.me });
        }
    }

    /// S8.
    fn certify(&mut self, committee: &Committee, effects: &mut Vec<Effect>) {
        if self.confirmed.is_some() {
            return;
        }
        for digest in self.confirmations.values().map(|(digest, _)| *digest) {
            let same = self.confirmations.iter().filter(|(_, (other, _))| *other == digest);
            let mut tally = Tally::default();
            same.clone().for_each(|(party, _)| {
                tally.add(committee, *party);
            });
            if tally.is_quorum(committee) {
                let endorse = |(party, (_, signature)): (&u16, &(Digest, [u8; 64]))| Endorsement {
                    party: *party,
                    signature: *signature,
                };
                if let Ok(signatures) = Signatures::new(same.map(endorse).collect()) {
                    self.confirmed = Some((digest, signatures));
                    effects.push(Effect::Confirmed);
                }
                return;
            }
        }
    }

    /// S3 to S6.
    fn settle(&mut self, committee: &Committee, effects: &mut Vec<Effect>) {
        loop {
            let before = effects.len();
            for (proposer, proposal) in (0..).zip(&mut self.proposals) {
                if !proposal.binary.started() && (self.zeros || proposal.is_in()) {
                    let bit = proposal.is_in();
                    follow(proposer, proposal.binary.start(committee, bit), effects);
                }
            }
            if !self.zeros {
                let mut ones = Tally::default();
                for (proposer, _) in (0..).zip(&self.proposals).filter(|(_, of)| of.binary.decided() == Some(true)) {
                    ones.add(committee, proposer);
                }
                let enough = ones.is_quorum(committee) || (ones.weight() > 0 && mutant!("abba.zeros_early"));
                self.zeros = enough;
                if enough {
                    continue;
                }
            }
            if effects.len() == before {
                break;
            }
        }
        let mut wanted = Vec::new();
        for (proposer, proposal) in (0..).zip(&mut self.proposals) {
            if proposal.is_missing() && !proposal.requested {
                proposal.requested = true;
                wanted.push(proposer);
            }
        }
        if !wanted.is_empty() {
            effects.push(Effect::Request { proposers: wanted });
        }
        let settled = |proposal: &Proposal| proposal.binary.decided().is_some() && !proposal.is_missing();
        if !self.complete && self.proposals.iter().all(settled) {
            self.complete = true;
            effects.push(Effect::Output);
        }
    }

    /// What has come out.
    pub(super) fn accepted(&self) -> Vec<(u16, Vec<u8>)> {
        let chosen = (0..).zip(&self.proposals).filter(|(_, proposal)| proposal.binary.decided() == Some(true));
        chosen.filter_map(|(proposer, of)| Some((proposer, of.payload.as_ref()?.1.clone()))).collect()
    }
}

fn follow(proposer: u16, outcomes: Vec<Outcome>, effects: &mut Vec<Effect>) {
    effects.extend(outcomes.into_iter().map(|outcome| Effect::Of { proposer, outcome }));
}
