//! Threshold keys under hostile bytes: deals, shares, signatures, capsules and coins. What is made right by fixed keys is
//! spoilt; it is refused, or it is what it was.

use std::sync::LazyLock;

use city_chain_native::algorithms::tes::coin::{BlsCoin, Coin, Name, RistrettoCoin};
use city_chain_native::algorithms::tes::dkg::{Setup, any};
use city_chain_native::algorithms::tes::share::{
    BlsKeys, CoinKeys, GroupKey, Keys, PublicShare, Scheme, SecretShare, Tdh2Keys,
};
use city_chain_native::algorithms::tes::{bls, tdh2};
use city_chain_native::error::Result;

use super::Script;

const PARTIES: u16 = 4;
const THRESHOLD: u16 = 3;
const PARTY: u16 = 2;
const LABEL: &[u8] = b"label";
const PLAIN: &[u8] = b"what is encrypted";
const NAME: Name<'_> = Name { chain: b"chain", epoch: 1, instance: b"one", round: 2 };

fn setup() -> Setup<'static> {
    Setup::new(b"fuzz", THRESHOLD, PARTIES).expect("a threshold of parties")
}

/// One scheme's deals as bytes, and what party [`PARTY`] was dealt.
struct Dealt {
    scheme: Scheme,
    deals: Vec<Vec<u8>>,
    shares: Vec<Vec<u8>>,
    public: any::PublicKeys,
    /// Every party's share of the key.
    secrets: Vec<SecretShare>,
}

impl Dealt {
    fn new(scheme: Scheme) -> Self {
        let made: Vec<(any::Deal, Vec<SecretShare>)> =
            (1..=PARTIES).map(|at| any::deal(scheme, setup(), at).expect("a deal")).collect();
        let deals: Vec<&any::Deal> = made.iter().map(|(deal, _)| deal).collect();
        let dealt_to = |party: u16| made.iter().map(|(_, shares)| &shares[usize::from(party) - 1]).collect::<Vec<_>>();
        let finished = |party| any::finalize(scheme, setup(), party, &deals, &dealt_to(party)).expect("right deals");
        Self {
            scheme,
            deals: deals.iter().map(|deal| deal.as_bytes().to_vec()).collect(),
            shares: dealt_to(PARTY).iter().map(|share| share.to_bytes().to_vec()).collect(),
            public: any::public_keys(scheme, setup(), &deals).expect("right deals"),
            secrets: (1..=PARTIES).map(|party| finished(party).secret).collect(),
        }
    }
}

/// Made once: fixed as long as the program runs, which is all that the promises below need.
static DEALT: LazyLock<[Dealt; 3]> = LazyLock::new(|| Scheme::ALL.map(Dealt::new));

struct Signed {
    group: bls::PublicKey,
    public: Vec<bls::PublicShare>,
    shares: Vec<Vec<u8>>,
    signature: [u8; bls::SIGNATURE_LEN],
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let keys = &DEALT[0];
    let group = bls::public_key(&keys.public.group_key()).expect("a key");
    let public: Vec<bls::PublicShare> =
        keys.public.shares().iter().map(|share| bls::public_share(share).expect("a share")).collect();
    let shares: Vec<Vec<u8>> =
        keys.secrets.iter().map(|secret| bls::sign_share(secret, LABEL).expect("a key").to_vec()).collect();
    let signature = bls::combine(&group, THRESHOLD, &public, &slices(&shares), LABEL).expect("right shares").signature;
    Signed { group, public, shares, signature }
});

struct Encrypted {
    public: tdh2::PublicKey,
    ciphertext: Vec<u8>,
    shares: Vec<Vec<u8>>,
}

static ENCRYPTED: LazyLock<Encrypted> = LazyLock::new(|| {
    let keys = &DEALT[1];
    let public = tdh2::PublicKey::from_bytes(&keys.public.group_key()).expect("a key");
    let ciphertext = tdh2::encrypt(&public, LABEL, PLAIN).expect("randomness");
    let capsule = tdh2::capsule_of(&ciphertext).expect("its own ciphertext");
    let share = |secret| tdh2::decrypt_share(secret, &public, LABEL, capsule).expect("a right capsule").to_vec();
    let shares = keys.secrets.iter().map(share).collect();
    Encrypted { public, ciphertext, shares }
});

struct Tossed {
    coin: Box<dyn Coin>,
    shares: Vec<Vec<u8>>,
    value: [u8; 32],
}

impl Tossed {
    fn new(coin: impl Coin + 'static, keys: &Dealt) -> Self {
        let share = |secret| coin.share(secret, &NAME).expect("a share of this scheme");
        let shares: Vec<Vec<u8>> = keys.secrets.iter().map(share).collect();
        let value = coin.combine(&NAME, &slices(&shares)).expect("right shares").value;
        Self { coin: Box::new(coin), shares, value }
    }
}

