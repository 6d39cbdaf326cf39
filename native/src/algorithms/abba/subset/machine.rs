//! The common subset as a machine.

use std::collections::BTreeSet;

use super::super::Instance;
use super::super::binary::Outcome;
use super::super::certificate::{Certificate, confirm, confirm_message};
use super::super::journal::Journal;
use super::super::machine::{place, sender_of};
use super::super::message::{
    Body, Message, STATEMENTS_MAX, Statement, echo_message, initial_message, payload_digest, request_message,
    statements_message,
};
use super::state::{Effect, Input, State};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::Digest;
use crate::crypto::remembered;
use crate::error::{Error, Result};
use crate::primitives::committee::Committee;
use crate::primitives::machine::{Action, Machine};
use crate::primitives::outbox;
use crate::primitives::wire::{self, Bytes};

/// What happens in the making of a common subset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubsetEvent {
    /// The coin of a round of the agreement on a proposer's proposal is needed ([`Subset::coin_result`]). No party may show
    /// its share before it is asked for.
    NeedCoin {
        /// Whose proposal.
        proposer: u16,
        /// The round.
        round: u32,
    },
    /// Is this a proposal that may come out? Tell ([`Subset::payload_result`]).
    ValidatePayload {
        /// Whose.
        proposer: u16,
        /// The proposal.
        payload: Vec<u8>,
    },
    /// The outcome, the same for all: proposals by ascending place, of a quorum at least. Tell what was made of it
    /// ([`Subset::confirm`]).
    Output {
        /// Proposers and their proposals.
        accepted: Vec<(u16, Vec<u8>)>,
    },
    /// A quorum made the same of the outcome.
    Confirmed(Certificate),
    /// A round was entered that a fair coin leads to once in 2^120 agreements: the coin is broken.
    Alarm {
        /// Whose proposal it is about.
        proposer: u16,
        /// The round.
        round: u32,
    },
}

/// The making of one common subset. Not `Clone`: two copies could contradict each other.
///
/// | input | condition | what comes of it |
/// |---|---|---|
/// | `input(payload)` | at most [`super::super::PAYLOAD_MAX`] bytes, once | this party's proposal goes out |
/// | `payload_result(proposer, good)` | the event asked | an echo, if it is good |
/// | `coin_result(proposer, round, bit)` | the event asked | the round ends |
/// | `handle(sender, message)` | signed, new | the rules of the common subset |
/// | `confirm(digest)` | after the outcome, once | a signature that makes a [`Certificate`] with those of others |
/// | `resend()` | | everything that is still needed goes out again; others may ask again for proposals |
pub struct Subset {
    instance: Instance,
    scope: Digest,
    committee: Committee,
    key: SigningKey,
    me: u16,
    state: State,
    journal: Journal<Input, SubsetEvent>,
    /// Statements that go out with the next drain: one message and one signature for all.
    unsaid: Vec<(u16, Statement)>,
    /// (requester, proposer) of what was delivered since the last [`Self::resend`].
    delivered: BTreeSet<(u16, u16)>,
}

impl Subset {
    /// The machine of the holder of `key`.
    ///
    /// # Errors
    /// [`Error::Input`] if the key is not of the committee.
    pub fn new(instance: Instance, committee: Committee, key: SigningKey) -> Result<Self> {
        let me = place(&committee, &key)?;
        let scope = instance.scope(&committee);
        let (state, journal) = (State::new(me, &committee), Journal::new(scope, me));
        Ok(Self { instance, scope, committee, key, me, state, journal, unsaid: Vec::new(), delivered: BTreeSet::new() })
    }

