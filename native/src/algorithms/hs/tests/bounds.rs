//! Bounds that are kept without stopping: rounds that fail for ever, long ways to a commit, and what is served to whom.

use super::super::journal::Entry;
use super::super::proof::HEADERS_MAX;
use super::super::sync::SERVED_BYTES;
use super::super::tree::{Tree, Verdict, WAITING_MAX};
use super::durable::restore;
use super::rules::*;
use super::*;
use std::sync::Arc;

/// Rounds that fail: their blocks, of a MiB each, are more than find a place.
const FAILED: u64 = 190;

/// The least that there is always a place for, beside the way to a commit.
const NEWEST: usize = 64;

/// Rounds from `begin` to `end`, each with a proposal on the block of `high_qc` that nobody certifies. Rounds that place 0
/// leads have none.
fn fail(machine: &mut HotStuff, high_qc: &Qc, begin: u64, end: u64) -> Vec<Proposal> {
    let mut blocks = Vec::new();
    for round in (begin..=end).filter(|round| round % 4 != 0) {
        let failed = tc(&[0, 1, 2], round - 1, high_qc);
        let block = proposal(round, high_qc.clone(), Some(failed), &vec![round as u8; PAYLOAD_MAX]);
        hear(machine, &block).unwrap_or_else(|error| panic!("round {round}: {error}"));
        votes(machine);
        assert_eq!(machine.last_voted(), round, "a vote");
        blocks.push(block);
    }
    blocks
}

/// A block after a failed round, and `more` of the rounds behind it: each certified by the next.
fn succeed(machine: &mut HotStuff, high_qc: &Qc, round: u64, more: u64) -> Vec<Digest> {
    let failed = tc(&[0, 1, 2], round - 1, high_qc);
    let mut block = proposal(round, high_qc.clone(), Some(failed), b"first");
    let mut committed = Vec::new();
    for next in round + 1..=round + 1 + more {
        hear(machine, &block).unwrap();
        for action in flush(machine) {
            match action {
                Action::Event(Event::Commit { block, payload, proof }) => {
                    let proven = proof.verify(&committee(&[1; 4]), &CHAIN, EPOCH).unwrap();
                    assert_eq!((proven, proof.header().unwrap().id()), (payload_digest(&payload), block));
                    committed.push(block);
                }
                Action::Event(Event::ValidatePayload { block, .. }) => machine.payload_result(block, true, 0).unwrap(),
                _ => {}
            }
        }
        block = proposal(next, qc(block.round(), block.id()), None, b"next");
    }
    committed
}

/// Place 0 after blocks of rounds 1 and 2, the first of which is certified, and failed rounds from 3 on.
fn starved() -> (HotStuff, Vec<Proposal>, Vec<Proposal>) {
    let mut machine = replica();
    let blocks = chain(2);
    for block in &blocks {
        hear(&mut machine, block).unwrap();
        votes(&mut machine);
    }
    let failed = fail(&mut machine, &blocks[1].qc, 3, FAILED);
    (machine, blocks, failed)
}

#[test]
fn rounds_that_fail_do_not_stop_those_that_come_after() {
    let (mut machine, blocks, failed) = starved();
    assert!(machine.tree.len() < failed.len());
    assert!(machine.tree.knows(&blocks[0].id()), "the certified block stays");
    assert!(!machine.tree.knows(&failed[0].id()) && !machine.tree.knows(&blocks[1].id()), "the oldest went");
    let newest = &failed[failed.len() - NEWEST..];
    assert!(newest.iter().all(|block| machine.tree.knows(&block.id())), "the newest stay");
    let again = restore(0, &[machine.snapshot().unwrap()], false).unwrap();
    assert!(again.snapshot().unwrap() == machine.snapshot().unwrap(), "also over a restart");
    let committed = succeed(&mut machine, &blocks[1].qc, FAILED + 2, 3);
    assert_eq!(committed[0], blocks[0].id());
    assert!(committed.len() >= 2 && machine.tree.len() < 4, "and the rest is dropped by the commit");
}

/// A block that nobody has signed: trees do not look at signatures.
fn unsigned(round: u64, parent: (u64, Digest)) -> Proposal {
    let qc = Qc { round: parent.0, block: parent.1, ..Qc::genesis(parent.1) };
    let payload = Bytes::new("payload", round.to_le_bytes().to_vec()).unwrap();
    let header = Header {
        chain: CHAIN,
        epoch: EPOCH,
        round,
        parent: parent.1,
        qc_round: parent.0,
        tc: None,
        payload: payload_digest(&payload),
        proposer: 0,
    };
    Proposal { block: Block { header, payload }, qc, tc: None, signature: [0; 64] }
}

