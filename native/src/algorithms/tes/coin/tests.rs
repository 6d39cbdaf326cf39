use std::collections::HashSet;

use curve25519_dalek::Scalar;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::super::bls12381::G2;
use super::super::group::Group;
use super::super::polynomial::Polynomial;
use super::super::ristretto::Ristretto;
use super::super::share::{Keys, Tdh2Keys};
use super::*;

const NAME: Name<'_> = Name { chain: b"chain", epoch: 1, instance: b"agreement", round: 2 };

/// A key shared by a dealer: the coin of it, and the secret shares.
struct Dealt {
    coin: Box<dyn Coin>,
    secrets: Vec<SecretShare>,
    group: Vec<u8>,
    publics: Vec<Vec<u8>>,
    polynomial_at_zero: Vec<u8>,
}

fn deal<K: Keys>(threshold: u16, parties: u16) -> Dealt {
    let polynomial = Polynomial::<K::Group>::random(threshold).unwrap();
    let secrets: Vec<SecretShare> =
        (1..=parties).map(|index| SecretShare::new::<K>(index, &*polynomial.evaluate(index)).unwrap()).collect();
    let publics: Vec<Vec<u8>> = secrets.iter().map(|secret| secret.public::<K>().unwrap().to_bytes()).collect();
    let point = K::Group::mul_base(polynomial.constant());
    let group = GroupKey::<K>::new(point).unwrap().to_bytes();
    let coin = coin_of(threshold, &group, &publics).unwrap();
    let zero = super::super::group::Scalar::to_bytes(polynomial.constant()).to_vec();
    Dealt { coin, secrets, group, publics, polynomial_at_zero: zero }
}

fn both(threshold: u16, parties: u16) -> [Dealt; 2] {
    [deal::<CoinKeys>(threshold, parties), deal::<BlsKeys>(threshold, parties)]
}

impl Dealt {
    fn shares(&self, name: &Name<'_>, indices: &[u16]) -> Vec<Vec<u8>> {
        indices.iter().map(|index| self.coin.share(&self.secrets[usize::from(index - 1)], name).unwrap()).collect()
    }

