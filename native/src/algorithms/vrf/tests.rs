use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use proptest::prelude::*;

use super::*;

/// RFC 9381, appendix B.4 (examples 19 to 21): secret key, public key, alpha, proof, output.
const EXAMPLES: [(&str, &str, &str, &str, &str); 3] = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "7d9c633ffeee27349264cf5c667579fc583b4bda63ab71d001f89c10003ab46f14adf9a3cd8b8412d9038531e865c341cafa73589b023d14311c331a9ad15ff2fb37831e00f0acaa6d73bc9997b06501",
        "9d574bf9b8302ec0fc1e21c3ec5368269527b87b462ce36dab2d14ccf80c53cccf6758f058c5b1c856b116388152bbe509ee3b9ecfe63d93c3b4346c1fbc6c54",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "47b327393ff2dd81336f8a2ef10339112401253b3c714eeda879f12c509072ef055b48372bb82efbdce8e10c8cb9a2f9d60e93908f93df1623ad78a86a028d6bc064dbfc75a6a57379ef855dc6733801",
        "38561d6b77b71d30eb97a062168ae12b667ce5c28caccdf76bc88e093e4635987cd96814ce55b4689b3dd2947f80e59aac7b7675f8083865b46c89b2ce9cc735",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "926e895d308f5e328e7aa159c06eddbe56d06846abf5d98c2512235eaa57fdce35b46edfc655bc828d44ad09d1150f31374e7ef73027e14760d42e77341fe05467bb286cc2c9d7fde29120a0b2320d04",
        "121b7f9b9aaaa29099fc04a94ba52784d44eac976dd1a3cca458733be5cd090a7b5fbd148444f17f8daf1fb55cb04b1ae85a626e30a54b4b0f8abf4a43314a58",
    ),
];

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[test]
fn rfc_9381_examples() {
    for (sk, pk, alpha, pi, beta) in EXAMPLES {
        let (secret, alpha) = (SecretKey::from_seed(&bytes(sk)), hex::decode(alpha).unwrap());
        assert_eq!(secret.public(), bytes(pk));
        let proof = secret.prove(&alpha);
        assert_eq!(hex::encode(proof), pi);
        assert_eq!(hex::encode(verify(&secret.public(), &alpha, &proof).unwrap()), beta);
        assert_eq!(hex::encode(proof_to_hash(&proof).unwrap()), beta);
    }
}

/// A file of official vectors, if there is a folder of them.
fn official(name: &str) -> Option<serde_json::Value> {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return None;
    };
    Some(serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{name}")).unwrap()).unwrap())
}

#[test]
fn rfc_9381_file() {
    let Some(file) = official("rfc9381_ecvrf_edwards25519.json") else { return };
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap().to_owned();
        let suite = if text("suite_string") == "03" { Suite::Tai } else { Suite::Ell2 };
        let secret = SecretKey::from_seed(&bytes(&text("sk")));
        let (public, alpha) = (secret.public(), hex::decode(text("alpha")).unwrap());
        assert_eq!(hex::encode(suite.encode_to_curve(&public, &alpha).unwrap().compress().0), text("h"));
        let short = secret.prove_in(suite, &alpha).unwrap();
        assert_eq!(hex::encode(short), text("pi"));
        let long = secret.prove_batchable(suite, &alpha).unwrap();
        assert_eq!(hex::encode(&long[32..96]), text("u_point") + &text("v_point"));
        for proof in [Proof::Compact(&short), Proof::Batchable(&long)] {
            assert_eq!(hex::encode(verify_in(suite, &public, &alpha, proof).unwrap()), text("beta"));
            assert_eq!(hex::encode(output(suite, proof).unwrap()), text("beta"));
        }
    }
}

