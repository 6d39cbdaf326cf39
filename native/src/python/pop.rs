//! Bindings of `pop`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyTuple, PyType};

use super::buffer::Input;
use super::call::{long, short, sized};
use super::error::input;
use super::int::Int;
use super::keys::items;
use super::output::Output;
use super::real::Real;
use super::record::check_tuple;
use super::text::Str;
use crate::proofs::pop;
use crate::proofs::pop::multipliers::{CITIES_MAX, EVENTS_MAX};

/// A map: which municipality a point is in. Exactly one or none, the same one everywhere. Threads may share it.
///
/// Coordinates are exact: longitude and latitude in units of 1e-7° (about 1.1 cm). A point on a border has one owner:
/// whoever owns the spot an immeasurably small step to the east, and a far smaller one to the north. Where municipalities
/// overlap, the one whose name comes first (by its bytes) owns the point. The order of features changes nothing.
///
/// Made by ``from_geojson`` or ``from_bytes``. Municipalities are numbered in the order of their names.
///
/// Example:
///     >>> from city_chain.proofs import pop
///     >>> text = '''{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "town", "properties": null,
///     ...     "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}}]}'''
///     >>> places = pop.Places.from_geojson(text.encode())
///     >>> places.locate(0.5, 0.5), places.locate(0, 0), places.locate(1, 0.5)
///     ('town', 'town', None)
///     >>> len(places), places.name(0), places.position("town"), len(places.root)
///     (1, 'town', 0, 32)
#[pyclass(frozen, name = "Places", module = "city_chain.proofs.pop")]
struct Places(pop::Places);

fn leave_out(py: Python<'_>, what: Option<Str>) -> PyResult<pop::LeaveOut> {
    match what.as_ref().map_or("nothing", |what| what.0.as_str()) {
        "nothing" => Ok(pop::LeaveOut::Nothing),
        "rings" => Ok(pop::LeaveOut::Rings),
        "features" => Ok(pop::LeaveOut::Features),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(input(py, format!("leave_out: {other:?} is none of 'nothing', 'rings' and 'features'")))
        }
    }
}

/// The bytes of points and what they are: by the type of the buffer's items, or as is said for plain bytes.
fn points<'py>(py: Python<'py>, points: &Bound<'py, PyAny>, unit: Option<Str>) -> PyResult<(Input<'py>, pop::Unit)> {
    let asked = match unit.as_ref().map(|unit| unit.0.as_str()) {
        None => None,
        Some("degrees") => Some(pop::Unit::Degrees),
        Some("e7") => Some(pop::Unit::E7),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            return Err(input(py, format!("unit: {other:?} is none of 'degrees' (f64) and 'e7' (i32)")));
        }
    };
    let view = PyMemoryView::from(points).map_err(|_| PyTypeError::new_err("points: a buffer is needed"))?;
    let (format, size): (String, usize) = (view.getattr("format")?.extract()?, view.getattr("itemsize")?.extract()?);
    let is = match (format.trim_start_matches('@'), size) {
        ("d", 8) => Some(pop::Unit::Degrees),
        ("i" | "l", 4) => Some(pop::Unit::E7),
        ("B" | "b" | "c", 1) => None,
        _ => {
            let message = format!("points: items of type {format:?}; f64 ('d'), i32 ('i') or bytes are needed");
            return Err(PyTypeError::new_err(message));
        }
    };
    if is.is_some() && asked.is_some() && is != asked {
        return Err(input(py, format!("points: items of type {format:?} are not in the unit that is asked for")));
    }
    let bytes = if is.is_none() && format == "B" {
        points.extract()?
    } else {
        let cast = view.call_method1("cast", ("B",));
        cast.map_err(|_| input(py, "points: a buffer without gaps is needed"))?.extract()?
    };
    Ok((bytes, is.or(asked).unwrap_or(pop::Unit::Degrees)))
}

