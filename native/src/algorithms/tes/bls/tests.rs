use proptest::prelude::*;
use proptest::sample::subsequence;
use sha2::{Digest as _, Sha256};

use super::batch::{Claim, settle};
use super::signature::verify_in;
use super::*;
use crate::algorithms::tes::bls12381::{Fr, G1, G1Affine, G1Point, G2, counted, hash_to_g1};
use crate::algorithms::tes::group::{Group, Scalar as _};
use crate::algorithms::tes::polynomial::Polynomial;
use crate::algorithms::tes::share::{SecretShare, Tdh2Keys};
use crate::algorithms::tes::subsets;
use crate::error::{Error, Result};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32]).unwrap()
}

/// A shared key as the key generation makes it: its public key, the public shares and the secret ones.
pub(super) fn deal(threshold: u16, parties: u16) -> (PublicKey, Vec<PublicShare>, Vec<SecretShare>) {
    let polynomial = Polynomial::<G2>::random(threshold).unwrap();
    let secret = |index| SecretShare::new::<BlsKeys>(index, &polynomial.evaluate(index)).unwrap();
    let secrets: Vec<SecretShare> = (1..=parties).map(secret).collect();
    let publics = secrets.iter().map(|share| share.public::<BlsKeys>().unwrap()).collect();
    (PublicKey::new(G2::mul_base(polynomial.constant())).unwrap(), publics, secrets)
}

fn shares_of(secrets: &[SecretShare], message: &[u8]) -> Vec<[u8; SHARE_LEN]> {
    secrets.iter().map(|secret| sign_share(secret, message).unwrap()).collect()
}

fn slices<const N: usize>(arrays: &[[u8; N]]) -> Vec<&[u8]> {
    arrays.iter().map(|array| &array[..]).collect()
}

fn message<T>(result: Result<T>) -> String {
    result.err().unwrap().to_string()
}

/// Another point of the group, as a wrong signature.
fn spoil(signature: &mut [u8]) {
    let point = G1Affine::from_bytes(signature).unwrap().to_point();
    signature.copy_from_slice(&G1::to_bytes(&G1::add(&point, &G1::base())));
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
    let verdict = |case: &serde_json::Value, public: &serde_json::Value, later: u64| {
        let public = PublicKey::new(G2::from_bytes(&bytes(public)).unwrap()).unwrap();
        let round = Sha256::digest((case["round"].as_u64().unwrap() + later).to_be_bytes());
        verify_in(dst, &public, &round, &bytes(&case["signature"]))
    };
    let chain = &file["chain"]["public_key"];
    let (valid, other) = (file["valid"].as_array().unwrap(), file["valid_other_key_same_scheme"].as_array().unwrap());
    let invalid = file["invalid"].as_array().unwrap();
    assert_eq!((valid.len(), other.len(), invalid.len()), (6, 3, 1));
    for case in valid {
        assert_eq!(verdict(case, chain, 0), Ok(()));
        assert_eq!(verdict(case, chain, 1), Err(signature::misfit()));
        let randomness = Sha256::digest(bytes(&case["signature"]));
        assert_eq!(randomness[..], bytes(&case["randomness"]));
    }
    for case in other {
        assert_eq!(verdict(case, &case["public_key"], 0), Ok(()));
        assert_eq!(verdict(case, chain, 0), Err(signature::misfit()));
    }
    assert_eq!(verdict(&invalid[0], chain, 0), Err(signature::misfit()));
}

/// `KeyGen` is EIP-2333's `derive_master_SK`, of which this is the second test case.
#[test]
fn key_generation_of_the_draft() {
    let seed = hex::decode("3141592653589793238462643383279502884197169399375105820974944592").unwrap();
    let secret = SecretKey::from_seed(&seed.try_into().unwrap()).unwrap();
    let number = num_bigint::BigUint::from_bytes_le(&secret.to_bytes()[2..]);
    assert_eq!(number.to_string(), "29757020647961307431480504535336562678282505419141012933316116377660817309383");
}

