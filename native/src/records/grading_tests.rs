use proptest::prelude::*;

use super::super::attestation::{Claim, Testimony};
use super::super::identity::Identity;
use super::super::signed::SIGNATURE_LEN;
use super::*;
use crate::primitives::wire;

const AT_MS: u64 = 1_800_000_000_000;
const NETWORK: Digest = [7; 32];
const MOMENT: Moment = Moment { network: NETWORK, epoch: 3, at_ms: AT_MS };
/// Utrecht, Amersfoort (about 20 km away) and Tokyo.
const UTRECHT: (i32, i32) = (520_907_000, 51_214_000);
const AMERSFOORT: (i32, i32) = (521_561_000, 53_878_000);
const TOKYO: (i32, i32) = (356_894_870, 1_396_917_060);

fn spot(name: &str, (lat_e7, lon_e7): (i32, i32)) -> Spot {
    Spot { municipality: Text::new("name", name).unwrap(), lat_e7, lon_e7 }
}

fn identity(at: u8) -> Identity {
    Identity::from_master(&[at; 32])
}

fn rules(needed: u8) -> Rules {
    let known = [(11, "Utrecht", UTRECHT), (12, "Amersfoort", AMERSFOORT), (13, "Tokyo", TOKYO)];
    let mut witnesses: Vec<Witness> =
        known.map(|(at, name, point)| Witness { node: identity(at).id(), spot: spot(name, point) }).to_vec();
    witnesses.sort_by_key(|witness| witness.node);
    Rules {
        home: Text::new("home", "Utrecht").unwrap(),
        home_bp: 15_000,
        grade_bp: [0, 5_000, 10_000, 20_000],
        grade_min: 0,
        needed,
        rtt_us_max: 1_000,
        age_ms_max: 60_000,
        witnesses: List::new("witnesses", witnesses).unwrap(),
        events: List::default(),
    }
}

fn claim(at_ms: u64) -> Claim {
    Claim {
        network: NETWORK,
        epoch: 3,
        subject: identity(1).id(),
        spot: spot("Utrecht", UTRECHT),
        nonce: [5; 32],
        hlc: at_ms << 16,
        signature: [0; SIGNATURE_LEN],
    }
    .sign(identity(1).signing())
    .unwrap()
}

fn seen_by(seen: &[(u8, u32)]) -> Attestation {
    let claim = claim(AT_MS);
    let said = seen.iter().map(|(at, rtt)| Testimony::new(identity(*at).signing(), &claim, *rtt, AT_MS << 16).unwrap());
    let said = said.collect();
    Attestation::new(claim, said).unwrap()
}

fn graded(seen: &[(u8, u32)], needed: u8) -> (u8, Vec<Finding>) {
    let graded = rules(needed).grade(&seen_by(seen), &MOMENT).unwrap();
    let of = |at: u8| {
        let node = identity(at).id();
        graded.findings.iter().find(|(known, _)| *known == node).unwrap().1
    };
    (graded.grade, seen.iter().map(|(at, _)| of(*at)).collect())
}

#[test]
fn grades_follow_from_what_witnesses_saw() {
    use Finding::{Contradicted, Near, Seen, Unknown};
    assert_eq!(graded(&[], 1), (1, vec![]));
    assert_eq!(graded(&[(11, 0)], 1), (2, vec![Seen]));
    assert_eq!(graded(&[(11, 0)], 2), (1, vec![Seen]));
    assert_eq!(graded(&[(11, 300), (12, 0)], 2), (2, vec![Near, Seen]));
    assert_eq!(graded(&[(11, 300), (12, 400)], 2), (3, vec![Near, Near]));
    // One microsecond more than is allowed, and the witness only saw it.
    assert_eq!(graded(&[(11, 1_000)], 1), (3, vec![Near]));
    assert_eq!(graded(&[(11, 1_001)], 1), (2, vec![Seen]));
    // Whom nobody knows does not count, however near.
    assert_eq!(graded(&[(99, 1)], 1), (1, vec![Unknown]));
    // Amersfoort is about 20 km away: light needs 130 µs there and back.
    assert_eq!(graded(&[(12, 100)], 1), (1, vec![Contradicted]));
    assert_eq!(graded(&[(12, 140)], 1), (3, vec![Near]));
    // Tokyo's witness saw an echo that was not in Utrecht.
    assert_eq!(graded(&[(13, 900), (11, 300)], 1), (3, vec![Contradicted, Near]));
    assert_eq!(graded(&[(13, 200_000)], 1), (2, vec![Seen]));
}

