//! The mutants of HotStuff and the scenarios that kill them: one validator of four, at place 0, with messages made by the
//! keys of the others. Place r % 4 leads round r, so votes of round 3 come to place 0.

use city_chain_native::algorithms::hs::message::{
    Block, Header, Message, PAYLOAD_MAX, Proposal, Qc, SyncRequest, Tc, Timeout, TimeoutVote, Vote, payload_digest,
};
use city_chain_native::algorithms::hs::{Config, Event, HotStuff, Keys};
use city_chain_native::crypto::bls::{SecretKey, ShownKey, Signature};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::crypto::hash::Digest;
use city_chain_native::primitives::committee::{Committee, Member};
use city_chain_native::primitives::machine::{Action, Machine};
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire::{Bytes, List, Record};

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    ("hs.consecutive", consecutive),
    ("hs.direct-parent", direct_parent),
    ("hs.commit-order", commit_order),
    ("hs.commit-ancestors", commit_order),
    ("hs.commit-once", commit_once),
    ("hs.qc-round", qc_round),
    ("hs.unknown-parent", unknown_parent),
    ("hs.quorum", quorum),
    ("hs.leader", leader),
    ("hs.first-vote", first_vote),
    ("hs.vote-epoch", vote_epoch),
    ("hs.last-voted", last_voted),
    ("hs.persist-first", persist_first),
    ("hs.amnesia", amnesia),
    ("hs.lock", lock),
    ("hs.vote-after-timeout", vote_after_timeout),
    ("hs.same-bytes", same_bytes),
    ("hs.timeout-signature", timeout_signature),
    ("hs.join", join),
    ("hs.tc-distinct", tc_distinct),
    ("hs.tc-high-qc", tc_high_qc),
    ("hs.tc-rule", tc_rule),
    ("hs.possession", possession),
    ("hs.share", share),
    ("hs.share-bound", share_bound),
    ("hs.signers", signers),
    ("hs.form", form),
    ("hs.kept", kept),
    ("hs.late", late),
    ("hs.served", served),
    ("hs.journal-blocks", journal_blocks),
];

type Outcome = Result<(), String>;

const CHAIN: Digest = [0xc4; 32];
const EPOCH: u64 = 3;
const GENESIS: Digest = [0x60; 32];
const PLACES: u16 = 4;
const QUORUM: [u16; 3] = [1, 2, 3];
/// A time at which every round is over.
const LATE: u64 = 1 << 40;

fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

fn key(place: u16) -> SigningKey {
    SigningKey::from_seed(&[place as u8 + 1; 32])
}

fn committee() -> Committee {
    Committee::new((0..PLACES).map(|place| Member { key: key(place).public(), weight: 1 }).collect()).unwrap()
}

fn secret(place: u16) -> SecretKey {
    SecretKey::of_master(&[place as u8 + 1; 32]).unwrap()
}

fn keys(place: u16) -> Keys {
    (key(place), secret(place)).into()
}

/// The same committee with certificates of one signature.
fn shared() -> Committee {
    let shown: Vec<ShownKey> = (0..PLACES).map(|place| ShownKey::of(&secret(place))).collect();
    committee().with_aggregates(&shown).unwrap()
}

/// A vote with a share of the certificate.
fn cast(place: u16, block: Digest) -> Vote {
    Vote::cast(&keys(place), CHAIN, EPOCH, 3, block, place)
}

/// What goes over the wire, whether or not an honest validator would encode it.
fn raw<R: Record>(record: &R) -> Vec<u8> {
    let mut bytes = R::TAG.to_vec();
    bytes.extend_from_slice(&record.version().to_le_bytes());
    record.write_body(&mut bytes).unwrap();
    bytes
}

fn genesis() -> Qc {
    Qc::genesis(GENESIS)
}

