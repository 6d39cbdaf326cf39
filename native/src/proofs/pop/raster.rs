//! The short way: the map cut into cells. One that no border goes through answers at once; the others hold the few edges
//! that cross them, or are cut into smaller ones.
//!
//! A cell knows which municipalities hold the point just west of its lower left corner. From there a path leads to any
//! point of the cell: along the cell's western side, then to the east. The edges that the path crosses say what changes
//! on the way, as bits of a mask, one for each municipality that has an edge in the cell or holds the corner.
//!
//! Let `W` be the column of units just west of the cell. An edge counts for the second part of the path where its crossing
//! with the point's line lies between `W` and the point; it is kept with the rows where it lies between `W` and the
//! cell's last column, so that only its line must be compared. An edge counts for the first part if it crosses `W`; it is
//! kept as the row from which on it does. Both are exact: see [`Edge::rows`] and [`Edge::turn`].

use std::collections::HashMap;

use super::map::Municipality;
use super::rings::{LAT_MAX, LON_MAX, Point};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;

/// Entries of a cell that is not cut any further.
const LEAF_MAX: usize = 14;

/// Points that are answered together.
pub const GROUP: usize = 32;

/// Municipalities that a mask has bits for.
const MASK_BITS: usize = 64;

/// A cell is cut into 2² × 2² smaller ones.
const CUT_BITS: u32 = 2;

/// Cells of the top level for each edge, and at most.
const CELLS_PER_EDGE: u64 = 2;
const CELLS_MAX: u64 = 1 << 22;

/// Entries for each edge that the cells of the top level may have, and those of all others: what bounds memory whatever
/// the map. So many more there may always be.
const TOP_PER_EDGE: u64 = 4;
const CUT_PER_EDGE: u64 = 8;
const ENTRIES_MIN: u64 = 1 << 16;

/// The most municipalities that may hold one point, all but the first of them in vain.
pub const OVERLAPS_MAX: usize = 64;

/// How a cell answers, in 32 bits: the highest two say which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell(u32);

const KIND: u32 = 3 << 30;
const OWNED: u32 = 0;
const LEAF: u32 = 1 << 30;
const CUT: u32 = 2 << 30;
const CROWDED: Cell = Cell(3 << 30);

/// What the raster says of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// This municipality.
    Owner(u32),
    /// None.
    Nobody,
    /// More municipalities meet here than a mask holds: ask the index.
    Crowded,
}

/// One edge within a cell, 32 bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Entry {
    x: i32,
    y: i32,
    dx: i32,
    dy: i32,
    /// The rows where it counts: from `low` to before `high`.
    low: i32,
    high: i32,
    mask: u64,
}

impl Entry {
    const NONE: Self = Self { x: 0, y: 0, dx: 0, dy: 0, low: 0, high: 0, mask: 0 };

    /// What it changes for a point: its mask or nothing.
    #[inline]
    fn change(&self, p: Point) -> u64 {
        let is_in = (self.low <= p.y) & (p.y < self.high);
        let (up, right) = (i64::from(p.y) - i64::from(self.y), i64::from(p.x) - i64::from(self.x));
        let is_passed = i64::from(self.dx) * up <= right * i64::from(self.dy);
        self.mask & u64::from(is_in & is_passed).wrapping_neg()
    }
}

/// A cell with edges.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    /// Who holds the corner.
    base: u64,
    /// Its entries, and the municipalities of the bits of its masks.
    entries: (u32, u32),
    bits: u32,
}

impl Leaf {
    const NONE: Self = Self { base: 0, entries: (0, 0), bits: 0 };
}

/// The cells of a map.
#[derive(Debug)]
pub struct Raster {
    /// The lower left corner of the top level, the logarithm of a cell's side, and how many columns and rows there are.
    low: (i64, i64),
    shift: u32,
    columns: u64,
    rows: u64,
    top: Vec<Cell>,
    cuts: Vec<[Cell; 1 << (2 * CUT_BITS)]>,
    leaves: Vec<Leaf>,
    entries: Vec<Entry>,
    bits: Vec<u32>,
}

