"""ABBA across the boundary: agreements and common subsets in any order of messages, journals, certificates."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_chain.algorithms import abba
from city_chain.algorithms.tes import coin, dkg
from city_chain.errors import InputError, ProtocolError, VerificationError
from city_chain.records import Identity

pytestmark = pytest.mark.ffi

CHAIN, EPOCH, INSTANCE = bytes([1]) * 32, 2, bytes([3]) * 32
IDENTITIES = [Identity.child(bytes(32), b"abba", place) for place in range(4)]
COMMITTEE = [(identity.id, 1) for identity in IDENTITIES]
FAULTS = 1


def make_coin() -> tuple[coin.Coin, list[dkg.SecretShare]]:
    setup = dkg.Setup("coin", threshold=FAULTS + 1, parties=4, context=b"abba test")
    made = [dkg.deal(setup, dealer) for dealer in range(1, 5)]
    deals = [deal for deal, _ in made]
    public = dkg.public_keys(setup, deals)
    secrets = [dkg.finalize(setup, i + 1, deals, [own[i] for _, own in made])[0] for i in range(4)]
    return coin.Coin(FAULTS + 1, public.group_key, public.shares), secrets


COIN, SECRETS = make_coin()


def one(place: int) -> abba.Abba:
    return abba.Abba(CHAIN, EPOCH, INSTANCE, COMMITTEE, IDENTITIES[place])


def subset(place: int) -> abba.Subset:
    return abba.Subset(CHAIN, EPOCH, INSTANCE, COMMITTEE, IDENTITIES[place])


class Net:
    """Parties, messages on their way in any order, and coins of shown shares."""

    def __init__(self, machines: dict[int, abba.Abba | abba.Subset], choose: Callable[[int], int]) -> None:
        self.machines, self.choose = machines, choose
        self.flying: list[tuple[int, int, bytes]] = []
        self.disks: dict[int, list[bytes]] = {place: [] for place in machines}
        self.shares: dict[tuple[int, int], dict[int, bytes]] = {}
        self.outputs: dict[int, list[tuple[int, bytes]]] = {}
        self.kinds: set[str] = set()

    def carry_out(self, place: int) -> None:
        machine = self.machines[place]
        while effects := machine.drain():
            for kind, number, round_number, data in effects:
                self.kinds.add(kind)
                if kind == "persist":
                    self.disks[place].append(data)
                    machine.durable(number)
                elif kind == "send":
                    self.flying.append((place, number, data))
                elif kind == "broadcast":
                    self.flying.extend((place, to, data) for to in range(4) if to != place)
                elif kind == "coin":
                    of = (number, round_number) if isinstance(machine, abba.Subset) else (0, number)
                    self.ask(place, of)
                elif kind == "validate":
                    assert isinstance(machine, abba.Subset)
                    machine.payload_result(number, data.startswith(b"good"))
                elif kind == "output":
                    assert isinstance(machine, abba.Subset)
                    output = machine.output
                    assert output is not None
                    assert len(output) == number
                    self.outputs[place] = output
                    machine.confirm(bytes([len(output)]) * 32)

    def ask(self, place: int, of: tuple[int, int]) -> None:
        name = coin.Name(CHAIN, EPOCH, INSTANCE + of[0].to_bytes(2, "little"), of[1])
        shown = self.shares.setdefault(of, {})
        shown[place] = COIN.share(SECRETS[place], name)
        if len(shown) <= FAULTS:
            return
        bit = COIN.combine(name, list(shown.values())).bit
        for other in list(shown):
            machine = self.machines[other]
            if isinstance(machine, abba.Subset):
                machine.coin_result(of[0], of[1], bit)
            else:
                machine.coin_result(of[1], bit)
            if other != place:
                self.carry_out(other)

    def run(self) -> None:
        for place in self.machines:
            self.carry_out(place)
        while self.flying:
            sender, to, message = self.flying.pop(self.choose(len(self.flying)))
            if to in self.machines:
                self.machines[to].handle(sender, message)
                self.carry_out(to)


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.lists(st.booleans(), min_size=4, max_size=4),
    silent=st.none() | st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_any_schedule_of_one_agreement(inputs: list[bool], silent: int | None, seed: int) -> None:
    machines: dict[int, abba.Abba | abba.Subset] = {place: one(place) for place in range(4) if place != silent}
    for place, machine in machines.items():
        machine.input(inputs[place])  # type: ignore[arg-type]
    net = Net(machines, random.Random(seed).randrange)
    net.run()
    decided = {machine.decided for machine in machines.values()}
    held = {inputs[place] for place in machines}
    assert len(decided) == 1
    assert decided <= held
    assert all(machine.halted for machine in machines.values() if isinstance(machine, abba.Abba))
    assert {"persist", "broadcast", "coin", "decided", "halted"} <= net.kinds


@settings(max_examples=15, deadline=None)
@given(silent=st.none() | st.integers(0, 3), seed=st.integers(0, 2**32))
def test_any_schedule_of_a_common_subset(silent: int | None, seed: int) -> None:
    machines: dict[int, abba.Abba | abba.Subset] = {place: subset(place) for place in range(4) if place != silent}
    for place, machine in machines.items():
        machine.input(b"good %d" % place)  # type: ignore[arg-type]
    net = Net(machines, random.Random(seed).randrange)
    net.run()
    [first, *others] = net.outputs.values()
    assert len(net.outputs) == len(machines)
    assert all(other == first for other in others)
    assert len(first) >= 3
    assert all(payload == b"good %d" % proposer for proposer, payload in first)
    for machine in machines.values():
        assert isinstance(machine, abba.Subset)
        certificate = machine.certificate
        assert certificate is not None
        certificate.verify(COMMITTEE)
        assert abba.Certificate.from_bytes(certificate.to_bytes()) == certificate
        assert (certificate.chain_id, certificate.epoch, certificate.instance) == (CHAIN, EPOCH, INSTANCE)
        assert len(certificate.signers) >= 3
        with pytest.raises(VerificationError, match="signature"):
            certificate.verify([(key, 2) for key, _ in COMMITTEE])
        with pytest.raises(VerificationError, match="no party"):
            certificate.verify(COMMITTEE[:1])


def test_a_proposal_that_is_not_good_does_not_come_out() -> None:
    machines: dict[int, abba.Abba | abba.Subset] = {place: subset(place) for place in range(4)}
    for place, machine in machines.items():
        machine.input(b"bad" if place == 2 else b"good")  # type: ignore[arg-type]
    net = Net(machines, random.Random(1).randrange)
    net.run()
    assert {tuple(output) for output in net.outputs.values()} == {((0, b"good"), (1, b"good"), (3, b"good"))}


def test_a_machine_comes_back_from_its_records() -> None:
    machines: dict[int, abba.Abba | abba.Subset] = {place: one(place) for place in range(4)}
    for machine in machines.values():
        machine.input(True)  # type: ignore[arg-type]
    net = Net(machines, random.Random(5).randrange)
    net.run()
    parts = (CHAIN, EPOCH, INSTANCE, COMMITTEE, IDENTITIES[0])
    again = abba.Abba.restore(*parts, net.disks[0])
    assert (again.decided, again.halted, again.me) == (True, True, 0)
    assert ("decided", 1, 0, b"") in again.drain()
    shorter = abba.Abba.restore(*parts, net.disks[0][:1])
    assert (shorter.round, shorter.decided) == (0, None)
    from_snapshot = abba.Abba.restore(*parts, [again.snapshot()])
    assert from_snapshot.decided is True
    with pytest.raises(InputError, match="goes on after"):
        abba.Abba.restore(*parts, net.disks[0][1:])
    with pytest.raises(InputError, match="another agreement or party"):
        abba.Abba.restore(CHAIN, EPOCH + 1, INSTANCE, COMMITTEE, IDENTITIES[0], net.disks[0])


def test_nothing_is_said_before_its_record_is_durable() -> None:
    machine = one(0)
    machine.input(False)
    [(kind, ticket, _, _)] = machine.drain()
    assert (kind, machine.drain()) == ("persist", [])
    machine.resend()
    assert {kind for kind, *_ in machine.drain()} <= {"persist"}
    with pytest.raises(InputError, match="not handed out"):
        machine.durable(ticket + 7)
    machine.durable(ticket)
    assert [kind for kind, *_ in machine.drain()] == ["broadcast"]
    with pytest.raises(InputError, match="one input"):
        machine.input(False)
    with pytest.raises(InputError, match="not asked for"):
        machine.coin_result(0, True)


def test_a_seed_is_as_good_as_an_identity() -> None:
    # RFC 8032, section 7.1, test 1
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert abba.Abba(CHAIN, EPOCH, INSTANCE, [(public, 5)], seed).me == 0
    with pytest.raises(InputError, match="not of the committee"):
        abba.Abba(CHAIN, EPOCH, INSTANCE, COMMITTEE, seed)
    with pytest.raises(TypeError):
        abba.Abba(CHAIN, EPOCH, INSTANCE, COMMITTEE, 7)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(sender=st.integers(0, 5), data=st.binary(max_size=200), at=st.integers(0, 107), flip=st.integers(0, 255))
def test_hostile_bytes_change_nothing(sender: int, data: bytes, at: int, flip: int) -> None:
    machine, set_machine, other = one(0), subset(0), one(1)
    other.input(True)
    [(_, ticket, _, _)] = other.drain()
    other.durable(ticket)
    [(_, _, _, message)] = other.drain()
    wrong = bytearray(message)
    wrong[at % len(wrong)] ^= flip
    before = machine.snapshot(), set_machine.snapshot()
    for target in (machine, set_machine):
        for bad in (data, bytes(wrong)):
            if bad != message:
                with pytest.raises((InputError, ProtocolError, VerificationError)):
                    target.handle(sender, bad)
    assert (machine.snapshot(), set_machine.snapshot()) == before
    assert machine.drain() == []