#[test]
fn what_is_old_or_from_the_future_counts_for_nothing() {
    let at = |at_ms| rules(1).grade(&seen_by(&[(11, 300)]), &Moment { at_ms, ..MOMENT }).unwrap();
    assert_eq!(at(AT_MS + 60_000).grade, 3);
    assert_eq!((at(AT_MS + 60_001).grade, at(AT_MS + 60_001).findings[0].1), (0, Finding::Stale));
    assert_eq!(at(AT_MS - AHEAD_MS_MAX).grade, 3);
    assert_eq!(at(AT_MS - AHEAD_MS_MAX - 1).grade, 0);
    assert_eq!(at(0).grade, 0);
    assert_eq!(at(u64::MAX).grade, 0);
}

#[test]
fn a_claim_of_another_network_or_epoch_or_signer_is_refused() {
    let good = seen_by(&[(11, 300)]);
    for (network, epoch) in [([8; 32], 3), (NETWORK, 2)] {
        let refused = rules(1).grade(&good, &Moment { network, epoch, ..MOMENT }).unwrap_err();
        assert!(matches!(refused, Error::Verification { .. }), "{refused}");
    }
    let mut moved = good.clone();
    moved.claim.spot = spot("Amersfoort", AMERSFOORT);
    assert!(rules(1).grade(&moved, &MOMENT).unwrap_err().to_string().contains("place claim"));
}

#[test]
fn a_testimony_of_another_claim_or_without_its_witness_s_signature_is_forged() {
    let good = seen_by(&[(11, 300)]);
    let other = Claim { nonce: [6; 32], ..claim(AT_MS) }.sign(identity(1).signing()).unwrap();
    let elsewhere = Attestation { claim: other.clone(), testimonies: good.testimonies.clone() };
    let mut shorter = good.testimonies[0].clone();
    shorter.rtt_us = 1;
    let shorter = Attestation { claim: good.claim.clone(), testimonies: List::new("said", vec![shorter]).unwrap() };
    for wrong in [elsewhere, shorter] {
        let graded = rules(1).grade(&wrong, &MOMENT).unwrap();
        assert_eq!((graded.grade, graded.findings[0].1), (1, Finding::Forged));
    }
    assert!(Attestation::new(other, good.testimonies.to_vec()).is_err());
}

#[test]
fn nobody_is_his_own_witness_and_no_witness_counts_twice() {
    let claim = claim(AT_MS);
    assert!(Testimony::new(identity(1).signing(), &claim, 0, 0).is_err());
    let one = Testimony::new(identity(11).signing(), &claim, 300, AT_MS << 16).unwrap();
    assert!(Attestation::new(claim.clone(), vec![one.clone(), one.clone()]).is_err());
    let own = Testimony { claim: one.claim, witness: claim.subject, ..one.clone() };
    let wrong = Attestation { claim, testimonies: List::new("said", vec![own]).unwrap() };
    assert!(wire::encode(&wrong).unwrap_err().to_string().contains("own claim"));
    assert!(rules(1).grade(&wrong, &MOMENT).is_err());
}

#[test]
fn an_echo_is_the_subject_s_to_that_challenge_of_that_witness() {
    let (claim, witness) = (claim(AT_MS), identity(11).id());
    let echo = claim.echo(identity(1).signing(), &witness, &[4; 32]).unwrap();
    claim.verify_echo(&witness, &[4; 32], &echo).unwrap();
    assert!(claim.verify_echo(&witness, &[3; 32], &echo).is_err());
    assert!(claim.verify_echo(&identity(12).id(), &[4; 32], &echo).is_err());
    assert!(Claim { nonce: [6; 32], ..claim.clone() }.verify_echo(&witness, &[4; 32], &echo).is_err());
    assert!(claim.echo(identity(2).signing(), &witness, &[4; 32]).is_err());
}

#[test]
fn distances_are_those_of_the_globe_and_never_too_long() {
    // (places, metres through the ground on the mean sphere)
    let known = [
        (UTRECHT, AMERSFOORT, 19_619),
        (UTRECHT, TOKYO, 8_500_000),
        ((900_000_000, 0), (-900_000_000, 1_800_000_000), 12_742_000),
        ((0, 1_799_999_999), (0, -1_799_999_999), 0),
        ((0, -900_000_000), (0, 900_000_000), 12_742_000),
        ((0, 0), (0, 10_000_000), 111_194),
    ];
    for (one, other, metres) in known {
        let found = distance_m(&spot("a", one), &spot("b", other));
        assert!(found <= metres && found >= metres - metres / 80, "{one:?} to {other:?}: {found}, about {metres}");
    }
    assert_eq!((reach_m(1_000), reach_m(u32::MAX)), (150_000, 150 * u64::from(u32::MAX)));
}

