//! The body of the fuzz target of PoP.

use city_chain_native::proofs::pop::{LeaveOut, Multipliers, Options, Places, faults};

use super::Script;

/// PoP: noise as a map and as bytes; and small rings of all shapes, of which a map is made where they have no faults. What
/// is made has one encoding, and its short way gives what its exact one does.
pub fn places(data: &[u8]) {
    let options = |leave_out| Options { name: None, leave_out };
    let read = Places::from_geojson(data, &options(LeaveOut::Rings));
    let _ = (read.map(|places| examine(&places, data)), faults(data, None));
    if let Ok(places) = Places::from_bytes(data) {
        assert_eq!(places.to_bytes().as_deref(), Ok(data), "a second encoding of one map");
    }
    if let Ok(table) = Multipliers::from_bytes(data) {
        assert_eq!(table.to_bytes().as_deref(), Ok(data), "a second encoding of one table");
    }
    let text = drawn(&mut Script(data));
    let found = faults(text.as_bytes(), None).expect("it is a collection");
    let strict = Places::from_geojson(text.as_bytes(), &options(LeaveOut::Nothing));
    match &strict {
        Ok(places) => assert!(found.is_empty() && !places.is_empty()),
        Err(error) => assert!(!found.is_empty() || error.to_string().contains("no municipality"), "{error}"),
    }
    for leave_out in [LeaveOut::Rings, LeaveOut::Features] {
        if let Ok(places) = Places::from_geojson(text.as_bytes(), &options(leave_out)) {
            examine(&places, data);
            assert!(strict.as_ref().is_ok_and(|whole| whole.root() == places.root()) || !found.is_empty());
        }
    }
}

/// A map of small rings, many of them faulty: corners of a lattice, wide or narrow.
fn drawn(script: &mut Script<'_>) -> String {
    let step = [0.000_000_1, 0.000_01, 0.1, 11.25][usize::from(script.byte()) % 4];
    let features: Vec<String> = (0..script.byte() % 6)
        .map(|id| {
            let rings: Vec<String> = (0..script.byte() % 4).map(|_| ring(script, step)).collect();
            let geometry = format!(r#"{{"type":"Polygon","coordinates":[{}]}}"#, rings.join(","));
            format!(r#"{{"type":"Feature","id":{id},"geometry":{geometry}}}"#)
        })
        .collect();
    format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","))
}

fn ring(script: &mut Script<'_>, step: f64) -> String {
    let mut corners: Vec<String> = (0..script.byte() % 12)
        .map(|_| {
            let place = script.byte();
            format!("[{:.7},{:.7}]", f64::from(place % 16) * step - step, f64::from(place / 16) * step / 2.0)
        })
        .collect();
    if !script.byte().is_multiple_of(8) {
        corners.extend(corners.first().cloned());
    }
    format!("[{}]", corners.join(","))
}

/// Both ways through a map agree, at the corners and beside them.
fn examine(places: &Places, data: &[u8]) {
    let corners = places.municipalities().iter().flat_map(|one| one.edges().map(|(a, b)| (a.x, a.y, b.x, b.y)));
    for (number, (ax, ay, bx, by)) in corners.take(200).enumerate() {
        let nudge = i32::from(data.get(number).copied().unwrap_or_default() % 3) - 1;
        for (x, y) in [(ax, ay), (ax + nudge, ay), (ax, ay - nudge), (ax / 2 + bx / 2, ay / 2 + by / 2)] {
            let (x, y) = (x.clamp(-1_799_999_999, 1_799_999_999), y.clamp(-900_000_000, 899_999_999));
            assert_eq!(places.locate(x, y), Ok(places.locate_by_index(x, y)), "at {x}, {y}");
        }
    }
    let bytes = places.to_bytes().expect("it fits");
    assert_eq!(Places::from_bytes(&bytes).expect("its own bytes").root(), places.root());
}
