//! Golden vectors: the bytes of every record, frozen in `tests/vectors/records.txt`, and the digests that are signed or
//! named, in `tests/vectors/digests.txt`. Records that draw randomness are in `tests/vectors/drawn.txt` (see `drawn.rs`).
//!
//! A change of bytes fails here. It needs a new version number of the record, never a silent change; then the files are
//! written anew with
//!
//! ```text
//! CITY_CHAIN_WRITE_VECTORS=1 cargo test --test public golden
//! ```
//!
//! which also writes the fuzz targets' seeds into `fuzz/corpus/` (not committed).

use std::fmt::Write as _;
use std::path::Path;

use city_chain_native::algorithms::cbf::{Bloom, Cuckoo};
use city_chain_native::algorithms::ec::Code;
use city_chain_native::crypto::hash::hex;
use city_chain_native::crypto::kem::Suite;
use city_chain_native::error::Result;
use city_chain_native::primitives::wire::{self, Bytes, List, Record};
use city_chain_native::proofs::dpos::{self, Accepted, Proposal, Report, Slot, Vote};
use city_chain_native::proofs::poh;
use city_chain_native::proofs::pop::{Event, Multipliers, Options, Places};
use city_chain_native::records::batch::{CommitCertificate, Entry};
use city_chain_native::records::dealing::Recipient;
use city_chain_native::records::key_file::PublicKeyFile;
use city_chain_native::records::letter::Letter;
use city_chain_native::records::manifest::{Cipher, Manifest};
use city_chain_native::records::message::{Message, RepairRequest, Wanted};
use city_chain_native::records::receipt::Receipt;
use city_chain_native::records::sharding::Ruling;
use city_chain_native::records::signed::Signed;
use city_chain_native::records::transaction::Transaction;

use crate::builders::{City, T, hlc, identity, text};
use crate::drawn;
use crate::fuzzing::targets::{Known, Nested, RECORDS};
use crate::places;

const RECORDS_FILE: &str = "tests/vectors/records.txt";
const DIGESTS_FILE: &str = "tests/vectors/digests.txt";

fn encode<R: Record>(record: &R) -> Vec<u8> {
    wire::encode(record).unwrap()
}

/// Every record once or more; a name is that of its record, with what is special about it after a dot.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    [made(), drawn::samples()].concat()
}

/// Those that have the same bytes whenever they are made.
fn made() -> Vec<(&'static str, Vec<u8>)> {
    let city = City::new("golden", 0);
    let dispersals = [city.disperse(0), city.disperse(1), city.disperse(2)];
    let first = &dispersals[0];
    let batch = city.batch(1, &dispersals);
    let receipt = city.receipt(&dispersals, 1);
    let certificate = city.commit(&batch.header).votes().unwrap().clone();
    let repair = city.repair(first);
    let mut samples = vec![
        ("transaction", encode(&first.transaction)),
        ("transaction.bare", encode(&bare_transaction(&city))),
        ("candidate_list", encode(city.candidates.list())),
        ("selection", encode(&first.manifest.selection)),
        ("manifest", encode(&first.manifest)),
        ("manifest.gf8", encode(&city.disperse_by(0, Code::Gf8).manifest)),
        ("manifest.city", encode(&sealed_by(&city, &first.manifest, Cipher::City { capsule: [5; 32] }))),
        ("manifest.readers", encode(&sealed_by(&city, &first.manifest, Cipher::Readers))),
        ("hold_request", encode(&first.requests[1])),
        ("hold_request.session", encode(&city.sealed_request(first))),
        ("ack", encode(&first.acks[0])),
        ("ack.bulk", encode(&bulk_ack(&city))),
        ("availability_certificate", encode(&city.availability(first))),
        ("entry", encode(&batch.entries[0])),
        ("entry.repair", encode(&Entry::repair(&repair.repair).unwrap())),
        ("batch_header", encode(&batch.header)),
        ("batch", encode(&batch)),
        ("commit_certificate", encode(&CommitCertificate::Dpos(certificate.clone()))),
        ("epoch", encode(&city.epoch)),
        ("validator_set", encode(&city.epoch.validators)),
        ("vote", encode(&Vote::new(&city.delegates[0], city.slot(&batch.header, 0)))),
        ("certificate", encode(&certificate)),
        ("receipt", encode(&receipt)),
        ("trust", encode(&city.trust())),
        ("repair", encode(&repair.repair)),
        ("repair_certificate", encode(&repair)),
        ("entry.sharding", encode(&Entry::sharding(&ruling()).unwrap())),
        ("ruling", encode(&ruling())),
        ("ruling.warrant", encode(&ruling().with_warrant(encode(&crossing(&city).head().unwrap())).unwrap())),
        ("transaction.crossing", encode(&crossing(&city))),
        ("transaction_head", encode(&crossing(&city).head().unwrap())),
    ];
    samples.extend(filters());
    samples.extend(voting(&city, city.slot(&batch.header, 0)));
    samples.extend(messages(&city, first.transaction.digest().unwrap()));
    samples.extend(threshold(&city, &receipt));
    samples.extend(with_places());
    samples
}

