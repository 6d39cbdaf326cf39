"""``city-chain world``: made, sent to, laid out anew, looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from city_chain.levels.world import World
from tests.e2e.worlds import CutError, cut_at

pytestmark = pytest.mark.e2e

SMALL = ("--nodes", "4", "--validators", "4", "-k", "2", "-n", "4")


@pytest.mark.parametrize("action", ["init", "send", "health", "reshard"])
def test_every_action_has_help_with_an_example(cli: Any, action: str) -> None:
    said = cli.good("world", action, "--help")
    assert f"Examples:\n  city-chain world {action}" in said
    assert "--json" in said
    assert f"\n  city-chain world {action}" in cli.good("world", "--help")


def test_a_world_is_made_and_cities_come_and_go(cli: Any, tmp_path: Path) -> None:
    earth = str(tmp_path / "earth")
    assert "made a world in" in cli.good("world", "init", earth, "north", "south", *SMALL)
    letter = tmp_path / "letter.txt"
    letter.write_bytes(b"10 from ann to ben")
    sent = cli.good("world", "send", str(letter), "--world", earth, "--touch", "north=ann", "--touch", "south=ben")
    tx_id = bytes.fromhex(sent.split()[0])
    plain = json.loads(cli.good("world", "send", str(letter), "--world", earth, "--touch", "carl", "--json"))
    assert len(plain["tx_id"]) == 64
    moved = json.loads(cli.good("world", "reshard", "--world", earth, "--add", "west", "--remove", "south", "--json"))
    assert (moved["came"], moved["left"], moved["keys"], moved["epoch"]) == (["west"], ["south"], 3, 1)
    assert moved["moved"] == sum(move["keys"] for move in moved["moves"])
    rows = [json.loads(line) for line in cli.good("world", "health", "--world", earth, "--json").splitlines()]
    assert [row["city"] for row in rows] == ["north", "west"]
    assert sum(row["keys"] for row in rows) == 3
    assert "left: south" in cli.good("world", "health", "--world", earth)
    assert "keys moved" in cli.good("world", "reshard", "--world", earth, "--add", "east")
    with World.open(earth) as world:
        world.receipt(tx_id).verify(world.trust)


def test_what_was_cut_off_is_gone_on_with(cli: Any, tmp_path: Path) -> None:
    earth = str(tmp_path / "earth")
    cli.good("world", "init", earth, "north", "south", *SMALL)
    with World.open(earth) as world:
        world.watch(cut_at(3))
        with pytest.raises(CutError):
            world.reshard(add=["west"])
    said = cli.good("world", "reshard", "--world", earth)
    assert "epoch 1" in said
    assert cli.good("world", "reshard", "--world", earth) == ""


def test_what_cannot_be_is_said_in_a_line(cli: Any, tmp_path: Path) -> None:
    earth = str(tmp_path / "earth")
    cli.good("world", "init", earth, "north", *SMALL)
    for words, said in [
        (("reshard", "--world", earth, "--add", "north"), "there is or was a city 'north'"),
        (("reshard", "--world", earth, "--remove", "north"), "must stay"),
        (("reshard", "--world", str(tmp_path)), "does not exist"),
        (("send", str(tmp_path / "none"), "--world", earth, "--touch", "a"), "No such file"),
    ]:
        assert said in cli.bad("world", *words)
    for words in (("reshard", "--add", ""), ("send", "x", "--touch", "=a"), ("send", "x"), ("fly",)):
        assert cli("world", *words).returncode == 2
