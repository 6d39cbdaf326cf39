//! HotStuff: hostile bytes into one machine whose keys are known here, so that what is signed rightly gets deep.

use std::cell::RefCell;
use std::sync::LazyLock;

use city_chain_native::algorithms::hs::message::{
    Block, Header, Message, Proposal, Qc, SharedVote, SyncRequest, SyncResponse, Tc, Timeout, TimeoutVote, Vote,
    payload_digest, timeout_message, vote_message,
};
use city_chain_native::algorithms::hs::{CommitProof, Config, Event, Evidence, HotStuff, Keys};
use city_chain_native::crypto::bls::{SecretKey, ShownKey, Signature};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::crypto::hash::{Digest, digest};
use city_chain_native::error::Result;
use city_chain_native::primitives::committee::{Committee, Member};
use city_chain_native::primitives::machine::{Action, Machine as _};
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire::{self, Bytes, List};

use super::Script;

const CHAIN: Digest = [0xc1; 32];
const GENESIS: Digest = [0x6e; 32];

static KEYS: LazyLock<Vec<SigningKey>> =
    LazyLock::new(|| (0..4u8).map(|at| SigningKey::from_seed(&[at; 32])).collect());
static COMMITTEE: LazyLock<Committee> = LazyLock::new(|| {
    let members = KEYS.iter().map(|key| Member { key: key.public(), weight: 1 }).collect();
    Committee::new(members).expect("four members")
});
static SECRETS: LazyLock<Vec<SecretKey>> =
    LazyLock::new(|| (0..4u8).map(|at| SecretKey::of_master(&[at; 32]).expect("a key")).collect());
static SHARED: LazyLock<Committee> = LazyLock::new(|| {
    let shown: Vec<ShownKey> = SECRETS.iter().map(ShownKey::of).collect();
    COMMITTEE.clone().with_aggregates(&shown).expect("proven keys")
});

/// The committee: with certificates of one signature, or of lists.
fn committee(shared: bool) -> &'static Committee {
    if shared { &SHARED } else { &COMMITTEE }
}

fn keys(place: u16, shared: bool) -> Keys {
    let (signing, aggregate) = (KEYS[usize::from(place)].clone(), SECRETS[usize::from(place)].clone());
    Keys { signing, aggregate: shared.then_some(aggregate) }
}

/// A vote, now and then with the share of another block.
fn vote(script: &mut Script<'_>, of: (u64, Digest), place: u16, shared: bool) -> Vote {
    let right = Vote::cast(&keys(place, shared), CHAIN, 0, of.0, of.1, place);
    if !shared || script.byte() < 200 {
        return right;
    }
    let other = SECRETS[usize::from(place)].sign(&[script.byte()]);
    Vote::with_share(&KEYS[usize::from(place)], (CHAIN, 0, of.0, of.1), place, Some(other))
}

/// A certificate by the places of `mask`, of what is known or of anything.
fn certificate(script: &mut Script<'_>, known: &[(u64, Digest)], shared: bool) -> Qc {
    let at = usize::from(script.byte());
    let (round, block) = known[at % known.len()];
    let round = if at > 200 { script.long() } else { round };
    if round == 0 {
        return Qc::genesis(block);
    }
    let mask = script.byte() | if at % 3 > 0 { 7 } else { 0 };
    let message = vote_message(&CHAIN, 0, round, &block);
    let votes = (0..4u16).filter(|place| mask >> place & 1 == 1);
    if shared && mask & 15 != 0 {
        let share = |place: u16| Signature::from_bytes(&SECRETS[usize::from(place)].sign(&message)).expect("a share");
        let votes: Vec<(u16, Signature)> = votes.map(|place| (place, share(place))).collect();
        return Qc::aggregate(&SHARED, round, block, &votes).expect("members");
    }
    let votes = votes.map(|place| (place, KEYS[usize::from(place)].sign(&message))).collect();
    Qc::new(&COMMITTEE, round, block, votes).expect("members")
}

fn timeouts(script: &mut Script<'_>, round: u64, high_qc: &Qc) -> Tc {
    let count = u16::from(script.byte() % 5);
    let vote = |voter: u16| {
        let message = timeout_message(&CHAIN, 0, round, high_qc.round);
        TimeoutVote { voter, qc_round: high_qc.round, signature: KEYS[usize::from(voter)].sign(&message) }
    };
    let votes = List::new("votes", (0..count).map(vote).collect()).expect("four at most");
    Tc { round, high_qc: high_qc.clone(), votes }
}