#[test]
fn rfc_9380_map() {
    let Some(file) = official("rfc9380_edwards25519_sha512_ell2_nu.json") else { return };
    let (dst, cases) = (file["dst"].as_str().unwrap(), file["vectors"].as_array().unwrap());
    assert_eq!(cases.len(), 5);
    for case in cases {
        let coordinate = |axis: &str| {
            let text = case["P"][axis].as_str().unwrap().trim_start_matches("0x");
            num_bigint::BigUint::parse_bytes(text.as_bytes(), 16).unwrap()
        };
        let mut expected = coordinate("y").to_bytes_le();
        expected.resize(32, 0);
        expected[31] |= u8::from(coordinate("x").bit(0)) << 7;
        let message = case["msg"].as_str().unwrap().as_bytes();
        let point = EdwardsPoint::encode_to_curve::<Sha512>(&[message], &[dst.as_bytes()]);
        assert_eq!(point.compress().0[..], expected);
    }
}

#[test]
fn cardano_file() {
    let Some(file) = official("cardano_vrf13_batchcompat.json") else { return };
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    let decoded: Vec<_> = cases
        .iter()
        .map(|case| {
            let text = |name: &str| case[name].as_str().unwrap();
            let alpha = hex::decode(text("alpha")).unwrap();
            let secret = SecretKey::from_seed(&bytes(text("sk")));
            assert_eq!(hex::encode(secret.prove_batchable(Suite::Ell2, &alpha).unwrap()), text("pi"));
            assert_eq!(hex::encode(secret.public()), text("pk"));
            (secret.public(), alpha, bytes::<BATCHABLE_LEN>(text("pi")), bytes::<OUTPUT_LEN>(text("beta")))
        })
        .collect();
    let items: Vec<Item<'_>> = decoded
        .iter()
        .map(|(public, alpha, proof, _)| Item { public, alpha, proof: Proof::Batchable(proof) })
        .collect();
    let verdicts = verify_many(Suite::Ell2, &items).unwrap();
    for ((public, alpha, proof, beta), verdict) in decoded.iter().zip(verdicts) {
        assert_eq!(verdict.as_ref(), Ok(beta));
        assert_eq!(verify_in(Suite::Ell2, public, alpha, Proof::Batchable(proof)).as_ref(), Ok(beta));
    }
}

/// Proofs of both forms and three keys, some spoilt in the way that `spoil` says.
fn mixture(suite: Suite, count: usize, spoil: impl Fn(usize, &mut [u8])) -> Vec<([u8; 32], [u8; 4], Vec<u8>)> {
    let keys: Vec<SecretKey> = (0..3).map(|at| SecretKey::from_seed(&[at; 32])).collect();
    (0..count)
        .map(|at| {
            let (key, alpha) = (&keys[at % 3], (at as u32).to_le_bytes());
            let mut proof = match at % 4 {
                0 => key.prove_in(suite, &alpha).unwrap().to_vec(),
                _ => key.prove_batchable(suite, &alpha).unwrap().to_vec(),
            };
            spoil(at, &mut proof);
            (key.public(), alpha, proof)
        })
        .collect()
}

fn compare(suite: Suite, cases: &[([u8; 32], [u8; 4], Vec<u8>)]) -> usize {
    let items: Vec<Item<'_>> = cases
        .iter()
        .map(|(public, alpha, proof)| Item { public, alpha, proof: Proof::from_slice(proof).unwrap() })
        .collect();
    let verdicts = verify_many(suite, &items).unwrap();
    assert_eq!(verdicts.len(), cases.len());
    for (item, verdict) in items.iter().zip(&verdicts) {
        assert_eq!(&verify_in(suite, item.public, item.alpha, item.proof), verdict);
    }
    verdicts.iter().filter(|verdict| verdict.is_ok()).count()
}

