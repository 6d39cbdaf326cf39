"""A run: what is simulated, driving it, and reading it."""

from __future__ import annotations

from collections.abc import Buffer, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from city_chain import _native
from city_chain.errors import InputError
from city_chain.sim.actions import Behaviour
from city_chain.sim.faults import Faults
from city_chain.sim.network import Network

__all__ = ["PROTOCOLS", "TIME_MAX_US", "Limits", "Make", "Simulation", "Workload", "key"]

PROTOCOLS = tuple(_native.simulation_protocols())
"""The protocols that are known by name."""

TIME_MAX_US = 2**63 - 1
"""The end of virtual time."""

_PAGE = 10_000
_REPLAY_CHARS_MAX = 4_000

type Make = Callable[[int, list[bytes]], Behaviour]
"""Makes node number … from the durable records of its disk: at the start (no records), and after each crash."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What the nodes of a protocol are to do.

    Args:
        batch: Bytes of each batch.
        slots: How many slots are decided before the nodes fall silent.
        timeout_us: How long they wait for a leader, where the protocol has one.

    Example:
        >>> Workload(batch=4096).slots
        20
    """

    batch: int = 1024
    slots: int = 20
    timeout_us: int = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a run may become before it counts as one that explodes.

    Args:
        happenings: Deliveries, alarms, finished writes, crashes, restarts.
        queue: How many of them wait at once.
        rows: Rows of the table that are kept; the run goes on without keeping more.
        digest: Whether the digest of everything is taken.

    Example:
        >>> Limits(rows=0, digest=False).happenings
        10000000
    """

    happenings: int = 10_000_000
    queue: int = 1_000_000
    rows: int = 200_000
    digest: bool = True


class Simulation:
    """A run at time 0. Runs of the same arguments are the same, byte for byte.

    A run may be used from one thread at a time. It releases the GIL while it runs, and Ctrl-C interrupts it between two
    happenings: it can go on afterwards.

    Args:
        seed: All chance of the run, 0 to 2**64 - 1.
        nodes: How many nodes, 1 to 4,096.
        protocol: What they run, one of `PROTOCOLS`.
        make: Makes all nodes, in place of a protocol.
        own: Makes some nodes, by their number, in place of those of the protocol.
        adversaries: Nodes whose decisions nobody looks at.
        workload: What the nodes of the protocol are to do.
        network: Latencies and what goes wrong with messages.
        faults: Crashes.
        limits: When a run counts as one that explodes.
        replay: The command that failures print (default: this call).

    Raises:
        InputError: A value out of range, something that does not fit the number of nodes, an unknown protocol, or
            neither a protocol nor `make`.

    Example:
        >>> run = Simulation(1, 4, protocol="dpos", network=Network.exact(1_000), workload=Workload(slots=3))
        >>> run.run()
        'idle'
        >>> run.messages["CCpr"]          # proposals, of which each goes to three others
        (9, 11250)
        >>> sorted(run.decided(3))
        [1, 2, 3]
    """

    def __init__(
        self,
        seed: int,
        nodes: int,
        protocol: str | None = None,
        *,
        make: Make | None = None,
        own: Mapping[int, Make] | None = None,
        adversaries: Iterable[int] = (),
        workload: Workload | None = None,
        network: Network | None = None,
        faults: Faults | None = None,
        limits: Limits | None = None,
        replay: str | None = None,
    ) -> None:
        if (protocol is None) == (make is None):
            raise InputError("simulation: exactly one of protocol and make is needed")
        workload, network = _given("workload", workload, Workload), _given("network", network, Network)
        faults, limits = _given("faults", faults, Faults), _given("limits", limits, Limits)
        makers = dict(own) if own is not None else {}
        if make is not None:
            if not isinstance(nodes, int) or not 0 < nodes <= 4096:
                raise InputError(f"simulation: {nodes!r} nodes, 1 to 4096 are allowed")
            makers = dict.fromkeys(range(nodes), make) | makers
        adversaries = list(adversaries)
        for name, numbers in (("own", makers), ("adversaries", adversaries)):
            strangers = [node for node in numbers if isinstance(node, int) and not 0 <= node < nodes]
            if strangers:
                raise InputError(f"simulation: {name} names node {strangers[0]}; the nodes are 0 to {nodes - 1}")
        if replay is None:
            given: dict[str, object] = {"make": make, "own": own, "adversaries": adversaries, "workload": workload}
            given |= {"network": network, "faults": faults, "limits": limits}
            replay = _call(seed, nodes, protocol, given)
        self._run = _native.SimulationRun(
            seed,
            nodes,
            protocol,
            list(makers.items()),
            adversaries,
            (workload.batch, workload.slots, workload.timeout_us),
            network._plain(),
            faults._plain(),
            (limits.happenings, limits.queue, limits.rows, limits.digest),
            replay,
        )
        self.seed = seed
        self.nodes = nodes
        self.replay = replay

    def run(self, until_us: int = TIME_MAX_US, *, decided: int | None = None) -> Literal["idle", "time", "decided"]:
        """Runs to the end ("idle"), to a time ("time"), or when all have decided so many slots ("decided").

        Of all honest nodes, that is, that decide slots: the coordinator of ``sc`` does not.

        Args:
            until_us: When to stop at the latest.
            decided: How many slots.

        Raises:
            ProtocolError: The run broke a rule or a limit; the message says how to replay it. It goes no further.
            Exception: Whatever a node of one's own raised.
        """
        return self._run.run(until_us, decided)

    def step(self) -> bool:
        """Lets the next thing happen: False if there is none.

        Raises:
            ProtocolError: As `run`.
        """
        return self._run.step()

    def progress(self, slots: int = 1, within_us: int = 10_000_000) -> None:
        """Runs until faults and losses are over; from then on every honest node that decides slots must get on.

        Args:
            slots: How many more slots each must decide. So many must be left: ``abba-same`` and ``abba-split`` have
                one in all, other protocols those of the workload.
            within_us: In how much virtual time.

        Raises:
            ProtocolError: One does not, or the run broke a rule.
            InputError: The network never becomes calm.
        """
        self._run.progress(slots, within_us)

    def inject(self, sender: int, receiver: int, message: Buffer) -> None:
        """Hands a message to the network as if `sender` had sent it.

        Args:
            sender: A node.
            receiver: A node.
            message: The bytes.

        Raises:
            InputError: There is no such node.
        """
        self._run.inject(sender, receiver, message)

    def crash(self, node: int, restart_us: int | None = None, *, wiped: bool = False) -> None:
        """Crashes a node now; one that is down stays as it is.

        Args:
            node: Which.
            restart_us: It comes back so much later; None: never.
            wiped: Whether its disk is empty then.

        Raises:
            InputError: There is no such node.
        """
        self._run.crash(node, restart_us, wiped)

    @property
    def now(self) -> int:
        """Virtual time, µs."""
        return self._run.clock()[0]

    @property
    def happenings(self) -> int:
        """How many happenings there were."""
        return self._run.clock()[1]

    @property
    def next_at(self) -> int | None:
        """When the next thing happens, µs; None if nothing is left."""
        return self._run.clock()[2]

    @property
    def digest(self) -> bytes | None:
        """Binds to every event with all its bytes: equal for equal runs. None if `Limits.digest` is off."""
        return self._run.digest()

    def events(self, start: int = 0) -> list[dict[str, Any]]:
        """The table of events: rows of plain values, for a data frame. The page "Simulator" lists the kinds.

        Args:
            start: The first row that is wanted.

        Returns:
            at (µs), node, kind, peer (None if there is none), number, bytes (how many), digest (16 hexadecimal digits;
            None without bytes).
        """
        return list(self.each_event(start))

    def each_event(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The rows of `events` one by one: for tables that would fill the memory.

        Args:
            start: The first row that is wanted.
        """
        while rows := self._run.rows(start, _PAGE):
            start += len(rows)
            for at, node, kind, peer, number, size, digest in rows:
                yield {
                    "at": at,
                    "node": node,
                    "kind": kind,
                    "peer": peer,
                    "number": number,
                    "bytes": size,
                    "digest": digest,
                }

    @property
    def events_left_out(self) -> int:
        """How many rows more there would be without `Limits.rows`."""
        return self._run.counted()[1]

    @property
    def lost(self) -> int:
        """How many messages did not arrive."""
        return self._run.counted()[2]

    @property
    def messages(self) -> dict[str, tuple[int, int]]:
        """Messages and their bytes by kind, which is the four-letter tag of the record. Each receiver counts."""
        out: dict[str, tuple[int, int]] = {}
        for _, kind, messages, size in self._run.sent():
            had = out.get(kind, (0, 0))
            out[kind] = (had[0] + messages, had[1] + size)
        return out

    def sent(self) -> list[dict[str, Any]]:
        """Messages by node and kind: rows of node, kind, messages, bytes."""
        return [dict(zip(("node", "kind", "messages", "bytes"), row, strict=True)) for row in self._run.sent()]

    def journalled(self) -> list[dict[str, int]]:
        """Records by node: rows of node, records, bytes."""
        return [dict(zip(("node", "records", "bytes"), row, strict=True)) for row in self._run.persisted()]

    def notes(self, node: int, kind: str) -> int:
        """How many rows of a kind a node put into the table itself.

        Args:
            node: Which.
            kind: The kind, as "round".
        """
        return self._run.notes(node, kind)

    def decisions(self) -> list[dict[str, Any]]:
        """What honest nodes decided: rows of slot, value (hexadecimal), node (the first), at (µs)."""
        return [
            {"slot": slot, "value": value.hex(), "node": node, "at": at}
            for slot, value, node, at in self._run.decisions()
        ]

    def decided(self, node: int) -> dict[int, int]:
        """Slot → when a node decided it first, µs.

        Args:
            node: Which.
        """
        return self._run.decided(node)

    def is_up(self, node: int) -> bool:
        """Whether a node runs.

        Args:
            node: Which.

        Raises:
            InputError: There is no such node.
        """
        return self._run.state(node)[0]

    def is_honest(self, node: int) -> bool:
        """Whether checkers look at a node.

        Args:
            node: Which.

        Raises:
            InputError: There is no such node.
        """
        return self._run.state(node)[1]

    def disk(self, node: int) -> list[bytes]:
        """The records that are durable on a node's disk.

        Args:
            node: Which.

        Raises:
            InputError: There is no such node.
        """
        return self._run.disk(node)


