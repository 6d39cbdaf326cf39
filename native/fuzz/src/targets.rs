//! The bodies of the fuzz targets: ordinary functions, which the tests of the crate also drive with seeded input.
//!
//! Each takes bytes from outside and panics only where the crate breaks a promise. What they build on is the fixed city of
//! `builders.rs`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use city_chain_native::algorithms::cbf::{Bloom, Cuckoo};
use city_chain_native::algorithms::tnh::{self, Hlc, MS_MAX};
use city_chain_native::algorithms::vrf;
use city_chain_native::crypto::ed25519::{self, SigningKey};
use city_chain_native::crypto::hash::Digest;
use city_chain_native::error::Result;
use city_chain_native::primitives::bulk::{self, BulkSignature};
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire::{self, List, Record};
use city_chain_native::proofs::dpos::{
    self, Accepted, Certificate, Delegate, Proposal, Report, Saying, Slot, ValidatorSet, Vote,
};
use city_chain_native::proofs::poh::{Ack, HoldRequest, audit, chance, verify_acks, verify_requests};
use city_chain_native::records::attestation::{Attestation, Testimony};
use city_chain_native::records::availability::{self, AvailabilityCertificate};
use city_chain_native::records::batch::Entry;
use city_chain_native::records::city_keys::CityKeys;
use city_chain_native::records::countersignature::{Countersignature, CountersignedReceipt};
use city_chain_native::records::dealing::{Dealing, Dealings, Recipient};
use city_chain_native::records::epoch::{Election, Handover};
use city_chain_native::records::grading::{BP_ONE, GRADES, Moment, Rules, Witness};
use city_chain_native::records::manifest::Manifest;
use city_chain_native::records::message::RepairRequest;
use city_chain_native::records::node::NodeRecord;
use city_chain_native::records::receipt::Receipt;
use city_chain_native::records::repair::RepairCertificate;
use city_chain_native::records::selection::{CandidateList, Candidates};
use city_chain_native::records::signed::Signed;
use city_chain_native::records::transaction::Transaction;

use crate::builders::City;

#[path = "agreement.rs"]
mod agreement;
#[path = "fragments.rs"]
mod fragments;
#[path = "hotstuff.rs"]
mod hotstuff;
#[path = "known.rs"]
mod known;
#[path = "nodes.rs"]
mod nodes;
#[path = "ntp.rs"]
mod ntp;
#[path = "overlay.rs"]
mod overlay;
#[path = "places.rs"]
mod places;
#[path = "post_quantum.rs"]
mod post_quantum;
#[path = "sharding.rs"]
mod sharding;
#[path = "threshold.rs"]
mod threshold;

pub use agreement::{abba, abba_samples};
pub use fragments::erasure;
pub use hotstuff::{hotstuff, hotstuff_samples};
pub use known::{Known, Nested, RECORDS, recode};
pub use nodes::placement;
pub use ntp::ntp;
pub use overlay::hyparview;
pub use places::places;
pub use post_quantum::post_quantum;
pub use sharding::sharding;
pub use threshold::threshold;

fn restore(journal: &[u8]) -> Result<Delegate> {
    let (epoch, key) = (&CITY.epoch, SigningKey::from_seed(&[101; 32]));
    Delegate::restore(key, epoch.validators.clone(), epoch.network, epoch.seed, journal)
}

static CITY: LazyLock<City> = LazyLock::new(|| City::new("golden", 0));
static KEYS: LazyLock<CityKeys> = LazyLock::new(|| CITY.keys().public);

/// Bytes read as a script; at its end everything is 0.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn done(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        let mut out = [0; COUNT];
        let (now, rest) = self.0.split_at(COUNT.min(self.0.len()));
        out[..now.len()].copy_from_slice(now);
        self.0 = rest;
        out
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn short(&mut self) -> usize {
        usize::from(u16::from_le_bytes(self.take()))
    }

    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// Every decoder: one encoding per value, and whatever decodes can be verified without a panic.
