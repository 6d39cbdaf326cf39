//! Points at 1e-7°, and rings: closed lines that have an area and do not touch themselves.
//!
//! Whether a ring crosses itself is found by a sweep (Shamos and Hoey 1976) in O(n log n), with exact predicates: from left
//! to right over the corners, with the edges that are open in the order in which they lie above each other. Two edges
//! that meet stand beside each other before they do, so only neighbours are compared.

use std::cmp::Ordering;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// The greatest longitude, units of 1e-7°.
pub const LON_MAX: i32 = 1_800_000_000;

/// The greatest latitude, units of 1e-7°.
pub const LAT_MAX: i32 = 900_000_000;

/// The fewest positions of a ring (RFC 7946, section 3.1.6); the last one is the first again.
pub const POSITIONS_MIN: usize = 4;

/// A point of the map, units of 1e-7° (about 1.1 cm). Ordered by longitude, then latitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Point {
    /// Longitude.
    pub x: i32,
    /// Latitude.
    pub y: i32,
}

impl Point {
    /// The point of two coordinates in degrees: to the nearest unit, halves away from zero. `None` if one is no number or
    /// out of range.
    pub fn of_degrees(lon: f64, lat: f64) -> Option<Self> {
        Some(Self { x: units(lon, LON_MAX)?, y: units(lat, LAT_MAX)? })
    }

    /// Whether it is on the globe.
    pub fn is_in_range(self) -> bool {
        self.x.unsigned_abs() <= LON_MAX.unsigned_abs() && self.y.unsigned_abs() <= LAT_MAX.unsigned_abs()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", Degrees(self.x), Degrees(self.y))
    }
}

/// A coordinate as people write it.
struct Degrees(i32);

impl fmt::Display for Degrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.unsigned_abs() / 10_000_000, self.0.unsigned_abs() % 10_000_000);
        let text = format!("{whole}.{rest:07}");
        write!(f, "{}{}", if self.0 < 0 { "-" } else { "" }, text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Degrees as units of 1e-7°, if they are at most `max` of these.
///
/// One product and one rounding of IEEE 754, so that it is the same number on every machine.
#[inline]
pub fn units(degrees: f64, max: i32) -> Option<i32> {
    /// The greatest number below a half: adding it and cutting rounds halves away from zero, and nothing else up.
    const BELOW_HALF: f64 = 0.499_999_999_999_999_94;
    let scaled = degrees * 1e7;
    let rounded = (scaled + BELOW_HALF.copysign(scaled)).trunc();
    // NaN compares with nothing.
    if rounded.abs() <= f64::from(max) { Some(rounded as i32) } else { None }
}

/// On which side of the line through `a` and `b` a point is: `Greater` for the left one.
///
/// Each product stays below 2⁶³: an edge is at most 180° wide and high, and no two points are more than 360° apart.
#[inline]
pub fn side(a: Point, b: Point, p: Point) -> Ordering {
    let (dx, dy) = (i64::from(b.x) - i64::from(a.x), i64::from(b.y) - i64::from(a.y));
    let (px, py) = (i64::from(p.x) - i64::from(a.x), i64::from(p.y) - i64::from(a.y));
    (dx * py).cmp(&(dy * px))
}

/// What is wrong with a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Fewer than four positions.
    TooFew(usize),
    /// The last position is not the first.
    Unclosed(Point, Point),
    /// An edge of more than 180° of longitude (RFC 7946, section 3.1.9: split it at the antimeridian).
    Wide(Point, Point),
    /// Fewer than three different corners.
    Corners(usize),
    /// All corners lie on one line, or what it goes around to the left and to the right is the same.
    NoArea,
    /// It comes to this point twice.
    Twice(Point),
    /// Two edges cross or touch: the start of each.
    Crosses(Point, Point),
    /// Something else, in words.
    Other(String),
}

