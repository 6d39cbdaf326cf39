"""A process of its own for nodes: what it is set up with, what it is told, and by whom. No sockets here."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import InputError, StorageError, UnavailableError
from city_chain.levels import NodeHost, node_host
from city_chain.levels.node_file import NodeFile, write_secret
from city_chain.node import lists_words, meeting_words
from city_chain.node.node import NODE_WEIGHT
from city_chain.ports import Request
from city_chain.stages import messages

pytestmark = pytest.mark.unit


class Process:
    """A node that has moved out of a city, and the process that runs it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "node"
        self.city = City.local(nodes=6, validators=4, k=2, n=4)
        self.receipt = self.city.send(b"before it moved out")
        self.node = next(node.id for node in self.city.nodes() if node.delegate)
        self.index = self.city.move_out(self.node, self.path)
        self.file = NodeFile.from_bytes(self.path.read_bytes())
        self.storage = MemoryStorage()
        self.transport = InProcessTransport()
        self.host = self.opened(self.storage, self.transport)

    def opened(self, storage: MemoryStorage, transport: InProcessTransport) -> NodeHost:
        return NodeHost.open([self.path], listen="inproc:node", storage=storage, transport=transport)

    def wiped(self) -> NodeHost:
        """The process over a file of its own, which is empty at first."""
        data = self.path.with_suffix(".db")
        return NodeHost.open([self.path], data, listen="inproc:node", transport=InProcessTransport())

    def ask(self, kind: str, parts: Sequence[bytes] = ()) -> records.Message:
        (answer,) = self.host._handle([Request("inproc:node", messages.message(kind, parts))])
        return messages.parse(answer)

    def meet(self, epoch: int, *, count: bytes = b"", signature: bytes = b"") -> records.Message:
        return self.ask("meet", [messages.integer(epoch), count, signature])

    def meet_as_the_city(self, epoch: int) -> records.Message:
        """What the city does: its second meeting signs what the first one drew."""
        network, challenge = self.city.network, self.meet(epoch).parts[7]
        words = meeting_words(network, self.node, challenge, messages.integer(epoch))
        return self.meet(epoch, signature=as_the_city(self.city, words))

    def rows(self) -> dict[bytes, bytes]:
        return dict(self.storage.scan(b""))

    def append(self, height: int) -> records.Message:
        return self.ask("append", messages.parse(appended(self.city, height)).parts)


def as_the_city(city: City, words: bytes) -> bytes:
    return city._city._elsewhere._sign(words)


def told(city: City, lists: Sequence[records.Candidates] | None = None) -> list[bytes]:
    """The parts of the message that tells candidate lists, by default all that the city has."""
    lists = city._city._roster.lists() if lists is None else lists
    return [as_the_city(city, lists_words(city.network, lists)), *(known.to_bytes() for known in lists)]


def appended(city: City, height: int) -> bytes:
    """The message that teaches a batch of a city."""
    parts = city._city.ledger.proven(height)
    assert parts is not None
    return messages.message("append", parts)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    made.host.close()
    made.city.close()


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_file_is_read_as_it_was_written(process: Process) -> None:
    data = process.file.to_bytes()
    assert NodeFile.from_bytes(data) == process.file
    assert process.file.identity.id == process.node
    assert process.file.rows
    assert process.file.observes_until is None
    spent = NodeFile.from_bytes(process.path.read_bytes())  # it was set up above
    assert spent == replace(process.file, rows={}, observes_until=0)
    assert process.file.seed.hex() not in repr(process.file)