/// What attestations of place make of the records.
fn with_places() -> Vec<(&'static str, Vec<u8>)> {
    let city = places::placed(City::new("golden", 0));
    let first = city.disperse(0);
    let shown = places::attestation(&city, 4).unwrap();
    vec![
        ("place_claim", encode(&shown.claim)),
        ("place_testimony", encode(&shown.testimonies[0])),
        ("place_attestation", encode(&shown)),
        ("place_attestation.alone", encode(&places::attestation(&city, 1).unwrap())),
        ("place_rules", encode(&places::rules())),
        ("candidate_list.places", encode(city.candidates.list())),
        ("selection.grades", encode(&first.manifest.selection)),
        ("manifest.grades", encode(&first.manifest)),
        ("availability_certificate.grades", encode(&city.availability(&first))),
        ("node_record.place", encode(&places::placed_record(&city))),
        ("receipt.grades", encode(&city.receipt(&[first], 0))),
        ("map", map().to_bytes().unwrap()),
        ("multipliers", multipliers().to_bytes().unwrap()),
    ]
}

/// Two municipalities that share a border, one of them with a hole and an exclave.
fn map() -> Places {
    let features = [
        r#"{"type":"Feature","id":"east","properties":{},"geometry":{"type":"Polygon","coordinates":
            [[[5.2,52.0],[5.4,52.0],[5.4,52.2],[5.2,52.2],[5.2,52.0]]]}}"#,
        r#"{"type":"Feature","id":"wést","properties":{},"geometry":{"type":"MultiPolygon","coordinates":
            [[[[5.0,52.0],[5.2,52.0],[5.2,52.2],[5.0,52.2],[5.0,52.0]],
              [[5.1,52.1],[5.1,52.15],[5.15,52.15],[5.15,52.1],[5.1,52.1]]],
             [[[-1.0,-0.5],[-0.5,-0.5],[-0.75,0.0000001],[-1.0,-0.5]]]]}}"#,
    ];
    let text = format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","));
    Places::from_geojson(text.as_bytes(), &Options::default()).unwrap()
}

/// A table with a municipality's own multiplier, an event of it, and one that is everywhere.
fn multipliers() -> Multipliers {
    let event = |municipality: Option<&str>, bp| Event {
        municipality: municipality.map(str::to_owned),
        from_ms: T,
        until_ms: T + 1000,
        bp,
    };
    Multipliers::new([("wést".to_owned(), 20_000)], vec![event(Some("wést"), 5_000), event(None, 15_000)]).unwrap()
}

fn ruling() -> Ruling {
    Ruling::new([7; 32], b"prepare".to_vec(), b"prepared".to_vec()).unwrap()
}

