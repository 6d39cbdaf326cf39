//! One shard's side: a deterministic machine under the shard's own consensus, the same at every replica.
//!
//! | command | condition | what happens |
//! |---|---|---|
//! | Prepare, at a shard that does not decide | new, not expired, keys free and at their versions | keys locked, Prepared |
//! | Prepare, at the decider (the last shard listed) | the same, and the Prepared of all others | done, versions advance, Prepared |
//! | Prepare | a key is locked, or at another version | tombstone, Abort |
//! | Prepare | known | what was said before, again |
//! | Commit | open here, the Prepared of every listed shard | done, versions advance, Released |
//! | Abort | open here, an Abort of a listed shard or the decider's Expired | let go, versions advance, Released |
//! | Expire, at the decider | after the expiry, not decided | Expired |
//! | Acknowledge, at the decider | decided, a Released | one shard less to wait for |
//! | Boundary | nothing of the boundary before is under way | parts leave, the next epoch begins |
//! | Import | the part that is waited for, handed over by the old quorum | versions, locks, tombstones, decisions arrive |
//! | Delivered | an Imported | the part is not kept any more |
//!
//! Whatever else is refused, and leaves the state as it was. A transaction that is open here is closed by a certificate and
//! by nothing else: the expiry alone frees no lock. Because the decider says Prepared only when all others have, its log
//! decides between commit and expiry, and it never says both.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::certificate::{Certificate, Handover, HandoverCertificate, Statement, Verdict};
use super::command::Command;
use super::layout::Layout;
use super::manifest::Manifest;
use super::reshard::{Part, neighbours};
use super::state::{Config, Decision, End, Open, State};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::outbox::{Effect, Outbox};
use crate::primitives::wire::{self, List, Record};

/// The most effects of one input.
const EFFECTS: usize = 8;

/// What a shard wants its driver to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Sign it, and let the coordinator have the signature.
    Say(Statement),
    /// Sign it with the old committee's keys.
    HandOver(Handover),
    /// Put it to the shard's consensus: certificates ask for it.
    Propose(Box<Command>),
    /// Do what the transaction's body says to these keys.
    Commit {
        /// The transaction.
        manifest: Box<Manifest>,
        /// Its keys that are here.
        keys: Vec<Digest>,
    },
    /// The transaction has let go of its keys here.
    Abort {
        /// The transaction.
        manifest: Box<Manifest>,
    },
    /// An epoch has begun.
    Epoch(u64),
}

/// What a journal record holds.
#[derive(BorshSerialize, BorshDeserialize)]
enum Entry {
    Height(u64),
    Command(Box<Command>),
}

impl Record for Entry {
    const TAG: [u8; 4] = *b"CCsj";
    const VERSION: u16 = 1;
    const NAME: &'static str = "shard journal record";
    const LEN_MAX: usize = Command::LEN_MAX + 16;
}

/// One shard's machine. Not `Clone`: a shard speaks with one tongue.
pub struct Participant {
    state: State,
    outbox: Outbox<Event>,
    /// Certificates about what is open or decided here, not part of the state.
    pending: BTreeMap<Digest, BTreeMap<u16, Certificate>>,
}

impl Participant {
    /// A shard of a chain's first layout.
    ///
    /// # Errors
    /// [`Error::Input`] if the layout has no such shard, or a limit is out of range.
    pub fn new(shard: u16, config: Config, layout: Layout) -> Result<Self> {
        if !layout.has(shard) {
            return Err(Error::input(format!("shard: the layout has no shard {shard}")));
        }
        Ok(Self::of(State::new(shard, config, layout)?))
    }

    /// A shard that `layout` adds to `previous`: it waits for the parts of all others.
    ///
    /// # Errors
    /// [`Error::Input`] if `layout` does not add it.
    pub fn join(shard: u16, config: Config, previous: Layout, layout: Layout) -> Result<Self> {
        layout.check_after(&previous)?;
        if !layout.added(&previous).contains(&shard) {
            return Err(Error::input(format!("shard: the layout does not add shard {shard}")));
        }
        let awaited = neighbours(shard, &previous, &layout).0;
        let mut state = State::new(shard, config, layout.clone())?;
        state.layouts = vec![previous, layout];
        state.awaited = awaited;
        Ok(Self::of(state))
    }

