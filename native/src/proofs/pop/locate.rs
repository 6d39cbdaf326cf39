//! [`Places`]: a map that says in which municipality a point is.

use rayon::prelude::*;

use super::geojson::{self, Options};
use super::index::Index;
use super::map::{self, Municipality};
use super::raster::{Answer, GROUP, Raster};
use super::rings::{LAT_MAX, LON_MAX, Point, units};
use crate::crypto::hash::Digest;
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;

/// The position that stands for "no municipality" in batches.
pub const NOBODY: u32 = u32::MAX;

/// Points from which on a batch uses several threads, and the points of one task.
const PARALLEL_MIN: usize = 16_384;
const TASK: usize = 8_192;

/// In what unit the two numbers of a point are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// f64, degrees.
    Degrees,
    /// i32, 1e-7°.
    E7,
}

impl Unit {
    /// Bytes of a point.
    pub fn width(self) -> usize {
        match self {
            Self::Degrees => 16,
            Self::E7 => 8,
        }
    }

    /// How many points a buffer holds.
    pub fn count(self, points: &[u8]) -> Result<usize> {
        let (len, width) = (points.len(), self.width());
        if !len.is_multiple_of(width) {
            return Err(Error::input(format!("points: {len} bytes are not points of {width} bytes each")));
        }
        Ok(len / width)
    }

    /// A point of its bytes, in the order of this machine; `None` if it is not on the globe.
    #[inline]
    fn read(self, bytes: &[u8]) -> Option<Point> {
        match self {
            Self::Degrees => {
                let (lon, lat) = bytes.split_at(8);
                Point::of_degrees(f64::from_ne_bytes(lon.try_into().ok()?), f64::from_ne_bytes(lat.try_into().ok()?))
            }
            Self::E7 => {
                let (x, y) = bytes.split_at(4);
                let point =
                    Point { x: i32::from_ne_bytes(x.try_into().ok()?), y: i32::from_ne_bytes(y.try_into().ok()?) };
                point.is_in_range().then_some(point)
            }
        }
    }
}

/// A map: municipalities that do not share a name, and the way from a point to the one that holds it.
///
/// ```
/// use city_chain_native::proofs::pop::{Options, Places};
///
/// let square = br#"{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "town", "properties": null,
///     "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}}]}"#;
/// let places = Places::from_geojson(square, &Options::default())?;
/// assert_eq!(places.locate(0, 0)?, Some(0)); // the south-western corner is the town's
/// assert_eq!(places.locate(10_000_000, 0)?, None); // the eastern border is not
/// # Ok::<(), city_chain_native::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Places {
    municipalities: Vec<Municipality>,
    index: Index,
    raster: Raster,
    root: Digest,
}

impl Places {
    /// The map of a GeoJSON FeatureCollection of Polygons and MultiPolygons.
    pub fn from_geojson(bytes: &[u8], options: &Options) -> Result<Self> {
        Self::new(map::sorted(geojson::municipalities(bytes, options)?)?)
    }