/// What the city's threshold keys make, and what delegates say when they hand over.
fn threshold(city: &City, receipt: &Receipt) -> Vec<(&'static str, Vec<u8>)> {
    let keys = city.keys();
    let compressed = keys.compress(&receipt.certificate);
    let trust = city.trust().with_city_key(&keys.public.signing_key_typed()).unwrap();
    let handover = city.handover(&keys.public);
    let [by_blocks, by_subset] = [city.commit_by_blocks(&receipt.header), city.commit_by_subset(&receipt.header)];
    let small = keys.compress(&by_blocks);
    let holder = &city.holders[0];
    let public = PublicKeyFile::new(holder.kem(Suite::Sntrup761X25519).unwrap().public().as_bytes()).unwrap();
    vec![
        ("city_keys", encode(&keys.public)),
        ("commit_certificate.compressed", encode(&compressed)),
        ("receipt.compressed", encode(&receipt.with_certificate(compressed).unwrap())),
        ("commit_certificate.hotstuff", encode(&by_blocks)),
        ("commit_certificate.abba", encode(&by_subset)),
        ("commit_certificate.city", encode(&small)),
        ("receipt.hotstuff", encode(&Receipt { certificate: by_blocks, ..receipt.clone() })),
        ("receipt.abba", encode(&Receipt { certificate: by_subset, ..receipt.clone() })),
        ("receipt.city", encode(&Receipt { certificate: small, ..receipt.clone() })),
        ("trust.city_key", encode(&trust)),
        ("election", encode(&handover.election)),
        ("handover", encode(&handover)),
        ("recipient", encode(&Recipient::new(holder, city.epoch.network).unwrap())),
        ("public_key_file", encode(&public)),
    ]
}

