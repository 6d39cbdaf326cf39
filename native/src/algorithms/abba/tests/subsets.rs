//! The common subset.

use super::attacks::release;
use super::*;
use crate::algorithms::abba::message::echo_message;
use crate::primitives::wire::Bytes;

fn payload(party: usize) -> Vec<u8> {
    vec![party as u8; 3 + party]
}

/// A run in which these parties take part and propose.
fn subset(seed: u64, committee: &Committee, honest: &[usize]) -> Net<Subset> {
    let mut net: Net<Subset> = Net::new(seed, committee, honest.iter().copied());
    for at in honest {
        net.party(*at).input(payload(*at)).unwrap();
        net.drive(*at);
    }
    net
}

type Accepted = Vec<(u16, Vec<u8>)>;

/// What has come out, the same for all.
fn outcome(net: &Net<Subset>) -> Accepted {
    let outputs: BTreeSet<Option<Accepted>> = net.parties.iter().flatten().map(Subset::output).collect();
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    outputs.into_iter().next().unwrap().unwrap()
}

fn check(net: &Net<Subset>) -> Accepted {
    let accepted = outcome(net);
    let weight: u128 = accepted.iter().map(|(at, _)| u128::from(net.committee.get(*at).unwrap().weight)).sum();
    assert!(weight >= net.committee.quorum(), "{accepted:?}");
    accepted
}

fn confirm(net: &mut Net<Subset>, digest: [u8; 32]) {
    for at in net.honest() {
        net.party(at).confirm(digest).unwrap();
        net.drive(at);
    }
    while net.step() {}
}

fn body(key: &SigningKey, scope: Digest, statements: Vec<(u16, Statement)>) -> Vec<u8> {
    Message::encode(scope, Message::statements(key, &scope, statements).unwrap()).unwrap()
}

#[test]
fn all_get_the_same_proposals_of_a_quorum() {
    for seed in 0..25 {
        let n = [1, 4, 4, 7][seed as usize % 4];
        let mut honest: Vec<usize> = (0..n).collect();
        for at in 0..(n - 1) / 3 {
            honest.remove((seed as usize + at) % honest.len());
        }
        let mut net = subset(seed, &committee(n), &honest);
        (net.loss, net.doubled) = (seed as usize % 3 * 10, seed as usize % 2 * 30);
        net.run();
        for (proposer, bytes) in check(&net) {
            assert_eq!(bytes, payload(proposer.into()));
        }
    }
}

#[test]
fn parties_have_weights() {
    let committee = weighted(&[10, 10, 10, 1, 1]);
    let mut net = subset(7, &committee, &[0, 1, 2]);
    net.run();
    assert_eq!(check(&net).len(), 3);
}

#[test]
fn a_quorum_confirms_and_a_late_party_gets_certificate_and_proposals() {
    let mut net = subset(3, &committee(4), &[0, 1, 2]);
    net.run();
    confirm(&mut net, [9; 32]);
    let certificate = net.party(0).certificate().unwrap();
    certificate.verify(&net.committee).unwrap();
    assert_eq!((certificate.digest, certificate.chain, certificate.instance), ([9; 32], [1; 32], [3; 32]));
    let events = net.events.iter().filter(|(_, event)| matches!(event, SubsetEvent::Confirmed(_))).count();
    assert_eq!(events, 3);
    // Party 3 comes late: what the others say again is enough for the certificate, and for the outcome.
    net.parties[3] = Some(Subset::restored(3, &net.committee, &[]));
    net.run();
    assert_eq!(net.party(3).certificate().unwrap().digest, [9; 32]);
    assert_eq!(net.party(3).output(), net.party(0).output());
}

#[test]
fn confirmations_of_different_things_are_no_certificate() {
    let mut net = subset(3, &committee(4), &[0, 1, 2, 3]);
    net.run();
    for at in 0..4 {
        net.party(at).confirm([at as u8 / 2; 32]).unwrap();
        net.drive(at);
    }
    while net.step() {}
    assert!((0..4).all(|at| net.party(at).certificate().is_none()));
    assert!(net.party(0).confirm([7; 32]).unwrap_err().to_string().contains("confirmed before"));
    net.party(0).confirm([0; 32]).unwrap();
}

#[test]
fn nothing_is_confirmed_before_the_outcome() {
    let mut party = Subset::new(INSTANCE, committee(4), key(0)).unwrap();
    assert!(party.confirm([1; 32]).unwrap_err().to_string().contains("no outcome"));
    assert!(party.input(vec![0; PAYLOAD_MAX + 1]).is_err());
    party.input(vec![0; PAYLOAD_MAX]).unwrap();
    party.input(vec![0; PAYLOAD_MAX]).unwrap();
    assert!(party.input(vec![1]).unwrap_err().to_string().contains("another payload"));
}