#[pymethods]
impl Places {
    /// The map of a GeoJSON FeatureCollection (RFC 7946) of Polygons and MultiPolygons.
    ///
    /// Refused, with the feature, polygon and ring named: what is not a finite number or not on the globe, rings that are
    /// not closed, have fewer than four positions or no area, cross or touch themselves, edges wider than 180° (a polygon
    /// over the antimeridian is split there), features without a name, and names that come twice.
    ///
    /// Args:
    ///     data: The text as bytes: at most 256 MiB, 2**18 features, 2**20 rings and 2**23 positions.
    ///     name: The property that names a municipality; by default the feature's ``id``. A name is text of 1 to 64 bytes,
    ///         or a whole number.
    ///     leave_out: What may be left out instead of refusing all: ``"nothing"``; ``"rings"`` (a faulty hole that encloses
    ///         nothing is left out alone, any other faulty ring takes the polygon along that it is of); or ``"features"``
    ///         (each feature with any fault).
    ///
    /// Returns:
    ///     The map.
    ///
    /// Raises:
    ///     InputError: The text is no such collection, has faults that may not be left out, or passes a limit.
    #[classmethod]
    #[pyo3(
        signature = (data, *, name = None, leave_out = None),
        text_signature = "($cls, data, *, name=None, leave_out='nothing')"
    )]
    fn from_geojson(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        data: Input<'_>,
        name: Option<Str>,
        leave_out: Option<Str>,
    ) -> PyResult<Self> {
        let options = pop::Options { name: name.map(|name| name.0), leave_out: self::leave_out(py, leave_out)? };
        let bytes = data.as_slice();
        long(py, || pop::Places::from_geojson(bytes, &options)).map(Self)
    }

    /// The map of the bytes of ``to_bytes``; everything in them is checked again.
    ///
    /// Args:
    ///     data: The bytes, at most 256 MiB.
    ///
    /// Returns:
    ///     The map.
    ///
    /// Raises:
    ///     InputError: They are damaged, or not the canonical form of a map without faults.
    #[classmethod]
    fn from_bytes(_class: &Bound<'_, PyType>, py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let bytes = data.as_slice();
        long(py, || pop::Places::from_bytes(bytes)).map(Self)
    }

    /// The canonical bytes: the same for all files that draw the same borders, in whatever order.
    ///
    /// Returns:
    ///     The bytes, for ``from_bytes``.
    ///
    /// Raises:
    ///     InputError: They would be more than 256 MiB.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &long(py, || self.0.to_bytes())?))
    }

    /// What stands for the map: 32 bytes, a digest of ``to_bytes``. Who has the same one has the same answers.
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.root())
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// The names of the municipalities, in their order.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.municipalities().iter().map(pop::map::Municipality::name))
    }

    /// The name of a municipality.
    ///
    /// Args:
    ///     position: Its number in the map.
    ///
    /// Returns:
    ///     The name.
    ///
    /// Raises:
    ///     InputError: The map has fewer.
    fn name(&self, py: Python<'_>, position: Int<u32>) -> PyResult<&str> {
        let (at, count) = (position.0, self.0.len());
        self.0.name(at).ok_or_else(|| input(py, format!("position {at}: the map has {count} municipalities")))
    }

    /// The number of a municipality.
    ///
    /// Args:
    ///     name: Its name.
    ///
    /// Returns:
    ///     The number; None if the map has no such municipality.
    fn position(&self, name: Str) -> Option<u32> {
        self.0.position(&name.0)
    }

    /// The municipality that holds a point.
    ///
    /// Args:
    ///     lon: Longitude in degrees, −180 to 180; rounded to 1e-7°, halves away from zero.
    ///     lat: Latitude in degrees, −90 to 90; rounded likewise.
    ///
    /// Returns:
    ///     Its name; None where there is none.
    ///
    /// Raises:
    ///     InputError: The point is not on the globe.
    fn locate(&self, py: Python<'_>, lon: Real, lat: Real) -> PyResult<Option<&str>> {
        let found = short(py, || self.0.locate_degrees(lon.0, lat.0))?;
        Ok(found.and_then(|at| self.0.name(at)))
    }

    /// ``locate`` in units of 1e-7°, as transactions and claims have them.
    ///
    /// Args:
    ///     lon_e7: Longitude, −1,800,000,000 to 1,800,000,000.
    ///     lat_e7: Latitude, −900,000,000 to 900,000,000.
    ///
    /// Returns:
    ///     The name of the municipality; None where there is none.
    ///
    /// Raises:
    ///     InputError: The point is not on the globe.
    fn locate_e7(&self, py: Python<'_>, lon_e7: Int<i32>, lat_e7: Int<i32>) -> PyResult<Option<&str>> {
        let found = short(py, || self.0.locate(lon_e7.0, lat_e7.0))?;
        Ok(found.and_then(|at| self.0.name(at)))
    }

    /// ``locate`` for many points in one call, on several threads from 16,384 of them on.
    ///
    /// Args:
    ///     points: A buffer of longitude and latitude in turn: f64 in degrees (``array("d")``, numpy's float64) or i32 in
    ///         units of 1e-7° (``array("i")``, int32); or bytes of either, in the machine's byte order.
    ///     unit: ``"degrees"`` or ``"e7"``, for bytes; they are taken as degrees by default.
    ///
    /// Returns:
    ///     For each point 4 bytes: the number of its municipality as u32 in the machine's byte order, 0xFFFFFFFF where there
    ///     is none. ``memoryview(found).cast("I")`` reads them.
    ///
    /// Raises:
    ///     InputError: A point is not on the globe (the first one is named), or the length does not fit.
    ///
    /// Example:
    ///     >>> from city_chain.proofs import pop
    ///     >>> from array import array
    ///     >>> text = '''{"type": "FeatureCollection", "features": [{"type": "Feature", "id": 7, "properties": null,
    ///     ...     "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}}]}'''
    ///     >>> found = pop.Places.from_geojson(text.encode()).locate_many(array("d", [0.5, 0.5, 7, 7]))
    ///     >>> list(memoryview(found).cast("I"))
    ///     [0, 4294967295]
    #[pyo3(signature = (points, *, unit = None))]
    fn locate_many<'py>(
        &self,
        py: Python<'py>,
        points: &Bound<'py, PyAny>,
        unit: Option<Str>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (points, unit) = self::points(py, points, unit)?;
        let points = points.as_slice();
        let mut output = Output::new(py, 4 * short(py, || unit.count(points))?)?;
        let found = output.space().zeroed().as_chunks_mut().0;
        sized(py, 2 * points.len(), || self.0.locate_many_into(points, unit, found))?;
        Ok(output.publish())
    }

    fn __repr__(&self) -> String {
        let root: String = self.0.root()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("<Places of {} municipalities, root {root}…>", self.0.len())
    }
}

