//! The rules of a shard: what a command comes to. Judging looks and changes nothing; applying cannot fail.

use super::certificate::{self, Certificate, Handover, Statement, Verdict, find};
use super::command::Command;
use super::manifest::Manifest;
use super::participant::Event;
use super::state::{Decision, End, Keys, Open, State, Tombstone};
use crate::crypto::hash::{Digest, hex};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::{List, Record};

/// What a command comes to.
pub(super) enum Change {
    /// Nothing: it is so already.
    Nothing,
    /// What was said before, again.
    Say(Statement),
    /// The keys are locked.
    Lock { txid: Digest, open: Open, statement: Statement },
    /// The transaction is refused for ever.
    Refuse { txid: Digest, manifest: Manifest, statement: Option<Statement> },
    /// The decider commits.
    Decide { txid: Digest, decision: Decision, keys: Keys, statement: Statement },
    /// An open transaction ends.
    Release { txid: Digest, end: End, statement: Option<Statement> },
    /// Fewer keys are waited for.
    Acknowledge { txid: Digest, waiting: Keys },
    /// The next epoch begins.
    Boundary { after: Box<State>, handover: Handover },
    /// A part has arrived.
    Import { after: Box<State>, statement: Statement },
    /// A part has been taken over.
    Delivered { place: (u16, u16) },
}

impl Change {
    /// What it makes the shard say.
    pub(super) fn statement(&self) -> Option<Statement> {
        match self {
            Self::Say(statement)
            | Self::Lock { statement, .. }
            | Self::Decide { statement, .. }
            | Self::Import { statement, .. } => Some(*statement),
            Self::Refuse { statement, .. } | Self::Release { statement, .. } => *statement,
            _ => None,
        }
    }

    /// Whether the state changes.
    pub(super) fn changes(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Say(_))
    }
}

impl State {
    fn statement(&self, shard: u16, txid: Digest, session: Digest, verdict: Verdict) -> Statement {
        let layout = self.layout();
        Statement { chain: *layout.chain(), epoch: layout.epoch(), shard, txid, session, verdict }
    }

    /// The transaction's id, if it is one of this chain and of a layout that has begun here.
    fn identify(&self, manifest: &Manifest) -> Result<Digest> {
        manifest.check()?;
        let layout = self.layout();
        if manifest.chain != *layout.chain() {
            return Err(Error::protocol("shards: the transaction is of another chain"));
        }
        if !layout.has(self.shard) {
            return Err(Error::protocol(format!("shards: shard {} is gone", self.shard)));
        }
        if manifest.layout > layout.since() {
            return Err(Error::protocol(format!(
                "shards: the transaction is of the layout of epoch {}, and here it is that of epoch {}",
                manifest.layout,
                layout.since()
            )));
        }
        manifest.txid()
    }

    /// Whether something about a transaction can still be under way from another shard.
    fn may_arrive(&self, manifest: &Manifest) -> bool {
        !self.awaited.is_empty() && manifest.layout < self.layout().since()
    }

    /// Whether this shard speaks for a decider that is gone and had not decided: before the expiry its decision would be
    /// here, and nobody decides under a layout that is over.
    fn is_left_undecided(&self, txid: &Digest, manifest: &Manifest) -> bool {
        let heir = !self.layout().has(manifest.decider()) && self.decides(manifest);
        heir && !self.may_arrive(manifest)
            && !self.decisions.contains_key(txid)
            && !self.tombstones.contains_key(txid)
            && manifest.expiry >= self.height
    }

    fn decides(&self, manifest: &Manifest) -> bool {
        self.layout().speaks_for(manifest.decider()) == self.shard
    }

    /// What this shard says of a transaction now.
    pub(super) fn says(&self, manifest: &Manifest) -> Result<Option<Statement>> {
        let txid = self.identify(manifest)?;
        if let Some(known) = self.says_of_known(&txid, manifest) {
            return Ok(known);
        }
        if self.may_arrive(manifest) || manifest.expiry >= self.height {
            return Ok(None);
        }
        let (shard, verdict) = match self.decides(manifest) {
            true => (manifest.decider(), Verdict::Expired),
            false => (self.shard, Verdict::Released),
        };
        Ok(Some(self.statement(shard, txid, manifest.session(), verdict)))
    }

