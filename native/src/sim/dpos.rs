//! DPoS delegates as nodes: whoever leads an attempt proposes, collects the votes and spreads the certificate.
//!
//! | message | from, to | what is done |
//! |---|---|---|
//! | proposal + batch | leader → all | the batch is journalled, the machine votes |
//! | vote | delegate → leader | a quorum becomes a certificate |
//! | certificate | leader → all | committed; who lacks the batch asks for it |
//! | ask | whose time is up → all; who lags → who is ahead | what is missing; or the next leader prepares |
//! | prepare (an ask of the leader, of its own attempt) | leader → all | the machine promises and reports |
//! | report + accepted batch | delegate → leader | a quorum lets it lead the later attempt |
//!
//! Three hops and 3(n − 1) messages commit a batch while nothing goes wrong. The timeout doubles with each attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::node::{MakeNode, Node, Step, Turn};
use crate::crypto::ed25519::SigningKey;
use crate::crypto::hash::{self, Digest, Hasher};
use crate::error::{Error, Result};
use crate::primitives::outbox::Effect;
use crate::primitives::wire::{self, Bytes, Record};
use crate::proofs::dpos::{
    Certificate, Delegate, Proposal, Report, Saying, Slot, Validator, ValidatorSet, Vote, collect,
};

/// The largest batch, bytes.
pub const BATCH_MAX: usize = 1 << 20;

/// How many batches one ask is answered with.
const ANSWERS_MAX: u64 = 16;

/// How many attempts one may be pulled ahead at once.
const AHEAD_MAX: u32 = 64;

/// How often the timeout doubles.
const DOUBLINGS_MAX: u32 = 6;

/// The most batches that are kept for one height; what the machine accepted stays.
const BATCHES_KEPT: usize = 64;

/// Tickets of what the node itself journals, beside the machine's.
const OWN_TICKETS: u64 = 1 << 63;

const CONTEXT_KEY: &str = "city-chain v1 simulation dpos key";
const CONTEXT_BATCH: &str = "city-chain v1 simulation dpos batch";
const CONTEXT_SEED: &str = "city-chain v1 simulation dpos seed";

/// Where somebody stands: what follows is wanted; or, of a later attempt's leader, to be promised.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Ask {
    height: u64,
    attempt: u32,
    prepare: bool,
}

impl Record for Ask {
    const TAG: [u8; 4] = *b"CCsa";
    const VERSION: u16 = 1;
    const NAME: &'static str = "ask";
    const LEN_MAX: usize = 64;
}

/// A message and the batch that goes with it (empty: none).
fn frame(message: &[u8], batch: &[u8]) -> Vec<u8> {
    let length = (batch.len() as u32).to_le_bytes();
    [message, batch, &length].concat()
}

fn unframe(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let short = || Error::input("dpos message: cut short");
    let (rest, length) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > BATCH_MAX {
        return Err(Error::input(format!("dpos message: a batch of {length} bytes, at most {BATCH_MAX} are allowed")));
    }
    rest.split_at_checked(rest.len().wrapping_sub(length)).ok_or_else(short)
}

/// A batch on the disk, before it is voted for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Batch {
    height: u64,
    batch: Bytes<BATCH_MAX>,
}

impl Record for Batch {
    const TAG: [u8; 4] = *b"CCsb";
    const VERSION: u16 = 1;
    const NAME: &'static str = "batch of a simulation";
    const LEN_MAX: usize = BATCH_MAX + 64;
}

/// What delegates do in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a batch, at least 16.
    pub batch: usize,
    /// They commit so many batches, then fall silent.
    pub slots: u64,
    /// How long the first attempt may take, µs.
    pub timeout: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch: 1024, slots: 20, timeout: 100_000 }
    }
}

struct Shared {
    config: Config,
    keys: Vec<SigningKey>,
    set: ValidatorSet,
    network: Digest,
    seed: Digest,
}

