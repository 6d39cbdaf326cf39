//! The municipalities of a map in their canonical form, and its bytes.
//!
//! The form does not depend on the order in which features, polygons, holes or corners were given: two files that draw the
//! same borders have the same root, and everyone can say which map they used. The tree and the raster are made anew from
//! it, so that nobody has to believe an index of somebody else.

use borsh::{BorshDeserialize, BorshSerialize};

use super::geojson::{FEATURES_MAX, POSITIONS_MAX, RINGS_MAX, check_name};
use super::rings::{Point, Ring};
use crate::crypto::hash::{self, Digest};
use crate::error::{Error, Result};
use crate::primitives::wire::{self, List, Record, Text};

/// The most bytes of the name of a municipality; what a node's region has at most.
pub const NAME_MAX: usize = 64;

const ROOT_CONTEXT: &str = "city-chain v1 place map";

/// An outer ring and the holes in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Polygon(Vec<Ring>);

impl Polygon {
    /// The polygon of its rings, the outer one first; none without one.
    pub fn new(mut rings: Vec<Ring>) -> Option<Self> {
        rings.get_mut(1..)?.sort_unstable();
        Some(Self(rings))
    }

    /// The rings, the outer one first.
    pub fn rings(&self) -> &[Ring] {
        &self.0
    }
}

/// A municipality: its name and its polygons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Municipality {
    name: String,
    polygons: Vec<Polygon>,
}

impl Municipality {
    /// A municipality of its polygons.
    pub fn new(name: String, mut polygons: Vec<Polygon>) -> Self {
        polygons.sort_unstable();
        Self { name, polygons }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its polygons.
    pub fn polygons(&self) -> &[Polygon] {
        &self.polygons
    }

    /// All edges of all rings.
    pub fn edges(&self) -> impl Iterator<Item = (Point, Point)> + '_ {
        self.polygons.iter().flat_map(Polygon::rings).flat_map(Ring::edges)
    }
}

/// Sorts municipalities by name; refuses none at all.
pub(super) fn sorted(mut municipalities: Vec<Municipality>) -> Result<Vec<Municipality>> {
    municipalities.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    if municipalities.is_empty() {
        return Err(Error::input("map: no municipality in it, at least one is needed"));
    }
    Ok(municipalities)
}

// --- bytes -----------------------------------------------------------------------------------------------------------

type Corners = List<Point, POSITIONS_MAX>;
type Rings = List<Corners, RINGS_MAX>;

/// The encoding of a map.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Encoded {
    municipalities: List<EncodedMunicipality, FEATURES_MAX>,
}

#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct EncodedMunicipality {
    name: Text<NAME_MAX>,
    polygons: List<Rings, RINGS_MAX>,
}

impl Record for Encoded {
    const TAG: [u8; 4] = *b"CCpl";
    const VERSION: u16 = 1;
    const NAME: &'static str = "map of places";
    const LEN_MAX: usize = 1 << 28;
}

fn listed<T, const MAX: usize>(items: Vec<T>) -> Result<List<T, MAX>> {
    List::new("map of places", items)
}

/// The canonical bytes of municipalities that are sorted.
pub(super) fn encode(municipalities: &[Municipality]) -> Result<Vec<u8>> {
    let one = |municipality: &Municipality| {
        let polygon = |polygon: &Polygon| {
            listed(polygon.0.iter().map(|ring| listed(ring.corners().to_vec())).collect::<Result<Vec<_>>>()?)
        };
        let polygons = municipality.polygons.iter().map(polygon).collect::<Result<Vec<_>>>()?;
        Ok(EncodedMunicipality { name: Text::new("name", municipality.name.as_str())?, polygons: listed(polygons)? })
    };
    let municipalities = municipalities.iter().map(one).collect::<Result<Vec<_>>>()?;
    wire::encode(&Encoded { municipalities: listed(municipalities)? })
}

/// The municipalities of canonical bytes, every ring checked as if it came from GeoJSON.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Municipality>> {
    let encoded: Encoded = wire::decode(bytes)?;
    let mut made: Vec<Municipality> = Vec::with_capacity(encoded.municipalities.len());
    for municipality in encoded.municipalities.into_vec() {
        let name = municipality.name.to_string();
        check_name(&name).map_err(|what| Error::input(format!("map of places: {what}")))?;
        if made.last().is_some_and(|last| last.name >= name) {
            return Err(Error::input(format!(
                "map of places: {name:?} is not in its place: names come sorted, each once"
            )));
        }
        let polygons = decoded_polygons(&name, municipality.polygons.into_vec())?;
        made.push(Municipality { name, polygons });
    }
    sorted(made)
}

fn decoded_polygons(name: &str, encoded: Vec<Rings>) -> Result<Vec<Polygon>> {
    let mut polygons: Vec<Polygon> = Vec::with_capacity(encoded.len());
    for (number, rings) in encoded.into_iter().enumerate() {
        let wrong = |ring: usize, what: &dyn std::fmt::Display| {
            Error::input(format!("map of places: {name:?}, polygon {number}, ring {ring}: {what}"))
        };
        let mut made: Vec<Ring> = Vec::with_capacity(rings.len());
        for (at, corners) in rings.into_vec().into_iter().enumerate() {
            let corners = corners.into_vec();
            if let Some(point) = corners.iter().find(|point| !point.is_in_range()) {
                return Err(wrong(at, &format_args!("{point} is not on the globe")));
            }
            let ring = Ring::from_corners(corners.clone(), at > 0).map_err(|flaw| wrong(at, &flaw))?;
            if ring.corners() != corners || (at > 1 && made[at - 1] > ring) {
                return Err(wrong(at, &"not in its canonical form"));
            }
            made.push(ring);
        }
        let polygon = Polygon::new(made).ok_or_else(|| wrong(0, &"there is none"))?;
        if polygons.last().is_some_and(|last| *last > polygon) {
            return Err(wrong(0, &"its polygon is not in its place"));
        }
        polygons.push(polygon);
    }
    match polygons.is_empty() {
        true => Err(Error::input(format!("map of places: {name:?} has no polygon"))),
        false => Ok(polygons),
    }
}

/// What stands for the map: the digest of its canonical bytes.
pub(super) fn root(bytes: &[u8]) -> Digest {
    hash::digest(ROOT_CONTEXT, bytes)
}