    /// The machine as it was when the last of `records` (in order; the first may be a [`Self::snapshot`]) was written. The
    /// events that its driver may have lost come out again. Call [`Self::resend`] when the others can hear.
    ///
    /// # Errors
    /// [`Error::Input`] if the records are not this machine's, or one is missing.
    pub fn restore(instance: Instance, committee: Committee, key: SigningKey, records: &[Vec<u8>]) -> Result<Self> {
        let mut machine = Self::new(instance, committee, key)?;
        for input in machine.journal.read(records)? {
            machine.state.apply(&machine.committee, input);
        }
        let mut effects = Vec::new();
        for (proposer, proposal) in (0..).zip(&machine.state.proposals) {
            effects.extend(machine.state.to_judge(proposer).then_some(Effect::Validate { proposer }));
            let asked = proposal.binary.asked();
            effects.extend(asked.map(|round| Effect::Of { proposer, outcome: Outcome::NeedCoin(round) }));
        }
        machine.follow(effects)?;
        let done = [(machine.state.complete, Effect::Output), (machine.state.confirmed.is_some(), Effect::Confirmed)];
        let done = done.into_iter().filter(|(is, _)| *is).map(|(_, effect)| effect);
        let events: Result<Vec<_>> = done.filter_map(|effect| machine.event(effect).transpose()).collect();
        machine.journal.release(events?.into_iter().map(Action::Event).collect())?;
        Ok(machine)
    }

