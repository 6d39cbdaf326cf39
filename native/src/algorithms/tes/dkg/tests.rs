use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::super::group::{Group, Scalar};
use super::super::polynomial::{lagrange_at_zero, random_scalar, weighted_sum};
use super::super::ristretto::Ristretto;
use super::super::share::{BlsKeys, CoinKeys, GroupKey, Keys, PublicShare, ScalarOf, Scheme, SecretShare, Tdh2Keys};
use super::*;

const CONTEXT: &[u8] = b"chain 7, epoch 1";

fn setup(threshold: u16, parties: u16) -> Setup<'static> {
    Setup::new(CONTEXT, threshold, parties).unwrap()
}

fn message<T>(result: Result<T>) -> String {
    result.err().unwrap().to_string()
}

/// Deals and the shares that came with them, by dealer.
struct Dealt<K: Keys> {
    deals: Vec<Deal<K>>,
    shares: Vec<Vec<SecretShare>>,
}

impl<K: Keys> Dealt<K> {
    fn by(setup: Setup<'_>, dealers: impl IntoIterator<Item = u16>) -> Self {
        let (deals, shares) = dealers.into_iter().map(|dealer| deal::<K>(setup, dealer).unwrap()).unzip();
        Self { deals, shares }
    }

    fn again(setup: Setup<'_>, old: &[KeyShare<K>]) -> Self {
        let (deals, shares) = old.iter().map(|old| reshare_deal::<K>(setup, &old.secret).unwrap()).unzip();
        Self { deals, shares }
    }

    fn deals(&self) -> Vec<&Deal<K>> {
        self.deals.iter().collect()
    }

    /// What party `index` got from each dealer.
    fn of(&self, index: u16) -> Vec<&SecretShare> {
        self.shares.iter().map(|shares| &shares[usize::from(index) - 1]).collect()
    }

    fn finalize(&self, setup: Setup<'_>, index: u16) -> Result<KeyShare<K>> {
        finalize(setup, index, &self.deals(), &self.of(index))
    }

    fn verdicts(&self, setup: Setup<'_>, index: u16) -> Verdicts {
        verify_deals(setup, index, &self.deals(), &self.of(index)).unwrap()
    }
}

fn key<K: Keys>(setup: Setup<'_>) -> Vec<KeyShare<K>> {
    let dealt = Dealt::by(setup, 1..=setup.parties());
    (1..=setup.parties()).map(|index| dealt.finalize(setup, index).unwrap()).collect()
}

fn handed<K: Keys>(setup: Setup<'_>, old: &[KeyShare<K>]) -> Vec<KeyShare<K>> {
    let dealt = Dealt::again(setup, old);
    let handed = |index| finalize_reshare(setup, &old[0].public, index, &dealt.deals(), &dealt.of(index)).unwrap();
    (1..=setup.parties()).map(handed).collect()
}

/// What the shares put together are, times the base point.
fn together<'a, K: Keys>(shares: impl IntoIterator<Item = &'a KeyShare<K>>) -> PointOf<K> {
    let shares: Vec<&SecretShare> = shares.into_iter().map(|share| &share.secret).collect();
    let indices: Vec<u16> = shares.iter().map(|share| share.index()).collect();
    K::Group::mul_base(&*weighted_sum(&lagrange_at_zero(&indices).unwrap(), &scalars::<K>(&shares).unwrap()))
}

/// A deal with some of its bytes changed.
fn changed<K: Keys>(deal: &Deal<K>, change: impl FnOnce(&mut Vec<u8>)) -> Result<Deal<K>> {
    let mut bytes = deal.as_bytes().to_vec();
    change(&mut bytes);
    Deal::from_bytes(&bytes)
}

fn check_key<K: Keys>(shares: &[KeyShare<K>]) {
    let public = &shares[0].public;
    for (share, index) in shares.iter().zip(1..) {
        assert_eq!(share.public, *public, "all see the same keys");
        assert_eq!((share.secret.index(), share.secret.scheme()), (index, K::SCHEME));
        assert_eq!(share.secret.public::<K>().unwrap(), *public.share(index).unwrap());
    }
    assert_eq!(public.share(0), None);
    assert_eq!(public.share(public.parties() + 1), None);
    assert_eq!(PublicKeys::new(public.threshold(), *public.group_key(), public.shares().to_vec()).unwrap(), *public);
}