#[test]
fn a_batch_gives_each_the_verdict_that_it_has_alone() {
    for suite in [Suite::Ell2, Suite::Tai] {
        for count in [0, 1, 3, 4, 15, 16, 40, 100] {
            assert_eq!(compare(suite, &mixture(suite, count, |_, _| ())), count);
            let flip = |at: usize, proof: &mut [u8]| {
                if at % 7 == 3 {
                    let last = proof.len() - 20;
                    proof[last] ^= 1;
                }
            };
            assert_eq!(compare(suite, &mixture(suite, count, flip)), count - (count + 3) / 7);
        }
        let all = |at: usize, proof: &mut [u8]| proof[(at * 5) % 80] ^= 4;
        assert_eq!(compare(suite, &mixture(suite, 40, all)), 0);
        // One bad proof wherever it stands, and so many that the rest are checked one by one.
        for bad in 0..33 {
            let one = |at: usize, proof: &mut [u8]| proof[79] ^= u8::from(at == bad);
            assert_eq!(compare(suite, &mixture(suite, 33, one)), 32);
        }
        let half = |at: usize, proof: &mut [u8]| proof[70] ^= u8::from(at % 2 == 1);
        assert_eq!(compare(suite, &mixture(suite, 64, half)), 32);
    }
}

#[test]
fn two_wrongs_that_cancel_in_a_plain_sum_are_found() {
    // s + 1 and s − 1 leave the sum of all s as it was: only random coefficients tell.
    let mut cases = mixture(Suite::Ell2, 8, |_, _| ());
    let mut change = |at: usize, by: Scalar| {
        let proof = &mut cases[at].2;
        let mut s = [0; 32];
        s.copy_from_slice(&proof[96..]);
        let s = Scalar::from_canonical_bytes(s).unwrap() + by;
        proof[96..].copy_from_slice(s.as_bytes());
    };
    change(1, Scalar::ONE);
    change(7, -Scalar::ONE);
    assert_eq!(compare(Suite::Ell2, &cases), 6);
    // The same, of one input, so that in V's equations too the two differences cancel for equal coefficients.
    let key = SecretKey::from_seed(&[2; 32]);
    let mut cases = vec![(key.public(), [0; 4], key.prove_batchable(Suite::Ell2, &[0; 4]).unwrap().to_vec()); 8];
    for (at, by) in [(1, Scalar::ONE), (2, -Scalar::ONE)] {
        let s: [u8; 32] = cases[at].2[96..].try_into().unwrap();
        let s = Scalar::from_canonical_bytes(s).unwrap() + by;
        cases[at].2[96..].copy_from_slice(s.as_bytes());
    }
    assert_eq!(compare(Suite::Ell2, &cases), 6);
    // U + T and U − T of two proofs: c changes, and both are wrong; of V too.
    for place in [32, 64] {
        let mut cases = mixture(Suite::Ell2, 8, |_, _| ());
        let shift = EdwardsPoint::mul_base(&Scalar::from(5u8));
        for (at, shift) in [(1, shift), (7, -shift)] {
            let proof = &mut cases[at].2;
            let point = CompressedEdwardsY::from_slice(&proof[place..place + 32]).unwrap().decompress().unwrap();
            proof[place..place + 32].copy_from_slice((point + shift).compress().as_bytes());
        }
        assert_eq!(compare(Suite::Ell2, &cases), 6);
    }
}

#[test]
fn items_of_wrong_lengths_have_verdicts_too() {
    let key = SecretKey::from_seed(&[1; 32]);
    let (public, proof) = (key.public(), key.prove(b"a"));
    let items = vec![
        Item::from_slices(&public, b"a", &proof),
        Item::from_slices(&public[1..], b"a", &proof),
        Item::from_slices(&public, b"a", &proof[1..]),
        Item::from_slices(&public, b"a", &proof),
    ];
    let verdicts = verify_many_of(Suite::Ell2, items).unwrap();
    assert_eq!(verdicts[0], verdicts[3]);
    assert_eq!(verdicts[0], proof_to_hash(&proof));
    assert!(matches!(&verdicts[1], Err(Error::Input(text)) if text.contains("31 bytes, exactly 32")));
    assert!(matches!(&verdicts[2], Err(Error::Input(text)) if text.contains("79 bytes, exactly 80 or 128")));
}