    /// Everything that must survive a crash, as one record that stands for all before it.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too large to be written.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        self.journal.snapshot()
    }

    /// Proposes; the same again changes nothing. That the proposal is right is for the caller to know.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too long, or another was proposed before; [`Error::Unavailable`] if too many effects wait
    /// to be drained.
    pub fn input(&mut self, payload: Vec<u8>) -> Result<()> {
        let echo = self.key.sign(&echo_message(&self.scope, self.me, &payload_digest(&payload)));
        self.take(Input::Propose { payload: Bytes::new("subset: payload", payload)?, echo }).map(drop)
    }

    /// Tells whether a proposal may come out; the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no such proposal, or it was judged otherwise before; [`Error::Unavailable`] if too many
    /// effects wait to be drained.
    pub fn payload_result(&mut self, proposer: u16, good: bool) -> Result<()> {
        self.take(Input::Validated { proposer, good }).map(drop)
    }

    /// Tells what a coin shows; the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if the coin was not asked for or has shown the other side; [`Error::Protocol`] if there is no such
    /// proposer; [`Error::Unavailable`] if too many effects wait to be drained.
    pub fn coin_result(&mut self, proposer: u16, round: u32, bit: bool) -> Result<()> {
        self.take(Input::Coin { proposer, round, bit }).map(drop)
    }

    /// Signs what the driver made of the outcome; the same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if there is no outcome, or another digest was confirmed; [`Error::Unavailable`] if too many effects
    /// wait to be drained.
    pub fn confirm(&mut self, digest: Digest) -> Result<()> {
        self.take(Input::Confirm { digest, signature: confirm(&self.key, &self.scope, &digest) }).map(drop)
    }

    /// Says again all that was said and somebody may still need, and asks again for what is missing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if too many effects wait to be drained.
    pub fn resend(&mut self) -> Result<()> {
        let statements: Vec<(u16, Statement)> = (0..)
            .zip(&self.state.proposals)
            .flat_map(|(proposer, of)| of.binary.said().into_iter().map(move |said| (proposer, said)))
            .collect();
        self.journal.room(self.committee.count() + 8 + statements.len() / STATEMENTS_MAX)?;
        let mut bodies = Vec::new();
        let own = self.state.own()?;
        match (&own.payload, &own.proof) {
            (_, Some((digest, signatures))) => {
                bodies.push(Body::Final { proposer: self.me, digest: *digest, signatures: signatures.clone() });
            }
            (Some((_, payload)), None) => bodies.push(Message::initial(&self.key, &self.scope, payload.clone())?),
            _ => {}
        }
        for chunk in statements.chunks(STATEMENTS_MAX) {
            bodies.push(Message::statements(&self.key, &self.scope, chunk.to_vec())?);
        }
        let needed = |(_, of): &(u16, &super::state::Proposal)| of.is_missing() || (of.proof.is_some() && !of.is_in());
        let wanted = (0..).zip(&self.state.proposals).filter(needed).map(|(proposer, _)| proposer);
        let wanted: Vec<u16> = wanted.filter(|_| !self.state.complete).collect();
        if !wanted.is_empty() {
            bodies.push(Message::request(&self.key, &self.scope, wanted)?);
        }
        match (&self.state.confirmed, self.state.confirmation()) {
            (Some((digest, signatures)), _) => {
                bodies.push(Body::Confirmed { digest: *digest, signatures: signatures.clone() });
            }
            (None, Some((digest, signature))) => {
                bodies.push(Body::Confirm { digest: *digest, signature: *signature });
            }
            _ => {}
        }
        let mut actions = bodies.into_iter().map(|body| self.broadcast(body)).collect::<Result<Vec<_>>>()?;
        for (proposer, of) in (0..).zip(&self.state.proposals).filter(|(proposer, _)| *proposer != self.me) {
            if let (Some(digest), None) = (of.echoed, &of.proof) {
                let echo = Message::echo(&self.key, &self.scope, proposer, digest);
                actions.push(self.send(proposer, echo)?);
            }
        }
        self.delivered.clear();
        self.unsaid.clear();
        self.journal.release(actions)
    }

    /// This party's place.
    pub fn me(&self) -> u16 {
        self.me
    }

    /// The outcome, if it is there.
    pub fn output(&self) -> Option<Vec<(u16, Vec<u8>)>> {
        self.state.complete.then(|| self.state.accepted())
    }

    /// What has been decided of each proposer's proposal.
    pub fn decided(&self) -> Vec<Option<bool>> {
        self.state.proposals.iter().map(|proposal| proposal.binary.decided()).collect()
    }

    /// The round of the agreement on each proposer's proposal; `None` where it has not begun.
    pub fn rounds(&self) -> Vec<Option<u32>> {
        self.state.proposals.iter().map(|proposal| proposal.binary.round()).collect()
    }

    /// The certificate, if there is one.
    pub fn certificate(&self) -> Option<Certificate> {
        let (digest, signatures) = self.state.confirmed.as_ref()?;
        let Instance { chain, epoch, name } = self.instance;
        Some(Certificate { chain, epoch, instance: name, digest: *digest, signatures: signatures.clone() })
    }

    /// Takes an input, if it is new, and lets out what follows.
    fn take(&mut self, input: Input) -> Result<bool> {
        if !self.state.admits(&input)? {
            return Ok(false);
        }
        self.room()?;
        let effects = self.state.apply(&self.committee, input.clone());
        self.journal.note(input);
        self.follow(effects)?;
        Ok(true)
    }

    /// Whether what can follow from one input fits: a few messages, and events of every agreement.
    fn room(&self) -> Result<()> {
        self.journal.room(2 * self.committee.count() + 16 + self.unsaid.len() / STATEMENTS_MAX)
    }

    /// Lets out what follows from inputs. Statements wait for [`Machine::drain`].
    fn follow(&mut self, effects: Vec<Effect>) -> Result<()> {
        let mut actions = Vec::new();
        for effect in effects {
            match effect {
                Effect::Of { proposer, outcome: Outcome::Say(statement) } => self.unsaid.push((proposer, statement)),
                other => actions.extend(self.action(other)?),
            }
        }
        self.journal.release(actions)
    }

    /// The statements of all agreements, and of all inputs since the last drain, go out in one message.
    fn say(&mut self) -> Result<()> {
        let said: Result<Vec<_>> = self
            .unsaid
            .chunks(STATEMENTS_MAX)
            .map(|chunk| self.broadcast(Message::statements(&self.key, &self.scope, chunk.to_vec())?))
            .collect();
        self.journal.release(said?)?;
        self.unsaid.clear();
        Ok(())
    }

    fn action(&self, effect: Effect) -> Result<Option<Action<SubsetEvent>>> {
        let body = match effect {
            Effect::Initial => {
                let payload = self.state.own()?.payload.as_ref().map(|(_, payload)| payload.clone());
                Message::initial(&self.key, &self.scope, payload.unwrap_or_default())?
            }
            Effect::Echo { proposer, digest } => {
                let echo = Message::echo(&self.key, &self.scope, proposer, digest);
                return self.send(proposer, echo).map(Some);
            }
            Effect::Final { proposer } => match &self.state.proposal(proposer)?.proof {
                Some((digest, signatures)) => Body::Final { proposer, digest: *digest, signatures: signatures.clone() },
                None => return Ok(None),
            },
            Effect::Request { proposers } => Message::request(&self.key, &self.scope, proposers)?,
            Effect::Confirm => match self.state.confirmation() {
                Some((digest, signature)) => Body::Confirm { digest: *digest, signature: *signature },
                None => return Ok(None),
            },
            event => return Ok(self.event(event)?.map(Action::Event)),
        };
        self.broadcast(body).map(Some)
    }

    fn event(&self, effect: Effect) -> Result<Option<SubsetEvent>> {
        Ok(match effect {
            Effect::Of { proposer, outcome: Outcome::NeedCoin(round) } => {
                Some(SubsetEvent::NeedCoin { proposer, round })
            }
            Effect::Of { proposer, outcome: Outcome::Alarm(round) } => Some(SubsetEvent::Alarm { proposer, round }),
            Effect::Validate { proposer } => {
                let payload = self.state.proposal(proposer)?.payload.as_ref();
                payload.map(|(_, payload)| SubsetEvent::ValidatePayload { proposer, payload: payload.clone() })
            }
            Effect::Output => Some(SubsetEvent::Output { accepted: self.state.accepted() }),
            Effect::Confirmed => self.certificate().map(SubsetEvent::Confirmed),
            _ => None,
        })
    }

    fn send(&self, to: u16, body: Body) -> Result<Action<SubsetEvent>> {
        Ok(Action::Send { to, message: Message::encode(self.scope, body)? })
    }

    fn broadcast(&self, body: Body) -> Result<Action<SubsetEvent>> {
        Ok(Action::Broadcast { message: Message::encode(self.scope, body)? })
    }

    /// Takes an input from outside whose signatures `verify` checks, if it is new.
    fn hear(&mut self, input: Input, verify: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if !self.state.admits(&input)? {
            return Ok(());
        }
        self.room()?;
        verify(self)?;
        self.take(input).map(drop)
    }

    /// The statements that are new; one that is refused does not stand in the way of the others.
    fn hear_statements(
        &mut self,
        sender: u16,
        key: &[u8; 32],
        statements: &[(u16, Statement)],
        signature: &[u8; 64],
    ) -> Result<()> {
        let heard = |(proposer, statement): &(u16, Statement)| {
            let input = Input::Heard { sender, proposer: *proposer, statement: *statement };
            self.state.admits(&input).map(|new| new.then_some(input))
        };
        let verdicts: Vec<Result<Option<Input>>> = statements.iter().map(heard).collect();
        let inputs: Vec<Input> = verdicts.iter().filter_map(|verdict| verdict.clone().ok().flatten()).collect();
        if inputs.is_empty() {
            return verdicts.into_iter().find_map(Result::err).map_or(Ok(()), Err);
        }
        self.room()?;
        check(key, &statements_message(&self.scope, statements)?, signature, "statements", sender)?;
        let mut effects = Vec::new();
        for input in inputs {
            if self.state.admits(&input).is_ok_and(|new| new) {
                effects.extend(self.state.apply(&self.committee, input.clone()));
                self.journal.note(input);
            }
        }
        self.follow(effects)
    }

    fn deliver(&mut self, requester: u16, proposers: &[u16]) -> Result<()> {
        self.journal.room(proposers.len())?;
        let mut actions = Vec::new();
        for proposer in proposers {
            let Ok(proposal) = self.state.proposal(*proposer) else { continue };
            let (true, Some((_, payload)), Some((_, signatures))) =
                (proposal.is_in(), &proposal.payload, &proposal.proof)
            else {
                continue;
            };
            if self.delivered.contains(&(requester, *proposer)) {
                continue;
            }
            let payload = Bytes::new("subset: payload", payload.clone())?;
            let delivery = Body::Delivery { proposer: *proposer, payload, signatures: signatures.clone() };
            actions.push(self.send(requester, delivery)?);
            self.delivered.insert((requester, *proposer));
        }
        self.journal.release(actions)
    }
}