impl Raster {
    /// The raster of municipalities, which stand in the order that decides where they overlap.
    pub fn new(municipalities: &[Municipality]) -> Result<Self> {
        let edges = Edge::merged(municipalities);
        let (low, high) = extent(&edges);
        let shift = top_shift(&edges, low, high);
        let low = (low.0 >> shift << shift, low.1 >> shift << shift);
        let (columns, rows) = (((high.0 - low.0) >> shift) + 1, ((high.1 - low.1) >> shift) + 1);
        let raster = Self {
            low,
            shift,
            columns: columns as u64,
            rows: rows as u64,
            top: Vec::new(),
            cuts: Vec::new(),
            leaves: Vec::new(),
            entries: Vec::new(),
            bits: Vec::new(),
        };
        let budget = edges.len() as u64 * CUT_PER_EDGE + ENTRIES_MIN;
        let mut builder = Builder { edges, raster, budget, crowd: None };
        let all: Vec<u32> = (0..builder.edges.len() as u32).collect();
        let grid = Grid { low, shift, columns, rows };
        let outside = vec![Vec::new(); rows as usize];
        builder.raster.top = builder.cells(&grid, &all, &outside);
        match builder.crowd {
            Some(point) => Err(Error::input(format!(
                "map: more than {OVERLAPS_MAX} municipalities, the most, overlap near {point}"
            ))),
            None => Ok(builder.raster),
        }
    }

    /// Who holds a point.
    #[inline]
    pub fn locate(&self, p: Point) -> Answer {
        let cell = self.cut_at(self.top_at(p), p);
        match cell.0 & KIND {
            OWNED => cell.0.checked_sub(1).map_or(Answer::Nobody, Answer::Owner),
            LEAF => self.in_leaf(&self.leaves[(cell.0 & !KIND) as usize], p),
            _ => Answer::Crowded,
        }
    }

    /// [`Self::locate`] for points together, at most [`GROUP`] of them: in steps, each of which asks memory for what the
    /// next one needs of all points, so that they wait for it at the same time.
    pub fn locate_group(&self, points: &[Point], answers: &mut [Answer]) {
        let mut cells = [Cell(OWNED); GROUP];
        for (cell, p) in cells.iter_mut().zip(points) {
            *cell = self.top_at(*p);
        }
        let mut leaves = [Leaf::NONE; GROUP];
        for ((cell, leaf), p) in cells.iter_mut().zip(&mut leaves).zip(points) {
            *cell = self.cut_at(*cell, *p);
            if cell.0 & KIND == LEAF {
                *leaf = self.leaves[(cell.0 & !KIND) as usize];
            }
        }
        let mut first = [Entry::NONE; GROUP];
        let mut last = [Entry::NONE; GROUP];
        for ((leaf, first), last) in leaves.iter().zip(&mut first).zip(&mut last).take(points.len()) {
            if let [one, .., other] | [one @ other] = self.entries_of(leaf) {
                (*first, *last) = (*one, *other);
            }
        }
        for (at, (p, answer)) in points.iter().zip(answers).enumerate() {
            *answer = match cells[at].0 & KIND {
                OWNED => cells[at].0.checked_sub(1).map_or(Answer::Nobody, Answer::Owner),
                LEAF => self.in_leaf(&leaves[at], *p),
                _ => Answer::Crowded,
            };
        }
        std::hint::black_box((&first, &last));
    }

    /// The cell of the top level that a point is in.
    #[inline]
    fn top_at(&self, p: Point) -> Cell {
        let (x, y) = ((i64::from(p.x) - self.low.0) as u64, (i64::from(p.y) - self.low.1) as u64);
        let (column, row) = (x >> self.shift, y >> self.shift);
        if column >= self.columns || row >= self.rows {
            return Cell(OWNED);
        }
        self.top[(row * self.columns + column) as usize]
    }

    /// The smallest cell within this one that a point is in.
    #[inline]
    fn cut_at(&self, mut cell: Cell, p: Point) -> Cell {
        let mut shift = self.shift;
        while cell.0 & KIND == CUT {
            let (x, y) = ((i64::from(p.x) - self.low.0) as u64, (i64::from(p.y) - self.low.1) as u64);
            shift -= CUT_BITS;
            let (column, row) = (x >> shift & ((1 << CUT_BITS) - 1), y >> shift & ((1 << CUT_BITS) - 1));
            cell = self.cuts[(cell.0 & !KIND) as usize][(row << CUT_BITS | column) as usize];
        }
        cell
    }

    #[inline]
    fn entries_of(&self, leaf: &Leaf) -> &[Entry] {
        &self.entries[leaf.entries.0 as usize..leaf.entries.1 as usize]
    }