#[test]
fn a_proposal_that_is_not_good_is_not_echoed() {
    let committee = committee(4);
    let scope = INSTANCE.scope(&committee);
    let mut party = Subset::new(INSTANCE, committee, key(1)).unwrap();
    assert!(party.payload_result(0, true).unwrap_err().to_string().contains("no proposal"));
    let initial = Message::encode(scope, Message::initial(&key(0), &scope, b"bad".to_vec()).unwrap()).unwrap();
    party.handle(0, &initial, 0).unwrap();
    release(&mut party);
    party.payload_result(0, false).unwrap();
    assert_eq!(release(&mut party), Vec::<Vec<u8>>::new());
    assert!(party.payload_result(0, true).unwrap_err().to_string().contains("judged otherwise"));
    party.handle(0, &initial, 0).unwrap();
    assert_eq!(release(&mut party), Vec::<Vec<u8>>::new());
}

/// A proposal that one honest party alone has in full still comes out at all, if it is agreed on.
#[test]
fn who_lacks_a_proposal_asks_for_it() {
    let mut net: Net<Subset> = Net::new(1, &committee(4), [1, 2, 3]);
    let scope = INSTANCE.scope(&net.committee);
    let initial = Message::initial(&key(0), &scope, b"shown to two".to_vec()).unwrap();
    let initial = Message::encode(scope, initial).unwrap();
    net.deliver(0, 1, &initial);
    net.deliver(0, 2, &initial);
    let digest = payload_digest(b"shown to two");
    let echoes =
        (0..3).map(|party| Endorsement { party, signature: key(party.into()).sign(&echo_message(&scope, 0, &digest)) });
    let signatures = Signatures::new(echoes.collect()).unwrap();
    let last = Message::encode(scope, Body::Final { proposer: 0, digest, signatures }).unwrap();
    (1..4).for_each(|at| net.deliver(0, at, &last));
    net.flying.clear();
    for at in 1..4 {
        net.party(at).input(payload(at)).unwrap();
        net.drive(at);
    }
    // Two of three hold it and say 1; with the faulty proposer's help 1 is decided.
    let ones: Vec<(u16, Statement)> = (0..40)
        .take(ROUNDS_AHEAD_MAX as usize)
        .flat_map(|round| {
            let bit = true;
            [
                (0, Statement::Echo1 { round, bit }),
                (0, Statement::Echo2 { round, bit }),
                (0, Statement::Echo3 { round, bit: Some(bit) }),
            ]
        })
        .collect();
    let ones = body(&key(0), scope, ones);
    (1..4).for_each(|at| net.deliver(0, at, &ones));
    net.run();
    let accepted = check(&net);
    if accepted.iter().any(|(proposer, _)| *proposer == 0) {
        assert!(accepted.contains(&(0, b"shown to two".to_vec())));
        assert!(
            net.events
                .iter()
                .all(|(at, event)| *at != 3 || !matches!(event, SubsetEvent::ValidatePayload { proposer: 0, .. })),
            "it was never shown"
        );
    } else {
        panic!("the seed was chosen so that it is in");
    }
}

#[test]
fn a_delivery_is_made_once_between_two_repetitions() {
    let mut net = subset(3, &committee(4), &[0, 1, 2]);
    net.run();
    let scope = INSTANCE.scope(&net.committee);
    let request = Message::request(&key(3), &scope, vec![0, 1, 77]).unwrap();
    let request = Message::encode(scope, request).unwrap();
    let mut party = net.parties[0].take().unwrap();
    for expected in [2, 0] {
        party.handle(3, &request, 0).unwrap();
        assert_eq!(release(&mut party).len(), expected);
    }
    party.resend().unwrap();
    release(&mut party);
    party.handle(3, &request, 0).unwrap();
    let delivered = release(&mut party);
    let Body::Delivery { proposer, payload: bytes, .. } = wire::decode::<Message>(&delivered[0]).unwrap().body else {
        panic!("a delivery")
    };
    assert_eq!((proposer, bytes), (0, Bytes::new("payload", payload(0)).unwrap()));
}

#[test]
fn crashes_anywhere_change_nothing() {
    for seed in 0..10 {
        let mut net = subset(seed, &committee(4), &[0, 1, 2, 3]);
        net.loss = 10;
        for _ in 0..40 {
            for _ in 0..net.dice.below(8) {
                net.step();
            }
            let at = net.dice.below(4);
            let before = (net.party(at).decided(), net.party(at).rounds(), net.party(at).output());
            net.crash(at);
            assert_eq!((net.party(at).decided(), net.party(at).rounds(), net.party(at).output()), before);
        }
        net.run();
        check(&net);
        confirm(&mut net, [5; 32]);
        net.loss = 0;
        for at in 0..4 {
            net.crash(at);
            net.party(at).resend().unwrap();
            net.drive(at);
        }
        while net.step() {}
        assert!((0..4).all(|at| net.party(at).certificate().is_some()));
    }
}
