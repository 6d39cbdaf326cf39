"""A running city whose validators are processes that are killed: no fork, nothing acknowledged is lost, it goes on.

Kills of one, of all and of one that is wiped run under ``hotstuff`` and ``abba``: at random moments, and in the place
of each of the first writes of a commit. Under ``dpos`` all are killed, and one is wiped. What hangs on the processes
more than on how they agree runs under one engine, so that the whole file takes three minutes at most.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from city_chain import City, records
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.adapters.storage.sqlite import SqliteStorage
from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.levels import NodeHost
from city_chain.stages import messages

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]

WORKER = Path(__file__).with_name("validator_worker.py")
ENGINES = ["hotstuff", "abba", "dpos"]
under_all = pytest.mark.parametrize("town", ENGINES, indirect=True)
under_two = pytest.mark.parametrize("town", ENGINES[:2], indirect=True)
under_dpos = pytest.mark.parametrize("town", ["dpos"], indirect=True)
VALIDATORS = 4
BURST = 4
WRITES = 6
FIRST = b"before they moved out"


class Server:
    """Starts validator processes; see `validator_worker`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.started: list[int] = []

    def start(self, wanted: Sequence[tuple[Path, Path, str]], writes: int) -> dict[Path, tuple[int, str]]:
        """Starts some beside each other, each by its file, the file of its data and where it is to listen.

        All answer when this returns; by the file of its data, the process id and the address of each. Each kills itself
        in the place of its next write after so many; never, if that is negative.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for file, data, listen in wanted:
            self.process.stdin.write(f"{file}\t{data}\t{listen}\t{writes}\n")
        self.process.stdin.flush()
        up = {}
        for _ in wanted:
            said = self.process.stdout.readline().rstrip("\n").split(" ", 3)
            assert said[0] == "up", said
            self.started.append(int(said[1]))
            up[Path(said[3])] = int(said[1]), said[2]
        return up

    def close(self) -> None:
        """Ends it; those that it started end with it, or have been killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        wait_for(lambda: not any(map(is_alive, self.started)))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    served = Server()
    yield served
    served.close()


class Town:
    """A city whose delegates have moved out into processes."""

    def __init__(self, made: Path, folder: Path, server: Server) -> None:
        shutil.copytree(made, folder)
        self.folder = folder
        self.server = server
        self.path = folder / "city.db"
        self.files = {int(file.name.removeprefix("node")): file for file in folder.glob("node*")}
        self.pids: dict[int, int] = {}
        self.addresses: dict[int, str] = {}
        self.acknowledged = {bytes.fromhex((folder / "first").read_text()): FIRST}
        self.refused = 0
        self.count = 0
        assert len(self.files) == VALIDATORS
        self.start(*self.files)

    def acknowledge(self, city: City, payload: bytes) -> None:
        self.acknowledged[city.send(payload).tx_id] = payload

    def data(self, index: int) -> Path:
        return self.folder / f"node{index}.db"

    def start(self, *indexes: int, writes: int = -1) -> None:
        wanted = [
            (self.files[index], self.data(index), self.addresses.get(index, "tcp:127.0.0.1:0")) for index in indexes
        ]
        started = self.server.start(wanted, writes)
        for index in indexes:
            self.pids[index], self.addresses[index] = started[self.data(index)]

    def kill(self, *indexes: int) -> None:
        for index in indexes:
            with contextlib.suppress(ProcessLookupError):  # it has killed itself
                os.kill(self.pids[index], signal.SIGKILL)
        for index in indexes:
            pid = self.pids.pop(index)
            wait_for(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]

    def open(self) -> City:
        return City.open(self.path, elsewhere=self.addresses)

    def burst(self, city: City, deadline_s: float = 15.0) -> int:
        """Sends a few; keeps what was acknowledged and returns how many were."""
        payloads = [b"payload %d" % (self.count + at) for at in range(BURST)]
        self.count += BURST
        outcomes = city.send_many(payloads, deadline_s=deadline_s)
        done = 0
        for payload, outcome in zip(payloads, outcomes, strict=True):
            if isinstance(outcome, records.Receipt):
                self.acknowledged[outcome.tx_id] = payload
                done += 1
            else:
                self.refused += 1
        return done

    def chain(self, index: int) -> list[bytes]:
        """The digests of the batches in a validator's own ledger, whose process has ended."""
        return digests(self.data(index))

    def check(self) -> None:
        """Ends all, then: no fork, nothing acknowledged is lost."""
        self.kill(*self.pids)
        main = digests(self.path)
        for index in self.files:
            chain = self.chain(index)
            assert chain == main[: len(chain)], f"validator {index} is on a fork"
        self.start(*self.files)
        with self.open() as city:
            assert not city.recovery.failed
            for tx_id, payload in self.acknowledged.items():
                city.receipt(tx_id).verify(city.trust)
                assert city.receive(tx_id) == payload
            self.acknowledge(city, b"and it goes on")


