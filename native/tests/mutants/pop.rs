//! The mutants of Proof of Place and the scenarios that kill them.

use city_chain_native::proofs::pop::{Event, Multipliers, Options, Places};

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    ("pop.flat_edges", flat_edges_within_a_cell),
    ("pop.seam", the_antimeridian_is_one_line),
    ("pop.event_end", one_event_ends_where_the_next_begins),
];

/// A map of rings in units of 1e-7°.
fn places(rings: &[(&str, Vec<(i32, i32)>)]) -> Result<Places, String> {
    let feature = |(name, corners): &(&str, Vec<(i32, i32)>)| {
        let closed = corners.iter().chain(corners.first());
        let positions: Vec<String> =
            closed.map(|(x, y)| format!("[{:.7},{:.7}]", f64::from(*x) / 1e7, f64::from(*y) / 1e7)).collect();
        let geometry = format!(r#"{{"type":"Polygon","coordinates":[[{}]]}}"#, positions.join(","));
        format!(r#"{{"type":"Feature","id":{name:?},"geometry":{geometry}}}"#)
    };
    let features: Vec<String> = rings.iter().map(feature).collect();
    let text = format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","));
    Places::from_geojson(text.as_bytes(), &Options::default()).map_err(|error| error.to_string())
}

/// Stairs whose steps are far shorter than the cells of the top level, for the map is wide: each must be seen in the
/// smaller cells.
fn flat_edges_within_a_cell() -> Result<(), String> {
    let step = |at: i32| (at * at * 37 % 5000 + at * 1000, at * 900 + at % 7 * 100);
    let stairs: Vec<(i32, i32)> = (0..60).flat_map(|at| [step(at), (step(at + 1).0, step(at).1)]).collect();
    let (last, low) = (stairs[stairs.len() - 1], (-50, -50));
    let below = [stairs.clone(), vec![(last.0 + 9, last.1), (last.0 + 9, low.1), low]].concat();
    let above = [stairs, vec![(last.0, 100_000), (low.0, 100_000), low]].concat();
    let far = vec![(900_000_000, 0), (900_000_009, 0), (900_000_000, 9)];
    let places = places(&[("above", above), ("below", below), ("far", far)])?;
    for at in 0..20_000 {
        let (x, y) = (at * 7919 % 65_000, at * 104_729 % 60_000);
        let (short, exact) = (places.locate(x, y).map_err(|error| error.to_string())?, places.locate_by_index(x, y));
        if short != exact {
            return Err(format!("at {x}, {y}: {short:?} by the raster, {exact:?} by the index"));
        }
    }
    Ok(())
}

fn the_antimeridian_is_one_line() -> Result<(), String> {
    let west = vec![(-1_800_000_000, 0), (-1_790_000_000, 0), (-1_790_000_000, 10), (-1_800_000_000, 10)];
    let places = places(&[("west", west)])?;
    match (places.locate(1_800_000_000, 5), places.locate(-1_800_000_000, 5)) {
        (Ok(Some(0)), Ok(Some(0))) => Ok(()),
        other => Err(format!("180° east and 180° west: {other:?}")),
    }
}

fn one_event_ends_where_the_next_begins() -> Result<(), String> {
    let event = |bp, from_ms, until_ms| Event { municipality: None, from_ms, until_ms, bp };
    let table = Multipliers::new([], vec![event(20_000, 0, 10), event(30_000, 10, 20)]);
    match table.and_then(|table| table.weight("town", 10)) {
        Ok(30_000) => Ok(()),
        other => Err(format!("at the moment between two events: {other:?}")),
    }
}
