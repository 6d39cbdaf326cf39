//! Records that are as large as every list in them allows: they fit the limit of the whole, and one item more is refused.

use city_chain_native::crypto::hash::Digest;
use city_chain_native::crypto::merkle::PATH_MAX;
use city_chain_native::primitives::bulk::BulkSignature;
use city_chain_native::primitives::wire::{self, Bytes, List, Record, Text};
use city_chain_native::proofs::dpos::{
    self, Accepted, Certificate, Proposal, Report, Slot, VALIDATORS_MAX, Validator, ValidatorSet,
};
use city_chain_native::records::FRAGMENTS_MAX;
use city_chain_native::records::attestation::{Attestation, Spot, TESTIMONIES_MAX, Testimony};
use city_chain_native::records::availability::{AvailabilityCertificate, CompactAck};
use city_chain_native::records::batch::{Batch, CommitCertificate, ENTRIES_MAX, Entry};
use city_chain_native::records::epoch::Epoch;
use city_chain_native::records::grading::{EVENTS_MAX, Event, Rules, WITNESSES_MAX, Witness};
use city_chain_native::records::message::{Message, PARTS_MAX, RepairRequest, WANTED_MAX, Wanted};
use city_chain_native::records::receipt::{EPOCHS_MAX, Receipt, Trust, TrustedEpoch};
use city_chain_native::records::repair::{Move, RepairCertificate};
use city_chain_native::records::selection::{CANDIDATES_MAX, Candidate, CandidateList, Placing, Standing};
use city_chain_native::records::sharding::{COMMAND_MAX, Ruling, STATEMENT_MAX};
use city_chain_native::records::transaction::{HEAD_LEN_MAX, PAYLOAD_MAX, TOUCHED_MAX, Transaction};

use crate::builders::{City, Dispersal, identity};
use crate::places;

fn list<T, const MAX: usize>(count: usize, item: impl Fn(u64) -> T) -> List<T, MAX> {
    List::new("list", (0..count as u64).map(item).collect()).unwrap()
}

/// Distinct, and ascending with `at`.
fn key(at: u64) -> [u8; 32] {
    let mut key = [0xab; 32];
    key[..8].copy_from_slice(&at.to_be_bytes());
    key
}

fn name<const MAX: usize>() -> Text<MAX> {
    Text::new("name", "n".repeat(MAX)).unwrap()
}

fn signature() -> BulkSignature {
    BulkSignature { position: 0, count: 1 << 20, path: list(PATH_MAX, key), signature: [7; 64] }
}

/// Encodes, decodes and compares; the length.
fn fits<R: Record + PartialEq + std::fmt::Debug>(record: &R) -> usize {
    let bytes = wire::encode(record).unwrap();
    assert!(wire::decode::<R>(&bytes).unwrap() == *record, "{}", R::NAME);
    bytes.len()
}

fn availability(dispersal: &Dispersal) -> AvailabilityCertificate {
    let mut manifest = dispersal.manifest.clone();
    (manifest.n, manifest.k) = (FRAGMENTS_MAX as u16, 512);
    manifest.quorum = manifest.n;
    manifest.selection.nodes = list(2 * FRAGMENTS_MAX, key);
    manifest.selection.grades = list(2 * FRAGMENTS_MAX, |at| at as u8 % 4);
    let ack = |at: u64| CompactAck {
        position: at as u16,
        index: at as u16,
        hlc: 0,
        hold_until_ms: 0,
        challenge: [0; 32],
        proof: [0; 32],
        signature: signature(),
    };
    AvailabilityCertificate { manifest, fragment_hashes: list(FRAGMENTS_MAX, key), acks: list(FRAGMENTS_MAX, ack) }
}

fn largest_set() -> ValidatorSet {
    let items = (0..VALIDATORS_MAX as u64).map(|at| Validator { key: key(at), stake: u64::MAX }).collect();
    ValidatorSet::new(0, items).unwrap()
}