/// A certificate of a block by these validators.
fn certified(round: u64, block: Digest, voters: &[u16]) -> Qc {
    let vote = |place: &u16| (*place, Vote::new(&key(*place), CHAIN, EPOCH, round, block, *place).signature);
    Qc::new(&committee(), round, block, voters.iter().map(vote).collect()).unwrap()
}

fn qc(proposal: &Proposal) -> Qc {
    certified(proposal.round(), proposal.id(), &QUORUM)
}

/// A proposal of any place, on the block of `parent`.
fn proposed(by: u16, round: u64, parent: Qc, tc: Option<Tc>, payload: &[u8]) -> Proposal {
    let header = Header {
        chain: CHAIN,
        epoch: EPOCH,
        round,
        parent: parent.block,
        qc_round: parent.round,
        tc: tc.as_ref().map(|tc| tc.digest().unwrap()),
        payload: payload_digest(payload),
        proposer: by,
    };
    let block = Block { header, payload: Bytes::new("payload", payload.to_vec()).unwrap() };
    Proposal::new(&key(by), block, parent, tc)
}

/// The proposal of the round's leader.
fn proposal(round: u64, parent: Qc, tc: Option<Tc>) -> Proposal {
    proposed((round % u64::from(PLACES)) as u16, round, parent, tc, b"payload")
}

fn timeout(place: u16, round: u64, high_qc: Qc, tc: Option<Tc>) -> Timeout {
    Timeout::new(&key(place), (CHAIN, EPOCH, round), high_qc, tc, place)
}

/// A timeout certificate by these validators, all of which had `high_qc`.
fn tc(round: u64, high_qc: Qc, voters: &[u16]) -> Tc {
    let vote = |place: &u16| {
        let signature = timeout(*place, round, high_qc.clone(), None).signature;
        TimeoutVote { voter: *place, qc_round: high_qc.round, signature }
    };
    let votes = List::new("votes", voters.iter().map(vote).collect()).unwrap();
    Tc { round, high_qc, votes }
}

/// The validator at place 0, its disk, and what came out of it.
struct Validator {
    machine: HotStuff,
    now: u64,
    disk: Vec<Vec<u8>>,
    /// Whether its disk works.
    writes: bool,
    said: Vec<Vec<u8>>,
    commits: Vec<Digest>,
    evidence: usize,
}

impl Validator {
    fn new() -> Self {
        Self::of(HotStuff::new(CHAIN, EPOCH, committee(), key(0), GENESIS, Config::default()).unwrap(), Vec::new())
    }

    fn of(machine: HotStuff, disk: Vec<Vec<u8>>) -> Self {
        let (said, commits) = (Vec::new(), Vec::new());
        let mut made = Self { machine, now: 0, disk, writes: true, said, commits, evidence: 0 };
        made.machine.start(0).unwrap();
        made.settle();
        made
    }

    /// One of a committee with aggregate keys.
    fn shared() -> Self {
        Self::of(HotStuff::new(CHAIN, EPOCH, shared(), keys(0), GENESIS, Config::default()).unwrap(), Vec::new())
    }

    fn hear_vote(&mut self, vote: &Vote) -> Result<(), String> {
        let outcome = self.machine.handle(vote.voter, &vote.encode().unwrap(), self.now);
        self.settle();
        outcome.map_err(|error| error.to_string())
    }

    /// As it is after a crash: from its disk.
    fn restarted(&self, amnesia: bool) -> Self {
        let config = Config::default();
        let machine = HotStuff::restore(CHAIN, EPOCH, committee(), key(0), GENESIS, config, &self.disk, amnesia);
        Self::of(machine.unwrap(), self.disk.clone())
    }