    /// All that this shard says of a transaction: as the decider that it may be, and of the keys that it has.
    pub(super) fn says_all(&self, manifest: &Manifest) -> Result<Vec<Statement>> {
        let mut all: Vec<Statement> = self.says(manifest)?.into_iter().collect();
        let txid = self.identify(manifest)?;
        let others =
            |(shard, key): (u16, Digest)| shard != manifest.decider() && self.layout().shard_of(&key) == self.shard;
        if self.has_decided(&txid, manifest)
            && !self.open.contains_key(&txid)
            && !self.may_arrive(manifest)
            && manifest.entries().any(others)
        {
            all.push(self.statement(self.shard, txid, manifest.session(), Verdict::Released));
        }
        Ok(all)
    }

    /// What this shard says of a transaction that it remembers; `None` outside if it does not.
    fn says_of_known(&self, txid: &Digest, manifest: &Manifest) -> Option<Option<Statement>> {
        let say = |shard, verdict| Some(self.statement(shard, *txid, manifest.session(), verdict));
        if self.has_decided(txid, manifest) {
            return Some(say(manifest.decider(), Verdict::Prepared));
        }
        if let Some(open) = self.open.get(txid) {
            // After a boundary some of the keys may be elsewhere: then nobody can say it any more.
            let mut own = manifest.keys_of(self.shard);
            let mut held = open.keys.to_vec();
            own.sort_unstable();
            held.sort_unstable();
            return Some(if own == held { say(self.shard, Verdict::Prepared) } else { None });
        }
        let tombstone = self.tombstones.get(txid)?;
        Some(match tombstone.end {
            End::Refused => say(tombstone.shard, Verdict::Abort),
            End::Aborted | End::Committed if self.may_arrive(manifest) => None,
            End::Aborted | End::Committed => say(self.shard, Verdict::Released),
        })
    }

    /// What a command comes to; why, if it is refused.
    pub(super) fn judge(&self, command: &Command) -> Result<Change> {
        match command {
            Command::Prepare { manifest, certificates } => self.judge_prepare(manifest, certificates),
            Command::Commit { manifest, certificates } => self.judge_commit(manifest, certificates),
            Command::Abort { manifest, certificate } => self.judge_abort(manifest, certificate),
            Command::Expire { manifest } => self.judge_expire(manifest),
            Command::Acknowledge { manifest, certificate } => self.judge_acknowledge(manifest, certificate),
            Command::Boundary { layout, application } => {
                self.check_boundary(layout)?;
                let (after, handover) = self.cross(layout, *application)?;
                Ok(Change::Boundary { after: Box::new(after), handover })
            }
            Command::Import { part, handover } => {
                let digest = part.digest()?;
                let statement = self.statement(self.shard, digest, Digest::default(), Verdict::Imported);
                if self.imported.get(&(part.from, part.number)) == Some(&digest) {
                    return Ok(Change::Say(statement));
                }
                self.check_import(part, handover)?;
                let mut after = self.clone();
                after.import(part.clone())?;
                Ok(Change::Import { after: Box::new(after), statement })
            }
            Command::Delivered { certificate } => self.judge_delivered(certificate),
        }
    }