#[test]
fn weights_are_capacity_times_worth_and_from_grade_2_on_times_the_municipality_s() {
    let mut rules = rules(1);
    let event = |name: &str, multiplier_bp| Event {
        municipality: Text::new("name", name).unwrap(),
        multiplier_bp,
        from_ms: 100,
        until_ms: 200,
    };
    rules.events =
        List::new("events", vec![event("Utrecht", 30_000), event("Utrecht", 5_000), event("Zeist", 70_000)]).unwrap();
    let weight = |name, grade, at| rules.weight(65_536, name, grade, at).unwrap();
    assert_eq!([0, 1, 2, 3].map(|grade| weight("Amersfoort", grade, 0)), [0, 32_768, 65_536, 131_072]);
    assert_eq!([0, 1, 2, 3].map(|grade| weight("Utrecht", grade, 0)), [0, 32_768, 98_304, 196_608]);
    assert_eq!([99, 100, 199, 200].map(|at| weight("Utrecht", 2, at)), [98_304, 147_456, 147_456, 98_304]);
    assert_eq!((weight("Utrecht", 1, 150), weight("Zeist", 2, 150)), (32_768, 458_752));
    assert!(rules.weight(1, "Utrecht", 4, 0).is_err());
    assert!(rules.weight(u32::MAX, "Utrecht", 3, 0).unwrap_err().to_string().contains("32 bits"));
    rules.grade_min = 2;
    assert_eq!([0, 1, 2].map(|grade| rules.weight(65_536, "Zeist", grade, 0).unwrap()), [0, 0, 65_536]);
}

#[test]
fn rules_out_of_range_are_refused() {
    type Change = fn(&mut Rules);
    let cases: [(Change, &str); 8] = [
        (|rules| rules.home = Text::default(), "home"),
        (|rules| rules.home_bp = BP_MAX + 1, "1000001"),
        (|rules| rules.grade_bp = [0, 2, 1, 3], "must not fall"),
        (|rules| rules.grade_min = 4, "grade_min"),
        (|rules| rules.needed = 0, "0 witnesses"),
        (|rules| rules.needed = 17, "17 witnesses"),
        (
            |rules| rules.witnesses = List::new("w", [&rules.witnesses[..], &rules.witnesses[..1]].concat()).unwrap(),
            "ascending",
        ),
        (
            |rules| {
                let event = Event { municipality: rules.home.clone(), multiplier_bp: 1, from_ms: 2, until_ms: 2 };
                rules.events = List::new("events", vec![event]).unwrap();
            },
            "last",
        ),
    ];
    wire::encode(&rules(1)).unwrap();
    for (change, word) in cases {
        let mut wrong = rules(1);
        change(&mut wrong);
        let message = wire::encode(&wrong).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn events_that_grow_beyond_all_numbers_are_an_error() {
    let mut rules = rules(1);
    let event = Event { municipality: rules.home.clone(), multiplier_bp: BP_MAX, from_ms: 0, until_ms: 1 };
    rules.events = List::new("events", vec![event; EVENTS_MAX]).unwrap();
    rules.check().unwrap();
    assert!(rules.weight(65_536, "Utrecht", 2, 0).unwrap_err().to_string().contains("32 bits"));
}

fn point() -> impl Strategy<Value = (i32, i32)> {
    (-900_000_000..=900_000_000, -1_800_000_000..=1_800_000_000)
}

proptest! {
    #[test]
    fn distances_agree_with_floats(one in point(), other in point()) {
        let unit = |(lat, lon): (i32, i32)| {
            let (lat, lon) = (f64::from(lat).to_radians() / 1e7, f64::from(lon).to_radians() / 1e7);
            [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
        };
        let square: f64 = unit(one).iter().zip(unit(other)).map(|(a, b)| (a - b) * (a - b)).sum();
        let expected = square.sqrt() * 6_335_439.0;
        let found = distance_m(&spot("a", one), &spot("b", other));
        prop_assert!((found as f64 - expected).abs() < 2.0, "{} and {}", found, expected);
        prop_assert_eq!(found, distance_m(&spot("b", other), &spot("a", one)));
    }

    #[test]
    fn a_longer_time_never_makes_a_grade_better_unless_it_was_contradicted(
        times in prop::collection::vec(0..4_000u32, 3), longer in 1..100_000u32,
    ) {
        let seen: Vec<(u8, u32)> = (11..14).zip(times).collect();
        let before = graded(&seen, 2);
        let mut slow = seen.clone();
        slow[0].1 = slow[0].1.saturating_add(longer);
        if seen[0].1 > 0 && before.1[0] != Finding::Contradicted {
            prop_assert!(graded(&slow, 2).0 <= before.0);
        }
    }

    #[test]
    fn weights_grow_with_capacity_and_grade(capacity in 0..1u32 << 20, more in 0..1u32 << 10, grade in 0..3u8) {
        let rules = rules(1);
        let weight = |capacity, grade| rules.weight(capacity, "Utrecht", grade, 0).unwrap();
        prop_assert!(weight(capacity, grade) <= weight(capacity + more, grade));
        prop_assert!(weight(capacity, grade) <= weight(capacity, grade + 1));
    }
}