#[test]
fn every_setting_makes_one_key() {
    fn check<K: Keys>() {
        for (threshold, parties) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 4), (5, 7), (10, 10)] {
            let setup = setup(threshold, parties);
            let shares = key::<K>(setup);
            check_key(&shares);
            let public = &shares[0].public;
            assert_eq!((public.threshold(), public.parties()), (threshold, parties));
            for count in 1..=usize::from(parties) {
                let found = together(&shares[usize::from(parties) - count..]);
                assert_eq!(found == *public.group_key().point(), count >= usize::from(threshold), "{count}");
            }
        }
    }
    check::<BlsKeys>();
    check::<Tdh2Keys>();
    check::<CoinKeys>();
}

#[test]
fn a_key_is_the_sum_of_what_was_dealt_and_those_without_a_share_see_it() {
    let setup = setup(2, 4);
    let dealt = Dealt::<Tdh2Keys>::by(setup, [4, 2, 3]);
    let sum = dealt.deals.iter().map(|deal| deal.commitments()[0]).reduce(|a, b| a + b).unwrap();
    let public = public_keys(setup, &dealt.deals()).unwrap();
    assert_eq!(*public.group_key().point(), sum);
    for index in 1..=4 {
        let share = dealt.finalize(setup, index).unwrap();
        assert_eq!(share.public, public);
        assert_eq!(share.secret.public::<Tdh2Keys>().unwrap(), *public.share(index).unwrap());
    }
    // The order of the deals changes nothing, what counts does.
    let two = [&dealt.deals[2], &dealt.deals[0]];
    assert_eq!(public_keys(setup, &two).unwrap(), public_keys(setup, &[two[1], two[0]]).unwrap());
    assert_ne!(public_keys(setup, &two).unwrap(), public);
}

#[test]
fn fewer_shares_than_the_threshold_say_nothing() {
    // For every value that the secret may have there is one polynomial through the shares: each is as likely.
    let setup = setup(4, 7);
    let (deal, shares) = deal::<Tdh2Keys>(setup, 1).unwrap();
    let known: Vec<&SecretShare> = [&shares[1], &shares[3], &shares[6]].into();
    let indices: Vec<u16> = known.iter().map(|share| share.index()).collect();
    let at = |value: u16| ScalarOf::<Tdh2Keys>::from_u64(u64::from(value));
    let mut shares_of_another = Vec::new();
    for secret in [at(0), at(1), *random_scalar().unwrap(), *random_scalar().unwrap()] {
        // Lagrange through (0, secret) and the known shares, at x.
        let value = |x: ScalarOf<Tdh2Keys>| {
            let points: Vec<_> = std::iter::once((at(0), secret))
                .chain(known.iter().map(|share| (at(share.index()), *share.scalar::<Tdh2Keys>().unwrap())))
                .collect();
            let basis = |i: usize| {
                let others = points.iter().enumerate().filter(|(j, _)| *j != i);
                others
                    .map(|(_, (xj, _))| (x - xj) * Scalar::invert(&(points[i].0 - xj)).unwrap())
                    .product::<ScalarOf<Tdh2Keys>>()
            };
            points.iter().enumerate().map(|(i, (_, y))| y * basis(i)).sum::<ScalarOf<Tdh2Keys>>()
        };
        assert_eq!(value(at(0)), secret);
        for share in &known {
            assert_eq!(value(at(share.index())), *share.scalar::<Tdh2Keys>().unwrap());
        }
        // A polynomial of four terms indeed: any four of its values give the secret.
        let values: Vec<_> = [1, 3, 5, 6].map(|x| Zeroizing::new(value(at(x)))).into();
        assert_eq!(*weighted_sum(&lagrange_at_zero(&[1, 3, 5, 6]).unwrap(), &values), secret);
        shares_of_another.push(value(at(5)));
    }
    for (place, share) in shares_of_another.iter().enumerate() {
        assert!(!shares_of_another[..place].contains(share), "another secret, another fifth share");
    }
    let wrong = weighted_sum(&lagrange_at_zero(&indices).unwrap(), &scalars::<Tdh2Keys>(&known).unwrap());
    assert_ne!(Ristretto::mul_base(&wrong), deal.commitments()[0]);
}

