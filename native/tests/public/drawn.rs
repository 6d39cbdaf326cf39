//! Records that draw randomness when they are made: their bytes are frozen in `tests/vectors/drawn.txt`, drawn once. With
//! `CITY_CHAIN_WRITE_VECTORS=1` what is missing there is drawn and added; what is there is never written anew.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use city_chain_native::algorithms::tes::tdh2;
use city_chain_native::crypto::hash::hex;
use city_chain_native::crypto::kem::{SecretKey, Suite};
use city_chain_native::primitives::wire::{self, Record};
use city_chain_native::records::countersignature::{Countersignature, CountersignedReceipt, Vouched};
use city_chain_native::records::dealing::{Dealing, Dealings, Recipient};
use city_chain_native::records::identity::Identity;
use city_chain_native::records::key_file::{Cost, KeyFile};
use city_chain_native::records::sealed::{Origin, Readers, Sealed};
use city_chain_native::records::signed::Signed;

use crate::builders::{City, identity};
use crate::golden::recoder;

const FILE: &str = "tests/vectors/drawn.txt";
const PASSPHRASE: &[u8] = b"correct horse battery staple";
const PLAIN: &[u8] = b"for some eyes only";

/// What one is called, and how it is made.
type Maker = (&'static str, fn() -> Vec<u8>);

/// All of them.
const MAKERS: [Maker; 11] = [
    ("sealed.city", || encode(&Sealed::to_city(&city_key(), origin(), PLAIN).unwrap())),
    ("sealed.readers", || {
        let [first, second] = readers().map(|(key, suite)| key.kem(suite).unwrap().public().as_bytes().to_vec());
        encode(&Sealed::to_readers(&Readers::new(&[&first, &second]).unwrap(), origin(), PLAIN).unwrap())
    }),
    ("dealing", || dealing(0)),
    ("dealing.second", || dealing(1)),
    ("dealing.third", || dealing(2)),
    ("dealing.reshare", reshared),
    ("countersignature", || encode(&countersigned(&["ack"])[0].countersignature)),
    ("countersignature.batch", || encode(&countersigned(&["batch"])[0].countersignature)),
    ("countersigned_receipt", || {
        let receipt = town().receipt(&[town().disperse(0)], 0);
        encode(&CountersignedReceipt::new(receipt, countersigned(&["ack", "batch"])).unwrap())
    }),
    ("key_file", || KeyFile::generate("x-wing", None, &cost()).unwrap().to_bytes().unwrap().to_vec()),
    ("key_file.encrypted", || {
        KeyFile::generate("ml-dsa-65", Some(PASSPHRASE), &cost()).unwrap().to_bytes().unwrap().to_vec()
    }),
];

fn encode<R: Record>(record: &R) -> Vec<u8> {
    wire::encode(record).unwrap()
}

/// The least that may be had.
fn cost() -> Cost {
    Cost { memory_kib: 8 << 10, passes: 1, lanes: 1 }
}

/// The city whose delegates have all keys.
pub fn town() -> City {
    City::of_identities("golden")
}

/// The delegates of [`town`], in the order of the epoch.
fn delegates() -> Vec<Identity> {
    let mut delegates: Vec<Identity> = (101..105).map(identity).collect();
    delegates.sort_by_key(Identity::id);
    delegates
}

fn city_key() -> tdh2::PublicKey {
    City::new("golden", 0).keys().public.encryption_group().unwrap().into()
}

fn origin() -> Origin {
    Origin::of(&City::new("golden", 0).transaction(0))
}

/// Two readers of payloads.
fn readers() -> [(Identity, Suite); 2] {
    [(identity(21), Suite::XWing), (identity(22), Suite::Sntrup761X25519)]
}

/// The key of the first of them.
pub fn reader() -> SecretKey {
    SecretKey::from_bytes(&readers()[0].0.kem(Suite::XWing).unwrap().to_bytes()).unwrap()
}

/// Where the delegates' shares are sealed to; one has not said.
fn recipients() -> Vec<Recipient> {
    delegates()[..3].iter().map(|delegate| Recipient::new(delegate, town().epoch.network).unwrap()).collect()
}

fn dealing(at: usize) -> Vec<u8> {
    encode(&Dealing::deal(&delegates()[at], &town().epoch, &recipients()).unwrap())
}

/// The dealings that are frozen.
fn dealt() -> Dealings {
    let names = ["dealing", "dealing.second", "dealing.third"];
    let dealt: Vec<Dealing> = names.map(|name| wire::decode(&read()[name]).unwrap()).to_vec();
    let (dealings, faults) = Dealings::sort(&town().epoch, dealt, None).unwrap();
    assert!(faults.is_empty());
    dealings.unwrap()
}

fn reshared() -> Vec<u8> {
    let (made, delegate) = (dealt(), &delegates()[0]);
    let next = town().handover(made.keys()).election.next;
    let shares = made.open(delegate).unwrap().0.unwrap();
    encode(&Dealing::reshare(delegate, &next, &recipients(), made.keys(), &shares).unwrap())
}

/// Countersignatures of the town's first receipt: of one ack and of the batch.
fn countersigned(what: &[&str]) -> Vec<Vouched> {
    let town = town();
    let dispersals = [town.disperse(0)];
    let digest = town.batch(1, &dispersals).header.digest().unwrap();
    let of = |what: &&str| {
        let ack = &dispersals[0].acks[0];
        let (identity, made) = match *what {
            "ack" => (town.holder(&ack.node), Countersignature::of_ack(town.holder(&ack.node), ack)),
            _ => (&identity(104), Countersignature::of_batch(&identity(104), town.epoch.network, digest)),
        };
        Vouched { entry: town.node_record(identity), countersignature: made.unwrap() }
    };
    what.iter().map(of).collect()
}

/// A receipt that enough holders and delegates have countersigned, and the town's.
pub fn countersigned_by_enough() -> CountersignedReceipt {
    let town = town();
    let dispersal = town.disperse(0);
    let receipt = town.receipt(std::slice::from_ref(&dispersal), 0);
    let digest = receipt.header.digest().unwrap();
    let vouched =
        |identity: &Identity, countersignature| Vouched { entry: town.node_record(identity), countersignature };
    let holders = receipt.availability.full_acks().unwrap().into_iter().map(|ack| {
        let holder = town.holder(&ack.node);
        vouched(holder, Countersignature::of_ack(holder, &ack).unwrap())
    });
    let delegates = (102..105).map(identity).map(|delegate| {
        let made = Countersignature::of_batch(&delegate, town.epoch.network, digest).unwrap();
        vouched(&delegate, made)
    });
    let signed = holders.chain(delegates).collect();
    CountersignedReceipt::new(receipt, signed).unwrap()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)
}