impl Flaw {
    /// Whether the ring goes around nothing, so that leaving it out moves no border.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Corners(_))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew(count) => write!(f, "{count} positions, a ring has at least {POSITIONS_MIN}"),
            Self::Unclosed(first, last) => write!(f, "not closed: it begins at {first} and ends at {last}"),
            Self::Wide(a, b) => write!(
                f,
                "the edge from {a} to {b} is wider than 180°: a polygon over the antimeridian is split there (RFC 7946, 3.1.9)"
            ),
            Self::Corners(count) => write!(
                f,
                "fewer than four points that differ where they must: {count} different corners, a ring has at least 3"
            ),
            Self::NoArea => write!(f, "no area"),
            Self::Twice(point) => write!(f, "touches itself: it comes to {point} twice"),
            Self::Crosses(a, b) => write!(f, "crosses itself: the edges that begin at {a} and at {b} meet"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A ring without flaws, in its canonical form: from its least point on, to the left for an outer one and to the right for
/// a hole, no point twice, and the first one not repeated at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ring(Vec<Point>);

impl Ring {
    /// The ring of positions as GeoJSON has them, the last one the first again.
    pub fn from_positions(positions: &[Point], is_hole: bool) -> Result<Self, Flaw> {
        if positions.len() < POSITIONS_MIN {
            return Err(Flaw::TooFew(positions.len()));
        }
        let (first, last) = (positions[0], positions[positions.len() - 1]);
        if first != last {
            return Err(Flaw::Unclosed(first, last));
        }
        let mut corners = positions.to_vec();
        corners.dedup();
        corners.truncate((corners.len() - 1).max(1));
        Self::from_corners(corners, is_hole)
    }

    /// The ring of corners, the first one not repeated.
    pub fn from_corners(corners: Vec<Point>, is_hole: bool) -> Result<Self, Flaw> {
        let wide = edges_of(&corners).find(|(a, b)| a.x.abs_diff(b.x) > LON_MAX.unsigned_abs());
        if let Some((a, b)) = wide {
            return Err(Flaw::Wide(a, b));
        }
        check_corners(&corners)?;
        let area = doubled_area(&corners);
        if area == 0 {
            return Err(Flaw::NoArea);
        }
        check_simple(&corners)?;
        Ok(Self(canonical(corners, (area > 0) == is_hole)))
    }

    /// The corners, the first one not repeated.
    pub fn corners(&self) -> &[Point] {
        &self.0
    }

    /// The edges; the last one comes back to the first corner.
    pub fn edges(&self) -> impl Iterator<Item = (Point, Point)> + '_ {
        edges_of(&self.0)
    }
}

/// Edges of a closed line.
fn edges_of(corners: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    corners.iter().copied().zip(corners.iter().copied().cycle().skip(1))
}

/// At least three corners that differ.
fn check_corners(corners: &[Point]) -> Result<(), Flaw> {
    let Some(first) = corners.first() else { return Err(Flaw::Corners(0)) };
    let Some(second) = corners.iter().find(|point| *point != first) else { return Err(Flaw::Corners(1)) };
    match corners.iter().any(|point| point != first && point != second) {
        true => Ok(()),
        false => Err(Flaw::Corners(2)),
    }
}

/// Twice the area: positive where the ring goes to the left.
fn doubled_area(corners: &[Point]) -> i128 {
    let each = edges_of(corners).map(|(a, b)| i64::from(a.x) * i64::from(b.y) - i64::from(b.x) * i64::from(a.y));
    each.map(i128::from).sum()
}

/// From the least point on; turned around if asked.
fn canonical(mut corners: Vec<Point>, turned: bool) -> Vec<Point> {
    if turned {
        corners.reverse();
    }
    let least = (0..corners.len()).min_by_key(|at| corners[*at]).unwrap_or_default();
    corners.rotate_left(least);
    corners
}

// --- the sweep -------------------------------------------------------------------------------------------------------

/// Refuses a closed line that comes to a point twice, or of which two edges meet that are not neighbours.
fn check_simple(corners: &[Point]) -> Result<(), Flaw> {
    let count = corners.len();
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_unstable_by_key(|at| corners[*at as usize]);
    let twice = order.windows(2).find(|pair| corners[pair[0] as usize] == corners[pair[1] as usize]);
    if let Some(pair) = twice {
        return Err(Flaw::Twice(corners[pair[0] as usize]));
    }
    let mut sweep = Sweep { corners, open: Vec::new() };
    order.into_iter().try_for_each(|at| sweep.pass(at as usize))
}

/// Edges in a block of the sweep: what is moved when one comes or goes.
const BLOCK_MAX: usize = 256;

/// The edges that are open at the sweep's line, the lowest first, in blocks of which none is empty. An edge is named by
/// the corner that it starts from in the ring.
struct Sweep<'a> {
    corners: &'a [Point],
    open: Vec<Vec<u32>>,
}

/// A place among the open edges: block and place in it.
#[derive(Clone, Copy)]
struct At(usize, usize);

