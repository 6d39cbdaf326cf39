//! The raster and the index beside an oracle that shares no code with them, and what must hold on borders.

use proptest::prelude::*;

use super::super::locate::Unit;
use super::super::{NOBODY, Places};
use super::{geojson, ring, whole};

/// A municipality as the tests draw it: rings of corners in units of 1e-7°.
type Rings = Vec<Vec<(i32, i32)>>;

/// Whether the point an immeasurably small step to the east, and a far smaller one to the north, is in the rings: by the
/// winding of exact signs around it, all in 128 bits.
fn holds(rings: &Rings, (x, y): (i32, i32)) -> bool {
    let mut is_in = false;
    for corners in rings {
        for (at, a) in corners.iter().enumerate() {
            let b = corners[(at + 1) % corners.len()];
            // The step to the north is smaller than any difference of rows: a corner on the point's row lies below it.
            let (a_above, b_above) = (a.1 > y, b.1 > y);
            if a_above == b_above {
                continue;
            }
            let cross = (i128::from(b.0) - i128::from(a.0)) * (i128::from(y) - i128::from(a.1))
                - (i128::from(b.1) - i128::from(a.1)) * (i128::from(x) - i128::from(a.0));
            // The crossing is west of the point, or on it: the step to the east has passed it.
            let is_west = if b_above { cross <= 0 } else { cross >= 0 };
            is_in ^= is_west;
        }
    }
    is_in
}

fn oracle(all: &[(String, Rings)], point: (i32, i32)) -> Option<String> {
    let holding = all.iter().filter(|(_, rings)| holds(rings, point)).map(|(name, _)| name);
    holding.min().cloned()
}