pub fn records(data: &[u8]) {
    for known in &RECORDS {
        if let Ok(again) = (known.recode)(data) {
            assert_eq!(again, data, "{}: a second encoding of one value", known.name);
        }
    }
    verify_records(data);
}

fn verify_records(data: &[u8]) {
    let (epoch, network) = (&CITY.epoch, &CITY.epoch.network);
    let decoded = wire::decode::<Receipt>(data).map(|receipt| {
        let _ = receipt.verify(&CITY.trust());
        let _ = receipt.availability.verify(&receipt.epoch);
        let _ = receipt.certificate.verify(&receipt.epoch, &receipt.header);
        receipt.availability.holders();
    });
    let _ = decoded.or_else(|_| {
        let certificate = wire::decode::<AvailabilityCertificate>(data)?;
        let _ = certificate.full_acks();
        availability::verify_many(&[certificate.clone(), certificate], epoch).map(drop)
    });
    let _ = wire::decode::<RepairCertificate>(data).map(|r| r.verify(network, &[[0; 32]; 4]));
    let _ = wire::decode::<Manifest>(data).map(|manifest| {
        let _ = (manifest.verify(), manifest.verify_hashes(&[[0; 32]; 4]), Entry::transaction(&manifest));
        let nodes = &manifest.selection;
        let _ = nodes.verify_nodes(&[0; 64], &CITY.candidates, &manifest.sender, manifest.sequence);
    });
    let _ = wire::decode::<CandidateList>(data).and_then(Candidates::new).map(|candidates| {
        let all = candidates.choose(data, usize::MAX).expect("as many as there are");
        assert!(all.iter().all(|node| candidates.contains(node)));
    });
    let _ = wire::decode::<Certificate>(data).map(|certificate| certificate.verify(&epoch.validators));
    let _ = wire::decode::<ValidatorSet>(data).map(|set| {
        let leader = dpos::leader(&set, &[1; 32], u64::MAX, u32::MAX).expect("a set has a leader");
        assert!(set.position(&leader).is_some() && set.quorum().expect("a quorum") <= set.total());
    });
    verify_keys(data);
    let _ = wire::decode::<Ack>(data).map(|ack| (ack.verify(), ack.verify_held(data)));
    let _ = wire::decode::<HoldRequest>(data).map(|request| verify_requests(&[request]));
    let _ = wire::decode::<Transaction>(data).map(|transaction| transaction.verify());
    let _ = wire::decode::<NodeRecord>(data).map(|node| (node.verify(), node.attestation()));
    let _ = wire::decode::<Attestation>(data).map(|shown| {
        let known = |one: &Testimony| Witness { node: one.witness, spot: shown.claim.spot.clone() };
        let rules = Rules {
            home: shown.claim.spot.municipality.clone(),
            home_bp: BP_ONE,
            grade_bp: [BP_ONE; GRADES],
            grade_min: 0,
            needed: 1,
            rtt_us_max: u32::MAX,
            age_ms_max: u64::MAX,
            witnesses: List::new("witnesses", shown.testimonies.iter().map(known).collect()).expect("few"),
            events: List::default(),
        };
        let moment = Moment { network: shown.claim.network, epoch: shown.claim.epoch, at_ms: shown.claim.hlc >> 16 };
        rules.grade(&shown, &moment).map(|graded| assert!(usize::from(graded.grade) < GRADES)).ok()
    });
    let _ = wire::decode::<Rules>(data).map(|rules| rules.weight(u32::MAX, &rules.home, 3, u64::MAX));
    let _ = wire::decode::<RepairRequest>(data).map(|request| request.verify());
    let _ = wire::decode::<Proposal>(data).map(|proposal| CITY.delegate(0).propose(&proposal));
    let _ = wire::decode::<Report>(data).map(|report| CITY.delegate(0).weigh(report.attempt, &[report]));
}

