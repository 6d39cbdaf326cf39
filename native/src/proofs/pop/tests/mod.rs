//! Tests of PoP: hostile GeoJSON, rings, the raster beside an oracle, multipliers.

mod borders;
mod hostile;
mod multipliers;
mod rings;

use super::{LeaveOut, Options, Places};

/// GeoJSON of features: an id and the coordinates of a MultiPolygon.
pub fn geojson(features: &[(&str, &str)]) -> String {
    let one = |(id, coordinates): &(&str, &str)| {
        format!(
            r#"{{"type":"Feature","id":{id:?},"properties":null,"geometry":{{"type":"MultiPolygon","coordinates":{coordinates}}}}}"#
        )
    };
    let features: Vec<String> = features.iter().map(one).collect();
    format!(r#"{{"type":"FeatureCollection","features":[{}]}}"#, features.join(","))
}

/// Coordinates in units of 1e-7°.
pub fn ring(corners: &[(i32, i32)]) -> String {
    let degrees = |value: i32| {
        let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
        format!("{sign}{}.{:07}", size / 10_000_000, size % 10_000_000)
    };
    let closed = corners.iter().chain(corners.first());
    let positions: Vec<String> = closed.map(|(x, y)| format!("[{},{}]", degrees(*x), degrees(*y))).collect();
    format!("[{}]", positions.join(","))
}

pub fn read(text: &str, leave_out: LeaveOut) -> crate::error::Result<Places> {
    Places::from_geojson(text.as_bytes(), &Options { name: None, leave_out })
}

/// The names and rings of a map: whether it is read as it was meant.
pub fn whole(text: &str) -> Places {
    read(text, LeaveOut::Nothing).expect("a map without faults")
}

pub fn refused(text: &str) -> String {
    read(text, LeaveOut::Nothing).expect_err("a faulty map").to_string()
}