#[test]
fn a_wrong_share_is_named_with_its_dealer() {
    fn check<K: Keys>() {
        let setup = setup(3, 5);
        let mut dealt = Dealt::<K>::by(setup, 1..=5);
        assert!(dealt.verdicts(setup, 4).iter().all(Result::is_ok));
        // Dealer 2 gives party 4 what is not on its polynomial, dealer 5 what is another party's.
        let scalar = dealt.shares[1][3].scalar::<K>().unwrap();
        dealt.shares[1][3] = SecretShare::new::<K>(4, &scalar.add(&ScalarOf::<K>::ONE)).unwrap();
        dealt.shares[4].swap(3, 0);
        let verdicts = dealt.verdicts(setup, 4);
        assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true, false]);
        assert_eq!(message(verdicts[1].clone()), "share from dealer 2: it does not fit its deal");
        assert_eq!(message(verdicts[4].clone()), "share from dealer 5: it is party 1's, party 4's is needed");
        assert!(message(dealt.finalize(setup, 4)).contains("dealer 2"));
        assert!(dealt.verdicts(setup, 2).iter().all(Result::is_ok), "the others' shares are right");
        assert!(dealt.finalize(setup, 2).is_ok());

        // The others are enough, for whoever leaves the two out.
        let (deals, shares) = (dealt.deals(), dealt.of(4));
        let good = [0, 2, 3];
        finalize(setup, 4, &good.map(|at| deals[at]), &good.map(|at| shares[at])).unwrap();
    }
    check::<BlsKeys>();
    check::<Tdh2Keys>();
}