    fn settle(&mut self) {
        loop {
            let effects = self.machine.drain();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Persist { .. } if !self.writes => {}
                    Effect::Persist { ticket, record } => {
                        self.disk.push(record);
                        self.machine.durable(ticket).unwrap();
                    }
                    Effect::Output(Action::Send { message, .. } | Action::Broadcast { message }) => {
                        self.said.push(message);
                    }
                    Effect::Output(Action::Deadline { .. }) => {}
                    Effect::Output(Action::Event(event)) => self.happened(event),
                }
            }
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::ValidatePayload { block, .. } => self.machine.payload_result(block, true, self.now).unwrap(),
            Event::Commit { block, .. } => self.commits.push(block),
            Event::Evidence(_) => self.evidence += 1,
            Event::NeedPayload { .. } | Event::EnteredRound { .. } => {}
        }
    }

    fn hear<R: Record>(&mut self, from: u16, record: &R) -> Result<(), String> {
        let outcome = self.machine.handle(from, &raw(record), self.now);
        self.settle();
        outcome.map_err(|error| error.to_string())
    }

    /// Hears the leaders' proposals.
    fn follow(&mut self, proposals: &[&Proposal]) -> Outcome {
        proposals.iter().try_for_each(|proposal| self.hear(proposal.block.header.proposer, *proposal))
    }

    fn tick(&mut self) {
        self.now += LATE;
        self.machine.tick(self.now).unwrap();
        self.settle();
    }

    fn votes(&self) -> Vec<Vote> {
        let vote = |bytes: &Vec<u8>| match Message::decode(bytes) {
            Ok(Message::Vote(vote)) => Some(vote),
            _ => None,
        };
        self.said.iter().filter_map(vote).collect()
    }

    fn timeouts(&self) -> Vec<Timeout> {
        let timeout = |bytes: &Vec<u8>| match Message::decode(bytes) {
            Ok(Message::Timeout(timeout)) => Some(timeout),
            _ => None,
        };
        self.said.iter().filter_map(timeout).collect()
    }
}

/// A validator with a certified block of round 1, after failed rounds whose blocks are more than it has places for; the block
/// of round 1, and the first of those.
fn starved() -> Result<(Validator, Proposal, Proposal), String> {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let certificate = qc(&one);
    let two = proposal(2, certificate.clone(), None);
    validator.follow(&[&one, &two])?;
    let failed = |round| {
        let by = (round % u64::from(PLACES)) as u16;
        proposed(by, round, certificate.clone(), Some(tc(round - 1, certificate.clone(), &QUORUM)), &[0; PAYLOAD_MAX])
    };
    for round in 3..150 {
        validator.follow(&[&failed(round)])?;
    }
    Ok((validator, one, failed(3)))
}

/// What leads to the highest certificate stays where blocks must go.
fn kept() -> Outcome {
    let (validator, one, _) = starved()?;
    ensure(!validator.machine.is_behind() && validator.machine.block(&one.id()).is_some(), "a certified block is gone")
}

/// The certificate of a block that was dropped long ago does not make the validator wait for that block.
fn late() -> Outcome {
    let (mut validator, one, failed) = starved()?;
    let round = validator.machine.round();
    let hidden = tc(round, qc(&failed), &QUORUM);
    validator.hear(1, &timeout(1, round + 1, qc(&failed), Some(hidden)))?;
    ensure(validator.machine.high_qc() == &qc(&one), "it waits for a block that nobody may have")
}

/// Who claims to be further than it is gets no second answer at one time.
fn served() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let two = proposal(2, qc(&one), None);
    validator.follow(&[&one, &two])?;
    validator.said.clear();
    for round in 0..9 {
        let committed = (0, GENESIS);
        validator.hear(2, &SyncRequest { chain: CHAIN, epoch: EPOCH, committed, tip: (round, [9; 32]) })?;
    }
    ensure(validator.said.len() == 1, "an answer for every claim")
}

/// A journal with a block whose payload is another than its header says is not taken.
fn journal_blocks() -> Outcome {
    let mut validator = Validator::new();
    validator.follow(&[&proposal(1, genesis(), None)])?;
    let record = validator.disk.last_mut().ok_or("no record")?;
    let at = record.windows(7).position(|bytes| bytes == b"payload").ok_or("no block in the record")?;
    record[at] ^= 1;
    let config = Config::default();
    let restored = HotStuff::restore(CHAIN, EPOCH, committee(), key(0), GENESIS, config, &validator.disk, false);
    ensure(restored.is_err(), "a block with another payload")
}