static FROZEN: LazyLock<HashMap<String, Vec<u8>>> = LazyLock::new(read);

fn read() -> HashMap<String, Vec<u8>> {
    let mut out: HashMap<String, Vec<u8>> = HashMap::new();
    let mut name = String::new();
    for line in std::fs::read_to_string(path()).unwrap_or_default().lines() {
        if let Some((found, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            found.clone_into(&mut name);
        } else if !line.is_empty() && !line.starts_with('#') {
            out.entry(name.clone()).or_default().extend(hex::decode(line).unwrap());
        }
    }
    out
}

/// The frozen ones, by name.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    MAKERS.iter().map(|(name, _)| (*name, FROZEN[*name].clone())).collect()
}

/// Draws what is missing in the file.
pub fn write_missing() {
    for (name, make) in MAKERS {
        if read().contains_key(name) {
            continue;
        }
        let mut text = std::fs::read_to_string(path()).unwrap_or_else(|_| {
            "# The bytes of records that draw randomness, drawn once. Checked by tests/public/drawn.rs.\n".to_owned()
        });
        let bytes = make();
        writeln!(text, "\n[{name}] {} bytes", bytes.len()).unwrap();
        for line in bytes.chunks(56) {
            writeln!(text, "{}", hex(line)).unwrap();
        }
        std::fs::write(path(), text).unwrap();
    }
}