def _call(seed: int, nodes: int, protocol: str | None, given: Mapping[str, object]) -> str:
    """The call that makes a run: what is not the default, each argument as Python writes it, none of endless length."""
    parts = [f"seed={seed}", f"nodes={nodes}"] + ([] if protocol is None else [f"protocol={protocol!r}"])
    usual = {"workload": Workload(), "network": Network(), "faults": Faults(), "limits": Limits()}
    for name, value in given.items():
        if value and value != usual.get(name):
            written = repr(value)
            parts.append(f"{name}={written if len(written) <= _REPLAY_CHARS_MAX else '...'}")
    return f"city_chain.sim.Simulation({', '.join(parts)})"


def _given[T](name: str, value: T | None, kind: Callable[[], T]) -> T:
    """The value, or the default where there is none."""
    if value is None:
        return kind()
    if not (isinstance(kind, type) and isinstance(value, kind)):
        raise TypeError(f"{name}: a {getattr(kind, '__name__', kind)} is needed, not {type(value).__name__}")
    return value


def key(protocol: str, seed: int, node: int) -> bytes:
    """The seed of the signing key of a protocol's node, 32 bytes: for an adversary that holds a real key.

    Args:
        protocol: One of `PROTOCOLS`. The nodes of ``hotstuff`` and its variants have the same keys in all runs: what
            is signed in one can be replayed in another.
        seed: The seed of the run.
        node: Which.

    Raises:
        InputError: There is no such protocol.

    Example:
        >>> len(key("dpos", 7, 0))
        32
    """
    return _native.simulation_key(protocol, seed, node)