#[test]
fn the_largest_receipt_fits() {
    let city = City::new("limits", 0);
    let dispersals = [city.disperse(0)];
    let small = city.receipt(&dispersals, 0);
    let set = largest_set();
    // 1024 delegates of the largest stake: the sums do not overflow, and a leader is drawn.
    assert_eq!(set.total(), 1024 * u128::from(u64::MAX));
    assert!(set.position(&dpos::leader(&set, &[1; 32], 1, 0).unwrap()).is_some());
    let certificate = small.certificate.votes().unwrap().clone();
    let one = certificate.signatures[0].clone();
    let signatures = list(VALIDATORS_MAX, |at| {
        let mut signature = one.clone();
        signature.position = at as u16;
        signature
    });
    let mut header = small.header.clone();
    header.unit = name();
    let receipt = Receipt {
        availability: availability(&dispersals[0]),
        epoch: Epoch { validators: set, ..city.epoch.clone() },
        header,
        certificate: CommitCertificate::Dpos(Certificate { signatures, ..certificate }),
        position: 0,
        path: list(PATH_MAX, key),
    };
    fits(&receipt.availability);
    fits(&receipt.availability.manifest);
    fits(&receipt.availability.manifest.selection);
    fits(&receipt.epoch);
    fits(&receipt.epoch.validators);
    fits(&receipt.header);
    fits(&receipt.certificate);
    assert!(fits(&receipt) > 900_000);
}

