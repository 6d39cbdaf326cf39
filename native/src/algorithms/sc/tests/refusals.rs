//! What is refused for one reason alone: each test fails if the one check that it is about is left out.

use super::*;

fn prepare(manifest: &Manifest) -> Command {
    Command::Prepare { manifest: manifest.clone(), certificates: Certificates::default() }
}

/// Ways to spoil signatures: a byte of one is wrong, or one less than a quorum is there.
fn spoilt(signatures: &Signatures) -> [(Signatures, &'static str); 2] {
    let mut flipped = signatures.to_vec();
    flipped[0].signature[0] ^= 1;
    let few = signatures[..2].to_vec();
    let list = |signatures| Signatures::new("signatures", signatures).unwrap();
    [(list(flipped), "signature of member 0 is wrong"), (list(few), "a weight of 2 signed")]
}

fn spoilt_certificates(certificate: &Certificate) -> Vec<(Certificate, &'static str)> {
    let spoilt = spoilt(&certificate.signatures).into_iter();
    spoilt.map(|(signatures, word)| (Certificate { signatures, ..certificate.clone() }, word)).collect()
}

/// A transaction that shard 2 has decided and shard 1 has let go of, with what shard 1 says of that.
fn released(shards: &mut Shards) -> (Manifest, Certificate) {
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let vote = shards.at(1).order(&prepare(&manifest)).unwrap();
    let certificates = |certificates| Certificates::new("certificates", certificates).unwrap();
    let decide = Command::Prepare { manifest: manifest.clone(), certificates: certificates(vote.clone()) };
    let word = shards.at(2).order(&decide).unwrap();
    let commit = Command::Commit { manifest: manifest.clone(), certificates: certificates([vote, word].concat()) };
    let released = shards.at(1).order(&commit).unwrap().remove(0);
    assert_eq!(released.statement.verdict, Verdict::Released);
    (manifest, released)
}

#[test]
fn a_snapshot_is_taken_over_by_the_word_of_a_quorum_alone() {
    let mut shards = Shards::new(&[1, 2]);
    let next = shards.next_layout(&[1, 2]);
    shards.boundary(1, &next).unwrap();
    let snapshot = shards.at(1).machine.snapshot().unwrap();
    let right = shards.at(1).handed_over[0].clone();
    for (signatures, word) in spoilt(&right.signatures) {
        let wrong = HandoverCertificate { signatures, ..right.clone() };
        let refused = Participant::take_over(&snapshot, &wrong, &layout(&[1, 2])).err().expect(word).to_string();
        assert!(refused.contains(word), "{refused}");
    }
    assert!(Participant::take_over(&snapshot, &right, &layout(&[1, 2])).is_ok());
}

#[test]
fn a_lock_is_let_go_of_by_the_word_of_a_quorum_alone() {
    let mut shards = Shards::new(&[1, 2]);
    let (manifest, right) = released(&mut shards);
    let acknowledge = |certificate| Command::Acknowledge { manifest: manifest.clone(), certificate };
    for (wrong, word) in spoilt_certificates(&right) {
        let refused = shards.at(2).order(&acknowledge(wrong)).expect_err(word).to_string();
        assert!(refused.contains(word), "{refused}");
        assert_eq!(shards.at(2).machine.decisions().count(), 1, "others may need it still");
    }
    shards.at(2).order(&acknowledge(right)).unwrap();
    assert_eq!(shards.at(2).machine.decisions().count(), 0);
}

#[test]
fn a_part_is_given_up_by_the_word_of_a_quorum_alone() {
    let mut shards = Shards::new(&[1, 2]);
    let next = shards.next_layout(&[1, 2, 3]);
    shards.boundary(1, &next).unwrap();
    let part = shards.at(1).machine.exports().next().unwrap().clone();
    let handover = shards.at(1).handed_over[0].clone();
    let right = shards.at(3).order(&Command::Import { part, handover }).unwrap().remove(0);
    for (wrong, word) in spoilt_certificates(&right) {
        let refused = shards.at(1).order(&Command::Delivered { certificate: wrong }).expect_err(word).to_string();
        assert!(refused.contains(word), "{refused}");
        assert_eq!(shards.at(1).machine.exports().count(), 1, "nobody else has it");
    }
    shards.at(1).order(&Command::Delivered { certificate: right }).unwrap();
    assert_eq!(shards.at(1).machine.exports().count(), 0);
}

#[test]
fn a_boundary_waits_until_all_parts_are_taken_over() {
    let mut shards = Shards::new(&[1, 2]);
    let next = shards.next_layout(&[1, 2, 3]);
    for shard in [1, 2] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next;
    let later = shards.next_layout(&[1, 2, 3]);
    assert_eq!(shards.at(1).machine.awaited().count(), 0, "it waits for nobody, and yet somebody for it");
    let refused = shards.boundary(1, &later).unwrap_err().to_string();
    assert!(refused.contains("what shards [(3, 0)] have not taken over"), "{refused}");
    shards.carry_parts();
    shards.boundary(1, &later).unwrap();
}

#[test]
fn nothing_expires_before_the_height_after_its_expiry() {
    let mut shards = Shards::new(&[1, 2]);
    let manifest = shards.manifest(1, &[(1, 0), (2, 0)], &[]);
    let vote = shards.at(1).order(&prepare(&manifest)).unwrap();
    let expire = Command::Expire { manifest: manifest.clone() };
    shards.tick(manifest.expiry);
    let refused = shards.at(2).order(&expire).unwrap_err().to_string();
    assert!(refused.contains("expires after height 10, this is 10"), "{refused}");
    assert_eq!(shards.at(2).machine.says(&manifest).unwrap(), None);
    // At this height the decider may decide still, and then it has not expired.
    let certificates = Certificates::new("certificates", vote).unwrap();
    let word = shards.at(2).order(&Command::Prepare { manifest: manifest.clone(), certificates }).unwrap();
    assert_eq!(word[0].statement.verdict, Verdict::Prepared);
    shards.tick(manifest.expiry + 1);
    assert_eq!(shards.at(2).order(&expire).unwrap()[0].statement.verdict, Verdict::Prepared);
    shards.check();
}

#[test]
fn a_key_that_is_not_kept_apart_has_no_earlier_version_where_it_arrives() {
    let mut shards = Shards::new(&[1, 2]);
    let next = shards.next_layout(&[1, 2, 3]);
    let config = Config { keys_max: 2, ..Config::default() };
    let first = Participant::new(1, config, shards.layout.clone()).unwrap();
    shards.shards.insert(1, Shard::new(first));
    let moving = (0..).map(|at| key_of(&layout(&[1, 2]), 1, at)).find(|key| next.shard_of(key) == 3).unwrap();
    let staying = (0..).map(|at| key_of(&layout(&[1, 2]), 1, at)).filter(|key| next.shard_of(key) == 1);
    shards.at(1).machine.fill(&[&[moving; 5][..], &staying.take(2).collect::<Vec<_>>()].concat());
    assert_eq!((shards.at(1).machine.keys(), shards.at(1).machine.version(&moving)), (2, 5), "it shares a version");
    for shard in [1, 2] {
        shards.boundary(shard, &next).unwrap();
    }
    shards.layout = next.clone();
    shards.carry_parts();
    assert_eq!(shards.at(3).machine.version(&moving), 5);
    // What was made before the key was touched does not pass where the key is now.
    let input = Input { shard: 3, key: moving, version: 0 };
    let stale = Manifest::new(CHAIN, next.since(), [9; 32], 20, vec![input], vec![]).unwrap();
    assert_eq!(shards.at(3).order(&prepare(&stale)).unwrap()[0].statement.verdict, Verdict::Abort);
}

#[test]
fn a_coordinator_takes_no_release_of_another_transaction_and_none_without_a_quorum() {
    let mut shards = Shards::new(&[1, 2]);
    let (other, released_of_other) = released(&mut shards);
    assert_eq!(shards.drive(&other, false), Some(Outcome::Committed));
    let manifest = shards.manifest(2, &[(1, 1), (2, 1)], &[]);
    let vote = shards.at(1).order(&prepare(&manifest)).unwrap();
    let certificates = Certificates::new("certificates", vote).unwrap();
    shards.at(2).order(&Command::Prepare { manifest: manifest.clone(), certificates }).unwrap();
    let mut coordinator = shards.coordinator(&manifest);
    assert_eq!(coordinator.outcome(), Some(Outcome::Committed));
    let refused = coordinator.add(released_of_other.clone(), &shards.layouts).unwrap_err().to_string();
    assert!(refused.contains("another transaction"), "{refused}");
    let (txid, session) = (manifest.txid().unwrap(), manifest.session());
    let statement = Statement { txid, session, ..released_of_other.statement };
    let right = certify(&shards.layout, statement);
    for (wrong, word) in spoilt_certificates(&right) {
        let refused = coordinator.add(wrong, &shards.layouts).expect_err(word).to_string();
        assert!(refused.contains(word), "{refused}");
    }
    assert!(!coordinator.is_finished(&shards.layout), "shard 1 has let go of nothing");
    coordinator.add(right, &shards.layouts).unwrap();
    assert!(coordinator.is_finished(&shards.layout));
}
