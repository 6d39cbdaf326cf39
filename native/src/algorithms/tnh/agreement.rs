//! Which of several clocks can be right: the intersection of intervals (Marzullo 1984; RFC 5905, section 11.2.1).
//!
//! Each clock says an interval that holds the truth if the clock is right. A strict majority must have a point in common;
//! then the truth lies between the first and the last such point if that majority is right, and a clock whose interval
//! lies outside is false. Without a majority there is no answer, not even a likely one. (RFC 5905 looks for the fewest false
//! clocks that make sense, so its interval is narrower and can miss the truth while a majority is right; this one cannot.)

use crate::error::{Error, Result};

/// The most clocks that are compared.
pub const CLOCKS_MAX: usize = 64;

/// What one clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Its offset from the local clock, nanoseconds.
    pub offset_ns: i64,
    /// How far the truth may be from that, nanoseconds.
    pub uncertainty_ns: u64,
}

impl Reading {
    fn bounds(self) -> (i128, i128) {
        let (middle, half) = (i128::from(self.offset_ns), i128::from(self.uncertainty_ns));
        (middle - half, middle + half)
    }
}

/// What a majority agrees on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The least offset that can be true, nanoseconds.
    pub earliest_ns: i64,
    /// The greatest.
    pub latest_ns: i64,
    /// The places of the clocks that can be right, rising.
    pub right: Vec<usize>,
    /// The places of the others: falsetickers.
    pub wrong: Vec<usize>,
}

/// Compares clocks.
///
/// # Arguments
/// * `readings`: What those say that say anything.
/// * `total`: How many clocks there are. One that is silent counts as false: the majority is one of all.
///
/// # Errors
/// [`Error::Input`] if `total` is 0, more than [`CLOCKS_MAX`] or less than there are readings; [`Error::Unavailable`] if no
/// strict majority has a point in common.
pub fn intersect(readings: &[Reading], total: usize) -> Result<Agreement> {
    if total == 0 || total > CLOCKS_MAX || readings.len() > total {
        return Err(Error::input(format!(
            "tnh: {} readings of {total} clocks; 1 to {CLOCKS_MAX} clocks can be compared",
            readings.len()
        )));
    }
    let bounds: Vec<(i128, i128)> = readings.iter().map(|reading| reading.bounds()).collect();
    let needed = total / 2 + 1;
    let (most, shared) = overlap(&bounds, needed);
    let Some((earliest, latest)) = shared else {
        let what = format!("tnh: no majority: of {total} clocks, at most {most} can be right together");
        return Err(Error::unavailable(what, needed as u64, most as u64));
    };
    let can = |at: &usize| bounds[*at].0 <= latest && earliest <= bounds[*at].1;
    let (right, wrong) = (0..readings.len()).partition(can);
    Ok(Agreement { earliest_ns: clamped(earliest), latest_ns: clamped(latest), right, wrong })
}

/// How many intervals have a point in common at most, and the first and the last point that `needed` of them share.
///
/// Not the points that most share: where a majority is right, its clocks share the truth, but false ones may overlap a part
/// of them without it, and more of all clocks would meet there.
fn overlap(bounds: &[(i128, i128)], needed: usize) -> (usize, Option<(i128, i128)>) {
    // At the same point an interval begins (false) before another one ends (true): they touch there.
    let mut edges: Vec<(i128, bool)> = bounds.iter().flat_map(|(low, high)| [(*low, false), (*high, true)]).collect();
    edges.sort_unstable();
    let (mut depth, mut most, mut shared) = (0, 0, None);
    for (point, ends) in edges {
        if !ends {
            depth += 1;
            most = most.max(depth);
        }
        if depth >= needed {
            shared = Some(shared.map_or((point, point), |(first, _)| (first, point)));
        }
        if ends {
            depth -= 1;
        }
    }
    (most, shared)
}