/// A message that is right in most of its parts.
fn message(
    script: &mut Script<'_>,
    known: &mut Vec<(u64, Digest)>,
    blocks: &mut Vec<Proposal>,
    shared: bool,
) -> Option<Vec<u8>> {
    let kind = script.byte();
    let qc = certificate(script, known, shared);
    let gap = u64::from(script.byte() % 3);
    let round = qc.round.wrapping_add(1 + gap);
    let tc = (gap > 0).then(|| timeouts(script, round.wrapping_sub(1), &qc));
    let place = u16::from(script.byte()) % 4;
    match kind % 5 {
        0 => {
            let proposer = (round % 4) as u16;
            let payload = vec![script.byte()];
            let tc_digest = tc.as_ref().and_then(|tc| tc.digest().ok());
            let (parent, qc_round) = (qc.block, qc.round);
            let digest = payload_digest(&payload);
            let header =
                Header { chain: CHAIN, epoch: 0, round, parent, qc_round, tc: tc_digest, payload: digest, proposer };
            let block = Block { header, payload: Bytes::new("payload", payload).ok()? };
            let proposal = Proposal::new(&KEYS[usize::from(proposer)], block, qc, tc);
            known.push((round, proposal.id()));
            blocks.push(proposal.clone());
            wire::encode(&proposal).ok()
        }
        1 => {
            let block = known[usize::from(script.byte()) % known.len()];
            vote(script, block, place, shared).encode().ok()
        }
        2 => wire::encode(&Timeout::new(&KEYS[usize::from(place)], (CHAIN, 0, round), qc, tc, place)).ok(),
        3 => {
            let tip = known[usize::from(script.byte()) % known.len()];
            wire::encode(&SyncRequest { chain: CHAIN, epoch: 0, committed: known[0], tip }).ok()
        }
        _ => {
            let start = usize::from(script.byte()) % (blocks.len() + 1);
            let blocks = List::new("blocks", blocks.iter().skip(start).take(8).cloned().collect()).ok()?;
            wire::encode(&SyncResponse { chain: CHAIN, epoch: 0, blocks, qc, tc }).ok()
        }
    }
}

/// Does what the machine asks for; returns what was committed, and its journal grows.
fn carry_out(
    machine: &mut HotStuff,
    script: &mut Script<'_>,
    journal: &mut Vec<Vec<u8>>,
    commits: &mut Vec<Digest>,
    shared: bool,
) {
    let mut steps = 0;
    loop {
        let effects = machine.drain();
        if effects.is_empty() || steps > 64 {
            return;
        }
        steps += 1;
        for effect in effects {
            match effect {
                Effect::Persist { ticket, record } => {
                    journal.push(record);
                    machine.durable(ticket).expect("it was handed out");
                }
                Effect::Output(Action::Event(Event::NeedPayload { .. })) => {
                    let _ = machine.propose(vec![1], 0);
                }
                Effect::Output(Action::Event(Event::ValidatePayload { block, .. })) => {
                    let _ = machine.payload_result(block, script.byte() != 1, 0);
                }
                Effect::Output(Action::Event(Event::Commit { block, proof, .. })) => {
                    proof.verify(committee(shared), &CHAIN, 0).expect("what is committed is proved");
                    commits.push(block);
                }
                Effect::Output(Action::Event(Event::Evidence(bytes))) => {
                    let evidence: Evidence = wire::decode(&bytes).expect("well-formed");
                    evidence.verify(committee(shared), &CHAIN, 0).expect("evidence holds");
                }
                Effect::Output(Action::Send { message, .. } | Action::Broadcast { message }) => {
                    Message::decode(&message).expect("what is sent is well-formed");
                }
                Effect::Output(_) => {}
            }
        }
    }
}

fn restored(journal: &[Vec<u8>], shared: bool) -> Result<HotStuff> {
    let (committee, keys) = (committee(shared).clone(), keys(0, shared));
    HotStuff::restore(CHAIN, 0, committee, keys, GENESIS, Config::default(), journal, false)
}

fn machine(journal: &[Vec<u8>], shared: bool) -> HotStuff {
    restored(journal, shared).expect("its own journal")
}

/// How many of 256 inputs are scripts of signed messages; the others are for the decoders and for one handler.
const SCRIPTS: u8 = 8;

/// The messages of a script; fewer where certificates are one signature, which are dear to sign.
const STEPS: [usize; 2] = [24, 6];

/// A message of each kind, right in all or most of its parts, a journal record, a commit's proof and evidence; in both forms.
pub fn hotstuff_samples() -> Vec<Vec<u8>> {
    [samples_of(false), samples_of(true)].concat()
}

