//! Certificates, proofs and answers that are right in everything but what was signed, and what must not be said too soon.

use super::rules::*;
use super::*;

/// With one signature that is another's.
fn forged(qc: &Qc) -> Qc {
    let mut bytes = wire::encode(qc).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    wire::decode(&bytes).unwrap()
}

fn proof(headers: &[&Proposal], qc: Qc) -> CommitProof {
    let headers = headers.iter().map(|proposal| proposal.block.header).collect();
    CommitProof { headers: List::new("headers", headers).unwrap(), qc }
}

#[test]
fn a_forged_certificate_of_the_same_round_as_the_known_one_is_refused() {
    let (mut machine, chain) = (replica(), chain(2));
    hear(&mut machine, &chain[0]).unwrap();
    hear(&mut machine, &chain[1]).unwrap();
    flush(&mut machine);
    let known = machine.high_qc().clone();
    assert_eq!(known.round, 1);
    refuse(&mut machine, &timeout(1, 2, forged(&known), None), "signature");
    let after_gap = tc(&[0, 1, 2], 2, &known);
    refuse(&mut machine, &proposal(3, forged(&known), Some(after_gap), b"x"), "signature");
}

#[test]
fn a_forged_timeout_certificate_of_the_same_round_as_the_known_one_is_refused() {
    let (mut machine, known) = (replica(), tc(&[0, 1, 2], 1, &genesis()));
    hear(&mut machine, &proposal(2, genesis(), Some(known.clone()), b"x")).unwrap();
    flush(&mut machine);
    assert_eq!(machine.round(), 2);
    let mut other = known;
    let mut votes = other.votes.clone().into_vec();
    votes[1].signature[63] ^= 1;
    other.votes = List::new("votes", votes).unwrap();
    refuse(&mut machine, &timeout(1, 2, genesis(), Some(other)), "signature of place 1 is wrong");
}

#[test]
fn a_timeout_certificate_of_another_epoch_is_refused() {
    let mut machine = replica();
    let mut other = tc(&[0, 1, 2], 1, &genesis());
    let message = super::super::message::timeout_message(&CHAIN, EPOCH + 1, 1, 0);
    let signed = |vote: TimeoutVote| TimeoutVote { signature: key(vote.voter).sign(&message), ..vote };
    other.votes = List::new("votes", other.votes.into_vec().into_iter().map(signed).collect()).unwrap();
    refuse(&mut machine, &proposal(2, genesis(), Some(other), b"x"), "signature of place 0 is wrong");
}

#[test]
fn a_proof_is_adopted_only_if_it_is_right() {
    let (mut machine, chain) = (replica(), chain(3));
    let right = proof(&[&chain[0], &chain[1]], qc(2, chain[1].id()));
    let before = (format!("{machine:?}"), machine.snapshot().unwrap());
    let thin = certificate(&[0, 1], 2, chain[1].id());
    for wrong in [forged(&right.qc), thin, qc(3, chain[1].id())] {
        let wrong = CommitProof { qc: wrong, ..right.clone() };
        assert!(matches!(machine.adopt(&wrong, 0), Err(Error::Verification(_))));
        assert_eq!(before, (format!("{machine:?}"), machine.snapshot().unwrap()));
    }
    machine.adopt(&right, 0).unwrap();
    assert_eq!(machine.committed(), (1, chain[0].id()));
}

#[test]
fn in_a_proof_each_certificate_is_of_its_parent_s_round() {
    let chain = chain(2);
    let mut last = chain[1].block.header;
    last.qc_round = 0;
    let mut wrong = proof(&[&chain[0], &chain[1]], qc(2, last.id()));
    wrong.headers = List::new("headers", vec![chain[0].block.header, last]).unwrap();
    let error = wrong.verify(&committee(&[1; 4]), &CHAIN, EPOCH).unwrap_err();
    assert!(error.to_string().contains("do not follow each other"), "{error}");
}

#[test]
fn the_next_epoch_begins_from_the_committed_block_whatever_proves_it() {
    let chain = chain(3);
    let short = proof(&[&chain[0], &chain[1]], qc(2, chain[1].id()));
    let long = proof(&[&chain[0], &chain[1], &chain[2]], qc(3, chain[2].id()));
    let other = proof(&[&chain[1], &chain[2]], qc(3, chain[2].id()));
    for right in [&short, &long, &other] {
        right.verify(&committee(&[1; 4]), &CHAIN, EPOCH).unwrap();
    }
    assert_eq!(short.next_genesis(), long.next_genesis());
    assert_ne!(short.next_genesis(), other.next_genesis());
    assert_ne!(short.next_genesis(), Some(chain[0].id()));
}

#[test]
fn blocks_of_an_answer_follow_each_other_in_their_rounds_too() {
    let (mut machine, chain) = (replica(), chain(1));
    let lies = proposal(3, qc(2, chain[0].id()), None, b"x");
    let blocks = List::new("blocks", vec![chain[0].clone(), lies.clone()]).unwrap();
    let answer = SyncResponse { chain: CHAIN, epoch: EPOCH, blocks, qc: qc(3, lies.id()), tc: None };
    refuse(&mut machine, &answer, "not of its block's round");
}

#[test]
fn nothing_follows_a_block_that_was_passed_over() {
    let (mut machine, chain) = (replica(), chain(3));
    for proposal in &chain {
        hear(&mut machine, proposal).unwrap();
        votes(&mut machine);
    }
    assert_eq!(machine.committed().0, 1);
    let passed_over = qc(1, [7; 32]);
    let gap = tc(&[0, 1, 2], 4, &passed_over);
    refuse(&mut machine, &proposal(5, passed_over, Some(gap), b"x"), "but round 1 is committed");
}

#[test]
fn a_vote_that_is_not_durable_is_not_said_again_either() {
    let (mut machine, first) = (replica(), chain(1).remove(0));
    hear(&mut machine, &first).unwrap();
    flush(&mut machine);
    machine.payload_result(first.id(), true, 0).unwrap();
    let sends = |effects: &[Effect<Action<Event>>]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Output(Action::Send { .. }))).count()
    };
    let (mut tickets, mut early) = (Vec::new(), 0);
    for _ in 0..2 {
        let effects = machine.drain();
        early += sends(&effects);
        tickets.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Persist { ticket, .. } => Some(*ticket),
            Effect::Output(_) => None,
        }));
        hear(&mut machine, &first).unwrap();
    }
    early += sends(&machine.drain());
    assert_eq!(early, 0, "its record is not on the disk");
    for ticket in tickets {
        machine.durable(ticket).unwrap();
    }
    assert_eq!(sends(&machine.drain()), 1);
    hear(&mut machine, &first).unwrap();
    assert_eq!(sends(&machine.drain()), 1, "said again, once it is durable");
}