/// What delegates make together, and what is countersigned.
fn verify_keys(data: &[u8]) {
    let epoch = &CITY.epoch;
    let _ = wire::decode::<CityKeys>(data).map(|keys| {
        let _ = (keys.verify(epoch), keys.signing_group(), keys.encryption_group(), keys.digest());
        let _ = (keys.signing_shares(), keys.encryption_shares(), keys.index(&CITY.delegates[0].public()));
    });
    let _ = wire::decode::<Dealing>(data).map(|dealing| {
        let _ = dealing.verify();
        let _ = Dealings::sort(epoch, vec![dealing], Some(&KEYS));
    });
    let _ = wire::decode::<Recipient>(data).map(|recipient| recipient.verify());
    let _ = wire::decode::<Election>(data).map(|election| election.verify_after(epoch));
    let _ = wire::decode::<Handover>(data).map(|handover| handover.verify(epoch));
    let _ = wire::decode::<Countersignature>(data).map(|made| made.verify());
    let _ = wire::decode::<CountersignedReceipt>(data).map(|made| {
        let _ = made.verify(&CITY.trust(), &HashMap::new());
        made.believed(&HashSet::new());
    });
    if let Ok(receipt) = wire::decode::<Receipt>(data) {
        let key = Some(&KEYS.signing_key);
        let _ = receipt.certificate.verify_under(&receipt.epoch, &receipt.header, key);
    }
}

/// The codec with everything nested.
pub fn codec(data: &[u8]) {
    let bytes = [Nested::TAG.as_slice(), &Nested::VERSION.to_le_bytes(), data].concat();
    for candidate in [data, &bytes] {
        if let Ok(again) = recode::<Nested>(candidate) {
            assert_eq!(again, candidate);
        }
    }
}

/// Ed25519: a batch gives each the verdict that it has alone.
pub fn signatures(data: &[u8]) {
    static KEYS: LazyLock<Vec<SigningKey>> =
        LazyLock::new(|| (0..4).map(|at| SigningKey::from_seed(&[at; 32])).collect());
    let mut script = Script(data);
    let mut cases: Vec<([u8; 32], Vec<u8>, [u8; 64])> = Vec::new();
    while !script.done() && cases.len() < 40 {
        let (shape, key) = (script.byte(), &KEYS[usize::from(script.byte()) % 4]);
        let message = script.take::<2>().to_vec();
        let (mut public, mut signature) = (key.public(), key.sign(&message));
        match shape % 8 {
            0..3 => {}
            3 => signature[usize::from(script.byte()) % 64] ^= script.byte(),
            4 => public[usize::from(script.byte()) % 32] ^= script.byte(),
            5 => signature[32..].copy_from_slice(&script.take::<32>()),
            6 => signature[..32].copy_from_slice(&script.take::<32>()),
            _ => public = script.take(),
        }
        cases.push((public, message, signature));
    }
    let items: Vec<ed25519::Item<'_>> =
        cases.iter().map(|(public, message, signature)| ed25519::Item { public, message, signature }).collect();
    let together = ed25519::verify_many(&items).expect("the system has randomness");
    for ((public, message, signature), good) in cases.iter().zip(together) {
        assert_eq!(ed25519::verify(public, message, signature).is_ok(), good);
    }
}