impl Sweep<'_> {
    /// The ends of an edge, the left one first.
    fn ends(&self, edge: u32) -> (Point, Point) {
        let (a, b) = (self.corners[edge as usize], self.corners[(edge as usize + 1) % self.corners.len()]);
        if a < b { (a, b) } else { (b, a) }
    }

    /// Goes over a corner: the edges that end there are closed, those that start there opened.
    fn pass(&mut self, corner: usize) -> Result<(), Flaw> {
        let point = self.corners[corner];
        let before = (corner + self.corners.len() - 1) % self.corners.len();
        let mut starting = Vec::with_capacity(2);
        let mut ending = Vec::with_capacity(2);
        for edge in [before as u32, corner as u32] {
            if self.ends(edge).0 == point { starting.push(edge) } else { ending.push(edge) }
        }
        let mut at = self.first_not_below(point);
        for _ in 0..ending.len() {
            match self.get(at) {
                Some(edge) if ending.contains(&edge) => at = self.remove(at),
                Some(edge) => return Err(self.crossing(edge, corner as u32)),
                None => return Err(self.crossing(ending[0], corner as u32)),
            }
        }
        if let Some(edge) = self.get(at).filter(|edge| self.side_of(*edge, point).is_eq()) {
            return Err(self.crossing(edge, corner as u32));
        }
        self.sort_starting(&mut starting)?;
        let above = self.get(at);
        let below = self.previous(at);
        self.insert(at, &starting);
        match (starting.first(), starting.last()) {
            (Some(lowest), Some(highest)) => {
                self.check_pair(below, Some(*lowest))?;
                self.check_pair(Some(*highest), above)
            }
            _ => self.check_pair(below, above),
        }
    }

    /// Puts the lower of two edges that start at one point first.
    fn sort_starting(&self, starting: &mut [u32]) -> Result<(), Flaw> {
        if let [one, other] = *starting {
            let (start, end) = self.ends(one);
            match side(start, end, self.ends(other).1) {
                Ordering::Greater => {}
                Ordering::Less => starting.swap(0, 1),
                Ordering::Equal => return Err(self.crossing(one, other)),
            }
        }
        Ok(())
    }

    /// Where a point is beside an open edge: `Greater` above it.
    fn side_of(&self, edge: u32, point: Point) -> Ordering {
        let (a, b) = self.ends(edge);
        side(a, b, point)
    }

    /// The place of the first edge that the point is not above.
    fn first_not_below(&self, point: Point) -> At {
        let is_under = |edge: &u32| self.side_of(*edge, point).is_gt();
        let block = self.open.partition_point(|block| block.last().is_some_and(is_under));
        At(block, self.open.get(block).map_or(0, |block| block.partition_point(is_under)))
    }

    fn get(&self, at: At) -> Option<u32> {
        self.open.get(at.0)?.get(at.1).copied()
    }

    /// The edge before a place.
    fn previous(&self, at: At) -> Option<u32> {
        match at.1.checked_sub(1) {
            Some(place) => self.get(At(at.0, place)),
            None => self.open.get(at.0.checked_sub(1)?)?.last().copied(),
        }
    }

    /// Closes an edge; the place of the one after it.
    fn remove(&mut self, at: At) -> At {
        self.open[at.0].remove(at.1);
        match self.open[at.0].len() {
            0 => {
                self.open.remove(at.0);
                at
            }
            len if len == at.1 => At(at.0 + 1, 0),
            _ => at,
        }
    }

    /// Opens edges at a place, the lowest first.
    fn insert(&mut self, at: At, edges: &[u32]) {
        if edges.is_empty() {
            return;
        }
        let block = match self.open.len().checked_sub(1) {
            None => {
                self.open.push(edges.to_vec());
                0
            }
            Some(last) if at.0 > last => {
                self.open[last].extend(edges);
                last
            }
            Some(_) => {
                self.open[at.0].splice(at.1..at.1, edges.iter().copied());
                at.0
            }
        };
        if self.open[block].len() > 2 * BLOCK_MAX {
            let rest = self.open[block].split_off(BLOCK_MAX);
            self.open.insert(block + 1, rest);
        }
    }

    fn crossing(&self, one: u32, other: u32) -> Flaw {
        let (one, other) = (one.min(other), one.max(other));
        Flaw::Crosses(self.corners[one as usize], self.corners[other as usize])
    }

    /// Refuses two edges that meet, unless they are neighbours in the ring.
    fn check_pair(&self, one: Option<u32>, other: Option<u32>) -> Result<(), Flaw> {
        let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
        let apart = one.abs_diff(other) as usize;
        if apart == 1 || apart == self.corners.len() - 1 || !meet(self.ends(one), self.ends(other)) {
            return Ok(());
        }
        Err(self.crossing(one, other))
    }
}

/// Whether two edges have a point in common; each with its left end first.
pub fn meet((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let (low, high) = (|one: i32, other: i32| one.min(other), |one: i32, other: i32| one.max(other));
    let apart =
        high(a.x, c.x) > low(b.x, d.x) || high(low(a.y, b.y), low(c.y, d.y)) > low(high(a.y, b.y), high(c.y, d.y));
    !apart && !same(side(a, b, c), side(a, b, d)) && !same(side(c, d, a), side(c, d, b))
}

/// Whether both are on one side, and none on the line.
fn same(one: Ordering, other: Ordering) -> bool {
    one == other && one.is_ne()
}
