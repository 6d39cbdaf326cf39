//! GeoJSON (RFC 7946) into municipalities: a FeatureCollection whose features are Polygons and MultiPolygons.
//!
//! serde_json reads the text (which bounds its nesting); what is kept of it are the points at 1e-7°, in flat lists. A fault
//! within a feature is remembered and reading goes on, so that [`faults`] can tell all of them; broken JSON and what
//! passes a limit end it at once, and say where.

use std::collections::{HashMap, HashSet};
use std::fmt;

use rayon::prelude::*;
use serde_json::de::Deserializer;

use super::map::{Municipality, NAME_MAX, Polygon};
use super::rings::{Flaw, Point, Ring};
use crate::error::{Error, Result};

#[path = "reader.rs"]
mod reader;

use reader::{Collection, Reading};

/// The most bytes of a map as GeoJSON: 256 MiB.
pub const BYTES_MAX: usize = 256 << 20;

/// The most features of a map.
pub const FEATURES_MAX: usize = 1 << 18;

/// The most rings of a map.
pub const RINGS_MAX: usize = 1 << 20;

/// The most positions of a map.
pub const POSITIONS_MAX: usize = 1 << 23;

/// The most faults that are told.
pub const FAULTS_MAX: usize = 100_000;

/// What is left out of a map that has faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaveOut {
    /// Nothing: any fault refuses the map.
    #[default]
    Nothing,
    /// Faulty rings: one without any area alone, any other with the polygon that it is of; a municipality of which nothing
    /// is left; and features that cannot be read.
    Rings,
    /// Features with any fault.
    Features,
}

/// How GeoJSON is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The property that names a municipality; the feature's `id` if `None`.
    pub name: Option<String>,
    /// What may be left out.
    pub leave_out: LeaveOut,
}

/// Something wrong in a map, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The feature, counted from 0; `None` for the map as a whole.
    pub feature: Option<usize>,
    /// The name of the municipality, if it has been read.
    pub name: Option<String>,
    /// The polygon in the feature, counted from 0.
    pub polygon: Option<usize>,
    /// The ring in the polygon: 0 is the outer one, the others are holes.
    pub ring: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// Whether the ring encloses nothing, so that leaving it out moves no border.
    pub is_empty: bool,
}