fn samples_of(shared: bool) -> Vec<Vec<u8>> {
    let (mut known, mut blocks, mut samples) = (vec![(0, GENESIS)], Vec::new(), Vec::new());
    for number in 0..40u8 {
        let bytes = digest("fuzz sample", &[number]);
        let kind = [&[number % 5], &bytes[..]].concat();
        samples.extend(message(&mut Script(&kind), &mut known, &mut blocks, shared));
    }
    let (mut journal, mut commits) = (Vec::new(), Vec::new());
    let mut machine = machine(&journal, shared);
    machine.start(0).expect("it begins");
    carry_out(&mut machine, &mut Script(&[]), &mut journal, &mut commits, shared);
    machine.tick(u64::MAX / 2).expect("there is room");
    carry_out(&mut machine, &mut Script(&[]), &mut journal, &mut commits, shared);
    samples.append(&mut journal);
    let headers: Vec<Header> = blocks.iter().take(2).map(|proposal| proposal.block.header).collect();
    let pair = [0, 1].map(|at| (headers[at], blocks[at].signature));
    let proof = CommitProof { headers: List::new("headers", headers).expect("two"), qc: blocks[1].qc.clone() };
    let more = [wire::encode(&proof), wire::encode(&Evidence::Proposals(pair))];
    samples.extend(more.into_iter().flatten());
    if shared {
        let cast = |block: u8| Vote::cast(&keys(1, true), CHAIN, 0, 3, [block; 32], 1);
        let wrong = Vote::with_share(&KEYS[1], (CHAIN, 0, 3, [1; 32]), 1, cast(2).share);
        let pair = Evidence::SharedVotes([SharedVote(cast(1)), SharedVote(cast(2))]);
        samples.extend(
            [wire::encode(&pair), wire::encode(&Evidence::WrongShare(SharedVote(wrong)))].into_iter().flatten(),
        );
    }
    samples
}

thread_local! {
    /// A machine that heard nothing, for as long as all is refused.
    static FRESH: RefCell<[Option<HotStuff>; 2]> = const { RefCell::new([None, None]) };
}

/// One handler of a machine that heard nothing: what is refused leaves it as it was.
fn handled(data: &[u8], shared: bool) {
    let mut kept = FRESH.take();
    let mut fresh = kept[usize::from(shared)].take().unwrap_or_else(|| {
        let mut fresh = machine(&[], shared);
        fresh.start(0).expect("it begins");
        fresh.drain();
        fresh
    });
    let before = fresh.snapshot().expect("within limits");
    if fresh.handle(3, data, 0).is_err() {
        assert_eq!(before, fresh.snapshot().expect("within limits"), "refused, and changed");
        kept[usize::from(shared)] = Some(fresh);
    }
    FRESH.set(kept);
}

/// HotStuff: what is refused changes nothing; every commit is proved and comes once; the journal brings it back.
pub fn hotstuff(data: &[u8]) {
    if Message::decode(data).is_ok() {
        [false, true].into_iter().for_each(|shared| handled(data, shared));
    }
    if data.starts_with(b"CChj") {
        let restart = |shared| restored(&[data.to_vec()], shared).map(|mut machine| machine.start(0));
        let _ = [false, true].map(restart);
    }
    if let Ok(proof) = wire::decode::<CommitProof>(data) {
        let verdicts = [false, true].map(|shared| proof.verify(committee(shared), &CHAIN, 0).is_ok());
        assert!(verdicts != [true; 2], "a certificate of both forms");
    }
    if let Ok(evidence) = wire::decode::<Evidence>(data) {
        let _ = [false, true].map(|shared| evidence.verify(committee(shared), &CHAIN, 0));
    }
    let mut script = Script(data);
    let form = script.byte();
    if form >= SCRIPTS {
        return;
    }
    let shared = form == SCRIPTS - 1;
    let (mut journal, mut commits, mut now) = (Vec::new(), Vec::new(), 0);
    let (mut known, mut blocks) = (vec![(0, GENESIS)], Vec::new());
    let mut machine = machine(&journal, shared);
    machine.start(0).expect("it begins");
    carry_out(&mut machine, &mut script, &mut journal, &mut commits, shared);
    for _ in 0..STEPS[usize::from(shared)] {
        if script.done() {
            break;
        }
        let Some(mut bytes) = message(&mut script, &mut known, &mut blocks, shared) else { continue };
        if script.byte() > 200 {
            let at = script.short() % bytes.len();
            bytes[at] ^= script.byte() | 1;
        }
        let before = machine.snapshot().expect("within limits");
        now += u64::from(script.byte()) * 1000;
        if machine.handle(u16::from(script.byte() % 4), &bytes, now).is_err() {
            assert_eq!(before, machine.snapshot().expect("within limits"), "refused, and changed");
        }
        if script.byte() > 200 {
            machine.tick(now).expect("there is room");
        }
        carry_out(&mut machine, &mut script, &mut journal, &mut commits, shared);
    }
    let mut distinct = commits.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), commits.len(), "a block was committed twice");
    let again = self::machine(&journal, shared);
    assert!(again.last_voted() == machine.last_voted() && again.committed().0 <= machine.committed().0);
}