#[test]
fn parts_of_small_order_change_neither_verdict_nor_output() {
    let seed = [5; 32];
    let (key, expanded) = (SecretKey::from_seed(&seed), <[u8; 64]>::from(Sha512::digest(seed)));
    let (mut low, public) = ([0; 32], key.public());
    low.copy_from_slice(&expanded[..32]);
    let (x, nonce) = (Scalar::from_bytes_mod_order(clamp_integer(low)), Scalar::from(5u8));
    for suite in [Suite::Ell2, Suite::Tai] {
        let honest = output(suite, Proof::Compact(&key.prove_in(suite, b"a").unwrap()));
        let h = suite.encode_to_curve(&public, b"a").unwrap();
        let points = [h * x, EdwardsPoint::mul_base(&nonce), h * nonce];
        let mut proofs = Vec::new();
        for parts in [[1, 0, 0], [0, 1, 0], [0, 0, 1], [4, 2, 6], [1, 3, 5], [7, 7, 7]] {
            let mut proof = [0; BATCHABLE_LEN];
            for ((place, point), part) in proof.chunks_exact_mut(32).zip(points).zip(parts) {
                place.copy_from_slice((point + EIGHT_TORSION[part]).compress().as_bytes());
            }
            let encoded = |at: usize| proof[32 * at..32 * at + 32].try_into().unwrap();
            let c = proof::challenge(suite, &public, &h.compress().0, &encoded(0), &encoded(1), &encoded(2));
            let s = nonce + proof::challenge_scalar(&c) * x;
            proof[96..].copy_from_slice(s.as_bytes());
            assert_eq!(verify_in(suite, &public, b"a", Proof::Batchable(&proof)), honest);
            assert_eq!(
                to_compact(suite, &public, b"a", &proof).is_ok(),
                parts[1..] == [0, 0] && c[0].trailing_zeros() >= 3
            );
            proofs.push(proof);
        }
        let items: Vec<Item<'_>> =
            (0..30).map(|at| Item { public: &public, alpha: b"a", proof: Proof::Batchable(&proofs[at % 6]) }).collect();
        assert!(verify_many(suite, &items).unwrap().iter().all(|verdict| *verdict == honest));
    }
}

#[test]
fn a_gamma_or_v_of_the_holders_own_choice_is_found() {
    // The holder knows x, so that U's equation holds whatever Γ and V are: V's alone stands against a chosen output.
    let seed = [6; 32];
    let (key, expanded) = (SecretKey::from_seed(&seed), <[u8; 64]>::from(Sha512::digest(seed)));
    let (mut low, public) = ([0; 32], key.public());
    low.copy_from_slice(&expanded[..32]);
    let (x, nonce) = (Scalar::from_bytes_mod_order(clamp_integer(low)), Scalar::from(9u8));
    let h = Suite::Ell2.encode_to_curve(&public, b"a").unwrap();
    let mut proofs = Vec::new();
    for (gamma, v) in [(h * x, h * nonce), (h * (x + Scalar::ONE), h * nonce), (h * x, h * nonce + h), (h, h)] {
        let points = [gamma, EdwardsPoint::mul_base(&nonce), v].map(|point| point.compress().0);
        let c = proof::challenge(Suite::Ell2, &public, &h.compress().0, &points[0], &points[1], &points[2]);
        let s = nonce + proof::challenge_scalar(&c) * x;
        let short = [&points[0][..], &c, s.as_bytes()].concat();
        let long = [&points[0][..], &points[1], &points[2], s.as_bytes()].concat();
        proofs.push((public, short, long));
    }
    for (at, (public, short, long)) in proofs.iter().enumerate() {
        for proof in [short, long] {
            let verdict = verify_in(Suite::Ell2, public, b"a", Proof::from_slice(proof).unwrap());
            assert_eq!(verdict.is_ok(), at == 0);
        }
    }
    let forged: Vec<&Vec<u8>> = proofs.iter().map(|(_, _, long)| long).collect();
    let items: Vec<Item<'_>> = (0..20)
        .map(|at| Item {
            public: &public,
            alpha: b"a",
            proof: Proof::from_slice(forged[if at % 5 == 2 { at % 4 } else { 0 }]).unwrap(),
        })
        .collect();
    for (at, verdict) in verify_many(Suite::Ell2, &items).unwrap().iter().enumerate() {
        assert_eq!(verdict.is_ok(), at % 5 != 2 || at % 4 == 0);
    }
}

