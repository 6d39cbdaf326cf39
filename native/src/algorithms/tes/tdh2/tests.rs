use std::collections::HashSet;

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::super::polynomial::Polynomial;
use super::super::share::{CoinKeys, PublicShare};
use super::*;

/// A key shared by a dealer, as no city has it.
struct Dealt {
    public: PublicKey,
    secrets: Vec<SecretShare>,
    publics: Vec<Vec<u8>>,
}

fn deal(threshold: u16, parties: u16) -> Dealt {
    let polynomial = Polynomial::<Ristretto>::random(threshold).unwrap();
    let secrets: Vec<SecretShare> =
        (1..=parties).map(|index| SecretShare::new::<Tdh2Keys>(index, &*polynomial.evaluate(index)).unwrap()).collect();
    Dealt {
        public: GroupKey::new(Ristretto::mul_base(polynomial.constant())).unwrap().into(),
        publics: secrets.iter().map(|secret| secret.public::<Tdh2Keys>().unwrap().to_bytes()).collect(),
        secrets,
    }
}

impl Dealt {
    fn shares(&self, label: &[u8], ciphertext: &[u8], indices: &[u16]) -> Vec<[u8; SHARE_LEN]> {
        let capsule = capsule_of(ciphertext).unwrap();
        let share = |index: &u16| decrypt_share(&self.secrets[usize::from(index - 1)], &self.public, label, capsule);
        indices.iter().map(|index| share(index).unwrap()).collect()
    }

    fn combine(&self, threshold: u16, ciphertext: &[u8], shares: &[[u8; SHARE_LEN]]) -> Result<Vec<u8>> {
        combine(&self.public, threshold, &self.publics, b"label", ciphertext, shares)
    }
}

fn message<T>(result: Result<T>) -> String {
    result.err().unwrap().to_string()
}

/// How many shares `f` checks, each time counted.
fn checked_in<T>(f: impl FnOnce() -> T) -> (T, usize) {
    dleq::CHECKED.with(|checked| checked.set(0));
    (f(), dleq::CHECKED.with(std::cell::Cell::get))
}