/// Bounds beyond 292 years are as good as 292 years.
fn clamped(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset_ns: i64, uncertainty_ns: u64) -> Reading {
        Reading { offset_ns, uncertainty_ns }
    }

    fn all(readings: &[Reading]) -> Result<Agreement> {
        intersect(readings, readings.len())
    }

    #[test]
    fn three_agree_and_the_false_one_is_named() {
        let found = all(&[at(0, 10), at(5_000, 10), at(4, 10), at(-3, 10)]).unwrap();
        assert_eq!((found.earliest_ns, found.latest_ns), (-6, 7));
        assert_eq!((found.right, found.wrong), (vec![0, 2, 3], vec![1]));
    }

    #[test]
    fn two_against_two_is_no_majority() {
        let error = all(&[at(0, 10), at(1, 10), at(5_000, 10), at(5_001, 10)]).unwrap_err();
        assert!(matches!(error, Error::Unavailable { needed: 3, had: 2, .. }), "{error}");
    }

    #[test]
    fn silent_clocks_count_as_false() {
        let three = [at(0, 10), at(1, 10), at(5_000, 10)];
        assert!(intersect(&three, 3).is_ok());
        assert!(matches!(intersect(&three, 4), Err(Error::Unavailable { needed: 3, had: 2, .. })));
        assert!(matches!(intersect(&[], 4), Err(Error::Unavailable { needed: 3, had: 0, .. })));
        assert!(matches!(intersect(&three, 2), Err(Error::Input(_))));
    }

    #[test]
    fn one_clock_is_its_own_majority() {
        let found = all(&[at(7, 2)]).unwrap();
        assert_eq!((found.earliest_ns, found.latest_ns, found.right), (5, 9, vec![0]));
    }

    #[test]
    fn intervals_that_touch_share_a_point() {
        let found = all(&[at(0, 5), at(10, 5)]).unwrap();
        assert_eq!((found.earliest_ns, found.latest_ns), (5, 5));
        assert!(all(&[at(0, 5), at(11, 5)]).is_err());
    }

    #[test]
    fn false_clocks_cannot_draw_the_answer_away_from_what_the_majority_shares() {
        // 0, 1 and 2 are right and share 0..10. 3 and 4 agree with them at 9..10 only, where all five meet; the truth is 0.
        let readings = [at(5, 5), at(5, 5), at(5, 5), at(14, 5), at(14, 5)];
        let found = all(&readings).unwrap();
        assert_eq!((found.earliest_ns, found.latest_ns), (0, 10));
    }

    #[test]
    fn all_places_that_a_majority_shares_count() {
        // {0, 1, 2} meet at 5..10 and {0, 1, 3} at 20..25: the truth can be in either.
        let found = all(&[at(15, 10), at(15, 10), at(5, 5), at(25, 5)]).unwrap();
        assert_eq!((found.earliest_ns, found.latest_ns), (5, 25));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let found = all(&[at(i64::MAX, u64::MAX), at(i64::MIN, u64::MAX)]).unwrap();
        assert!(found.earliest_ns <= found.latest_ns);
        assert!(all(&[]).is_err());
        assert!(all(&[at(0, 0); CLOCKS_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn the_truth_of_a_right_majority_is_never_left_out(
            truth in -1_000i64..1_000,
            right in proptest::collection::vec((-50i64..=50, 50u64..100), 1..12),
            wrong in proptest::collection::vec((-2_000i64..2_000, 0u64..200), 0..11),
        ) {
            let wrong = &wrong[..wrong.len().min(right.len() - 1)];
            let honest = right.iter().map(|(error, width)| at(truth + error, *width));
            let readings: Vec<Reading> = honest.chain(wrong.iter().map(|(offset, width)| at(*offset, *width))).collect();
            let found = all(&readings).unwrap();
            prop_assert!(found.earliest_ns <= truth && truth <= found.latest_ns, "{:?}", found);
            prop_assert!((0..right.len()).all(|place| found.right.contains(&place)), "{:?}", found);
        }

        #[test]
        fn the_answer_does_not_hang_on_the_order(readings in proptest::collection::vec((-500i64..500, 0u64..100), 1..10)) {
            let there: Vec<Reading> = readings.iter().map(|(offset, width)| at(*offset, *width)).collect();
            let back: Vec<Reading> = there.iter().rev().copied().collect();
            let bounds = |found: Result<Agreement>| found.ok().map(|found| (found.earliest_ns, found.latest_ns));
            prop_assert_eq!(bounds(all(&there)), bounds(all(&back)));
        }
    }
}
