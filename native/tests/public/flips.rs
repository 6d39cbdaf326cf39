//! Every single flipped bit of everything that is signed or proven is refused; of long records, bits all over them.

use std::collections::HashMap;

use city_chain_native::error::Result;
use city_chain_native::primitives::wire;
use city_chain_native::proofs::dpos::{self, Proposal, Report};
use city_chain_native::proofs::poh::{self, Ack, HoldRequest};
use city_chain_native::records::attestation::{Claim, Testimony};
use city_chain_native::records::availability::AvailabilityCertificate;
use city_chain_native::records::batch::CommitCertificate;
use city_chain_native::records::city_keys::CityKeys;
use city_chain_native::records::countersignature::{Countersignature, CountersignedReceipt};
use city_chain_native::records::dealing::{Dealing, Recipient};
use city_chain_native::records::epoch::{Election, Handover};
use city_chain_native::records::letter::Letter;
use city_chain_native::records::manifest::Manifest;
use city_chain_native::records::message::RepairRequest;
use city_chain_native::records::node::NodeRecord;
use city_chain_native::records::receipt::Receipt;
use city_chain_native::records::repair::RepairCertificate;
use city_chain_native::records::sealed::Sealed;
use city_chain_native::records::signed::Signed;
use city_chain_native::records::transaction::Transaction;

use crate::builders::City;
use crate::drawn;
use crate::golden::samples;

/// Samples of this many bytes are mostly keys and signatures: only some of their bits are flipped.
const LONG: usize = 2048;

/// Flips every bit of the samples of `record`, of long ones bits all over them; `verify` must refuse all of them, and accept the sample itself.
fn exhaust(record: &str, verify: impl Fn(&[u8]) -> Result<()>) {
    let mut found = 0;
    for (name, bytes) in samples() {
        if name != record && name.split('.').next() != Some(record) {
            continue;
        }
        found += 1;
        verify(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        // An odd step comes to every place in a byte.
        let step = if bytes.len() < LONG { 1 } else { (bytes.len() / 256) | 1 };
        for bit in (0..bytes.len() * 8).step_by(step) {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&wrong).is_err(), "{name}: bit {} of byte {} of {}", bit % 8, bit / 8, bytes.len());
        }
    }
    assert!(found > 0, "there is no sample of {record}");
}

fn city() -> City {
    City::new("golden", 0)
}

#[test]
fn of_a_transaction() {
    exhaust("transaction", |bytes| wire::decode::<Transaction>(bytes)?.verify());
}

#[test]
fn of_a_manifest() {
    exhaust("manifest", |bytes| wire::decode::<Manifest>(bytes)?.verify());
}

#[test]
fn of_a_hold_request() {
    exhaust("hold_request", |bytes| poh::verify_requests(&[wire::decode::<HoldRequest>(bytes)?])?.remove(0));
}

#[test]
fn of_an_ack() {
    exhaust("ack", |bytes| wire::decode::<Ack>(bytes)?.verify());
}

#[test]
fn of_an_availability_certificate() {
    let city = city();
    exhaust("availability_certificate", |bytes| wire::decode::<AvailabilityCertificate>(bytes)?.verify(&city.epoch));
}

#[test]
fn of_a_commit_certificate() {
    let city = city();
    let header = city.batch(1, &[city.disperse(0), city.disperse(1), city.disperse(2)]).header;
    let key = city.keys().public.signing_key;
    exhaust("commit_certificate", |bytes| {
        wire::decode::<CommitCertificate>(bytes)?.verify_under(&city.epoch, &header, Some(&key))
    });
}

#[test]
fn of_a_receipt() {
    let trust = city().trust().with_city_key(&city().keys().public.signing_key_typed()).unwrap();
    exhaust("receipt", |bytes| wire::decode::<Receipt>(bytes)?.verify(&trust));
}