fn filters() -> [(&'static str, Vec<u8>); 2] {
    let keys = [b"one".as_slice(), b"two", b"three"];
    let (mut bloom, mut cuckoo) = (Bloom::new(8, 0.01, 5).unwrap(), Cuckoo::new(8, 5).unwrap());
    bloom.insert_many(keys);
    cuckoo.insert_many(keys).unwrap();
    [("bloom", bloom.to_bytes().unwrap()), ("cuckoo", cuckoo.to_bytes().unwrap())]
}

/// The manifest of a payload that is sealed.
fn sealed_by(city: &City, manifest: &Manifest, cipher: Cipher) -> Manifest {
    Manifest { cipher, ..manifest.clone() }.sign(city.sender.signing()).unwrap()
}

fn bare_transaction(city: &City) -> Transaction {
    Transaction::new(&city.sender, city.epoch.network, 7, hlc(7), vec![], None, vec![]).unwrap()
}

/// A transaction of several cities.
fn crossing(city: &City) -> Transaction {
    city.transaction(3).with_terms(&city.sender, [8; 32]).unwrap()
}

/// One of three acks that one signature serves.
fn bulk_ack(city: &City) -> poh::Ack {
    let first = city.disperse(0);
    let node = city.others(&first.manifest)[0];
    let requests: Vec<poh::HoldRequest> =
        (0..3).map(|index| city.request(&first.manifest, &first.hashes, index, node.id())).collect();
    let held: Vec<(&poh::HoldRequest, &[u8])> =
        requests.iter().zip(&first.fragments).map(|(request, fragment)| (request, fragment.as_slice())).collect();
    poh::hold_many(node.signing(), &held, hlc(101)).unwrap().remove(2)
}

/// Reports, a proposal that carries them, and a delegate's journal, fresh and after an acceptance.
fn voting(city: &City, slot: Slot) -> Vec<(&'static str, Vec<u8>)> {
    let first = Proposal::new(city.leader(1, 0), slot, vec![]).unwrap();
    let accepted = Accepted { attempt: 0, digest: slot.digest, leader_signature: first.signature };
    let later = Slot { attempt: 2, ..slot };
    let reports: Vec<Report> = (city.delegates[1..].iter())
        .enumerate()
        .map(|(at, key)| Report::new(key, &later, (at == 1).then_some(accepted)).unwrap())
        .collect();
    let proposal = Proposal::new(city.leader(1, 2), later, reports.clone()).unwrap();
    let mut delegate = city.delegate(0);
    let fresh = delegate.snapshot().unwrap();
    delegate.propose(&proposal).unwrap();
    delegate.prepare(1, 5).unwrap();
    vec![
        ("report", encode(&reports[0])),
        ("report.accepted", encode(&reports[1])),
        ("proposal", encode(&proposal)),
        ("proposal.first", encode(&first)),
        ("delegate_state", delegate.snapshot().unwrap()),
        ("delegate_state.fresh", fresh),
    ]
}

fn messages(city: &City, tx_id: [u8; 32]) -> Vec<(&'static str, Vec<u8>)> {
    let parts = [b"part".to_vec(), vec![], vec![0xff; 3]].map(|part| Bytes::new("part", part).unwrap());
    let message = Message { kind: text("hold"), parts: List::new("parts", parts.to_vec()).unwrap() };
    let wanted = [0, 3].map(|index| Wanted { tx_id, index });
    let request = RepairRequest {
        network: city.epoch.network,
        node: city.holders[1].id(),
        requester: city.holders[0].id(),
        hlc: hlc(400),
        deadline_ms: T + 80,
        items: List::new("wanted", wanted.to_vec()).unwrap(),
        signature: [0; 64],
    };
    let nested = Nested {
        lists: List::new("lists", vec![List::new("list", vec![1, 2]).unwrap(), List::default()]).unwrap(),
        bytes: Some(Bytes::new("bytes", vec![9; 9]).unwrap()),
        texts: List::new("texts", vec![text("né"), text("")]).unwrap(),
        large: None,
    };
    let key = city.holders[0].signing();
    let letter = Letter {
        network: city.epoch.network,
        sender: city.holders[0].id(),
        receiver: city.holders[1].id(),
        challenge: [7; 32],
        number: 3,
        answer: false,
        bodies: List::new(
            "bodies",
            vec![Bytes::new("body", b"body".to_vec()).unwrap(), Bytes::new("body", vec![]).unwrap()],
        )
        .unwrap(),
        signature: [0; 64],
    };
    vec![
        ("message", encode(&message)),
        ("repair_request", encode(&request.sign(key).unwrap())),
        ("node_record", encode(&city.node_record(&city.holders[0]))),
        ("letter", encode(&letter.sign(key).unwrap())),
        ("nested", encode(&nested)),
    ]
}

/// The decoder of a sample.
pub fn recoder(name: &str) -> fn(&[u8]) -> Result<Vec<u8>> {
    let record = name.split('.').next().unwrap();
    RECORDS.iter().find(|known| known.name == record).unwrap_or_else(|| panic!("no decoder for {name}")).recode
}

/// What is signed or named by its digest.
fn digests() -> Vec<(&'static str, [u8; 32])> {
    let city = City::new("golden", 0);
    let first = city.disperse(0);
    let batch = city.batch(1, std::slice::from_ref(&first));
    let slot = city.slot(&batch.header, 0);
    let repair = city.repair(&first).repair;
    vec![
        ("sender", identity(1).id()),
        ("sender.vrf", identity(1).vrf().public()),
        ("network", city.epoch.network),
        ("epoch.seed", city.epoch.seed),
        ("epoch.root", city.epoch.root()),
        ("validators.root", city.epoch.validators.root()),
        ("leader.height_1.attempt_0", city.leader(1, 0).public()),
        ("leader.height_1.attempt_2", city.leader(1, 2).public()),
        ("candidates.root", *city.candidates.root()),
        ("candidates.root.places", *places::placed(City::new("golden", 0)).candidates.root()),
        ("place_claim.id", places::attestation(&city, 4).unwrap().claim.digest().unwrap()),
        ("place_testimony.id", places::attestation(&city, 4).unwrap().testimonies[0].digest().unwrap()),
        ("place_attestation.digest", places::attestation(&city, 4).unwrap().digest().unwrap()),
        ("transaction.id", first.transaction.digest().unwrap()),
        ("fragment_0.hash", first.hashes[0]),
        ("fragments.root", first.manifest.fragment_root),
        ("manifest.hash", first.manifest.digest().unwrap()),
        ("challenge", first.requests[0].challenge),
        ("entry.leaf", batch.entries[0].leaf().unwrap()),
        ("batch.digest", batch.header.digest().unwrap()),
        ("slot.message", slot.message()),
        ("slot.proposal_message", dpos::proposal_message(&slot)),
        ("repair.hash", repair.digest().unwrap()),
        ("ruling.hash", ruling().digest().unwrap()),
        ("transaction.crossing.id", crossing(&city).digest().unwrap()),
        ("map.root", map().root()),
        ("multipliers.root", multipliers().root().unwrap()),
    ]
}

fn path(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn rendered() -> [(&'static str, String); 2] {
    let mut records = String::from("# The bytes of every record. Written and checked by tests/public/golden.rs.\n");
    for (name, bytes) in made() {
        writeln!(records, "\n[{name}] {} bytes", bytes.len()).unwrap();
        for line in bytes.chunks(56) {
            writeln!(records, "{}", hex(line)).unwrap();
        }
    }
    let mut frozen = String::from("# What is signed or named. Written and checked by tests/public/golden.rs.\n");
    for (name, digest) in digests() {
        writeln!(frozen, "{name} {}", hex(&digest)).unwrap();
    }
    [(RECORDS_FILE, records), (DIGESTS_FILE, frozen)]
}

/// The records of the file, by name.
fn frozen() -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for line in std::fs::read_to_string(path(RECORDS_FILE)).unwrap().lines() {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            out.push((name.to_owned(), String::new()));
        } else if let Some((_, text)) = out.last_mut() {
            text.push_str(line);
        }
    }
    out.into_iter().map(|(name, text)| (name, hex::decode(text).unwrap())).collect()
}

/// One file a sample, for cargo-fuzz.
fn write_corpus() {
    let folder = path("fuzz/corpus/records");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in samples() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn every_record_has_the_bytes_it_always_had() {
    if std::env::var_os("CITY_CHAIN_WRITE_VECTORS").is_some() {
        drawn::write_missing();
        for (file, text) in rendered() {
            std::fs::write(path(file), text).unwrap();
        }
        write_corpus();
    }
    let (made, frozen) = (made(), frozen());
    for ((name, bytes), (frozen_name, frozen_bytes)) in made.iter().zip(&frozen) {
        assert_eq!(name, frozen_name);
        assert!(bytes == frozen_bytes, "{name}: other bytes than in {RECORDS_FILE}: {}", hex(bytes));
    }
    assert_eq!(made.len(), frozen.len());
    for (file, text) in rendered() {
        assert_eq!(std::fs::read_to_string(path(file)).unwrap(), text, "{file}");
    }
}

#[test]
fn the_frozen_bytes_decode_to_what_they_were() {
    let frozen = frozen();
    for (name, bytes) in &frozen {
        assert_eq!(recoder(name)(bytes).unwrap(), *bytes, "{name}");
    }
    let all = samples();
    for Known { name, .. } in RECORDS {
        assert!(all.iter().any(|(sample, _)| sample.split('.').next() == Some(name)), "{name} is not frozen");
    }
    let (_, receipt) = frozen.iter().find(|(name, _)| name == "receipt").unwrap();
    let (_, trust) = frozen.iter().find(|(name, _)| name == "trust").unwrap();
    wire::decode::<Receipt>(receipt).unwrap().verify(&wire::decode(trust).unwrap()).unwrap();
}

#[test]
fn no_two_records_share_a_tag() {
    let mut tags: Vec<[u8; 4]> = RECORDS.iter().map(|known| known.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), RECORDS.len());
}

/// Messages and journals of the agreement machines, whose bytes their own tests pin.
const MACHINES: [&str; 5] = ["algorithms/hs", "algorithms/hvp", "algorithms/abba", "algorithms/sc", "sim"];

/// The tags in the sources, each once, so that a record that is forgotten here is noticed.
#[test]
fn every_record_of_the_sources_is_known() {
    fn collect(folder: &Path, tags: &mut Vec<[u8; 4]>, machines: &mut Vec<[u8; 4]>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if MACHINES.iter().any(|folder| path.ends_with(folder)) {
                let mut nested = Vec::new();
                collect(&path, machines, &mut nested);
            } else if path.is_dir() {
                collect(&path, tags, machines);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let found = text.split("const TAG: [u8; 4] = *b\"").skip(1);
                tags.extend(found.map(|rest| <[u8; 4]>::try_from(&rest.as_bytes()[..4]).unwrap()));
            }
        }
    }
    let (mut tags, mut machines) = (Vec::new(), Vec::new());
    collect(&path("src"), &mut tags, &mut machines);
    let mut all = [tags.clone(), machines].concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "two records begin with the same letters");
    tags.retain(|tag| tag != b"CCxx"); // that of the codec's own tests
    tags.push(*b"CCne"); // and that of these
    tags.sort_unstable();
    let mut known = RECORDS.map(|known| known.tag).to_vec();
    known.sort_unstable();
    let text = |tags: &[[u8; 4]]| tags.iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect::<Vec<_>>();
    assert_eq!(text(&tags), text(&known));
}
