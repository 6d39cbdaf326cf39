"""Nodes that move out of a city, from the shell: what is said runs, and what cannot be is refused."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.time_servers import servers
from tests.tokens import Issuer, jwks

pytestmark = pytest.mark.e2e


def listed(cli: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cli.good("--city", "town", "nodes", "--json").splitlines()]


@pytest.fixture
def small(cli: Any) -> list[dict[str, Any]]:
    """The nodes of a city of four, all delegates."""
    cli.good("init", "town", "--nodes", "4", "--validators", "4", "-k", "2", "-n", "4")
    return listed(cli)


def test_a_move_that_fails_leaves_the_node_where_it_is(cli: Any, small: list[dict[str, Any]]) -> None:
    said = cli.bad("--city", "town", "nodes", "--move-out", small[0]["id"], "nowhere/node.secret")
    assert "nowhere/node.secret cannot be written: No such file" in said
    assert listed(cli) == small


def test_a_file_that_is_there_is_kept(cli: Any, small: list[dict[str, Any]]) -> None:
    (cli.folder / "node.secret").write_bytes(b"another")
    said = cli.bad("--city", "town", "nodes", "--move-out", small[0]["id"], "node.secret")
    assert "node.secret is there already; name another file\n" in said
    assert (cli.folder / "node.secret").read_bytes() == b"another"
    assert listed(cli) == small


def test_what_is_said_runs(cli: Any, small: list[dict[str, Any]], tmp_path: Path) -> None:
    """Both commands, as they are printed."""
    done = cli("--city", "town", "nodes", "--move-out", small[2]["id"], "a node")
    assert done.returncode == 0
    said = done.stderr.decode().partition("run it with ")[2]
    run, tell = said.rstrip().split(", then tell where with ")
    validator = cli.start(*shlex.split(run)[1:])
    try:
        assert b"answers at tcp:127.0.0.1:7" in validator.stdout.readline()
        cli.good(*shlex.split(tell)[1:])
        assert all(node["running"] for node in listed(cli))
    finally:
        validator.terminate()
        validator.communicate(timeout=60)
    assert {path.name for path in tmp_path.iterdir()} >= {"a node", "a node.db"}


@pytest.mark.parametrize("address", ["tcp:1", "tcp:", "tcp:127.0.0.1:0", "tcp:127.0.0.1:99999", "udp:h:1", "tcp::80"])
def test_an_address_that_is_none(cli: Any, small: list[dict[str, Any]], address: str) -> None:
    assert cli("--city", "town", "nodes", "--move-out", small[1]["id"], "node.secret").returncode == 0
    before = listed(cli)
    said = cli.bad("--city", "town", "nodes", "--at", f"1={address}")
    assert address in said
    assert listed(cli) == before


def test_one_that_is_out_is_called_so(cli: Any, small: list[dict[str, Any]]) -> None:
    assert cli("--city", "town", "nodes", "--move-out", small[1]["id"], "node.secret").returncode == 0
    out = listed(cli)[-1]
    assert (out["index"], out["state"], out["running"], out["votes"]) == (1, "moved out, not met", False, False)
    assert [node["state"] for node in listed(cli)[:-1]] == ["running"] * 3
    cli.good("--city", "town", "nodes", "--at", "1=tcp:127.0.0.1:9")
    (row,) = [line for line in cli.good("--city", "town", "nodes").splitlines() if small[1]["id"] in line]
    for cell in ("  1  ", "moved out, not met", "tcp:127.0.0.1:9"):
        assert cell in row
    said = cli.bad("--city", "town", "nodes", "--stop", small[1]["id"])
    assert "has moved out: it runs in a process of its own" in said


def test_a_validator_keeps_out_of_a_city_s_file(cli: Any, small: list[dict[str, Any]]) -> None:
    assert cli("--city", "town", "nodes", "--move-out", small[1]["id"], "node.secret").returncode == 0
    said = cli.bad("validator", "node.secret", "--data", "town/city.db")
    assert "the storage is a city's own" in said
    assert len(listed(cli)) == 4


def test_a_validator_goes_by_time_servers(cli: Any, small: list[dict[str, Any]]) -> None:
    """Its clock is theirs, and it does not start where no majority of them agrees."""
    assert cli("--city", "town", "nodes", "--move-out", small[1]["id"], "node.secret").returncode == 0
    with servers(0, 0, 0) as of:
        options = [word for name in of.names for word in ("--ntp", name)]
        validator = cli.start("validator", "node.secret", "--data", "node.db", *options)
        try:
            address = validator.stdout.readline().decode().split()[-1]
            cli.good("--city", "town", "nodes", "--at", f"1={address}")
            assert all(node["running"] for node in listed(cli))
            (cli.folder / "letter").write_bytes(b"hello")
            cli.good("--city", "town", "send", "letter")
        finally:
            validator.terminate()
            validator.communicate(timeout=60)
        assert validator.returncode == 0
        of.ahead_s = [0, 5, 10]
        done = cli("validator", "node.secret", "--data", "node.db", *options)
        said = done.stderr.decode()
        assert (done.returncode, done.stdout) == (1, b"")
        assert "no majority" in said.splitlines()[-1]
        told = [line for line in said.splitlines() if line.startswith("city-chain: 127.0.0.1:")]
        assert [line.split(",")[0] for line in told] == [f"city-chain: {name}: refused" for name in of.names]
        offsets = [float(line.split(", ")[1].split()[0]) for line in told]
        assert offsets == pytest.approx([0, 5_000, 10_000], abs=500), "who says what, in milliseconds"


@pytest.fixture
def guarded(cli: Any, small: list[dict[str, Any]]) -> Iterator[tuple[Issuer, dict[str, Any]]]:
    """A validator that wants tokens, and what it says of itself; the city knows where it answers."""
    issuer = Issuer()
    (cli.folder / "keys.json").write_bytes(jwks(issuer))
    assert cli("--city", "town", "nodes", "--move-out", small[2]["id"], "node.secret").returncode == 0
    options = ("--jwks", "keys.json", "--issuer", "us", "--audience", "town")
    validator = cli.start("validator", "node.secret", "--data", "node.db", "--json", *options)
    try:
        said = json.loads(validator.stdout.readline())
        cli("--city", "town", "nodes", "--at", f"2={said['address']}")
        yield issuer, said
    finally:
        validator.terminate()
        validator.communicate(timeout=60)


def test_a_validator_that_wants_tokens(
    cli: Any, guarded: tuple[Issuer, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody gets on with it without one, and is told why; with the one that its city was given, its city does."""
    issuer, said = guarded

    def refused() -> str:
        done = cli("--city", "town", "nodes", "--json")
        assert {node["index"]: node["running"] for node in map(json.loads, done.stdout.splitlines())}[2] is False
        told: str = done.stderr.decode()
        assert told.count("\n") == 1, "once, however often it is asked"
        return told

    assert "refused: a token is needed here" in refused()
    now = int(time.time())
    claims = {"iss": "us", "aud": "town", "jti": "1", "iat": now - 9, "nbf": None, "exp": now + 600}
    monkeypatch.setenv("CITY_CHAIN_TOKEN_FILE", "town.token")
    (cli.folder / "town.token").write_text(issuer.token(**claims, sub="11" * 32))
    assert "refused: " in refused()
    (cli.folder / "town.token").write_text(issuer.token(**{**claims, "exp": now - 5}, sub=said["sender"]))
    assert "refused: token: it has expired" in refused()
    (cli.folder / "town.token").write_text(issuer.token(**claims, sub=said["sender"]) + "\n")
    assert all(node["running"] for node in listed(cli))


def test_tokens_that_cannot_be(cli: Any, small: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("--city", "town", "nodes", "--move-out", small[2]["id"], "node.secret").returncode == 0
    validator = ("validator", "node.secret", "--data", "node.db")
    assert "missing: --issuer and --audience" in cli.bad(*validator, "--jwks", "keys.json")
    options = ("--jwks", "keys.json", "--issuer", "us", "--audience", "town")
    assert "keys.json cannot be read" in cli.bad(*validator, *options)
    (cli.folder / "keys.json").write_text("{}")
    assert 'a set has a list "keys"' in cli.bad(*validator, *options)
    monkeypatch.setenv("CITY_CHAIN_TOKEN_FILE", "town.token")
    assert "town.token (CITY_CHAIN_TOKEN_FILE) cannot be read" in cli.bad("--city", "town", "nodes")
    for wrong in ("", "two words", "é", "x" * 8193):
        (cli.folder / "town.token").write_text(wrong, encoding="utf-8")
        assert "town.token (CITY_CHAIN_TOKEN_FILE) holds no token" in cli.bad("--city", "town", "nodes")