impl Machine for Subset {
    type Event = SubsetEvent;

    fn handle(&mut self, sender: u16, message: &[u8], _now: u64) -> Result<()> {
        let message: Message = wire::decode(message)?;
        let key = sender_of(&self.committee, self.me, &self.scope, sender, &message.scope)?;
        let scope = self.scope;
        match message.body {
            Body::Initial { payload, signature } => {
                let signed = initial_message(&scope, &payload_digest(&payload));
                self.hear(Input::Initial { proposer: sender, payload }, |_| {
                    check(&key, &signed, &signature, "proposal", sender)
                })
            }
            Body::Echo { proposer, digest, signature } => {
                if proposer != self.me || self.state.own()?.echoed != Some(digest) {
                    return Err(Error::protocol(format!("subset: an echo by party {sender} of what was not proposed")));
                }
                self.hear(Input::Echo { sender, signature }, |_| {
                    check(&key, &echo_message(&scope, proposer, &digest), &signature, "echo", sender)
                })
            }
            Body::Final { proposer, digest, signatures } => {
                let echoes = signatures.clone();
                self.hear(Input::Final { proposer, digest, signatures }, |this| {
                    echoes.verify("subset: echoes", &this.committee, &echo_message(&scope, proposer, &digest))
                })
            }
            Body::Delivery { proposer, payload, signatures } => {
                let (echoes, digest) = (signatures.clone(), payload_digest(&payload));
                self.hear(Input::Delivery { proposer, payload, signatures }, |this| {
                    echoes.verify("subset: echoes", &this.committee, &echo_message(&scope, proposer, &digest))
                })
            }
            Body::Statements { statements, signature } => self.hear_statements(sender, &key, &statements, &signature),
            Body::Request { proposers, signature } => {
                check(&key, &request_message(&scope, &proposers), &signature, "request", sender)?;
                self.deliver(sender, &proposers)
            }
            Body::Confirm { digest, signature } => self.hear(Input::Confirmation { sender, digest, signature }, |_| {
                check(&key, &confirm_message(&scope, &digest), &signature, "confirmation", sender)
            }),
            Body::Confirmed { digest, signatures } => {
                let theirs = signatures.clone();
                self.hear(Input::Confirmed { digest, signatures }, |this| {
                    theirs.verify("abba certificate", &this.committee, &confirm_message(&scope, &digest))
                })
            }
        }
    }

    fn tick(&mut self, _now: u64) -> Result<()> {
        Ok(())
    }

    fn drain(&mut self) -> Vec<outbox::Effect<Action<SubsetEvent>>> {
        // There is room for each (`room`), and none is too long: nothing can be wrong here. If it were, they wait.
        let _ = self.say();
        self.journal.drain()
    }

    fn durable(&mut self, ticket: u64) -> Result<()> {
        self.journal.durable(ticket)
    }
}

fn check(key: &[u8; 32], message: &Digest, signature: &[u8; 64], what: &str, sender: u16) -> Result<()> {
    remembered::verify(key, message, signature)
        .map_err(|_| Error::verification(format!("subset: the signature of the {what} is not of party {sender}")))
}
