//! The visitors that serde_json hands a FeatureCollection to, member by member, in whatever order they come.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::rings::Point;
use super::{FEATURES_MAX, Feature, POSITIONS_MAX, RINGS_MAX, RawRing, check_name};

/// The most numbers of a position: longitude, latitude, and what RFC 7946 (section 3.1.1) has readers pass over.
const NUMBERS_MAX: usize = 4;

/// What has been read so far, and where the reader is.
pub(in super::super) struct Reading<'n> {
    property: Option<&'n str>,
    features: Vec<Feature>,
    is_collection: bool,
    has_features: bool,
    crs: Option<String>,
    feature: Feature,
    is_in_feature: bool,
    shape: Shape,
    rings: usize,
    positions: usize,
}

/// The coordinates of one geometry while they are read.
#[derive(Default)]
struct Shape {
    /// In how many lists the numbers are: 3 in a Polygon, 4 in a MultiPolygon, 0 while none has come.
    depth: usize,
    /// The numbers of a position so far.
    numbers: [f64; 2],
    count: usize,
    ring: RawRing,
    polygon: Vec<RawRing>,
    polygons: Vec<Vec<RawRing>>,
    wrong: Option<String>,
    is_open: bool,
}

impl<'n> Reading<'n> {
    pub(in super::super) fn new(property: Option<&'n str>) -> Self {
        Self {
            property,
            features: Vec::new(),
            is_collection: false,
            has_features: false,
            crs: None,
            feature: Feature::default(),
            is_in_feature: false,
            shape: Shape::default(),
            rings: 0,
            positions: 0,
        }
    }

    /// The features, if it was a collection of them.
    pub(in super::super) fn finish(self) -> Result<Vec<Feature>, String> {
        if !self.is_collection || !self.has_features {
            return Err("a GeoJSON object of type FeatureCollection with its features is needed".into());
        }
        match self.crs {
            Some(crs) => Err(format!("its coordinates are of {crs:?}; GeoJSON has WGS 84 only (RFC 7946, section 4)")),
            None => Ok(self.features),
        }
    }

    /// An error, and what was being read.
    pub(in super::super) fn located(&self, error: &serde_json::Error) -> String {
        if !self.is_in_feature {
            return error.to_string();
        }
        let mut place = format!("feature {}", self.features.len());
        if let Some(name) = &self.feature.name {
            place += &format!(" ({name:?})");
        }
        if !self.shape.is_open {
            return format!("{place}: {error}");
        }
        let (polygon, ring) = (self.shape.polygons.len(), self.shape.polygon.len());
        let position = self.shape.ring.positions.len();
        format!("{place}, polygon {polygon}, ring {ring}: position {position}: {error}; finite numbers are needed")
    }

    fn wrong(&mut self, what: impl Into<String>) {
        self.feature.wrong.get_or_insert(what.into());
    }

    /// Ends a feature.
    fn end_feature(&mut self) {
        self.is_in_feature = false;
        let mut feature = std::mem::take(&mut self.feature);
        feature.number = self.features.len();
        if feature.name.is_none() && feature.wrong.is_none() {
            feature.wrong = Some(match self.property {
                None => "no id, which is to name the municipality".into(),
                Some(name) => format!("no property {name:?}, which is to name the municipality"),
            });
        }
        self.features.push(feature);
    }

    /// Ends the coordinates of a geometry.
    fn end_geometry(&mut self, kind: Option<&str>, has_coordinates: bool) {
        let mut shape = std::mem::take(&mut self.shape);
        if let Some(what) = shape.wrong.take().or(shape.ring.wrong.take()) {
            self.wrong(what);
        }
        match (kind, shape.depth) {
            (Some("Polygon"), 3) | (Some("MultiPolygon"), 4) => self.feature.polygons = shape.polygons,
            (Some("Polygon" | "MultiPolygon"), 0) if has_coordinates => self.wrong("its coordinates hold no position"),
            (Some("Polygon" | "MultiPolygon"), _) if !has_coordinates => self.wrong("its geometry has no coordinates"),
            (Some(kind @ ("Polygon" | "MultiPolygon")), depth) => {
                self.wrong(format!("{depth} lists within each other are not the coordinates of a {kind}"));
            }
            (Some(kind), _) => {
                let kind: String = kind.chars().take(32).collect();
                self.wrong(format!("its geometry is of type {kind:?}; a Polygon or MultiPolygon is needed"));
            }
            (None, _) => self.wrong("its geometry has no type"),
        }
    }
}