    fn judge_prepare(&self, manifest: &Manifest, certificates: &[Certificate]) -> Result<Change> {
        let txid = self.identify(manifest)?;
        if self.is_left_undecided(&txid, manifest) {
            self.check_expiry(manifest)?;
            self.check_room_for_tombstone()?;
            let statement = self.statement(manifest.decider(), txid, manifest.session(), Verdict::Abort);
            return Ok(Change::Refuse { txid, manifest: manifest.clone(), statement: Some(statement) });
        }
        match self.says_of_known(&txid, manifest) {
            Some(Some(statement)) => return Ok(Change::Say(statement)),
            Some(None) => return Err(Error::protocol("shards: some keys of the transaction are elsewhere now")),
            None => {}
        }
        if !manifest.lists(self.shard) {
            return Err(Error::protocol(format!("shards: shard {} is not listed", self.shard)));
        }
        let (layout, decides) = (self.layout(), self.decides(manifest));
        if manifest.layout < layout.since() && (!decides || self.may_arrive(manifest)) {
            return Err(Error::protocol(format!(
                "shards: the layout of epoch {} is over; that of epoch {} has begun",
                manifest.layout,
                layout.since()
            )));
        }
        self.check_expiry(manifest)?;
        self.check_room()?;
        let keys = manifest.keys_of(self.shard);
        let statement = |verdict| self.statement(self.shard, txid, manifest.session(), verdict);
        let refused = Change::Refuse { txid, manifest: manifest.clone(), statement: Some(statement(Verdict::Abort)) };
        if manifest.layout < layout.since() {
            return Ok(refused);
        }
        self.check_placed(&keys)?;
        if keys.iter().any(|key| self.locks.contains_key(key)) || self.is_stale(manifest) {
            return Ok(refused);
        }
        self.check_versions_left(self.counter, keys.len())?;
        let keys: Keys = List::new("shards: keys", keys)?;
        if !decides || mutant!("sc.decider_early") && certificates.is_empty() {
            let open = Open { manifest: manifest.clone(), keys };
            return Ok(Change::Lock { txid, open, statement: statement(Verdict::Prepared) });
        }
        let mut others = certificate::needed(manifest);
        others.retain(|shard| *shard != self.shard);
        certificate::prepared(manifest, certificates, &others, &self.known())?;
        let waiting = manifest.entries().filter(|(shard, _)| *shard != self.shard).map(|(_, key)| key).collect();
        let decision = Decision {
            manifest: manifest.clone(),
            certificates: List::new("shards: certificates", certificates.to_vec())?,
            waiting: List::new("shards: keys", waiting)?,
        };
        Ok(Change::Decide { txid, decision, keys, statement: statement(Verdict::Prepared) })
    }

    fn check_expiry(&self, manifest: &Manifest) -> Result<()> {
        let (expiry, height) = (manifest.expiry, self.height);
        if expiry < height {
            return Err(Error::protocol(format!(
                "shards: the transaction expired at height {expiry}, this is {height}"
            )));
        }
        if expiry - height > self.config.horizon {
            return Err(Error::protocol(format!(
                "shards: the expiry at height {expiry} is more than {} after height {height}",
                self.config.horizon
            )));
        }
        Ok(())
    }

    fn check_room(&self) -> Result<()> {
        let (open, decisions) = (self.open.len(), self.decisions.len());
        let most = self.config.open_max as usize;
        if open >= most || decisions >= most {
            return Err(Error::protocol(format!(
                "shards: {open} transactions are open and {decisions} decided, {most} of each may be"
            )));
        }
        self.check_room_for_tombstone()
    }

    fn check_room_for_tombstone(&self) -> Result<()> {
        let (had, most) = (self.tombstones.len() + self.open.len(), self.config.tombstones_max as usize);
        if had >= most {
            return Err(Error::protocol(format!("shards: {had} transactions are open or not expired, {most} may be")));
        }
        Ok(())
    }

    /// Keys must belong here, and have arrived.
    fn check_placed(&self, keys: &[Digest]) -> Result<()> {
        for key in keys {
            let shard = self.layout().shard_of(key);
            if shard != self.shard {
                return Err(Error::protocol(format!("shards: the key {} belongs to shard {shard}", hex(key))));
            }
            if self.owed_by(key).is_some() {
                return Err(Error::protocol(format!("shards: the key {} has not arrived yet", hex(key))));
            }
        }
        Ok(())
    }

