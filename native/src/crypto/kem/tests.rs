//! What the suites promise, and what they refuse.

use proptest::prelude::*;

use super::*;

const SUITES: [Suite; 2] = [Suite::XWing, Suite::Sntrup761X25519];

fn key(suite: Suite) -> SecretKey {
    SecretKey::from_seed(suite, &[7; 32]).unwrap()
}

fn refused<T: fmt::Debug>(outcome: Result<T>, word: &str) {
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains(word), "{message}");
}

#[test]
fn both_ends_have_the_secret() {
    for suite in SUITES {
        let secret = SecretKey::generate(suite).unwrap();
        let public = PublicKey::from_bytes(secret.public().as_bytes()).unwrap();
        assert_eq!((public.suite(), secret.suite(), Suite::named(suite.name()).unwrap()), (suite, suite, suite));
        assert_eq!(public.as_bytes().len(), public_len(suite));
        let (one, sent) = public.encapsulate().unwrap();
        let (two, other) = public.encapsulate().unwrap();
        assert_eq!((one.len(), two.len()), (ciphertext_len(suite), ciphertext_len(suite)));
        assert!(one != two && sent != other);
        assert_eq!(secret.decapsulate(&one).unwrap(), sent);
        let again = SecretKey::from_bytes(&secret.to_bytes()).unwrap();
        assert_eq!(again.public(), public);
        assert_eq!(again.decapsulate(&two).unwrap(), other);
    }
    assert_eq!(public_len(Suite::XWing) - 2, 1216);
    assert_eq!(ciphertext_len(Suite::XWing), 1120);
    assert_eq!((public_len(Suite::Sntrup761X25519), ciphertext_len(Suite::Sntrup761X25519)), (1192, 1071));
}

#[test]
fn a_seed_is_one_key_and_generated_keys_differ() {
    for suite in SUITES {
        assert_eq!(key(suite).public().id(), key(suite).public().id());
        assert_ne!(SecretKey::generate(suite).unwrap().public(), SecretKey::generate(suite).unwrap().public());
    }
    assert_ne!(key(Suite::XWing).public().id(), key(Suite::Sntrup761X25519).public().id());
}

#[test]
fn every_changed_ciphertext_gives_another_secret() {
    for suite in SUITES {
        let secret = key(suite);
        let (ciphertext, sent) = secret.public().encapsulate().unwrap();
        // Some bytes of the lattice half, and all of the other.
        let places = (0..ciphertext.len() - 32).step_by(61).chain(ciphertext.len() - 32..ciphertext.len());
        for at in places {
            for bit in [0, 7] {
                let mut wrong = ciphertext.clone();
                wrong[at] ^= 1 << bit;
                assert_ne!(secret.decapsulate(&wrong).unwrap(), sent, "byte {at}, bit {bit}");
                assert_eq!(secret.decapsulate(&wrong).unwrap(), secret.decapsulate(&wrong).unwrap());
            }
        }
        let stranger = SecretKey::from_seed(suite, &[8; 32]).unwrap();
        assert_ne!(stranger.decapsulate(&ciphertext).unwrap(), sent);
    }
}

#[test]
fn wrong_lengths_and_kinds_are_refused() {
    for (suite, other) in [(SUITES[0], SUITES[1]), (SUITES[1], SUITES[0])] {
        let secret = key(suite);
        let public = secret.public();
        let (ciphertext, _) = public.encapsulate().unwrap();
        for wrong in [&ciphertext[1..], &[], &[&ciphertext[..], &[0]].concat()] {
            refused(secret.decapsulate(wrong), suite.name());
        }
        refused(key(other).decapsulate(&ciphertext), "a ciphertext of");
        for at in [0, 1, 2, 3, public.as_bytes().len() - 1] {
            assert!(PublicKey::from_bytes(&public.as_bytes()[..at]).is_err());
        }
        assert!(PublicKey::from_bytes(&[public.as_bytes(), &[0]].concat()).is_err());
        let mut swapped = public.as_bytes().to_vec();
        swapped[..2].copy_from_slice(&other.public_kind().prefix());
        refused(PublicKey::from_bytes(&swapped), "bytes");
        refused(PublicKey::from_bytes(&secret.to_bytes()), "secret key, ");
        refused(SecretKey::from_bytes(public.as_bytes()), "public key, ");
        refused(SecretKey::from_bytes(&secret.to_bytes()[..33]), "33 bytes");
        refused(SecretKey::from_bytes(&[]), "not known");
    }
    for name in ["", "xwing", "X-Wing", "sntrup761", "ntru", "ml-kem-768", "kyber"] {
        refused(Suite::named(name), "is needed");
    }
}

#[test]
fn a_lattice_key_that_is_not_canonical_is_refused() {
    let good = key(Suite::XWing).public().as_bytes().to_vec();
    // Coefficients have 12 bits, two in three bytes: the first and the last of the 768, each set to q and above.
    for value in [3329_u16, 3330, 4095] {
        let mut wrong = good.clone();
        wrong[2] = value.to_le_bytes()[0];
        wrong[3] = wrong[3] & 0xf0 | value.to_le_bytes()[1];
        refused(PublicKey::from_bytes(&wrong), "3329 or more");
        let mut wrong = good.clone();
        wrong[2 + 1150] = wrong[2 + 1150] & 0x0f | (value << 4).to_le_bytes()[0];
        wrong[2 + 1151] = (value >> 4).to_le_bytes()[0];
        refused(PublicKey::from_bytes(&wrong), "3329 or more");
    }
    let mut largest = good;
    largest[2] = 0x00;
    largest[3] = largest[3] & 0xf0 | 0x0d; // 3328
    assert!(PublicKey::from_bytes(&largest).is_ok());
}

