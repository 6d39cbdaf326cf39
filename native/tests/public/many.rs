//! Calls on many give what calls on one give, and records put together from parts do not depend on their order.

use city_chain_native::algorithms::ec::Code;
use city_chain_native::algorithms::vrf;
use city_chain_native::crypto::hash::Digest;
use city_chain_native::error::Error;
use city_chain_native::primitives::wire::{self, Record};
use city_chain_native::proofs::poh;
use city_chain_native::records::availability::{AvailabilityCertificate, verify_many, verify_selections};
use city_chain_native::records::manifest::{Manifest, Shape};
use city_chain_native::records::receipt::{Receipt, Trust};
use city_chain_native::records::repair::RepairCertificate;
use city_chain_native::records::selection::Selection;
use city_chain_native::records::signed::{self, Signed};
use city_chain_native::records::transaction::Transaction;

use crate::builders::{City, identity};

#[test]
fn many_receipts_are_those_made_one_by_one() {
    let city = City::new("many", 0);
    let dispersals = [city.disperse(0), city.disperse(1), city.disperse(2)];
    let availabilities: Vec<AvailabilityCertificate> = dispersals.iter().map(|d| city.availability(d)).collect();
    let batch = city.batch(1, &dispersals);
    let commit = city.commit(&batch.header);
    let made = Receipt::many(&availabilities, &city.epoch, &batch, &commit, &[0, 1, 2]).unwrap();
    for (position, (receipt, availability)) in (0..).zip(made.iter().zip(availabilities.clone())) {
        let one = Receipt::new(availability, city.epoch.clone(), &batch, commit.clone(), position).unwrap();
        assert_eq!(*receipt, one);
        receipt.verify(&Trust::of(&city.epoch).unwrap()).unwrap();
    }
    let wrong =
        |positions: &[u32]| Receipt::many(&availabilities, &city.epoch, &batch, &commit, positions).unwrap_err();
    assert!(matches!(wrong(&[0, 2, 1]), Error::Verification(_)));
    assert!(matches!(wrong(&[0, 1]), Error::Input(_)));
    assert!(matches!(wrong(&[0, 1, 3]), Error::Input(_)));
    assert!(verify_many(&availabilities, &city.epoch).unwrap().iter().all(Result::is_ok));
}

#[test]
fn selections_are_verified_with_their_nodes() {
    let city = City::new("many", 0);
    let manifest = city.disperse(0).manifest;
    let (mut other_nodes, mut other_sequence, mut other_proof) = (manifest.clone(), manifest.clone(), manifest.clone());
    let nodes: Vec<[u8; 32]> = manifest.selection.nodes.iter().rev().copied().collect();
    other_nodes.selection.nodes = wire::List::new("nodes", nodes).unwrap();
    other_sequence.sequence += 1;
    other_proof.selection.proof = [0; vrf::PROOF_LEN];
    let all = [manifest.clone(), other_nodes, other_sequence, other_proof, manifest.clone()];
    let verdicts = verify_selections(&all, &city.epoch, &city.candidates);
    assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, false, true]);
    for (manifest, verdict) in all.iter().zip(verdicts) {
        let alone = manifest.selection.verify(&city.epoch, &city.candidates, &manifest.sender, manifest.sequence);
        assert_eq!(alone, verdict);
    }
    let bytes = wire::encode(&manifest.selection).unwrap();
    assert_eq!(bytes[..4], Selection::TAG);
    assert_eq!(wire::decode::<Selection>(&bytes).unwrap(), manifest.selection);
}

#[test]
fn nodes_may_be_left_out_of_a_choice() {
    let city = City::new("many", 0);
    let all = city.candidates.choose(b"seed", usize::MAX).unwrap();
    let without = city.candidates.choose_without(b"seed", usize::MAX, &[all[0], [0; 32], all[0]]).unwrap();
    assert_eq!(without.len(), all.len() - 1);
    assert!(!without.contains(&all[0]));
    assert!(city.candidates.choose_without(b"seed", 3, &all).unwrap().is_empty());
}

#[test]
fn signatures_of_many_records_have_the_verdicts_of_one() {
    let city = City::new("many", 0);
    let mut records: Vec<Transaction> = (0..6).map(|sequence| city.transaction(sequence)).collect();
    records[3].signature[5] ^= 1;
    let pairs: Vec<(&Transaction, Digest)> = records.iter().map(|r| (r, r.digest().unwrap())).collect();
    let verdicts = signed::verify_many::<Transaction, _>(&pairs).unwrap();
    for (record, verdict) in records.iter().zip(verdicts) {
        assert_eq!(record.verify().is_ok(), verdict.is_ok());
    }
}

#[test]
fn a_manifest_is_made_of_its_transaction() {
    let city = City::new("many", 0);
    let dispersal = city.disperse(4);
    let (sent, hashes) = (&dispersal.transaction, &dispersal.hashes);
    let Manifest { length, k, n, quorum, ref selection, .. } = dispersal.manifest;
    let shape = Shape { length, k, n, quorum, code: Some(Code::Rs16) };
    let make = |by: u8, shape, hashes: &[Digest]| {
        Manifest::new(&identity(by), sent, sent.digest().unwrap(), shape, hashes, selection.clone())
    };
    let sender = (0..=255).find(|at| identity(*at).id() == sent.sender).unwrap();
    assert_eq!(make(sender, shape, hashes).unwrap(), dispersal.manifest);
    assert_eq!(make(sender, Shape { code: None, ..shape }, hashes).unwrap().code, Code::Gf8.id(), "what (2, 4) takes");
    assert!(make(sender, Shape { k: 1, n: 1024, code: Some(Code::Gf8), ..shape }, &vec![hashes[0]; 1024]).is_err());
    assert!(make(sender, shape, &hashes[1..]).is_err());
    assert!(make(sender, Shape { k: 0, ..shape }, hashes).is_err());
    assert!(make(sender, Shape { n: 0, ..shape }, hashes).is_err());
    assert!(make(sender.wrapping_add(1), shape, hashes).unwrap_err().to_string().contains("not that of the signer"));
}

#[test]
fn the_order_of_repair_acks_does_not_matter() {
    let city = City::new("many", 0);
    let certificate = city.repair(&city.disperse(0));
    let mut acks = certificate.acks.to_vec();
    acks.reverse();
    assert_eq!(RepairCertificate::new(certificate.repair.clone(), acks.clone()).unwrap(), certificate);
    acks.pop();
    assert!(RepairCertificate::new(certificate.repair, acks).is_err());
}

#[test]
fn nothing_to_ask_or_hold_is_nothing() {
    let key = identity(1);
    assert_eq!(poh::request_many(key.signing(), vec![]).unwrap(), []);
    assert_eq!(poh::hold_many(key.signing(), &[], 0).unwrap(), []);
}