/// The VRF: proofs of both forms and suites, spoilt; a batch gives each the verdict that it has alone, forms convert into
/// each other, and sortition stays within its bounds.
pub fn draws(data: &[u8]) {
    static KEYS: LazyLock<Vec<vrf::SecretKey>> =
        LazyLock::new(|| (0..4).map(|at| vrf::SecretKey::from_seed(&[at; 32])).collect());
    let mut script = Script(data);
    let suite = if script.byte() % 2 == 0 { vrf::Suite::Ell2 } else { vrf::Suite::Tai };
    let mut cases: Vec<([u8; 32], [u8; 2], Vec<u8>)> = Vec::new();
    while !script.done() && cases.len() < 24 {
        let (shape, key) = (script.byte(), &KEYS[usize::from(script.byte()) % 4]);
        let (alpha, mut public) = (script.take::<2>(), key.public());
        let batchable = shape & 0x80 != 0;
        let mut proof = if batchable {
            key.prove_batchable(suite, &alpha).expect("a point is found").to_vec()
        } else {
            key.prove_in(suite, &alpha).expect("a point is found").to_vec()
        };
        let at = usize::from(script.byte()) % (proof.len() - 31);
        match shape % 8 {
            0..3 => {}
            3 => proof[at] ^= script.byte(),
            4 => public[at % 32] ^= script.byte(),
            5 => proof[at..at + 32].copy_from_slice(&script.take::<32>()),
            6 => proof.truncate(at),
            _ => public = script.take(),
        }
        cases.push((public, alpha, proof));
    }
    let items = || cases.iter().map(|(public, alpha, proof)| vrf::Item::from_slices(public, alpha, proof));
    let together = vrf::verify_many_of(suite, items().collect()).expect("the system has randomness");
    for ((item, verdict), (_, _, proof)) in items().zip(together).zip(&cases) {
        let alone = item.clone().and_then(|item| vrf::verify_in(suite, item.public, item.alpha, item.proof));
        assert_eq!(alone, verdict);
        let shown = vrf::Proof::from_slice(proof).and_then(|proof| vrf::output(suite, proof));
        assert!(verdict.is_err() || shown == verdict);
        if let (Ok(beta), Ok(item)) = (verdict, item) {
            other_form(suite, &item, beta);
            sortition(&beta, &mut script);
        }
    }
}

/// A proof that is right has the other form too, with the same output, unless it is a long one with a part of small order.
fn other_form(suite: vrf::Suite, item: &vrf::Item<'_>, beta: [u8; vrf::OUTPUT_LEN]) {
    match item.proof {
        vrf::Proof::Compact(short) => {
            let long = vrf::to_batchable(suite, item.public, item.alpha, short).expect("it was right");
            assert_eq!(vrf::verify_in(suite, item.public, item.alpha, vrf::Proof::Batchable(&long)), Ok(beta));
            assert_eq!(vrf::to_compact(suite, item.public, item.alpha, &long), Ok(*short));
        }
        vrf::Proof::Batchable(long) => {
            if let Ok(short) = vrf::to_compact(suite, item.public, item.alpha, long) {
                assert_eq!(vrf::verify_in(suite, item.public, item.alpha, vrf::Proof::Compact(&short)), Ok(beta));
            }
        }
    }
}

fn sortition(beta: &[u8; vrf::OUTPUT_LEN], script: &mut Script<'_>) {
    let [weight, total] = [(); 2].map(|()| script.long() >> (script.byte() % 64));
    let expected = script.short() as u64;
    if let Ok(count) = vrf::sortition(beta, weight, total, expected) {
        assert!(count <= weight && weight <= total && expected <= total);
    }
}