    /// The map of the bytes of [`Self::to_bytes`]; everything is checked as if it came from GeoJSON.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::new(map::decode(bytes)?)
    }

    fn new(municipalities: Vec<Municipality>) -> Result<Self> {
        let root = map::root(&map::encode(&municipalities)?);
        let (index, raster) = (Index::new(&municipalities), Raster::new(&municipalities)?);
        Ok(Self { municipalities, index, raster, root })
    }

    /// The canonical bytes: the same for every file that draws the same borders.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        map::encode(&self.municipalities)
    }

    /// What stands for the map: a digest of its canonical bytes.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// How many municipalities there are.
    pub fn len(&self) -> usize {
        self.municipalities.len()
    }

    /// Whether there is none, which no constructor makes.
    pub fn is_empty(&self) -> bool {
        self.municipalities.is_empty()
    }

    /// The municipalities, sorted by the bytes of their names.
    pub fn municipalities(&self) -> &[Municipality] {
        &self.municipalities
    }

    /// The name of a municipality.
    pub fn name(&self, position: u32) -> Option<&str> {
        self.municipalities.get(position as usize).map(Municipality::name)
    }

    /// The place of a name among all names.
    pub fn position(&self, name: &str) -> Option<u32> {
        self.municipalities.binary_search_by(|known| known.name().cmp(name)).ok().map(|at| at as u32)
    }

    /// The municipality that holds a point, units of 1e-7°; `None` if none does.
    pub fn locate(&self, lon_e7: i32, lat_e7: i32) -> Result<Option<u32>> {
        let point = Point { x: lon_e7, y: lat_e7 };
        if !point.is_in_range() {
            return Err(Error::input(format!(
                "point: {point} is not on the globe: longitude −180 to 180, latitude −90 to 90 degrees"
            )));
        }
        Ok(self.owner(point))
    }

    /// [`Self::locate`] in degrees, which are rounded to 1e-7° (to the nearest, halves away from zero).
    pub fn locate_degrees(&self, lon: f64, lat: f64) -> Result<Option<u32>> {
        match (units(lon, LON_MAX), units(lat, LAT_MAX)) {
            (Some(x), Some(y)) => self.locate(x, y),
            _ => Err(Error::input(format!(
                "point: ({lon}, {lat}) is not on the globe: longitude −180 to 180, latitude −90 to 90 degrees"
            ))),
        }
    }

    /// [`Self::locate`] by the exact index alone: slower, and what the raster is checked against.
    pub fn locate_by_index(&self, lon_e7: i32, lat_e7: i32) -> Option<u32> {
        self.index.locate(&self.municipalities, seen_from_inside(Point { x: lon_e7, y: lat_e7 }))
    }

    /// [`Self::locate`] for points one after another in a buffer: positions of municipalities, [`NOBODY`] for none.
    ///
    /// Refuses all of them if one is not on the globe, and names it.
    pub fn locate_many(&self, points: &[u8], unit: Unit) -> Result<Vec<u32>> {
        let mut found = vec![[0; 4]; unit.count(points)?];
        self.locate_many_into(points, unit, &mut found)?;
        Ok(found.into_iter().map(u32::from_ne_bytes).collect())
    }

    /// [`Self::locate_many`] into memory of as many places as there are points, in the byte order of this machine.
    pub fn locate_many_into(&self, points: &[u8], unit: Unit, found: &mut [[u8; 4]]) -> Result<()> {
        let (width, count) = (unit.width(), unit.count(points)?);
        if found.len() != count {
            return Err(Error::input(format!("points: {count} of them, and places for {}", found.len())));
        }
        let run = |first: usize, points: &[u8], found: &mut [[u8; 4]]| {
            let groups = points.chunks(GROUP * width).zip(found.chunks_mut(GROUP));
            for (group, (points, found)) in groups.enumerate() {
                self.locate_group(points, unit, found).map_err(|number| first + group * GROUP + number)?;
            }
            Ok(())
        };
        let outcome: std::result::Result<(), usize> = if count < PARALLEL_MIN {
            run(0, points, found)
        } else {
            let tasks = points.par_chunks(TASK * width).zip(found.par_chunks_mut(TASK)).enumerate();
            let outcomes: Vec<_> = tasks.map(|(task, (points, found))| run(task * TASK, points, found)).collect();
            outcomes.into_iter().collect()
        };
        outcome.map_err(|number| {
            Error::input(format!(
                "points[{number}]: not on the globe: longitude −180 to 180, latitude −90 to 90 degrees are needed"
            ))
        })
    }

    /// At most [`GROUP`] points; the number of one that is not on the globe.
    fn locate_group(&self, bytes: &[u8], unit: Unit, found: &mut [[u8; 4]]) -> std::result::Result<(), usize> {
        let mut points = [Point { x: 0, y: 0 }; GROUP];
        let mut answers = [Answer::Nobody; GROUP];
        for (number, (point, bytes)) in points.iter_mut().zip(bytes.chunks_exact(unit.width())).enumerate() {
            *point = seen_from_inside(unit.read(bytes).ok_or(number)?);
        }
        let points = &points[..found.len()];
        self.raster.locate_group(points, &mut answers);
        for ((answer, point), place) in answers.iter().zip(points).zip(found) {
            *place = self.settled(*answer, *point).unwrap_or(NOBODY).to_ne_bytes();
        }
        Ok(())
    }

    #[inline]
    fn owner(&self, point: Point) -> Option<u32> {
        let point = seen_from_inside(point);
        self.settled(self.raster.locate(point), point)
    }

    /// What the raster says, or the index where the raster cannot.
    #[inline]
    fn settled(&self, answer: Answer, point: Point) -> Option<u32> {
        match answer {
            Answer::Owner(position) => Some(position),
            Answer::Nobody => None,
            Answer::Crowded => self.index.locate(&self.municipalities, point),
        }
    }
}

/// The globe's seams: 180° east is 180° west, and the north pole is asked 1e-7° south of it.
#[inline]
fn seen_from_inside(point: Point) -> Point {
    if mutant!("pop.seam") {
        return point;
    }
    Point { x: if point.x == LON_MAX { -LON_MAX } else { point.x }, y: point.y.min(LAT_MAX - 1) }
}
