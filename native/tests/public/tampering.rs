//! Right pieces put together wrongly: each is refused, and the error says why.

use city_chain_native::crypto::merkle;
use city_chain_native::error::{Error, Result};
use city_chain_native::primitives::bulk::BulkSignature;
use city_chain_native::primitives::wire::{self, List, Record};
use city_chain_native::proofs::dpos;
use city_chain_native::proofs::poh::{self, Ack};
use city_chain_native::records::availability::{AvailabilityCertificate, verify_many};
use city_chain_native::records::batch::{Batch, CommitCertificate, Entry};
use city_chain_native::records::epoch::Epoch;
use city_chain_native::records::manifest::Manifest;
use city_chain_native::records::receipt::{Receipt, Trust, TrustedEpoch};
use city_chain_native::records::repair::Repair;
use city_chain_native::records::selection::Draw;
use city_chain_native::records::sharding::Ruling;
use city_chain_native::records::signed::Signed;

use crate::builders::{City, Dispersal, QUORUM, hlc, identity};

/// What to spoil, and a word of the error it gives.
type Spoil<T> = (&'static str, fn(&mut T));

fn refused<T: std::fmt::Debug>(outcome: Result<T>, why: &str) {
    let message = outcome.expect_err(why).to_string();
    assert!(message.contains(why), "wanted {why:?}, got {message:?}");
}

/// `record` after a round trip of its own bytes.
fn on_the_wire<R: Record>(record: &R) -> Result<R> {
    wire::decode(&wire::encode(record)?)
}

fn made() -> (City, Vec<Dispersal>) {
    let city = City::new("tampering", 3);
    let dispersals = (0..3).map(|sequence| city.disperse(sequence)).collect();
    (city, dispersals)
}

#[test]
fn a_receipt_of_another_network_epoch_or_trust() {
    let (city, dispersals) = made();
    let receipt = city.receipt(&dispersals, 0);
    receipt.verify(&city.trust()).unwrap();
    let foreign = City::new("foreign", 3).trust();
    refused(receipt.verify(&foreign), "of network");
    let trust = |number, root| Trust {
        network: city.epoch.network,
        epochs: List::new("epochs", vec![TrustedEpoch { number, root }]).unwrap(),
        city_key: None,
    };
    refused(receipt.verify(&trust(4, city.epoch.root())), "epoch 3 is not among the trusted");
    refused(receipt.verify(&trust(3, [7; 32])), "has root");
    refused(receipt.verify(&Trust { epochs: List::default(), ..city.trust() }), "at least one");
    // An epoch made up around the delegates who did sign: same network, same number, another seed.
    let mut wrong = receipt.clone();
    wrong.epoch.seed = [1; 32];
    refused(wrong.verify(&city.trust()), "has root");
    // Delegates of the attacker's own.
    let mut wrong = receipt;
    wrong.epoch = Epoch { network: city.epoch.network, ..City::new("foreign", 3).epoch };
    wrong.epoch.validators =
        dpos::ValidatorSet::new(3, vec![dpos::Validator { key: identity(1).id(), stake: 1 }]).unwrap();
    refused(wrong.verify(&city.trust()), "has root");
    wrong.epoch.number = 4;
    refused(wrong.verify(&city.trust()), "its validators are those of epoch 3");
}

#[test]
fn acks_that_are_swapped_doubled_foreign_or_too_few() {
    let (city, dispersals) = made();
    let (a, b) = (&dispersals[0], &dispersals[1]);
    let make = |acks: &[Ack]| AvailabilityCertificate::new(a.manifest.clone(), a.hashes.clone(), acks);
    make(&a.acks).unwrap().verify(&city.epoch).unwrap();
    // Of another transaction: refused when put together, and when smuggled in afterwards.
    refused(make(&b.acks), "not about this manifest");
    let (mut one, mut other) = (city.availability(a), city.availability(b));
    std::mem::swap(&mut one.acks, &mut other.acks);
    for wrong in [&one, &other] {
        refused(wrong.verify(&city.epoch), "ack of fragment");
    }
    std::mem::swap(&mut one.acks, &mut other.acks);
    let mut mixed = one.acks.clone().into_vec();
    mixed[1] = other.acks[1].clone();
    one.acks = List::new("acks", mixed).unwrap();
    assert!(one.verify(&city.epoch).is_err());
    // Twice the same fragment; two fragments at one node.
    refused(make(&[a.acks[0].clone(), a.acks[0].clone(), a.acks[1].clone()]), "ascending and distinct");
    let greedy = {
        let node = a.requests[0].node;
        let request = city.request(&a.manifest, &a.hashes, 1, node);
        poh::hold_many(city.holder(&node).signing(), &[(&request, &a.fragments[1])], hlc(1)).unwrap().remove(0)
    };
    refused(make(&[a.acks[0].clone(), greedy, a.acks[2].clone()]), "holds two fragments");
    // A node that was not chosen, and a spare, which may stand in.
    let stand_in = |node: [u8; 32], key| {
        let request = city.request(&a.manifest, &a.hashes, 0, node);
        poh::hold_many(key, &[(&request, a.fragments[0].as_slice())], hlc(1)).unwrap().remove(0)
    };
    let stranger = identity(99);
    let foreign = stand_in(stranger.id(), stranger.signing());
    refused(make(&[foreign, a.acks[1].clone(), a.acks[2].clone()]), "not about this manifest");
    let spare = a.manifest.selection.nodes[4];
    let spare = stand_in(spare, city.holder(&spare).signing());
    make(&[spare, a.acks[1].clone(), a.acks[2].clone()]).unwrap().verify(&city.epoch).unwrap();
    // One fewer than the quorum: says how many.
    let few = make(&a.acks[..usize::from(QUORUM) - 1]).unwrap();
    let Err(Error::Unavailable { needed: 3, had: 2, .. }) = few.verify(&city.epoch) else { panic!() };
    // A place in the selection that does not exist.
    let mut wrong = city.availability(a);
    let mut acks = wrong.acks.into_vec();
    acks[0].position = 5;
    wrong.acks = List::new("acks", acks).unwrap();
    refused(wrong.full_acks(), "node 5 of 5");
    refused(wire::encode(&wrong), "node 5 of 5");
}

#[test]
fn one_bad_certificate_of_many_gets_the_only_bad_verdict() {
    let (city, dispersals) = made();
    let good: Vec<AvailabilityCertificate> = dispersals.iter().map(|d| city.availability(d)).collect();
    assert!(verify_many(&good, &city.epoch).unwrap().iter().all(Result::is_ok));
    let cases: [Spoil<AvailabilityCertificate>; 6] = [
        ("sender's signature", |c| c.manifest.signature[0] ^= 1),
        ("ack of fragment", |c| {
            let mut acks = std::mem::take(&mut c.acks).into_vec();
            acks[1].signature = BulkSignature::empty();
            c.acks = List::new("acks", acks).unwrap();
        }),
        ("fragment hashes", |c| c.fragment_hashes = List::default()),
        ("quorum of 9", |c| c.manifest.quorum = 9),
        ("of epoch 9", |c| c.manifest.selection.epoch = 9),
        ("vrf", |c| c.manifest.selection.proof[40] ^= 1),
    ];
    for (why, spoil) in cases {
        let mut mixed = good.clone();
        spoil(&mut mixed[1]);
        let mut verdicts = verify_many(&mixed, &city.epoch).unwrap();
        refused(verdicts.remove(1), why);
        assert!(verdicts.iter().all(Result::is_ok), "{why}");
    }
    assert!(verify_many::<AvailabilityCertificate>(&[], &city.epoch).unwrap().is_empty());
}

#[test]
fn a_manifest_signed_by_somebody_else() {
    let (city, dispersals) = made();
    let other = identity(2);
    let mut wrong = city.availability(&dispersals[0]);
    wrong.manifest.signature = other.signing().sign(&wrong.manifest.digest().unwrap());
    refused(wrong.verify(&city.epoch), "sender's signature");
    refused(wrong.manifest.clone().sign(other.signing()), "not that of the signer");
    // Named and signed by the other: another manifest, which neither the acks nor the batch know.
    wrong.manifest.sender = other.id();
    wrong.manifest = wrong.manifest.clone().sign(other.signing()).unwrap();
    refused(wrong.verify(&city.epoch), "ack of fragment");
    let mut receipt = city.receipt(&dispersals, 0);
    receipt.availability = wrong;
    refused(receipt.verify(&city.trust()), "not in the batch");
}

#[test]
fn a_draw_of_another_epoch_key_or_order() {
    let (city, dispersals) = made();
    let manifest = &dispersals[0].manifest;
    let selection = &manifest.selection;
    let beta = selection.verify_proof(&city.epoch).unwrap();
    // A proof for another seed, said to be of this epoch; and honestly of another.
    let later = Epoch { seed: [8; 32], ..city.epoch.clone() };
    let foreign = Draw::new(city.sender.vrf(), &later).unwrap();
    let drawn = foreign.select(&city.candidates, &manifest.sender, manifest.sequence, 5).unwrap();
    refused(drawn.verify_proof(&city.epoch), "selection: vrf");
    let mut wrong = selection.clone();
    wrong.epoch = 4;
    refused(wrong.verify_proof(&city.epoch), "of epoch 4, but epoch 3");
    wrong = selection.clone();
    wrong.vrf_public = identity(2).vrf().public();
    refused(wrong.verify_proof(&city.epoch), "selection: vrf");
    // Every reordering, one node less, one node more, one exchanged; another sequence, sender or list.
    let verify = |nodes: Vec<[u8; 32]>, sequence| {
        let mut wrong = selection.clone();
        wrong.nodes = List::new("nodes", nodes).unwrap();
        wrong.verify_nodes(&beta, &city.candidates, &manifest.sender, sequence)
    };
    let nodes = selection.nodes.to_vec();
    verify(nodes.clone(), 0).unwrap();
    verify(nodes[..4].to_vec(), 0).unwrap(); // fewer spares are the same draw
    for at in 0..nodes.len() {
        for with in at + 1..nodes.len() {
            let mut turned = nodes.clone();
            turned.swap(at, with);
            refused(verify(turned, 0), "not those that the draw gives");
        }
        let mut exchanged = nodes.clone();
        exchanged[at] = [1; 32];
        refused(verify(exchanged, 0), "not those that the draw gives");
    }
    refused(verify(nodes[1..].to_vec(), 0), "not those");
    refused(verify([nodes.clone(), vec![nodes[0]; 3]].concat(), 0), "not those");
    refused(verify(nodes.clone(), 1), "not those");
    let mut wrong = selection.clone();
    wrong.candidates_root = [1; 32];
    refused(wrong.verify_nodes(&beta, &city.candidates, &manifest.sender, 0), "candidate list");
}

#[test]
fn a_manifest_whose_numbers_make_no_sense() {
    let (city, dispersals) = made();
    let cases: [Spoil<Manifest>; 14] = [
        ("k = 0", |m| m.k = 0),
        ("k = 5", |m| m.k = 5),
        ("quorum of 1", |m| m.quorum = 1),
        ("quorum of 5", |m| m.quorum = 5),
        ("code 3", |m| m.code = 3),
        ("code 0", |m| m.code = 0),
        ("gf8 needs", |m| (m.code, m.n) = (2, 257)),
        ("0 bytes", |m| m.length = 0),
        ("18446744073709551615 bytes", |m| m.length = u64::MAX),
        ("at most 8 are allowed", |m| {
            let nodes = (0..9).map(|at| [at; 32]).collect();
            m.selection.nodes = List::new("nodes", nodes).unwrap();
        }),
        ("17 fragments of 67000000 bytes", |m| (m.k, m.quorum, m.n, m.length) = (1, 1, 17, 67_000_000)),
        ("1024 fragments of 67125248 bytes", |m| {
            (m.k, m.quorum, m.n, m.length) = (1, 1, 1024, (64 << 20) + (16 << 10))
        }),
        ("nodes are fewer", |m| m.selection.nodes = List::default()),
        ("named twice", |m| {
            let first = m.selection.nodes[0];
            m.selection.nodes = List::new("nodes", vec![first; 3]).unwrap();
        }),
    ];
    for (why, spoil) in cases {
        let mut wrong = dispersals[0].manifest.clone();
        spoil(&mut wrong);
        refused(on_the_wire(&wrong), why);
        refused(wrong.sign(city.sender.signing()), why);
    }
}

#[test]
fn entries_that_are_moved_doubled_left_out_or_miscounted() {
    let (city, dispersals) = made();
    let batch = city.batch(1, &dispersals);
    let with =
        |entries: Vec<Entry>| Batch { header: batch.header.clone(), entries: List::new("entries", entries).unwrap() };
    let entries = batch.entries.to_vec();
    on_the_wire(&with(entries.clone())).unwrap();
    for (at, to) in [(0, 1), (1, 2), (0, 2)] {
        let mut moved = entries.clone();
        moved.swap(at, to);
        refused(on_the_wire(&with(moved)), "do not lead to the root");
    }
    let mut doubled = entries.clone();
    doubled[2] = doubled[0].clone();
    refused(on_the_wire(&with(doubled.clone())), "in it twice");
    refused(Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, doubled), "in it twice");
    refused(Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, vec![]), "0 leaves");
    refused(Batch::new(&city.epoch, 0, [0; 32], "tokyo", 0, entries.clone()), "heights count from 1");
    refused(on_the_wire(&with(entries[..2].to_vec())), "2 entries where the header says 3");
    for count in [0, 2, 4, 4097, u32::MAX] {
        let mut wrong = batch.clone();
        wrong.header.count = count;
        assert!(on_the_wire(&wrong).is_err(), "{count}");
        // The count is bound into the root, so a receipt cannot lie about it either.
        let mut receipt = city.receipt(&dispersals, 0);
        receipt.header.count = count;
        assert!(receipt.verify(&city.trust()).is_err(), "{count}");
    }
    // A sender has one transaction of a number.
    let mut again = city.disperse(0).manifest;
    again.tx_id = [9; 32];
    let again = Entry::transaction(&again).unwrap();
    refused(
        Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, vec![entries[0].clone(), again]),
        "two transactions numbered 0",
    );
    // A repair of a transaction may stand beside it, but not twice.
    let repair = Entry::repair(&city.repair(&dispersals[0]).repair).unwrap();
    let both = [entries, vec![repair.clone()]].concat();
    Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, both.clone()).unwrap();
    refused(Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, [both.clone(), vec![repair]].concat()), "in it twice");
    // A ruling may stand beside both, but not two about the same.
    let id = dispersals[0].transaction.digest().unwrap();
    let ruled = |said: &[u8]| Entry::sharding(&Ruling::new(id, vec![1], said.to_vec()).unwrap()).unwrap();
    let all = [both, vec![ruled(b"yes")]].concat();
    Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, all.clone()).unwrap();
    refused(Batch::new(&city.epoch, 1, [0; 32], "tokyo", 0, [all, vec![ruled(b"no")]].concat()), "in it twice");
}