/// Storage audits: answers that are changed, cut or made up prove nothing but what was asked.
pub fn audits(data: &[u8]) {
    let mut script = Script(data);
    let len = usize::from(u16::from_le_bytes(script.take())) % 20_000;
    let fragment: Vec<u8> = (0..len).map(|at| (at * 31 % 251) as u8).collect();
    let hash = city_chain_native::crypto::hash::fragment(&fragment);
    let size = len as u64;
    let seed = script.take();
    let count = usize::from(script.byte()) % 24;
    let Ok(blocks) = audit::challenge(&seed, size, count) else {
        assert!(count == 0 || count as u64 > audit::blocks_of(size));
        return;
    };
    let right = audit::answer(&fragment, &blocks).expect("a challenge is a question");
    audit::verify(&hash, size, &blocks, &right).expect("a right answer");
    while !script.done() {
        let (mut answer, mut asked, mut claimed) = (right.clone(), blocks.clone(), size);
        match script.byte() % 6 {
            0 => {
                let at = usize::from(u16::from_le_bytes(script.take())) % answer.len();
                answer[at] ^= script.byte();
            }
            1 => answer.truncate(usize::from(u16::from_le_bytes(script.take())) % (answer.len() + 1)),
            2 => answer.push(script.byte()),
            3 => asked[0] = u64::from_le_bytes(script.take()),
            4 => claimed = u64::from_le_bytes(script.take()),
            _ => answer = data.to_vec(),
        }
        // A claimed length that changes nothing on the way to these blocks is not for this answer to refuse.
        if audit::verify(&hash, claimed, &asked, &answer).is_ok() {
            assert!(answer == right && asked == blocks);
        }
    }
    let _ = chance::chance(size, size / 3, count, u32::from_le_bytes(script.take()));
    let _ = chance::blocks_for(size, size / 3, f64::from_le_bytes(script.take()), 3);
}

/// Bulk signatures: paths, positions and counts as an attacker gives them.
pub fn bulk_signatures(data: &[u8]) {
    const CONTEXT: &str = "city-chain v1 fuzz";
    let mut script = Script(data);
    let key = SigningKey::from_seed(&[5; 32]);
    let count = usize::from(script.byte()) % 12 + 1;
    let leaves: Vec<Digest> = (0..count).map(|at| [at as u8; 32]).collect();
    let signed = bulk::sign_many(&key, CONTEXT, &leaves).expect("1 to 12 leaves");
    let public = key.public();
    let mut cases: Vec<(Digest, BulkSignature, bool)> = Vec::new();
    while !script.done() && cases.len() < 24 {
        let at = usize::from(script.byte()) % count;
        let (mut leaf, mut signature) = (leaves[at], signed[at].clone());
        match script.byte() % 8 {
            0 => signature.position = u32::from_le_bytes(script.take()),
            1 => signature.count = u32::from_le_bytes(script.take()),
            2 => leaf = script.take(),
            3 => signature.signature[usize::from(script.byte()) % 64] ^= script.byte(),
            4 => {
                let mut path = signature.path.into_vec();
                path.resize(usize::from(script.byte()) % 21, script.take());
                signature.path = List::new("path", path).expect("at most 20");
            }
            5 => signature.position = u32::from(script.byte()) % 16,
            _ => {}
        }
        let good = leaf == leaves[at] && signature == signed[at];
        cases.push((leaf, signature, good));
    }
    let items: Vec<(&[u8; 32], Digest, &BulkSignature)> =
        cases.iter().map(|(leaf, signature, _)| (&public, *leaf, signature)).collect();
    let verdicts = bulk::verify_many(CONTEXT, &items).expect("the system has randomness");
    for ((_, signature, good), verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict.is_ok(), *good, "{signature:?}");
    }
    let acks: Vec<Ack> = data.chunks(400).filter_map(|chunk| wire::decode(chunk).ok()).collect();
    assert_eq!(verify_acks(&acks).expect("the system has randomness").len(), acks.len());
}