#[test]
fn sign_and_verify() {
    let secret = key(1);
    let signature = secret.sign(b"message").unwrap();
    assert_eq!(verify(secret.public(), b"message", &signature), Ok(()));
    assert_eq!(signature, secret.sign(b"message").unwrap());
    assert_eq!(verify(secret.public(), b"messagf", &signature), Err(signature::misfit()));
    assert_eq!(verify(key(2).public(), b"message", &signature), Err(signature::misfit()));
    assert!(verify(secret.public(), b"", &secret.sign(b"").unwrap()).is_ok());
    // A possession is no signature of the key's bytes, nor the other way round.
    let public = G2::to_bytes(secret.public().point());
    assert!(verify(secret.public(), &public, &secret.prove_possession().unwrap()).is_err());
    assert!(ProvenKey::new(*secret.public(), &secret.sign(&public).unwrap()).is_err());
}

#[test]
fn keys_are_written_and_read_again() {
    let secret = SecretKey::generate().unwrap();
    let read = SecretKey::from_bytes(&secret.to_bytes()).unwrap();
    assert_eq!((read.public(), read.to_bytes()), (secret.public(), secret.to_bytes()));
    assert_ne!(SecretKey::generate().unwrap().public(), secret.public());
    let bytes = secret.public().to_bytes();
    assert_eq!(bytes.len(), PublicKey::LEN);
    for _ in 0..2 {
        // Read first, then remembered.
        assert_eq!(public_key(&bytes).unwrap(), *secret.public());
    }
    let shown = format!("{secret:?}");
    assert!(shown.contains(&hex::encode(&bytes)) && !shown.contains(&hex::encode(&secret.to_bytes()[2..])), "{shown}");
}

#[test]
fn wrong_keys_are_refused_with_the_reason() {
    let good = key(1);
    let typed = |prefix: &[u8], body: &[u8]| [prefix, body].concat();
    let order = hex::decode("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001").unwrap();
    let order: Vec<u8> = order.into_iter().rev().collect();
    for (bytes, reason) in [
        (typed(b"bs", &[0; 32]), "the secret key is 0"),
        (typed(b"bs", &order), "not below the group's order"),
        (typed(b"bs", &[1; 31]), "33 bytes, a BLS secret key has 34"),
        (typed(b"bx", &[1; 32]), "it is a secret share of a BLS key, a BLS secret key is needed"),
        (typed(b"??", &[1; 32]), "its type is not known"),
        (Vec::new(), "its type is not known"),
    ] {
        assert!(message(SecretKey::from_bytes(&bytes)).contains(reason), "{reason}");
    }
    let point = G2::to_bytes(good.public().point());
    let neutral = typed(&[0xc0], &[0; 95]);
    for (bytes, reason) in [
        (typed(b"bp", &neutral), "it is the neutral element"),
        (typed(b"bp", &point[..95]), "97 bytes, a BLS public key has 98"),
        (typed(b"bp", &typed(&[point[0] & 0x7f], &point[1..])), "does not say compressed"),
        (typed(b"tp", &point), "it is a public key of threshold encryption, a BLS public key is needed"),
        (typed(b"bs", &point), "it is a BLS secret key"),
        (G1::to_bytes(&G1::base()), "its type is not known"),
    ] {
        assert!(message(public_key(&bytes)).contains(reason), "{reason}");
        let items = [Item { public: &bytes, message: b"", signature: &[0; 48] }];
        assert!(message(verify_many(&items).unwrap().remove(0)).contains(reason), "{reason}");
    }
}

#[test]
fn wrong_signatures_are_refused_with_the_reason() {
    let secret = key(1);
    let signature = secret.sign(b"m").unwrap();
    let mut neutral = [0; SIGNATURE_LEN];
    neutral[0] = 0xc0;
    let mut open = signature;
    open[0] &= 0x7f;
    for (bytes, reason) in [
        (&signature[..47], "the signature: 47 bytes, exactly 48 are needed"),
        (&neutral[..], "it is the neutral element"),
        (&open[..], "does not say compressed"),
        (&G2::to_bytes(&G2::base()), "96 bytes, exactly 48"),
    ] {
        assert!(message(verify(secret.public(), b"m", bytes)).contains(reason), "{reason}");
        assert!(
            message(ProvenKey::new(*secret.public(), bytes)).contains(reason.trim_start_matches("the signature: "))
        );
        assert!(message(aggregate(&[&signature, bytes])).contains("signatures[1]"));
    }
    assert!(matches!(verify(secret.public(), b"m", &signature[..47]), Err(Error::Input(_))));
    assert!(matches!(verify(secret.public(), b"m", &neutral), Err(Error::Verification(_))));
}