/// Blocks of rounds 1 and 3, certified, commit nothing: round 2 may have certified another.
fn consecutive() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let three = proposal(3, qc(&one), Some(tc(2, qc(&one), &QUORUM)));
    let five = proposal(5, qc(&three), Some(tc(4, qc(&three), &QUORUM)));
    validator.follow(&[&one, &three, &five])?;
    ensure(validator.commits.is_empty(), "a commit over a gap of rounds")
}

/// Blocks of rounds 1 and 2, both certified, of which the second does not follow the first, commit nothing.
fn direct_parent() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let two = proposal(2, genesis(), Some(tc(1, genesis(), &QUORUM)));
    let three = proposal(3, qc(&two), None);
    validator.follow(&[&one, &two, &three])?;
    ensure(validator.commits.is_empty(), "a commit of what is no parent")
}

/// The ancestors are committed too, oldest first.
fn commit_order() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let three = proposal(3, qc(&one), Some(tc(2, qc(&one), &QUORUM)));
    let five = proposal(5, qc(&three), Some(tc(4, qc(&three), &QUORUM)));
    let six = proposal(6, qc(&five), None);
    let seven = proposal(7, qc(&six), None);
    validator.follow(&[&one, &three, &five, &six, &seven])?;
    ensure(validator.commits == [one.id(), three.id(), five.id()], "the commits are not the ancestors, oldest first")
}

/// Every block is committed exactly once.
fn commit_once() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let two = proposal(2, qc(&one), None);
    let three = proposal(3, qc(&two), None);
    let five = proposal(5, qc(&three), Some(tc(4, qc(&three), &QUORUM)));
    validator.follow(&[&one, &two, &three, &five])?;
    ensure(validator.commits == [one.id(), two.id()], "the commits are not those two, each once")
}

/// A certificate that gives the block of round 1 as one of round 4 is not accepted, even if a quorum signed it.
fn qc_round() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    let inflated = proposal(5, certified(4, one.id(), &QUORUM), None);
    ensure(validator.follow(&[&inflated]).is_err(), "a certificate of another round than its block's")?;
    ensure(validator.votes().len() == 1 && validator.machine.round() < 5, "it counts for something")
}

/// What follows a block that is not here is not voted for.
fn unknown_parent() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&proposal(2, qc(&one), None)])?;
    ensure(validator.votes().is_empty(), "a vote for a block whose parent is not here")
}

/// Two of four are no quorum.
fn quorum() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    let two = proposal(2, certified(1, one.id(), &QUORUM[..2]), None);
    ensure(validator.follow(&[&two]).is_err(), "a certificate of two signatures")
}

/// Only the leader proposes.
fn leader() -> Outcome {
    let mut validator = Validator::new();
    let one = proposed(3, 1, genesis(), None, b"payload");
    ensure(validator.hear(3, &one).is_err() && validator.votes().is_empty(), "a proposal by place 3 in round 1")
}

/// Of two votes of one author in a round the first counts, and both are evidence.
fn first_vote() -> Outcome {
    let mut validator = Validator::new();
    let vote = |place: u16, block| Vote::new(&key(place), CHAIN, EPOCH, 3, block, place);
    for (place, block) in [(1, [1; 32]), (2, [2; 32]), (3, [2; 32]), (1, [2; 32])] {
        validator.hear(place, &vote(place, block))?;
    }
    ensure(validator.evidence == 1, "two votes are no evidence")?;
    validator.hear(1, &vote(1, [2; 32]))?;
    ensure(validator.machine.round() == 1 && validator.evidence == 1, "a second vote counts")
}