    /// The shard for a member of its next committee: the snapshot that the old quorum handed over.
    ///
    /// # Errors
    /// [`Error::Verification`] if the snapshot is not the one that was signed.
    pub fn take_over(snapshot: &[u8], certificate: &HandoverCertificate, previous: &Layout) -> Result<Self> {
        let mut state = State::from_bytes(snapshot)?;
        let handover = &certificate.handover;
        certificate.verify(previous)?;
        let digests = (handover.next, handover.part(state.shard, 0));
        if handover.shard != state.shard || digests != (state.layout().digest()?, Some(state.digest()?)) {
            return Err(Error::verification("shard: the snapshot is not what the old quorum handed over"));
        }
        state.handover = Some(handover.clone());
        Ok(Self::of(state))
    }

    /// A shard after a crash: from the journal records that are durable, in order. The first may be a snapshot, which
    /// stands for all before it; without one they begin with the machine that `fresh` makes.
    ///
    /// # Errors
    /// [`Error::Input`] if a record is not of this journal.
    pub fn restore(fresh: Self, records: &[Vec<u8>]) -> Result<Self> {
        let shard = fresh.state.shard;
        let (mut machine, rest) = match records.split_first() {
            Some((first, rest)) if first.starts_with(b"CCsw") => (Self::of(State::from_bytes(first)?), rest),
            _ => (fresh, records),
        };
        if machine.state.shard != shard {
            return Err(Error::input(format!("shard: the journal is that of shard {}", machine.state.shard)));
        }
        for (at, record) in rest.iter().enumerate() {
            let done = match wire::decode::<Entry>(record)? {
                Entry::Height(height) => machine.tick_height(height),
                Entry::Command(command) => machine.on_local_commit(&command),
            };
            done.map_err(|error| Error::input(format!("shard: journal record {at}: {error}")))?;
            machine.outbox = Outbox::default();
        }
        Ok(machine)
    }

    fn of(state: State) -> Self {
        Self { state, outbox: Outbox::default(), pending: BTreeMap::new() }
    }