def digests(path: Path) -> list[bytes]:
    """The digests of the batches in a ledger's file."""
    storage = SqliteStorage(path, create=False)
    try:
        rows = [row for _, row in NamespacedStorage(storage, b"l").scan(b"b")]
        return [records.Batch.from_bytes(messages.answer(row, "batch")[0]).digest for row in rows]
    finally:
        storage.close()


def height_of(city: City, index: int, town: Town) -> int:
    """What a validator says of its ledger's height."""
    away = city._city._elsewhere._away
    met = next(entry.met for entry in away.values() if entry.address == town.addresses[index])
    return -1 if met is None else met.height


def node_of(city: City, index: int, town: Town) -> bytes:
    return next(node.id for node in city.nodes() if node.address == town.addresses[index])


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a city under an engine, made once, whose delegates have moved out and were never started."""

    @functools.cache
    def make(engine: str) -> Path:
        folder = tmp_path_factory.mktemp(engine)
        with City.local(folder / "city.db", nodes=8, validators=VALIDATORS, k=2, n=4, engine=engine) as city:
            (folder / "first").write_text(city.send(FIRST).tx_id.hex())
            for node in [node.id for node in city.nodes() if node.delegate]:
                beside = folder / node.hex()[:8]
                beside.rename(folder / f"node{city.move_out(node, beside)}")
        return folder

    return make


@pytest.fixture
def town(
    request: pytest.FixtureRequest, tmp_path: Path, server: Server, founded: Callable[[str], Path]
) -> Iterator[Town]:
    made = Town(founded(getattr(request, "param", ENGINES[0])), tmp_path / "town", server)
    try:
        yield made
    finally:
        for pid in made.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@under_all
def test_validators_in_processes_of_their_own_commit(town: Town) -> None:
    with town.open() as city:
        assert {node.id for node in city.nodes() if node.delegate and node.running and node.votes} == {
            key for key, _ in city.epoch.validators.items
        }
        for _ in range(5):
            assert town.burst(city) == BURST
        height = city.height
        wait_for(lambda: all(height_of(city, index, town) >= height for index in town.files))
        compressed = city.compress(city.receipt(next(iter(town.acknowledged))))
        compressed.verify(city.trust)
    town.kill(*town.pids)
    assert {tuple(town.chain(index)) for index in town.files} == {tuple(digests(town.path))}
    town.start(*town.files)
    town.check()


@under_two
@pytest.mark.parametrize("seed", [1])
def test_any_one_killed_again_and_again(town: Town, seed: int) -> None:
    """At random moments of commits. Three of four go on without it; it catches up when it is back."""
    dice = random.Random(seed)
    with town.open() as city:
        assert town.burst(city) == BURST
        for victim in dice.sample(sorted(town.files) * 2, 5):
            timer = threading.Timer(dice.uniform(0, 0.15), town.kill, [victim])
            timer.start()
            for _ in range(3):
                assert town.burst(city) == BURST
            timer.join()
            town.start(victim)
            wait_for(lambda victim=victim: height_of(city, victim, town) >= city.height)  # type: ignore[misc]
    town.check()


@under_all
@pytest.mark.parametrize("seed", [2])
def test_all_killed_at_once(town: Town, seed: int) -> None:
    """What was under way is committed or not, and whoever sends learns which; it goes on when they are back."""
    dice = random.Random(seed)
    with town.open() as city:
        for _ in range(3):
            timer = threading.Timer(dice.uniform(0, 0.15), town.kill, list(town.files))
            timer.start()
            town.burst(city, 1.0)
            timer.join()
            assert town.burst(city, 0.5) == 0  # nobody is there
            town.start(*town.files)
            wait_for(lambda: all(height_of(city, index, town) >= city.height for index in town.files))
            assert town.burst(city) == BURST
    town.check()


@under_two
def test_one_killed_in_the_place_of_a_write(town: Town) -> None:
    """Whatever a validator has said and not written, or written and not said, when it dies in the midst of a commit."""
    with town.open() as city:
        assert town.burst(city) == BURST
        for writes, victim in zip(range(WRITES), sorted(town.files) * WRITES, strict=False):
            town.kill(victim)
            town.start(victim, writes=writes)
            for _ in range(2):
                assert town.burst(city) == BURST
            town.kill(victim)
            town.start(victim)
            wait_for(lambda victim=victim: height_of(city, victim, town) >= city.height)  # type: ignore[misc]
    town.check()


@under_two
def test_all_killed_in_the_place_of_a_write(town: Town) -> None:
    """All die in the midst of one commit, each after as many writes of its own."""
    with town.open() as city:
        assert town.burst(city) == BURST
        for writes in range(WRITES):
            town.kill(*town.files)
            town.start(*town.files, writes=writes)
            town.burst(city, 0.6)
            town.kill(*town.files)
            town.start(*town.files)
            assert town.burst(city) == BURST
    town.check()


def test_killed_while_nobody_waits_and_back_before_the_deadline(town: Town) -> None:
    """A send outlasts the loss of all validators, if they are back in time."""
    with town.open() as city:
        assert town.burst(city) == BURST
        town.kill(*town.files)

        def bring_back() -> None:
            town.start(*town.files)

        timer = threading.Timer(0.5, bring_back)
        timer.start()
        assert town.burst(city, 20.0) == BURST
        timer.join()
    town.check()


def test_one_that_hangs_holds_up_nobody(town: Town) -> None:
    with town.open() as city:
        for index in town.files:
            os.kill(town.pids[index], signal.SIGSTOP)
            try:
                for _ in range(2):
                    assert town.burst(city) == BURST
            finally:
                os.kill(town.pids[index], signal.SIGCONT)
        wait_for(lambda: all(height_of(city, index, town) >= city.height for index in town.files))
    town.check()


def test_a_long_absence_is_caught_up_with(town: Town) -> None:
    absent = min(town.files)
    with town.open() as city:
        town.kill(absent)
        for _ in range(16):  # of three blocks at least: more than others keep for it
            assert town.burst(city) == BURST
        town.start(absent)
        wait_for(lambda: height_of(city, absent, town) >= city.height)
        # Without the newcomer there is no quorum: it votes again.
        town.kill(max(town.files))
        assert town.burst(city) == BURST
        town.start(max(town.files))
    town.check()


@under_all
def test_a_wiped_one_rejoins_and_only_observes(town: Town) -> None:
    wiped = min(town.files)
    with town.open() as city:
        assert town.burst(city) == BURST
        town.kill(wiped)
        for beside in town.folder.glob(f"node{wiped}.db*"):
            beside.unlink()
        assert town.burst(city) == BURST
        town.start(wiped)
        wait_for(lambda: height_of(city, wiped, town) >= city.height)
        # It may have forgotten what it voted for, so it votes for nothing in this epoch; the others go on.
        assert [node.votes for node in city.nodes() if node.delegate].count(False) == 1
        assert town.burst(city) == BURST
        town.kill(max(town.files))
        assert town.burst(city, 1.0) == 0  # two of four vote: too few
        town.start(max(town.files))
        assert town.burst(city) == BURST
    town.check()


def test_the_next_epoch_begins_everywhere(town: Town) -> None:
    """Delegates in processes hand over; one that is absent, and one whose votes are lost, come along and vote again."""
    absent, wiped, *_ = sorted(town.files)
    with town.open() as city:
        delegates = [node.id for node in city.nodes() if node.delegate]
        assert town.burst(city) == BURST
        town.kill(wiped)
        for beside in town.folder.glob(f"node{wiped}.db*"):
            beside.unlink()
        town.start(wiped)
        wait_for(lambda: height_of(city, wiped, town) >= city.height)
        assert [node.votes for node in city.nodes() if node.delegate].count(False) == 1
        town.kill(absent)
        with pytest.raises(UnavailableError):
            city.elect(delegates)  # one of them does not run
        town.start(absent)
        wait_for(lambda: height_of(city, absent, town) >= city.height)
        assert city.elect(delegates).number == 1
        wait_for(lambda: [node.votes for node in city.nodes() if node.delegate].count(False) == 0)
        assert town.burst(city) == BURST
        town.kill(absent)
        assert town.burst(city) == BURST  # with the vote of the one that was wiped
        assert city.elect([key for key in delegates if key != node_of(city, absent, town)]).number == 2
        town.start(absent)
        wait_for(lambda: height_of(city, absent, town) >= city.height)
        assert town.burst(city) == BURST
    town.check()


def test_the_city_killed_with_its_validators(town: Town, tmp_path: Path) -> None:
    """The process of the city dies in the middle of sending, too: what it acknowledged is there when it is back."""
    dice = random.Random(5)
    for _ in range(3):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(reader)
                with town.open() as city:
                    for number in range(1000):
                        receipt = city.send(b"from a city that dies %d" % number)
                        os.write(writer, receipt.tx_id.hex().encode() + b" %d\n" % number)
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as said:
            lines = [said.readline() for _ in range(dice.randrange(1, 6))]
            time.sleep(dice.uniform(0, 0.1))
            victims = dice.sample(sorted(town.files), dice.choice([1, 4]))
            os.kill(child, signal.SIGKILL)
            town.kill(*victims)
            lines += said.readlines()
        os.waitpid(child, 0)
        for words in (line.split() for line in lines if line.endswith(b"\n")):
            town.acknowledged[bytes.fromhex(words[0].decode())] = b"from a city that dies " + words[1]
        town.start(*victims)
        with town.open() as city:
            assert not city.recovery.failed
            assert town.burst(city) == BURST
    town.check()


# --- what it is set up with ------------------------------------------------------------------------------------------


@under_dpos
def test_who_is_not_the_node_is_not_logged_in(town: Town) -> None:
    first, second = sorted(town.files)[:2]
    swapped = {**town.addresses, first: town.addresses[second], second: town.addresses[first]}
    with City.open(town.path, elsewhere=swapped) as city:
        running = {node.address: node.running for node in city.nodes() if node.delegate}
        assert running[town.addresses[first]] is running[town.addresses[second]] is False
        assert town.burst(city, 1.0) == 0
    town.check()


@under_dpos
def test_files_and_storages_that_do_not_fit(town: Town, tmp_path: Path) -> None:
    one, other = sorted(town.files)[:2]
    with pytest.raises(StorageError, match="another process"):
        NodeHost.open([town.files[one]], town.data(one))
    town.kill(one, other)
    with pytest.raises(InputError, match="named twice"):
        NodeHost.open([town.files[one], town.files[one]])
    with pytest.raises(InputError, match="one at least"):
        NodeHost.open([])
    damaged = tmp_path / "damaged"
    whole = bytearray(town.files[one].read_bytes())
    whole[len(whole) // 2] ^= 1
    damaged.write_bytes(whole)
    with pytest.raises(InputError, match="damaged"):
        NodeHost.open([damaged])
    with pytest.raises(StorageError, match="cannot be read"):
        NodeHost.open([tmp_path / "nothing"])
    with pytest.raises(InputError, match="not moved out"):
        City.open(town.path, elsewhere={999: "tcp:127.0.0.1:1"})
    with pytest.raises(UnavailableError, match="cannot be served"):
        NodeHost.open([town.files[one]], town.data(one), listen="tcp:192.0.2.1:0")
    town.start(one, other)
    town.check()


def test_two_nodes_in_one_process(town: Town) -> None:
    pair = sorted(town.files)[:2]
    town.kill(*pair)
    with (
        NodeHost.open([town.files[pair[0]], town.files[pair[1]]], town.folder / "pair.db") as host,
        City.open(town.path, elsewhere={**town.addresses, **host.addresses}) as city,
    ):
        # Their votes are in other storages: here they only observe, and say so.
        assert [node.votes for node in city.nodes() if node.delegate].count(False) == 2
        assert [node.running for node in city.nodes() if node.delegate].count(False) == 0
        wait_for(lambda: host.height >= city.height)
    town.start(*pair)
    with town.open() as city:
        assert town.burst(city) == BURST


def test_a_secret_file_is_a_secret_and_has_no_master_seed(tmp_path: Path) -> None:
    with City.local(tmp_path / "city.db", nodes=5, validators=4, k=2, n=4) as city:
        master = city._city._founding.master
        city.move_out(city.nodes()[0].id, tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert master not in (tmp_path / "file").read_bytes()


def test_the_command_line(tmp_path: Path) -> None:
    def run(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "city_chain.cli", "--city", str(tmp_path / "town"), *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    run("init", str(tmp_path / "town"), "--nodes", "5", "--validators", "4", "-k", "2", "-n", "4")
    nodes = [orjson.loads(line) for line in run("nodes", "--json").stdout.splitlines()]
    delegate = next(node["id"] for node in nodes if node["delegate"])
    secret = tmp_path / "secret"
    moved = run("nodes", "--move-out", delegate, str(secret))
    assert "city-chain validator" in moved.stderr
    run("nodes", "--move-out", delegate, str(secret), status=1)
    words = ["validator", str(secret), "--data", str(tmp_path / "node.db"), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "city_chain.cli", *words], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        said = orjson.loads(process.stdout.readline())
        assert said["node"] == delegate
        listed = run("nodes", "--json", "--at", f"{said['index']}={said['address']}")
        away = next(node for node in map(orjson.loads, listed.stdout.splitlines()) if node["id"] == delegate)
        assert away["running"] is away["votes"] is True
        assert away["address"] == said["address"]
        letter = tmp_path / "letter"
        letter.write_text("hello")
        run("send", str(letter))
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