static TOSSED: LazyLock<[Tossed; 2]> = LazyLock::new(|| {
    let (plain, signed) = (&DEALT[2], &DEALT[0]);
    let group = GroupKey::from_bytes(&plain.public.group_key()).expect("a key");
    let ristretto = RistrettoCoin::new(THRESHOLD, &group, &plain.public.shares()).expect("shares of the key");
    let other = BlsCoin::new(THRESHOLD, &SIGNED.group, &signed.public.shares()).expect("shares of the key");
    [Tossed::new(ristretto, plain), Tossed::new(other, signed)]
});

fn slices(all: &[Vec<u8>]) -> Vec<&[u8]> {
    all.iter().map(Vec::as_slice).collect()
}

/// Spoils bytes as the script says, and says whether they are other ones now.
pub(super) fn spoil(script: &mut Script<'_>, bytes: &mut Vec<u8>) -> bool {
    let before = bytes.clone();
    let at = script.short() % bytes.len().max(1);
    match script.byte() % 8 {
        0 => {}
        1..4 => {
            let change = script.byte();
            bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= change);
        }
        4 => bytes.truncate(at),
        5 => bytes.push(script.byte()),
        6 => {
            let new = script.take::<32>();
            bytes[at..].iter_mut().zip(new).for_each(|(byte, new)| *byte = new);
        }
        _ => *bytes = script.0[..script.0.len().min(600)].to_vec(),
    }
    *bytes != before
}

/// Threshold keys: nothing that is spoilt counts, and what decodes has one encoding.
pub fn threshold(data: &[u8]) {
    decoders(data);
    let mut script = Script(data);
    match script.byte() % 5 {
        0 => deals(&mut script),
        1 => signing(&mut script),
        2 => many(&mut script),
        3 => opening(&mut script),
        _ => tossing(&mut script),
    }
}

fn decoders(data: &[u8]) {
    let same = |again: Result<Vec<u8>>| assert!(again.is_err() || again.as_deref() == Ok(data), "a second encoding");
    same(any::Deal::from_bytes(data).map(|deal| deal.as_bytes().to_vec()));
    same(SecretShare::from_bytes(data).map(|share| share.to_bytes().to_vec()));
    fn keys<K: Keys>(data: &[u8], same: impl Fn(Result<Vec<u8>>)) {
        same(PublicShare::<K>::from_bytes(data).map(|share| share.to_bytes()));
        same(GroupKey::<K>::from_bytes(data).map(|key| key.to_bytes()));
    }
    keys::<BlsKeys>(data, same);
    keys::<Tdh2Keys>(data, same);
    keys::<CoinKeys>(data, same);
    same(bls::SecretKey::from_bytes(data).map(|key| key.to_bytes().to_vec()));
    let _ = bls::verify(&SIGNED.group, data, data);
}

/// A spoilt deal or share is refused alone; nothing wrong enters a key.
fn deals(script: &mut Script<'_>) {
    let dealt = &DEALT[usize::from(script.byte()) % 3];
    let (mut deals, mut shares) = (dealt.deals.clone(), dealt.shares.clone());
    let (at, other) = (usize::from(script.byte()) % 4, usize::from(script.byte()) % 4);
    match script.byte() % 3 {
        0 => drop(spoil(script, &mut deals[at])),
        1 => drop(spoil(script, &mut shares[at])),
        _ => shares.swap(at, other),
    }
    let changed = |at: usize| deals[at] != dealt.deals[at] || shares[at] != dealt.shares[at];
    let Ok(read) = deals.iter().map(|deal| any::Deal::from_bytes(deal)).collect::<Result<Vec<_>>>() else { return };
    let Ok(held) = shares.iter().map(|share| SecretShare::from_bytes(share)).collect::<Result<Vec<_>>>() else {
        return;
    };
    let (read, held): (Vec<_>, Vec<_>) = (read.iter().collect(), held.iter().collect());
    let Ok(verdicts) = any::verify_deals(dealt.scheme, setup(), PARTY, &read, &held) else { return };
    for (at, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.is_ok(), !changed(at), "deal {at}: {verdict:?}");
    }
    let made = any::finalize(dealt.scheme, setup(), PARTY, &read, &held);
    assert_eq!(made.is_ok(), !(0..4).any(changed));
    assert!(made.is_err() || made.is_ok_and(|made| made.public == dealt.public));
    let mut public = dealt.public.shares();
    let mut group = dealt.public.group_key();
    let spoilt = spoil(script, &mut public[at]) | (script.byte().is_multiple_of(4) && spoil(script, &mut group));
    let threshold = if script.byte().is_multiple_of(4) { script.short() as u16 } else { THRESHOLD };
    if let Ok(keys) = any::PublicKeys::new(threshold, &group, &slices(&public)) {
        // A higher threshold than theirs is no lie about the shares: they are on a polynomial of that degree too.
        assert!(!spoilt && (THRESHOLD..=PARTIES).contains(&threshold));
        assert_eq!((keys.group_key(), keys.shares()), (group, public));
    }
}