#[test]
fn aggregates() {
    let secrets: Vec<SecretKey> = (1..=5).map(key).collect();
    let prove = |secret: &SecretKey| ProvenKey::new(*secret.public(), &secret.prove_possession().unwrap()).unwrap();
    let keys: Vec<ProvenKey> = secrets.iter().map(prove).collect();
    let signatures: Vec<_> = secrets.iter().map(|secret| secret.sign(b"batch 9").unwrap()).collect();
    let sum = aggregate(&slices(&signatures)).unwrap();
    assert_eq!(aggregate_verify(&keys, b"batch 9", &sum), Ok(()));
    let reversed: Vec<_> = keys.iter().rev().copied().collect();
    assert_eq!(aggregate_verify(&reversed, b"batch 9", &sum), Ok(()));
    assert_eq!(aggregate_verify(&keys[..4], b"batch 9", &sum), Err(signature::misfit()));
    assert_eq!(aggregate_verify(&keys, b"batch 8", &sum), Err(signature::misfit()));
    assert_eq!(aggregate(&slices(&signatures[..1])).unwrap(), signatures[0]);

    let twice = [keys[0], keys[3], keys[0]];
    assert!(message(aggregate_verify(&twice, b"", &sum)).contains("keys[0] and keys[2] are the same"));
    assert!(message(aggregate_verify(&[], b"", &sum)).contains("no keys"));
    assert!(message(aggregate(&[])).contains("no signatures"));
    let minus = G1::to_bytes(&G1Affine::from_bytes(&signatures[0]).unwrap().to_point().negate());
    assert!(message(aggregate(&[&signatures[0], &minus])).contains("cancel out"));
}

