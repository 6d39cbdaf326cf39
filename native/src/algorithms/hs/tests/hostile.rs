//! Hostile bytes, bounds, proofs and evidence that are wrong, and the bytes of the messages.

use proptest::prelude::*;

use super::rules::*;
use super::*;
use crate::crypto::hash::{hex, keyed};
use crate::primitives::wire::Record;

/// One of each message, all of them right.
fn samples() -> Vec<Vec<u8>> {
    let blocks = chain(3);
    let failed = tc(&[0, 1, 2], 2, &qc(1, blocks[0].id()));
    let after = proposal(3, qc(1, blocks[0].id()), Some(failed.clone()), b"payload");
    let response = SyncResponse {
        chain: CHAIN,
        epoch: EPOCH,
        blocks: List::new("blocks", blocks[..2].to_vec()).unwrap(),
        qc: blocks[2].qc.clone(),
        tc: Some(failed.clone()),
    };
    let request = SyncRequest { chain: CHAIN, epoch: EPOCH, committed: (0, GENESIS), tip: (1, blocks[0].id()) };
    vec![
        wire::encode(&after).unwrap(),
        wire::encode(&vote(1, 3, after.id())).unwrap(),
        wire::encode(&timeout(1, 3, qc(1, blocks[0].id()), Some(failed))).unwrap(),
        wire::encode(&request).unwrap(),
        wire::encode(&response).unwrap(),
    ]
}

#[test]
fn the_bytes_of_the_messages_are_what_they_were() {
    let seen: Vec<String> =
        samples().iter().map(|bytes| format!("{} {}", bytes.len(), hex(&keyed(&[0; 32], bytes)[..8]))).collect();
    let pinned = [
        "953 899eae4a392a73f9",
        "152 370658812b2fbb7c",
        "837 dcb79c482e12b2ff",
        "126 e1817410ce835c70",
        "1456 70ef8f724404a715",
    ];
    assert_eq!(seen, pinned);
}

#[test]
fn every_truncation_and_every_changed_byte_is_refused_or_harmless() {
    for sample in samples() {
        let mut machine = replica();
        for end in (0..sample.len()).step_by(3) {
            refuse_bytes(&mut machine, &sample[..end], "");
        }
        let before = machine.snapshot().unwrap();
        for at in (0..sample.len()).step_by(2) {
            let mut wrong = sample.clone();
            wrong[at] ^= 1 << (at % 8);
            let refused = machine.handle(3, &wrong, 0).is_err();
            // Only what a sync request names is not signed by anybody.
            assert!(refused || sample.starts_with(&SyncRequest::TAG), "byte {at} of {:?}", &sample[..4]);
            assert_eq!(machine.snapshot().unwrap(), before);
        }
        assert!(machine.handle(4, &sample, 0).unwrap_err().to_string().contains("sender 4"));
    }
}

#[test]
fn memory_is_bounded_whatever_one_sends() {
    let mut machine = replica();
    let size = |machine: &HotStuff| format!("{machine:?}").len();
    for round in (3..2000u64).step_by(4) {
        let _ = hear(&mut machine, &vote(1, round, [round as u8; 32]));
        let _ = hear(&mut machine, &vote(1, round, [1; 32]));
    }
    flush(&mut machine);
    let after_votes = size(&machine);
    for byte in 0..=255u8 {
        let _ = hear(&mut machine, &proposal(1, genesis(), None, &[byte]));
        let _ = hear(&mut machine, &timeout(2, 1, genesis(), None));
    }
    let evidence = flush(&mut machine).into_iter();
    let evidence = evidence.filter(|action| matches!(action, Action::Event(Event::Evidence(_)))).count();
    assert_eq!(evidence, 1, "for each culprit and kind once");
    assert!(size(&machine) < after_votes + 8000 && machine.tree.len() == 1);
}

#[test]
fn answers_to_one_who_is_behind_are_bounded_in_size_and_rate() {
    let mut net = Net::new(&[1; 4], Config::default());
    net.run(900);
    let node = &mut net.nodes[0].machine;
    let request = SyncRequest { chain: CHAIN, epoch: EPOCH, committed: (0, GENESIS), tip: (0, GENESIS) };
    let bytes = wire::encode(&request).unwrap();
    let mut answers = Vec::new();
    for _ in 0..50 {
        node.handle(2, &bytes, 1_000_000).unwrap();
        answers.extend(flush(node));
    }
    let [Action::Send { to: 2, message }] = &answers[..] else { panic!("{} answers", answers.len()) };
    let response: SyncResponse = wire::decode(message).unwrap();
    assert_eq!(response.blocks.len(), super::super::message::SYNC_BLOCKS);
    node.handle(2, &bytes, 2_000_000).unwrap();
    assert_eq!(flush(node).len(), 1, "again after a while");
}

#[test]
fn one_who_was_away_catches_up_in_bounded_answers() {
    let mut net = Net::new(&[1; 4], Config { history: 1000, ..Config::default() });
    net.nodes[3].up = false;
    for _ in 0..120 {
        net.run(60);
        net.pass(net.config.timeout_us * 20);
    }
    let far = net.nodes[0].machine.committed().0;
    net.wire.clear();
    net.nodes[3].up = true;
    for _ in 0..12 {
        net.run(400);
        net.pass(net.config.timeout_us * 20);
    }
    net.check();
    assert!(net.nodes[3].machine.committed().0 > far && far > 100, "{far}");
}

