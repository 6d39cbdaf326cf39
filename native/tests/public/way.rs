//! The whole way: identity → transaction → selection → manifest → acks → availability → batch → votes → receipt.

use city_chain_native::algorithms::ec;
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire;
use city_chain_native::proofs::dpos::{self, Delegate, Saying};
use city_chain_native::proofs::poh;
use city_chain_native::records::batch::{Batch, CommitCertificate, Entry};
use city_chain_native::records::receipt::Receipt;
use city_chain_native::records::signed::Signed;
use city_chain_native::records::transaction::Transaction;
use proptest::prelude::*;

use crate::builders::{City, hlc, identity};
use crate::fuzzing::targets::recode;

/// Carries out all effects; what is said.
fn settle(delegate: &mut Delegate) -> Vec<Saying> {
    let mut said = Vec::new();
    loop {
        let effects = delegate.drain();
        if effects.is_empty() {
            return said;
        }
        for effect in effects {
            match effect {
                Effect::Persist { ticket, .. } => delegate.durable(ticket).unwrap(),
                Effect::Output(saying) => said.push(saying),
            }
        }
    }
}

#[test]
fn a_transaction_travels_from_its_sender_to_its_receipt_and_back() {
    let city = City::new("way", 0);
    let dispersals = [city.disperse(0), city.disperse_by(1, ec::Code::Gf8), city.disperse(2)];
    for dispersal in &dispersals {
        let manifest = &dispersal.manifest;
        dispersal.transaction.verify().unwrap();
        manifest.verify().unwrap();
        let beta = manifest.selection.verify_proof(&city.epoch).unwrap();
        manifest.selection.verify_nodes(&beta, &city.candidates, &manifest.sender, manifest.sequence).unwrap();
        assert!(poh::verify_requests(&dispersal.requests).unwrap().iter().all(Result::is_ok));
        for ((ack, request), fragment) in dispersal.acks.iter().zip(&dispersal.requests).zip(&dispersal.fragments) {
            ack.verify_answers(request).unwrap();
            ack.verify_held(fragment).unwrap();
        }
        city.availability(dispersal).verify(&city.epoch).unwrap();
    }
    // The delegates vote by their machines; the leader's batch carries all three and a repair.
    let repair = city.repair(&dispersals[0]);
    repair.verify(&city.epoch.network, &dispersals[0].hashes).unwrap();
    let mut entries: Vec<Entry> = dispersals.iter().map(|d| Entry::transaction(&d.manifest).unwrap()).collect();
    entries.push(Entry::repair(&repair.repair).unwrap());
    let batch = Batch::new(&city.epoch, 1, city.epoch.network, "tokyo", hlc(200), entries).unwrap();
    let digest = batch.header.digest().unwrap();
    let mut delegates: Vec<Delegate> = (0..4).map(|at| city.delegate(at)).collect();
    let leading = city.delegates.iter().position(|key| key.public() == city.leader(1, 0).public()).unwrap();
    delegates[leading].lead(0, digest, vec![]).unwrap();
    let mut said = settle(&mut delegates[leading]);
    let Saying::Proposal(proposal) = said.remove(0) else { panic!("{said:?}") };
    for at in (0..4).filter(|at| *at != leading) {
        delegates[at].propose(&proposal).unwrap();
        said.extend(settle(&mut delegates[at]));
    }
    let votes: Vec<dpos::Vote> = said
        .into_iter()
        .map(|said| match said {
            Saying::Vote(vote) => vote,
            other => panic!("{other:?}"),
        })
        .collect();
    let collected = dpos::collect(&city.epoch.validators, &proposal.slot, &votes).unwrap();
    assert!(collected.refused.is_empty());
    for delegate in &mut delegates {
        delegate.committed(&collected.certificate).unwrap();
        assert_eq!(delegate.tip(), (1, digest));
    }
    let certificate = CommitCertificate::Dpos(collected.certificate);
    for (position, dispersal) in (0..).zip(&dispersals) {
        let availability = city.availability(dispersal);
        let receipt = Receipt::new(availability, city.epoch.clone(), &batch, certificate.clone(), position).unwrap();
        let receipt: Receipt = wire::decode(&wire::encode(&receipt).unwrap()).unwrap();
        receipt.verify(&city.trust()).unwrap();
        receipt.verify_transaction(&dispersal.transaction).unwrap();
        assert_eq!(*receipt.tx_id(), dispersal.transaction.digest().unwrap());
        // And back: the holders that the receipt names restore the transaction.
        let holders = receipt.availability.holders();
        let held = holders.iter().take(2).map(|(index, node)| {
            assert_eq!(*node, dispersal.requests[usize::from(*index)].node);
            (usize::from(*index), dispersal.fragments[usize::from(*index)].as_slice())
        });
        let manifest = &receipt.availability.manifest;
        let codec = ec::Codec::new(2, 2, Some(manifest.code().unwrap())).unwrap();
        let restored = codec.decode(&ec::Fragments::new(held.collect()).unwrap(), manifest.length).unwrap();
        assert_eq!(wire::decode::<Transaction>(&restored).unwrap(), dispersal.transaction);
    }
}

#[test]
fn the_same_envelope_has_one_id_and_the_same_payload_sent_twice_has_two() {
    let (sender, network) = (identity(1), [5; 32]);
    let send = |sequence| Transaction::new(&sender, network, sequence, 7, b"same".to_vec(), None, vec![]).unwrap();
    assert_eq!(send(0).digest().unwrap(), send(0).digest().unwrap());
    assert_ne!(send(0).digest().unwrap(), send(1).digest().unwrap());
    // The id does not depend on the signature that is attached.
    let mut other = send(0);
    other.signature[0] ^= 1;
    assert_eq!(other.digest().unwrap(), send(0).digest().unwrap());
    assert!(other.verify().is_err());
    assert!(send(0).sign(identity(2).signing()).unwrap_err().to_string().contains("not that of the signer"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn transactions_round_trip(
        master: [u8; 32], network: [u8; 32], sequence: u64, stamp: u64,
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        touched in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..6),
    ) {
        let sender = identity(master[0]);
        let made = Transaction::new(&sender, network, sequence, stamp, payload.clone(), None, touched.clone()).unwrap();
        made.verify().unwrap();
        let bytes = wire::encode(&made).unwrap();
        prop_assert_eq!(&wire::decode::<Transaction>(&bytes).unwrap(), &made);
        prop_assert_eq!(recode::<Transaction>(&bytes).unwrap(), bytes);
        prop_assert_eq!(&*made.payload, &payload[..]);
        // The order and doubles of the touched keys do not matter.
        let turned: Vec<Vec<u8>> = touched.iter().rev().chain(&touched).cloned().collect();
        prop_assert_eq!(Transaction::new(&sender, network, sequence, stamp, payload, None, turned).unwrap(), made);
    }
}
