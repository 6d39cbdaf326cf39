"""ABBA alone: two processes with two parties each agree on a bit over TCP, by a common coin that none knows ahead.

Every party is a thread with a socket of its own. It gives its machine the bytes that come in, sends what the machine
wants sent, keeps its journal in a file before anything that rests on it goes out, and shows its share of a coin when
the machine asks for one. Parties begin with different bits; all end with the same.
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from city_chain.algorithms import abba
from city_chain.algorithms.tes import coin, dkg
from city_chain.records import Identity

PARTIES, FAULTS = 4, 1
CHAIN, EPOCH, INSTANCE = bytes(32), 1, b"is block 7 in?".ljust(32)
IDENTITIES = [Identity.child(bytes(32), b"abba example", place) for place in range(PARTIES)]
COMMITTEE = [(identity.id, 1) for identity in IDENTITIES]
MESSAGE, SHARE = b"m", b"s"


def name(round_number: int) -> coin.Name:
    """Which coin a round has."""
    return coin.Name(CHAIN, EPOCH, INSTANCE, round_number)


class Party(threading.Thread):
    """One party: a machine, its journal, and sockets to the others."""

    def __init__(self, me: int, bit: bool, common: coin.Coin, secret: dkg.SecretShare, folder: Path, ports: list[int]):
        super().__init__(daemon=True)
        self.me, self.common, self.secret, self.ports = me, common, secret, ports
        self.machine = abba.Abba(CHAIN, EPOCH, INSTANCE, COMMITTEE, IDENTITIES[me])
        self.journal = (folder / f"journal-{me}").open("wb")
        self.inbox: queue.Queue[tuple[int, bytes]] = queue.Queue(10_000)
        self.out: dict[int, socket.socket] = {}
        self.shares: dict[int, dict[int, bytes]] = {}
        self.asked: set[int] = set()
        self.bit = bit

    def run(self) -> None:
        """Goes on until all others can decide without this party."""
        self.machine.input(self.bit)
        self.carry_out()
        while not self.machine.halted:
            sender, frame = self.inbox.get(timeout=30)
            if frame[:1] == MESSAGE:
                self.machine.handle(sender, frame[1:])
            elif frame[:1] == SHARE:
                self.shares.setdefault(int.from_bytes(frame[1:5], "little"), {})[sender] = frame[5:]
            self.toss()
            self.carry_out()

    def carry_out(self) -> None:
        """Does what the machine wants done, in its order."""
        while effects := self.machine.drain():
            for kind, number, _, data in effects:
                if kind == "persist":
                    self.journal.write(len(data).to_bytes(4, "little") + data)
                    self.journal.flush()
                    os.fsync(self.journal.fileno())
                    self.machine.durable(number)
                elif kind == "broadcast":
                    self.broadcast(MESSAGE + data)
                elif kind == "coin":
                    self.asked.add(number)
                    share = self.common.share(self.secret, name(number))
                    self.shares.setdefault(number, {})[self.me] = share
                    self.broadcast(SHARE + number.to_bytes(4, "little") + share)
                    self.toss()

    def toss(self) -> None:
        """Tells the machine what the coins show that it asked for, as far as enough shares are here."""
        for number in sorted(self.asked):
            shares = list(self.shares.get(number, {}).values())
            if len(shares) > FAULTS:
                self.machine.coin_result(number, self.common.combine(name(number), shares).bit)
                self.asked.discard(number)

    def broadcast(self, frame: bytes) -> None:
        """Sends to every other party."""
        for place in range(PARTIES):
            if place != self.me:
                if place not in self.out:
                    self.out[place] = connect(self.ports[place])
                    self.out[place].sendall(bytes([self.me]))
                self.out[place].sendall(len(frame).to_bytes(4, "little") + frame)


def connect(port: int) -> socket.socket:
    """A connection, as soon as somebody listens there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def listen(server: socket.socket, party: Party) -> None:
    """Hands on what comes in. Who is who is said here and not proved: the machine checks the signatures."""
    while True:
        connection, _ = server.accept()
        threading.Thread(target=receive, args=(connection, party), daemon=True).start()


def receive(connection: socket.socket, party: Party) -> None:
    """Hands on the frames of one connection."""
    with connection, connection.makefile("rb") as stream:
        sender = stream.read(1)
        while len(head := stream.read(4)) == 4:
            length = int.from_bytes(head, "little")
            if length > 65_536:
                return
            party.inbox.put((sender[0], stream.read(length)))


def process(places: list[int], folder: Path) -> None:
    """One process: its parties, each a thread. Prints what each decided."""
    ports = [int(port) for port in (folder / "ports").read_text().split()]
    group, *publics = [bytes.fromhex(line) for line in (folder / "public").read_text().split()]
    parties = []
    for place in places:
        secret = dkg.SecretShare.from_bytes((folder / f"secret-{place}").read_bytes())
        common = coin.Coin(FAULTS + 1, group, publics)
        party = Party(place, place % 2 == 0, common, secret, folder, ports)
        server = socket.create_server(("127.0.0.1", ports[place]))
        threading.Thread(target=listen, args=(server, party), daemon=True).start()
        parties.append(party)
    for party in parties:
        party.start()
    for party in parties:
        party.join(60)
        print(party.me, party.machine.decided, party.machine.round, flush=True)
    sys.stdin.read()  # the others may still need what is on its way


def free_ports() -> list[int]:
    """Ports that nobody uses."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(PARTIES)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def main() -> None:
    """Makes the keys of the coin, starts both processes and compares what was decided."""
    setup = dkg.Setup("coin", threshold=FAULTS + 1, parties=PARTIES, context=b"abba example")
    made = [dkg.deal(setup, dealer) for dealer in range(1, PARTIES + 1)]
    deals = [deal for deal, _ in made]
    public = dkg.public_keys(setup, deals)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "ports").write_text(" ".join(map(str, free_ports())))
        (folder / "public").write_text("\n".join(key.hex() for key in (public.group_key, *public.shares)))
        for place in range(PARTIES):
            secret, _ = dkg.finalize(setup, place + 1, deals, [own[place] for _, own in made])
            (folder / f"secret-{place}").write_bytes(secret.to_bytes())
        command = [sys.executable, __file__, str(folder)]
        children = [
            subprocess.Popen(  # noqa: S603 - this program itself
                [*command, *places], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for places in (["0", "1"], ["2", "3"])
        ]
        lines = [[child.stdout.readline() for _ in range(2)] for child in children if child.stdout]
        for child in children:
            child.communicate("", timeout=30)
    decided = {line.split()[1] for pair in lines for line in pair}
    for pair in lines:
        for line in pair:
            place, bit, _ = line.split()
            print(f"party {place}, process {int(place) // 2}: began with {int(place) % 2 == 0}, decided {bit}")
    assert decided in ({"True"}, {"False"}), decided
    print("all four decided the same")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        process([int(place) for place in sys.argv[2:]], Path(sys.argv[1]))
    else:
        main()