#[test]
fn a_key_made_up_from_another_cannot_be_proven() {
    // The rogue key x·B − P would make "P and I signed" out of a signature of the attacker alone.
    let (victim, attacker) = (key(1), key(2));
    let rogue = PublicKey::new(G2::add(attacker.public().point(), &victim.public().point().negate())).unwrap();
    let forged = attacker.sign(b"pay").unwrap();
    let sum = PublicKey::new(G2::add(rogue.point(), victim.public().point())).unwrap();
    assert_eq!(verify(&sum, b"pay", &forged), Ok(()), "the attack works on sums of unproven keys");
    let stolen = [attacker.prove_possession().unwrap(), victim.prove_possession().unwrap()];
    for possession in stolen {
        assert!(message(ProvenKey::new(rogue, &possession)).contains("does not fit the key"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_batch_has_the_verdicts_of_each_alone(
        kinds in prop::collection::vec((0..6u8, 0..6u8, 0..12u8), 0..40),
        keys in 1..6u8,
        messages in 1..6u8,
    ) {
        let made: Vec<(Vec<u8>, [u8; 1], Vec<u8>)> = kinds
            .iter()
            .map(|(by, of, fault)| {
                let (secret, data) = (key(by % keys + 1), [of % messages]);
                let (mut public, mut signature) = (secret.public().to_bytes(), secret.sign(&data).unwrap().to_vec());
                match fault {
                    0 => spoil(&mut signature),
                    1 => signature = key(99).sign(&data).unwrap().to_vec(),
                    2 => signature[0] ^= 0x80,
                    3 => public[0] = b'?',
                    4 => signature.truncate(20),
                    _ => {}
                }
                (public, data, signature)
            })
            .collect();
        let items: Vec<Item<'_>> =
            made.iter().map(|(public, message, signature)| Item { public, message, signature }).collect();
        let alone = items.iter().map(|item| verify(&public_key(item.public)?, item.message, item.signature));
        prop_assert_eq!(verify_many(&items).unwrap(), alone.collect::<Vec<_>>());
    }
}

#[test]
fn wrong_signatures_that_cancel_out_are_found() {
    let secret = key(1);
    let messages: Vec<[u8; 1]> = (0..8).map(|at| [at]).collect();
    let mut signatures: Vec<_> = messages.iter().map(|data| secret.sign(data).unwrap()).collect();
    let shift = |bytes: &mut [u8; 48], by: G1Point| {
        let point = G1Affine::from_bytes(bytes).unwrap().to_point();
        bytes.copy_from_slice(&G1::to_bytes(&G1::add(&point, &by)));
    };
    shift(&mut signatures[2], G1::base());
    shift(&mut signatures[5], G1::base().negate());
    let public = secret.public().to_bytes();
    let items: Vec<Item<'_>> = messages
        .iter()
        .zip(&signatures)
        .map(|(message, signature)| Item { public: &public, message, signature })
        .collect();
    let bad: Vec<usize> =
        verify_many(&items).unwrap().iter().enumerate().filter(|(_, v)| v.is_err()).map(|(at, _)| at).collect();
    assert_eq!(bad, [2, 5]);
}

/// Claims of `count` different keys and messages, of which every `every`-th is wrong.
fn claims(count: usize, every: usize) -> Vec<Result<Claim>> {
    let base = G2::base().to_affine();
    let claim = |at: usize| {
        let hash = hash_to_g1(&at.to_le_bytes(), b"claims");
        let signature = if at % every == every - 1 { G1::add(&hash, &G1::base()) } else { hash };
        let (hash, signature) = (hash.to_affine(), signature.to_affine());
        Ok(Claim { hash, key: base, signature, message_id: at, key_id: at })
    };
    (0..count).map(claim).collect()
}

#[test]
fn a_hostile_batch_costs_little_more_than_each_alone() {
    for (count, every) in [(128, 1), (128, 2), (128, 7), (600, 50), (600, 600)] {
        let (verdicts, loops, exponentiations) = counted(|| settle(claims(count, every)).unwrap());
        let bad = verdicts.iter().filter(|verdict| verdict.is_err()).count();
        assert_eq!(bad, count / every);
        // What is checked one by one at the end is asked for by other threads: at most two loops for each.
        assert!(loops <= 3 * count + 200, "{count}, {every}: {loops}");
        assert!(exponentiations <= 2 * count, "{count}, {every}: {exponentiations}");
    }
    let (_, loops, exponentiations) = counted(|| settle(claims(128, 1000)).unwrap());
    assert_eq!((loops, exponentiations), (129, 1));
}

#[test]
fn any_enough_shares_make_the_one_signature() {
    let (public, publics, secrets) = deal(3, 5);
    let shares = shares_of(&secrets, b"block");
    let whole = combine(&public, 3, &publics, &slices(&shares), b"block").unwrap();
    assert_eq!(whole.wrong, []);
    assert_eq!(verify(&public, b"block", &whole.signature), Ok(()));
    for mask in 0u32..32 {
        let picked: Vec<&[u8]> =
            (0..5).rev().filter(|at| mask >> at & 1 == 1).map(|at: usize| &shares[at][..]).collect();
        let combined = combine(&public, 3, &publics, &picked, b"block");
        if picked.len() >= 3 {
            assert_eq!(combined.unwrap(), whole);
        } else {
            let message = format!("bls: signature shares: needed 3, had {}", picked.len());
            assert_eq!(combined.unwrap_err(), Error::Unavailable { message, needed: 3, had: picked.len() as u64 });
            // And what they make as if they were enough is not the signature.
            if !picked.is_empty() {
                let fewer = combine(&public, picked.len() as u16, &[], &picked, b"block");
                assert!(message_of(&fewer).contains("does not fit the group key"));
            }
        }
    }
    for (share, public) in shares.iter().zip(&publics) {
        assert_eq!(verify_share(public, b"block", share), Ok(()));
        assert!(message(verify_share(public, b"other", share)).contains("does not fit its public share"));
    }
    assert!(message(verify_share(&publics[0], b"block", &shares[1])).contains("no public share with this index"));
}

fn message_of<T>(result: &Result<T>) -> String {
    result.as_ref().err().unwrap().to_string()
}

#[test]
fn wrong_shares_are_named_and_replaced() {
    let (public, publics, secrets) = deal(4, 7);
    let mut shares = shares_of(&secrets, b"m");
    let whole = combine(&public, 4, &publics, &slices(&shares), b"m").unwrap().signature;
    spoil(&mut shares[1][2..]);
    shares[2][2..].copy_from_slice(&[0xbf; 48]);
    let combined = combine(&public, 4, &publics, &slices(&shares), b"m").unwrap();
    assert_eq!(combined.signature, whole);
    let wrong: Vec<String> = combined.wrong.iter().map(|(index, error)| format!("{index}: {error}")).collect();
    assert_eq!(wrong.len(), 2);
    assert_eq!(wrong[0], "2: bls: share 2 does not fit its public share and the message");
    assert!(wrong[1].contains("3: bls: share 3: G1 of BLS12-381: a coordinate is not below"), "{}", wrong[1]);

    // A share with another's index, and one of a stranger.
    let mut shares = shares_of(&secrets, b"m");
    shares.swap(0, 1);
    shares[0][0] = 1;
    shares[1][0] = 2;
    shares[3][..2].copy_from_slice(&900u16.to_le_bytes());
    let combined = combine(&public, 4, &publics, &slices(&shares), b"m").unwrap();
    assert_eq!(combined.signature, whole);
    assert_eq!(combined.wrong.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 900]);
    assert!(combined.wrong[2].1.to_string().contains("no public share with this index"));

    let few = combine(&public, 4, &publics, &slices(&shares[..5]), b"m").unwrap_err();
    let text = "bls: right signature shares (wrong: 1, 2, 900): needed 4, had 2".to_owned();
    assert_eq!(few, Error::Unavailable { message: text, needed: 4, had: 2 });
    assert!(message(combine(&public, 4, &[], &slices(&shares), b"m")).contains("no telling which"));
    let (other, _, _) = deal(4, 7);
    let right = shares_of(&secrets, b"m");
    assert!(message(combine(&other, 4, &publics, &slices(&right), b"m")).contains("not of the group key"));
}

#[test]
fn what_no_call_can_accept_is_an_error() {
    let (public, publics, secrets) = deal(2, 3);
    let shares = shares_of(&secrets, b"m");
    let mut zero = shares[1];
    zero[..2].fill(0);
    for (shares, reason) in [
        (vec![&shares[0][..], &zero[..]], "shares[1]: index: 0 is the index of no party"),
        (vec![&shares[0][..], &shares[1], &shares[0]], "1 stands twice"),
        (vec![&shares[0][..], &shares[1][..49]], "shares[1]: 49 bytes, exactly 50 are needed"),
        (vec![&shares[0][2..], &shares[1]], "shares[0]: 48 bytes"),
    ] {
        for error in [
            combine(&public, 2, &publics, &shares, b"m").unwrap_err(),
            verify_shares(&publics, b"m", &shares).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Input(text) if text.contains(reason)), "{error}");
        }
    }
    assert!(message(combine(&public, 0, &publics, &slices(&shares), b"m")).contains("a threshold of 0"));
    let doubled = [publics.clone(), publics.clone()].concat();
    assert!(message(combine(&public, 2, &doubled, &slices(&shares), b"m")).contains("stands twice"));
    let foreign = SecretShare::new::<Tdh2Keys>(1, &curve25519_dalek::Scalar::from(5u64)).unwrap();
    assert!(message(sign_share(&foreign, b"m")).contains("a secret share of a BLS key is needed"));
    let nothing = SecretShare::new::<BlsKeys>(1, &Fr::ZERO).unwrap();
    assert!(message(sign_share(&nothing, b"m")).contains("the secret value is 0"));
    let bytes: Vec<Vec<u8>> = publics.iter().map(PublicShare::to_bytes).collect();
    let mut views: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    assert_eq!(public_shares(&views).unwrap(), publics);
    let key = public.to_bytes();
    views[2] = &key;
    assert!(message(public_shares(&views)).contains("public shares[2]: key: it is a BLS public key"));
}

