"""Nodes elsewhere, met in one process: lies cost the liar alone, and elections may follow each other at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from city_chain import City
from city_chain.levels import NodeHost
from city_chain.levels.elsewhere import Elsewhere
from city_chain.ports import Request
from city_chain.stages import messages

type Lie = Callable[[str, list[bytes]], list[bytes]]


def far_epoch(kind: str, parts: list[bytes]) -> list[bytes]:
    return [*parts[:6], b"\xff" * 8, *parts[7:]] if kind == "met" else parts


def short_tip(kind: str, parts: list[bytes]) -> list[bytes]:
    if kind == "met":  # it never knows anything, so it is taught again and again
        return [*parts[:2], messages.integer(0), *parts[3:]]
    return [b"abc"] if kind == "tip" else parts


def far_height(kind: str, parts: list[bytes]) -> list[bytes]:
    return [*parts[:2], b"\xff" * 8, *parts[3:]] if kind == "met" else parts


def no_challenge(kind: str, parts: list[bytes]) -> list[bytes]:
    return [*parts[:7], b""] if kind == "met" else parts


class Liar:
    """Has one process of nodes answer wrongly while it is the one that lies."""

    def __init__(self, lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host: NodeHost | None = None
        honest = NodeHost._handle

        def handle(host: NodeHost, requests: Sequence[Request]) -> list[bytes]:
            answers = honest(host, requests)
            if host is not self.host:
                return answers
            said = [messages.parse(answer) for answer in answers]
            return [messages.message(one.kind, lie(one.kind, list(one.parts))) for one in said]

        monkeypatch.setattr(NodeHost, "_handle", handle)


@pytest.mark.parametrize("lie", [far_epoch, short_tip, far_height, no_challenge])
@pytest.mark.parametrize("late", [False, True], ids=["from the start", "in the middle"])
def test_one_that_lies_keeps_nobody_from_being_met(
    tmp_path: Path, lie: Lie, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "city.db"
    with City.local(path, nodes=8, validators=4, k=2, n=4) as city:
        city.send(b"before")
        delegates = [node.id for node in city.nodes() if node.delegate][:2]
        files = {city.move_out(node, tmp_path / node.hex()): node for node in delegates}
    lying = Liar(lie, monkeypatch)
    hosts = {index: NodeHost.open([tmp_path / node.hex()], tmp_path / f"{index}.db") for index, node in files.items()}
    liar, honest = sorted(hosts)  # the liar is met first
    try:
        where = {index: host.addresses[index] for index, host in hosts.items()}
        lying.host = None if late else hosts[liar]
        with City.open(path, elsewhere=where) as city:
            lying.host = hosts[liar]
            for _ in range(2):
                city.send(b"with three of four", deadline_s=30)
            until = time.monotonic() + 30
            while hosts[honest].height < city.height:
                assert time.monotonic() < until, (hosts[honest].height, city.height)
                time.sleep(0.05)
            meeting = city._city._elsewhere._thread
            assert meeting is not None
            assert meeting.is_alive()
            assert files[honest] in city._city._roster.members().addresses
    finally:
        for host in hosts.values():
            host.close()


def test_elections_follow_each_other_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits until those elsewhere have the keys of the first, without which they cannot hand them on."""
    path, told = tmp_path / "city.db", Counter[bytes]()
    honest = NodeHost._handle

    def late(host: NodeHost, requests: Sequence[Request]) -> list[bytes]:
        """Keys that are told for the first time do not arrive."""
        answers = honest(host, [request for request in requests if not lost(request)])
        return [messages.refused("lost") if lost(request) else answers.pop(0) for request in requests]

    def lost(request: Request) -> bool:
        return messages.parse(request.body).kind == "keys" and told[request.body] < 3

    def handle(host: NodeHost, requests: Sequence[Request]) -> list[bytes]:
        answers = late(host, requests)
        told.update(request.body for request in requests)
        return answers

    with City.local(path, nodes=8, validators=4, k=2, n=4) as city:
        delegates = [node.id for node in city.nodes() if node.delegate]
        for at, node in enumerate(delegates[:3]):
            city.move_out(node, tmp_path / str(at))
    monkeypatch.setattr(NodeHost, "_handle", handle)
    files = [tmp_path / str(at) for at in range(3)]
    with (
        NodeHost.open(files, tmp_path / "hosts.db") as hosts,
        City.open(path, elsewhere=hosts.addresses) as city,
    ):
        for number in (1, 2, 3):
            assert city.elect(delegates, deadline_s=60).number == number
        city.send(b"in the third", deadline_s=30)


def test_what_is_wrong_with_a_node_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is met ten times a second for as long as it answers wrongly."""
    path = tmp_path / "city.db"
    with City.local(path, nodes=8, validators=4, k=2, n=4) as city:
        index = city.move_out(city.nodes()[-1].id, tmp_path / "node")
    lying = Liar(no_challenge, monkeypatch)
    lying.host = NodeHost.open([tmp_path / "node"], tmp_path / "node.db")
    with lying.host, City.open(path, elsewhere=lying.host.addresses):
        time.sleep(1.0)
    told = [record.getMessage() for record in caplog.records if "who answers there: met:" in record.getMessage()]
    assert len(told) == 1
    assert lying.host.ids[index].hex()[:16] in told[0]


def test_a_node_that_is_put_away_while_it_is_asked_about_is_silent() -> None:
    """The thread that meets nodes may find one silent between two looks at it."""

    class Fading:
        def __init__(self) -> None:
            self.looks: list[SimpleNamespace | None] = [SimpleNamespace(epoch=0, keys=b"k"), None]

        @property
        def met(self) -> SimpleNamespace | None:
            return self.looks.pop(0)

    elsewhere = Elsewhere.__new__(Elsewhere)
    elsewhere._ledger = SimpleNamespace(epoch=SimpleNamespace(number=0))  # type: ignore[assignment]
    elsewhere._keys = lambda: SimpleNamespace(digest=b"k")  # type: ignore[assignment,return-value]
    assert elsewhere._is_here(Fading())  # type: ignore[arg-type]
    assert elsewhere._has_keys(Fading())  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["", "tcp:127.0.0.1:9"], ids=["nowhere", "where nobody is"])
def test_one_that_is_gone_for_long_is_asked_seldom(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, honest = [0], Elsewhere._round

    def counted(elsewhere: Elsewhere) -> bool:
        rounds[0] += 1
        return honest(elsewhere)

    path = tmp_path / "city.db"
    with City.local(path, nodes=8, validators=4, k=2, n=4) as city:
        index = city.move_out(city.nodes()[-1].id, tmp_path / "node")
    monkeypatch.setattr(Elsewhere, "_round", counted)
    monkeypatch.setattr("city_chain.levels.elsewhere._SOON_TIMES", 3)
    with City.open(path, elsewhere={index: address} if address else None):
        time.sleep(1.0)
        before = rounds[0]
        time.sleep(2.0)
        assert 1 <= rounds[0] - before <= 4, "it was asked ten times a second for ever"
