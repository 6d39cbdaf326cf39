//! Multipliers: overlaps, moments, bounds, bytes.

use proptest::prelude::*;

use super::super::multipliers::{BP_MAX, EVENTS_MAX, ONE, WEIGHT_MAX};
use super::super::{Event, Multipliers};

fn event(place: Option<&str>, bp: u32, from_ms: u64, until_ms: u64) -> Event {
    Event { municipality: place.map(Into::into), bp, from_ms, until_ms }
}

fn table(cities: &[(&str, u32)], events: Vec<Event>) -> crate::error::Result<Multipliers> {
    Multipliers::new(cities.iter().map(|(name, bp)| ((*name).to_string(), *bp)), events)
}

#[test]
fn those_in_force_multiply() {
    let events = vec![event(Some("a"), 15_000, 10, 20), event(None, 20_000, 15, 30), event(Some("b"), 5000, 0, 100)];
    let table = table(&[("a", 30_000), ("b", 3)], events).unwrap();
    for (name, at_ms, expected) in [
        ("a", 9, 30_000),
        ("a", 10, 45_000),
        ("a", 15, 90_000),
        ("a", 19, 90_000),
        ("a", 20, 60_000),
        ("a", 30, 30_000),
        ("b", 0, 1),
        ("b", 15, 3),
        ("c", 0, ONE),
        ("c", 29, 20_000),
    ] {
        assert_eq!(table.weight(name, at_ms).unwrap(), expected, "{name} at {at_ms}");
    }
    assert_eq!(table.apply(1001, "a", 10).unwrap(), 4504);
    assert!(table.apply(u64::MAX, "a", 10).is_err());
    assert_eq!(table.apply(u64::MAX, "c", 0).unwrap(), u64::MAX);
}

#[test]
fn at_the_moment_where_one_ends_and_the_next_begins_there_is_one() {
    let table = table(&[], vec![event(None, 20_000, 0, 10), event(None, 30_000, 10, 20)]).unwrap();
    assert_eq!([9, 10, 19, 20].map(|at| table.weight("x", at).unwrap()), [20_000, 30_000, 30_000, ONE]);
}

#[test]
fn a_table_that_cannot_be_is_refused() {
    let wrong = |cities: &[(&str, u32)], events: Vec<Event>| table(cities, events).unwrap_err().to_string();
    assert!(wrong(&[("a", BP_MAX + 1)], vec![]).contains("at most 1000000"));
    assert!(wrong(&[("a", 1), ("a", 2)], vec![]).contains("comes twice"));
    assert!(wrong(&[("", 1)], vec![]).contains("0 bytes"));
    assert!(wrong(&[], vec![event(None, 1, 5, 5)]).contains("no time"));
    assert!(wrong(&[], vec![event(Some("a\u{7}"), 1, 5, 6)]).contains("control"));
    assert!(wrong(&[], vec![event(None, BP_MAX + 1, 5, 6)]).contains("everywhere"));
    assert!(wrong(&[], vec![event(None, 9, 5, 6); 2]).contains("twice"));
    let many = (0..=EVENTS_MAX as u64).map(|at| event(None, 9, at, at + 1)).collect();
    assert!(wrong(&[], many).contains("1025 events"));
    // 100 × 100 × 100 is more than 100,000, at the moment where all are in force, there and nowhere else.
    let steep =
        |last: u64| vec![event(None, BP_MAX, 0, 10), event(Some("a"), BP_MAX, 5, 20), event(None, BP_MAX, last, 30)];
    assert!(wrong(&[], steep(9)).contains("at 9 ms"));
    assert_eq!(table(&[], steep(10)).unwrap().weight("a", 9).unwrap(), 100_000_000);
    let everywhere = vec![event(None, BP_MAX, 0, 10), event(None, BP_MAX, 0, 11)];
    assert!(wrong(&[("heavy", 200_000)], everywhere.clone()).contains("heavy"));
    assert!(table(&[("light", 100_000)], everywhere).unwrap().weight("light", 0).unwrap() <= WEIGHT_MAX);
}

proptest! {
    #[test]
    fn the_order_they_are_given_in_changes_nothing(
        events in prop::collection::vec((prop::option::of(0u8..4), 0u32..40_000, 0u64..50, 1u64..50), 0..12),
        turn in 0usize..12,
        at_ms in 0u64..110,
    ) {
        let mut events: Vec<Event> = events.into_iter().map(|(place, bp, from, length)| {
            let place = place.map(|number| format!("p{number}"));
            event(place.as_deref(), bp, from, from + length)
        }).collect();
        events.sort();
        events.dedup();
        let one = table(&[("p1", 12_345)], events.clone()).unwrap();
        if !events.is_empty() {
            let turn = turn % events.len();
            events.rotate_left(turn);
        }
        let other = table(&[("p1", 12_345)], events.clone()).unwrap();
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.root(), other.root());
        let bytes = one.to_bytes().unwrap();
        prop_assert_eq!(&Multipliers::from_bytes(&bytes).unwrap(), &one);
        for name in ["p0", "p1", "p9"] {
            let mut expected = if name == "p1" { 12_345u128 } else { 10_000 };
            for event in one.events() {
                let here = event.municipality.as_deref().is_none_or(|place| place == name);
                if here && (event.from_ms..event.until_ms).contains(&at_ms) {
                    expected = expected * u128::from(event.bp) / 10_000;
                }
            }
            prop_assert_eq!(u128::from(one.weight(name, at_ms).unwrap()), expected);
        }
    }
}

#[test]
fn there_is_one_encoding() {
    let made = table(&[("a", 30_000), ("b", 3)], vec![event(None, 9, 1, 2), event(Some("a"), 7, 1, 2)]).unwrap();
    let bytes = made.to_bytes().unwrap();
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        if let Ok(other) = Multipliers::from_bytes(&wrong) {
            assert_ne!(other.root(), made.root());
            assert_eq!(other.to_bytes().unwrap(), wrong);
        }
        assert!(Multipliers::from_bytes(&bytes[..at]).is_err());
    }
}