    #[inline]
    fn in_leaf(&self, leaf: &Leaf, p: Point) -> Answer {
        let mask = self.entries_of(leaf).iter().fold(leaf.base, |mask, entry| mask ^ entry.change(p));
        match mask {
            0 => Answer::Nobody,
            _ => Answer::Owner(self.bits[(leaf.bits + mask.trailing_zeros()) as usize]),
        }
    }
}

/// An edge of the map, from below to above, and the municipalities that have it an odd number of times.
#[derive(Debug, Clone)]
struct Edge {
    low: Point,
    high: Point,
    owners: Vec<u32>,
}

impl Edge {
    /// All edges, those that several share once. An edge that one municipality has twice is no border.
    fn merged(municipalities: &[Municipality]) -> Vec<Self> {
        let mut found: HashMap<(Point, Point), Vec<u32>> = HashMap::new();
        for (number, municipality) in (0u32..).zip(municipalities) {
            for (a, b) in municipality.edges() {
                let ends = if (a.y, a.x) < (b.y, b.x) { (a, b) } else { (b, a) };
                let owners = found.entry(ends).or_default();
                // The municipalities come one after the other, so an earlier mention of this one is the last.
                match owners.last() {
                    Some(last) if *last == number => drop(owners.pop()),
                    _ => owners.push(number),
                }
            }
        }
        let there = found.into_iter().filter(|(_, owners)| !owners.is_empty());
        let mut edges: Vec<Self> = there.map(|((low, high), owners)| Self { low, high, owners }).collect();
        edges.sort_unstable_by_key(|edge| (edge.low, edge.high));
        edges
    }

    fn x(&self) -> (i64, i64) {
        let (a, b) = (i64::from(self.low.x), i64::from(self.high.x));
        (a.min(b), a.max(b))
    }

    fn y(&self) -> (i64, i64) {
        (i64::from(self.low.y), i64::from(self.high.y))
    }

    /// The row from which on it is crossed by the path up the column `west`, if it crosses that column at all. Its own
    /// crossings with a row are then east of the column before this row, and not east of it from there on, or the other
    /// way around.
    fn turn(&self, west: i64) -> Option<i64> {
        let (a, b) = (i64::from(self.low.x), i64::from(self.high.x));
        if (a <= west) == (b <= west) {
            return None;
        }
        let (dx, dy) = (b - a, i64::from(self.high.y) - i64::from(self.low.y));
        let rise = if dx > 0 { ((west - a) * dy).div_euclid(dx) + 1 } else { -((west - a) * dy).div_euclid(-dx) };
        // A horizontal edge is on its own row, and is crossed on it.
        Some(if dy == 0 { self.y().0 } else { self.y().0 + rise })
    }

    /// The rows where its crossing lies east of the column `west` and not east of the column `east`: from the first to
    /// before the second.
    fn rows(&self, west: i64, east: i64) -> (i64, i64) {
        let (mut first, mut end) = self.y();
        let goes_east = self.high.x >= self.low.x;
        let is_west = |column: i64| self.x().1 <= column;
        let is_east = |column: i64| self.x().0 > column;
        if is_west(west) || is_east(east) {
            return (first, first);
        }
        if let Some(turn) = self.turn(west) {
            if goes_east { first = first.max(turn) } else { end = end.min(turn) }
        }
        if let Some(turn) = self.turn(east) {
            if goes_east { end = end.min(turn) } else { first = first.max(turn) }
        }
        (first, end)
    }

    /// The columns that it is in between two rows, with a unit to spare on either side.
    fn columns(&self, first: i64, last: i64) -> (i64, i64) {
        let ((a, b), (low, high)) = ((i64::from(self.low.x), i64::from(self.high.x)), self.y());
        let at =
            |y: i64| if low == high { b } else { a + ((b - a) * (y.clamp(low, high) - low)).div_euclid(high - low) };
        let (from, to) = if low == high { (a, b) } else { (at(first), at(last)) };
        (from.min(to) - 1, from.max(to) + 1)
    }
}

/// The box of all edges.
fn extent(edges: &[Edge]) -> ((i64, i64), (i64, i64)) {
    let none = ((i64::from(LON_MAX), i64::from(LAT_MAX)), (-i64::from(LON_MAX), -i64::from(LAT_MAX)));
    let all = edges.iter().fold(none, |(low, high), edge| {
        let (x, y) = (edge.x(), edge.y());
        ((low.0.min(x.0), low.1.min(y.0)), (high.0.max(x.1), high.1.max(y.1)))
    });
    if edges.is_empty() { ((0, 0), (0, 0)) } else { all }
}