#[test]
fn they_decode_to_what_they_were() {
    assert_eq!(FROZEN.len(), MAKERS.len());
    for (name, bytes) in samples() {
        assert_eq!(recoder(name)(&bytes).unwrap(), bytes, "{name}");
    }
}

#[test]
fn what_was_sealed_to_the_city_still_opens() {
    let city = City::new("golden", 0);
    let keys = city.keys();
    let sealed: Sealed = wire::decode(&FROZEN["sealed.city"]).unwrap();
    assert_eq!(sealed.origin, origin());
    let public = city_key();
    let label = origin().label();
    let capsule = sealed.capsule().unwrap().unwrap();
    let share = |at: usize| tdh2::decrypt_share(&keys.encryption[at], &public, &label, capsule).unwrap();
    let shares = [share(3), share(0), share(2)];
    let opened = sealed.combine(&public, 3, &keys.public.encryption_shares_typed(), &shares).unwrap();
    assert_eq!(opened, PLAIN);
}

#[test]
fn what_was_sealed_to_readers_still_opens() {
    let sealed: Sealed = wire::decode(&FROZEN["sealed.readers"]).unwrap();
    for (reader, suite) in readers() {
        assert_eq!(sealed.open(reader.kem(suite).unwrap()).unwrap(), PLAIN);
    }
}

#[test]
fn dealings_still_make_keys_and_hand_them_on() {
    let (made, next) = (dealt(), town().handover(dealt().keys()).election.next);
    for delegate in &delegates()[..3] {
        assert!(made.open(delegate).unwrap().0.is_some());
    }
    let reshared: Dealing = wire::decode(&FROZEN["dealing.reshare"]).unwrap();
    let more = [1, 2].map(|at: usize| {
        let (delegate, shares) = (&delegates()[at], made.open(&delegates()[at]).unwrap().0.unwrap());
        Dealing::reshare(delegate, &next, &recipients(), made.keys(), &shares).unwrap()
    });
    let all = [vec![reshared], more.to_vec()].concat();
    let (handed_on, faults) = Dealings::sort(&next, all, Some(made.keys())).unwrap();
    assert!(faults.is_empty());
    assert_eq!(handed_on.unwrap().keys().signing_key, made.keys().signing_key);
}

#[test]
fn countersignatures_are_still_right() {
    for name in ["countersignature", "countersignature.batch"] {
        wire::decode::<Countersignature>(&FROZEN[name]).unwrap().verify().unwrap();
    }
    let receipt: CountersignedReceipt = wire::decode(&FROZEN["countersigned_receipt"]).unwrap();
    receipt.receipt.verify(&town().trust()).unwrap();
    for vouched in receipt.holders.iter().chain(receipt.delegates.iter()) {
        vouched.entry.verify().unwrap();
        vouched.countersignature.verify_by(&vouched.entry).unwrap();
    }
    assert_eq!((receipt.holders.len(), receipt.delegates.len()), (1, 1));
}

#[test]
fn key_files_are_still_unlocked() {
    let plain: KeyFile = wire::decode(&FROZEN["key_file"]).unwrap();
    assert_eq!(plain.unlock(None).unwrap().public(), plain.public().as_bytes());
    let encrypted: KeyFile = wire::decode(&FROZEN["key_file.encrypted"]).unwrap();
    assert_eq!(encrypted.unlock(Some(PASSPHRASE)).unwrap().public(), encrypted.public().as_bytes());
    assert!(encrypted.unlock(Some(b"another")).is_err());
}