#[test]
fn commit_proofs_that_are_wrong() {
    let blocks = chain(3);
    let headers =
        |at: &[usize]| List::new("headers", at.iter().map(|at| blocks[*at].block.header).collect::<Vec<_>>()).unwrap();
    let good = CommitProof { headers: headers(&[0, 1]), qc: blocks[2].qc.clone() };
    let verify = |proof: &CommitProof| proof.verify(&committee(&[1; 4]), &CHAIN, EPOCH);
    assert_eq!(verify(&good).unwrap(), blocks[0].block.header.payload);
    let wrong = |change: fn(&mut CommitProof, &[Proposal])| {
        let mut proof = good.clone();
        change(&mut proof, &blocks);
        verify(&proof).unwrap_err().to_string()
    };
    assert!(wrong(|proof, _| proof.headers = List::default()).contains("two headers"));
    assert!(wrong(|proof, blocks| proof.qc = blocks[1].qc.clone()).contains("not of the last header"));
    assert!(
        wrong(|proof, blocks| {
            proof.headers = List::new("headers", vec![blocks[0].block.header, blocks[2].block.header]).unwrap();
        })
        .contains("do not follow")
    );
    assert!(wrong(|proof, _| proof.qc.signers = Bytes::new("signers", vec![3]).unwrap()).contains("2 signers"));
    assert!(wrong(|proof, _| proof.qc = certificate(&[0, 1], proof.qc.round, proof.qc.block)).contains("3 is needed"));
    assert!(good.verify(&committee(&[1; 4]), &CHAIN, EPOCH + 1).is_err());
    assert!(good.verify(&committee(&[1; 4]), &GENESIS, EPOCH).is_err());
    assert!(good.verify(&committee(&[5, 1, 1, 1]), &CHAIN, EPOCH).is_ok());
    assert!(good.verify(&committee(&[1, 1, 1, 9]), &CHAIN, EPOCH).is_err());
    // Two blocks of rounds that are not consecutive prove nothing.
    let failed = tc(&[0, 1, 2], 2, &qc(1, blocks[0].id()));
    let three = proposal(3, qc(1, blocks[0].id()), Some(failed), b"3");
    let pair = List::new("headers", vec![blocks[0].block.header, three.block.header]).unwrap();
    let gap = CommitProof { headers: pair, qc: qc(3, three.id()) };
    assert!(verify(&gap).unwrap_err().to_string().contains("not consecutive"));
}

#[test]
fn evidence_that_proves_nothing() {
    let verify = |evidence: &Evidence| evidence.verify(&committee(&[1; 4]), &CHAIN, EPOCH);
    let (one, other) = (proposal(1, genesis(), None, b"a"), proposal(1, genesis(), None, b"b"));
    let said = |proposal: &Proposal| (proposal.block.header, proposal.signature);
    assert_eq!(verify(&Evidence::Proposals([said(&one), said(&other)])).unwrap(), 1);
    assert!(verify(&Evidence::Proposals([said(&one), said(&one)])).is_err());
    assert!(verify(&Evidence::Votes([vote(1, 3, [1; 32]), vote(2, 3, [2; 32])])).is_err(), "two voters");
    assert!(verify(&Evidence::Votes([vote(1, 3, [1; 32]), vote(1, 4, [2; 32])])).is_err(), "two rounds");
    let mut forged = vote(1, 3, [2; 32]);
    forged.signature = vote(1, 3, [3; 32]).signature;
    assert!(verify(&Evidence::Votes([vote(1, 3, [1; 32]), forged])).is_err());
    assert!(
        Evidence::Votes([vote(1, 3, [1; 32]), vote(1, 3, [2; 32])])
            .verify(&committee(&[1; 4]), &CHAIN, EPOCH + 1)
            .is_err()
    );
}

/// tari-ootle #2649: of two timeouts of one author the first counts, once, and both are evidence.
#[test]
fn two_timeouts_of_one_author_count_once() {
    let mut machine = replica();
    let one = proposal(1, genesis(), None, b"a");
    hear(&mut machine, &one).unwrap();
    let three = tc(&[0, 1, 2], 2, &genesis());
    hear(&mut machine, &timeout(1, 3, genesis(), Some(three.clone()))).unwrap();
    hear(&mut machine, &timeout(1, 3, qc(1, one.id()), Some(three))).unwrap();
    assert_eq!(machine.last_voted(), 0);
    let actions = flush(&mut machine);
    let evidence = actions.iter().find_map(|action| match action {
        Action::Event(Event::Evidence(bytes)) => wire::decode::<Evidence>(bytes).ok(),
        _ => None,
    });
    assert_eq!(evidence.unwrap().verify(&committee(&[1; 4]), &CHAIN, EPOCH).unwrap(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    /// Any order, with losses and doubles: no fork, and commits go on when messages get through again.
    #[test]
    fn no_fork_whatever_the_network_does(script in prop::collection::vec((0u8..8, any::<u16>()), 50..200)) {
        let mut net = Net::new(&[1; 4], Config::default());
        for place in 0..4 {
            net.settle(place);
        }
        for (what, number) in script {
            let at = usize::from(number) % net.wire.len().max(1);
            match what {
                0 => net.pass(150_000),
                1 => net.restart(number % 4),
                2 => { net.wire.remove(at); }
                3 => if let Some(twice) = net.wire.get(at).cloned() { net.wire.push_back(twice) },
                _ => if let Some(message) = net.wire.remove(at) {
                    net.wire.push_front(message);
                    net.run(1);
                },
            }
        }
        let before = net.check();
        for _ in 0..10 {
            net.run(300);
            net.pass(2_000_000);
        }
        prop_assert!(net.check() > before);
    }
}