fn build(all: &[(String, Rings)]) -> Places {
    let texts: Vec<(String, String)> = all
        .iter()
        .map(|(name, rings)| {
            let polygons: Vec<String> = rings.iter().map(|corners| format!("[{}]", ring(corners))).collect();
            (name.clone(), format!("[{}]", polygons.join(",")))
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    whole(&geojson(&borrowed))
}

fn check(places: &Places, all: &[(String, Rings)], point: (i32, i32)) {
    let expected = oracle(all, point);
    let found = places.locate(point.0, point.1).unwrap();
    assert_eq!(found.and_then(|at| places.name(at)), expected.as_deref(), "raster at {point:?}");
    assert_eq!(places.locate_by_index(point.0, point.1), found, "index at {point:?}");
}

/// The corners, the middles of edges, and a step to every side of each.
fn touching(all: &[(String, Rings)]) -> Vec<(i32, i32)> {
    let mut points = Vec::new();
    for corners in all.iter().flat_map(|(_, rings)| rings) {
        for (at, a) in corners.iter().enumerate() {
            let b = corners[(at + 1) % corners.len()];
            let middle = ((a.0 + b.0) / 2, (a.1 + b.1) / 2);
            for (x, y) in [*a, middle] {
                points.extend((-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (x + dx, y + dy))));
            }
        }
    }
    points
}

/// A lattice whose inner corners are moved at random: municipalities that share every border.
fn lattice(columns: usize, rows: usize, step: i32, moves: &[(i32, i32)]) -> Vec<(String, Rings)> {
    let corner = |column: usize, row: usize| {
        let (dx, dy) = moves[(row * (columns + 1) + column) % moves.len()];
        (column as i32 * step + dx.rem_euclid(step / 3), row as i32 * step + dy.rem_euclid(step / 3))
    };
    let cell = |column: usize, row: usize| {
        vec![vec![corner(column, row), corner(column + 1, row), corner(column + 1, row + 1), corner(column, row + 1)]]
    };
    (0..rows * columns).map(|at| (format!("m{at:03}"), cell(at % columns, at / columns))).collect()
}

/// A ring around a point: its corners at growing angles.
fn star(centre: (i32, i32), radii: &[i32]) -> Vec<(i32, i32)> {
    let angle = |at: usize| std::f64::consts::TAU * at as f64 / radii.len() as f64;
    let corner = |(at, radius): (usize, &i32)| {
        let (sin, cos) = angle(at).sin_cos();
        (centre.0 + (f64::from(*radius) * cos) as i32, centre.1 + (f64::from(*radius) * sin) as i32)
    };
    radii.iter().enumerate().map(corner).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn lattices_are_answered_as_the_oracle_does(
        (columns, rows, step) in (1usize..7, 1usize..7, prop::sample::select(vec![9, 60, 1000, 70_000, 9_000_000])),
        moves in prop::collection::vec((any::<i32>(), any::<i32>()), 64),
        shares in prop::collection::vec((0.0f64..1.2, 0.0f64..1.2), 60),
    ) {
        let all = lattice(columns, rows, step, &moves);
        let places = build(&all);
        let (wide, high) = (columns as f64 * f64::from(step), rows as f64 * f64::from(step));
        let inner = shares.iter().map(|(x, y)| ((x * wide) as i32 - 3, (y * high) as i32 - 3));
        for point in inner.chain(touching(&all)) {
            check(&places, &all, point);
        }
    }

    #[test]
    fn stars_that_overlap_belong_to_the_first_name(
        stars in prop::collection::vec(
            ((-40_000i32..40_000, -40_000i32..40_000), prop::collection::vec(8_000i32..30_000, 3..40)), 1..9),
        points in prop::collection::vec((-80_000i32..80_000, -80_000i32..80_000), 80),
    ) {
        let shapes = stars.iter().enumerate();
        let all: Vec<(String, Rings)> =
            shapes.map(|(at, (centre, radii))| (format!("s{at}"), vec![star(*centre, radii)])).collect();
        let places = build(&all);
        for point in points.into_iter().chain(touching(&all)) {
            check(&places, &all, point);
        }
    }

    #[test]
    fn edges_across_the_globe_are_exact(
        corners in prop::collection::vec((-900_000_000i32..=900_000_000, -900_000_000i32..=900_000_000), 3),
        points in prop::collection::vec((-1_800_000_000i32..1_800_000_000, -900_000_000i32..900_000_000), 40),
    ) {
        let (a, b, c) = (corners[0], corners[1], corners[2]);
        let area = (i128::from(b.0) - i128::from(a.0)) * (i128::from(c.1) - i128::from(a.1))
            - (i128::from(b.1) - i128::from(a.1)) * (i128::from(c.0) - i128::from(a.0));
        prop_assume!(area != 0);
        let all = vec![("wide".to_string(), vec![corners])];
        let places = build(&all);
        for point in points {
            check(&places, &all, point);
        }
    }
}

#[test]
fn a_shared_border_has_one_owner_and_the_order_of_features_changes_nothing() {
    let moves: Vec<(i32, i32)> = (0..50).map(|at| (at * 7919 % 1000, at * 104_729 % 1000)).collect();
    let mut all = lattice(5, 5, 3000, &moves);
    let places = build(&all);
    all.reverse();
    let other = build(&all);
    assert_eq!(places.root(), other.root());
    assert_eq!(places.to_bytes(), other.to_bytes());
    for point in touching(&all) {
        assert_eq!(places.locate(point.0, point.1), other.locate(point.0, point.1));
        let holding = all.iter().filter(|(_, rings)| holds(rings, point)).count();
        assert!(holding <= 1, "{point:?} is held by {holding}");
    }
    // Corners within the lattice have an owner.
    for corner in [(1, 1), (2, 3), (4, 4)] {
        let (dx, dy) = moves[(corner.1 * 6 + corner.0) as usize];
        let point = (corner.0 * 3000 + dx % 1000, corner.1 * 3000 + dy % 1000);
        assert!(places.locate(point.0, point.1).unwrap().is_some());
    }
}

#[test]
fn western_and_southern_borders_belong_to_a_municipality() {
    let places = whole(&geojson(&[("box", &format!("[[{}]]", ring(&[(0, 0), (100, 0), (100, 100), (0, 100)])))]));
    let answers = [((0, 0), true), ((0, 50), true), ((50, 0), true), ((99, 99), true), ((100, 50), false)];
    let others = [((50, 100), false), ((100, 100), false), ((0, 100), false), ((100, 0), false), ((-1, 50), false)];
    for ((x, y), is_in) in answers.into_iter().chain(others) {
        assert_eq!(places.locate(x, y).unwrap().is_some(), is_in, "({x}, {y})");
    }
}

#[test]
fn stairs_whose_edges_lie_within_cells() {
    // Flat and upright edges of all lengths, in a map so wide that cells are cut many times.
    let far = vec![(900_000_000, 0), (900_000_009, 0), (900_000_000, 9)];
    let step = |at: i32| (at * at * 37 % 5000 + at * 1000, at * 900 + at % 7 * 100);
    let stairs: Vec<(i32, i32)> = (0..60).flat_map(|at| [step(at), (step(at + 1).0, step(at).1)]).collect();
    let (last, top) = (stairs[stairs.len() - 1], 100_000);
    let right = [stairs.clone(), vec![(last.0 + 9, last.1), (last.0 + 9, -50), (-50, -50)]].concat();
    let left = [stairs.clone(), vec![(last.0, top), (-50, top), (-50, -50)]].concat();
    for (left, right) in [("a", "b"), ("b", "a")].map(|names| ((names.0, &left), (names.1, &right))) {
        let all: Vec<(String, Rings)> =
            [left, right, ("far", &far)].map(|(name, corners)| (name.to_string(), vec![corners.clone()])).to_vec();
        let places = build(&all);
        for point in touching(&all).into_iter().chain((0..4000).map(|at| (at * 7919 % 65_000, at * 104_729 % 60_000))) {
            check(&places, &all, point);
        }
    }
}

#[test]
fn holes_and_islands_in_them_are_respected() {
    let square = |low: i32, high: i32| ring(&[(low, low), (high, low), (high, high), (low, high)]);
    let outer = format!("[[{},{}],[{}]]", square(0, 900), square(100, 800), square(300, 400));
    let enclave = format!("[[{},{}]]", square(100, 800), square(300, 400));
    let places = whole(&geojson(&[("outer", &outer), ("enclave", &enclave)]));
    let name = |x, y| places.locate(x, y).unwrap().and_then(|at| places.name(at));
    assert_eq!(name(50, 50), Some("outer"));
    assert_eq!(name(100, 100), Some("enclave"), "the border of the hole is the enclave's in the south-west");
    assert_eq!(name(800, 500), Some("outer"), "and the outer one's in the east");
    assert_eq!(name(350, 350), Some("outer"));
    assert_eq!(name(300, 300), Some("outer"));
    assert_eq!(name(400, 350), Some("enclave"));
    assert_eq!(name(900, 350), None);
}

#[test]
fn the_seams_of_the_globe() {
    let east = ring(&[(1_700_000_000, 0), (1_800_000_000, 0), (1_800_000_000, 10), (1_700_000_000, 10)]);
    let west = ring(&[(-1_800_000_000, 0), (-1_700_000_000, 0), (-1_700_000_000, 10), (-1_800_000_000, 10)]);
    let north = ring(&[(0, 800_000_000), (100, 800_000_000), (100, 900_000_000), (0, 900_000_000)]);
    let south = ring(&[(0, -900_000_000), (100, -900_000_000), (100, -800_000_000), (0, -800_000_000)]);
    let places = whole(&geojson(&[
        ("fiji", &format!("[[{east}],[{west}]]")),
        ("north", &format!("[[{north}]]")),
        ("south", &format!("[[{south}]]")),
    ]));
    let name = |x, y| places.locate(x, y).unwrap().and_then(|at| places.name(at));
    for x in [-1_800_000_000, 1_800_000_000, 1_799_999_999, -1_799_999_999] {
        assert_eq!(name(x, 5), Some("fiji"), "{x}");
    }
    assert_eq!(name(50, 900_000_000), Some("north"));
    assert_eq!(name(50, -900_000_000), Some("south"));
    assert!(places.locate(1_800_000_001, 0).unwrap_err().to_string().contains("180.0000001"));
    assert!(places.locate(0, -900_000_001).is_err());
    assert!(places.locate_degrees(f64::NAN, 0.0).is_err());
    assert_eq!(places.locate_degrees(0.000_005, 89.999_999_99), places.locate(50, 900_000_000));
}

#[test]
fn one_point_where_a_hundred_municipalities_meet() {
    let corner = |at: i32| {
        let angle = std::f64::consts::TAU * f64::from(at) / 100.0;
        ((angle.cos() * 1e6) as i32, (angle.sin() * 1e6) as i32)
    };
    let all: Vec<(String, Rings)> =
        (0..100).map(|at| (format!("p{at:02}"), vec![vec![(0, 0), corner(at), corner(at + 1)]])).collect();
    let places = build(&all);
    assert!(places.locate(0, 0).unwrap().is_some());
    for point in touching(&all).into_iter().chain((-50..50).flat_map(|x| (-50..50).map(move |y| (x, y)))) {
        check(&places, &all, point);
    }
}

#[test]
fn batches_give_what_single_calls_give() {
    let moves: Vec<(i32, i32)> = (0..50).map(|at| (at * 7919 % 1000, at * 104_729 % 1000)).collect();
    let places = build(&lattice(6, 6, 300_000, &moves));
    let mut seed = 1u64;
    let mut next = |below: i32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) % below as u64) as i32
    };
    let points: Vec<(i32, i32)> = (0..40_000).map(|_| (next(2_000_000) - 50_000, next(2_000_000) - 50_000)).collect();
    let packed: Vec<u8> = points.iter().flat_map(|(x, y)| [x.to_ne_bytes(), y.to_ne_bytes()].concat()).collect();
    let degrees = |value: i32| (f64::from(value) / 1e7).to_ne_bytes();
    let real: Vec<u8> = points.iter().flat_map(|(x, y)| [degrees(*x), degrees(*y)].concat()).collect();
    let single: Vec<u32> = points.iter().map(|(x, y)| places.locate(*x, *y).unwrap().unwrap_or(NOBODY)).collect();
    assert_eq!(places.locate_many(&packed, Unit::E7).unwrap(), single);
    assert_eq!(places.locate_many(&real, Unit::Degrees).unwrap(), single);
    assert_eq!(places.locate_many(&packed[..80], Unit::E7).unwrap(), single[..10]);
    assert!(places.locate_many(&packed[..81], Unit::E7).is_err());
    for bad in [3usize, 39_999] {
        let mut wrong = real.clone();
        wrong[bad * 16..bad * 16 + 8].copy_from_slice(&f64::INFINITY.to_ne_bytes());
        let message = places.locate_many(&wrong, Unit::Degrees).unwrap_err().to_string();
        assert!(message.contains(&format!("points[{bad}]")), "{message}");
    }
}

#[test]
fn a_map_survives_its_bytes() {
    let moves: Vec<(i32, i32)> = (0..50).map(|at| (at * 7919 % 1000, at * 104_729 % 1000)).collect();
    let places = build(&lattice(3, 3, 3000, &moves));
    let bytes = places.to_bytes().unwrap();
    let again = Places::from_bytes(&bytes).unwrap();
    assert_eq!((again.root(), again.len(), again.to_bytes().unwrap()), (places.root(), 9, bytes.clone()));
    assert_eq!(again.position("m004"), Some(4));
    assert_eq!(again.position("nowhere"), None);
    assert_eq!(again.name(9), None);
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        if let Ok(other) = Places::from_bytes(&wrong) {
            assert_ne!(other.root(), places.root(), "byte {at}");
            assert_eq!(other.to_bytes().unwrap(), wrong, "byte {at}: a second encoding of one map");
        }
        assert!(Places::from_bytes(&bytes[..at]).is_err());
    }
}