/// Something wrong in a map, and where. Made by ``faults``.
///
/// Example:
///     >>> from city_chain.proofs import pop
///     >>> text = '''{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "town", "properties": null,
///     ...     "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]}}]}'''
///     >>> [fault] = pop.faults(text.encode())
///     >>> fault.feature, fault.name, fault.polygon, fault.ring, fault.what
///     (0, 'town', 0, 0, '3 positions, a ring has at least 4')
///     >>> print(fault)
///     feature 0 ("town"), polygon 0, ring 0: 3 positions, a ring has at least 4
#[pyclass(frozen, name = "Fault", module = "city_chain.proofs.pop")]
struct Fault(pop::Fault);

#[pymethods]
impl Fault {
    /// The feature, counted from 0; None for the map as a whole.
    #[getter]
    fn feature(&self) -> Option<usize> {
        self.0.feature
    }

    /// The name of the municipality; None if it has none that can be read.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The polygon of the feature, counted from 0; None if it is the feature that is wrong.
    #[getter]
    fn polygon(&self) -> Option<usize> {
        self.0.polygon
    }

    /// The ring of the polygon: 0 is the outer one, the others are holes. None if it is the feature that is wrong.
    #[getter]
    fn ring(&self) -> Option<usize> {
        self.0.ring
    }

    /// What is wrong.
    #[getter]
    fn what(&self) -> &str {
        &self.0.what
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Fault: {}>", self.0)
    }
}

/// All faults of a map, in the order of its features: what ``Places.from_geojson`` would refuse.
///
/// Args:
///     data: GeoJSON as bytes, at most 256 MiB.
///     name: The property that names a municipality; by default the feature's ``id``.
///
/// Returns:
///     The faults, at most 100,000; none if the map is good.
///
/// Raises:
///     InputError: The text is no GeoJSON FeatureCollection, or passes a limit: nothing after that can be read.
///
/// Example:
///     >>> from city_chain.proofs import pop
///     >>> text = '''{"type": "FeatureCollection", "features": [{"type": "Feature", "id": 1, "properties": null,
///     ...     "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [3, 3], [3, 0], [0, 2], [0, 0]]]}}]}'''
///     >>> [str(fault).partition(" and ")[0] for fault in pop.faults(text.encode())]
///     ['feature 0 ("1"), polygon 0, ring 0: crosses itself: the edges that begin at (0, 0)']
#[pyfunction]
#[pyo3(signature = (data, *, name = None))]
fn faults(py: Python<'_>, data: Input<'_>, name: Option<Str>) -> PyResult<Vec<Fault>> {
    let bytes = data.as_slice();
    let found = long(py, || pop::faults(bytes, name.as_ref().map(|name| name.0.as_str())))?;
    Ok(found.into_iter().map(Fault).collect())
}

/// Multipliers: what a municipality weighs, and what an event adds to it while it lasts; integers in basis points.
///
/// 10,000 basis points are one. All events that are in force multiply, from the municipality's own multiplier on:
/// ``value = value * bp // 10_000`` for each, in the order of ``events``, which the table sorts by itself (those for
/// everywhere first, then by municipality, start, end, basis points). An event is in force from ``from_ms`` to before
/// ``until_ms``.
///
/// Args:
///     cities: Basis points of municipalities, 0 to 1,000,000 each; of those that are not named 10,000.
///     events: Tuples (municipality or None for everywhere, basis points, from_ms, until_ms), at most 1,024; the times are
///         milliseconds since 1970 (UTC).
///
/// Raises:
///     InputError: A number is out of range, a window is empty, something comes twice, or a municipality would come to more
///         than 1,000,000,000 basis points at some moment.
///
/// Example:
///     >>> from city_chain.proofs import pop
///     >>> table = pop.Multipliers({"town": 20_000}, [(None, 15_000, 100, 200), ("town", 5_000, 150, 200)])
///     >>> [table.weight("town", at_ms) for at_ms in (99, 100, 150, 200)]
///     [20000, 30000, 15000, 20000]
///     >>> table.weight("village", 100), table.apply(1000, "village", 100)
///     (15000, 1500)
///     >>> pop.Multipliers.from_bytes(table.to_bytes()).root == table.root
///     True
#[pyclass(frozen, name = "Multipliers", module = "city_chain.proofs.pop")]
struct Multipliers(pop::Multipliers);