#[test]
fn a_wrong_share_among_a_hundred_costs_a_few_pairings_more() {
    let (public, publics, secrets) = deal(67, 100);
    let mut shares = shares_of(&secrets, b"m");
    let run = |shares: &[[u8; SHARE_LEN]]| {
        let (combined, loops, exponentiations) =
            counted(|| combine(&public, 67, &publics, &slices(shares), b"m").unwrap());
        let wrong: Vec<u16> = combined.wrong.iter().map(|(index, _)| *index).collect();
        (combined.signature, wrong, loops, exponentiations)
    };
    let (signature, wrong, loops, exponentiations) = run(&shares);
    assert_eq!((wrong, loops, exponentiations), (vec![], 2, 1));
    // The whole, up to three choices that leave out a third of it, the shares left out together, and the same tilted.
    for at in [0, 21, 22, 40, 43, 44, 66] {
        let mut some = shares.clone();
        spoil(&mut some[at][2..]);
        let tries = 2 + (0..3).position(|group| at < (group + 1) * 67 / 3).unwrap() + 2;
        let named = vec![at as u16 + 1];
        assert_eq!(run(&some), (signature, named, 2 * tries, tries), "{at}");
    }
    for at in 67..100 {
        let mut some = shares.clone();
        spoil(&mut some[at][2..]);
        assert_eq!(run(&some), (signature, vec![], 2, 1), "{at}");
    }
    for at in [3, 40, 60] {
        spoil(&mut shares[at][2..]);
    }
    let (again, wrong, loops, _) = run(&shares);
    assert_eq!((again, wrong), (signature, vec![4, 41, 61]));
    assert!(loops <= 2 * 25, "{loops}");
    // Far from the hundred checks, and far below the square, even if a third of all is wrong.
    for share in &mut shares[67..] {
        share[2..].copy_from_slice(&signature);
    }
    for at in [3, 40, 60] {
        shares[at] = sign_share(&secrets[at], b"m").unwrap();
    }
    shares[0][2..].copy_from_slice(&signature);
    let few = counted(|| combine(&public, 67, &publics, &slices(&shares), b"m").unwrap_err());
    assert!(few.0.to_string().contains("needed 67, had 66"), "{}", few.0);
    assert!(few.1 <= 320, "{}", few.1);
}