impl Shape {
    /// Notes the first fault of the ring that is being read.
    fn flaw(&mut self, what: impl fmt::Display) {
        let position = self.ring.positions.len();
        self.ring.wrong.get_or_insert_with(|| format!("position {position}: {what}"));
    }

    /// A number in so many lists.
    fn number(&mut self, depth: usize, value: f64) {
        if self.depth == 0 {
            self.depth = depth;
        }
        if depth != self.depth {
            return self.flaw(format!("a number in {depth} lists, others are in {}", self.depth));
        }
        if let Some(place) = self.numbers.get_mut(self.count) {
            *place = value;
        }
        self.count += 1;
    }

    /// The end of a list that is itself in so many; how many rings and positions it has ended.
    fn end_list(&mut self, depth: usize) -> (usize, usize) {
        match self.depth.checked_sub(depth) {
            None | Some(0) if self.depth == 0 => {
                self.wrong.get_or_insert_with(|| "a list without positions stands in its coordinates".into());
                (0, 0)
            }
            Some(1) => {
                self.end_position();
                (0, 1)
            }
            Some(2) => {
                self.polygon.push(std::mem::take(&mut self.ring));
                (1, 0)
            }
            Some(3) => {
                if self.polygon.is_empty() {
                    self.wrong.get_or_insert_with(|| format!("polygon {} has no ring", self.polygons.len()));
                }
                self.polygons.push(std::mem::take(&mut self.polygon));
                (0, 0)
            }
            Some(4) if depth == 0 => (0, 0),
            _ => {
                self.flaw("lists within a position");
                (0, 0)
            }
        }
    }

    fn end_position(&mut self) {
        let count = std::mem::take(&mut self.count);
        let [lon, lat] = self.numbers;
        if !(2..=NUMBERS_MAX).contains(&count) {
            self.flaw(format!("{count} numbers, 2 to {NUMBERS_MAX} are needed"));
        } else if let Some(point) = Point::of_degrees(lon, lat) {
            self.ring.positions.push(point);
        } else {
            self.flaw(format!("({lon}, {lat}) is not on the globe: −180 to 180 and −90 to 90 degrees"));
        }
    }
}

/// The whole text.
pub(in super::super) struct Collection<'r, 'n>(pub(in super::super) &'r mut Reading<'n>);

impl Collection<'_, '_> {
    pub(in super::super) fn read<'de, D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

/// Refuses a member that has come before.
fn once<E: serde::de::Error>(seen: &mut bool, member: &str) -> Result<(), E> {
    if std::mem::replace(seen, true) { Err(E::custom(format!("the member {member:?} comes twice"))) } else { Ok(()) }
}

#[derive(Deserialize)]
struct Crs {
    properties: Option<CrsName>,
}

#[derive(Deserialize)]
struct CrsName {
    name: Option<String>,
}

impl<'de> Visitor<'de> for Collection<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GeoJSON FeatureCollection")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = [false; 2];
        while let Some(key) = map.next_key::<Key>()? {
            match key.0.as_str() {
                "type" => {
                    once(&mut seen[0], "type")?;
                    self.0.is_collection = map.next_value::<String>()? == "FeatureCollection";
                }
                "features" => {
                    once(&mut seen[1], "features")?;
                    map.next_value_seed(Features(&mut *self.0))?;
                    self.0.has_features = true;
                }
                "crs" => {
                    let crs = map.next_value::<Option<Crs>>()?;
                    let name = crs.and_then(|crs| crs.properties).and_then(|properties| properties.name);
                    let is_wgs84 = |name: &String| name.ends_with(":CRS84") || name.ends_with(":4326");
                    self.0.crs = name.filter(|name| !is_wgs84(name)).map(|name| name.chars().take(80).collect());
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The name of a member: short ones as they are, longer ones are none that is known.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Short;
        impl Visitor<'_> for Short {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }
            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                Ok(Key(if text.len() <= 256 { text.to_string() } else { String::new() }))
            }
        }
        deserializer.deserialize_str(Short)
    }
}

/// The list of features.
struct Features<'r, 'n>(&'r mut Reading<'n>);

impl<'de> DeserializeSeed<'de> for Features<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Features<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of features")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(OneFeature(&mut *self.0))?.is_some() {
            if self.0.features.len() > FEATURES_MAX {
                return Err(A::Error::custom(format!("more than {FEATURES_MAX} features, which is the most")));
            }
        }
        Ok(())
    }
}

