//! Hostile bytes: refused with the reason, the state as it was; and the bytes of every message, pinned.

use super::*;
use crate::algorithms::abba::message::{echo_message, payload_digest};
use crate::primitives::wire::Bytes;

fn refused<M: Machine>(machine: &mut M, sender: u16, message: &[u8], word: &str, picture: impl Fn(&M) -> Vec<u8>) {
    let before = picture(machine);
    let error = machine.handle(sender, message, 0).unwrap_err().to_string();
    assert!(error.contains(word), "{error} does not say {word:?}");
    assert!(picture(machine) == before, "refused, and yet changed: {error}");
    assert!(machine.drain().is_empty(), "refused, and yet something goes out: {error}");
}

fn quiet(mut machine: Abba) -> Abba {
    while let Some(Effect::Persist { ticket, .. }) = machine.drain().pop() {
        machine.durable(ticket).unwrap();
    }
    machine
}

fn vote(by: usize, instance: Instance, statement: Statement) -> Vec<u8> {
    wire::encode(&Vote::new(&key(by), instance.scope(&committee(4)), statement).unwrap()).unwrap()
}

#[test]
fn votes_that_are_refused() {
    let mut party = abba(4, 0);
    party.input(true).unwrap();
    let mut party = quiet(party);
    let picture = |party: &Abba| party.snapshot().unwrap();
    let e2 = Statement::Echo2 { round: 0, bit: true };
    let right = vote(1, INSTANCE, e2);
    for at in 0..right.len() {
        refused(&mut party, 1, &right[..at], "abba vote", picture);
    }
    refused(&mut party, 1, &[&right[..], &[0]].concat(), "not well-formed", picture);
    refused(&mut party, 2, &right, "not of party 2", picture);
    refused(&mut party, 0, &right, "which this is", picture);
    refused(&mut party, 4, &right, "no party 4", picture);
    for other in [
        Instance { chain: [0; 32], ..INSTANCE },
        Instance { epoch: 3, ..INSTANCE },
        Instance { name: [0; 32], ..INSTANCE },
    ] {
        refused(&mut party, 1, &vote(1, other, e2), "of the agreement", picture);
    }
    let mut forged = right.clone();
    *forged.last_mut().unwrap() ^= 1;
    refused(&mut party, 1, &forged, "signature", picture);
    refused(&mut party, 1, &vote(1, INSTANCE, Statement::Echo1 { round: 33, bit: true }), "last to be heard", picture);
    party.handle(1, &right, 0).unwrap();
    let once = picture(&party);
    party.handle(1, &right, 0).unwrap();
    assert!(picture(&party) == once, "the same again changes nothing");
    refused(&mut party, 1, &vote(1, INSTANCE, Statement::Echo2 { round: 0, bit: false }), "another before", picture);
    let mut wrong = right;
    wrong[43] = 2; // the bit, behind envelope (6), scope (32), kind (1) and round (4)
    refused(&mut party, 1, &wrong, "not well-formed", picture);
}

fn encoded(body: Body) -> Vec<u8> {
    Message::encode(INSTANCE.scope(&committee(4)), body).unwrap()
}

fn echoes(signers: &[u16], payload: &[u8]) -> Signatures {
    let scope = INSTANCE.scope(&committee(4));
    let message = echo_message(&scope, 1, &payload_digest(payload));
    let endorse = |party: &u16| Endorsement { party: *party, signature: key((*party).into()).sign(&message) };
    Signatures::new(signers.iter().map(endorse).collect()).unwrap()
}

#[test]
fn subset_messages_that_are_refused() {
    let scope = INSTANCE.scope(&committee(4));
    let mut party = Subset::new(INSTANCE, committee(4), key(0)).unwrap();
    let picture = |party: &Subset| party.snapshot().unwrap();
    let (digest, bytes) = (payload_digest(b"p"), Bytes::new("payload", b"p".to_vec()).unwrap());
    let initial = encoded(Message::initial(&key(1), &scope, b"p".to_vec()).unwrap());
    for at in 0..initial.len() {
        refused(&mut party, 1, &initial[..at], "subset message", picture);
    }
    refused(&mut party, 2, &initial, "not of party 2", picture);
    refused(&mut party, 0, &initial, "which this is", picture);
    refused(&mut party, 1, &encoded(Message::echo(&key(1), &scope, 0, digest)), "not proposed", picture);
    let statement = |proposer, by| {
        encoded(Message::statements(&key(by), &scope, vec![(proposer, Statement::Decide { bit: true })]).unwrap())
    };
    refused(&mut party, 1, &statement(4, 1), "no proposer 4", picture);
    refused(&mut party, 1, &statement(2, 3), "not of party 1", picture);
    let last = |signers: &[u16]| encoded(Body::Final { proposer: 1, digest, signatures: echoes(signers, b"p") });
    refused(&mut party, 1, &last(&[1, 2]), "a weight of 2", picture);
    let other = encoded(Body::Final { proposer: 2, digest, signatures: echoes(&[1, 2, 3], b"p") });
    refused(&mut party, 1, &other, "is wrong", picture);
    let nobody = encoded(Body::Final { proposer: 9, digest, signatures: echoes(&[1, 2, 3], b"p") });
    refused(&mut party, 1, &nobody, "no proposer 9", picture);
    let delivery = encoded(Body::Delivery { proposer: 1, payload: bytes, signatures: echoes(&[1, 2, 3], b"q") });
    refused(&mut party, 3, &delivery, "is wrong", picture);
    let confirm = encoded(Body::Confirm { digest, signature: [0; 64] });
    refused(&mut party, 1, &confirm, "confirmation", picture);
    let confirmed = encoded(Body::Confirmed { digest, signatures: echoes(&[1, 2, 3], b"p") });
    refused(&mut party, 1, &confirmed, "is wrong", picture);
    let request = encoded(Message::request(&key(2), &scope, vec![0]).unwrap());
    refused(&mut party, 1, &request, "request", picture);
    // A right proposal, then another; and one that a quorum did not echo.
    party.handle(1, &initial, 0).unwrap();
    let Some(Effect::Persist { ticket, .. }) = party.drain().pop() else { panic!("a record") };
    party.durable(ticket).unwrap();
    party.drain();
    let second = encoded(Message::initial(&key(1), &scope, b"q".to_vec()).unwrap());
    refused(&mut party, 1, &second, "a second proposal", picture);
    assert!(party.payload_result(2, true).is_err() && party.coin_result(1, 0, true).is_err());
}