    /// Everything that must survive a crash.
    ///
    /// # Errors
    /// [`Error::Input`] if it is too large to be written.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        self.state.to_bytes()
    }

    /// The shard.
    pub fn shard(&self) -> u16 {
        self.state.shard
    }

    /// The height of the shard's log.
    pub fn height(&self) -> u64 {
        self.state.height
    }

    /// How many inputs have changed the state: where a driver goes on after a restart.
    pub fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// The current layout.
    pub fn layout(&self) -> &Layout {
        self.state.layout()
    }

    /// All layouts whose certificates are understood, the current one last.
    pub fn layouts(&self) -> &[Layout] {
        &self.state.layouts
    }

    /// The version of a key, for the inputs of a manifest.
    pub fn version(&self, key: &Digest) -> u64 {
        self.state.version(key)
    }

    /// How many keys there are whose versions are kept apart.
    pub fn keys(&self) -> usize {
        self.state.versions.len()
    }

    /// Gives keys their next versions, as if a transaction of each had been done.
    #[cfg(test)]
    pub(super) fn fill(&mut self, keys: &[Digest]) {
        self.state.advance(keys);
    }

    /// Whether a key has arrived here, of a shard that had it before the last boundary; true of keys that belong elsewhere.
    pub fn has_arrived(&self, key: &Digest) -> bool {
        self.state.owed_by(key).is_none()
    }

    /// The transaction that has a key locked.
    pub fn locked_by(&self, key: &Digest) -> Option<Digest> {
        self.state.locks.get(key).copied()
    }

    /// The transactions that are open here.
    pub fn open(&self) -> impl Iterator<Item = (&Digest, &Open)> {
        self.state.open.iter()
    }

    /// How a transaction ended here, as long as it is remembered.
    pub fn end_of(&self, txid: &Digest) -> Option<End> {
        let decided = self.state.decisions.contains_key(txid).then_some(End::Committed);
        decided.or_else(|| self.state.tombstones.get(txid).map(|tombstone| tombstone.end))
    }

    /// The commits that this shard has decided and not all have acknowledged, with the certificates that they rest on.
    pub fn decisions(&self) -> impl Iterator<Item = (&Digest, &Decision)> {
        self.state.decisions.iter()
    }

    /// The parts of the last boundary that have not been taken over.
    pub fn exports(&self) -> impl Iterator<Item = &Part> {
        self.state.exports.values()
    }

    /// The shards whose parts have not arrived.
    pub fn awaited(&self) -> impl Iterator<Item = u16> + '_ {
        self.state.awaited.iter().copied()
    }

    /// What the old quorum was to sign at the last boundary.
    pub fn handover(&self) -> Option<&Handover> {
        self.state.handover.as_ref()
    }

    /// Says again all that this shard says of what is open or decided here: after a restart, or in a new epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the outbox is full: drain it.
    pub fn restate(&mut self) -> Result<()> {
        let open = self.state.open.values().map(|open| &open.manifest);
        let manifests = open.chain(self.state.decisions.values().map(|decision| &decision.manifest));
        let mut statements = Vec::new();
        for manifest in manifests {
            statements.extend(self.state.says_all(manifest)?);
        }
        self.say_behind(statements)
    }

    /// Says what this shard says of a transaction now, if it can say anything: for a coordinator that has lost it.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the manifest is of another chain or a later layout; [`Error::Unavailable`] if the outbox is
    /// full: drain it.
    pub fn ask(&mut self, manifest: &Manifest) -> Result<()> {
        let statements = self.state.says_all(manifest)?;
        self.say_behind(statements)
    }

    /// What rests on the state as it is comes out when all records of it are durable.
    fn say_behind(&mut self, statements: impl IntoIterator<Item = Statement>) -> Result<()> {
        let events: Vec<Event> = statements.into_iter().map(Event::Say).collect();
        if events.is_empty() {
            return Ok(());
        }
        self.outbox.room(events.len() + 1)?;
        self.outbox.push_behind(wire::encode(&Entry::Height(self.state.height))?, events);
        Ok(())
    }

    /// Takes the effects that may be carried out now.
    pub fn drain(&mut self) -> Vec<Effect<Event>> {
        self.outbox.drain()
    }

    /// The record of `ticket` and all before it are durable.
    ///
    /// # Errors
    /// [`Error::Input`] if no such ticket was handed out.
    pub fn durable(&mut self, ticket: u64) -> Result<()> {
        self.outbox.durable(ticket)
    }

    /// A block of the shard's log begins. Tombstones, and decisions that all have acknowledged, go with their expiry.
    ///
    /// # Errors
    /// [`Error::Input`] if the height falls; [`Error::Unavailable`] if the outbox is full: drain it.
    pub fn tick_height(&mut self, height: u64) -> Result<()> {
        self.outbox.room(EFFECTS)?;
        if height < self.state.height {
            return Err(Error::input(format!("shard: height {height} after height {}", self.state.height)));
        }
        if height == self.state.height {
            return Ok(());
        }
        let record = wire::encode(&Entry::Height(height))?;
        self.state.height = height;
        self.state.sequence += 1;
        self.state.tombstones.retain(|_, tombstone| tombstone.expiry >= height);
        let forgets = mutant!("sc.decision_forgotten");
        self.state
            .decisions
            .retain(|_, decision| decision.manifest.expiry >= height || !(decision.waiting.is_empty() || forgets));
        if mutant!("sc.unilateral_expiry") {
            let expired = self.state.open.iter().filter(|(_, open)| open.manifest.expiry < height);
            for txid in expired.map(|(txid, _)| *txid).collect::<Vec<_>>() {
                self.state.release(&txid, End::Aborted);
            }
        }
        self.outbox.push_behind(record, []);
        Ok(())
    }

    /// What this shard says of a transaction now; `None` if it cannot say anything yet. For a look: what is signed comes
    /// out of [`Participant::ask`], when it is durable.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the manifest is of another chain.
    pub fn says(&self, manifest: &Manifest) -> Result<Option<Statement>> {
        self.state.says(manifest)
    }

    /// What a command would make this shard say, if it would be accepted: for a proposer before it proposes, and for a
    /// replica before it votes. [`Participant::on_local_commit`] judges by the same function.
    ///
    /// # Errors
    /// Why the command is refused, as of [`Participant::on_local_commit`].
    pub fn evaluate(&self, command: &Command) -> Result<Option<Statement>> {
        self.state.judge(command).map(|change| change.statement())
    }

    /// A command that the shard's consensus has ordered.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the outbox is full: drain it, and come again. Any other error is the same at all replicas,
    /// says what is wrong with the command, and leaves the state as it was.
    pub fn on_local_commit(&mut self, command: &Command) -> Result<()> {
        self.outbox.room(EFFECTS)?;
        let change = self.state.judge(command)?;
        if !change.changes() {
            return self.say_behind(change.statement());
        }
        let record = wire::encode(&Entry::Command(Box::new(command.clone())))?;
        let sequence = self.state.sequence + 1;
        let events = self.state.apply(change);
        self.state.sequence = sequence;
        self.outbox.push_behind(record, events);
        let State { open, decisions, .. } = &self.state;
        self.pending.retain(|txid, _| open.contains_key(txid) || decisions.contains_key(txid));
        Ok(())
    }

    /// Another shard's certificate has come by. What is about a transaction that is open or decided here, or about a part
    /// that is kept, is remembered (one of a shard and a kind); a command that has all it needs is put to the shard's
    /// consensus ([`Event::Propose`]). Anything else is nothing to this shard.
    ///
    /// # Errors
    /// What is wrong with the certificate; [`Error::Unavailable`] if the outbox is full.
    pub fn on_certificate(&mut self, bytes: &[u8]) -> Result<()> {
        self.outbox.room(EFFECTS)?;
        let certificate: Certificate = wire::decode(bytes)?;
        let Statement { txid, verdict, .. } = certificate.statement;
        let command = if verdict == Verdict::Imported {
            Command::Delivered { certificate }
        } else if let Some(open) = self.state.open.get(&txid) {
            let manifest = open.manifest.clone();
            match self.towards_the_end(manifest, certificate)? {
                Some(command) => command,
                None => return Ok(()),
            }
        } else if let Some(decision) = self.state.decisions.get(&txid) {
            Command::Acknowledge { manifest: decision.manifest.clone(), certificate }
        } else {
            return Ok(());
        };
        if self.state.judge(&command)?.changes() {
            self.outbox.push(Event::Propose(Box::new(command)));
        }
        Ok(())
    }

    /// Adds a certificate to those about an open transaction.
    fn towards_the_end(&mut self, manifest: Manifest, certificate: Certificate) -> Result<Option<Command>> {
        let Statement { txid, shard, verdict, .. } = certificate.statement;
        match verdict {
            Verdict::Abort | Verdict::Expired => return Ok(Some(Command::Abort { manifest, certificate })),
            Verdict::Prepared => {}
            Verdict::Released | Verdict::Imported => return Ok(None),
        }
        if !manifest.lists(shard) {
            return Err(Error::protocol(format!("shard: shard {shard} is not listed by {}", hex(&txid))));
        }
        certificate.statement.check_about(&manifest)?;
        certificate.verify(&self.state.layouts)?;
        let known = self.pending.entry(txid).or_default();
        known.entry(shard).or_insert(certificate);
        if manifest.shards.iter().any(|shard| !known.contains_key(shard)) {
            return Ok(None);
        }
        let certificates = List::new("shard: certificates", known.values().cloned().collect())?;
        Ok(Some(Command::Commit { manifest, certificates }))
    }
}
