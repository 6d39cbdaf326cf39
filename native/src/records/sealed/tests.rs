use proptest::prelude::*;

use super::*;
use crate::algorithms::tes::group::Group;
use crate::algorithms::tes::polynomial::Polynomial;
use crate::algorithms::tes::ristretto::Ristretto;
use crate::algorithms::tes::share::{GroupKey, SecretShare, Tdh2Keys};
use crate::records::identity::Identity;

const ORIGIN: Origin = Origin { network: [1; 32], sender: [2; 32], sequence: 3 };
const PLAIN: &[u8] = b"sixteen bytes and some more, which nobody reads";

/// The delegates of a city: its public key, and what each of them has.
struct Delegates {
    public: tdh2::PublicKey,
    secret: Vec<SecretShare>,
    shares: Vec<Vec<u8>>,
}

impl Delegates {
    fn new(threshold: u16, count: u16) -> Self {
        let polynomial = Polynomial::<Ristretto>::random(threshold).unwrap();
        let public = GroupKey::<Tdh2Keys>::new(Ristretto::mul_base(polynomial.constant())).unwrap().into();
        let secret: Vec<SecretShare> =
            (1..=count).map(|at| SecretShare::new::<Tdh2Keys>(at, &polynomial.evaluate(at)).unwrap()).collect();
        let shares = secret.iter().map(|share| share.public::<Tdh2Keys>().unwrap().to_bytes()).collect();
        Self { public, secret, shares }
    }

    fn decrypt(&self, capsule: &[u8], label: &Digest) -> Vec<Vec<u8>> {
        self.secret
            .iter()
            .filter_map(|secret| tdh2::decrypt_share(secret, &self.public, label, capsule).ok())
            .map(|share| share.to_vec())
            .collect()
    }
}

fn readers(suites: &[Suite]) -> (Vec<SecretKey>, Readers) {
    let keys: Vec<SecretKey> = suites.iter().map(|suite| SecretKey::generate(*suite).unwrap()).collect();
    let public: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
    let named = Readers::new(&public.iter().map(PublicKey::as_bytes).collect::<Vec<_>>()).unwrap();
    (keys, named)
}

fn transaction(sequence: u64, payload: Vec<u8>) -> Transaction {
    Transaction::new(&Identity::from_master(&[7; 32]), [1; 32], sequence, 1, payload, None, vec![]).unwrap()
}

/// A transaction with that number that carries `plain`, sealed by `seal`.
fn carrying(sequence: u64, seal: impl Fn(Origin) -> Sealed) -> Transaction {
    let origin = Origin::of(&transaction(sequence, vec![]));
    transaction(sequence, wire::encode(&seal(origin)).unwrap())
}

fn holds_a_run_of(bytes: &[u8], plain: &[u8]) -> bool {
    plain.windows(16).any(|run| bytes.windows(16).any(|found| found == run))
}

#[test]
fn a_threshold_of_delegates_opens_and_one_less_does_not() {
    let city = Delegates::new(3, 4);
    let sealed = Sealed::to_city(&city.public, ORIGIN, PLAIN).unwrap();
    let shares = city.decrypt(sealed.capsule().unwrap().unwrap(), &ORIGIN.label());
    assert_eq!(sealed.combine(&city.public, 3, &city.shares, &shares[1..]).unwrap(), PLAIN);
    let error = sealed.combine(&city.public, 3, &city.shares, &shares[..2]).unwrap_err();
    assert!(matches!(error, Error::Unavailable { needed: 3, had: 2, .. }), "{error}");
    assert!(!holds_a_run_of(&wire::encode(&sealed).unwrap(), PLAIN));
    assert_eq!(sealed.readers(), [[0; 32]; 0]);
}

#[test]
fn wrong_shares_are_told_and_do_no_harm() {
    let city = Delegates::new(2, 4);
    let sealed = Sealed::to_city(&city.public, ORIGIN, PLAIN).unwrap();
    let mut shares = city.decrypt(sealed.capsule().unwrap().unwrap(), &ORIGIN.label());
    let of_another = city
        .decrypt(Sealed::to_city(&city.public, ORIGIN, PLAIN).unwrap().capsule().unwrap().unwrap(), &ORIGIN.label());
    shares[0] = of_another[0].clone();
    let verdicts = sealed.verify_shares(&city.public, &city.shares, &shares).unwrap();
    assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true, true]);
    assert_eq!(sealed.combine(&city.public, 2, &city.shares, &shares).unwrap(), PLAIN);
    let error = sealed.combine(&city.public, 2, &city.shares, &shares[..2]).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[test]