#[test]
fn a_batch_of_statements_counts_what_is_right_in_it() {
    let scope = INSTANCE.scope(&committee(4));
    let mut party = Subset::new(INSTANCE, committee(4), key(0)).unwrap();
    let mixed = vec![
        (1, Statement::Echo1 { round: 99, bit: true }),
        (7, Statement::Decide { bit: true }),
        (2, Statement::Decide { bit: true }),
        (2, Statement::Decide { bit: false }),
    ];
    party.handle(1, &encoded(Message::statements(&key(1), &scope, mixed).unwrap()), 0).unwrap();
    let again = vec![(2, Statement::Decide { bit: true })];
    let before = party.snapshot().unwrap();
    party.handle(1, &encoded(Message::statements(&key(1), &scope, again).unwrap()), 0).unwrap();
    assert!(party.snapshot().unwrap() == before, "the decision was counted the first time");
    let other = vec![(2, Statement::Decide { bit: false })];
    refused(&mut party, 1, &encoded(Message::statements(&key(1), &scope, other).unwrap()), "another before", |party| {
        party.snapshot().unwrap()
    });
}

/// Whatever a faulty party of the committee sends, what is kept of it is bounded: one slot for each kind, round and bit.
#[test]
fn a_flood_of_one_party_fills_its_slots_and_no_more() {
    let mut party = abba(4, 0);
    let scope = INSTANCE.scope(&committee(4));
    for round in 0..60 {
        for bit in [false, true] {
            for statement in [
                Statement::Echo1 { round, bit },
                Statement::Echo2 { round, bit },
                Statement::Echo3 { round, bit: Some(bit) },
                Statement::Echo3 { round, bit: None },
                Statement::Decide { bit },
            ] {
                let _ = party.handle(3, &wire::encode(&Vote::new(&key(3), scope, statement).unwrap()).unwrap(), 0);
            }
        }
    }
    let (whole, empty) = (party.snapshot().unwrap().len(), abba(4, 0).snapshot().unwrap().len());
    // 33 rounds of two E1, one E2 and one E3, and a decision: 133 inputs of at most 10 bytes.
    assert!(whole - empty <= 133 * 10, "{}", whole - empty);
}

#[test]
fn the_bytes_of_every_message_are_pinned() {
    let scope = INSTANCE.scope(&committee(4));
    let digest = |bytes: &[u8]| hash::hex(&hash::digest("city-chain v1 abba test", bytes)[..8]);
    let statement = Statement::Echo3 { round: 7, bit: None };
    let (proof, payload) = (echoes(&[0, 1, 2], b"p"), Bytes::new("payload", b"p".to_vec()).unwrap());
    let certificate =
        Certificate { chain: [1; 32], epoch: 2, instance: [3; 32], digest: [9; 32], signatures: proof.clone() };
    let bodies = [
        Message::initial(&key(0), &scope, b"p".to_vec()).unwrap(),
        Message::echo(&key(0), &scope, 1, [4; 32]),
        Body::Final { proposer: 1, digest: [4; 32], signatures: proof.clone() },
        Message::statements(&key(0), &scope, vec![(1, statement)]).unwrap(),
        Message::request(&key(0), &scope, vec![1, 2]).unwrap(),
        Body::Delivery { proposer: 1, payload, signatures: proof.clone() },
        Body::Confirm { digest: [4; 32], signature: [5; 64] },
        Body::Confirmed { digest: [4; 32], signatures: proof },
    ];
    let mut pinned = vec![digest(&vote(0, INSTANCE, statement)), digest(&wire::encode(&certificate).unwrap())];
    pinned.extend(bodies.into_iter().map(|body| digest(&encoded(body))));
    let mut net = agreement(1, &[Some(true), Some(true), Some(false), Some(true)]);
    net.run();
    pinned.push(digest(&net.party(0).snapshot().unwrap()));
    assert_eq!(pinned, PINNED, "a change of bytes is a new version");
    let bytes = vote(0, INSTANCE, statement);
    assert_eq!((bytes.len(), &bytes[..6]), (108, &b"CCab\x01\x00"[..]));
    assert_eq!(&bytes[38..44], &[2, 7, 0, 0, 0, 0], "kind, round, ⊥");
}

const PINNED: [&str; 11] = [
    "880eae6e2205cbdf",
    "87c847bcf4d3b7ea",
    "6f8a737434ef6d1c",
    "ea7c4deaba8f3d4c",
    "dd2992d46190dd8e",
    "03aea041d10294bd",
    "d5266a7ab8625aa6",
    "709e2736383fe997",
    "59b5bebffa106bf9",
    "80c9164895a28a40",
    "4301c294f667de8a",
];