    /// The shard that had a key before, and whose parts have not all arrived.
    pub(super) fn owed_by(&self, key: &Digest) -> Option<u16> {
        let [.., previous, _] = self.layouts.as_slice() else { return None };
        Some(previous.shard_of(key)).filter(|shard| self.awaited.contains(shard))
    }

    fn is_stale(&self, manifest: &Manifest) -> bool {
        let mut own = manifest.inputs.iter().filter(|input| input.shard == self.shard);
        own.any(|input| self.version(&input.key) != input.version)
    }

    fn judge_commit(&self, manifest: &Manifest, certificates: &[Certificate]) -> Result<Change> {
        let txid = self.identify(manifest)?;
        let ended = self.tombstones.get(&txid).map(|tombstone| tombstone.end);
        if !self.open.contains_key(&txid) {
            let mut said = self.says_all(manifest)?.into_iter();
            return match said.find(|statement| statement.verdict == Verdict::Released) {
                Some(released) => Ok(Change::Say(released)),
                None if self.decisions.contains_key(&txid) || ended == Some(End::Committed) => Ok(Change::Nothing),
                None => Err(Error::protocol(format!("shards: {} is not open here", hex(&txid)))),
            };
        }
        certificate::prepared(manifest, certificates, &certificate::needed(manifest), &self.known())?;
        Ok(self.releasing(txid, manifest, End::Committed))
    }

    fn judge_abort(&self, manifest: &Manifest, certificate: &Certificate) -> Result<Change> {
        let txid = self.identify(manifest)?;
        let ended = self.tombstones.get(&txid).map(|tombstone| tombstone.end);
        if self.decisions.contains_key(&txid) || ended == Some(End::Committed) {
            return Err(Error::protocol(format!("shards: {} is committed here", hex(&txid))));
        }
        if !self.open.contains_key(&txid)
            && let Some(statement) = self.says(manifest)?
        {
            return Ok(Change::Say(statement));
        }
        if ended.is_some() && !self.open.contains_key(&txid) {
            return Ok(Change::Nothing);
        }
        certificate::ended(manifest, certificate, &self.known())?;
        if self.open.contains_key(&txid) {
            return Ok(self.releasing(txid, manifest, End::Aborted));
        }
        if !manifest.lists(self.shard) || manifest.layout != self.layout().since() {
            return Err(Error::protocol(format!("shards: {} is not open here", hex(&txid))));
        }
        self.check_expiry(manifest)?;
        self.check_room_for_tombstone()?;
        Ok(Change::Refuse { txid, manifest: manifest.clone(), statement: None })
    }

    fn releasing(&self, txid: Digest, manifest: &Manifest, end: End) -> Change {
        let released = self.statement(self.shard, txid, manifest.session(), Verdict::Released);
        let statement = (!self.may_arrive(manifest)).then_some(released);
        Change::Release { txid, end, statement }
    }

    fn judge_expire(&self, manifest: &Manifest) -> Result<Change> {
        if !self.decides(manifest) {
            return Err(Error::protocol(format!("shards: shard {} decides, not {}", manifest.decider(), self.shard)));
        }
        let (txid, decider) = (self.identify(manifest)?, manifest.decider());
        let say = |verdict| Ok(Change::Say(self.statement(decider, txid, manifest.session(), verdict)));
        if self.has_decided(&txid, manifest) {
            return say(Verdict::Prepared);
        }
        let refused = |tombstone: &Tombstone| (tombstone.shard, tombstone.end) == (decider, End::Refused);
        if self.tombstones.get(&txid).is_some_and(refused) {
            return say(Verdict::Abort);
        }
        if self.may_arrive(manifest) || manifest.expiry >= self.height {
            return Err(Error::protocol(format!(
                "shards: it expires after height {}, this is {}, and {} parts are to arrive",
                manifest.expiry,
                self.height,
                self.awaited.len()
            )));
        }
        say(Verdict::Expired)
    }

