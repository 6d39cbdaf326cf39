//! Tests of key files.

use proptest::prelude::*;

use super::*;

/// The cheapest that is allowed.
const CHEAP: Cost = Cost { memory_kib: 8 << 10, passes: 1, lanes: 1 };

fn encrypted(kind: &str) -> KeyFile {
    KeyFile::generate(kind, Some(b"correct horse"), &CHEAP).unwrap()
}

fn plain(kind: &str) -> KeyFile {
    KeyFile::generate(kind, None, &CHEAP).unwrap()
}

fn seed_of(file: &KeyFile, passphrase: Option<&[u8]>) -> Vec<u8> {
    match file.unlock(passphrase).unwrap() {
        Unlocked::Kem(key) => key.to_bytes()[2..].to_vec(),
        Unlocked::Signing(key) => key.to_bytes()[2..].to_vec(),
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut wrong = bytes.to_vec();
    wrong[bit / 8] ^= 1 << (bit % 8);
    wrong
}

/// Bits to flip: all outside the public key, and of that every 29th, for reading one takes long in a debug build.
fn bits(bytes: &[u8], public_at: usize, public_len: usize) -> impl Iterator<Item = usize> {
    let public = 8 * (public_at + 8)..8 * (public_at + public_len);
    (0..8 * bytes.len()).filter(move |bit| !public.contains(bit) || bit % 29 == 0)
}

fn holds(bytes: &[u8], run: &[u8]) -> bool {
    bytes.windows(run.len()).any(|part| part == run)
}

#[test]
fn every_kind_comes_back_from_its_file() {
    for (name, _, public) in KINDS {
        for (file, passphrase) in [(plain(name), None), (encrypted(name), Some(&b"correct horse"[..]))] {
            let bytes = file.to_bytes().unwrap();
            let again: KeyFile = wire::decode(&bytes).unwrap();
            assert!(again == file, "{name}");
            assert_eq!(again.to_bytes().unwrap(), bytes);
            assert_eq!((again.public().kind(), again.cost().is_some()), (name, passphrase.is_some()));
            assert_eq!(Kind::of(again.public().as_bytes()), Some(public));
            assert_eq!(again.unlock(passphrase).unwrap().public(), again.public().as_bytes());
            assert_eq!(again.unlock_kem(passphrase).is_ok(), !name.starts_with("ml-dsa"), "{name}");
            assert_eq!(again.unlock_signing(passphrase).is_ok(), name.starts_with("ml-dsa"), "{name}");
            let alone = wire::encode(again.public()).unwrap();
            assert_eq!(wire::decode::<PublicKeyFile>(&alone).unwrap(), *again.public());
        }
    }
}

#[test]
fn two_keys_of_one_passphrase_have_nothing_in_common() {
    let (one, two) = (encrypted("x-wing"), encrypted("x-wing"));
    assert_ne!(one.public(), two.public());
    let (Protection::Argon2id { salt: a, sealed: b, .. }, Protection::Argon2id { salt: c, sealed: d, .. }) =
        (&one.protection, &two.protection)
    else {
        panic!("both are encrypted");
    };
    assert!(a != c && b != d);
}

#[test]
fn the_secret_stands_in_a_plain_file_alone() {
    for (name, ..) in KINDS {
        let (open, closed) = (plain(name), encrypted(name));
        let seed = seed_of(&open, None);
        assert!(holds(&open.to_bytes().unwrap(), &seed), "{name}");
        assert!(!holds(&wire::encode(open.public()).unwrap(), &seed), "{name}");
        let seed = seed_of(&closed, Some(b"correct horse"));
        assert!(closed.to_bytes().unwrap().windows(8).all(|run| run != &seed[..8]), "{name}");
        for shown in [format!("{open:?}"), format!("{closed:?}")] {
            assert!(shown.contains(name) && shown.len() < 60, "{shown}");
        }
    }
}

#[test]
fn a_wrong_passphrase_and_a_changed_file_are_told_alike() {
    let file = encrypted("x-wing");
    let bytes = file.to_bytes().unwrap();
    let message = |file: &KeyFile, passphrase: &[u8]| match file.unlock(Some(passphrase)) {
        Err(Error::Verification(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opened"),
    };
    let wrong = message(&file, b"correct horsf");
    assert_eq!(wrong, "key file: wrong passphrase, or the file was changed");
    assert_eq!(message(&file, b"correct horse\0"), wrong);
    let changed: KeyFile = wire::decode(&flipped(&bytes, 8 * bytes.len() - 3)).unwrap();
    assert_eq!(message(&changed, b"correct horse"), wrong);
}

#[test]
fn what_is_needed_is_said() {
    let (closed, open) = (encrypted("ml-dsa-65"), plain("x-wing"));
    for (error, word) in [
        (closed.unlock(None).err(), "it is encrypted"),
        (closed.unlock(Some(b"")).err(), "0 bytes"),
        (closed.unlock(Some(&[7; 1025])).err(), "1 to 1024"),
        (closed.unlock_kem(Some(b"correct horse")).err(), "ml-dsa-65 and signs"),
        (closed.unlock_kem(None).err(), "ml-dsa-65 and signs"),
        (open.unlock(Some(b"x")).err(), "not encrypted"),
        (open.unlock_signing(None).err(), "x-wing and opens"),
        (KeyFile::generate("rsa", None, &CHEAP).err(), "no kind \"rsa\"; x-wing, sntrup761-x25519, ml-dsa-44"),
        (KeyFile::generate("x-wing", Some(b""), &CHEAP).err(), "0 bytes"),
    ] {
        let message = error.unwrap().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn costs_are_bounded_before_anything_is_done() {
    let bytes = encrypted("x-wing").to_bytes().unwrap();
    let at = bytes.len() - SECRET_LEN - dem::TAG_LEN - SALT_LEN - 12;
    for (field, value, word) in [
        (0, 0, "memory_kib is 0"),
        (0, (8 << 10) - 1, "8192 to 1048576"),
        (0, (1 << 20) + 1, "memory_kib is 1048577"),
        (0, u32::MAX, "memory_kib is 4294967295"),
        (1, 0, "passes is 0"),
        (1, 17, "1 to 16"),
        (1, u32::MAX, "passes"),
        (2, 0, "lanes is 0"),
        (2, 5, "1 to 4"),
    ] {
        let mut wrong = bytes.to_vec();
        wrong[at + 4 * field..][..4].copy_from_slice(&u32::to_le_bytes(value));
        let message = wire::decode::<KeyFile>(&wrong).err().unwrap().to_string();
        assert!(message.contains(word), "{message}");
        let mut cost = [CHEAP.memory_kib, CHEAP.passes, CHEAP.lanes];
        cost[field] = value;
        let cost = Cost { memory_kib: cost[0], passes: cost[1], lanes: cost[2] };
        assert!(KeyFile::generate("x-wing", Some(b"x"), &cost).is_err());
        assert!(cost.stretch(b"x", &[0; SALT_LEN]).is_err());
    }
}

#[test]
fn every_bit_of_an_encrypted_file_counts() {
    let file = encrypted("x-wing");
    let Protection::Argon2id { cost, salt, .. } = &file.protection else { panic!("it is encrypted") };
    let key = cost.stretch(b"correct horse", salt).unwrap(); // the right key, whatever became of cost and salt
    let bytes = file.to_bytes().unwrap();
    let mut read = 0;
    for bit in bits(&bytes, 10, file.public.as_bytes().len()) {
        let Ok(changed) = wire::decode::<KeyFile>(&flipped(&bytes, bit)) else { continue };
        read += 1;
        let Protection::Argon2id { cost, salt, sealed } = &changed.protection else { panic!("bit {bit}") };
        assert!(open(&changed.public, cost, salt, sealed, &key).is_err(), "bit {bit}");
    }
    assert!(read >= 8 * (SALT_LEN + SECRET_LEN + dem::TAG_LEN), "salt and sealed secret are read as they are");
    let Protection::Argon2id { cost, salt, sealed } = &file.protection else { panic!("it is encrypted") };
    assert!(open(&file.public, cost, salt, sealed, &key).is_ok());
}

#[test]
fn every_bit_of_a_plain_file_counts() {
    for name in ["x-wing", "ml-dsa-44"] {
        let file = plain(name);
        let bytes = file.to_bytes().unwrap();
        for bit in bits(&bytes, 10, file.public.as_bytes().len()) {
            if let Ok(changed) = wire::decode::<KeyFile>(&flipped(&bytes, bit)) {
                assert!(changed.unlock(None).is_err(), "{name}: bit {bit}");
            }
        }
    }
}

#[test]
fn every_bit_of_a_public_key_counts() {
    for (name, ..) in KINDS {
        let public = plain(name).public;
        let bytes = wire::encode(&public).unwrap();
        for bit in bits(&bytes, 10, public.as_bytes().len()) {
            assert!(wire::decode::<PublicKeyFile>(&flipped(&bytes, bit)).is_err(), "{name}: bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for file in [encrypted("x-wing"), plain("x-wing")] {
        let bytes = file.to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(wire::decode::<KeyFile>(&bytes[..end]).is_err(), "cut to {end}");
        }
        assert!(wire::decode::<KeyFile>(&[&bytes[..], &[0]].concat()).is_err());
        assert!(wire::decode::<PublicKeyFile>(&bytes).is_err());
    }
}

#[test]
fn parts_of_two_files_do_not_go_together() {
    let (one, two) = (encrypted("x-wing"), encrypted("x-wing"));
    let mixed = KeyFile { public: two.public.clone(), protection: one.protection };
    assert!(matches!(mixed.unlock(Some(b"correct horse")), Err(Error::Verification(_))));
    let (one, two) = (plain("x-wing"), plain("x-wing"));
    let mixed = KeyFile { public: two.public.clone(), protection: one.protection };
    let message = mixed.unlock(None).err().unwrap().to_string();
    assert!(message.contains("not that of its public key"), "{message}");
    let (one, two) = (plain("x-wing"), plain("ml-dsa-44"));
    let mixed = KeyFile { public: two.public.clone(), protection: one.protection };
    let message = wire::encode(&mixed).err().unwrap().to_string();
    assert!(message.contains("it is an X-Wing secret key, an ML-DSA-44 secret key is needed"), "{message}");
}

#[test]
fn other_keys_have_no_file() {
    for (bytes, word) in [
        (typed::encode(Kind::BlsPublic, &[1; 96]), "a BLS public key, which has no file"),
        (typed::encode(Kind::XWingSecret, &[1; 32]), "an X-Wing secret key, which has no file"),
        (typed::encode(Kind::XWingPublic, &[1; 32]), "has 1218"),
        (b"??".to_vec(), "its type is not known"),
        (Vec::new(), "its type is not known"),
    ] {
        let message = PublicKeyFile::new(&bytes).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn passphrases_are_stretched_as_elsewhere() {
    // Made by OpenSSL's Argon2id, through the package `cryptography`.
    for (passes, lanes, expected) in [
        (1, 1, "48a8ff67729798aa831cd9b00e904976c3d20b1e2e023e1daa887f0ba442da07"),
        (2, 4, "d62c484a439c34ccaa58aea7380b2817a076727f6f4e307536086f43196d8642"),
    ] {
        let cost = Cost { memory_kib: 8192, passes, lanes };
        assert_eq!(hex::encode(*cost.stretch(b"correct horse", &[3; SALT_LEN]).unwrap()), expected);
    }
}

#[test]
fn what_stands_where() {
    let public = plain("x-wing").public;
    let parts = |end: Vec<u8>| {
        let typed = public.as_bytes();
        [b"CCkf\x01\0", &(typed.len() as u32).to_le_bytes()[..], typed, &public.id(), &end].concat()
    };
    let secret = typed::encode(Kind::XWingSecret, &[5; 32]);
    let file =
        KeyFile { public: public.clone(), protection: Protection::Plain(Secret(Zeroizing::new(secret.clone()))) };
    assert_eq!(*file.to_bytes().unwrap(), parts([&[0], &secret[..]].concat()));

    let (cost, salt) = (Cost { memory_kib: 0x4321, passes: 2, lanes: 4 }, [6; SALT_LEN]);
    let before = parts(b"\x21\x43\0\0\x02\0\0\0\x04\0\0\0".iter().chain(&salt).copied().collect());
    assert_eq!(associated(&public, &cost, &salt).unwrap(), before);
    let sealed = dem::seal(&[7; 32], &before, &secret);
    let protection = Protection::Argon2id { cost, salt, sealed: Secret(Zeroizing::new(sealed.clone())) };
    let file = KeyFile { public: public.clone(), protection };
    let costs = b"\x01\x21\x43\0\0\x02\0\0\0\x04\0\0\0";
    assert_eq!(*file.to_bytes().unwrap(), parts([&costs[..], &salt, &sealed].concat()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_read_is_what_would_be_written(
        at in 0..1500usize, with in proptest::collection::vec(any::<u8>(), 0..40), cut in 0..40usize,
    ) {
        let mut bytes = plain("x-wing").to_bytes().unwrap().to_vec();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(read) = wire::decode::<KeyFile>(&bytes) {
            prop_assert_eq!(read.to_bytes().unwrap().to_vec(), bytes);
        }
    }

    #[test]
    fn any_passphrase_opens_what_it_closed(passphrase in proptest::collection::vec(any::<u8>(), 1..64)) {
        let salt = [3; SALT_LEN];
        let public = plain("x-wing").public;
        let secret = typed::encode(Kind::XWingSecret, &[5; 32]);
        let key = CHEAP.stretch(&passphrase, &salt).unwrap();
        let sealed = dem::seal(&key, &associated(&public, &CHEAP, &salt).unwrap(), &secret);
        let opened = open(&public, &CHEAP, &salt, &Secret(Zeroizing::new(sealed)), &key).unwrap();
        prop_assert_eq!(&*opened, &secret);
    }
}