def test_damaged_files_are_refused(process: Process) -> None:
    data = process.file.to_bytes()
    dice = random.Random(3)
    for length in [*range(64), *dice.sample(range(len(data)), 100)]:
        with pytest.raises(InputError, match="node file"):
            NodeFile.from_bytes(data[:length])
    for _ in range(300):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        with pytest.raises(InputError, match="node file"):
            NodeFile.from_bytes(bytes(damaged))


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_secret(tmp_path / "a", b"1")
    write_secret(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0
    with pytest.raises(StorageError, match="cannot be written"):
        write_secret(tmp_path / "nowhere" / "a", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    with City.local(nodes=6, validators=4, k=2, n=4) as city:
        node = next(node.id for node in city.nodes() if node.delegate)
        city.send(b"it has voted")
        with pytest.raises(StorageError, match="cannot be written"):
            city.move_out(node, tmp_path / "nowhere" / "file")
        (info,) = [info for info in city.nodes() if info.id == node]
        assert (info.running, info.votes) == (True, True)
        index = city.move_out(node, tmp_path / "file")
        file = NodeFile.from_bytes((tmp_path / "file").read_bytes())
        assert (file.index, file.identity.id, file.observes_until) == (index, node, None)
        assert file.rows
        city.send(b"three of four go on")


def test_a_stopped_node_stays_stopped_where_its_file_cannot_be_written(tmp_path: Path) -> None:
    with City.local(nodes=6, validators=4, k=2, n=4) as city:
        node = city.nodes()[0].id
        city.stop_node(node)
        with pytest.raises(StorageError, match="cannot be written"):
            city.move_out(node, tmp_path / "nowhere" / "file")
        assert not city.nodes()[0].running


def test_a_file_that_does_not_get_its_name_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with City.local(nodes=6, validators=4, k=2, n=4) as city:
        node = next(node.id for node in city.nodes() if node.delegate)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", full)
            with pytest.raises(StorageError, match="the node is out all the same: move it out again"):
                city.move_out(node, tmp_path / "file")
        assert not list(tmp_path.iterdir())
        with pytest.raises(InputError, match="has moved out: it runs in a process of its own"):
            city.start_node(node)
        city.move_out(node, tmp_path / "file")
        assert NodeFile.from_bytes((tmp_path / "file").read_bytes()).observes_until == 0


def test_who_has_moved_out_does_not_run_here(process: Process) -> None:
    with pytest.raises(InputError, match="has moved out: it runs in a process of its own"):
        process.city.start_node(process.node)
    (info,) = [node for node in process.city.nodes() if node.id == process.node]
    assert not info.running
    with pytest.raises(UnavailableError, match="delegates-to-be"):
        process.city.elect([node.id for node in process.city.nodes() if node.delegate])


# --- votes are not forgotten -----------------------------------------------------------------------------------------


def test_a_city_says_until_when_one_observes_and_meets_it_again_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with City.local(tmp_path / "city.db", nodes=6, validators=4, k=2, n=4) as city:
        node = next(node.id for node in city.nodes() if node.delegate)
        city.move_out(node, tmp_path / "lost")
        index = city.move_out(node, tmp_path / "node")
        assert {info.state for info in city.nodes() if info.id == node} == {"moved out, not met"}
    with (
        NodeHost.open([tmp_path / "node"]) as host,
        City.open(tmp_path / "city.db", elsewhere=host.addresses) as city,
    ):
        (info,) = [info for info in city.nodes() if info.id == node]
        assert (info.state, info.index) == ("observes until epoch 0 is over", index)
        caplog.clear()
        city._enter_next()  # as after an election: it is met anew, and is logged in already
        assert "cannot be logged in" not in caplog.text
        assert [info.running for info in city.nodes() if info.id == node] == [True]


def test_the_votes_come_along_once(process: Process) -> None:
    voter = process.host._nodes[0].voter
    assert voter is not None
    assert [key for key in process.file.rows if key.startswith((b"a", b"d"))]
    process.host.close()
    with process.opened(MemoryStorage(), InProcessTransport()) as wiped:
        assert wiped._nodes[0].voter is None  # it may have voted since, and does not know


def test_a_wiped_one_stays_an_observer(process: Process) -> None:
    process.host.close()
    process.host = process.wiped()
    assert messages.integer_of(process.meet_as_the_city(0).parts[5]) == 0
    assert process.append(1).kind == "tip"
    assert process.host.height == 1
    process.host.close()
    process.host = process.wiped()
    assert process.host.height == 1
    assert messages.integer_of(process.meet_as_the_city(0).parts[5]) == 0
    assert process.ask("prepare", [messages.integer(2), messages.integer(1)]).kind == "refused"


def test_a_liar_does_not_make_a_wiped_one_vote(tmp_path: Path) -> None:
    """Until when a wiped node observes is in its file, whatever epoch it is told that the city is in."""
    with City.local(nodes=6, validators=4, k=2, n=4) as city:
        city.send(b"in epoch 0")
        city.elect(4)
        city.send(b"in epoch 1")
        node = next(node.id for node in city.nodes() if node.delegate)
        city.move_out(node, tmp_path / "node")
        lists = messages.message("lists", told(city))
        lie = messages.message("meet", [messages.integer(0), b"", b""])
        for votes in (True, False):
            transport = InProcessTransport()
            with NodeHost.open([tmp_path / "node"], listen="inproc:node", transport=transport) as host:
                for body in (lie, lists, *(appended(city, height) for height in (1, 2))):
                    (answer,) = host._handle([Request("inproc:node", body)])
                    assert messages.parse(answer).kind in {"met", "done", "tip"}
                assert (host.height, host.ledger.epoch.number) == (2, 1)
                assert (host._nodes[0].voter is not None) is votes
        assert NodeFile.from_bytes((tmp_path / "node").read_bytes()).observes_until == 1


def test_a_file_that_cannot_be_written_again_costs_the_next_epoch(process: Process) -> None:
    """It says nothing in an epoch of which its file does not tell; a restart goes on."""
    process.city.elect(4)
    handover = process.city._city._handover_to(1)
    assert handover is not None
    moved = process.path.rename(process.path.with_name("moved"))
    process.path.mkdir()
    assert process.append(1).kind == "tip"
    assert process.ask("epoch", [handover.to_bytes()]).kind == "done"
    assert b"cannot be written" in process.meet(1).parts[0]
    process.path.rmdir()
    moved.rename(process.path)
    process.host._transport.close()
    with process.opened(process.storage, InProcessTransport()) as again:
        assert (again.height, again.ledger.epoch.number) == (1, 1)


def test_a_city_s_file_and_that_of_a_process_are_held_apart(process: Process, tmp_path: Path) -> None:
    """Each would write into the other's rows."""
    storage = MemoryStorage()
    with City.local(nodes=4, validators=1, k=2, n=4, storage=storage):
        rows = dict(storage.scan(b""))
        with pytest.raises(InputError, match="the storage is a city's own"):
            process.opened(storage, InProcessTransport())
        assert dict(storage.scan(b"")) == rows
    data = tmp_path / "data.db"
    transport = InProcessTransport()
    NodeHost.open([process.path], data, listen="inproc:node", transport=transport).close()
    for make in (City.open, City.local, City.create):
        with pytest.raises(StorageError, match="what a process of nodes keeps, and no city"):
            make(data)
    NodeHost.open([process.path], data, listen="inproc:node", transport=InProcessTransport()).close()


def test_one_path_is_not_many() -> None:
    with pytest.raises(TypeError, match="files must be a sequence of paths, not one str"):
        NodeHost.open("node.secret")


def test_a_storage_of_another_node_is_refused(process: Process, tmp_path: Path) -> None:
    other = Process.__new__(Process)
    (tmp_path / "other").mkdir()
    Process.__init__(other, tmp_path / "other")
    other.host.close()
    with pytest.raises(InputError, match="another city"):
        NodeHost.open([other.path], listen="inproc:x", storage=process.storage, transport=InProcessTransport())
    other.city.close()


# --- what it is told -------------------------------------------------------------------------------------------------


def test_it_says_who_it_is(process: Process) -> None:
    met = process.meet(0, count=b"count")
    assert records.NodeRecord.from_bytes(met.parts[0]).node == process.node
    assert records.Recipient.from_bytes(met.parts[1]).node == process.node
    assert process.city.keys.digest == met.parts[3]
    assert [messages.integer_of(met.parts[at]) for at in (2, 5, 6)] == [0, 1, 0]
    held = sum(1 for key in process.file.rows if key.startswith(b"f"))
    assert messages.integer_of(met.parts[4]) == held


def test_it_is_taught_and_judges(process: Process) -> None:
    second = process.city.send(b"after it moved out")
    assert process.append(2).kind == "tip"
    assert process.host.height == 0  # not the next one
    assert process.append(1).parts == [messages.integer(1)]
    unknown = process.append(2)  # drawn from a list that it has not been told
    assert unknown.kind == "refused"
    assert b"candidate list" in unknown.parts[0]
    assert process.ask("lists", told(process.city)).kind == "done"
    assert process.append(2).parts == [messages.integer(2)]
    assert process.host.ledger.receipt(second.tx_id) is not None


def test_strangers_on_a_list_are_refused(process: Process) -> None:
    network, name = process.city.network, process.city.settings.name
    roll = list(process.file.roll.items())
    right = [(node, NODE_WEIGHT, domain) for node, domain in roll]
    stranger = records.Identity(bytes(32)).id
    wrong = [
        [*right, (stranger, NODE_WEIGHT, "district 1")],
        [(roll[0][0], NODE_WEIGHT + 1, roll[0][1])],
        [(roll[0][0], NODE_WEIGHT, "district 9")],
    ]
    good = records.Candidates(network, name, right[:4])
    before = process.rows()
    lies = [records.Candidates(network, name, items) for items in wrong]
    lies += [records.Candidates(bytes(32), name, right), records.Candidates(network, "elsewhere", right)]
    for lie in lies:
        assert process.ask("lists", told(process.city, [good, lie])).kind == "refused"
    for parts in ([], [b"?"], told(process.city, []), told(process.city, [good] * 257)):
        assert process.ask("lists", parts).kind == "refused"
    assert process.rows() == before
    assert process.ask("lists", told(process.city, [good])).kind == "done"


def test_lists_that_the_city_did_not_sign_are_refused(process: Process) -> None:
    """Whoever reaches the process could otherwise fill its disk with lists of nodes that are all right."""
    network, name = process.city.network, process.city.settings.name
    right = [(node, NODE_WEIGHT, domain) for node, domain in process.file.roll.items()]
    one, other = (records.Candidates(network, name, right[:count]) for count in (3, 4))
    signature = told(process.city, [one])[0]
    stranger = records.Identity(bytes(32)).sign(lists_words(network, [other]))
    before = process.rows()
    for forged in (b"", bytes(64), signature[:-1], signature, stranger):
        assert process.ask("lists", [forged, other.to_bytes()]).kind == "refused"
    assert process.ask("lists", [signature, one.to_bytes(), other.to_bytes()]).kind == "refused"
    assert process.rows() == before


def test_a_stranger_does_not_keep_a_wiped_one_from_voting_again(process: Process) -> None:
    """Until when it observes it takes from its file and from the city's own word, not from whoever reaches it."""
    process.host.close()
    process.host = process.wiped()
    words = meeting_words(process.city.network, process.node, bytes(32), messages.integer(1 << 63))
    for signature in (b"", bytes(64), records.Identity(bytes(32)).sign(words), as_the_city(process.city, words)):
        assert process.meet(1 << 63, signature=signature).kind == "met"
    assert observes_until(process) == (1 << 64) - 1, "for ever, as long as the city has not said in which epoch it is"
    process.meet_as_the_city(0)
    assert observes_until(process) == 0


def observes_until(process: Process) -> int:
    (row,) = process.host._own.get_many([node_host._node_key(process.index)])
    assert row is not None
    return int.from_bytes(row[33:], "big")


def test_keys_are_taken_if_they_are_certified(process: Process, tmp_path: Path) -> None:
    keys = process.city.keys.to_bytes()
    before = process.rows()
    with City.local(nodes=6, validators=4, k=2, n=4) as other:
        for parts in ([], [keys, keys], [b""], [keys[:-1]], [other.keys.to_bytes()]):
            assert process.ask("keys", parts).kind == "refused"
    damaged = bytearray(keys)
    damaged[len(keys) // 2] ^= 1
    assert process.ask("keys", [bytes(damaged)]).kind == "refused"
    assert process.rows() == before
    assert process.ask("keys", [keys]).kind == "done"


def test_epochs_follow_each_other(process: Process) -> None:
    """The next epoch begins after the last batch of the one before, and only if its handover is certified."""
    process.city.send(b"the last of epoch 0")
    process.city.elect(4)
    handover = process.city._city._handover_to(1)
    assert handover is not None
    for parts in ([], [b""], [handover.to_bytes(), b""], [handover.to_bytes()[:-1]]):
        assert process.ask("epoch", parts).kind == "refused"
    damaged = bytearray(handover.to_bytes())
    damaged[-1] ^= 1
    assert process.ask("epoch", [bytes(damaged)]).kind == "refused"
    assert process.ask("lists", told(process.city)).kind == "done"
    assert process.append(1).kind == "tip"
    assert process.ask("epoch", [handover.to_bytes()]).kind == "done"
    assert process.host.ledger.epoch.number == 0  # it ends after height 2
    assert process.append(2).parts == [messages.integer(2)]
    assert process.host.ledger.epoch.number == 1
    assert process.ask("epoch", [handover.to_bytes()]).kind == "refused"
    process.city.send(b"the first of epoch 1")
    assert process.ask("lists", told(process.city)).kind == "done"
    assert process.append(3).parts == [messages.integer(3)]
    assert process.ask("keys", [process.city.keys.to_bytes()]).kind == "done"


def test_a_disk_that_fails_between_epochs_costs_no_more_than_a_restart(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.city.elect(4)
    handover = process.city._city._handover_to(1)
    assert handover is not None

    def fail() -> None:
        raise StorageError("the disk is full")

    assert process.append(1).kind == "tip"
    monkeypatch.setattr(process.host, "_build", fail)
    assert process.ask("epoch", [handover.to_bytes()]).kind == "done"
    assert process.meet(1).parts == [b"the disk is full"]
    process.host._transport.close()
    with process.opened(process.storage, InProcessTransport()) as again:
        assert (again.height, again.ledger.epoch.number) == (1, 1)


def test_who_moves_out_late_comes_through_all_epochs(tmp_path: Path) -> None:
    with City.local(nodes=6, validators=4, k=2, n=4) as city:
        city.send(b"in epoch 0")
        city.elect(4)
        city.send(b"in epoch 1")
        city.elect(4)
        node = next(node.id for node in city.nodes() if node.delegate)
        city.move_out(node, tmp_path / "node")
        city.send(b"in epoch 2")
        transport = InProcessTransport()
        with NodeHost.open([tmp_path / "node"], listen="inproc:node", transport=transport) as host:
            bodies = [messages.message("lists", told(city))]
            bodies += [appended(city, height) for height in range(1, 4)]
            for body in bodies:
                (answer,) = host._handle([Request("inproc:node", body)])
                assert messages.parse(answer).kind in {"done", "tip"}
            assert (host.height, host.ledger.epoch.number) == (3, 2)
            assert host._nodes[0].voter is not None
            assert host._nodes[0].keeper.keys is not None


def test_hostile_messages_change_nothing(process: Process) -> None:
    dice = random.Random(11)
    kinds = ["lists", "keys", "epoch", "append", "lead", "vote", "prepare", "adopt", "hold", "handover", "unknown"]
    before = process.rows()
    for _ in range(500):
        parts = [dice.randbytes(dice.choice([0, 1, 8, 100])) for _ in range(dice.randrange(5))]
        assert process.ask(dice.choice(kinds), parts).kind in {"refused", "met", "done", "held"}
        (answer,) = process.host._handle([Request("inproc:node", dice.randbytes(dice.randrange(60)))])
        assert messages.parse(answer).kind == "refused"
    bounds = {b"hu0", b"hu1"}
    after = process.rows()
    assert {key: row for key, row in after.items() if key not in bounds} == {
        key: row for key, row in before.items() if key not in bounds
    }