/// The logarithm of the side of the top level's cells: as small as the bounds of cells and of entries allow.
fn top_shift(edges: &[Edge], low: (i64, i64), high: (i64, i64)) -> u32 {
    let count = edges.len() as u64;
    let fits = |shift: &u32| {
        let across = |from: i64, to: i64| ((to >> shift) - (from >> shift) + 1) as u64;
        let cells = across(low.0, high.0) * across(low.1, high.1);
        let crossed = || edges.iter().map(|edge| across(edge.x().0, edge.x().1) + across(edge.y().0, edge.y().1));
        cells <= (count * CELLS_PER_EDGE).clamp(16, CELLS_MAX)
            && crossed().sum::<u64>() <= TOP_PER_EDGE * count + ENTRIES_MIN
    };
    (0..32).find(fits).unwrap_or(32)
}

/// Equal cells beside and above each other.
struct Grid {
    low: (i64, i64),
    shift: u32,
    columns: i64,
    rows: i64,
}

impl Grid {
    fn side(&self) -> i64 {
        1 << self.shift
    }
}

/// What an edge does in a cell.
struct Found {
    cell: u32,
    edge: u32,
    rows: (i64, i64),
    /// The row of the path up the western side where it is crossed.
    turn: Option<i64>,
}

struct Builder {
    edges: Vec<Edge>,
    raster: Raster,
    budget: u64,
    /// Where too many overlap.
    crowd: Option<Point>,
}

/// Takes the members of one sorted list that the other has too away, and puts those in that it has not.
fn toggle(inside: &mut Vec<u32>, owners: &[u32]) {
    for owner in owners {
        match inside.binary_search(owner) {
            Ok(at) => drop(inside.remove(at)),
            Err(at) => inside.insert(at, *owner),
        }
    }
}

impl Builder {
    /// The cells of a grid, row by row. `inside` says for each row who holds the point west of its first cell's corner.
    fn cells(&mut self, grid: &Grid, edges: &[u32], inside: &[Vec<u32>]) -> Vec<Cell> {
        let mut found = Vec::new();
        for edge in edges {
            self.cross(grid, *edge, &mut found);
        }
        found.sort_unstable_by_key(|one| (one.cell, one.edge));
        let mut cells = Vec::with_capacity((grid.columns * grid.rows) as usize);
        let mut rest = found.as_slice();
        for (row, first) in (0..grid.rows).zip(inside) {
            let mut inside = first.clone();
            for column in 0..grid.columns {
                let number = cells.len() as u32;
                let (here, later) = rest.split_at(rest.partition_point(|one| one.cell == number));
                rest = later;
                let low = (grid.low.0 + column * grid.side(), grid.low.1 + row * grid.side());
                if inside.len() > OVERLAPS_MAX {
                    self.crowd = Some(Point { x: low.0 as i32, y: low.1 as i32 });
                }
                if self.crowd.is_some() {
                    return vec![CROWDED; (grid.columns * grid.rows) as usize];
                }
                cells.push(self.cell(low, grid.shift, here, &inside));
                for one in here.iter().filter(|one| (one.rows.0..one.rows.1).contains(&low.1)) {
                    toggle(&mut inside, &self.edges[one.edge as usize].owners);
                }
            }
        }
        cells
    }

    /// Finds what an edge does in the cells of a grid.
    fn cross(&self, grid: &Grid, number: u32, found: &mut Vec<Found>) {
        let edge = &self.edges[number as usize];
        let row_of = |y: i64| (y - grid.low.1) >> grid.shift;
        let column_of = |x: i64| (x - grid.low.0) >> grid.shift;
        let (low, high) = edge.y();
        for row in row_of(low).max(0)..=row_of(high).min(grid.rows - 1) {
            let first = grid.low.1 + row * grid.side();
            let last = first + grid.side() - 1;
            let (from, to) = edge.columns(first - 1, last + 1);
            // The column after the last one is looked at too: it may be crossed by the path up its western side.
            for column in column_of(from).max(0)..=(column_of(to) + 1).min(grid.columns - 1) {
                let west = grid.low.0 + column * grid.side() - 1;
                let (from, end) = edge.rows(west, west + grid.side());
                let rows = (from.max(first), end.min(last + 1));
                let turn = edge.turn(west).filter(|turn| (first + 1..=last).contains(turn));
                // One that lies between two rows or columns counts in no row here, and yet in smaller cells of this one.
                let is_within = column <= column_of(to) && !mutant!("pop.flat_edges");
                if rows.0 < rows.1 || turn.is_some() || is_within {
                    found.push(Found { cell: (row * grid.columns + column) as u32, edge: number, rows, turn });
                }
            }
        }
    }