#[test]
fn wrong_shares_that_cancel_each_other_are_seen() {
    let setup = setup(2, 3);
    let mut dealt = Dealt::<CoinKeys>::by(setup, 1..=3);
    for (dealer, sign) in [(0, ScalarOf::<CoinKeys>::ONE), (2, -ScalarOf::<CoinKeys>::ONE)] {
        let scalar = *dealt.shares[dealer][0].scalar::<CoinKeys>().unwrap() + sign;
        dealt.shares[dealer][0] = SecretShare::new::<CoinKeys>(1, &scalar).unwrap();
    }
    assert_eq!(dealt.verdicts(setup, 1).iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn a_share_of_another_scheme_is_a_verdict() {
    let setup = setup(2, 3);
    let mut dealt = Dealt::<Tdh2Keys>::by(setup, 1..=3);
    dealt.shares[2][0] = SecretShare::new::<CoinKeys>(1, &*random_scalar().unwrap()).unwrap();
    let verdicts = dealt.verdicts(setup, 1);
    assert!(verdicts[0].is_ok() && verdicts[1].is_ok());
    let expected = "share from dealer 3: key: it is a secret share of a coin, \
                    a secret share of a threshold encryption key is needed";
    assert_eq!(message(verdicts[2].clone()), expected);
}

#[test]
fn a_deal_is_bound_to_everything_around_it() {
    fn check<K: Keys>() {
        let at_home = setup(2, 3);
        let dealt = Dealt::<K>::by(at_home, 1..=3);
        let one = |setup: Setup<'_>, deal: &Deal<K>| {
            verify_deals(setup, 1, &[deal], &[&dealt.shares[0][0]]).unwrap().remove(0)
        };
        let first = &dealt.deals[0];
        one(at_home, first).unwrap();
        for (elsewhere, word) in [
            (Setup::new(b"chain 7, epoch 2", 2, 3).unwrap(), "the proof"),
            (Setup::new(b"", 2, 3).unwrap(), "the proof"),
            (setup(2, 4), "the proof"),
            (setup(3, 3), "threshold 2, it must be 3"),
        ] {
            let refusal = message(one(elsewhere, first));
            assert!(refusal.starts_with("deal of dealer 1") && refusal.contains(word), "{refusal}");
        }
        // Handed in as another dealer's, for another purpose, with another's constant term or proof.
        let len = K::Group::POINT_LEN;
        let stolen = changed(first, |bytes| bytes[2] = 2).unwrap();
        assert!(message(one(at_home, &stolen)).contains("deal of dealer 2: the proof"));
        let handed_on = changed(first, |bytes| bytes[1] = b'r').unwrap();
        assert!(message(one(at_home, &handed_on)).contains("it is a deal that hands a key on, a deal of a new key"));
        let other = dealt.deals[1].as_bytes().to_vec();
        for part in [6..6 + len, 6 + len..6 + 2 * len, 6 + 2 * len..6 + 3 * len, 6 + 3 * len..other.len()] {
            let mixed = changed(first, |bytes| bytes[part.clone()].copy_from_slice(&other[part])).unwrap();
            assert!(message(one(at_home, &mixed)).contains("the proof"));
        }
        // Only those who are parties deal.
        let stranger = changed(first, |bytes| bytes[2] = 4).unwrap();
        assert!(message(one(at_home, &stranger)).contains("deal of dealer 4: it is no party, they are 1 to 3"));
    }
    check::<BlsKeys>();
    check::<Tdh2Keys>();
    check::<CoinKeys>();
}

#[test]
fn a_proof_by_hand() {
    // z·B = R + c·C₀ for the challenge that the documentation describes, with BLAKE3 and the group's own library.
    let (deal, shares) = deal::<Tdh2Keys>(setup(2, 3), 3).unwrap();
    let bytes = deal.as_bytes();
    assert_eq!((bytes.len(), &bytes[..6]), (6 + 3 * 32 + 32, &b"td\x03\x00\x02\x00"[..]));
    let framed = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let said = [framed(CONTEXT), 3u64.to_le_bytes().to_vec(), framed(b"ristretto255"), framed(&bytes[..102])].concat();
    let mut wide = [0; 64];
    let mut hasher = blake3::Hasher::new_derive_key("city-chain v1 tes dkg possession");
    hasher.update(&said).finalize_xof().fill(&mut wide);
    let point = |at: usize| Ristretto::from_bytes(&bytes[at..at + 32]).unwrap();
    let number: [u8; 32] = bytes[102..].try_into().unwrap();
    let response = <ScalarOf<Tdh2Keys> as Scalar>::from_bytes(&number).unwrap();
    let challenge = <ScalarOf<Tdh2Keys> as Scalar>::from_wide(&wide);
    assert_eq!(Ristretto::mul_base(&response), point(70) + point(6) * challenge);
    let second = shares[1].scalar::<Tdh2Keys>().unwrap();
    assert_eq!(Ristretto::mul_base(&second), point(6) + point(38) + point(38));
}

#[test]
fn nobody_deals_what_cancels_anothers_deal() {
    // The rogue's constant term is its own minus the other's: it would have the key alone. It cannot prove it.
    let setup = setup(2, 2);
    let honest = deal::<Tdh2Keys>(setup, 1).unwrap();
    let (rogue, shares) = deal::<Tdh2Keys>(setup, 2).unwrap();
    let constant = Ristretto::to_bytes(&(rogue.commitments()[0] - honest.0.commitments()[0]));
    let rogue = changed(&rogue, |bytes| bytes[6..38].copy_from_slice(&constant)).unwrap();
    let sum = honest.0.commitments()[0] + rogue.commitments()[0];
    assert_eq!(weighted(&shares), sum, "the rogue knows the secret of the sum");
    assert!(message(public_keys(setup, &[&honest.0, &rogue])).contains("deal of dealer 2: the proof"));
}

fn weighted(shares: &[SecretShare]) -> PointOf<Tdh2Keys> {
    let shares: Vec<&SecretShare> = shares.iter().collect();
    let weights = lagrange_at_zero(&[1, 2]).unwrap();
    Ristretto::mul_base(&weighted_sum(&weights, &scalars::<Tdh2Keys>(&shares).unwrap()))
}

#[test]
fn hostile_deals_are_refused_with_the_reason() {
    fn check<K: Keys>() {
        let setup = setup(3, 4);
        let (deal, _) = deal::<K>(setup, 3).unwrap();
        assert_eq!(Deal::<K>::from_bytes(deal.as_bytes()).unwrap(), deal);
        let len = K::Group::POINT_LEN;
        let order_minus_one = ScalarOf::<K>::ZERO.sub(&ScalarOf::<K>::ONE).to_bytes();
        let neutral = if len == 96 { [&[0xc0][..], &[0; 95]].concat() } else { vec![0; 32] };
        type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
        let cases: [(Change<'_>, &str); 14] = [
            (&|bytes| bytes[0] = b'?', "not those of a deal of"),
            (&|bytes| bytes[1] = b'p', "not those of a deal of"),
            (&|bytes| bytes[2] = 0, "its dealer is 0"),
            (&|bytes| bytes[4] = 0, "deal of dealer 3: threshold 0, 1 to 1024"),
            (&|bytes| bytes[4..6].copy_from_slice(&1025u16.to_le_bytes()), "dealer 3: threshold 1025, 1 to 1024"),
            (&|bytes| bytes[4] = 4, "with threshold 4 it has"),
            (&|bytes| bytes[4] = 2, "with threshold 2 it has"),
            (&|bytes| bytes.push(0), "with threshold 3 it has"),
            (&|bytes| bytes[6..6 + len].copy_from_slice(&neutral), "dealer 3: commitment 0: "),
            (&|bytes| bytes[6 + 2 * len..6 + 3 * len].copy_from_slice(&neutral), "dealer 3: commitment 2: "),
            (&|bytes| bytes[6 + len..6 + 2 * len].fill(255), "dealer 3: commitment 1: "),
            (&|bytes| bytes[6 + 3 * len..6 + 4 * len].copy_from_slice(&neutral), "dealer 3: the proof: "),
            (&|bytes| bytes[6 + 4 * len..].fill(255), "dealer 3: the proof: "),
            (
                &|bytes| {
                    bytes[6 + 4 * len..].copy_from_slice(&order_minus_one);
                    bytes[6 + 4 * len] += 1;
                },
                "dealer 3: the proof: ",
            ),
        ];
        for (change, word) in cases {
            let refusal = message(changed(&deal, change));
            assert!(refusal.contains(word), "{refusal}, not {word}");
        }
        for end in 0..deal.as_bytes().len() {
            assert!(Deal::<K>::from_bytes(&deal.as_bytes()[..end]).is_err());
        }
    }
    check::<BlsKeys>();
    check::<Tdh2Keys>();
    check::<CoinKeys>();
    let (deal, _) = deal::<CoinKeys>(setup(2, 3), 1).unwrap();
    assert!(message(Deal::<Tdh2Keys>::from_bytes(deal.as_bytes())).contains("a deal of tdh2"));
}

#[test]
fn what_no_setup_can_be_is_refused() {
    for (threshold, parties, word) in [
        (0, 3, "threshold 0, for 3 parties it is 1 to 3"),
        (4, 3, "threshold 4, for 3 parties it is 1 to 3"),
        (1, 0, "0 parties, 1 to 1024"),
        (1, 1025, "1025 parties, 1 to 1024"),
    ] {
        assert!(message(Setup::new(CONTEXT, threshold, parties)).contains(word));
    }
    assert!(Setup::new(CONTEXT, 1024, 1024).is_ok());
    let setup = setup(2, 3);
    for dealer in [0, 4, 65535] {
        assert!(message(deal::<Tdh2Keys>(setup, dealer)).contains(&format!("party {dealer}, they are 1 to 3")));
    }
    let dealt = Dealt::<Tdh2Keys>::by(setup, 1..=3);
    let (deals, shares) = (dealt.deals(), dealt.of(1));
    for index in [0, 4] {
        assert!(message(verify_deals(setup, index, &deals, &shares)).contains("they are 1 to 3"));
    }
    assert!(message(finalize(setup, 1, &deals, &shares[..2])).contains("2 shares for 3 deals"));
    let twice = [deals[0], deals[1], deals[0]];
    assert!(message(finalize(setup, 1, &twice, &shares)).contains("dealer 1 stands twice"));
    assert!(message(public_keys(setup, &twice)).contains("dealer 1 stands twice"));
    assert_eq!(
        finalize(setup, 1, &deals[..1], &shares[..1]).err().unwrap(),
        Error::unavailable("dkg: deals that count", 2, 1)
    );
    assert_eq!(public_keys::<BlsKeys>(setup, &[]).err().unwrap(), Error::unavailable("dkg: deals that count", 2, 0));
    assert!(verify_deals::<BlsKeys>(setup, 1, &[], &[]).unwrap().is_empty());
}

#[test]
fn a_key_is_handed_on_and_stays() {
    fn check<K: Keys>() {
        let old = key::<K>(setup(3, 5));
        for (threshold, parties, dealers) in [(3, 5, 0..5), (2, 3, 1..4), (5, 8, 2..5), (1, 1, 0..4)] {
            let new_setup = Setup::new(b"chain 7, epoch 2", threshold, parties).unwrap();
            let new = handed(new_setup, &old[dealers.clone()]);
            check_key(&new);
            let public = &new[0].public;
            assert_eq!((public.threshold(), public.parties()), (threshold, parties));
            assert_eq!(public.group_key(), old[0].public.group_key());
            assert_eq!(together(&new[usize::from(parties - threshold)..]), *public.group_key().point());
            let dealt = Dealt::again(new_setup, &old[dealers]);
            let seen = reshared_public_keys(new_setup, &old[0].public, &dealt.deals()).unwrap();
            assert_eq!(seen.group_key(), public.group_key());
            if threshold > 1 {
                assert_ne!(seen, *public, "dealt again, other shares");
                assert_ne!(together(&new[..usize::from(threshold) - 1]), *public.group_key().point());
            }
        }
    }
    check::<BlsKeys>();
    check::<Tdh2Keys>();
}

#[test]
fn old_and_new_shares_do_not_add_up() {
    let setup = setup(3, 4);
    let old = key::<Tdh2Keys>(setup);
    let new = handed(setup, &old);
    let group = *old[0].public.group_key().point();
    for from in 0..8u8 {
        // Bit i says whether party i + 1's share is the new one.
        let mixed = (0..3).map(|at| if from >> at & 1 == 1 { &new[at] } else { &old[at] });
        assert_eq!(together(mixed) == group, from == 0 || from == 7, "{from:03b}");
    }
    for (old, new) in old.iter().zip(&new) {
        assert!(old.secret != new.secret);
        assert_ne!(old.public.shares(), new.public.shares());
    }
}

#[test]
fn only_the_old_shares_are_handed_on() {
    let (old_setup, new_setup) = (setup(2, 3), Setup::new(b"next", 2, 4).unwrap());
    let old = key::<CoinKeys>(old_setup);
    let public = &old[0].public;
    let mut dealt = Dealt::again(new_setup, &old);
    let verdicts =
        |dealt: &Dealt<CoinKeys>| verify_reshare_deals(new_setup, public, 4, &dealt.deals(), &dealt.of(4)).unwrap();
    assert!(verdicts(&dealt).iter().all(Result::is_ok));

    // Dealer 2 hands something else on, one who was no party wants to, and a deal of a new key is none.
    let invented = SecretShare::new::<CoinKeys>(2, &*random_scalar().unwrap()).unwrap();
    let stranger = SecretShare::new::<CoinKeys>(4, &*random_scalar().unwrap()).unwrap();
    for (at, made) in [reshare_deal(new_setup, &invented), reshare_deal(new_setup, &stranger), deal(new_setup, 3)]
        .into_iter()
        .enumerate()
    {
        let (deal, shares) = made.unwrap();
        if at < 2 {
            dealt.deals[at + 1] = deal;
            dealt.shares[at + 1] = shares;
        } else {
            dealt.deals[0] = deal;
            dealt.shares[0] = shares;
        }
    }
    let refusals: Vec<String> = verdicts(&dealt).into_iter().map(message).collect();
    assert_eq!(
        refusals,
        [
            "deal of dealer 3: it is a deal of a new key, a deal that hands a key on is needed",
            "deal of dealer 2: its constant term is not the share that this dealer has of the key",
            "deal of dealer 4: it was no party of the key, they were 1 to 3",
        ]
    );
    assert!(message(reshared_public_keys(new_setup, public, &dealt.deals())).contains("dealer 3"));

    // Fewer than the old threshold hand nothing on, whatever the new one is.
    let one = Dealt::again(Setup::new(b"next", 1, 4).unwrap(), &old[..1]);
    let few = finalize_reshare(Setup::new(b"next", 1, 4).unwrap(), public, 1, &one.deals(), &one.of(1));
    assert_eq!(few.err().unwrap(), Error::unavailable("dkg: deals that count", 2, 1));
    let other = SecretShare::new::<Tdh2Keys>(1, &*random_scalar().unwrap()).unwrap();
    assert!(message(reshare_deal::<CoinKeys>(new_setup, &other)).contains("a secret share of a coin is needed"));
}

#[test]
fn public_keys_from_elsewhere_must_be_of_one_key() {
    fn check<K: Keys>() {
        let shares = key::<K>(setup(3, 5));
        let public = &shares[0].public;
        let (group, all) = (*public.group_key(), public.shares().to_vec());
        let of =
            |threshold, group: GroupKey<K>, all: &[PublicShare<K>]| PublicKeys::new(threshold, group, all.to_vec());
        assert_eq!(of(3, group, &all).unwrap(), *public);
        assert!(of(3, group, &all[..3]).is_ok() && of(4, group, &all).is_ok() && of(5, group, &all).is_ok());

        let other = GroupKey::new(*all[0].point()).unwrap();
        for refused in [of(2, group, &all), of(3, other, &all), of(5, other, &all)] {
            assert!(matches!(refused, Err(Error::Verification(_))));
        }
        for at in 0..5 {
            let mut wrong = all.clone();
            let moved = K::Group::add(wrong[at].point(), wrong[(at + 1) % 5].point());
            wrong[at] = PublicShare::new(at as u16 + 1, moved).unwrap();
            assert!(message(of(3, group, &wrong)).contains("not of this group key with threshold 3"));
        }
        let mut swapped = all.clone();
        swapped.swap(1, 2);
        assert!(message(of(3, group, &swapped)).contains("in place 2 stands that of party 3"));
        assert!(message(of(0, group, &all)).contains("threshold 0"));
        assert!(message(of(6, group, &all)).contains("threshold 6"));
        assert!(message(of(1, group, &[])).contains("0 parties"));
    }
    check::<BlsKeys>();
    check::<CoinKeys>();
}

#[test]
fn the_same_at_run_time() {
    for scheme in Scheme::ALL {
        let setup = setup(2, 3);
        let (deals, shares): (Vec<_>, Vec<_>) = (1..=3).map(|dealer| any::deal(scheme, setup, dealer).unwrap()).unzip();
        let read: Vec<_> = deals.iter().map(|deal| any::Deal::from_bytes(deal.as_bytes()).unwrap()).collect();
        assert_eq!(read, deals);
        assert_eq!((read[1].scheme(), read[1].dealer(), read[1].threshold()), (scheme, 2, 2));
        assert!(!read[1].reshares());
        let deals: Vec<_> = read.iter().collect();
        let own = |index: usize| shares.iter().map(|shares| &shares[index - 1]).collect::<Vec<_>>();
        let keys: Vec<_> =
            (1..=3).map(|at| any::finalize(scheme, setup, at as u16, &deals, &own(at)).unwrap()).collect();
        let public = &keys[0].public;
        assert_eq!(any::public_keys(scheme, setup, &deals).unwrap(), *public);
        let typed = public.shares();
        let typed: Vec<&[u8]> = typed.iter().map(Vec::as_slice).collect();
        assert_eq!(any::public_share(&keys[2].secret).unwrap(), typed[2]);
        assert_eq!(any::PublicKeys::new(2, &public.group_key(), &typed).unwrap(), *public);
        assert_eq!((public.scheme(), public.threshold(), public.parties()), (scheme, 2, 3));

        let (again, new): (Vec<_>, Vec<_>) =
            keys.iter().map(|key| any::reshare_deal(scheme, setup, &key.secret).unwrap()).unzip();
        assert!(again[0].reshares());
        let again: Vec<_> = again.iter().collect();
        let own_new = |index: usize| new.iter().map(|shares| &shares[index - 1]).collect::<Vec<_>>();
        let verdicts = any::verify_reshare_deals(scheme, setup, public, 2, &again, &own_new(2)).unwrap();
        assert!(verdicts.iter().all(Result::is_ok));
        let key = any::finalize_reshare(scheme, setup, public, 2, &again, &own_new(2)).unwrap();
        assert_eq!(key.public, any::reshared_public_keys(scheme, setup, public, &again).unwrap());
        assert_eq!(key.public.group_key(), public.group_key());

        // Of another scheme: a verdict each, and never part of a key.
        let other = if scheme == Scheme::Coin { Scheme::Bls } else { Scheme::Coin };
        let (stranger, theirs) = any::deal(other, setup, 2).unwrap();
        let (mixed, mut mine) = (vec![deals[0], &stranger, deals[2]], own(1));
        mine[1] = &theirs[0];
        let verdicts = any::verify_deals(scheme, setup, 1, &mixed, &mine).unwrap();
        assert_eq!(verdicts.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        let expected = format!("deal of dealer 2: it is of {}, {} is needed", other.name(), scheme.name());
        assert_eq!(message(verdicts[1].clone()), expected);
        assert_eq!(message(any::finalize(scheme, setup, 1, &mixed, &mine)), expected);
        assert_eq!(message(any::public_keys(scheme, setup, &mixed)), expected);
        assert!(message(any::verify_deals(scheme, setup, 1, &mixed, &mine[..2])).contains("2 shares for 3 deals"));
        let wrong_old = any::verify_reshare_deals(other, setup, public, 2, &again, &own_new(2));
        assert!(message(wrong_old).contains(&format!("they are of {}, {} is needed", scheme.name(), other.name())));
        assert!(message(any::PublicKeys::new(2, typed[0], &typed)).contains("a public key of a group is needed"));
    }
    for bytes in [&b""[..], b"?d", b"xd\x01\x00\x01\x00"] {
        assert!(message(any::Deal::from_bytes(bytes)).contains("no scheme's letter"));
    }
}

#[test]
fn nothing_secret_is_shown() {
    let (deal, shares) = deal::<BlsKeys>(setup(2, 3), 3).unwrap();
    assert_eq!(format!("{deal:?}"), "<Deal of dealer 3 of bls, threshold 2>");
    assert_eq!(format!("{:?}", shares[1]), "<SecretShare 2 of bls>");
    let public = &key::<CoinKeys>(setup(2, 3))[0].public;
    assert_eq!(format!("{public:?}"), "<PublicKeys 2 of 3 of coin>");
}

fn any_shares_do<K: Keys>(threshold: u16, parties: u16, dealers: &[u16], at: &[Index]) {
    let setup = setup(threshold, parties);
    let dealt = Dealt::<K>::by(setup, dealers.iter().copied());
    let shares: Vec<_> = (1..=parties).map(|index| dealt.finalize(setup, index).unwrap()).collect();
    check_key(&shares);
    // A drawing without replacement.
    let mut left: Vec<&KeyShare<K>> = shares.iter().collect();
    let drawn: Vec<_> = at.iter().take(left.len()).map(|at| left.remove(at.index(left.len()))).collect();
    for count in 1..=drawn.len() {
        let found = together(drawn[..count].iter().copied()) == *shares[0].public.group_key().point();
        assert_eq!(found, count >= usize::from(threshold));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_threshold_of_the_parties_have_the_key(
        (threshold, parties, dealers) in (1u16..=10).prop_flat_map(|parties| (1..=parties, Just(parties))).prop_flat_map(
            |(threshold, parties)| {
                let all: Vec<u16> = (1..=parties).collect();
                (Just(threshold), Just(parties), subsequence(all, usize::from(threshold)..=usize::from(parties)).prop_shuffle())
            }
        ),
        at in proptest::collection::vec(any::<Index>(), 10),
        bls: bool,
    ) {
        if bls {
            any_shares_do::<BlsKeys>(threshold, parties, &dealers, &at);
        } else {
            any_shares_do::<Tdh2Keys>(threshold, parties, &dealers, &at);
        }
    }

    #[test]
    fn every_changed_byte_of_a_deal_is_noticed(at: Index, bit in 0u8..8) {
        let setup = setup(2, 3);
        let (deal, shares) = deal::<Tdh2Keys>(setup, 1).unwrap();
        let changed = changed(&deal, |bytes| {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        });
        if let Ok(changed) = changed {
            let verdict = verify_deals(setup, 1, &[&changed], &[&shares[0]]).unwrap().remove(0);
            prop_assert!(verdict.is_err());
        }
    }

    #[test]
    fn bytes_of_anybody_never_panic(bytes: Vec<u8>, letter in 0usize..3, purpose in 0usize..2) {
        let head = [b"btc"[letter], b"dr"[purpose]];
        prop_assert!(any::Deal::from_bytes(&[&head[..], &bytes].concat()).is_err());
        let _ = any::Deal::from_bytes(&bytes);
    }
}