#[test]
fn wrong_shares_that_cancel_out_are_named_all_the_same() {
    // Two that know each other, and which shares are taken without the first third, are wrong by what cancels out there.
    let (public, publics, secrets) = deal(6, 9);
    let mut shares = shares_of(&secrets, b"m");
    let whole = combine(&public, 6, &publics, &slices(&shares), b"m").unwrap().signature;
    let taken: Vec<u16> = subsets::others(6, 9).next().unwrap().iter().map(|at| *at as u16 + 1).collect();
    assert_eq!(taken, [4, 5, 6, 7, 8, 9]);
    let weights: Vec<Fr> = crate::algorithms::tes::polynomial::lagrange_at_zero(&taken).unwrap();
    for (at, error) in [(3, weights[4]), (7, Fr::ZERO.sub(&weights[0]))] {
        let point = G1Affine::from_bytes(&shares[at][2..]).unwrap().to_point();
        shares[at][2..].copy_from_slice(&G1::to_bytes(&G1::add(&point, &G1::mul_base(&error))));
    }
    let combined = combine(&public, 6, &publics, &slices(&shares), b"m").unwrap();
    assert_eq!(combined.signature, whole);
    assert_eq!(combined.wrong.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [4, 8]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn exactly_the_wrong_shares_are_named(bad in subsequence((0..24usize).collect::<Vec<_>>(), 0..=8)) {
        let (public, publics, secrets) = deal(16, 24);
        let mut shares = shares_of(&secrets, b"m");
        for at in &bad {
            spoil(&mut shares[*at][2..]);
        }
        let verdicts = verify_shares(&publics, b"m", &slices(&shares)).unwrap();
        let found: Vec<usize> = (0..24).filter(|at| verdicts[*at].is_err()).collect();
        prop_assert_eq!(&found, &bad);
        let combined = combine(&public, 16, &publics, &slices(&shares), b"m").unwrap();
        prop_assert!(verify(&public, b"m", &combined.signature).is_ok());
        if bad.iter().any(|at| *at < 16) {
            let named: Vec<usize> = combined.wrong.iter().map(|(index, _)| usize::from(*index) - 1).collect();
            prop_assert_eq!(named, bad);
        }
    }
}

/// `crypto::bls` is the same suite over another interface of blst.
#[test]
fn two_implementations_of_the_suite_agree() {
    use crate::crypto::bls as other;
    let secrets: Vec<other::SecretKey> = (1..6).map(|seed| other::SecretKey::from_seed(&[seed; 32]).unwrap()).collect();
    for (seed, two) in (1..).zip(&secrets) {
        let one = key(seed);
        assert_eq!(one.public().to_bytes()[2..], two.public());
        assert_eq!(one.sign(b"message").unwrap(), two.sign(b"message"));
        assert_eq!(one.prove_possession().unwrap(), two.prove_possession());
    }
    let shown: Vec<other::ShownKey> = secrets.iter().map(other::ShownKey::of).collect();
    let keys = other::PublicKey::proven(&shown).unwrap();
    let signed: Vec<[u8; 48]> = secrets.iter().map(|secret| secret.sign(b"message")).collect();
    let points: Vec<other::Signature> = signed.iter().map(|one| other::Signature::from_bytes(one).unwrap()).collect();
    let sum = other::Signature::sum(&points).unwrap();
    assert_eq!(sum.to_bytes(), aggregate(&slices(&signed)).unwrap());
    assert!(other::verify_sum(&keys, b"message", &sum));
}
