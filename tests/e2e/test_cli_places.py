"""Places from the shell: a city is made with them, and receipts show grades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--nodes", "5", "--validators", "1", "-k", "2", "-n", "4")


def placed(path: Path, **changes: Any) -> str:
    nodes = [[index, "Utrecht", 520_907_000, 51_214_000] for index in range(5)]
    file = {"home": "Utrecht", "nodes": nodes, "witnesses": [0, 1, 2], "rtt_us_max": 30_000_000, **changes}
    path.write_text(json.dumps(file))
    return str(path)


def test_a_city_with_places_and_what_verify_and_inspect_say(cli: Any, tmp_path: Path) -> None:
    said = cli.good("init", "town", *SMALL, "--places", placed(tmp_path / "places.json"))
    assert "5 nodes have places, near is Utrecht" in said
    (tmp_path / "letter").write_text("hello")
    cli.good("--city", "town", "send", str(tmp_path / "letter"))
    assert "places: " in cli.good("verify", "town/receipts")
    assert "of grade 3" in cli.good("verify", "town/receipts")
    (line,) = cli.good("--json", "verify", "town/receipts").splitlines()
    assert set(json.loads(line)["grades"]) == {3}
    (receipt,) = (cli.folder / "town/receipts").iterdir()
    assert "of grade 3" in cli.good("inspect", str(receipt))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"home": ""}, "home"),
        ({"nodes": [[9, "Utrecht", 0, 0]], "witnesses": []}, "nodes [9]"),
        ({"nodes": "x"}, "nodes must be a list of [index, municipality, latitude, longitude]"),
        ({"nodes": [[0, "Utrecht", 1]]}, "nodes must be a list of [index, municipality, latitude, longitude]"),
        ({"nodes": [[0, "Utrecht", 1, 1], [0, "Zeist", 1, 1]], "witnesses": []}, "node 0 has two places"),
        ({"nodes": [[0, "Utrecht", 52.1, 5.1]]}, "node 0: latitude 52.1 must be an int in 1e-7 degrees"),
        ({"nodes": [[0, "Utrecht", 0, 2_000_000_000]]}, "node 0: longitude 2000000000: -1800000000 to 1800000000"),
        ({"grade_min": 3, "witnesses": [0]}, "no node can have that grade with 1 witnesses, 2 are needed"),
        ({"other": 1}, "there is no 'other', only home, nodes, witnesses"),
        ({"witnesses": [7]}, "have no place"),
    ],
)
def test_places_that_cannot_be_make_nothing(cli: Any, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in cli.bad("init", "town", *SMALL, "--places", placed(tmp_path / "places.json", **changes))
    assert not (cli.folder / "town").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no JSON"), ("{", "no JSON"), ("[]", "an object with home"), ('{"nodes": []}', "an object with home")],
)
def test_a_file_that_tells_no_places_is_refused_in_plain_words(cli: Any, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "places.json").write_text(text)
    told = cli.bad("init", "town", *SMALL, "--places", str(tmp_path / "places.json"))
    assert said.replace("an object", "a JSON object") in told
    assert "__init__" not in told


def test_maps_that_are_no_json_are_refused_by_their_file(cli: Any) -> None:
    (cli.folder / "empty.geojson").write_bytes(b" \n")
    (cli.folder / "marked.geojson").write_bytes(b"\xef\xbb\xbf" + b'{"type": "FeatureCollection", "features": []}')
    assert "empty.geojson: is empty" in cli.bad("places", "check", "empty.geojson")
    assert "marked.geojson: begins with a byte order mark" in cli.bad("places", "locate", "marked.geojson", "1", "2")


def mapped(folder: Path, **changes: Any) -> str:
    """A file of places with a map beside it, whose property `name` names its only municipality."""
    square = [[5.0, 52.0], [5.2, 52.0], [5.2, 52.2], [5.0, 52.2], [5.0, 52.0]]
    geometry = {"type": "Polygon", "coordinates": [square]}
    feature = {"type": "Feature", "id": "GM0344", "properties": {"name": "Utrecht"}, "geometry": geometry}
    (folder / "map.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    nodes = [[index, 520_907_000, 51_214_000] for index in range(5)]
    terms = {"nodes": nodes, "map": "map.geojson", "map_name": "name", **changes}
    return placed(folder / "places.json", **terms)


def test_a_city_with_a_map_is_made_and_opened_again(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    cli.good("init", "town", *SMALL, "--places", mapped(tmp_path / "there"))
    for path in (tmp_path / "there").iterdir():
        path.unlink()  # the city keeps its map
    (tmp_path / "letter").write_text("hello")
    cli.good("--city", "town", "send", str(tmp_path / "letter"))
    assert "of grade 3" in cli.good("verify", "town/receipts")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"map": "none.geojson"}, "none.geojson"),
        ({"map": 5}, "map must be the path of a GeoJSON file"),
        ({"map_name": 5}, "map_name must be the name of a property"),
        ({"map_name": None}, "no municipality 'Utrecht' on it"),
        ({"map": "places.json"}, "map places.json"),
        (
            {"nodes": [[0, "Zeist", 520_907_000, 51_214_000]], "witnesses": []},
            "node 0: the map says 'Utrecht', not 'Zeist'",
        ),
        ({"nodes": [[0, 0, 0]], "witnesses": []}, "node 0: its point is in no municipality of the map"),
    ],
)
def test_a_map_that_does_not_go_with_its_places_makes_nothing(
    cli: Any, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in cli.bad("init", "town", *SMALL, "--places", mapped(tmp_path, **changes))
    assert not (cli.folder / "town").exists()
