use super::*;

fn request(node: [u8; 32], sender: [u8; 32], index: u16, fragment: &[u8]) -> HoldRequest {
    HoldRequest {
        network: [1; 32],
        sender,
        node,
        tx_id: [2; 32],
        manifest_hash: [3; 32],
        index,
        n: 10,
        fragment_hash: hash::fragment(fragment),
        challenge: challenge(&[4; 32], &node, index),
        hlc: 5,
        deadline_ms: 6,
        hold_until_ms: 7,
        session: Bytes::default(),
        authorization: BulkSignature::empty(),
    }
}

fn made() -> (SigningKey, Vec<HoldRequest>, Vec<Vec<u8>>, Vec<Ack>) {
    let (node, sender) = (SigningKey::from_seed(&[8; 32]), SigningKey::from_seed(&[9; 32]));
    let fragments: Vec<Vec<u8>> = (0..5u8).map(|i| vec![i; 100 + usize::from(i)]).collect();
    let requests = (0..).zip(&fragments).map(|(i, f)| request(node.public(), sender.public(), i, f)).collect();
    let requests = request_many(&sender, requests).unwrap();
    let held: Vec<_> = requests.iter().zip(&fragments).map(|(r, f)| (r, f.as_slice())).collect();
    let acks = hold_many(&node, &held, 11).unwrap();
    (node, requests, fragments, acks)
}

#[test]
fn acks_verify_alone_together_and_against_their_request_and_bytes() {
    let (_, requests, fragments, acks) = made();
    assert!(verify_requests(&requests).unwrap().iter().all(Result::is_ok));
    assert!(verify_acks(&acks).unwrap().iter().all(Result::is_ok));
    for ((ack, request), fragment) in acks.iter().zip(&requests).zip(&fragments) {
        ack.verify().unwrap();
        ack.verify_answers(request).unwrap();
        ack.verify_held(fragment).unwrap();
        assert!(ack.verify_held(b"other").is_err());
        assert_eq!(wire::decode::<Ack>(&wire::encode(ack).unwrap()).unwrap(), *ack);
        assert_eq!(wire::decode::<HoldRequest>(&wire::encode(request).unwrap()).unwrap(), *request);
    }
    assert!(acks[0].verify_answers(&requests[1]).is_err());
}

#[test]
fn every_flipped_bit_of_an_ack_is_refused() {
    let (_, _, fragments, acks) = made();
    for ack in [&acks[2], &acks[4]] {
        let bytes = wire::encode(ack).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let accepted = wire::decode::<Ack>(&wrong).and_then(|ack| ack.verify()).is_ok();
            assert!(!accepted, "bit {bit}");
        }
    }
    // One that has no encoding at all is refused alone.
    let mut mixed = acks.clone();
    mixed[1].index = 10;
    let verdicts = verify_acks(&mixed).unwrap();
    assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true, true]);
    assert!(mixed[1].verify().unwrap_err().to_string().contains("10 of 10"));
    let mut lie = acks[0].clone();
    lie.proof[0] ^= 1;
    assert!(lie.verify_held(&fragments[0]).unwrap_err().to_string().contains("proof"));
}

#[test]
fn a_node_does_not_acknowledge_what_it_was_not_asked_or_does_not_have() {
    let (node, requests, fragments, _) = made();
    assert!(hold_many(&node, &[(&requests[0], b"other")], 1).is_err());
    assert!(hold_many(&SigningKey::from_seed(&[1; 32]), &[(&requests[0], &fragments[0])], 1).is_err());
    let mut wrong = requests[0].clone();
    wrong.index = 10;
    assert!(hold_many(&node, &[(&wrong, &fragments[0])], 1).is_err());
    assert!(hold_many(&node, &[], 1).unwrap().is_empty());
    let mut forged = requests;
    forged[1].hold_until_ms += 1;
    let verdicts = verify_requests(&forged).unwrap();
    assert!(verdicts[1].is_err() && verdicts[0].is_ok() && verdicts[2].is_ok());
}

#[test]
fn challenges_differ_by_seed_node_and_index() {
    let base = challenge(&[0; 32], &[0; 32], 0);
    for other in [challenge(&[1; 32], &[0; 32], 0), challenge(&[0; 32], &[1; 32], 0), challenge(&[0; 32], &[0; 32], 1)]
    {
        assert_ne!(base, other);
    }
}