#[test]
fn lengths_are_as_documented() {
    let dealt = deal(1, 1);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    assert_eq!((CAPSULE_LEN, SHARE_LEN, OVERHEAD), (144, 130, 176));
    assert_eq!(sealed.len(), 5 + OVERHEAD);
    assert_eq!(PublicKey::from_bytes(&dealt.public.to_bytes()).unwrap(), dealt.public);
    assert_eq!(dealt.public.to_bytes().len(), GroupKey::<Tdh2Keys>::LEN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_threshold_of_the_parties_open_and_fewer_do_not(
        threshold in 1u16..7,
        indices in subsequence((1u16..=9).collect::<Vec<_>>(), 9).prop_shuffle(),
        label: Vec<u8>,
        plain: Vec<u8>,
    ) {
        let dealt = deal(threshold, 9);
        let sealed = encrypt(&dealt.public, &label, &plain).unwrap();
        verify_ciphertext(&dealt.public, &label, &sealed).unwrap();
        let shares = dealt.shares(&label, &sealed, &indices);
        let combined = |count: usize| {
            combine(&dealt.public, threshold, &dealt.publics, &label, &sealed, &shares[..count])
        };
        for count in 0..=indices.len() {
            if count >= usize::from(threshold) {
                prop_assert_eq!(&combined(count).unwrap(), &plain);
            } else {
                let (needed, had) = (u64::from(threshold), count as u64);
                let error = combined(count).unwrap_err();
                prop_assert_eq!(&error, &Error::unavailable("tdh2: decryption shares that are right", needed, had));
            }
        }
        // Not by another threshold either: fewer values than the polynomial has terms are of another one.
        if threshold > 1 {
            let fewer = combine(&dealt.public, threshold - 1, &dealt.publics, &label, &sealed, &shares);
            prop_assert!(message(fewer).contains("it does not open"));
        }
        for (share, index) in shares.iter().zip(&indices) {
            let capsule = capsule_of(&sealed).unwrap();
            prop_assert_eq!(share_index(share).unwrap(), *index);
            verify_share(&dealt.publics[usize::from(index - 1)], &label, capsule, share).unwrap();
        }
    }
}

#[test]
fn every_flipped_bit_of_a_capsule_is_refused_before_a_share_is_made() {
    let dealt = deal(2, 3);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    for bit in 0..8 * CAPSULE_LEN {
        let mut wrong = capsule_of(&sealed).unwrap().to_vec();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let refused = decrypt_share(&dealt.secrets[0], &dealt.public, b"label", &wrong);
        assert!(matches!(refused, Err(Error::Verification(_))), "bit {bit}");
        assert!(verify_capsule(&dealt.public, b"label", &wrong).is_err(), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_a_body_is_refused_before_shares_are_looked_at() {
    let dealt = deal(1, 1);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let shares = dealt.shares(b"label", &sealed, &[1]);
    for bit in 8 * CAPSULE_LEN..8 * sealed.len() {
        let mut wrong = sealed.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(message(dealt.combine(1, &wrong, &shares)).contains("its body is not the one"), "bit {bit}");
    }
    for len in OVERHEAD..sealed.len() {
        assert!(message(dealt.combine(1, &sealed[..len], &shares)).contains("its body is not the one"));
    }
    for len in 0..OVERHEAD {
        assert!(message(dealt.combine(1, &sealed[..len], &shares)).contains("at least 176 are needed"));
        assert!(capsule_of(&sealed[..len]).is_err());
    }
    for len in [0, 1, CAPSULE_LEN - 1, CAPSULE_LEN + 1] {
        let capsule = &[&sealed[..], &[0; 200]].concat()[..len];
        assert!(message(verify_capsule(&dealt.public, b"label", capsule)).contains("exactly 144 are needed"));
    }
}

#[test]
fn a_capsule_is_of_one_label_one_body_and_one_key() {
    let (dealt, other) = (deal(2, 3), deal(2, 3));
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let second = encrypt(&dealt.public, b"label", b"plaim").unwrap();
    let capsule = capsule_of(&sealed).unwrap();
    for label in [&b"labeL"[..], b"", b"label\0", b"labe"] {
        assert!(
            message(decrypt_share(&dealt.secrets[0], &dealt.public, label, capsule)).contains("another key, label")
        );
    }
    assert!(message(decrypt_share(&other.secrets[0], &other.public, b"label", capsule)).contains("another key, label"));
    let swapped = [capsule, &second[CAPSULE_LEN..]].concat();
    let shares = dealt.shares(b"label", &sealed, &[1, 2]);
    assert!(message(dealt.combine(2, &swapped, &shares)).contains("its body is not the one"));
    // With the digest exchanged too the proof fails.
    let exchanged = [&capsule[..112], &second[112..]].concat();
    assert!(message(dealt.combine(2, &exchanged, &shares)).contains("its proof is wrong"));
    // Shares of one capsule do not open another.
    assert!(message(dealt.combine(2, &second, &shares)).contains("parties with index 1, 2): needed 2, had 0"));
    // The same plaintext twice is not the same ciphertext.
    assert_ne!(encrypt(&dealt.public, b"label", b"plain").unwrap(), sealed);
}

#[test]
fn mauled_and_degenerate_points_are_refused() {
    let dealt = deal(1, 1);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let capsule = capsule_of(&sealed).unwrap();
    let refused = |capsule: &[u8]| message(decrypt_share(&dealt.secrets[0], &dealt.public, b"label", capsule));
    let with = |at: usize, bytes: &[u8]| [&capsule[..at], bytes, &capsule[at + bytes.len()..]].concat();
    let neutral = RistrettoPoint::identity().compress().0;
    let mut order_minus_one = (-Scalar::ONE).to_bytes();
    let mut raised = [0u8; 32];
    let mut carry = 0;
    order_minus_one[0] += 1; // the order itself
    for at in 0..32 {
        let sum = u16::from(capsule[80 + at]) + u16::from(order_minus_one[at]) + carry;
        (raised[at], carry) = (sum as u8, sum >> 8);
    }
    for (capsule, word) in [
        (with(0, &neutral), "u is no point, or the neutral element"),
        (with(32, &neutral), "ū is no point, or the neutral element"),
        (with(0, &[255; 32]), "u is no point"),
        (with(32, &[1; 32]), "ū is no point"),
        (with(80, &raised), "its proof is wrong"),
        (with(80, &[255; 32]), "its proof is wrong"),
        (with(0, RISTRETTO_BASEPOINT_POINT.compress().as_bytes()), "its proof is wrong"),
    ] {
        let found = refused(&capsule);
        assert!(found.contains(word), "{found}");
    }
    // u and ū that are mauled together by one factor keep their relation, yet not their proof.
    let double = |at: usize| (point(&capsule[at..at + 32], "u").unwrap() * Scalar::from(2u64)).compress().0;
    let mauled = [&double(0)[..], &double(32), &capsule[64..]].concat();
    assert!(refused(&mauled).contains("its proof is wrong"));
}

#[test]
fn the_two_generators_have_nothing_to_do_with_each_other() {
    let second = SECOND.basepoint();
    assert!(second != RISTRETTO_BASEPOINT_POINT && second != RistrettoPoint::identity());
    let mut uniform = [0; 64];
    blake3::Hasher::new_derive_key(CONTEXT_GENERATOR).finalize_xof().fill(&mut uniform);
    assert_eq!(second, RistrettoPoint::from_uniform_bytes(&uniform));
}

#[test]
fn equal_logarithms_are_what_the_proof_is_about() {
    // The maker of a ciphertext knows r. One who puts another logarithm into ū cannot complete the proof, even with the
    // freedom to choose everything else: tried with the honest formulas.
    let dealt = deal(1, 1);
    let (r, s) = (Scalar::from(77u64), Scalar::from(99u64));
    let honest = encrypt_with(&dealt.public, b"label", b"plain", &r, &s);
    assert!(verify_ciphertext(&dealt.public, b"label", &honest).is_ok());
    let mut wrong: [u8; CAPSULE_LEN] = honest[..CAPSULE_LEN].try_into().unwrap();
    wrong[32..64].copy_from_slice((&*SECOND * &Scalar::from(78u64)).compress().as_bytes());
    let (w, w_second) = (RistrettoPoint::mul_base(&s).compress(), (&*SECOND * &s).compress());
    let e = challenge(&dealt.public, b"label", &wrong, &w, &w_second);
    wrong[64..80].copy_from_slice(&e.as_bytes()[..16]);
    wrong[80..112].copy_from_slice((s + r * e).as_bytes());
    assert!(message(verify_capsule(&dealt.public, b"label", &wrong)).contains("its proof is wrong"));
}

#[test]
fn a_share_is_bound_to_party_capsule_label_and_key() {
    let (dealt, other) = (deal(2, 3), deal(2, 3));
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let second = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let (capsule, another) = (capsule_of(&sealed).unwrap(), capsule_of(&second).unwrap());
    let [share] = dealt.shares(b"label", &sealed, &[1])[..] else { panic!() };
    verify_share(&dealt.publics[0], b"label", capsule, &share).unwrap();
    assert!(message(verify_share(&other.publics[0], b"label", capsule, &share)).contains("party with index 1"));
    assert!(message(verify_share(&dealt.publics[0], b"labeL", capsule, &share)).contains("does not fit"));
    assert!(message(verify_share(&dealt.publics[0], b"label", another, &share)).contains("does not fit"));
    assert!(message(verify_share(&dealt.publics[1], b"label", capsule, &share)).contains("index 2 stands where"));
    let renamed = [&[2, 0], &share[2..]].concat();
    assert!(message(verify_share(&dealt.publics[1], b"label", capsule, &renamed)).contains("does not fit"));
    for bit in 0..8 * SHARE_LEN {
        let mut wrong = share;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_share(&dealt.publics[0], b"label", capsule, &wrong).is_err(), "bit {bit}");
    }
    for len in [0, 1, 2, SHARE_LEN - 1] {
        assert!(message(verify_share(&dealt.publics[0], b"label", capsule, &share[..len])).contains("exactly 130"));
    }
}

#[test]
fn shares_of_wrong_points_and_scalars_are_named() {
    let dealt = deal(1, 2);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let shares = dealt.shares(b"label", &sealed, &[1, 2]);
    let with = |at: usize, bytes: [u8; 32]| {
        let mut share = shares[1];
        share[at..at + 32].copy_from_slice(&bytes);
        share
    };
    let neutral = [0; 32];
    for (wrong, word) in [
        (with(2, neutral), "its value is no point"),
        (with(2, [255; 32]), "its value is no point"),
        (with(34, neutral), "does not fit"),
        (with(34, [255; 32]), "does not fit"),
        (with(66, [255; 32]), "does not fit"),
        (with(98, [255; 32]), "z is not below"),
    ] {
        let capsule = capsule_of(&sealed).unwrap();
        let alone = verify_share(&dealt.publics[1], b"label", capsule, &wrong).unwrap_err();
        assert!(alone.to_string().contains(word) && alone.to_string().contains("index 2"), "{alone}");
        // Alone and among others, the same verdict.
        let many = verify_shares(&dealt.publics, b"label", capsule, &[shares[0], wrong, shares[1], shares[0]]).unwrap();
        assert_eq!(many, [Ok(()), Err(alone), Ok(()), Ok(())]);
    }
}

#[test]
fn a_batch_has_the_verdicts_of_each_alone() {
    let dealt = deal(2, 40);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let capsule = capsule_of(&sealed).unwrap();
    let good = dealt.shares(b"label", &sealed, &(1..=40).collect::<Vec<_>>());
    for bad in [&[][..], &[0], &[39], &[7, 8], &[0, 13, 14, 15, 30, 39], &(0..40).collect::<Vec<_>>()] {
        let mut shares: Vec<Vec<u8>> = good.iter().map(|share| share.to_vec()).collect();
        for (turn, at) in bad.iter().enumerate() {
            match turn % 4 {
                0 => shares[*at][99] ^= 1,
                1 => shares[*at][2..34].copy_from_slice(&good[(*at + 1) % 40][2..34]),
                2 => shares[*at][70] ^= 1,
                _ => shares[*at].truncate(100),
            }
        }
        let alone: Vec<_> =
            shares.iter().zip(&dealt.publics).map(|(s, p)| verify_share(p, b"label", capsule, s)).collect();
        let many = verify_shares(&dealt.publics, b"label", capsule, &shares).unwrap();
        let wrong: Vec<usize> = (0..40).filter(|at| many[*at].is_err()).collect();
        assert_eq!(wrong, bad);
        for (alone, many) in alone.iter().zip(&many) {
            assert_eq!(alone.is_ok(), many.is_ok());
        }
    }
}

#[test]
fn two_wrong_shares_whose_errors_cancel_do_not_pass_as_a_batch() {
    let dealt = deal(1, 4);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let capsule = capsule_of(&sealed).unwrap();
    let mut shares = dealt.shares(b"label", &sealed, &[1, 2, 3, 4]);
    for (share, change) in shares.iter_mut().zip([Scalar::ONE, -Scalar::ONE]) {
        let z = Scalar::from_canonical_bytes(share[98..].try_into().unwrap()).unwrap() + change;
        share[98..].copy_from_slice(z.as_bytes());
    }
    let verdicts = verify_shares(&dealt.publics, b"label", capsule, &shares).unwrap();
    assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, false, true, true]);
}

#[test]
fn wrong_shares_are_left_out_and_named_if_too_few_remain() {
    let dealt = deal(3, 7);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let mut shares = dealt.shares(b"label", &sealed, &[7, 1, 5, 2, 3, 4]);
    let mut unproven = shares.clone();
    shares[0] = swapped(&shares, &[0])[0]; // of 7: the value of 1
    shares[1][2..34].copy_from_slice(RISTRETTO_BASEPOINT_POINT.compress().as_bytes()); // of 1
    shares[3][2..34].copy_from_slice(&[255; 32]); // of 2: no point
    assert_eq!(dealt.combine(3, &sealed, &shares).unwrap(), b"plain");
    let error = dealt.combine(3, &sealed, &shares[..5]).unwrap_err();
    let named = "tdh2: decryption shares that are right (wrong are those of the parties with index 1, 2, 7)";
    assert_eq!(error, Error::unavailable(named, 3, 2));
    // A right value opens, whatever its proof.
    unproven[0][50] ^= 1; // of 7: its commitment
    unproven[1] = shares[1];
    assert_eq!(dealt.combine(3, &sealed, &unproven[..4]).unwrap(), b"plain");
}

/// What a combination gives, how many shares it checked, and how many times it put shares together.
fn costs<T>(f: impl FnOnce() -> T) -> (T, usize, usize) {
    dleq::INTERPOLATED.with(|interpolated| interpolated.set(0));
    let (value, checked) = checked_in(f);
    (value, checked, dleq::INTERPOLATED.with(std::cell::Cell::get))
}

/// The share with the value of another: well formed, and wrong.
fn swapped(shares: &[[u8; SHARE_LEN]], bad: &[usize]) -> Vec<[u8; SHARE_LEN]> {
    let mut some = shares.to_vec();
    for at in bad {
        some[*at][2..34].copy_from_slice(&shares[(*at + 1) % shares.len()][2..34]);
    }
    some
}

#[test]
fn one_bad_share_among_many_is_left_out_without_a_check() {
    let dealt = deal(67, 100);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let shares = dealt.shares(b"label", &sealed, &(1..=100).collect::<Vec<_>>());
    let run = |bad: &[usize]| {
        let some = swapped(&shares, bad);
        let (opened, checked, tries) = costs(|| dealt.combine(67, &sealed, &some));
        assert_eq!(opened.unwrap(), b"plain", "{bad:?}");
        (checked, tries)
    };
    assert_eq!(run(&[]), (0, 1), "good ones are not checked at all");
    for bad in 0..100 {
        // The first 67 are three groups; those to spare are not looked at.
        let tries = if bad >= 67 { 1 } else { 2 + (0..3).position(|group| bad < (group + 1) * 67 / 3).unwrap() };
        assert_eq!(run(&[bad]), (0, tries), "{bad}");
    }
    // Several of one group are left out as one is, and one that is to spare does no harm behind those that are taken.
    assert_eq!(run(&(0..22).collect::<Vec<_>>()), (0, 2));
    assert_eq!(run(&[0, 99]), (0, 2));
    // Of two groups, or one and its place: all tries fail, then all are checked together and the bad ones found by halves.
    for bad in [[0, 66], [0, 30], [30, 50], [0, 67]] {
        let (checked, tries) = run(&bad);
        assert_eq!(tries, 5, "{bad:?}");
        assert!((67..=67 * 5).contains(&checked), "{checked} checks of 67 shares and two more");
    }
    // A third is bad, as many as there may be: still linear.
    for bad in [(0..99).step_by(3).collect::<Vec<_>>(), (0..33).collect(), (34..67).collect(), (67..100).collect()] {
        assert_eq!(bad.len(), 33);
        let (checked, tries) = run(&bad);
        assert!(tries <= 5 && checked <= 100 * 5, "{checked} checks of 100 shares");
    }
    // One more, and too few are right: they are named.
    let bad: Vec<usize> = (0..34).map(|turn| turn * 2).collect();
    let (refused, checked, tries) = costs(|| dealt.combine(67, &sealed, &swapped(&shares, &bad)));
    let named: Vec<String> = bad.iter().map(|at| (at + 1).to_string()).collect();
    assert!(message(refused).contains(&format!("index {}): needed 67, had 66", named.join(", "))));
    assert!(tries == 4 && checked <= 100 * 5, "{tries} tries, {checked} checks");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_opens_whichever_are_bad_as_long_as_enough_are_good(
        threshold in 1u16..=12,
        order in Just((1u16..=12).collect::<Vec<_>>()).prop_shuffle(),
        bad in subsequence((0..12usize).collect::<Vec<_>>(), 0..=11),
        how: [u8; 12],
    ) {
        let dealt = deal(threshold, 12);
        let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
        let good = dealt.shares(b"label", &sealed, &order);
        let bad = &bad[..bad.len().min(12 - usize::from(threshold))];
        let mut shares = swapped(&good, bad);
        for at in bad {
            match how[*at] % 3 {
                0 => shares[*at][2..34].fill(255), // no point
                1 if threshold > 1 => {} // another's value
                _ => shares[*at][2..34].copy_from_slice(RISTRETTO_BASEPOINT_POINT.compress().as_bytes()),
            }
        }
        let (opened, _, tries) = costs(|| dealt.combine(threshold, &sealed, &shares));
        prop_assert_eq!(opened.unwrap(), b"plain");
        prop_assert!(tries <= 2 + subsets::TRIES_MAX);
    }
}

#[test]
fn a_ciphertext_that_was_made_wrong_opens_for_nobody() {
    // Its maker seals the body under another key and proves the rest as it should be.
    let dealt = deal(2, 4);
    let (r, s) = (Scalar::from(5u64), Scalar::from(6u64));
    let sealed = encrypt_with(&dealt.public, b"label", b"plain", &r, &s);
    let body = dem::seal(&[1; 32], b"label", b"plain");
    let mut capsule: [u8; CAPSULE_LEN] = sealed[..CAPSULE_LEN].try_into().unwrap();
    capsule[112..].copy_from_slice(&digest(CONTEXT_BODY, &body));
    let (w, w_second) = (RistrettoPoint::mul_base(&s).compress(), (&*SECOND * &s).compress());
    let e = challenge(&dealt.public, b"label", &capsule, &w, &w_second);
    capsule[64..80].copy_from_slice(&e.as_bytes()[..16]);
    capsule[80..112].copy_from_slice((s + r * e).as_bytes());
    let sealed = [&capsule[..], &body].concat();
    for indices in [[1, 2], [3, 4], [4, 1]] {
        let shares = dealt.shares(b"label", &sealed, &indices);
        let error = dealt.combine(2, &sealed, &shares).unwrap_err();
        assert!(matches!(&error, Error::Verification(text) if text.contains("it was made wrong")), "{error}");
    }
}

#[test]
fn wrong_numbers_indices_and_kinds_are_refused() {
    let dealt = deal(2, 3);
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let shares = dealt.shares(b"label", &sealed, &[1, 2, 3]);
    let renamed = |index: u16| {
        let mut share = shares[0];
        share[..2].copy_from_slice(&index.to_le_bytes());
        [shares[1], share]
    };
    assert!(message(dealt.combine(2, &sealed, &renamed(0))).contains("0 is the index of no party"));
    assert!(
        message(dealt.combine(2, &sealed, &renamed(2))).contains("two decryption shares of the party with index 2")
    );
    assert!(message(dealt.combine(2, &sealed, &renamed(4))).contains("index 4: there are 3 parties"));
    assert!(message(dealt.combine(2, &sealed, &renamed(65535))).contains("index 65535: there are 3 parties"));
    assert!(message(dealt.combine(0, &sealed, &shares)).contains("the threshold 0 of 3 parties: 1 to 3"));
    assert!(message(dealt.combine(4, &sealed, &shares)).contains("the threshold 4 of 3 parties: 1 to 3"));
    let many = vec![dealt.publics[0].clone(); 1025];
    let combined = combine(&dealt.public, 2, &many, b"label", &sealed, &shares);
    assert!(message(combined).contains("1025 public shares, at most 1024"));

    let coin = SecretShare::new::<CoinKeys>(1, &Scalar::from(3u64)).unwrap();
    let capsule = capsule_of(&sealed).unwrap();
    assert!(message(decrypt_share(&coin, &dealt.public, b"label", capsule)).contains("it is a secret share of a coin"));
    let coin_share: PublicShare<CoinKeys> = coin.public().unwrap();
    let mut publics = dealt.publics.clone();
    publics[2] = coin_share.to_bytes();
    let combined = combine(&dealt.public, 2, &publics, b"label", &sealed, &shares);
    assert!(message(combined).contains("it is a public share of a coin"));
    assert!(message(verify_share(&publics[2], b"label", capsule, &shares[2])).contains("a public share of a coin"));
    assert!(message(PublicKey::from_bytes(&publics[0])).contains("it is a public share"));
    assert!(message(PublicKey::from_bytes(&[b"tp", &[0; 32][..]].concat())).contains("neutral"));
    // Public shares in another order are noticed when they are needed.
    publics = vec![dealt.publics[1].clone(), dealt.publics[0].clone(), dealt.publics[2].clone()];
    let verdicts = verify_shares(&publics, b"label", capsule, &shares).unwrap();
    assert!(message(verdicts[0].clone()).contains("index 2 stands where that of index 1 is needed"));
    assert!(verdicts[2].is_ok());
}

#[test]
fn nonces_depend_on_everything_and_never_repeat() {
    let dealt = deal(1, 1);
    let other = deal(1, 1);
    let mut seen = HashSet::new();
    for fresh in [[0; 32], [1; 32]] {
        for public in [&dealt.public, &other.public] {
            for (label, plain) in [(&b"a"[..], &b"b"[..]), (b"ab", b""), (b"", b"ab"), (b"a", b"c")] {
                for nonce in nonces(&fresh, public, label, plain) {
                    assert!(seen.insert(nonce.to_bytes()));
                }
            }
        }
    }
    assert_eq!(seen.len(), 32);
    // Shares are proved with fresh nonces too, of the same value.
    let sealed = encrypt(&dealt.public, b"label", b"plain").unwrap();
    let [one, two] = [0, 1].map(|_| dealt.shares(b"label", &sealed, &[1])[0]);
    assert_eq!(one[..34], two[..34]);
    assert!(one[34..66] != two[34..66] && one[66..98] != two[66..98] && one[98..] != two[98..]);
}