/// Whoever adds up both equations of a proof under one coefficient is shown any Γ for anybody's key.
#[test]
fn two_wrongs_of_one_proof_that_cancel_are_found() {
    let (honest, nonce) = (SecretKey::from_seed(&[7; 32]), Scalar::from(9u8));
    let public = honest.public();
    let y = CompressedEdwardsY(public).decompress().unwrap();
    for suite in [Suite::Ell2, Suite::Tai] {
        let h = suite.encode_to_curve(&public, b"a").unwrap();
        let forged: Vec<[u8; BATCHABLE_LEN]> = (1u8..=8)
            .map(|chosen| {
                let chosen = Scalar::from(chosen);
                // Γ + Y and U + V are multiples of B + H that are known, so that s fits the sum of both equations.
                let gamma = (EdwardsPoint::mul_base(&chosen) + h * chosen) - y;
                let points = [gamma, EdwardsPoint::mul_base(&nonce), h * nonce].map(|point| point.compress().0);
                let c = proof::challenge(suite, &public, &h.compress().0, &points[0], &points[1], &points[2]);
                let s = nonce + proof::challenge_scalar(&c) * chosen;
                [points[0], points[1], points[2], s.to_bytes()].concat().try_into().unwrap()
            })
            .collect();
        let good = honest.prove_batchable(suite, b"a").unwrap();
        for share in [1, 3, 8] {
            let items: Vec<Item<'_>> = (0..16)
                .map(|at| if at % 8 < share { &forged[at % 8] } else { &good })
                .map(|proof| Item { public: &public, alpha: b"a", proof: Proof::Batchable(proof) })
                .collect();
            for (at, verdict) in verify_many(suite, &items).unwrap().iter().enumerate() {
                assert_eq!(verdict.is_ok(), at % 8 >= share, "{at} of {share} in 8");
                assert_eq!(verify_in(suite, &public, b"a", items[at].proof).is_ok(), at % 8 >= share);
            }
        }
    }
}

#[test]
fn the_forms_convert_into_each_other() {
    let key = SecretKey::from_seed(&[4; 32]);
    let public = key.public();
    for suite in [Suite::Ell2, Suite::Tai] {
        let (short, long) = (key.prove_in(suite, b"a").unwrap(), key.prove_batchable(suite, b"a").unwrap());
        assert_eq!(to_batchable(suite, &public, b"a", &short), Ok(long));
        assert_eq!(to_compact(suite, &public, b"a", &long), Ok(short));
        assert!(to_batchable(suite, &public, b"b", &short).is_err());
        assert!(to_compact(suite, &public, b"b", &long).is_err());
    }
    assert_eq!(key.prove_in(Suite::Ell2, b"a").unwrap(), key.prove(b"a"));
}

