//! GeoJSON as it must not be: refused with the feature, polygon and ring named, or left out where that was asked for.

use super::super::geojson::{BYTES_MAX, faults};
use super::super::{LeaveOut, Options, Places};
use super::{geojson, read, refused, whole};

const SQUARE: &str = "[[[0,0],[1,0],[1,1],[0,1],[0,0]]]";
const OTHER: &str = "[[[5,5],[6,5],[6,6],[5,6],[5,5]]]";

fn of(rings: &str) -> String {
    geojson(&[("good", &format!("[{SQUARE}]")), ("bad", &format!("[{OTHER},[{rings}]]"))])
}

#[test]
fn every_fault_names_its_ring() {
    let hole = "[[2,2],[3,2],[3,3],[2,3],[2,2]]";
    for (rings, words) in [
        ("[[0,0],[1,0],[0,0]]", "3 positions"),
        ("[[0,0],[1,0],[1,1],[0,1]]", "not closed: it begins at (0, 0) and ends at (0, 1)"),
        ("[[0,0],[1,0],[2,0],[0,0]]", "no area"),
        ("[[0,0],[1,1],[0,0],[0,0]]", "2 different corners"),
        ("[[0,0],[3,3],[3,0],[0,2],[0,0]]", "crosses itself"),
        ("[[0,0],[9,0],[5,5],[9,9],[0,9],[5,5],[0,0]]", "comes to (5, 5) twice"),
        ("[[0,0],[181,0],[1,1],[0,0]]", "position 1: (181, 0) is not on the globe"),
        ("[[0,0],[1,-90.0000001],[1,1],[0,0]]", "position 1: (1, -90.0000001) is not on the globe"),
        ("[[-170,0],[170,0],[170,1],[-170,0]]", "split there"),
        ("[[0,0],[1],[1,1],[0,0]]", "position 1: 1 numbers"),
        ("[[0,0],[1,0,0,0,0],[1,1],[0,0]]", "position 1: 5 numbers"),
        ("[[0,0],[1,null],[1,1],[0,0]]", "position 1: something that is no number"),
        ("[[0,0],[1,\"0\"],[1,1],[0,0]]", "position 1: something that is no number"),
        ("[[0,0],[[1],0],[1,1],[0,0]]", "position 1: a number in 5 lists, others are in 4"),
        ("[[0,0],[],[1,1],[0,0]]", "position 1: 0 numbers"),
        ("[]", "0 positions"),
    ] {
        for (ring, rings) in [(0, rings.to_string()), (1, format!("[[0,0],[9,0],[9,9],[0,9],[0,0]],{rings}"))] {
            let message = refused(&of(&rings));
            let place = format!("feature 1 (\"bad\"), polygon 1, ring {ring}: ");
            assert!(message.contains(&place) && message.contains(words), "{rings}: {message}");
            let found = faults(of(&rings).as_bytes(), None).unwrap();
            assert_eq!((found[0].feature, found[0].polygon, found[0].ring), (Some(1), Some(1), Some(ring)));
        }
    }
    whole(&of(&format!("[[0,0],[9,0],[9,9],[0,9],[0,0]],{hole}")));
}

#[test]
fn what_is_no_number_in_json_names_its_ring_too() {
    for wrong in ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "", "01"] {
        let message = refused(&of(&format!("[[0,0],[1,{wrong}],[1,1],[0,0]]")));
        assert!(message.contains("feature 1 (\"bad\"), polygon 1, ring 0: position 1: "), "{wrong}: {message}");
        assert!(message.contains("line 1 column") && message.contains("finite numbers"), "{message}");
    }
}

#[test]
fn all_faults_are_collected() {
    let text = geojson(&[
        ("a", "[[[[0,0],[1,0],[0,0]]],[[[0,0],[3,3],[3,0],[0,2],[0,0]]]]"),
        ("b", &format!("[{SQUARE}]")),
        ("b", &format!("[{OTHER}]")),
        ("", &format!("[{SQUARE}]")),
        ("c", "[]"),
    ]);
    let found: Vec<String> = faults(text.as_bytes(), None).unwrap().iter().map(ToString::to_string).collect();
    for (fault, words) in found.iter().zip([
        "feature 0 (\"a\"), polygon 0, ring 0: 3 positions",
        "feature 0 (\"a\"), polygon 1, ring 0: crosses itself",
        "feature 1 (\"b\"): another feature has the same name",
        "feature 2 (\"b\"): feature 1 has the same name",
        "feature 3: a name of 0 bytes",
        "feature 4 (\"c\"): a list without positions",
    ]) {
        assert!(fault.starts_with(words), "{fault}");
    }
    assert_eq!(found.len(), 6);
    assert!(refused(&text).ends_with("(and 5 more faults)"));
    assert_eq!(faults(geojson(&[("b", &format!("[{SQUARE}]"))]).as_bytes(), None).unwrap(), []);
}