/// A fork of rounds 1 to 3 on the root, and blocks of later rounds beside each other on its first: more than find a place.
fn many() -> (Vec<Proposal>, Vec<Proposal>) {
    let mut fork = vec![unsigned(1, (0, GENESIS))];
    for round in 2..=3 {
        fork.push(unsigned(round, (round - 1, fork[fork.len() - 1].id())));
    }
    let beside = (4..WAITING_MAX as u64 + 20).map(|round| unsigned(round, (1, fork[0].id()))).collect();
    (fork, beside)
}

#[test]
fn the_oldest_blocks_go_with_all_that_hangs_on_them_and_what_is_kept_stays() {
    let (fork, beside) = many();
    let kept = beside[2].id();
    let mut tree = Tree::new((0, GENESIS), 16);
    for block in fork.iter().chain(&beside) {
        tree.room(block).unwrap();
        tree.make_room(block, &[kept]).unwrap();
        tree.insert(Arc::new(block.clone()), Verdict::Good);
        assert!(tree.len() <= WAITING_MAX);
    }
    let here = |tree: &Tree, blocks: &[Proposal]| blocks.iter().filter(|block| tree.knows(&block.id())).count();
    assert_eq!((tree.len(), here(&tree, &fork)), (WAITING_MAX, 1), "with a block goes what hangs on it");
    assert!(tree.knows(&fork[0].id()) && tree.knows(&kept) && !tree.knows(&beside[0].id()));
    assert_eq!(here(&tree, &beside[beside.len() - WAITING_MAX + 2..]), WAITING_MAX - 2);
    tree.commit(&kept);
    assert_eq!(tree.len(), 0);
    // A journal without snapshots holds what memory has dropped.
    let blocks = fork.iter().chain(&beside).map(|block| ((block.round(), block.id()), block.clone())).collect();
    let restored = Tree::restore((0, GENESIS), 16, blocks, &[kept]);
    assert_eq!((restored.len(), here(&restored, &fork)), (WAITING_MAX, 1));
    assert!(restored.knows(&kept) && restored.knows(&beside[beside.len() - 1].id()));
}

#[test]
fn a_way_to_a_commit_is_no_longer_than_a_proof() {
    let mut tree = Tree::new((0, GENESIS), 16);
    let mut parent = (0, GENESIS);
    for round in 1..=HEADERS_MAX as u64 {
        let block = unsigned(round, parent);
        tree.make_room(&block, &[]).unwrap();
        parent = (round, block.id());
        tree.insert(Arc::new(block), Verdict::Good);
    }
    let after = unsigned(parent.0 + 1, parent);
    assert_eq!(tree.depth(&parent.1), HEADERS_MAX);
    assert!(matches!(tree.room(&after), Err(Error::Unavailable { needed: 1, .. })));
    tree.room(&unsigned(9999, (0, GENESIS))).unwrap();
}

/// Every other round is certified, so that nothing commits; then all are, and everything does, in portions.
#[test]
fn a_long_path_of_certified_blocks_commits_in_the_end() {
    let mut machine = replica();
    let (mut high_qc, mut path) = (genesis(), Vec::new());
    for round in (1..=2100).step_by(2) {
        let failed = (round > 1).then(|| tc(&[0, 1, 2], round - 1, &high_qc));
        let block = proposal(round, high_qc, failed, &round.to_le_bytes());
        hear(&mut machine, &block).unwrap_or_else(|error| panic!("round {round}: {error}"));
        votes(&mut machine);
        high_qc = qc(round, block.id());
        path.push(block.id());
    }
    assert_eq!((machine.committed().0, path.len()), (0, 1050));
    let committed = succeed(&mut machine, &high_qc, 2102, 40);
    assert_eq!(committed[..path.len()], path, "oldest first, each once, each with its proof");
    assert!(committed.len() > path.len() + 30 && machine.tree.len() < 4);
}

/// Who held back the certificate of a block that all others have dropped cannot stop them with it.
#[test]
fn a_late_certificate_is_taken_with_its_block_and_not_before() {
    let (mut machine, blocks, failed) = starved();
    let (round, high_qc) = (machine.round(), machine.high_qc().clone());
    let late = qc(failed[0].round(), failed[0].id());
    let asks = |machine: &mut HotStuff| {
        let asked =
            |action: &Action<Event>| matches!(action, Action::Send { to: 3, message } if message.starts_with(b"CChs"));
        flush(machine).iter().filter(|action| asked(action)).count()
    };
    let hidden = tc(&[1, 2, 3], round, &late);
    for message in [
        wire::encode(&timeout(1, round + 1, late.clone(), Some(hidden.clone()))).unwrap(),
        wire::encode(&timeout(1, round + 1, high_qc.clone(), Some(hidden.clone()))).unwrap(),
        wire::encode(&proposal(round + 1, late.clone(), Some(hidden.clone()), b"a")).unwrap(),
    ] {
        machine.handle(3, &message, 0).unwrap();
        assert_eq!((machine.round(), machine.is_behind()), (round, false));
        assert_eq!(machine.high_qc(), &high_qc);
        assert_eq!(asks(&mut machine), 1);
    }
    let answer = |blocks: &[Proposal], qc: &Qc, tc: Option<Tc>| {
        let blocks = List::new("blocks", blocks.to_vec()).unwrap();
        SyncResponse { chain: CHAIN, epoch: EPOCH, blocks, qc: qc.clone(), tc }
    };
    hear(&mut machine, &answer(&[], &late, Some(hidden.clone()))).unwrap();
    assert_eq!((machine.round(), machine.high_qc()), (round, &high_qc));
    hear(&mut machine, &answer(&failed[..1], &late, Some(hidden))).unwrap();
    assert_eq!((machine.round(), machine.high_qc(), machine.is_behind()), (round + 1, &late, false));
    assert!(machine.tree.knows(&blocks[0].id()));
}