/// One feature.
struct OneFeature<'r, 'n>(&'r mut Reading<'n>);

impl<'de> DeserializeSeed<'de> for OneFeature<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.is_in_feature = true;
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneFeature<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a feature")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        let mut seen = [false; 4];
        while let Some(key) = map.next_key::<Key>()? {
            match key.0.as_str() {
                "type" => {
                    once(&mut seen[0], "type")?;
                    if map.next_value::<String>()? != "Feature" {
                        reading.wrong("it is not of type Feature");
                    }
                }
                "id" => {
                    once(&mut seen[1], "id")?;
                    let id = map.next_value::<Name>()?;
                    if reading.property.is_none() {
                        reading.named(id, "id");
                    }
                }
                "properties" => {
                    once(&mut seen[2], "properties")?;
                    map.next_value_seed(Properties(&mut *reading))?;
                }
                "geometry" => {
                    once(&mut seen[3], "geometry")?;
                    map.next_value_seed(Geometry(&mut *reading))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !seen[0] {
            reading.wrong("it is not of type Feature");
        }
        if !seen[3] {
            reading.wrong("no geometry");
        }
        reading.end_feature();
        Ok(())
    }
}

impl Reading<'_> {
    fn named(&mut self, name: Name, member: &str) {
        match name {
            Name::Text(name) => match check_name(&name) {
                Ok(()) => self.feature.name = Some(name),
                Err(what) => self.wrong(what),
            },
            Name::Missing => {}
            Name::Other => self.wrong(format!("its {member} is neither text nor a whole number")),
        }
    }
}

/// What names a municipality: text, or a whole number as text.
enum Name {
    Text(String),
    Missing,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name::Text(text.to_string()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Name, E> {
                Ok(Name::Text(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Name, E> {
                Ok(Name::Text(number.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Name, E> {
                Ok(Name::Missing)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Name, E> {
                Ok(Name::Other)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Name, E> {
                Ok(Name::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Name, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Name::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Name, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Name::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The properties of a feature, of which at most one is looked at.
struct Properties<'r, 'n>(&'r mut Reading<'n>);

impl<'de> DeserializeSeed<'de> for Properties<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Properties<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("properties")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<Key>()? {
            if self.0.property.is_some_and(|property| property == key.0) {
                once(&mut seen, &key.0)?;
                let name = map.next_value::<Name>()?;
                self.0.named(name, "property");
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A geometry.
struct Geometry<'r, 'n>(&'r mut Reading<'n>);

impl<'de> DeserializeSeed<'de> for Geometry<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Geometry<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a geometry")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.0.wrong("no geometry");
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = [false; 2];
        let mut kind = None;
        while let Some(key) = map.next_key::<Key>()? {
            match key.0.as_str() {
                "type" => {
                    once(&mut seen[0], "type")?;
                    kind = Some(map.next_value::<String>()?);
                }
                "coordinates" => {
                    once(&mut seen[1], "coordinates")?;
                    self.0.shape.is_open = true;
                    map.next_value_seed(Level { reading: &mut *self.0, depth: 0 })?;
                    self.0.shape.is_open = false;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.0.end_geometry(kind.as_deref(), seen[1]);
        Ok(())
    }
}

/// A value of the coordinates, in so many lists.
struct Level<'r, 'n> {
    reading: &'r mut Reading<'n>,
    depth: usize,
}

impl Level<'_, '_> {
    fn other<E>(self) -> Result<(), E> {
        self.reading.shape.flaw("something that is no number");
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("coordinates")
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.reading.shape.number(self.depth, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.reading.shape.number(self.depth, value as f64);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.reading.shape.number(self.depth, value as f64);
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.other()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.other()
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.other()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.other()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { reading, depth } = self;
        while list.next_element_seed(Level { reading: &mut *reading, depth: depth + 1 })?.is_some() {}
        let (rings, positions) = reading.shape.end_list(depth);
        reading.rings += rings;
        reading.positions += positions;
        if reading.rings > RINGS_MAX || reading.positions > POSITIONS_MAX {
            let most = format!("more than {RINGS_MAX} rings or {POSITIONS_MAX} positions, which are the most");
            return Err(A::Error::custom(most));
        }
        Ok(())
    }
}