/// The seed of a delegate's key.
pub fn key(seed: u64, node: u16) -> Digest {
    Hasher::new(CONTEXT_KEY).u64(seed).u64(u64::from(node)).finish()
}

/// Delegates of the same stake, with keys made from the seed of the run.
pub struct Delegates(Arc<Shared>);

impl Delegates {
    /// `nodes` delegates.
    ///
    /// # Errors
    /// [`Error::Input`] if there are too many, or a batch is too small or too large.
    pub fn new(seed: u64, nodes: u16, config: Config) -> Result<Self> {
        if !(16..=BATCH_MAX).contains(&config.batch) {
            return Err(Error::input(format!(
                "dpos: batches of {} bytes, 16 to {BATCH_MAX} are allowed",
                config.batch
            )));
        }
        let keys: Vec<SigningKey> = (0..nodes).map(|node| SigningKey::from_seed(&key(seed, node))).collect();
        let items = keys.iter().map(|key| Validator { key: key.public(), stake: 1 }).collect();
        let set = ValidatorSet::new(0, items)?;
        let seed = hash::digest(CONTEXT_SEED, &seed.to_le_bytes());
        Ok(Self(Arc::new(Shared { config, keys, set, network: seed, seed })))
    }
}

impl MakeNode for Delegates {
    fn make(&mut self, me: u16, disk: &[Vec<u8>]) -> Result<Box<dyn Node>> {
        Ok(Box::new(DelegateNode::new(me, self.0.clone(), disk)?))
    }
}

struct DelegateNode {
    me: u16,
    shared: Arc<Shared>,
    machine: Delegate,
    attempt: u32,
    /// What this node proposed and collects votes for.
    proposed: Option<Slot>,
    votes: Vec<Vote>,
    reports: Vec<Report>,
    /// Batches that may be committed next.
    batches: BTreeMap<Digest, Vec<u8>>,
    /// Committed: certificate and batch, by height.
    ledger: BTreeMap<u64, (Vec<u8>, Vec<u8>)>,
    tickets: u64,
}

impl DelegateNode {
    fn new(me: u16, shared: Arc<Shared>, disk: &[Vec<u8>]) -> Result<Self> {
        let key = shared.keys[usize::from(me)].clone();
        let Shared { set, network, seed, .. } = &*shared;
        let is_state = |record: &&Vec<u8>| record.starts_with(b"CCds");
        let machine = match disk.iter().rev().find(is_state) {
            Some(state) => Delegate::restore(key, set.clone(), *network, *seed, state)?,
            None => Delegate::new(key, set.clone(), *network, *seed, *network)?,
        };
        let attempt = machine.promised();
        let mut node = Self {
            me,
            shared,
            machine,
            attempt,
            proposed: None,
            votes: Vec::new(),
            reports: Vec::new(),
            batches: BTreeMap::new(),
            ledger: BTreeMap::new(),
            tickets: OWN_TICKETS,
        };
        node.read(disk)?;
        Ok(node)
    }

    /// Takes in the batches and certificates of the disk.
    fn read(&mut self, disk: &[Vec<u8>]) -> Result<()> {
        let mut batches = BTreeMap::new();
        for record in disk {
            if record.starts_with(&Batch::TAG) {
                let batch: Batch = wire::decode(record)?;
                let digest = hash::digest(CONTEXT_BATCH, &batch.batch);
                if batch.height == self.height() {
                    self.batches.insert(digest, batch.batch.to_vec());
                }
                batches.insert(digest, batch.batch.into_vec());
            } else if record.starts_with(&Certificate::TAG) {
                let slot = wire::decode::<Certificate>(record)?.slot;
                let batch = batches.get(&slot.digest).cloned().unwrap_or_default();
                self.ledger.insert(slot.height, (record.clone(), batch));
            }
        }
        Ok(())
    }

    fn height(&self) -> u64 {
        self.machine.tip().0 + 1
    }

    fn done(&self) -> bool {
        self.machine.tip().0 >= self.shared.config.slots
    }