#[test]
fn every_flipped_bit_of_a_long_proof_is_refused() {
    let secret = SecretKey::from_seed(&[3; 32]);
    for suite in [Suite::Ell2, Suite::Tai] {
        let proof = secret.prove_batchable(suite, b"input").unwrap();
        for bit in 0..BATCHABLE_LEN * 8 {
            let mut wrong = proof;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_in(suite, &secret.public(), b"input", Proof::Batchable(&wrong)).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_batch_of_more_than_a_window_keeps_its_order() {
    let key = SecretKey::from_seed(&[1; 32]);
    let (public, wrong) = (key.public(), [0xff; 32]);
    let proof = key.prove_batchable(Suite::Ell2, b"a").unwrap();
    let items: Vec<Item<'_>> = (0..4100)
        .map(|at| Item {
            public: if at % 64 == 1 || at > 4096 { &public } else { &wrong },
            alpha: if at == 4097 { b"b" } else { b"a" },
            proof: Proof::Batchable(&proof),
        })
        .collect();
    let verdicts = verify_many(Suite::Ell2, &items).unwrap();
    assert_eq!(verdicts.len(), 4100);
    for (at, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.is_ok(), (at % 64 == 1 || at > 4096) && at != 4097, "{at}");
    }
}

#[test]
fn a_key_that_goes_is_wiped() {
    let mut key = std::mem::ManuallyDrop::new(SecretKey::from_seed(&[7; 32]));
    let place: *mut SecretKey = &mut *key;
    // SAFETY: `place` points to a live key that nothing else drops; it is dropped once, and never used as a key after.
    unsafe { std::ptr::drop_in_place(place) };
    let size = size_of::<SecretKey>();
    // SAFETY: the key's own memory, of `size` bytes without padding (arrays of bytes alone), still holds what drop left.
    let left = unsafe { std::slice::from_raw_parts(place.cast::<u8>(), size) };
    assert_eq!(size, 96);
    // Two of the three fields are secret; all that may be left is the public key.
    assert_eq!(left.iter().filter(|byte| **byte != 0).count(), 32 - key_zeros());
}

/// How many bytes of the public key in `a_key_that_goes_is_wiped` are zero by themselves.
fn key_zeros() -> usize {
    SecretKey::from_seed(&[7; 32]).public().iter().filter(|byte| **byte == 0).count()
}

#[test]
fn suites_have_names() {
    assert_eq!(Suite::named("ell2"), Ok(Suite::default()));
    assert_eq!(Suite::named("tai"), Ok(Suite::Tai));
    assert!(Suite::named("TAI").is_err());
}

#[test]
fn every_flipped_bit_is_refused() {
    let secret = SecretKey::from_seed(&[3; 32]);
    let (public, proof) = (secret.public(), secret.prove(b"input"));
    for bit in 0..PROOF_LEN * 8 {
        let mut wrong = proof;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&public, b"input", &wrong).is_err(), "bit {bit} of the proof");
    }
    for bit in 0..256 {
        let mut wrong = public;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&wrong, b"input", &proof).is_err(), "bit {bit} of the key");
    }
    assert!(verify(&public, b"inpuu", &proof).is_err());
}

#[test]
fn malleated_and_degenerate_values_are_refused() {
    let secret = SecretKey::from_seed(&[3; 32]);
    let mut proof = secret.prove(b"input");
    // s + L, the same number modulo the order.
    let order = num_bigint::BigUint::from(1u8) << 252u32;
    let order = order + num_bigint::BigUint::parse_bytes(b"27742317777372353535851937790883648493", 10).unwrap();
    let mut s = (num_bigint::BigUint::from_bytes_le(&proof[48..]) + order).to_bytes_le();
    s.resize(32, 0);
    proof[48..].copy_from_slice(&s);
    assert!(verify(&secret.public(), b"input", &proof).unwrap_err().to_string().contains("below"));
    assert!(proof_to_hash(&proof).is_err());
    for torsion in EIGHT_TORSION {
        let message = verify(&torsion.compress().0, b"input", &secret.prove(b"input")).unwrap_err().to_string();
        assert!(message.contains("small order"), "{message}");
    }
}

proptest! {
    #[test]
    fn proofs_verify_and_outputs_depend_on_everything(seed: [u8; 32], other: [u8; 32], input: Vec<u8>, sequence: u64) {
        let secret = SecretKey::from_seed(&seed);
        let proof = secret.prove(&input);
        let beta = verify(&secret.public(), &input, &proof).unwrap();
        prop_assert_eq!(proof, secret.prove(&input));
        if seed != other {
            let foreign = SecretKey::from_seed(&other);
            prop_assert!(verify(&foreign.public(), &input, &proof).is_err());
            prop_assert_ne!(proof_to_hash(&foreign.prove(&input)).unwrap(), beta);
            prop_assert_ne!(transaction_seed(&beta, &seed, sequence), transaction_seed(&beta, &other, sequence));
        }
        prop_assert_ne!(transaction_seed(&beta, &seed, sequence), transaction_seed(&beta, &seed, sequence.wrapping_add(1)));
    }
}