    fn judge_acknowledge(&self, manifest: &Manifest, certificate: &Certificate) -> Result<Change> {
        let txid = self.identify(manifest)?;
        let Some(decision) = self.decisions.get(&txid) else { return Ok(Change::Nothing) };
        let Statement { chain, epoch, shard, verdict, .. } = certificate.statement;
        certificate.statement.check_about(manifest)?;
        if verdict != Verdict::Released || epoch < manifest.layout {
            return Err(Error::protocol(format!("shards: {verdict:?} of epoch {epoch} acknowledges nothing")));
        }
        certificate.verify(&self.layouts)?;
        let Some(layout) = find(&self.layouts, &chain, epoch) else { return Ok(Change::Nothing) };
        let waiting: Vec<Digest> =
            decision.waiting.iter().copied().filter(|key| layout.shard_of(key) != shard).collect();
        if waiting.len() == decision.waiting.len() {
            return Ok(Change::Nothing);
        }
        Ok(Change::Acknowledge { txid, waiting: List::new("shards: keys", waiting)? })
    }

    fn judge_delivered(&self, certificate: &Certificate) -> Result<Change> {
        let Statement { shard, txid, verdict, .. } = certificate.statement;
        let for_it = self.exports.range((shard, 0)..=(shard, u16::MAX));
        let digests: Vec<_> = for_it.map(|(place, part)| Ok((*place, part.digest()?))).collect::<Result<_>>()?;
        if digests.is_empty() {
            return Ok(Change::Nothing);
        }
        if verdict == Verdict::Imported
            && let Some((place, _)) = digests.iter().find(|(_, digest)| *digest == txid)
        {
            certificate.verify(&self.layouts)?;
            return Ok(Change::Delivered { place: *place });
        }
        let given = |handover: &Handover| handover.parts.iter().any(|(to, _, digest)| (*to, *digest) == (shard, txid));
        if verdict == Verdict::Imported && self.handover.as_ref().is_some_and(given) {
            return Ok(Change::Nothing); // it has been delivered
        }
        Err(Error::protocol(format!("shards: {verdict:?} of shard {shard} is not about a part for it")))
    }

    /// Carries out what [`State::judge`] has found.
    pub(super) fn apply(&mut self, change: Change) -> Vec<Event> {
        match change {
            Change::Nothing => Vec::new(),
            Change::Say(statement) => vec![Event::Say(statement)],
            Change::Lock { txid, open, statement } => {
                self.lock(txid, open);
                vec![Event::Say(statement)]
            }
            Change::Refuse { txid, manifest, statement } => {
                let shard = statement.map_or(self.shard, |statement| statement.shard);
                self.bury(txid, &manifest, shard, End::Refused);
                statement.map(Event::Say).into_iter().collect()
            }
            Change::Decide { txid, decision, keys, statement } => {
                self.advance(&keys);
                let manifest = Box::new(decision.manifest.clone());
                self.keep(txid, decision);
                vec![Event::Say(statement), Event::Commit { manifest, keys: keys.into_vec() }]
            }
            Change::Release { txid, end, statement } => {
                let Some(open) = self.release(&txid, end) else { return Vec::new() };
                let manifest = Box::new(open.manifest);
                let event = match end {
                    End::Committed => Event::Commit { manifest, keys: open.keys.into_vec() },
                    End::Aborted | End::Refused => Event::Abort { manifest },
                };
                std::iter::once(event).chain(statement.map(Event::Say)).collect()
            }
            Change::Acknowledge { txid, waiting } => {
                if let Some(decision) = self.decisions.remove(&txid) {
                    self.keep(txid, Decision { waiting, ..decision });
                }
                Vec::new()
            }
            Change::Boundary { after, handover } => {
                *self = *after;
                vec![Event::HandOver(handover), Event::Epoch(self.layout().epoch())]
            }
            Change::Import { after, statement } => {
                *self = *after;
                vec![Event::Say(statement)]
            }
            Change::Delivered { place } => {
                self.exports.remove(&place);
                Vec::new()
            }
        }
    }
}