#[test]
fn an_inclusion_path_or_certificate_of_another_batch() {
    let (city, dispersals) = made();
    let receipt = city.receipt(&dispersals, 1);
    receipt.verify(&city.trust()).unwrap();
    let turned = [city.disperse(2), city.disperse(1), city.disperse(0)];
    let other = city.receipt(&turned, 1);
    let with = |spoil: &dyn Fn(&mut Receipt)| {
        let mut wrong = receipt.clone();
        spoil(&mut wrong);
        wrong.verify(&city.trust())
    };
    refused(with(&|r| r.path = other.path.clone()), "not in the batch");
    refused(with(&|r| r.path = List::default()), "the path has only 0 hashes");
    refused(with(&|r| r.position = 0), "not in the batch");
    refused(with(&|r| r.position = u32::MAX), "there is none");
    refused(with(&|r| r.availability = city.availability(&dispersals[0])), "not in the batch");
    refused(with(&|r| r.certificate = other.certificate.clone()), "about another batch");
    // The other batch wholly, with this one's certificate.
    let header = |r: &mut Receipt| {
        r.header = other.header.clone();
        r.path = other.path.clone();
    };
    refused(with(&header), "about another batch");
    // The right slot in the certificate, but signatures for another one.
    let foreign = other.certificate.votes().unwrap();
    let mut mixed = receipt.certificate.votes().unwrap().clone();
    mixed.signatures = foreign.signatures.clone();
    refused(with(&|r| r.certificate = CommitCertificate::Dpos(mixed.clone())), "the signature of delegate");
    // Too little stake: a single delegate, and none.
    let slot = city.slot(&receipt.header, 0);
    let mut few = mixed.clone();
    let right = receipt.certificate.votes().unwrap();
    few.signatures = List::new("signatures", right.signatures[..1].to_vec()).unwrap();
    refused(with(&|r| r.certificate = CommitCertificate::Dpos(few.clone())), "are needed");
    few.signatures = List::default();
    refused(with(&|r| r.certificate = CommitCertificate::Dpos(few.clone())), "are needed");
    few.slot = dpos::Slot { epoch: 4, ..slot };
    refused(with(&|r| r.certificate = CommitCertificate::Dpos(few.clone())), "about another batch");
    // A batch of another height, epoch or network.
    refused(with(&|r| r.header.height = 0), "heights count from 1");
    refused(with(&|r| r.header.epoch = 4), "of network");
    refused(with(&|r| r.header.network = [1; 32]), "of network");
    refused(with(&|r| r.header.hlc += 1), "about another batch");
    let batch = city.batch(1, &dispersals);
    let path = batch.tree().unwrap().path(1).unwrap();
    merkle::verify(&batch.entries[1].leaf().unwrap(), 1, 3, &path, &batch.header.entries_root).unwrap();
    let certificate = city.commit(&batch.header);
    refused(
        Receipt::new(city.availability(&dispersals[0]), city.epoch.clone(), &batch, certificate, 1),
        "not in the batch",
    );
}