/// The clock: strictly rising, bounded drift, untouched by what it refuses, no step back over a restart.
pub fn clock(data: &[u8]) {
    let mut script = Script(data);
    let drift = match script.byte() {
        0..200 => 500,
        _ => script.long(),
    };
    let Ok(mut clock) = Hlc::new(drift, 0) else { return };
    let mut physical = 1_800_000_000_000u64;
    let mut given = 0;
    while !script.done() {
        let action = script.byte();
        physical = match action >> 4 {
            0..8 => physical.saturating_add(u64::from(script.byte())),
            8..12 => physical.saturating_sub(u64::from(script.byte())),
            12 => MS_MAX.saturating_sub(u64::from(script.byte())),
            13 => script.long(),
            _ => physical,
        };
        let before = clock.clone();
        let stamps = match action % 5 {
            0 => clock.now(physical).map(|stamp| (stamp, stamp)),
            1 => {
                let count = script.long() as u32;
                clock.now_many(physical, count).map(|first| (first, first + (u64::from(count) - 1)))
            }
            2 => {
                let remote = script.long();
                clock.update(remote, physical).inspect(|stamp| assert!(*stamp > remote)).map(|stamp| (stamp, stamp))
            }
            3 => {
                let near = tnh::pack(physical.min(MS_MAX), script.short() as u16).expect("it fits");
                let remote = near.saturating_add(u64::from(script.byte()) << 18);
                clock.update(remote, physical).inspect(|stamp| assert!(*stamp > remote)).map(|stamp| (stamp, stamp))
            }
            _ => {
                if let Ok(bound) = clock.upper_bound(physical, script.short() as u64) {
                    assert!(bound >= clock.last());
                    clock = Hlc::new(drift, bound).expect("as before");
                    given = bound;
                }
                continue;
            }
        };
        match stamps {
            Ok((first, last)) => {
                assert!(first > given && last >= first && clock.last() == last);
                assert!(tnh::ms(last) <= physical.saturating_add(drift));
                given = last;
            }
            Err(_) => assert_eq!(clock, before),
        }
    }
}

/// The filters: whatever was inserted is found, what is refused changes nothing, and the bytes carry all of it.
pub fn filters(data: &[u8]) {
    if let Ok(mut cuckoo) = Cuckoo::from_bytes(data) {
        let _ = (cuckoo.insert(data), cuckoo.remove(b"stranger"), cuckoo.estimated_fpr());
    }
    if let Ok(mut bloom) = Bloom::from_bytes(data) {
        bloom.insert(data);
        assert!(bloom.contains(data) && !bloom.is_empty() && bloom.estimated_fpr() <= 1.0);
    }
    let mut script = Script(data);
    let (capacity, seed) = (u64::from(script.byte()), u64::from(script.byte()));
    let (Ok(mut cuckoo), Ok(mut bloom)) = (Cuckoo::new(capacity, seed), Bloom::new(capacity, 0.01, seed)) else {
        return assert_eq!(capacity, 0);
    };
    let mut held: BTreeMap<u8, u64> = BTreeMap::new();
    while !script.done() {
        let (action, key) = (script.byte(), script.byte());
        let before = cuckoo.clone();
        let keys: Vec<[u8; 1]> = match action % 4 {
            0..3 => vec![[key]],
            _ => (0..action / 16).map(|at| [key.wrapping_add(at % 7)]).collect(),
        };
        let copies = held.get(&key).copied().unwrap_or(0);
        let outcome = match action % 4 {
            2 if copies > 0 => cuckoo.remove(&[key]).inspect(|()| {
                held.insert(key, copies - 1);
            }),
            3 => cuckoo.insert_many(keys.iter().map(<[u8; 1]>::as_slice)),
            _ => cuckoo.insert(&[key]),
        };
        if outcome.is_err() {
            assert_eq!(cuckoo, before, "refused, and yet changed");
        } else if action % 4 != 2 || copies == 0 {
            for key in &keys {
                *held.entry(key[0]).or_default() += 1;
                bloom.insert(key);
            }
        }
        assert_eq!(cuckoo.len(), held.values().sum::<u64>());
    }
    for (key, copies) in &held {
        assert!(*copies == 0 || cuckoo.contains(&[*key]));
        assert!(bloom.contains(&[*key]));
    }
    let bytes = (cuckoo.to_bytes().expect("it fits"), bloom.to_bytes().expect("it fits"));
    assert_eq!(Cuckoo::from_bytes(&bytes.0).expect("its own bytes"), cuckoo);
    assert_eq!(Bloom::from_bytes(&bytes.1).expect("its own bytes"), bloom);
}