#[test]
fn of_a_repair_certificate() {
    let city = city();
    let hashes = city.disperse(0).hashes;
    exhaust("repair_certificate", |bytes| {
        wire::decode::<RepairCertificate>(bytes)?.verify(&city.epoch.network, &hashes)
    });
}

#[test]
fn of_what_is_said_of_places() {
    exhaust("place_claim", |bytes| wire::decode::<Claim>(bytes)?.verify());
    exhaust("place_testimony", |bytes| wire::decode::<Testimony>(bytes)?.verify());
}

#[test]
fn of_a_node_record() {
    exhaust("node_record", |bytes| wire::decode::<NodeRecord>(bytes)?.verify());
}

#[test]
fn of_a_letter() {
    exhaust("letter", |bytes| wire::decode::<Letter>(bytes)?.verify());
}

#[test]
fn of_a_repair_request() {
    exhaust("repair_request", |bytes| wire::decode::<RepairRequest>(bytes)?.verify());
}

#[test]
fn of_city_keys_and_their_handover() {
    let city = city();
    exhaust("city_keys", |bytes| wire::decode::<CityKeys>(bytes)?.verify(&city.epoch));
    exhaust("election", |bytes| wire::decode::<Election>(bytes)?.verify_after(&city.epoch));
    exhaust("handover", |bytes| wire::decode::<Handover>(bytes)?.verify(&city.epoch));
    exhaust("recipient", |bytes| wire::decode::<Recipient>(bytes)?.verify());
    exhaust("dealing", |bytes| wire::decode::<Dealing>(bytes)?.verify());
}

#[test]
fn of_a_countersignature() {
    exhaust("countersignature", |bytes| wire::decode::<Countersignature>(bytes)?.verify());
}

/// Bits all over it, in the receipt and in everybody's record and signature; all of them would take long.
#[test]
fn of_a_countersigned_receipt() {
    let (trust, known) = (drawn::town().trust(), HashMap::new());
    let made = drawn::countersigned_by_enough();
    made.verify(&trust, &known).unwrap();
    let bytes = wire::encode(&made).unwrap();
    for bit in (0..bytes.len() * 8).step_by(353) {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let verdict = wire::decode::<CountersignedReceipt>(&wrong).and_then(|read| read.verify(&trust, &known));
        assert!(verdict.is_err(), "bit {} of byte {} of {}", bit % 8, bit / 8, bytes.len());
    }
}

#[test]
fn of_what_is_sealed_to_readers() {
    let key = drawn::reader();
    exhaust("sealed.readers", |bytes| wire::decode::<Sealed>(bytes)?.open(&key).map(drop));
}

#[test]
fn of_a_vote() {
    let city = city();
    let slot = city.slot(&city.batch(1, &[city.disperse(0), city.disperse(1), city.disperse(2)]).header, 0);
    // Three others bring stake 9 of 10 less the one of stake 1: with it alone missing the quorum still stands, so the vote
    // is looked for among those that count.
    exhaust("vote", |bytes| {
        let vote = wire::decode(bytes)?;
        let others = city.delegates[1..].iter().map(|key| dpos::Vote::new(key, slot));
        let votes: Vec<dpos::Vote> = others.chain([vote]).collect();
        let made = dpos::collect(&city.epoch.validators, &slot, &votes)?;
        made.certificate.verify(&city.epoch.validators)?;
        made.refused.first().map_or(Ok(()), |(_, why)| Err(city_chain_native::error::Error::protocol(why.as_str())))
    });
}

#[test]
fn of_a_report_and_a_proposal() {
    let city = city();
    let slot = city.slot(&city.batch(1, &[city.disperse(0), city.disperse(1), city.disperse(2)]).header, 2);
    exhaust("report", |bytes| {
        let report = wire::decode::<Report>(bytes)?;
        report.verify(&city.epoch.validators, &city.epoch.seed, &slot).map(drop)
    });
    exhaust("proposal", |bytes| city.delegate(0).propose(&wire::decode::<Proposal>(bytes)?));
}