#[test]
fn the_largest_ruling_fits_and_an_empty_one_is_refused() {
    let largest = (vec![1; COMMAND_MAX], vec![2; STATEMENT_MAX]);
    let ruling = Ruling::new([0; 32], largest.0.clone(), largest.1.clone()).unwrap();
    fits(&ruling);
    fits(&ruling.clone().with_warrant(vec![3; HEAD_LEN_MAX]).unwrap());
    let message = ruling.with_warrant(vec![3; HEAD_LEN_MAX + 1]).unwrap_err().to_string();
    assert!(message.contains("warrant: length 8193"), "{message}");
    let wrong = [
        (vec![1; COMMAND_MAX + 1], vec![2], "length 1048577"),
        (vec![1], vec![2; STATEMENT_MAX + 1], "length 4097"),
        (vec![], vec![2], "empty"),
        (vec![1], vec![], "empty"),
    ];
    for (command, statement, word) in wrong {
        let message = Ruling::new([0; 32], command, statement).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn the_largest_batch_and_repair_fit() {
    let city = City::new("limits", 0);
    let entry = |at: u64| Entry::Transaction {
        tx_id: key(at),
        manifest_hash: key(at),
        sender: key(at),
        vrf_public: key(at),
        sequence: u64::MAX,
    };
    let entries: Vec<Entry> = (0..ENTRIES_MAX as u64).map(entry).collect();
    let unit = "u".repeat(64);
    let batch = Batch::new(&city.epoch, u64::MAX, [0; 32], &unit, u64::MAX, entries.clone()).unwrap();
    fits(&batch);
    let more = [entries, vec![entry(1 << 40)]].concat();
    let message = Batch::new(&city.epoch, 1, [0; 32], &unit, 0, more).unwrap_err().to_string();
    assert!(message.contains("length 4097, at most 4096"), "{message}");
    let message = Batch::new(&city.epoch, 1, [0; 32], &"u".repeat(65), 0, vec![entry(0)]).unwrap_err().to_string();
    assert!(message.contains("length 65, at most 64"), "{message}");
    let mut repair = city.repair(&city.disperse(0));
    repair.repair.moves = list(FRAGMENTS_MAX, |at| Move { index: at as u16, node: key(at) });
    let one = repair.acks[0].clone();
    repair.acks = list(FRAGMENTS_MAX, |at| {
        let (index, node, signature) = (at as u16, key(at), signature());
        city_chain_native::proofs::poh::Ack { index, node, n: u16::MAX, signature, ..one.clone() }
    });
    fits(&repair.acks[0]);
    fits(&repair.repair);
    fits::<RepairCertificate>(&repair);
}

#[test]
fn the_largest_proposal_lists_and_messages_fit() {
    let city = City::new("limits", 0);
    let slot = Slot {
        network: [0; 32],
        epoch: u64::MAX,
        height: u64::MAX,
        attempt: u32::MAX,
        previous: [0; 32],
        digest: [0; 32],
    };
    let accepted = Accepted { attempt: 0, digest: [0; 32], leader_signature: [0; 64] };
    let report = Report::new(&city.delegates[0], &slot, Some(accepted)).unwrap();
    fits(&Proposal::new(&city.delegates[0], slot, vec![report.clone(); VALIDATORS_MAX]).unwrap());
    assert!(Proposal::new(&city.delegates[0], slot, vec![report; VALIDATORS_MAX + 1]).is_err());
    let network: Digest = [0; 32];
    let placeless = |at: u64| Candidate { node: key(at), weight: u32::MAX, domain: name(), standing: None };
    fits(&CandidateList { network, region: name(), placing: None, items: list(CANDIDATES_MAX, placeless) });
    let standing = || Some(Standing { municipality: name(), grade: 3, evidence: [9; 32] });
    let candidate = |at: u64| Candidate { standing: standing(), ..placeless(at) };
    let placing = Some(Placing { epoch: u64::MAX, at_ms: u64::MAX, rules: largest_rules() });
    fits(&CandidateList { network, region: name(), placing, items: list(CANDIDATES_MAX, candidate) });
    let epochs = list(EPOCHS_MAX, |number| TrustedEpoch { number, root: key(number) });
    fits(&Trust { network, epochs, city_key: None });
    let parts = list(PARTS_MAX, |_| Bytes::new("part", vec![7]).unwrap());
    fits(&Message { kind: Text::new("kind", "a".repeat(32)).unwrap(), parts });
    fits(&RepairRequest {
        network,
        node: key(0),
        requester: key(1),
        hlc: 0,
        deadline_ms: 0,
        items: list(WANTED_MAX, |at| Wanted { tx_id: key(at), index: 0 }),
        signature: [0; 64],
    });
}

fn largest_rules() -> Rules {
    let spot = || Spot { municipality: name(), lat_e7: 900_000_000, lon_e7: -1_800_000_000 };
    Rules {
        home: name(),
        grade_bp: [1_000_000; 4],
        witnesses: list(WITNESSES_MAX, |at| Witness { node: key(at), spot: spot() }),
        events: list(EVENTS_MAX, |at| Event {
            municipality: name(),
            multiplier_bp: 1_000_000,
            from_ms: at,
            until_ms: u64::MAX,
        }),
        ..places::rules()
    }
}

#[test]
fn the_largest_rules_and_attestation_fit() {
    fits(&largest_rules());
    let small = places::attestation(&City::new("limits", 0), 4).unwrap();
    let said = small.testimonies[0].clone();
    let mut claim = small.claim;
    claim.spot.municipality = name();
    let testimony = |at| Testimony { witness: key(at), ..said.clone() };
    let largest = |claim| Attestation { claim, testimonies: list(TESTIMONIES_MAX, testimony) };
    fits(&claim);
    fits(&said);
    fits(&largest(claim.clone()));
    let mut record = City::new("limits", 0).node_record(&identity(11));
    let place = |claim| Bytes::new("place", wire::encode(&largest(claim)).unwrap()).unwrap();
    record.place = place(claim.clone());
    assert!(wire::encode(&record).unwrap_err().to_string().contains("another node's"));
    claim.subject = record.node;
    record.place = place(claim);
    (record.region, record.domain, record.address) = (name(), name(), name());
    fits(&record);
}

#[test]
fn the_largest_transaction_fits() {
    let (city, sender) = (City::new("limits", 0), identity(1));
    let place = city
        .transaction(0)
        .place
        .map(|place| city_chain_native::records::transaction::Place { region: name(), ..place });
    let touched = |count: u8| (0..count).map(|at| vec![at; TOUCHED_MAX]).collect::<Vec<_>>();
    let make = |payload: usize, count: u8, long: usize| {
        let touched = touched(count).into_iter().chain((long > 0).then(|| vec![1; long])).collect();
        Transaction::new(&sender, [0; 32], 0, 0, vec![1; payload], place.clone(), touched)
    };
    let largest = make(PAYLOAD_MAX, TOUCHED_MAX as u8, 0).unwrap();
    fits(&largest);
    let crossing = largest.with_terms(&sender, [0; 32]).unwrap();
    fits(&crossing);
    fits(&crossing.head().unwrap());
    for (payload, count, long, why) in [
        (PAYLOAD_MAX + 1, 0, 0, "payload: length 67108865"),
        (0, TOUCHED_MAX as u8 + 1, 0, "touched: length 65"),
        (0, 0, TOUCHED_MAX + 1, "touched key: length 65"),
    ] {
        let message = make(payload, count, long).unwrap_err().to_string();
        assert!(message.contains(why), "{message}");
    }
}