/// What a delegate said, over all its lives.
#[derive(Default)]
struct Said {
    /// The votes, by height, tip and attempt.
    votes: BTreeMap<(u64, Digest, u32), Digest>,
    /// The highest attempt reported for, by height.
    reported: BTreeMap<u64, u32>,
}

impl Said {
    fn check(&mut self, saying: Saying, journal: &[u8]) {
        let twin = || restore(journal).expect("its own record");
        match saying {
            Saying::Vote(vote) => {
                let slot = vote.slot;
                let promised = self.reported.get(&slot.height).copied().unwrap_or(0);
                assert!(slot.attempt >= promised, "a vote after the promise of a later attempt");
                let known = *self.votes.entry((slot.height, slot.previous, slot.attempt)).or_insert(slot.digest);
                assert_eq!(known, slot.digest, "two votes at one attempt");
                let mut twin = twin();
                let behind = twin.tip().0 + 1 == slot.height && slot.attempt > 1;
                assert!(!behind || twin.prepare(slot.height, slot.attempt - 1).is_err(), "a vote before its record");
            }
            Saying::Report(report) => {
                let known = self.reported.entry(report.height).or_default();
                *known = (*known).max(report.attempt);
                let mut twin = twin();
                let behind = twin.tip().0 + 1 == report.height && report.attempt > 1;
                assert!(!behind || twin.prepare(report.height, report.attempt - 1).is_err());
            }
            Saying::Proposal(proposal) => assert_eq!(proposal.leader, SigningKey::from_seed(&[101; 32]).public()),
        }
    }
}

/// One delegate driven by a script: whatever comes, what it refuses changes nothing, nothing is said before its record is
/// durable, and nothing is said against what was said before, in this life or an earlier one.
pub fn delegate(data: &[u8]) {
    let mut script = Script(data);
    let mut machine = CITY.delegate(0);
    let mut journal = machine.snapshot().expect("a state has an encoding");
    let mut waiting: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut said = Said::default();
    let mut evidence: Vec<Accepted> = Vec::new();
    let mut rounds = 0;
    while !script.done() && rounds < 200 {
        rounds += 1;
        let before = machine.snapshot().expect("a state has an encoding");
        let outcome = match script.byte() % 9 {
            0 => {
                let height = (machine.tip().0 + 1).wrapping_add(u64::from(script.byte() / 100));
                machine.prepare(height, attempt(&mut script))
            }
            1 | 2 => {
                let proposal = proposal(&mut script, &machine, &mut evidence);
                machine.propose(&proposal)
            }
            3 => {
                let (attempt, digest) = (attempt(&mut script), [script.byte() % 3; 32]);
                machine.lead(attempt, digest, reports(&mut script, &machine, attempt, &evidence))
            }
            4 => machine.committed(&certificate(&mut script, &machine)),
            5 => {
                for effect in machine.drain() {
                    match effect {
                        Effect::Persist { ticket, record } => waiting.push((ticket, record)),
                        Effect::Output(saying) => said.check(saying, &journal),
                    }
                }
                Ok(())
            }
            6 => {
                let at = usize::from(script.byte()) % (waiting.len() + 1);
                let ticket = waiting.get(at).map_or_else(|| u64::from(script.byte()), |(ticket, _)| *ticket);
                let done = machine.durable(ticket);
                if done.is_ok() {
                    let durable = waiting.iter().take_while(|(other, _)| *other <= ticket).count();
                    journal = waiting.drain(..durable).next_back().map_or(journal, |(_, record)| record);
                }
                done
            }
            7 => {
                machine = restore(&journal).expect("its own record");
                waiting.clear();
                continue;
            }
            _ => {
                let mut wrong = before.clone();
                let at = script.short() % wrong.len();
                wrong[at] ^= script.byte();
                if let Ok(mut other) = restore(&wrong) {
                    let _ = (other.leader(attempt(&mut script)), other.prepare(1, 1), other.weigh(1, &[]));
                    let _ = other.propose(&proposal(&mut script, &other, &mut evidence));
                }
                continue;
            }
        };
        if outcome.is_err() {
            assert_eq!(machine.snapshot().expect("a state has an encoding"), before, "refused, and yet changed");
        }
    }
}