    fn combine(&self, name: &Name<'_>, shares: &[Vec<u8>]) -> Result<Toss> {
        self.coin.combine(name, &shares.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

fn message<T>(result: Result<T>) -> String {
    result.err().unwrap().to_string()
}

/// A coin that everybody knows in advance: for tests of what uses one, and in no release.
struct Predictable;

impl Coin for Predictable {
    fn share(&self, secret: &SecretShare, _: &Name<'_>) -> Result<Vec<u8>> {
        Ok(secret.index().to_le_bytes().to_vec())
    }

    fn verify_share(&self, _: &Name<'_>, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn verify_shares(&self, _: &Name<'_>, shares: &[&[u8]]) -> Result<Vec<Result<()>>> {
        Ok(vec![Ok(()); shares.len()])
    }

    fn combine(&self, name: &Name<'_>, _: &[&[u8]]) -> Result<Toss> {
        Ok(Toss { value: name.hasher(CONTEXT_VALUE).finish() })
    }
}

#[test]
fn whatever_uses_a_coin_can_be_given_a_predictable_one() {
    let coins: [Box<dyn Coin>; 2] = [Box::new(Predictable), deal::<CoinKeys>(1, 1).coin];
    let tosses = coins.map(|coin| {
        let secret = SecretShare::new::<CoinKeys>(1, &Scalar::from(7u64)).unwrap();
        let share = coin.share(&secret, &NAME).unwrap();
        coin.combine(&NAME, &[&share]).ok()
    });
    assert_eq!(tosses[0], Some(Toss { value: NAME.hasher(CONTEXT_VALUE).finish() }));
    assert_eq!(tosses[1], None, "a share of another key is no share of the real coin");
}

#[test]
fn the_value_is_the_hash_of_the_secret_times_the_name() {
    let dealt = deal::<CoinKeys>(3, 5);
    let secret = Scalar::from_canonical_bytes(dealt.polynomial_at_zero.clone().try_into().unwrap()).unwrap();
    let mut uniform = [0; 64];
    let name = [
        &5u64.to_le_bytes()[..],
        b"chain",
        &1u64.to_le_bytes(),
        &9u64.to_le_bytes(),
        b"agreement",
        &2u64.to_le_bytes(),
    ];
    blake3::Hasher::new_derive_key(CONTEXT_POINT).update(&name.concat()).finalize_xof().fill(&mut uniform);
    let product = RistrettoPoint::from_uniform_bytes(&uniform) * secret;
    let value = blake3::derive_key(CONTEXT_VALUE, product.compress().as_bytes());
    let toss = dealt.combine(&NAME, &dealt.shares(&NAME, &[5, 1, 3])).unwrap();
    assert_eq!(toss, Toss { value });
    assert_eq!(toss.bit(), value[0] % 2 == 1);
}

#[test]
fn a_signature_shows_the_coin_to_who_has_the_group_key_alone() {
    let dealt = deal::<BlsKeys>(2, 3);
    let coin = BlsCoin::new(2, &GroupKey::from_bytes(&dealt.group).unwrap(), &dealt.publics).unwrap();
    let shares = dealt.shares(&NAME, &[1, 3]);
    let toss = dealt.combine(&NAME, &shares).unwrap();
    let slices: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
    let message = BlsCoin::message(&NAME);
    let signature = bls::combine(&coin.group, 2, &coin.public_shares, &slices, &message).unwrap().signature;
    assert_eq!(coin.toss_of(&NAME, &signature).unwrap(), toss);
    assert!(coin.toss_of(&Name { round: 3, ..NAME }, &signature).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_threshold_of_the_parties_see_the_same_and_fewer_see_nothing(
        threshold in 1u16..5,
        indices in subsequence((1u16..=6).collect::<Vec<_>>(), 6).prop_shuffle(),
        round: u64,
    ) {
        for dealt in both(threshold, 6) {
            let name = Name { round, ..NAME };
            let shares = dealt.shares(&name, &indices);
            let needed = usize::from(threshold);
            let toss = dealt.combine(&name, &shares[..needed]).unwrap();
            for window in shares.windows(needed) {
                prop_assert_eq!(dealt.combine(&name, window).unwrap(), toss);
            }
            prop_assert_eq!(dealt.combine(&name, &shares).unwrap(), toss);
            let error = dealt.combine(&name, &shares[..needed - 1]).unwrap_err();
            let (needed, had) = (u64::from(threshold), u64::from(threshold - 1));
            let fits = matches!(error, Error::Unavailable { needed: n, had: h, .. } if (n, h) == (needed, had));
            prop_assert!(fits, "{}", error);
        }
    }
}

#[test]
fn all_subsets_give_the_same_bit() {
    for dealt in both(3, 5) {
        let shares = dealt.shares(&NAME, &[1, 2, 3, 4, 5]);
        let mut tosses = HashSet::new();
        for subset in 0u32..32 {
            if subset.count_ones() == 3 {
                let some: Vec<Vec<u8>> =
                    (0..5).filter(|at| subset >> at & 1 == 1).map(|at| shares[at].clone()).collect();
                tosses.insert(dealt.combine(&NAME, &some).unwrap().value);
            }
        }
        assert_eq!(tosses.len(), 1);
    }
}

/// The probability that `flips` fair coins show at most `heads` heads.
fn lower_tail(flips: u32, heads: u32) -> f64 {
    let (mut term, mut sum) = (0.5f64.powi(flips as i32), 0.0);
    for k in 0..=heads {
        sum += term;
        term *= f64::from(flips - k) / f64::from(k + 1);
    }
    sum
}

#[test]
fn bits_are_balanced() {
    // The exact binomial bound: each tail has a chance of 2⁻⁴⁰ or less.
    assert!((lower_tail(10, 5) - 0.623_046_875).abs() < 1e-12);
    for (dealt, rounds) in both(1, 1).into_iter().zip([1000, 300]) {
        let bound = (0..rounds).find(|heads| lower_tail(rounds, *heads) > 2f64.powi(-40)).unwrap();
        let (mut heads, mut values) = (0, HashSet::new());
        for round in 0..rounds {
            let name = Name { round: u64::from(round), ..NAME };
            let toss = dealt.combine(&name, &dealt.shares(&name, &[1])).unwrap();
            heads += u32::from(toss.bit());
            values.insert(toss.value);
        }
        assert!((bound..=rounds - bound).contains(&heads), "{heads} heads of {rounds}, {bound} at least");
        assert_eq!(values.len(), rounds as usize);
    }
}

#[test]
fn every_part_of_a_name_makes_another_coin() {
    let names = [
        NAME,
        Name { chain: b"chai", instance: b"nagreement", ..NAME },
        Name { chain: b"", instance: b"chainagreement", ..NAME },
        Name { epoch: 2, ..NAME },
        Name { epoch: 2, round: 1, ..NAME },
        Name { round: 3, ..NAME },
    ];
    for dealt in both(1, 1) {
        let tosses: HashSet<_> =
            names.iter().map(|name| dealt.combine(name, &dealt.shares(name, &[1])).unwrap().value).collect();
        assert_eq!(tosses.len(), names.len());
        let [share] = &dealt.shares(&NAME, &[1])[..] else { panic!() };
        for name in &names[1..] {
            assert!(matches!(dealt.coin.verify_share(name, share), Err(Error::Verification(_))));
            assert!(dealt.combine(name, std::slice::from_ref(share)).is_err());
        }
    }
}

#[test]
fn wrong_shares_are_refused_named_and_left_out() {
    for dealt in both(2, 5) {
        let good = dealt.shares(&NAME, &[1, 2, 3, 4, 5]);
        let toss = dealt.combine(&NAME, &good).unwrap();
        let mut shares = good.clone();
        shares[0] = [&good[0][..2], &good[1][2..]].concat(); // the value and proof of 2 as those of 1
        shares[3] = [&good[3][..2], &good[0][2..]].concat();
        assert_eq!(dealt.combine(&NAME, &shares).unwrap(), toss);
        let error = dealt.combine(&NAME, &[shares[0].clone(), shares[3].clone(), shares[4].clone()]).unwrap_err();
        assert!(matches!(error, Error::Unavailable { needed: 2, had: 1, .. }), "{error}");
        assert!(error.to_string().contains('1') && error.to_string().contains('4'), "{error}");
        let slices: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
        let verdicts = dealt.coin.verify_shares(&NAME, &slices).unwrap();
        assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true, false, true]);
        for (share, verdict) in slices.iter().zip(verdicts) {
            assert_eq!(dealt.coin.verify_share(&NAME, share).is_ok(), verdict.is_ok());
        }
        let mixed = [slices[1], &slices[1][..7], slices[1], slices[0], slices[2]];
        let verdicts = dealt.coin.verify_shares(&NAME, &mixed).unwrap();
        assert!(matches!(verdicts[..], [Ok(()), Err(Error::Input(_)), Ok(()), Err(Error::Verification(_)), Ok(())]));
        for bit in (0..8 * good[2].len()).step_by(if good[2].len() > 100 { 1 } else { 7 }) {
            let mut wrong = good[2].clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(dealt.coin.verify_share(&NAME, &wrong).is_err(), "bit {bit}");
        }
        for len in 0..good[2].len() {
            assert!(dealt.coin.verify_share(&NAME, &good[2][..len]).is_err());
        }
        let zero = [&[0, 0], &good[0][2..]].concat();
        assert!(matches!(dealt.combine(&NAME, &[zero, good[1].clone()]), Err(Error::Input(_))));
        assert!(matches!(dealt.combine(&NAME, &[good[1].clone(), good[1].clone()]), Err(Error::Input(_))));
    }
}

#[test]
fn keys_of_other_kinds_orders_and_numbers_are_refused() {
    let [ristretto, bls] = both(2, 3);
    assert!(message(ristretto.coin.share(&bls.secrets[0], &NAME)).contains("a secret share of a coin is needed"));
    assert!(message(bls.coin.share(&ristretto.secrets[0], &NAME)).contains("a secret share of a BLS key is needed"));
    for (dealt, other) in [(&ristretto, &bls), (&bls, &ristretto)] {
        let refused =
            |threshold, group: &[u8], publics: &[Vec<u8>]| message(coin_of(threshold, group, publics).map(|_| ()));
        assert!(refused(2, &dealt.group, &other.publics).contains("is needed"));
        assert!(refused(0, &dealt.group, &dealt.publics).contains("the threshold 0 of 3 parties"));
        assert!(refused(4, &dealt.group, &dealt.publics).contains("the threshold 4 of 3 parties"));
        assert!(refused(2, b"", &dealt.publics).contains("its type is not known"));
        let mut swapped = dealt.publics.clone();
        swapped.swap(0, 2);
        assert!(refused(2, &dealt.group, &swapped).contains("index 3 stands where that of index 1 is needed"));
    }
    let refused = coin_of(2, &deal::<CoinKeys>(2, 3).group, &ristretto.publics);
    assert!(message(refused.map(|_| ())).contains("not of the group's key with this threshold"));
    let tdh2 = deal_of_tdh2();
    assert!(message(coin_of(1, &tdh2, &ristretto.publics).map(|_| ())).contains("a public key of a coin is needed"));
}

fn deal_of_tdh2() -> Vec<u8> {
    GroupKey::<Tdh2Keys>::new(Ristretto::mul_base(&Scalar::from(3u64))).unwrap().to_bytes()
}

#[test]
fn the_lengths_are_as_documented() {
    let [ristretto, bls] = both(1, 1);
    assert_eq!(ristretto.shares(&NAME, &[1])[0].len(), SHARE_LEN);
    assert_eq!((SHARE_LEN, bls.shares(&NAME, &[1])[0].len()), (130, bls::SHARE_LEN));
    assert_eq!(bls.group.len(), 2 + G2::POINT_LEN);
}