    fn leader(&self, attempt: u32) -> Result<u16> {
        let key = self.machine.leader(attempt)?;
        let at = self.shared.keys.iter().position(|other| other.public() == key);
        at.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| Error::protocol("dpos: the leader is no node"))
    }

    fn quorum(&self) -> Result<usize> {
        Ok(usize::try_from(self.shared.set.quorum()?).unwrap_or(usize::MAX))
    }

    fn journal(&mut self, record: Vec<u8>, turn: &mut Turn) {
        self.tickets += 1;
        turn.step(Step::Persist { ticket: self.tickets, record });
    }

    fn enter(&mut self, attempt: u32, turn: &mut Turn) -> Result<()> {
        if self.done() {
            return Ok(());
        }
        self.attempt = attempt;
        self.reports.clear();
        turn.note("attempt", u64::from(attempt), Vec::new());
        let patience = self.shared.config.timeout.saturating_mul(1 << attempt.min(DOUBLINGS_MAX));
        turn.step(Step::Wake { at: turn.now().saturating_add(patience) });
        if self.leader(attempt)? != self.me {
            return Ok(());
        }
        if attempt == 0 {
            return self.lead(self.machine.accepted(), turn);
        }
        turn.broadcast(&frame(&wire::encode(&Ask { height: self.height(), attempt, prepare: true })?, &[]));
        self.machine.prepare(self.height(), attempt)?;
        self.speak(turn)
    }

    /// Leads the attempt: with the batch that is asked for, or with a new one.
    fn lead(&mut self, asked: Option<Digest>, turn: &mut Turn) -> Result<()> {
        let digest = match asked {
            Some(digest) => digest,
            None => {
                let batch = self.new_batch();
                let digest = hash::digest(CONTEXT_BATCH, &batch);
                self.keep(digest, &batch, turn)?;
                digest
            }
        };
        let reports = if self.attempt == 0 { Vec::new() } else { self.reports.clone() };
        self.machine.lead(self.attempt, digest, reports)?;
        self.speak(turn)
    }

    fn new_batch(&self) -> Vec<u8> {
        let mut batch = vec![0; self.shared.config.batch];
        batch[..8].copy_from_slice(&self.height().to_le_bytes());
        batch[8..12].copy_from_slice(&self.attempt.to_le_bytes());
        batch[12..14].copy_from_slice(&self.me.to_le_bytes());
        batch
    }

    /// Journals a batch that may be committed next.
    fn keep(&mut self, digest: Digest, batch: &[u8], turn: &mut Turn) -> Result<()> {
        if self.batches.contains_key(&digest) {
            return Ok(());
        }
        if self.batches.len() >= BATCHES_KEPT {
            let accepted = self.machine.accepted();
            let other = self.batches.keys().find(|other| Some(**other) != accepted).copied();
            other.map(|other| self.batches.remove(&other));
        }
        let bytes = Bytes::new("batch", batch.to_vec())?;
        self.journal(wire::encode(&Batch { height: self.height(), batch: bytes })?, turn);
        self.batches.insert(digest, batch.to_vec());
        Ok(())
    }

    /// Carries out what the machine says.
    fn speak(&mut self, turn: &mut Turn) -> Result<()> {
        for effect in self.machine.drain() {
            match effect {
                Effect::Persist { ticket, record } => turn.step(Step::Persist { ticket, record }),
                Effect::Output(Saying::Proposal(proposal)) => {
                    let batch = self.batches.get(&proposal.slot.digest).cloned().unwrap_or_default();
                    turn.broadcast(&frame(&wire::encode(&proposal)?, &batch));
                    self.proposed = Some(proposal.slot);
                    self.votes.clear();
                }
                Effect::Output(Saying::Vote(vote)) => match self.leader(vote.slot.attempt)? {
                    leader if leader == self.me => self.take_vote(vote, turn)?,
                    leader => turn.send(leader, frame(&wire::encode(&vote)?, &[])),
                },
                Effect::Output(Saying::Report(report)) => match self.leader(report.attempt)? {
                    leader if leader == self.me => self.take_report(report, turn)?,
                    leader => {
                        let accepted = report.accepted.and_then(|accepted| self.batches.get(&accepted.digest));
                        let batch = accepted.cloned().unwrap_or_default();
                        turn.send(leader, frame(&wire::encode(&report)?, &batch));
                    }
                },
            }
        }
        Ok(())
    }

    fn take_vote(&mut self, vote: Vote, turn: &mut Turn) -> Result<()> {
        let Some(slot) = self.proposed.filter(|slot| *slot == vote.slot && slot.height == self.height()) else {
            return Err(Error::protocol("vote: it is not for what this node proposed"));
        };
        if self.votes.iter().any(|other| other.voter == vote.voter) || self.shared.set.position(&vote.voter).is_none() {
            return Err(Error::protocol("vote: of no delegate, or there already"));
        }
        self.votes.push(vote);
        if self.votes.len() < self.quorum()? {
            return Ok(());
        }
        let made = collect(&self.shared.set, &slot, &self.votes)?;
        let encoding = wire::encode(&made.certificate)?;
        turn.broadcast(&frame(&encoding, &[]));
        self.commit(made.certificate, encoding, turn)
    }

    fn take_report(&mut self, report: Report, turn: &mut Turn) -> Result<()> {
        let about = (report.height, report.attempt) == (self.height(), self.attempt) && self.attempt > 0;
        if !about || self.leader(self.attempt)? != self.me || self.has_proposed() {
            return Err(Error::protocol("report: it is of no use now"));
        }
        if self.reports.iter().any(|other| other.voter == report.voter) || self.reports.len() >= self.shared.keys.len()
        {
            return Err(Error::protocol("report: it is there already"));
        }
        self.reports.push(report);
        if self.reports.len() < self.quorum()? {
            return Ok(());
        }
        let weighed = self.machine.weigh(self.attempt, &self.reports);
        if let Ok(weighed) = &weighed {
            self.reports.clone_from(&weighed.reports);
        }
        let asked = weighed?.digest;
        if asked.is_some_and(|digest| !self.batches.contains_key(&digest)) {
            return Ok(()); // a later report brings it
        }
        self.lead(asked, turn)
    }

    fn has_proposed(&self) -> bool {
        self.proposed.is_some_and(|slot| (slot.height, slot.attempt) == (self.height(), self.attempt))
    }

    fn commit(&mut self, certificate: Certificate, encoding: Vec<u8>, turn: &mut Turn) -> Result<()> {
        let Slot { height, digest, .. } = certificate.slot;
        self.machine.committed(&certificate)?;
        self.journal(encoding.clone(), turn);
        self.speak(turn)?;
        turn.decide(height, digest);
        let batch = self.batches.remove(&digest).unwrap_or_default();
        self.ledger.insert(height, (encoding, batch));
        self.batches.clear();
        self.votes.clear();
        self.proposed = None;
        self.enter(0, turn)
    }

    fn take(&mut self, from: u16, bytes: &[u8], turn: &mut Turn) -> Result<()> {
        let (message, batch) = unframe(bytes)?;
        match message.first_chunk::<4>() {
            Some(b"CCpr") => self.take_proposal(&wire::decode(message)?, batch, turn),
            Some(b"CCvo") => self.take_vote(wire::decode(message)?, turn),
            Some(b"CCce") => self.take_certificate(from, message, batch, turn),
            Some(b"CCsa") => self.take_ask(from, &wire::decode(message)?, turn),
            Some(b"CCrt") => {
                let report: Report = wire::decode(message)?;
                if !batch.is_empty() {
                    self.keep(hash::digest(CONTEXT_BATCH, batch), batch, turn)?;
                }
                self.take_report(report, turn)
            }
            _ => Err(Error::input("dpos message: of no kind")),
        }
    }

    fn take_proposal(&mut self, proposal: &Proposal, batch: &[u8], turn: &mut Turn) -> Result<()> {
        let slot = proposal.slot;
        if hash::digest(CONTEXT_BATCH, batch) != slot.digest || batch.get(..8) != Some(&slot.height.to_le_bytes()) {
            return Err(Error::protocol("proposal: its batch is another, or of another height"));
        }
        if slot.height != self.height() {
            return Err(Error::protocol("proposal: of another height"));
        }
        self.machine.propose(proposal)?;
        self.keep(slot.digest, batch, turn)?; // its record goes to the disk before the machine's
        if slot.attempt > self.attempt {
            self.enter(slot.attempt, turn)?;
        }
        self.speak(turn)
    }

    fn take_certificate(&mut self, from: u16, message: &[u8], batch: &[u8], turn: &mut Turn) -> Result<()> {
        let certificate: Certificate = wire::decode(message)?;
        let Slot { height, digest, .. } = certificate.slot;
        if height < self.height() {
            return Ok(());
        }
        let known = self.batches.contains_key(&digest);
        let brought = hash::digest(CONTEXT_BATCH, batch) == digest;
        if height > self.height() || !(known || brought) {
            return self.ask(from, turn);
        }
        certificate.verify(&self.shared.set)?;
        if !known {
            self.keep(digest, batch, turn)?;
        }
        self.commit(certificate, message.to_vec(), turn)
    }

    fn ask(&self, whom: u16, turn: &mut Turn) -> Result<()> {
        let ask = Ask { height: self.height(), attempt: self.attempt, prepare: false };
        turn.send(whom, frame(&wire::encode(&ask)?, &[]));
        Ok(())
    }

    fn take_ask(&mut self, from: u16, ask: &Ask, turn: &mut Turn) -> Result<()> {
        if ask.height < self.height() {
            for (certificate, batch) in self.ledger.range(ask.height..).take(ANSWERS_MAX as usize).map(|(_, both)| both)
            {
                turn.send(from, frame(certificate, batch));
            }
            return Ok(());
        }
        if ask.height > self.height() {
            return self.ask(from, turn);
        }
        if self.done() || ask.attempt > self.attempt.saturating_add(AHEAD_MAX) {
            return Err(Error::protocol("ask: of an attempt that is far ahead, or there is nothing to do"));
        }
        let leader = self.leader(ask.attempt)?;
        if ask.prepare && leader == from {
            self.machine.prepare(ask.height, ask.attempt)?;
            if ask.attempt > self.attempt {
                self.enter(ask.attempt, turn)?;
            }
            return self.speak(turn);
        }
        if !ask.prepare && leader == self.me && ask.attempt > self.attempt {
            return self.enter(ask.attempt, turn);
        }
        Ok(())
    }

    /// What is refused changes nothing and is put into the table.
    fn settle(outcome: Result<()>, turn: &mut Turn) {
        if let Err(error) = outcome {
            turn.note("refused", 0, error.to_string().into_bytes());
        }
    }
}