fn attempt(script: &mut Script<'_>) -> u32 {
    match script.byte() {
        0..100 => 0,
        byte @ 100..240 => u32::from(byte % 5),
        _ => u32::from_le_bytes(script.take()),
    }
}

/// The slot after the machine's tip, now and then with something wrong.
fn slot(script: &mut Script<'_>, machine: &Delegate, attempt: u32) -> Slot {
    let (epoch, (height, previous)) = (&CITY.epoch, machine.tip());
    let digest = [script.byte() % 3; 32];
    let mut slot = Slot { network: epoch.network, epoch: epoch.number, height: height + 1, attempt, previous, digest };
    match script.byte() {
        250 => slot.network[0] ^= 1,
        251 => slot.epoch ^= 1,
        252 => slot.height = script.long(),
        253 => slot.previous[0] ^= 1,
        _ => {}
    }
    slot
}

fn reports(script: &mut Script<'_>, machine: &Delegate, attempt: u32, evidence: &[Accepted]) -> Vec<Report> {
    let slot = Slot { attempt, ..slot(script, machine, attempt) };
    if attempt == 0 {
        return Vec::new();
    }
    let (mask, earlier) = (script.byte(), evidence.iter().filter(|accepted| accepted.attempt < attempt));
    let earlier: Vec<Accepted> = earlier.copied().collect();
    let reporters = (0..4).filter(|at| mask >> at & 1 == 1 || mask > 128);
    let doubled = (mask == 255).then_some(0);
    reporters
        .chain(doubled)
        .filter_map(|at| {
            let mut accepted = earlier.get(usize::from(script.byte()) % (earlier.len() + 2)).copied();
            match (&mut accepted, script.byte()) {
                (Some(accepted), 254) => accepted.digest = [script.byte() % 3; 32],
                (Some(accepted), 255) => accepted.attempt = script.byte().into(),
                _ => {}
            }
            Report::new(&CITY.delegates[at], &slot, accepted).ok()
        })
        .collect()
}

fn proposal(script: &mut Script<'_>, machine: &Delegate, evidence: &mut Vec<Accepted>) -> Proposal {
    let attempt = attempt(script);
    let slot = slot(script, machine, attempt);
    let reports = reports(script, machine, attempt, evidence);
    let due = machine.leader(attempt).expect("there is a leader");
    let right = CITY.delegates.iter().find(|key| key.public() == due).expect("one of ours");
    let key = if script.byte() == 255 { &CITY.delegates[usize::from(script.byte()) % 4] } else { right };
    let mut proposal = Proposal::new(key, slot, reports).expect("few reports");
    if script.byte() == 255 {
        proposal.signature[usize::from(script.byte()) % 64] ^= script.byte();
    }
    evidence.push(Accepted { attempt, digest: slot.digest, leader_signature: proposal.signature });
    proposal
}

fn certificate(script: &mut Script<'_>, machine: &Delegate) -> Certificate {
    let attempt = attempt(script);
    let slot = slot(script, machine, attempt);
    let votes: Vec<Vote> = CITY.delegates.iter().map(|key| Vote::new(key, slot)).collect();
    let mut certificate = dpos::collect(&CITY.epoch.validators, &slot, &votes);
    if let (Ok(made), 255) = (&mut certificate, script.byte()) {
        made.certificate.slot.digest[0] ^= 1;
    }
    // A slot of another epoch cannot be collected for; show the machine an empty one instead.
    certificate.map_or(Certificate { slot, signatures: List::default() }, |made| made.certificate)
}
