//! Rings: every flaw is found and nothing else, also in long ones and quickly.

use std::time::Instant;

use proptest::prelude::*;

use super::super::rings::{Flaw, Point, Ring, meet, units};

fn points(corners: &[(i32, i32)]) -> Vec<Point> {
    corners.iter().map(|(x, y)| Point { x: *x, y: *y }).collect()
}

/// Whether a closed line is simple, by trying every pair of its edges.
fn is_simple(corners: &[Point]) -> bool {
    let count = corners.len();
    let edge = |at: usize| {
        let (a, b) = (corners[at], corners[(at + 1) % count]);
        if a < b { (a, b) } else { (b, a) }
    };
    let crossed = (0..count)
        .any(|one| (one + 2..count).filter(|other| one + count - other > 1).any(|other| meet(edge(one), edge(other))));
    let folded = (0..count).any(|at| {
        let (a, b, c) = (corners[at], corners[(at + 1) % count], corners[(at + 2) % count]);
        let (ux, uy) = (i128::from(a.x) - i128::from(b.x), i128::from(a.y) - i128::from(b.y));
        let (vx, vy) = (i128::from(c.x) - i128::from(b.x), i128::from(c.y) - i128::from(b.y));
        ux * vy == uy * vx && ux * vx + uy * vy > 0
    });
    !crossed && !folded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_sweep_finds_what_all_pairs_find(
        small in prop::collection::vec((0i32..12, 0i32..12), 3..10),
        scale in prop::sample::select(vec![1i32, 1000, 70_000_000]),
    ) {
        let mut corners = points(&small);
        for corner in &mut corners {
            *corner = Point { x: corner.x * scale, y: corner.y * scale };
        }
        corners.dedup();
        prop_assume!(corners.len() >= 3 && corners.first() != corners.last());
        let found = Ring::from_corners(corners.clone(), false);
        let hollow = matches!(found, Err(Flaw::NoArea | Flaw::Corners(_)));
        prop_assert!(hollow || found.is_ok() == is_simple(&corners), "{found:?} {corners:?}");
    }

    #[test]
    fn what_is_drawn_around_a_centre_is_simple(radii in prop::collection::vec(10_000i32..1_000_000, 3..200), turn in 0usize..200) {
        let count = radii.len();
        let mut corners: Vec<Point> = radii.iter().enumerate().map(|(at, radius)| {
            let (sin, cos) = (std::f64::consts::TAU * at as f64 / count as f64).sin_cos();
            Point { x: (f64::from(*radius) * cos) as i32, y: (f64::from(*radius) * sin) as i32 }
        }).collect();
        let ring = Ring::from_corners(corners.clone(), false).unwrap();
        corners.rotate_left(turn % count);
        prop_assert_eq!(&Ring::from_corners(corners.clone(), false).unwrap(), &ring);
        corners.reverse();
        prop_assert_eq!(&Ring::from_corners(corners.clone(), false).unwrap(), &ring);
        let hole = Ring::from_corners(corners, true).unwrap();
        prop_assert_eq!(hole.corners()[0], ring.corners()[0]);
        prop_assert_eq!(hole.corners()[1], ring.corners()[count - 1]);
    }
}

#[test]
fn each_flaw_has_its_name() {
    let flaw = |corners: &[(i32, i32)]| Ring::from_positions(&points(corners), false).unwrap_err();
    assert_eq!(flaw(&[(0, 0), (1, 0), (0, 0)]), Flaw::TooFew(3));
    assert_eq!(flaw(&[]), Flaw::TooFew(0));
    assert!(matches!(flaw(&[(0, 0), (5, 0), (5, 5), (0, 5)]), Flaw::Unclosed(..)));
    assert_eq!(flaw(&[(0, 0), (0, 0), (0, 0), (0, 0)]), Flaw::Corners(1));
    assert_eq!(flaw(&[(0, 0), (9, 9), (0, 0), (0, 0)]), Flaw::Corners(2));
    assert_eq!(flaw(&[(0, 0), (5, 5), (9, 9), (0, 0)]), Flaw::NoArea);
    assert_eq!(flaw(&[(0, 0), (5, 5), (5, 0), (0, 5), (0, 0)]), Flaw::NoArea);
    assert!(matches!(flaw(&[(0, 0), (9, 6), (5, 0), (0, 5), (0, 0)]), Flaw::Crosses(..)));
    assert_eq!(flaw(&[(0, 0), (9, 0), (5, 5), (9, 9), (0, 9), (5, 5), (0, 0)]), Flaw::Twice(Point { x: 5, y: 5 }));
    // A corner on another edge, and an edge that goes back on itself.
    assert!(matches!(flaw(&[(0, 0), (10, 0), (10, 10), (5, 0), (0, 10), (0, 0)]), Flaw::Crosses(..)));
    assert!(matches!(flaw(&[(0, 0), (10, 0), (5, 0), (5, 9), (0, 0)]), Flaw::Crosses(..)));
    assert!(matches!(flaw(&[(-900_000_001, 0), (900_000_000, 0), (0, 9), (-900_000_001, 0)]), Flaw::Wide(..)));
    assert!(
        Ring::from_positions(&points(&[(-900_000_000, 0), (900_000_000, 0), (0, 9), (-900_000_000, 0)]), false).is_ok()
    );
}

#[test]
fn long_rings_are_checked_quickly() {
    let teeth = 50_000;
    // Combs: their teeth stand upright, lie flat, and lean; all edges of one are open at once in some of them.
    let upright = (0..teeth).flat_map(|at| [(4 * at, 0), (4 * at + 2, 1_000_000)]).chain([(4 * teeth, -9), (-9, -9)]);
    let flat = upright.clone().map(|(x, y)| (y, x));
    let leaning = upright.clone().map(|(x, y)| (x + y, y));
    for corners in [upright.collect::<Vec<_>>(), flat.collect(), leaning.collect()] {
        let mut corners = points(&corners);
        let started = Instant::now();
        Ring::from_corners(corners.clone(), false).unwrap();
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        // One tooth that reaches over its neighbour.
        let middle = (corners.len() / 2) | 1;
        corners[middle] = Point { x: corners[middle + 2].x + 3, y: corners[middle + 2].y + 1 };
        assert!(matches!(Ring::from_corners(corners, false), Err(Flaw::Crosses(..))));
    }
}

#[test]
fn degrees_are_rounded_to_the_nearest_unit() {
    for (degrees, expected) in [
        (0.0, Some(0)),
        (0.000_000_05, Some(1)),
        (-0.000_000_05, Some(-1)),
        (0.000_000_049_999, Some(0)),
        (123.456_789_04, Some(1_234_567_890)),
        (-123.456_789_06, Some(-1_234_567_891)),
        (180.0, Some(1_800_000_000)),
        (180.000_000_04, Some(1_800_000_000)),
        (180.000_000_1, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
        (-1e300, None),
    ] {
        assert_eq!(units(degrees, 1_800_000_000), expected, "{degrees}");
    }
    for value in [-1_799_999_999, -900_000_001, -1, 1, 7, 123_456_789, 1_799_999_999] {
        assert_eq!(units(f64::from(value) / 1e7, 1_800_000_000), Some(value));
    }
}