/// An event as Python has it.
type EventTuple<'a> = (Option<&'a str>, u32, u64, u64);

fn event(item: &Bound<'_, PyAny>) -> PyResult<pop::Event> {
    check_tuple(item, 4, "event")?;
    let (municipality, bp, from_ms, until_ms): (Option<Str>, Int<u32>, Int<u64>, Int<u64>) = item.extract()?;
    let municipality = municipality.map(|name| name.0);
    Ok(pop::Event { municipality, bp: bp.0, from_ms: from_ms.0, until_ms: until_ms.0 })
}

#[pymethods]
impl Multipliers {
    #[new]
    #[pyo3(signature = (cities = None, events = None), text_signature = "(cities=None, events=())")]
    fn new(py: Python<'_>, cities: Option<&Bound<'_, PyDict>>, events: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let city = |item: &Bound<'_, PyAny>| item.extract().map(|(name, bp): (Str, Int<u32>)| (name.0, bp.0));
        let cities =
            cities.map_or(Ok(Vec::new()), |cities| items(cities.items().as_any(), "cities", CITIES_MAX, city))?;
        let events = events.map_or(Ok(Vec::new()), |events| items(events, "events", EVENTS_MAX, event))?;
        long(py, || pop::Multipliers::new(cities, events)).map(Self)
    }

    /// The table of the bytes of ``to_bytes``.
    ///
    /// Args:
    ///     data: The bytes.
    ///
    /// Returns:
    ///     The table.
    ///
    /// Raises:
    ///     InputError: They are damaged, not canonical, or the table is one that the constructor refuses.
    #[classmethod]
    fn from_bytes(_class: &Bound<'_, PyType>, py: Python<'_>, data: Input<'_>) -> PyResult<Self> {
        let bytes = data.as_slice();
        long(py, || pop::Multipliers::from_bytes(bytes)).map(Self)
    }

    /// The canonical bytes.
    ///
    /// Returns:
    ///     The bytes: the same for the same table, in whatever order it was given.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &long(py, || self.0.to_bytes())?))
    }

    /// What stands for the table: 32 bytes.
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &long(py, || self.0.root())?))
    }

    /// The multipliers of municipalities.
    #[getter]
    fn cities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let made = PyDict::new(py);
        for (name, bp) in self.0.cities() {
            made.set_item(name, bp)?;
        }
        Ok(made)
    }

    /// The events in the order in which they multiply, as the constructor takes them.
    #[getter]
    fn events(&self) -> Vec<EventTuple<'_>> {
        let events = self.0.events().iter();
        events.map(|one| (one.municipality.as_deref(), one.bp, one.from_ms, one.until_ms)).collect()
    }

    /// What a municipality weighs at a moment.
    ///
    /// Args:
    ///     municipality: Its name.
    ///     at_ms: The moment, milliseconds since 1970 (UTC); ``tnh.ms(hlc)`` of a stamp.
    ///
    /// Returns:
    ///     Basis points, 0 to 1,000,000,000.
    fn weight(&self, py: Python<'_>, municipality: Str, at_ms: Int<u64>) -> PyResult<u64> {
        short(py, || self.0.weight(&municipality.0, at_ms.0))
    }

    /// A weight times what its municipality weighs at a moment, rounded down.
    ///
    /// Args:
    ///     weight: Any weight, 0 to 2**64 - 1.
    ///     municipality: The name.
    ///     at_ms: The moment, milliseconds since 1970 (UTC).
    ///
    /// Returns:
    ///     The weight.
    ///
    /// Raises:
    ///     InputError: It would be more than 2**64 - 1.
    fn apply(&self, py: Python<'_>, weight: Int<u64>, municipality: Str, at_ms: Int<u64>) -> PyResult<u64> {
        short(py, || self.0.apply(weight.0, &municipality.0, at_ms.0))
    }

    fn __repr__(&self) -> String {
        format!("<Multipliers of {} municipalities and {} events>", self.0.cities().len(), self.0.events().len())
    }
}

/// Adds the names of this file to the module.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Places>()?;
    module.add_class::<Fault>()?;
    module.add_class::<Multipliers>()?;
    module.add_function(wrap_pyfunction!(faults, module)?)
}