fn no_delegate_gives_a_share_under_another_label() {
    let city = Delegates::new(1, 1);
    let sealed = Sealed::to_city(&city.public, ORIGIN, PLAIN).unwrap();
    let capsule = sealed.capsule().unwrap().unwrap();
    assert_eq!(city.decrypt(capsule, &ORIGIN.label()).len(), 1);
    for other in
        [Origin { network: [9; 32], ..ORIGIN }, Origin { sender: [9; 32], ..ORIGIN }, Origin { sequence: 4, ..ORIGIN }]
    {
        assert!(city.decrypt(capsule, &other.label()).is_empty());
        let copied = Sealed { origin: other, ..sealed.clone() };
        let shares = city.decrypt(capsule, &ORIGIN.label());
        assert!(matches!(copied.combine(&city.public, 1, &city.shares, &shares), Err(Error::Verification(_))));
    }
}

#[test]
fn every_reader_opens_and_nobody_else() {
    let (keys, named) = readers(&[Suite::XWing, Suite::Sntrup761X25519, Suite::XWing]);
    let sealed = Sealed::to_readers(&named, ORIGIN, PLAIN).unwrap();
    for key in &keys {
        assert_eq!(sealed.open(key).unwrap(), PLAIN);
    }
    let stranger = SecretKey::generate(Suite::XWing).unwrap();
    let error = sealed.open(&stranger).unwrap_err();
    assert!(matches!(error, Error::Input(_)), "{error}");
    for key in &keys {
        assert!(error.to_string().contains(&hex(&key.public().id())), "{error}");
    }
    assert!(!holds_a_run_of(&wire::encode(&sealed).unwrap(), PLAIN));
    assert_eq!(sealed.capsule().unwrap(), None);
    assert!(sealed.combine(&Delegates::new(1, 1).public, 1, &[[0u8; 0]; 0], &[[0u8; 0]; 0]).is_err());
}

#[test]
fn two_sealings_share_nothing() {
    let (_, named) = readers(&[Suite::XWing]);
    let body = |sealed: Sealed| match sealed.content {
        Content::Readers { body, .. } => body,
        Content::City { ciphertext } => ciphertext,
    };
    let city = Delegates::new(1, 1);
    let one =
        [Sealed::to_readers(&named, ORIGIN, PLAIN).unwrap(), Sealed::to_city(&city.public, ORIGIN, PLAIN).unwrap()];
    let two =
        [Sealed::to_readers(&named, ORIGIN, PLAIN).unwrap(), Sealed::to_city(&city.public, ORIGIN, PLAIN).unwrap()];
    for (one, two) in one.into_iter().zip(two) {
        assert!(!holds_a_run_of(&body(one), &body(two)));
    }
}

