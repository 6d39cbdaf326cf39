use sha2::{Digest as _, Sha256};

use super::*;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32]).unwrap()
}

fn proven(secrets: &[SecretKey]) -> Vec<PublicKey> {
    PublicKey::proven(&secrets.iter().map(ShownKey::of).collect::<Vec<_>>()).unwrap()
}

fn signature(secret: &SecretKey, message: &[u8]) -> Signature {
    Signature::from_bytes(&secret.sign(message)).unwrap()
}

/// The neutral element's encoding.
fn neutral<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    bytes[0] = 0xc0;
    bytes
}

#[test]
fn drand_beacons() {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/drand_quicknet_beacons.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let dst = file["chain"]["dst"].as_str().unwrap().as_bytes();
    let chain = bytes(&file["chain"]["public_key"]);
    let key = PublicKey(min_sig::PublicKey::key_validate(&chain).unwrap());
    for (name, expected) in [("valid", true), ("invalid", false)] {
        for case in file[name].as_array().unwrap() {
            let round = |later: u64| Sha256::digest((case["round"].as_u64().unwrap() + later).to_be_bytes());
            let signature = Signature::from_bytes(&bytes(&case["signature"]).try_into().unwrap()).unwrap();
            assert_eq!(fits(dst, &key, &round(0), &signature), expected, "{case}");
            assert!(!fits(dst, &key, &round(1), &signature));
        }
    }
}

/// `KeyGen` is EIP-2333's `derive_master_SK`, of which this is the second test case.
#[test]
fn key_generation_of_the_draft() {
    let seed = hex::decode("3141592653589793238462643383279502884197169399375105820974944592").unwrap();
    let secret = SecretKey::from_seed(&seed.try_into().unwrap()).unwrap();
    let number = num_bigint::BigUint::from_bytes_be(&secret.0.0.to_bytes());
    assert_eq!(number.to_string(), "29757020647961307431480504535336562678282505419141012933316116377660817309383");
}

#[test]
fn a_sum_is_right_for_these_keys_and_this_message_only() {
    let secrets: Vec<SecretKey> = (1..8).map(secret).collect();
    let keys = proven(&secrets);
    let signed: Vec<Signature> = secrets.iter().map(|secret| signature(secret, b"message")).collect();
    let sum = Signature::sum(&signed).unwrap();
    assert!(verify_sum(&keys, b"message", &sum));
    assert!(!verify_sum(&keys[1..], b"message", &sum) && !verify_sum(&keys, b"messagf", &sum));
    assert!(!verify_sum(&keys, b"message", &Signature::sum(&signed[1..]).unwrap()));
    assert!(!verify_sum(&[], b"message", &sum) && Signature::sum(&[]).is_none());
    // In any order, and one by one.
    let reversed: Vec<Signature> = signed.iter().rev().copied().collect();
    assert_eq!(Signature::sum(&reversed).unwrap(), sum);
    for (key, signature) in keys.iter().zip(&signed) {
        assert!(verify(key, b"message", signature) && !verify(key, b"", signature));
    }
}

#[test]
fn the_wrong_ones_are_found_wherever_they_are() {
    let secrets: Vec<SecretKey> = (1..12).map(secret).collect();
    let keys = proven(&secrets);
    for mask in [0u32, 1, 1 << 10, 0b100_0001_0010, 0x7ff] {
        let sign = |(at, secret): (usize, &SecretKey)| {
            let message: &[u8] = if mask >> at & 1 == 1 { b"another" } else { b"message" };
            (keys[at], signature(secret, message))
        };
        let signed: Vec<(PublicKey, Signature)> = secrets.iter().enumerate().map(sign).collect();
        let expected: Vec<usize> = (0..11).filter(|at| mask >> at & 1 == 1).collect();
        assert_eq!(wrong_ones(&signed, b"message"), expected, "{mask:b}");
    }
}

/// Two that conspire add a point to one signature and take it from the other: their sum is right, and what remains is right.
#[test]
fn wrong_ones_that_cancel_out_spoil_nothing() {
    let secrets: Vec<SecretKey> = (1..5).map(secret).collect();
    let keys = proven(&secrets);
    let mut signed: Vec<(PublicKey, Signature)> =
        keys.iter().zip(&secrets).map(|(key, secret)| (*key, signature(secret, b"message"))).collect();
    // Each of the two has the other's signature: wrong alone, right together.
    let (one, two) = (signed[1].1, signed[2].1);
    (signed[1].1, signed[2].1) = (two, one);
    let wrong = wrong_ones(&signed, b"message");
    let rest = |at: &usize| !wrong.contains(at);
    let (keys, signatures): (Vec<_>, Vec<_>) = (0..4).filter(rest).map(|at| signed[at]).unzip();
    assert!(verify_sum(&keys, b"message", &Signature::sum(&signatures).unwrap()));
    assert!(wrong.is_empty() || wrong == [1, 2], "{wrong:?}");
}

