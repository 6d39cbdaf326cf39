//! The exact way: boxes in a Sort-Tile-Recursive tree (Leutenegger, Lopez, Edgington 1997), and rays through polygons.
//!
//! It answers where the raster does not (more municipalities meet in one cell than its masks hold), and it is what the
//! raster is checked against.

use super::map::Municipality;
use super::rings::Point;

/// Children of a node.
const NODE: usize = 16;

/// A box, its sides included.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    low: Point,
    high: Point,
}

impl Bounds {
    /// The box of points; an empty one without any.
    pub fn of(points: impl IntoIterator<Item = Point>) -> Self {
        let none = Self { low: Point { x: i32::MAX, y: i32::MAX }, high: Point { x: i32::MIN, y: i32::MIN } };
        points.into_iter().fold(none, |all, point| all.with(Self { low: point, high: point }))
    }

    fn with(self, other: Self) -> Self {
        Self {
            low: Point { x: self.low.x.min(other.low.x), y: self.low.y.min(other.low.y) },
            high: Point { x: self.high.x.max(other.high.x), y: self.high.y.max(other.high.y) },
        }
    }

    fn holds(self, point: Point) -> bool {
        (self.low.x..=self.high.x).contains(&point.x) && (self.low.y..=self.high.y).contains(&point.y)
    }

    /// Lower left and upper right corner.
    pub fn corners(self) -> (Point, Point) {
        (self.low, self.high)
    }

    /// Twice the middle, in one direction.
    fn middle(self, is_x: bool) -> i64 {
        if is_x {
            i64::from(self.low.x) + i64::from(self.high.x)
        } else {
            i64::from(self.low.y) + i64::from(self.high.y)
        }
    }
}

/// A packed tree of boxes. Level 0 has the boxes themselves; each later one the boxes of [`NODE`] of the one before.
#[derive(Debug)]
pub struct Tree {
    items: Vec<u32>,
    levels: Vec<Vec<Bounds>>,
}

impl Tree {
    /// Packs boxes: cut into vertical slices by their middles, and each slice into nodes from below to above.
    pub fn new(boxes: &[Bounds]) -> Self {
        let mut items: Vec<u32> = (0..boxes.len() as u32).collect();
        let nodes = boxes.len().div_ceil(NODE).max(1);
        let slices = (nodes as f64).sqrt().ceil() as usize;
        let in_slice = nodes.div_ceil(slices) * NODE;
        items.sort_by_key(|at| boxes[*at as usize].middle(true));
        for slice in items.chunks_mut(in_slice) {
            slice.sort_by_key(|at| boxes[*at as usize].middle(false));
        }
        let mut levels = vec![items.iter().map(|at| boxes[*at as usize]).collect::<Vec<_>>()];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks(NODE).filter_map(|node| node.iter().copied().reduce(Bounds::with)).collect();
            levels.push(above);
        }
        Self { items, levels }
    }

    /// Calls `found` with the number of every box that holds the point.
    pub fn at(&self, point: Point, mut found: impl FnMut(u32)) {
        let top = self.levels.len() - 1;
        let mut open: Vec<(usize, usize)> = (0..self.levels[top].len()).map(|at| (top, at)).collect();
        while let Some((level, at)) = open.pop() {
            if !self.levels[level][at].holds(point) {
                continue;
            }
            match level.checked_sub(1) {
                None => found(self.items[at]),
                Some(below) => {
                    let end = self.levels[below].len().min((at + 1) * NODE);
                    open.extend((at * NODE..end).map(|child| (below, child)));
                }
            }
        }
    }
}

/// Whether the edge crosses the ray from the point to the west, and the point is not on the edge's western side: half-open
/// in both directions, as the map's borders are.
#[inline]
pub fn crosses((a, b): (Point, Point), p: Point) -> bool {
    let (low, high) = if a.y < b.y { (a, b) } else { (b, a) };
    if p.y < low.y || p.y >= high.y {
        return false;
    }
    let (dx, dy) = (i64::from(high.x) - i64::from(low.x), i64::from(high.y) - i64::from(low.y));
    dx * (i64::from(p.y) - i64::from(low.y)) <= (i64::from(p.x) - i64::from(low.x)) * dy
}

/// All polygons of a map in one tree.
#[derive(Debug)]
pub struct Index {
    tree: Tree,
    /// Of every box: the municipality and its polygon.
    owners: Vec<(u32, u32)>,
}

impl Index {
    /// The index of municipalities.
    pub fn new(municipalities: &[Municipality]) -> Self {
        let mut boxes = Vec::new();
        let mut owners = Vec::new();
        for (number, municipality) in (0u32..).zip(municipalities) {
            for (at, polygon) in (0u32..).zip(municipality.polygons()) {
                let corners = polygon.rings().iter().flat_map(|ring| ring.corners().iter().copied());
                boxes.push(Bounds::of(corners));
                owners.push((number, at));
            }
        }
        Self { tree: Tree::new(&boxes), owners }
    }

    /// The first municipality that holds the point.
    pub fn locate(&self, municipalities: &[Municipality], point: Point) -> Option<u32> {
        let mut crossed: Vec<(u32, bool)> = Vec::new();
        self.tree.at(point, |item| {
            let (number, at) = self.owners[item as usize];
            let polygon = &municipalities[number as usize].polygons()[at as usize];
            let edges = polygon.rings().iter().flat_map(|ring| ring.edges());
            let is_odd = edges.filter(|edge| crosses(*edge, point)).count() % 2 == 1;
            match crossed.iter_mut().find(|(known, _)| *known == number) {
                Some((_, odd)) => *odd ^= is_odd,
                None => crossed.push((number, is_odd)),
            }
        });
        crossed.into_iter().filter(|(_, is_odd)| *is_odd).map(|(number, _)| number).min()
    }
}