/// A vote of another epoch is none, whatever epoch it says it is of.
fn vote_epoch() -> Outcome {
    let mut validator = Validator::new();
    let foreign = Vote::new(&key(1), CHAIN, EPOCH + 1, 3, [1; 32], 1);
    let outcome = validator.hear(1, &Vote { epoch: EPOCH, ..foreign });
    ensure(outcome.is_err(), "a vote of another epoch counts")
}

/// After a restart it does not vote for another block in a round that it voted in.
fn last_voted() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    ensure(validator.votes().len() == 1, "no vote for a good block")?;
    let mut again = validator.restarted(false);
    let other = proposed(1, 1, genesis(), None, b"another");
    let _ = again.hear(1, &other);
    let said = [validator.votes(), again.votes()].concat();
    ensure(said.iter().all(|vote| vote.block == one.id()), "two votes in one round")
}

/// A vote does not leave before its record is durable.
fn persist_first() -> Outcome {
    let mut validator = Validator::new();
    validator.writes = false;
    validator.follow(&[&proposal(1, genesis(), None)])?;
    ensure(validator.said.is_empty(), "it speaks before its record is durable")
}

/// Who lost the journal signs nothing.
fn amnesia() -> Outcome {
    let mut validator = Validator::new().restarted(true);
    validator.follow(&[&proposal(1, genesis(), None)])?;
    validator.tick();
    let mut again = validator.restarted(false);
    again.tick();
    let silent = |validator: &Validator| validator.votes().is_empty() && validator.timeouts().is_empty();
    ensure(silent(&validator) && silent(&again), "an observer signs")
}

/// Who voted for a block says, when it gives a round up, that the parent is certified.
fn lock() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let two = proposal(2, qc(&one), None);
    validator.follow(&[&one, &two])?;
    for place in QUORUM {
        validator.hear(place, &timeout(place, 2, qc(&one), None))?;
    }
    ensure(validator.machine.round() == 3, "a quorum of timeouts does not end a round")?;
    validator.tick();
    let last = validator.timeouts().pop().filter(|timeout| timeout.round == 3);
    ensure(last.is_some_and(|timeout| timeout.high_qc.round >= 1), "a timeout with a certificate below its lock")
}

/// Who gave a round up does not vote in it.
fn vote_after_timeout() -> Outcome {
    let mut validator = Validator::new();
    validator.tick();
    ensure(validator.timeouts().len() == 1, "it does not give up")?;
    let _ = validator.follow(&[&proposal(1, genesis(), None)]);
    ensure(validator.votes().is_empty(), "a vote in a round that was given up")
}

/// What was said is said again in the same bytes, also if more is known by now, and after a restart.
fn same_bytes() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    let two = proposal(2, qc(&one), None);
    validator.follow(&[&one, &two])?;
    let ended = tc(2, qc(&one), &QUORUM);
    for place in QUORUM {
        validator.hear(place, &timeout(place, 2, qc(&one), None))?;
    }
    validator.tick();
    validator.hear(1, &timeout(1, 3, qc(&two), Some(ended)))?;
    ensure(validator.machine.high_qc().round == 2, "a certificate in a timeout is not taken")?;
    validator.tick();
    let mut again = validator.restarted(false);
    again.tick();
    let all = [validator.timeouts(), again.timeouts()].concat();
    let of_three: Vec<&Timeout> = all.iter().filter(|timeout| timeout.round == 3).collect();
    let same = of_three.windows(2).all(|pair| pair[0] == pair[1]);
    ensure(of_three.len() >= 3 && same, "a timeout is said again in other bytes")
}

/// Timeouts count with a right signature only.
fn timeout_signature() -> Outcome {
    let mut validator = Validator::new();
    for place in QUORUM {
        let mut forged = timeout(place, 1, genesis(), None);
        forged.signature[9] ^= 1;
        let refused = validator.hear(place, &forged).is_err();
        ensure(refused && validator.machine.round() == 1, "a forged timeout counts")?;
    }
    Ok(())
}

