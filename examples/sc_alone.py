"""Sharding alone: two shards in two processes, and transactions that both of them do or none, over TCP on loopback."""

import socket
import socketserver
import subprocess
import sys
import threading
from typing import BinaryIO

from city_chain.algorithms import sc
from city_chain.errors import CityChainError
from city_chain.records import Identity

CHAIN = b"\x07" * 32
TIMEOUT_S = 20


def committee(shard: int) -> list[Identity]:
    """The four members of a shard's committee; in earnest they are four machines."""
    return [Identity.child(bytes([shard]) * 32, b"member", at) for at in range(4)]


LAYOUT = sc.Layout(CHAIN, 0, [(shard, [(member.id, 1) for member in committee(shard)]) for shard in (1, 2)])


def write(stream: BinaryIO, *frames: bytes) -> None:
    """A message: how many frames, then each with its length first."""
    parts = [frame for body in frames for frame in (len(body).to_bytes(4, "little"), body)]
    stream.write(len(frames).to_bytes(4, "little") + b"".join(parts))
    stream.flush()


def read(stream: BinaryIO) -> list[bytes]:
    """The frames of a message."""

    def number() -> int:
        return int.from_bytes(stream.read(4), "little")

    return [stream.read(number()) for _ in range(number())]


class Shard:
    """A shard whose consensus orders commands as they come."""

    def __init__(self, number: int) -> None:
        self.machine = sc.Participant(number, LAYOUT)
        self.members = committee(number)
        self.journal = [self.machine.snapshot()]
        self.lock = threading.Lock()

    def order(self, command: bytes) -> list[bytes]:
        """Carries a command out; what the shard says comes back as certificates."""
        said: list[bytes] = []
        with self.lock:
            try:
                self.machine.on_local_commit(sc.Command.from_bytes(command))
            except CityChainError as error:
                print(f"shard {self.machine.shard} refuses: {error}")
            while effects := self.machine.drain():
                for effect in map(sc.Effect._make, effects):
                    if effect.kind == "persist":
                        self.journal.append(effect.data)  # in earnest: to disk, synced
                        self.machine.durable(effect.number)
                    elif effect.kind == "say":
                        statement = sc.Statement.from_bytes(effect.data)
                        signatures = [(at, statement.sign(member)) for at, member in enumerate(self.members[:3])]
                        said.append(sc.Certificate(LAYOUT, statement, signatures).to_bytes())
        return said

    def answer(self, kind: bytes, body: bytes) -> list[bytes]:
        """Answers a request: a command, or the version of a key, or how a transaction ended."""
        if kind == b"order":
            return self.order(body)
        if kind == b"version":
            return [self.machine.version(body).to_bytes(8, "little")]
        return [(self.machine.end_of(body) or "").encode()]


def serve(shard: Shard) -> socketserver.ThreadingTCPServer:
    """Serves a shard in threads, on a free port."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = TIMEOUT_S

        def handle(self) -> None:
            kind, body = read(self.rfile)
            write(self.wfile, *shard.answer(kind, body))

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ask(port: int, kind: bytes, body: bytes) -> list[bytes]:
    """One request, one answer."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection, connection.makefile("rwb") as stream:
        write(stream, kind, body)
        return read(stream)


def drive(ports: dict[int, int], manifest: sc.Manifest) -> str | None:
    """Drives a transaction to its end; whoever comes along could do it, at any time."""
    heard: list[sc.Certificate] = []
    for _ in range(8):
        coordinator = sc.Coordinator(manifest, heard, [LAYOUT])
        if coordinator.finished:
            return coordinator.outcome
        for shard, command in coordinator.next():
            said = ask(ports[shard], b"order", command.to_bytes())
            heard += map(sc.Certificate.from_bytes, said)
    raise AssertionError("the transaction did not end")


def main() -> None:
    """Shard 1 here, shard 2 in a process of its own; one transaction commits, one aborts."""
    command = [sys.executable, __file__, "2"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 it is this file
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        ports = {1: serve(Shard(1)).server_address[1], 2: int(child.stdout.readline())}
        keys = {LAYOUT.shard_of(bytes([at] * 32)): bytes([at] * 32) for at in range(20)}
        stale = {shard: int.from_bytes(ask(ports[shard], b"version", keys[shard])[0], "little") for shard in ports}

        inputs = [(shard, keys[shard], stale[shard]) for shard in ports]
        first = sc.Manifest(CHAIN, LAYOUT.since, b"\x01" * 32, 100, inputs)
        outcome = drive(ports, first)
        print(f"first: {outcome}")
        assert outcome == "committed"

        # Its version of the key of shard 2 is that of before: shard 2 refuses, and shard 1 lets go.
        fresh = int.from_bytes(ask(ports[1], b"version", keys[1])[0], "little")
        second = sc.Manifest(CHAIN, LAYOUT.since, b"\x02" * 32, 100, [(1, keys[1], fresh), (2, keys[2], stale[2])])
        outcome = drive(ports, second)
        print(f"second: {outcome}")
        assert outcome == "aborted"
        assert [ask(ports[shard], b"end", first.txid) for shard in (1, 2)] == [[b"committed"], [b"committed"]]
        assert [ask(ports[shard], b"end", second.txid) for shard in (1, 2)] == [[b"aborted"], [b"refused"]]
    finally:
        child.stdin.close()  # the child ends with its input
        child.stdout.close()
        child.wait(TIMEOUT_S)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        server = serve(Shard(int(sys.argv[1])))
        print(server.server_address[1], flush=True)
        sys.stdin.read()