#[test]
fn what_is_faulty_is_left_out_only_if_asked_for() {
    let empty_hole = "[[[[0,0],[9,0],[9,9],[0,9],[0,0]],[[1,1],[2,2],[1,1],[1,1]]]]";
    let crossing = format!("[{OTHER},[[[0,20],[3,23],[3,20],[0,22],[0,20]]]]");
    let text = geojson(&[("crossing", &crossing), ("empty", empty_hole), ("gone", "[[[[0,0],[1,0],[0,0]]]]")]);
    assert!(refused(&text).contains("(and 2 more faults)"));
    let rings = read(&text, LeaveOut::Rings).unwrap();
    assert_eq!((rings.len(), rings.name(0), rings.name(1)), (2, Some("crossing"), Some("empty")));
    let at = |lon: f64, lat: f64| rings.locate_degrees(lon, lat).unwrap().and_then(|at| rings.name(at));
    assert_eq!(at(5.5, 5.5), Some("crossing"), "of several that hold a point the first name");
    assert_eq!((at(1.5, 1.5), at(0.2, 21.0)), (Some("empty"), None));
    let doubled = geojson(&[("a", &format!("[{SQUARE}]")), ("a", &format!("[{OTHER}]")), ("b", &format!("[{OTHER}]"))]);
    assert_eq!(read(&doubled, LeaveOut::Rings).unwrap().len(), 1, "none of two that share a name");
    assert!(read(&text, LeaveOut::Features).unwrap_err().to_string().contains("no municipality"));
    // A hole that is faulty and not empty takes its polygon along: filling it would give land away.
    let hole = "[[[[0,0],[9,0],[9,9],[0,9],[0,0]],[[1,1],[4,4],[4,1],[1,3],[1,1]]]]";
    assert!(read(&geojson(&[("hole", hole)]), LeaveOut::Rings).is_err());
}