/// Whoever hears that somebody honest gave the round up gives it up too.
fn join() -> Outcome {
    let mut validator = Validator::new();
    for place in [1, 2] {
        validator.hear(place, &timeout(place, 1, genesis(), None))?;
    }
    ensure(validator.timeouts().len() == 1, "it does not join two that gave up")
}

/// One validator's signature three times is no timeout certificate.
fn tc_distinct() -> Outcome {
    let mut validator = Validator::new();
    let two = proposal(2, genesis(), Some(tc(1, genesis(), &[1, 1, 1])));
    ensure(validator.follow(&[&two]).is_err() && validator.machine.round() == 1, "one signature three times")
}

/// The certificate in a timeout certificate is the highest that its signers had.
fn tc_high_qc() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    let hides = Tc { high_qc: genesis(), ..tc(2, qc(&one), &QUORUM) };
    let three = proposal(3, genesis(), Some(hides));
    ensure(validator.follow(&[&three]).is_err(), "a timeout certificate hides what was certified")
}

/// A block after a timeout certificate follows what its signers had certified.
fn tc_rule() -> Outcome {
    let mut validator = Validator::new();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    let three = proposal(3, genesis(), Some(tc(2, qc(&one), &QUORUM)));
    let refused = validator.follow(&[&three]).is_err();
    ensure(refused && validator.votes().len() == 1, "a block that passes over a certified one")
}

/// A key without a proof that its holder has the secret does not get into a committee.
fn possession() -> Outcome {
    let mut shown: Vec<ShownKey> = (0..PLACES).map(|place| ShownKey::of(&secret(place))).collect();
    shown[3] = ShownKey { public: secret(9).public(), ..shown[3] };
    ensure(committee().with_aggregates(&shown).is_err(), "an aggregate key that nobody proved")
}

/// A wrong share is found before it is in a certificate, and is evidence.
fn share() -> Outcome {
    let mut validator = Validator::shared();
    let of = (CHAIN, EPOCH, 3, [7; 32]);
    validator.hear_vote(&Vote::with_share(&key(2), of, 2, cast(1, [7; 32]).share))?;
    for place in [1, 3] {
        validator.hear_vote(&cast(place, [7; 32]))?;
    }
    let found = validator.machine.round() == 1 && validator.evidence == 1;
    ensure(found, "a certificate with a wrong share in it")
}

/// Nobody but the voter can put a wrong share to its vote.
fn share_bound() -> Outcome {
    let mut validator = Validator::shared();
    let replaced = Vote { share: cast(1, [8; 32]).share, ..cast(1, [7; 32]) };
    ensure(validator.hear_vote(&replaced).is_err(), "a share that its voter did not sign for")
}

/// A certificate is of its signers only, also when the same signature was found right for others.
fn signers() -> Outcome {
    let mut validator = Validator::shared();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    let vote = |place: u16| {
        let share = Vote::cast(&keys(place), CHAIN, EPOCH, 1, one.id(), place).share.unwrap();
        (place, Signature::from_bytes(&share).unwrap())
    };
    let good = Qc::aggregate(&shared(), 1, one.id(), &QUORUM.map(vote)).unwrap();
    let other = Qc { signers: Bytes::new("signers", vec![0b0111]).unwrap(), ..good.clone() };
    let mut second = Validator::shared();
    second.follow(&[&one])?;
    validator.follow(&[&proposal(2, good, None)])?;
    ensure(second.follow(&[&proposal(2, other, None)]).is_err(), "a certificate that names who did not sign")
}

/// Where certificates are one signature a list is none.
fn form() -> Outcome {
    let mut validator = Validator::shared();
    let one = proposal(1, genesis(), None);
    validator.follow(&[&one])?;
    ensure(validator.follow(&[&proposal(2, qc(&one), None)]).is_err(), "a certificate of the other form")
}
