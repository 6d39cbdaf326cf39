//! Key encapsulation, ML-DSA and what is sealed by them, under hostile bytes.

use std::sync::LazyLock;

use city_chain_native::crypto::dem;
use city_chain_native::crypto::kem::{self, Suite};
use city_chain_native::crypto::ml_dsa::{self, Parameters};
use city_chain_native::error::Result;
use city_chain_native::primitives::wire;
use city_chain_native::proofs::poh::session::Session;
use city_chain_native::records::sealed::{Origin, Readers, Sealed};

use super::Script;
use super::threshold::spoil;

const CONTEXT: &[u8] = b"fuzz";
const PLAIN: &[u8] = b"what is sealed";

/// A key of one suite, and what was made for it.
struct Kem {
    key: kem::SecretKey,
    encapsulation: Vec<u8>,
    secret: [u8; 32],
    session: Session,
    sealed: Vec<u8>,
}

impl Kem {
    fn new(suite: Suite) -> Self {
        let key = kem::SecretKey::from_seed(suite, &[3; 32]).expect("a seed");
        let public = key.public();
        let (encapsulation, secret) = public.encapsulate().expect("randomness");
        let session = Session::seal(&[1; 32], &[2; 32], &[3; 32], &public).expect("randomness");
        let origin = Origin { network: [1; 32], sender: [2; 32], sequence: 3 };
        let other = kem::SecretKey::from_seed(Suite::XWing, &[4; 32]).expect("a seed").public();
        let readers = Readers::new(&[public.as_bytes(), other.as_bytes()]).expect("two readers");
        let sealed = Sealed::to_readers(&readers, origin, PLAIN).expect("randomness");
        let sealed = wire::encode(&sealed).expect("an encoding");
        Self { key, encapsulation, secret: *secret, session, sealed }
    }
}

static KEMS: LazyLock<[Kem; 2]> = LazyLock::new(|| [Suite::XWing, Suite::Sntrup761X25519].map(Kem::new));

/// Each set of parameters with a key and a signature of [`PLAIN`].
static SIGNED: LazyLock<Vec<(ml_dsa::PublicKey, Vec<u8>)>> = LazyLock::new(|| {
    [Parameters::MlDsa44, Parameters::MlDsa65, Parameters::MlDsa87]
        .into_iter()
        .map(|parameters| {
            let key = ml_dsa::SigningKey::from_seed(parameters, &[5; 32]);
            (key.public(), key.sign(CONTEXT, PLAIN).expect("randomness"))
        })
        .collect()
});

/// What is spoilt is refused or gives another secret, and what decodes has one encoding.
pub fn post_quantum(data: &[u8]) {
    decoders(data);
    let mut script = Script(data);
    let kem = &KEMS[usize::from(script.byte()) % 2];
    match script.byte() % 6 {
        0 => encapsulation(&mut script, kem),
        1 => public_key(&mut script, kem),
        2 => signature(&mut script),
        3 => encapsulated_data(&mut script),
        4 => session(&mut script, kem),
        _ => sealed(&mut script, kem),
    }
}

fn decoders(data: &[u8]) {
    let same = |again: Result<Vec<u8>>| assert!(again.is_err() || again.as_deref() == Ok(data), "a second encoding");
    same(kem::SecretKey::from_bytes(data).map(|key| key.to_bytes().to_vec()));
    same(kem::PublicKey::from_bytes(data).map(|key| key.as_bytes().to_vec()));
    same(ml_dsa::SigningKey::from_bytes(data).map(|key| key.to_bytes().to_vec()));
    same(ml_dsa::PublicKey::from_bytes(data).map(|key| key.as_bytes().to_vec()));
}

fn encapsulation(script: &mut Script<'_>, kem: &Kem) {
    let mut other = kem.encapsulation.clone();
    let wrong = spoil(script, &mut other);
    let secret = kem.key.decapsulate(&other);
    assert!(!wrong || secret.as_ref().map_or(true, |secret| **secret != kem.secret), "a spoilt one opens");
    assert!(wrong || secret.is_ok_and(|secret| *secret == kem.secret));
}

fn public_key(script: &mut Script<'_>, kem: &Kem) {
    let right = kem.key.public();
    let mut bytes = right.as_bytes().to_vec();
    let wrong = spoil(script, &mut bytes);
    let Ok(public) = kem::PublicKey::from_bytes(&bytes) else { return assert!(wrong) };
    assert_eq!(public.as_bytes(), bytes);
    assert_eq!(public.id() == right.id(), !wrong);
    if let Ok((encapsulation, secret)) = public.encapsulate() {
        assert_eq!(encapsulation.len(), kem::ciphertext_len(public.suite()));
        let opened = kem.key.decapsulate(&encapsulation);
        assert_eq!(opened.is_ok_and(|opened| opened == secret), !wrong);
    }
}

fn signature(script: &mut Script<'_>) {
    let (public, right) = &SIGNED[usize::from(script.byte()) % 3];
    let (mut key, mut made, mut message) = (public.as_bytes().to_vec(), right.clone(), PLAIN.to_vec());
    let wrong = match script.byte() % 4 {
        0 => spoil(script, &mut key),
        1 => spoil(script, &mut message),
        _ => spoil(script, &mut made),
    };
    let Ok(read) = ml_dsa::PublicKey::from_bytes(&key) else { return assert!(wrong) };
    assert_eq!(read.verify(CONTEXT, &message, &made).is_ok(), !wrong);
    assert!(read.verify(b"another", &message, &made).is_err());
}

fn encapsulated_data(script: &mut Script<'_>) {
    let key = script.take::<32>();
    let (associated, plain) = (script.take::<4>().to_vec(), script.take::<20>());
    let mut sealed = dem::seal(&key, &associated, &plain);
    let mut other = associated.clone();
    let wrong = if script.byte().is_multiple_of(4) { spoil(script, &mut other) } else { spoil(script, &mut sealed) };
    let opened = dem::open(&key, &other, &sealed);
    assert_eq!(opened.is_ok(), !wrong);
    assert!(wrong || opened.as_deref() == Ok(&plain[..]));
}

fn session(script: &mut Script<'_>, kem: &Kem) {
    let mut bytes = kem.session.sealed().to_vec();
    let mut names = [[1; 32], [2; 32], [3; 32]];
    let mut wrong = spoil(script, &mut bytes);
    if script.byte().is_multiple_of(4) {
        let change = script.byte();
        names[usize::from(script.byte()) % 3][0] ^= change;
        wrong |= change != 0;
    }
    let [network, sender, node] = &names;
    let opened = Session::open(network, sender, node, &bytes, |suite| {
        Ok(KEMS.iter().find(|kem| kem.key.suite() == suite).map(|kem| &kem.key).expect("both suites are there"))
    });
    assert_eq!(opened.is_ok(), !wrong);
    assert!(opened.is_err() || opened.is_ok_and(|opened| opened.id() == kem.session.id()));
}

fn sealed(script: &mut Script<'_>, kem: &Kem) {
    let mut bytes = kem.sealed.clone();
    let wrong = spoil(script, &mut bytes);
    let Ok(read) = wire::decode::<Sealed>(&bytes) else { return assert!(wrong) };
    assert_eq!(wire::encode(&read).expect("an encoding"), bytes);
    let opened = read.open(&kem.key);
    assert_eq!(opened.is_ok(), !wrong);
    assert!(wrong || opened.as_deref() == Ok(PLAIN));
    let _ = (read.cipher(), read.capsule(), read.readers(), read.size());
}