#[test]
fn curve_keys_of_small_order_or_two_encodings_are_refused() {
    for suite in SUITES {
        let secret = key(suite);
        let public = secret.public().as_bytes().to_vec();
        let curve = public.len() - 32;
        let with = |u: [u8; 32]| PublicKey::from_bytes(&[&public[..curve], &u].concat());
        for u in x25519::SMALL_ORDER {
            refused(with(u), "small order");
            // So that the table holds nothing else, and nothing is left out: see the vectors.
            let one = x25519_dalek::StaticSecret::from([1; 32]).diffie_hellman(&u.into());
            assert!(!one.was_contributory());
            let (ciphertext, _) = secret.public().encapsulate().unwrap();
            let half = ciphertext.len() - 32;
            refused(secret.decapsulate(&[&ciphertext[..half], &u].concat()), "small order");
            let mut high = u;
            high[31] |= 0x80;
            refused(secret.decapsulate(&[&ciphertext[..half], &high].concat()), "small order");
            refused(with(high), "not below");
        }
        refused(with([0xff; 32]), "not below");
        let mut prime = [0xff; 32];
        (prime[0], prime[31]) = (0xed, 0x7f);
        refused(with(prime), "not below");
        prime[0] = 0xeb; // two below it: a point as good as any
        assert!(with(prime).is_ok());
    }
}

#[test]
fn the_hybrid_binds_keys_and_ciphertexts() {
    // By hand, from the crates alone.
    let seed = [9; 32];
    let secret = SecretKey::from_seed(Suite::Sntrup761X25519, &seed).unwrap();
    let public = secret.public();
    let (ciphertext, sent) = public.encapsulate().unwrap();
    let Secret::Sntrup(inner) = &secret.inner else { panic!("another suite") };
    let (lattice, curve) = ciphertext.split_at(1039);
    let one = inner.lattice().decapsulate(&sntrup_crate(lattice));
    let own = blake3::derive_key("city-chain v1 kem sntrup761-x25519 curve key", &seed);
    let curve: [u8; 32] = curve.try_into().unwrap();
    let two = x25519_dalek::x25519(own, curve);
    let all = [one.as_ref(), &two, &ciphertext, &public.as_bytes()[2..]].concat();
    assert_eq!(all.len(), 32 + 32 + 1071 + 1190);
    assert_eq!(blake3::derive_key("city-chain v1 kem sntrup761-x25519 secret", &all), *sent);
    assert_eq!(public.as_bytes()[1160..], x25519_dalek::x25519(own, x25519_dalek::X25519_BASEPOINT_BYTES));
}

fn sntrup_crate(bytes: &[u8]) -> ::sntrup::Ciphertext<::sntrup::Sntrup761Params> {
    bytes.try_into().unwrap()
}

#[test]
fn nothing_secret_is_shown() {
    for suite in SUITES {
        let secret = SecretKey::from_seed(suite, &[0xab; 32]).unwrap();
        let shown = format!("{secret:?} {:?}", secret.public());
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
        assert!(shown.contains(&hash::hex(&secret.public().id())) && shown.contains(suite.name()), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_seed_serves(seed: [u8; 32], xwing: bool) {
        let suite = SUITES[usize::from(xwing)];
        let secret = SecretKey::from_seed(suite, &seed).unwrap();
        let (ciphertext, sent) = secret.public().encapsulate().unwrap();
        prop_assert_eq!(secret.decapsulate(&ciphertext).unwrap(), sent);
        prop_assert_eq!(&secret.to_bytes()[2..], &seed[..]);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1300), kind in 0..5_usize) {
        let kinds = [Kind::XWingPublic, Kind::SntrupPublic, Kind::XWingSecret, Kind::SntrupSecret, Kind::BlsPublic];
        let typed = typed::encode(kinds[kind], &bytes);
        let _ = PublicKey::from_bytes(&typed).map(|key| key.encapsulate().unwrap());
        let _ = SecretKey::from_bytes(&typed);
        let _ = PublicKey::from_bytes(&bytes);
    }

    #[test]
    fn hostile_keys_of_the_right_length_serve_or_are_refused(seed: [u8; 32], xwing: bool) {
        let suite = SUITES[usize::from(xwing)];
        let mut bytes = vec![0; public_len(suite)];
        blake3::Hasher::new().update(&seed).finalize_xof().fill(&mut bytes);
        bytes[..2].copy_from_slice(&suite.public_kind().prefix());
        if let Ok(key) = PublicKey::from_bytes(&bytes) {
            key.encapsulate().unwrap();
        }
        let secret = key(suite);
        let mut ciphertext = vec![0; ciphertext_len(suite)];
        blake3::Hasher::new().update(&seed).update(b"c").finalize_xof().fill(&mut ciphertext);
        prop_assert!(secret.decapsulate(&ciphertext).is_ok());
    }
}
