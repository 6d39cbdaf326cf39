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
        ({"nodes": "x"}, "places"),
        ({"other": 1}, "other"),
        ({"witnesses": [7]}, "have no place"),
    ],
)
def test_places_that_cannot_be_make_nothing(cli: Any, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in cli.bad("init", "town", *SMALL, "--places", placed(tmp_path / "places.json", **changes))
    assert not (cli.folder / "town").exists()
