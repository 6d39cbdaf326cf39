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

#[test]
fn official_file_has_the_same_examples() {
    let Ok(folder) = std::env::var("CITY_CHAIN_VECTORS") else {
        eprintln!("skipped: CITY_CHAIN_VECTORS is not set");
        return;
    };
    let text = std::fs::read_to_string(format!("{folder}/rfc9381_ecvrf_edwards25519.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<_> = file["cases"].as_array().unwrap().iter().filter(|case| case["suite_string"] == "04").collect();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap().to_owned();
        let secret = SecretKey::from_seed(&bytes(&text("sk")));
        let alpha = hex::decode(text("alpha")).unwrap();
        assert_eq!(hex::encode(encode_to_curve(&secret.public(), &alpha).compress().0), text("h"));
        assert_eq!(hex::encode(secret.prove(&alpha)), text("pi"));
        assert_eq!(hex::encode(verify(&secret.public(), &alpha, &bytes(&text("pi"))).unwrap()), text("beta"));
    }
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
    for torsion in curve25519_dalek::constants::EIGHT_TORSION {
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