#[test]
fn features_that_are_none_are_named() {
    let with = |feature: &str| format!(r#"{{"type":"FeatureCollection","features":[{feature}]}}"#);
    let geometry = format!(r#""geometry":{{"type":"MultiPolygon","coordinates":[{SQUARE}]}}"#);
    for (feature, words) in [
        (format!(r#"{{"type":"Feature",{geometry}}}"#), "feature 0: no id"),
        (format!(r#"{{"type":"Feature","id":1.5,{geometry}}}"#), "neither text nor a whole number"),
        (format!(r#"{{"type":"Feature","id":[],{geometry}}}"#), "neither text nor a whole number"),
        (format!(r#"{{"type":"Feature","id":"{}",{geometry}}}"#, "x".repeat(65)), "a name of 65 bytes"),
        (format!(r#"{{"type":"Feature","id":"a\nb",{geometry}}}"#), "control characters"),
        (format!(r#"{{"id":"a",{geometry}}}"#), "not of type Feature"),
        (r#"{"type":"Feature","id":"a"}"#.into(), "no geometry"),
        (r#"{"type":"Feature","id":"a","geometry":null}"#.into(), "no geometry"),
        (r#"{"type":"Feature","id":"a","geometry":{"type":"Polygon"}}"#.into(), "no coordinates"),
        (r#"{"type":"Feature","id":"a","geometry":{"coordinates":[[[[0,0]]]]}}"#.into(), "no type"),
        (r#"{"type":"Feature","id":"a","geometry":{"type":"Point","coordinates":[0,0]}}"#.into(), "Point"),
        (
            r#"{"type":"Feature","id":"a","geometry":{"type":"GeometryCollection","geometries":[]}}"#.into(),
            "Collection",
        ),
        (
            format!(r#"{{"type":"Feature","id":"a","geometry":{{"type":"Polygon","coordinates":[{SQUARE}]}}}}"#),
            "4 lists",
        ),
        (format!(r#"{{"type":"Feature","id":"a","id":"b",{geometry}}}"#), "\"id\" comes twice"),
        (
            r#"{"type":"Feature","id":"a","geometry":{"type":"Polygon","coordinates":[null]}}"#.into(),
            "without positions",
        ),
        (r#"{"type":"Feature","id":"a","geometry":{"type":"Polygon","coordinates":{}}}"#.into(), "no number"),
        ("5".into(), "feature 0: invalid type"),
    ] {
        let message = refused(&with(&feature));
        assert!(message.contains(words), "{feature}: {message}");
    }
    let text = with(&format!(r#"{{{geometry},"id":7,"type":"Feature","properties":{{"name":"x","more":[{{}}]}}}}"#));
    assert_eq!(whole(&text).name(0), Some("7"), "members come in any order");
    let by = |name: &str| {
        let options = Options { name: Some(name.into()), leave_out: LeaveOut::Nothing };
        Places::from_geojson(text.as_bytes(), &options)
    };
    assert_eq!(by("name").unwrap().name(0), Some("x"));
    assert!(by("title").unwrap_err().to_string().contains("no property \"title\""));
}

#[test]
fn what_is_no_collection_is_refused() {
    for (text, words) in [
        ("", "EOF"),
        ("[]", "FeatureCollection"),
        ("{}", "FeatureCollection"),
        (r#"{"type":"FeatureCollection"}"#, "with its features"),
        (r#"{"type":"Feature","features":[]}"#, "FeatureCollection"),
        (r#"{"type":"FeatureCollection","features":[]}"#, "no municipality"),
        (r#"{"type":"FeatureCollection","features":[],"features":[]}"#, "comes twice"),
        (r#"{"type":"FeatureCollection","features":[]} x"#, "trailing"),
        ("\u{feff}{}", "expected value"),
        (
            r#"{"type":"FeatureCollection","features":[],"crs":{"type":"name","properties":{"name":"EPSG:25832"}}}"#,
            "EPSG:25832",
        ),
    ] {
        let message = refused(text);
        assert!(message.contains(words), "{text}: {message}");
    }
    let crs = r#"{"crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:OGC:1.3:CRS84"}},"#;
    whole(&geojson(&[("a", &format!("[{SQUARE}]"))]).replacen('{', crs, 1));
    assert!(Places::from_geojson(b"\xff", &Options::default()).is_err());
}

#[test]
fn depth_and_size_are_bounded() {
    // serde_json follows lists to a depth of 128, and passes over what nobody asked for without following it.
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    assert!(refused(&of(&deep("[", "]"))).contains("recursion limit"));
    assert!(refused(&of(&deep("{\"a\":", "}"))).contains("feature 1"));
    let unknown = format!(r#"{{"x":{},"type":"FeatureCollection","features":[]}}"#, deep("[", "]"));
    assert!(refused(&unknown).contains("no municipality"));
    let lists = format!("{}{}", "[".repeat(90), "]".repeat(90));
    assert!(refused(&of(&lists)).contains("feature 1"));
    let large = vec![b' '; BYTES_MAX + 1];
    let message = Places::from_geojson(&large, &Options::default()).unwrap_err().to_string();
    assert!(message.contains("at most 268435456"), "{message}");
    let many = format!("[[0,0]],{}", "[[0,0]],".repeat(1 << 20));
    assert!(refused(&of(many.trim_end_matches(','))).contains("1048576 rings"));
}

#[test]
fn more_overlaps_than_the_map_allows_are_refused() {
    let names: Vec<String> = (0..70).map(|at| format!("m{at}")).collect();
    let shape = |at: usize| format!("[[[[0,0],[{0},0],[{0},{0}],[0,{0}],[0,0]]]]", 10 + at);
    let shapes: Vec<String> = (0..70).map(shape).collect();
    let of = |count: usize| {
        let features: Vec<(&str, &str)> =
            names.iter().zip(&shapes).take(count).map(|(name, shape)| (name.as_str(), shape.as_str())).collect();
        geojson(&features)
    };
    assert!(refused(&of(70)).contains("more than 64 municipalities"));
    let places = whole(&of(60));
    assert_eq!(places.locate_degrees(5.0, 5.0).unwrap(), Some(0));
    assert_eq!(places.locate_degrees(68.5, 1.0).unwrap().and_then(|at| places.name(at)), Some("m59"));
}
