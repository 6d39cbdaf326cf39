"""The simulator from Python: protocols by name, nodes of one's own, faults, the table, replays, and what is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest

from city_chain.errors import InputError, ProtocolError, UnavailableError
from city_chain.proofs import dpos
from city_chain.sim import (
    ENGINES,
    PROTOCOLS,
    Crash,
    Faults,
    Limits,
    Network,
    Partition,
    Simulation,
    Slow,
    Storm,
    Workload,
    aggregates,
    broadcast,
    counts,
    decide,
    engines,
    key,
    note,
    persist,
    send,
    twins,
    wake,
)

VALUE = bytes(range(32))


class Voter:
    """Node 0 asks, all persist and answer, node 0 tells when all have; they decide one slot after another."""

    def __init__(self, node: int, disk: list[bytes]) -> None:
        self.node, self.slot, self.tickets, self.heard = node, len(disk), 0, set[int]()

    def ask(self, now: int) -> list[Any]:
        return [broadcast(b"ask%d" % self.slot), wake(now + 5_000)] if self.node == 0 else []

    def start(self, now: int) -> list[Any]:
        return [note("begun", self.slot), *self.ask(now)]

    def receive(self, sender: int, message: bytes, now: int) -> Any:
        if message.startswith(b"ask"):
            self.tickets += 1
            return [persist(self.tickets, message)]
        if message.startswith(b"yes"):
            self.heard.add(sender)
            if len(self.heard) == 3:
                self.heard.clear()
                self.slot += 1
                return [decide(self.slot, VALUE), broadcast(b"told%d" % self.slot), *self.ask(now)]
            return None
        return (decide(int(message[4:]), VALUE) for _ in range(1))

    def wake(self, now: int) -> list[Any]:
        return self.ask(now)

    def durable(self, ticket: int, now: int) -> Any:
        return (send(0, b"yes"),)


def voters(**more: Any) -> Simulation:
    return Simulation(5, 4, make=Voter, **{"network": Network.exact(1_000), **more})


# --- protocols -------------------------------------------------------------------------------------------------------


def storm() -> Simulation:
    faults = Faults([Crash(1, after=("send", 3), restart_us=40_000)], Storm(0, 500_000, 60_000, 50_000))
    return Simulation(
        11,
        4,
        "dpos",
        network=Network.hostile(calm_us=900_000),
        faults=faults,
        workload=Workload(batch=64, slots=10_000, timeout_us=50_000),
    )


def test_one_seed_is_one_run_byte_for_byte() -> None:
    runs = [storm(), storm()]
    for run in runs:
        run.progress(5, within_us=20_000_000)
    assert runs[0].digest == runs[1].digest
    assert runs[0].events() == runs[1].events()
    kinds = Counter(row["kind"] for row in runs[0].events())
    assert kinds["crash"] == kinds["restart"] >= 3
    assert kinds["loss"] > 0
    other = Simulation(12, 4, "dpos", workload=Workload(slots=2))
    assert (other.run(), other.digest == Simulation(13, 4, "dpos").digest) == ("idle", False)


def test_stepping_is_running() -> None:
    whole, stepped = (Simulation(3, 4, "dpos", workload=Workload(slots=4)) for _ in range(2))
    assert whole.run() == "idle"
    steps = 0
    while stepped.step():
        steps += 1
    assert (stepped.digest, stepped.now, stepped.happenings, stepped.next_at) == (whole.digest, whole.now, steps, None)


def test_the_table_has_plain_values_and_is_whole() -> None:
    run = Simulation(1, 4, "dpos", network=Network.exact(1_000), workload=Workload(slots=2))
    run.run()
    rows = run.events()
    assert {type(value) for row in rows for value in row.values()} == {int, str, type(None)}
    assert list(rows[0]) == ["at", "node", "kind", "peer", "number", "bytes", "digest"]
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    sent = [row for row in rows if row["kind"] == "send"]
    delivered = [row for row in rows if row["kind"] == "deliver"]
    digests = {row["number"]: row["digest"] for row in sent}
    assert all(digests[row["number"]] == row["digest"] and row["at"] % 1000 == 0 for row in delivered)
    assert len(sent) == len(delivered) == sum(count for count, _ in run.messages.values()) == 18
    assert sum(row["bytes"] for row in sent) == sum(row["bytes"] for row in run.sent())
    assert run.events(start=len(rows) - 1) == rows[-1:]
    assert run.events(start=10**9) == []
    assert [row["slot"] for row in run.decisions()] == [1, 2]
    assert all(len(bytes.fromhex(row["value"])) == 32 for row in run.decisions())
    assert sum(row["records"] for row in run.journalled()) == Counter(row["kind"] for row in rows)["persist"]


def test_limits_bound_a_run() -> None:
    few = Simulation(1, 4, "dpos", limits=Limits(rows=10, digest=False))
    few.run()
    assert (len(few.events()), few.digest) == (10, None)
    assert few.events_left_out > 100
    with pytest.raises(ProtocolError, match=r"seed 1, .*more than 20 happenings.*replay it: .*seed=1"):
        Simulation(1, 4, "dpos", limits=Limits(happenings=20)).run()
    said = r"replay it: city_chain\.sim\.(Simulation\(.*protocol='dpos'.*limits=Limits\(happenings=20, .*\))$"
    with pytest.raises(ProtocolError, match=said) as caught:
        Simulation(1, 4, "dpos", network=Network.exact(1_000), limits=Limits(happenings=20)).run()
    call = str(caught.value).partition("replay it: city_chain.sim.")[2]
    again = eval(call, {"Simulation": Simulation, "Network": Network, "Limits": Limits})
    with pytest.raises(ProtocolError) as repeated:
        again.run()
    assert str(repeated.value) == str(caught.value)
    with pytest.raises(ProtocolError, match="replay it: this"):
        Simulation(1, 4, "dpos", limits=Limits(queue=3), replay="this").run()


@pytest.mark.parametrize(("own", "adversaries"), [([9], []), ([], [9]), ([4], []), ([], [-1])])
def test_nodes_that_are_not_there_are_refused(own: list[int], adversaries: list[int]) -> None:
    with pytest.raises(InputError, match=r"names node -?\d; the nodes are 0 to 3"):
        Simulation(1, 4, "dpos", own=dict.fromkeys(own, lambda node, disk: Voter(node)), adversaries=adversaries)


def test_an_adversary_holds_a_real_key() -> None:
    """Its votes for something else are signed, and counted for nothing."""
    assert key("dpos", 1, 0) != key("dpos", 1, 1) != key("dpos", 2, 1)

    class Silent:
        def start(self, now: int) -> None: ...
        def receive(self, sender: int, message: bytes, now: int) -> Any:
            return [send(sender, message), decide(1, VALUE), decide(1, bytes(32))]

        def wake(self, now: int) -> None: ...
        def durable(self, ticket: int, now: int) -> None: ...

    run = Simulation(1, 4, "dpos", own={2: lambda node, disk: Silent()}, adversaries=[2], workload=Workload(slots=9))
    run.progress(9)
    assert not run.is_honest(2)
    assert len(run.decided(0)) == 9
    assert run.decided(2) == {}
    assert isinstance(dpos.leader, object)


# --- nodes of one's own ----------------------------------------------------------------------------------------------


def test_nodes_of_ones_own() -> None:
    run = voters()
    assert run.run(30_000) == "time"
    assert (run.now, sorted(run.decided(0))) == (30_000, list(range(1, 16)))
    assert run.disk(1)[:2] == [b"ask0", b"ask1"]
    assert run.notes(3, "begun") == 1
    assert run.messages == {"????": (run.messages["????"][0], run.messages["????"][1])}
    assert run.run(10**9, decided=40) == "decided"


def test_a_crashed_node_is_made_anew_from_its_disk() -> None:
    made: list[tuple[int, int]] = []

    def make(node: int, disk: list[bytes]) -> Voter:
        made.append((node, len(disk)))
        return Voter(node, disk)

    faults = Faults(
        [Crash(1, at_us=4_500, restart_us=1_000), Crash(2, before=("durable", 0), restart_us=9, wiped=True)]
    )
    run = Simulation(5, 4, make=make, network=Network.exact(1_000), faults=faults)
    run.run(60_000)
    assert made == [(0, 0), (1, 0), (2, 0), (3, 0), (2, 0), (1, made[-1][1])]
    assert made[-1][1] > 0
    run.crash(3)
    assert not run.is_up(3)
    run.crash(3, restart_us=5)
    run.run(70_000)
    assert not run.is_up(3)


def test_what_a_node_raises_surfaces_with_the_seed() -> None:
    class Broken(Voter):
        def wake(self, now: int) -> Any:
            raise KeyError("my own fault")

    run = Simulation(5, 4, make=Broken, network=Network.exact(9_000), replay="again")
    with pytest.raises(KeyError, match="my own fault") as caught:
        run.run()
    assert "seed 5" in caught.value.__notes__[0]
    assert "again" in caught.value.__notes__[0]
    with pytest.raises(ProtocolError, match="node 0: it raised"):
        run.run()
    with pytest.raises(ZeroDivisionError):
        Simulation(1, 1, make=lambda node, disk: 1 // 0).run()
    with pytest.raises(AttributeError):
        Simulation(1, 1, make=lambda node, disk: object()).run()


@pytest.mark.parametrize(
    ("actions", "error"),
    [
        ([("send", 1)], InputError),
        ([("send", -1, b"")], InputError),
        ([("send", 1, "text")], TypeError),
        ([("jump", 1)], InputError),
        ([()], InputError),
        ([[]], TypeError),
        ([None], TypeError),
        (7, TypeError),
        ([("decide", 1, b"short")], InputError),
        ([("note", "x" * 65, 0, b"")], InputError),
        ([("note", "\ud800", 0, b"")], InputError),
        ([("wake", 2**64)], InputError),
        ([("persist", "1", b"")], TypeError),
        ((("wake", at) for at in range(100_000)), InputError),
    ],
)
def test_wrong_actions_are_refused(actions: Any, error: type[Exception]) -> None:
    class Wrong(Voter):
        def start(self, now: int) -> Any:
            return actions

    with pytest.raises(error):
        Simulation(1, 1, make=Wrong).run()


def test_checkers_notice() -> None:
    class Liar(Voter):
        def receive(self, sender: int, message: bytes, now: int) -> Any:
            return [decide(1, bytes([self.node]) * 32)]

    with pytest.raises(ProtocolError, match=r"in slot 1, where node . decided"):
        Simulation(5, 4, make=Liar).run(100_000)
    run = voters(
        network=Network(partitions=[Partition(0, 10_000, [[0], [1, 2, 3]])]), faults=Faults([Crash(2, 20_000)])
    )
    run.run(21_000)
    with pytest.raises(ProtocolError, match="no progress: node"):
        run.progress(1, within_us=50_000)
    with pytest.raises(InputError, match="never becomes quiet"):
        voters(network=Network.hostile()).progress()


def test_a_message_from_outside() -> None:
    run = voters()
    run.run(500)
    run.inject(3, 0, b"told77")
    run.run(2_000)
    assert 77 in run.decided(0)
    with pytest.raises(InputError):
        run.inject(4, 0, b"")


# --- threads and signals ---------------------------------------------------------------------------------------------


def test_a_run_is_of_one_thread_at_a_time_and_not_of_its_own_nodes() -> None:
    class Asking(Voter):
        def wake(self, now: int) -> Any:
            with pytest.raises(InputError, match="it is running"):
                run.run()
            return None

    run = Simulation(1, 2, make=Asking)
    run.run()


def test_the_gil_is_released_and_signals_interrupt() -> None:
    run = Simulation(1, 31, "dpos", workload=Workload(slots=10**9), limits=Limits(rows=0, happenings=50_000_000))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    turns = [0]
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.001):
            turns[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            run.run()
    finally:
        stop.set()
        thread.join()
        signal.signal(signal.SIGINT, handler)
    assert turns[0] > 20
    assert time.monotonic() - began < 30
    before = run.happenings
    assert run.step()
    assert run.happenings == before + 1


# --- the lab ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gets_on_and_all_that_decide_are_waited_for(protocol: str) -> None:
    run = Simulation(3, 4, protocol, workload=Workload(slots=8, batch=64))
    run.progress(1)
    run = Simulation(3, 4, protocol, workload=Workload(slots=8, batch=64))
    assert run.run(60_000_000, decided=1) == "decided"
    decided = [len(run.decided(node)) for node in range(4)]
    assert decided[:3] > [0] * 3
    assert (decided[3] == 0) == (protocol == "sc")  # the coordinator
    assert all(run.is_honest(node) for node in range(4))


@pytest.mark.parametrize("name", sorted({*PROTOCOLS, "paxos"} - {*ENGINES}))
def test_what_is_no_engine_is_not_compared_as_one(name: str) -> None:
    with pytest.raises(InputError, match=f"there is no engine '{name}', only hotstuff, abba, dpos"):
        engines(1, [4], [name])


def test_keys_are_made_from_the_seed_where_that_is_said() -> None:
    same = {name for name in PROTOCOLS if name != "sc" and key(name, 1, 0) == key(name, 2, 0)}
    assert same == {name for name in PROTOCOLS if name.startswith("hotstuff")} > {"hotstuff"}
    with pytest.raises(InputError, match="a node of sc has the keys of a whole committee"):
        key("sc", 1, 0)


def test_engines_give_rows_and_the_same_ones() -> None:
    done: list[int] = []
    rows = engines(3, [4, 7], ["dpos"], on_progress=done.append)
    again = engines(3, [4, 7], ["dpos"])
    for one, other in zip(rows, again, strict=True):
        assert {**one, "cpu_us_per_commit": 0} == {**other, "cpu_us_per_commit": 0}
    assert [(row["validators"], row["commits"], row["messages_per_commit"]) for row in rows] == [
        (4, 10, 9),
        (7, 10, 18),
    ]
    assert done == [1, 2]
    assert all(row["cpu_us_per_commit"] > 0 and row["bytes"] > 3 * 1024 for row in rows)
    with pytest.raises(InputError, match="no engine 'paxos'"):
        engines(1, [4], ["paxos"])
    with pytest.raises(UnavailableError):
        engines(1, [4], ["dpos"], network=Network(partitions=[Partition(0, 2**62, [])]))


def test_every_count_is_within_its_tolerance() -> None:
    rows = counts(1, [4, 7])
    assert [row for row in rows if not row["ok"]] == []
    assert len({row["what"] for row in rows}) >= 2
    assert any("aggregates" in row["what"] and row["tolerance"] == 0 for row in rows)


def test_certificates_are_measured_in_both_forms() -> None:
    done: list[int] = []
    (one, four) = aggregates([1, 4], repeats=2, on_progress=done.append)
    assert done == [1, 2]
    assert (one["signers"], four["signers"]) == (1, 3)
    assert four["list_bytes"] - one["list_bytes"] == 2 * 64
    assert four["aggregate_bytes"] == one["aggregate_bytes"]
    assert four["aggregate_vote_bytes"] - four["list_vote_bytes"] == 48
    assert all(value > 0 for row in (one, four) for value in row.values())
    for validators, repeats in (([0], 1), ([1025], 1), ([2**20], 1), ([-1], 1), ([4], 0), ([4], 1001)):
        with pytest.raises(InputError):
            aggregates(validators, repeats)
    with pytest.raises(InputError, match="0 Mbit/s"):
        aggregates([4], 1, mbit=0)


# --- what does not fit -----------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"seed": 1, "nodes": 4, "protocol": "dpos"}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"nodes": 0},
        {"nodes": 5000},
        {"protocol": "paxos"},
        {"protocol": None},
        {"make": Voter},
        {"workload": Workload(batch=1)},
        {"workload": Workload(slots=-1)},
        {"network": Network(loss=1.5)},
        {"network": Network(loss=float("nan"))},
        {"network": Network(latency_us=[[1, 2], [3, 4]])},
        {"network": Network(slow=[Slow(4, 0, 1, 1)])},
        {"network": Network(partitions=[Partition(2, 1, [])])},
        {"network": Network(partitions=[Partition(0, 1, [[0], [0]])])},
        {"faults": Faults([Crash(4, at_us=1)])},
        {"faults": Faults([Crash(1, after=("sleep", 1))])},
        {"faults": Faults(storm=Storm(0, 1, 0, 1))},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Simulation(**{**GOOD, **change})


POISONS = [None, object(), 1.5, -1, 2**70, "x", "\ud800", b"", bytes(1 << 16), [None], {}, range(5), lambda: 0, Voter]


@pytest.mark.parametrize(
    "name", ["seed", "nodes", "protocol", "own", "adversaries", "workload", "network", "faults", "limits"]
)
def test_poisons_into_the_constructor(name: str) -> None:
    for poison in POISONS:
        try:
            run = Simulation(**{**GOOD, name: poison})
        except (TypeError, InputError, ProtocolError, ValueError):
            continue
        assert run.now == 0


def test_poisons_into_methods() -> None:
    run = Simulation(**GOOD)
    calls = [
        run.run,
        lambda p: run.run(0, decided=p),
        lambda p: run.inject(p, 0, b""),
        lambda p: run.inject(0, p, b""),
        lambda p: run.inject(0, 1, p),
        run.crash,
        lambda p: run.crash(0, p),
        run.events,
        lambda p: run.notes(p, "x"),
        lambda p: run.notes(0, p),
        run.decided,
        run.is_up,
        run.is_honest,
        run.disk,
        lambda p: run.progress(p, 1),
        lambda p: run.progress(1, p),
        lambda p: key(p, 0, 0),
        lambda p: key("dpos", p, 0),
        lambda p: key("dpos", 0, p),
        lambda p: twins(p, 1),
        lambda p: twins(4, 1, p),
        lambda p: engines(p, [4], ["dpos"]),
        lambda p: engines(1, p, ["dpos"]),
        lambda p: engines(1, [4], p),
    ]
    for call in calls:
        for poison in POISONS:
            try:
                call(poison)
            except (TypeError, InputError, ProtocolError, UnavailableError):
                continue