impl Node for DelegateNode {
    fn start(&mut self, turn: &mut Turn) {
        let (height, tip) = self.machine.tip();
        if height > 0 {
            turn.decide(height, tip);
        }
        let outcome = self.enter(self.attempt, turn);
        Self::settle(outcome, turn);
    }

    fn receive(&mut self, from: u16, message: &[u8], turn: &mut Turn) {
        let outcome = self.take(from, message, turn);
        Self::settle(outcome, turn);
    }

    fn wake(&mut self, turn: &mut Turn) {
        if self.done() {
            return;
        }
        let next = self.attempt.saturating_add(1);
        let ask = wire::encode(&Ask { height: self.height(), attempt: next, prepare: false });
        let outcome = ask.and_then(|ask| {
            turn.broadcast(&frame(&ask, &[]));
            self.enter(next, turn)
        });
        Self::settle(outcome, turn);
    }

    fn durable(&mut self, ticket: u64, turn: &mut Turn) {
        if ticket >= OWN_TICKETS {
            return;
        }
        match self.machine.durable(ticket).and_then(|()| self.speak(turn)) {
            Err(error @ Error::Input(_)) => turn.fail(error.to_string()),
            outcome => Self::settle(outcome, turn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::many::each_seed;
    use crate::sim::{Failure, Faults, Network, Partition, Simulation, Stop, Storm};

    fn run(seed: u64, nodes: u16, network: Network, faults: Faults, config: Config) -> Simulation {
        let made = Delegates::new(seed, nodes, config).unwrap();
        let replay = format!("CITY_CHAIN_SEED={seed} cargo test --lib sim::dpos");
        Simulation::new(seed, nodes, network, faults, made).unwrap().with_replay(replay)
    }

    #[test]
    fn three_hops_and_three_times_n_minus_one_messages_a_batch() {
        for nodes in [4u16, 7, 10] {
            let config = Config { slots: 10, ..Config::default() };
            let mut run = run(1, nodes, Network::exact(1_000), Faults::none(), config);
            assert_eq!(run.run(10_000_000), Ok(Stop::Idle));
            assert!((0..nodes).all(|node| run.agreement().count(node) == 10));
            let wanted = 10 * 3 * (u64::from(nodes) - 1);
            assert_eq!(run.trace().messages().messages, wanted);
            assert_eq!(run.agreement().slots()[&1].at, 2_000, "the leader knows after two hops");
            assert!(run.agreement().of_node(0).unwrap()[&10] <= 31_000);
        }
    }

    #[test]
    fn storms_partitions_and_losses_neither_fork_nor_stop_it() {
        each_seed(0, 40, |seed| -> std::result::Result<(), Failure> {
            let cut = Partition { begin: 100_000, end: 600_000, groups: vec![vec![0, 1], vec![2, 3]], holds: false };
            let network = Network { partitions: vec![cut], calm: Some(2_000_000), late: 50_000, ..Network::hostile() };
            let storm = Storm { begin: 0, end: 2_000_000, every: 100_000, down: 60_000, at_once: 1 };
            let config = Config { slots: 100_000, batch: 100, ..Config::default() };
            let mut run = run(seed, 4, network, Faults { crashes: Vec::new(), storm: Some(storm) }, config);
            run.progress(3, 30_000_000)
        })
        .unwrap();
    }

    #[test]
    fn hostile_bytes_change_nothing() {
        let made = Delegates::new(1, 4, Config::default()).unwrap();
        let mut node = DelegateNode::new(1, made.0.clone(), &[]).unwrap();
        let before = node.machine.snapshot().unwrap();
        let mut turn = Turn::new(1, 4, 0);
        let long = [&b"CCpr"[..], &u32::MAX.to_le_bytes()].concat();
        for bytes in [&b""[..], b"abc", &long, &frame(b"CCvo\x01\x00", &[]), &frame(b"CCzz", b"x"), &[0; 64]] {
            assert!(node.take(0, bytes, &mut turn).is_err(), "{bytes:?}");
        }
        assert!(turn.into_parts().0.is_empty());
        assert_eq!(node.machine.snapshot().unwrap(), before);
        assert_eq!(unframe(&frame(b"ab", b"cde")).unwrap(), (&b"ab"[..], &b"cde"[..]));
        assert!(Delegates::new(1, 4, Config { batch: 15, ..Config::default() }).is_err());
    }

    #[test]
    fn the_bytes_of_an_ask_are_pinned() {
        let ask = Ask { height: 5, attempt: 2, prepare: true };
        assert_eq!(hash::hex(&wire::encode(&ask).unwrap()), "434373610100050000000000000002000000".to_owned() + "01");
        let batch = Batch { height: 5, batch: Bytes::new("batch", vec![9]).unwrap() };
        assert_eq!(hash::hex(&wire::encode(&batch).unwrap()), "434373620100050000000000000001000000".to_owned() + "09");
    }
}