#[test]
fn a_receipt_shown_for_another_transaction() {
    let (city, dispersals) = made();
    let receipt = city.receipt(&dispersals, 0);
    receipt.verify_transaction(&dispersals[0].transaction).unwrap();
    refused(receipt.verify_transaction(&dispersals[1].transaction), "receipt: of transaction");
    let mut wrong = dispersals[0].transaction.clone();
    wrong.signature[9] ^= 1;
    refused(receipt.verify_transaction(&wrong), "transaction: signature");
}

#[test]
fn acks_that_do_not_belong_to_the_repair() {
    let (city, dispersals) = made();
    let (network, dispersal) = (city.epoch.network, &dispersals[0]);
    let good = city.repair(dispersal);
    good.verify(&network, &dispersal.hashes).unwrap();
    refused(good.verify(&[0; 32], &dispersal.hashes), "of network");
    refused(good.verify(&network, &dispersals[1].hashes), "not the one of the manifest");
    refused(good.verify(&network, &[]), "not the one of the manifest");
    let with = |acks: Vec<Ack>| {
        let mut wrong = good.clone();
        wrong.acks = List::new("acks", acks).unwrap();
        wrong.verify(&network, &dispersal.hashes)
    };
    let acks = good.acks.to_vec();
    refused(with(vec![acks[1].clone(), acks[0].clone()]), "does not belong");
    refused(with(vec![acks[0].clone(), acks[0].clone()]), "does not belong");
    refused(with(vec![acks[0].clone()]), "1 acks for 2 moves");
    refused(with(city.repair(&dispersals[1]).acks.to_vec()), "does not belong");
    refused(with(vec![dispersal.acks[1].clone(), acks[1].clone()]), "does not belong");
    let mut forged = acks.clone();
    forged[0].hold_until_ms += 1;
    refused(with(forged), "ack of fragment 1");
    // A node that acknowledges other bytes than those of the fragment.
    let other = {
        let node = good.repair.moves[0].node;
        let mut request = city.request(&dispersal.manifest, &dispersal.hashes, 1, node);
        request.fragment_hash = city_chain_native::crypto::hash::fragment(b"other");
        poh::hold_many(city.holder(&node).signing(), &[(&request, b"other")], hlc(1)).unwrap().remove(0)
    };
    refused(with(vec![other, acks[1].clone()]), "not the one of the manifest");
    let cases: [Spoil<Repair>; 4] = [
        ("generations count from 1", |r| r.generation = 0),
        ("at least one", |r| r.moves = List::default()),
        ("ascending and distinct", |r| r.moves = List::new("moves", vec![r.moves[0], r.moves[0]]).unwrap()),
        ("given two fragments", |r| {
            let mut moves = r.moves.to_vec();
            moves[1].node = moves[0].node;
            r.moves = List::new("moves", moves).unwrap();
        }),
    ];
    for (why, spoil) in cases {
        let mut wrong = good.repair.clone();
        spoil(&mut wrong);
        refused(on_the_wire(&wrong), why);
    }
    let mut wrong = good.clone();
    wrong.repair.repairer = identity(2).id();
    refused(wrong.verify(&network, &dispersal.hashes), "repair: signature");
}