#[test]
fn readers_are_one_to_sixty_four_and_distinct() {
    let key = SecretKey::generate(Suite::XWing).unwrap().public();
    for (keys, word) in [
        (vec![], "0 readers"),
        (vec![key.as_bytes(); 65], "65 readers"),
        (vec![key.as_bytes(); 2], "named twice"),
        (vec![&b"xp"[..]], "2 bytes"),
        (vec![&b"tp00000000000000000000000000000000"[..]], "it is a public key of threshold encryption"),
    ] {
        let error = Readers::new(&keys).err().unwrap();
        assert!(matches!(&error, Error::Input(message) if message.contains(word)), "{error}");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let (keys, named) = readers(&[Suite::XWing, Suite::XWing]);
    let city = Delegates::new(1, 1);
    let carried = carrying(0, |origin| Sealed::to_city(&city.public, origin, b"plain").unwrap());
    let cipher = Cipher::of(&carried).unwrap();
    let open = |sealed: &Sealed| {
        if let Content::Readers { .. } = sealed.content {
            return keys.iter().try_for_each(|key| sealed.open(key).map(|_| ()));
        }
        if sealed.cipher()? != cipher {
            return Err(Error::verification("another capsule"));
        }
        let shares = city.decrypt(sealed.capsule()?.unwrap_or_default(), &sealed.origin.label());
        sealed.combine(&city.public, 1, &city.shares, &shares).map(|_| ())
    };
    let to_readers = wire::encode(&Sealed::to_readers(&named, ORIGIN, b"plain").unwrap()).unwrap();
    // Of what readers get, one bit of every byte: the bindings' tests flip all of them.
    for (bytes, bits) in [(carried.payload.to_vec(), 8), (to_readers, 1)] {
        open(&wire::decode(&bytes).unwrap()).unwrap();
        for at in 0..bytes.len() {
            for bit in (0..bits).map(|bit| (at + bit) % 8) {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                let opened = wire::decode::<Sealed>(&wrong).and_then(|sealed| open(&sealed));
                assert!(opened.is_err(), "bit {bit} of byte {at} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn a_transaction_is_sealed_if_it_carries_what_was_sealed_for_it() {
    let city = Delegates::new(1, 1);
    let (keys, named) = readers(&[Suite::XWing]);
    let to_city = |origin| Sealed::to_city(&city.public, origin, PLAIN).unwrap();
    let carried = carrying(5, to_city);
    let sealed = Sealed::of(&carried).unwrap();
    let capsule = capsule_hash(sealed.capsule().unwrap().unwrap());
    assert_eq!(Cipher::of(&carried).unwrap(), Cipher::City { capsule });
    let to_readers = carrying(5, |origin| Sealed::to_readers(&named, origin, PLAIN).unwrap());
    assert_eq!(Cipher::of(&to_readers).unwrap(), Cipher::Readers);
    assert_eq!(Sealed::of(&to_readers).unwrap().open(&keys[0]).unwrap(), PLAIN);
    let payload = carried.payload.to_vec();
    let mut longer = payload.clone();
    longer.push(0);
    for plain in [
        transaction(6, payload.clone()),
        transaction(5, longer),
        transaction(5, payload[..payload.len() - 1].to_vec()),
        transaction(5, payload[1..].to_vec()),
        transaction(5, b"CCsl".to_vec()),
        transaction(5, vec![]),
    ] {
        assert_eq!(Sealed::of(&plain), None);
        assert_eq!(Cipher::of(&plain).unwrap(), Cipher::None);
    }
}

#[test]
fn what_does_not_fit_a_transaction_is_refused_before_any_work() {
    let city = Delegates::new(1, 1);
    let (_, named) = readers(&[Suite::XWing]);
    let room = PAYLOAD_MAX - CITY_OVERHEAD;
    let largest = wire::encode(&Sealed::to_city(&city.public, ORIGIN, &vec![0; room]).unwrap()).unwrap();
    assert_eq!(largest.len(), PAYLOAD_MAX);
    let error = Sealed::to_city(&city.public, ORIGIN, &vec![0; room + 1]).unwrap_err().to_string();
    assert!(error.contains(&format!("{} bytes, and {CITY_OVERHEAD}", room + 1)), "{error}");
    let room = PAYLOAD_MAX - named.overhead();
    let largest = wire::encode(&Sealed::to_readers(&named, ORIGIN, &vec![0; room]).unwrap()).unwrap();
    assert_eq!(largest.len(), PAYLOAD_MAX);
    assert!(Sealed::to_readers(&named, ORIGIN, &vec![0; room + 1]).is_err());
}

#[test]
fn readers_of_a_record_are_in_order_and_of_known_suites() {
    let (_, named) = readers(&[Suite::XWing, Suite::XWing]);
    let sealed = Sealed::to_readers(&named, ORIGIN, PLAIN).unwrap();
    let Content::Readers { recipients, body } = &sealed.content else { unreachable!() };
    let with = |recipients: Vec<Recipient>, body: Vec<u8>| Sealed {
        origin: ORIGIN,
        content: Content::Readers {
            recipients: List::new("readers", recipients).unwrap(),
            body: Bytes::new("body", body).unwrap(),
        },
    };
    let turned: Vec<Recipient> = recipients.iter().rev().cloned().collect();
    let unknown = vec![Recipient { suite: 3, ..recipients[0].clone() }];
    let short = Bytes::new("encapsulation", recipients[0].encapsulation[1..].to_vec()).unwrap();
    let short = vec![Recipient { encapsulation: short, ..recipients[0].clone() }];
    for (wrong, word) in [
        (with(turned, body.to_vec()), "ascending"),
        (with(vec![recipients[0].clone(); 2], body.to_vec()), "distinct"),
        (with(vec![], body.to_vec()), "no reader"),
        (with(unknown, body.to_vec()), "encapsulation 3 is not known"),
        (with(short, body.to_vec()), "are needed"),
        (with(recipients.to_vec(), vec![0; 31]), "31 bytes"),
    ] {
        let error = wire::encode(&wrong).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_record_is_what_it_was(plain: Vec<u8>, network: [u8; 32], sender: [u8; 32], sequence: u64) {
        let origin = Origin { network, sender, sequence };
        let city = Delegates::new(2, 3);
        let (keys, named) = readers(&[Suite::XWing]);
        for sealed in [
            Sealed::to_city(&city.public, origin, &plain).unwrap(),
            Sealed::to_readers(&named, origin, &plain).unwrap(),
        ] {
            let bytes = wire::encode(&sealed).unwrap();
            let read: Sealed = wire::decode(&bytes).unwrap();
            prop_assert_eq!(&read, &sealed);
            let opened = match read.capsule().unwrap() {
                Some(capsule) => {
                    let shares = city.decrypt(capsule, &origin.label());
                    read.combine(&city.public, 2, &city.shares, &shares[1..]).unwrap()
                }
                None => read.open(&keys[0]).unwrap(),
            };
            prop_assert_eq!(&opened, &plain);
        }
    }

    #[test]
    fn any_bytes_read_or_are_refused(bytes: Vec<u8>) {
        let _ = wire::decode::<Sealed>(&bytes);
        let _ = wire::decode::<Sealed>(&[&b"CCsl\x01\x00"[..], &bytes].concat());
    }
}