/// Shares of a signature: each spoilt one is named, and what comes out is the signature.
fn signing(script: &mut Script<'_>) {
    let (mut shares, mut spoilt) = (SIGNED.shares.clone(), [false; 4]);
    for _ in 0..=script.byte() % 3 {
        let at = usize::from(script.byte()) % 4;
        spoil(script, &mut shares[at]);
    }
    (0..4).for_each(|at| spoilt[at] = shares[at] != SIGNED.shares[at]);
    if let Ok(verdicts) = bls::verify_shares(&SIGNED.public, LABEL, &slices(&shares)) {
        for (at, verdict) in verdicts.iter().enumerate() {
            assert_eq!(verdict.is_ok(), !spoilt[at], "share {at}");
        }
    }
    let count = usize::from(script.byte()) % 5;
    let made = bls::combine(&SIGNED.group, THRESHOLD, &SIGNED.public, &slices(&shares[..count]), LABEL);
    if let Ok(made) = made {
        assert_eq!(made.signature, SIGNED.signature);
        assert!(count - made.wrong.len() >= usize::from(THRESHOLD));
    }
    let mut signature = SIGNED.signature.to_vec();
    let wrong = spoil(script, &mut signature);
    assert_eq!(bls::verify(&SIGNED.group, LABEL, &signature).is_ok(), !wrong);
    let _ = bls::aggregate(&[&signature, &shares[0], &SIGNED.signature]);
}

/// Many signatures: each has the verdict that it has alone.
fn many(script: &mut Script<'_>) {
    static KEYS: LazyLock<Vec<bls::SecretKey>> =
        LazyLock::new(|| (1..4).map(|at| bls::SecretKey::from_seed(&[at; 32]).expect("a key")).collect());
    let mut cases: Vec<(Vec<u8>, [u8; 1], Vec<u8>)> = Vec::new();
    while !script.done() && cases.len() < 6 {
        let (key, message) = (&KEYS[usize::from(script.byte()) % 3], [script.byte() % 2]);
        let (mut public, mut signature) = (key.public().to_bytes(), key.sign(&message).expect("a key").to_vec());
        match script.byte() % 4 {
            0 => drop(spoil(script, &mut public)),
            1 => drop(spoil(script, &mut signature)),
            _ => {}
        }
        cases.push((public, message, signature));
    }
    let items: Vec<bls::Item<'_>> =
        cases.iter().map(|(public, message, signature)| bls::Item { public, message, signature }).collect();
    let together = bls::verify_many(&items).expect("the system has randomness");
    for ((public, message, signature), verdict) in cases.iter().zip(together) {
        let alone = bls::public_key(public).and_then(|key| bls::verify(&key, message, signature));
        assert_eq!(alone.is_ok(), verdict.is_ok());
    }
}

/// Ciphertexts and shares of their opening.
fn opening(script: &mut Script<'_>) {
    let Encrypted { public, ciphertext, shares } = &*ENCRYPTED;
    let (mut other, public_shares) = (ciphertext.clone(), DEALT[1].public.shares());
    let wrong = spoil(script, &mut other);
    assert_eq!(tdh2::verify_ciphertext(public, LABEL, &other).is_ok(), !wrong);
    if let Ok(capsule) = tdh2::capsule_of(&other) {
        let given = tdh2::decrypt_share(&DEALT[1].secrets[0], public, LABEL, capsule);
        assert_eq!(given.is_ok(), ciphertext.starts_with(capsule), "a share for a spoilt capsule");
        let _ = tdh2::verify_shares(&public_shares, LABEL, capsule, shares);
    }
    let mut spoilt = shares.clone();
    let at = usize::from(script.byte()) % 4;
    let bad = spoil(script, &mut spoilt[at]);
    let capsule = tdh2::capsule_of(ciphertext).expect("its own");
    assert_eq!(tdh2::verify_share(&public_shares[at], LABEL, capsule, &spoilt[at]).is_ok(), !bad);
    if let Ok(verdicts) = tdh2::verify_shares(&public_shares, LABEL, capsule, &spoilt) {
        for (place, verdict) in verdicts.iter().enumerate() {
            assert_eq!(verdict.is_ok(), !(bad && place == at));
        }
    }
    let used = if script.byte().is_multiple_of(2) { &spoilt[..] } else { &spoilt[usize::from(script.byte()) % 5..] };
    let opened = tdh2::combine(public, THRESHOLD, &public_shares, LABEL, &other, used);
    assert!(opened.is_err() || (!wrong && opened.as_deref() == Ok(PLAIN)));
}

/// Coins: both kinds show one value or none.
fn tossing(script: &mut Script<'_>) {
    let tossed = &TOSSED[usize::from(script.byte()) % 2];
    let mut shares = tossed.shares.clone();
    let at = usize::from(script.byte()) % 4;
    let bad = spoil(script, &mut shares[at]);
    assert_eq!(tossed.coin.verify_share(&NAME, &shares[at]).is_ok(), !bad);
    if let Ok(verdicts) = tossed.coin.verify_shares(&NAME, &slices(&shares)) {
        for (place, verdict) in verdicts.iter().enumerate() {
            assert_eq!(verdict.is_ok(), !(bad && place == at));
        }
    }
    let used = &shares[usize::from(script.byte()) % 5..];
    if let Ok(toss) = tossed.coin.combine(&NAME, &slices(used)) {
        assert_eq!(toss.value, tossed.value);
    }
}