    /// One cell: owned, a leaf, or cut.
    fn cell(&mut self, low: (i64, i64), shift: u32, here: &[Found], inside: &[u32]) -> Cell {
        let entries = |one: &Found| usize::from(one.rows.0 < one.rows.1) + usize::from(one.turn.is_some());
        let count: usize = here.iter().map(entries).sum();
        if count == 0 {
            return Cell(OWNED | inside.first().map_or(0, |first| first + 1));
        }
        if count > LEAF_MAX && shift >= CUT_BITS && self.afford(here, shift) {
            return self.cut(low, shift, here, inside);
        }
        self.leaf(low, here, inside)
    }

    /// Whether cutting a cell is within the bounds of memory.
    fn afford(&mut self, here: &[Found], shift: u32) -> bool {
        let across = |(from, to): (i64, i64)| (((to - from) >> (shift - CUT_BITS)) as u64).min(1 << CUT_BITS) + 1;
        let most = |one: &Found| {
            let edge = &self.edges[one.edge as usize];
            across(edge.x()) + across(edge.y())
        };
        let costs = here.iter().map(most).sum::<u64>() + (1 << (2 * CUT_BITS));
        match self.budget.checked_sub(costs) {
            Some(left) => {
                self.budget = left;
                true
            }
            None => false,
        }
    }

    fn cut(&mut self, low: (i64, i64), shift: u32, here: &[Found], inside: &[u32]) -> Cell {
        let across = 1 << CUT_BITS;
        let grid = Grid { low, shift: shift - CUT_BITS, columns: across, rows: across };
        let edges: Vec<u32> = here.iter().map(|one| one.edge).collect();
        let firsts: Vec<Vec<u32>> = (0..across)
            .map(|row| {
                let corner = low.1 + row * grid.side();
                let mut first = inside.to_vec();
                for one in here.iter().filter(|one| one.turn.is_some_and(|turn| turn <= corner)) {
                    toggle(&mut first, &self.edges[one.edge as usize].owners);
                }
                first
            })
            .collect();
        let number = self.raster.cuts.len();
        self.raster.cuts.push([CROWDED; 1 << (2 * CUT_BITS)]);
        let cells = self.cells(&grid, &edges, &firsts);
        self.raster.cuts[number].copy_from_slice(&cells);
        Cell(CUT | number as u32)
    }

    fn leaf(&mut self, low: (i64, i64), here: &[Found], inside: &[u32]) -> Cell {
        let mut bits: Vec<u32> = here.iter().flat_map(|one| &self.edges[one.edge as usize].owners).copied().collect();
        bits.extend(inside);
        bits.sort_unstable();
        bits.dedup();
        if bits.len() > MASK_BITS {
            return CROWDED;
        }
        let mask = |owners: &[u32]| {
            let places = owners.iter().filter_map(|owner| bits.binary_search(owner).ok());
            places.fold(0u64, |mask, place| mask | 1 << place)
        };
        let first = self.raster.entries.len() as u32;
        for one in here {
            let edge = &self.edges[one.edge as usize];
            let mask = mask(&edge.owners);
            let (x, y) = (edge.low.x, edge.low.y);
            if one.rows.0 < one.rows.1 {
                let (dx, dy) = (edge.high.x - x, edge.high.y - y);
                let (low, high) = (one.rows.0 as i32, one.rows.1 as i32);
                self.raster.entries.push(Entry { x, y, dx, dy, low, high, mask });
            }
            if let Some(turn) = one.turn {
                let (x, y) = ((low.0 - 1) as i32, turn as i32);
                self.raster.entries.push(Entry { x, y, dx: 0, dy: 1, low: y, high: i32::MAX, mask });
            }
        }
        let leaf = Leaf {
            base: mask(inside),
            entries: (first, self.raster.entries.len() as u32),
            bits: self.raster.bits.len() as u32,
        };
        self.raster.bits.extend(bits);
        self.raster.leaves.push(leaf);
        Cell(LEAF | (self.raster.leaves.len() - 1) as u32)
    }
}