impl Fault {
    /// A fault of a whole feature.
    fn of_feature(feature: &Feature, what: impl Into<String>) -> Self {
        let what = what.into();
        Self {
            feature: Some(feature.number),
            name: feature.name.clone(),
            polygon: None,
            ring: None,
            what,
            is_empty: false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(feature) = self.feature {
            write!(f, "feature {feature}")?;
            if let Some(name) = &self.name {
                write!(f, " ({name:?})")?;
            }
            for (what, number) in [("polygon", self.polygon), ("ring", self.ring)] {
                if let Some(number) = number {
                    write!(f, ", {what} {number}")?;
                }
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.what)
    }
}

/// A ring as it was read: its positions, or what is wrong with one of them.
#[derive(Debug, Default)]
pub(super) struct RawRing {
    positions: Vec<Point>,
    wrong: Option<String>,
}

/// A feature as it was read.
#[derive(Debug, Default)]
pub(super) struct Feature {
    number: usize,
    name: Option<String>,
    polygons: Vec<Vec<RawRing>>,
    wrong: Option<String>,
}

/// The municipalities of a map, and its faults in their order. An error if the text is no GeoJSON or passes a limit.
fn read(bytes: &[u8], name: Option<&str>) -> Result<(Vec<Feature>, Vec<Fault>)> {
    if bytes.len() > BYTES_MAX {
        return Err(Error::input(format!("map: {} bytes, at most {BYTES_MAX} are read", bytes.len())));
    }
    let mut reading = Reading::new(name);
    let mut json = Deserializer::from_slice(bytes);
    let outcome = Collection(&mut reading).read(&mut json).and_then(|()| json.end());
    outcome.map_err(|error| Error::input(format!("map: {}", reading.located(&error))))?;
    let features = reading.finish().map_err(|what| Error::input(format!("map: {what}")))?;
    let faults = doubled(&features);
    Ok((features, faults))
}

/// Features that have one name.
fn doubled(features: &[Feature]) -> Vec<Fault> {
    let mut first: HashMap<&str, Vec<&Feature>> = HashMap::new();
    for feature in features {
        if let Some(name) = &feature.name {
            first.entry(name).or_default().push(feature);
        }
    }
    let several = first.into_values().filter(|found| found.len() > 1);
    several
        .flat_map(|found| {
            let at = found[0].number;
            found.into_iter().map(move |feature| {
                let what = if feature.number == at {
                    "another feature has the same name".to_string()
                } else {
                    format!("feature {at} has the same name")
                };
                Fault::of_feature(feature, what)
            })
        })
        .collect()
}

/// The polygons of a feature, whole or as far as they are good, and its faults.
fn build(feature: &Feature, leave_out: LeaveOut) -> (Vec<Polygon>, Vec<Fault>) {
    let mut faults = Vec::new();
    if let Some(what) = &feature.wrong {
        faults.push(Fault::of_feature(feature, what.clone()));
    }
    let mut polygons = Vec::with_capacity(feature.polygons.len());
    for (number, rings) in feature.polygons.iter().enumerate() {
        let before = faults.len();
        let mut made = Vec::with_capacity(rings.len());
        for (at, raw) in rings.iter().enumerate() {
            let found = match &raw.wrong {
                Some(what) => Err(Flaw::Other(what.clone())),
                None => Ring::from_positions(&raw.positions, at > 0),
            };
            match found {
                Ok(ring) => made.push(ring),
                Err(flaw) => {
                    let fault = Fault::of_feature(feature, flaw.to_string());
                    faults.push(Fault {
                        polygon: Some(number),
                        ring: Some(at),
                        is_empty: flaw.is_empty() && at > 0,
                        ..fault
                    });
                }
            }
        }
        let is_usable = faults[before..].iter().all(|fault| fault.is_empty && leave_out == LeaveOut::Rings);
        if is_usable {
            polygons.extend(Polygon::new(made));
        }
    }
    (polygons, faults)
}

/// All faults of a map, in the order of its features; at most [`FAULTS_MAX`].
pub fn faults(bytes: &[u8], name: Option<&str>) -> Result<Vec<Fault>> {
    let (features, doubled) = read(bytes, name)?;
    let mut found: Vec<Fault> =
        features.par_iter().flat_map_iter(|feature| build(feature, LeaveOut::Nothing).1).collect();
    found.extend(doubled);
    found.sort_by_key(|fault| (fault.feature, fault.polygon, fault.ring));
    found.truncate(FAULTS_MAX);
    Ok(found)
}

/// The municipalities of a map; refuses it if it has faults that may not be left out.
pub(super) fn municipalities(bytes: &[u8], options: &Options) -> Result<Vec<Municipality>> {
    let (features, doubled) = read(bytes, options.name.as_deref())?;
    let built: Vec<_> = features.par_iter().map(|feature| build(feature, options.leave_out)).collect();
    if options.leave_out == LeaveOut::Nothing {
        let mut all: Vec<&Fault> = built.iter().flat_map(|(_, faults)| faults).chain(&doubled).collect();
        all.sort_by_key(|fault| (fault.feature, fault.polygon, fault.ring));
        if let Some(first) = all.first() {
            let more = if all.len() > 1 { format!(" (and {} more faults)", all.len() - 1) } else { String::new() };
            return Err(Error::input(format!("map: {first}{more}")));
        }
    }
    let twice: HashSet<usize> = doubled.iter().filter_map(|fault| fault.feature).collect();
    let mut made = Vec::with_capacity(features.len());
    for (feature, (polygons, faults)) in features.into_iter().zip(built) {
        let is_left_out = twice.contains(&feature.number)
            || feature.wrong.is_some()
            || polygons.is_empty()
            || (options.leave_out == LeaveOut::Features && !faults.is_empty());
        if let Some(name) = feature.name.filter(|_| !is_left_out) {
            made.push(Municipality::new(name, polygons));
        }
    }
    Ok(made)
}

/// Checks a name: 1 to [`NAME_MAX`] bytes, no control characters.
pub(super) fn check_name(name: &str) -> std::result::Result<(), String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("a name of {} bytes; a municipality's has 1 to {NAME_MAX}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the name {name:?} has control characters"));
    }
    Ok(())
}