fn request(tip: (u64, Digest)) -> Vec<u8> {
    wire::encode(&SyncRequest { chain: CHAIN, epoch: EPOCH, committed: (0, GENESIS), tip }).unwrap()
}

/// Place 0 with blocks of that size in rounds 1 to 24.
fn serving(size: usize) -> (HotStuff, Vec<Proposal>) {
    let (mut machine, mut blocks) = (replica(), Vec::<Proposal>::new());
    for round in 1..=24 {
        let qc = blocks.last().map_or_else(genesis, |last| qc(last.round(), last.id()));
        blocks.push(proposal(round, qc, None, &vec![round as u8; size]));
        hear(&mut machine, &blocks[blocks.len() - 1]).unwrap();
        votes(&mut machine);
    }
    flush(&mut machine);
    (machine, blocks)
}

fn served(machine: &mut HotStuff, tip: (u64, Digest), now: u64) -> Vec<usize> {
    machine.handle(2, &request(tip), now).unwrap();
    let length = |action| match action {
        Action::Send { to: 2, message } => Some(message.len()),
        _ => None,
    };
    flush(machine).into_iter().filter_map(length).collect()
}

#[test]
fn what_one_gets_served_is_bounded_whatever_it_claims() {
    let (mut machine, blocks) = serving(1_000_000);
    // Rounds that rise, of a block that is none, and of one that is.
    for (now, tip) in [(0, [9; 32]), (50_000, blocks[3].id()), (100_000, GENESIS)] {
        let answers: Vec<usize> =
            (0..300).flat_map(|round| served(&mut machine, ((1 << 20) + round, tip), now)).collect();
        assert_eq!(answers.len(), 1, "at {now}");
    }
    // Blocks that follow each other, as one asks who catches up: a few, and more after a while.
    for now in [150_000, 200_000] {
        let ask = |block: &Proposal| served(&mut machine, (block.round(), block.id()), now);
        let bytes: usize = blocks.iter().flat_map(ask).sum();
        assert!((SERVED_BYTES..=SERVED_BYTES + 1_100_000).contains(&bytes), "{bytes}");
        assert_eq!(served(&mut machine, (1, blocks[0].id()), now), [] as [usize; 0]);
    }
}

#[test]
fn one_who_catches_up_is_served_as_fast_as_it_asks() {
    let mut machine = replica();
    let blocks = chain(250);
    for block in &blocks {
        hear(&mut machine, block).unwrap();
        votes(&mut machine);
    }
    flush(&mut machine);
    let mut tip = (0, GENESIS);
    let mut answers = 0;
    while tip.0 < 249 {
        machine.handle(2, &request(tip), 0).unwrap();
        let answer = flush(&mut machine).into_iter().find_map(|action| match action {
            Action::Send { to: 2, message } => wire::decode::<SyncResponse>(&message).ok(),
            _ => None,
        });
        let answer = answer.unwrap_or_else(|| panic!("no answer after round {}", tip.0));
        tip = answer.blocks.last().map(|last| (last.round(), last.id())).unwrap();
        answers += 1;
    }
    assert_eq!(answers, 4);
}

/// A block that says of itself that it is its parent would be followed for ever.
#[test]
fn a_journal_with_blocks_that_are_none_is_refused() {
    let mut machine = replica();
    for block in chain(5) {
        hear(&mut machine, &block).unwrap();
        votes(&mut machine);
    }
    let snapshot = machine.snapshot().unwrap();
    let refused = |change: fn(&mut Proposal)| {
        let mut entry: Entry = wire::decode(&snapshot).unwrap();
        let mut blocks = entry.blocks.into_vec();
        let last = blocks.iter().position(|block| block.id() == entry.state.committed.1).unwrap();
        change(&mut blocks[last]);
        entry.blocks = List::new("blocks", blocks).unwrap();
        restore(0, &[unchecked(&entry)], false).unwrap_err()
    };
    let itself = refused(|block| (block.qc.round, block.qc.block) = (block.round(), block.id()));
    assert!(matches!(itself, Error::Input(_)) && itself.to_string().contains("certifies"), "{itself}");
    let payload = refused(|block| block.block.payload = Bytes::default());
    assert!(payload.to_string().contains("a block of journal record 0: "), "{payload}");
}