#[test]
fn a_rogue_key_has_no_proof() {
    // The key of one who wants to sign for two others: its own less theirs, of which it knows no secret.
    let (own, honest) = (secret(9), [secret(1), secret(2)]);
    let mut rogue = min_sig::AggregatePublicKey::from_public_key(&own.0.1);
    honest.iter().for_each(|other| rogue.sub_aggregate(&min_sig::AggregatePublicKey::from_public_key(&other.0.1)));
    let rogue = rogue.to_public_key();
    let keys = [rogue, honest[0].0.1, honest[1].0.1].map(PublicKey);
    let forged = signature(&own, b"message");
    assert!(verify_sum(&keys, b"message", &forged), "that is the attack, where keys are not proven");
    let shown = |possession| ShownKey { public: rogue.to_bytes(), possession };
    let borrowed = honest[0].prove_possession();
    for possession in [own.prove_possession(), borrowed, own.sign(&rogue.to_bytes())] {
        let error = PublicKey::proven(&[ShownKey::of(&honest[0]), shown(possession)]).unwrap_err().to_string();
        assert!(error.contains("keys[1]") && error.contains("proof of possession"), "{error}");
        assert!(PublicKey::proven(&[shown(possession)]).is_err());
    }
}

#[test]
fn proofs_are_checked_each_by_itself_whatever_is_remembered() {
    let good: Vec<ShownKey> = (20..30).map(|seed| ShownKey::of(&secret(seed))).collect();
    for spoilt in 0..good.len() {
        let mut shown = good.clone();
        shown[spoilt].possession = good[(spoilt + 1) % good.len()].possession;
        for _ in 0..2 {
            let error = PublicKey::proven(&shown).unwrap_err().to_string();
            assert!(error.contains(&format!("keys[{spoilt}]")), "{error}");
        }
        // Exchanged proofs do not cancel out either.
        shown[(spoilt + 1) % good.len()].possession = good[spoilt].possession;
        assert!(PublicKey::proven(&shown).is_err());
        assert_eq!(PublicKey::proven(&good[..=spoilt]).unwrap().len(), spoilt + 1);
    }
    assert_eq!(PublicKey::proven(&[]).unwrap(), []);
}

#[test]
fn what_is_no_point_of_the_group_is_refused() {
    let good = ShownKey::of(&secret(1));
    // On the curve, of another order: x = 4 of G1, and x = 2 + 0·u of G2 (each with whichever sign).
    let off_subgroup = |mut bytes: Vec<u8>, x: u8| {
        bytes.fill(0);
        bytes[0] = 0x80;
        *bytes.last_mut().unwrap() = x;
        bytes
    };
    let small_g1: [u8; 48] = off_subgroup(vec![0; 48], 4).try_into().unwrap();
    let small_g2: [u8; 96] = off_subgroup(vec![0; 96], 2).try_into().unwrap();
    let keys = [neutral(), [0; 96], [0xff; 96], small_g2];
    for (public, word) in keys.into_iter().zip(["neutral", "no compressed", "no compressed", "subgroup"]) {
        let error = PublicKey::proven(&[ShownKey { public, ..good }]).unwrap_err().to_string();
        assert!(error.contains("keys[0]: bls: the key: it is") && error.contains(word), "{error}");
    }
    let proofs = [neutral(), [0; 48], [0xff; 48], small_g1];
    for (possession, word) in proofs.into_iter().zip(["neutral", "no compressed", "no compressed", "subgroup"]) {
        let error = PublicKey::proven(&[ShownKey { possession, ..good }]).unwrap_err().to_string();
        assert!(error.contains("proof of possession: it is") && error.contains(word), "{error}");
        let error = Signature::from_bytes(&possession).unwrap_err().to_string();
        assert!(error.contains("the signature: it is") && error.contains(word), "{error}");
    }
}

#[test]
fn keys_that_cancel_out_sum_to_none() {
    let one = secret(1);
    let mut minus = min_sig::AggregatePublicKey::from_public_key(&one.0.1);
    let twice = minus;
    minus.sub_aggregate(&twice);
    minus.sub_aggregate(&twice);
    assert!(PublicKey::sum(&[PublicKey(one.0.1), PublicKey(minus.to_public_key())]).is_none());
}

#[test]
fn a_secret_is_for_one_use_and_not_shown() {
    let master = [7; 32];
    let key = SecretKey::of_master(&master).unwrap();
    assert_ne!(key.public(), SecretKey::from_seed(&master).unwrap().public());
    let shown = format!("{key:?}");
    assert!(shown.contains(&hex::encode(key.public())) && !shown.contains(&hex::encode(key.0.0.to_bytes())));
}

#[test]
fn only_right_verdicts_are_remembered() {
    let print = *blake3::hash(b"a print of this test").as_bytes();
    assert!(!once(&print, || false) && once(&print, || true));
    assert!(!remembered::enabled() || once(&print, || false));
    assert!(!once(blake3::hash(b"another print").as_bytes(), || false));
}
