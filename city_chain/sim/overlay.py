"""Overlays of thousands of HyParView and Plumtree nodes in virtual time: what a membership is worth, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Literal, NamedTuple

from city_chain import _native

__all__ = [
    "DETECTIONS",
    "Broadcasts",
    "Crashed",
    "Detection",
    "Eclipse",
    "Fabricated",
    "Healed",
    "Overlay",
    "Returned",
    "Steady",
    "Trees",
    "eclipse",
]

type Detection = Literal["closed connections", "found on send"]
"""How nodes learn that another is gone. Closed connections: whoever has a link to it learns it at once and unasked, as
a kernel tells of a process that died. Found on send: only who sends to it learns it, a round trip later."""

DETECTIONS: tuple[Detection, ...] = ("closed connections", "found on send")

_POLL_SECONDS = 0.1
_THREADS = 2  # each works on a copy of the overlay: 10,000 nodes are some hundred megabytes

type _Seen = Callable[[float], object] | None


class Steady(NamedTuple):
    """An overlay in which nothing happens."""

    components: int
    """Parts that no link joins: 1 if everybody reaches everybody."""
    clustering: float
    """Mean share of pairs of neighbours that are neighbours themselves."""
    shortest_path: float
    """Mean hops between two nodes."""
    degree: float
    """Mean neighbours of a node."""
    in_degree_least: int
    """The fewest views that a node is in."""
    in_degree_most: int
    """The most."""
    passive: float
    """Mean contacts in reserve."""
    symmetric: float
    """Share of links that both ends know of."""
    flood_rmr: float
    """Copies of a flooded message beyond one for each node, per node."""
    flood_last_hop: float
    """Hops until a flooded message is everywhere."""
    messages: float
    """Messages of the membership, per node and cycle, joins included."""
    bytes: float
    """Bytes of these."""


class Crashed(NamedTuple):
    """What is left after a share of all nodes crashed at once."""

    left: int
    """Nodes."""
    draws: int
    """How often it was drawn who crashes: up to ten times where few are left. The rest are means over them."""
    reliability: float
    """Share of those left that a message reaches, some seconds after the crash."""
    components: float
    """Parts that no link joins."""
    alone: float
    """Nodes without a neighbour."""


class Returned(NamedTuple):
    """An overlay that was torn."""

    nodes: int
    """Nodes that are left."""
    components_then: int
    """Parts that it was in, some seconds after the crash or when the network healed."""
    components: int
    """Parts in the end."""
    one_us: int | None
    """Virtual µs until it was one; None if it never was."""


class Eclipse(NamedTuple):
    """What attackers came to."""

    honest: int
    """Honest nodes."""
    attackers: int
    """Attackers."""
    eclipsed: int
    """Honest nodes without an honest neighbour."""
    places: float
    """The attackers' share of places in the active views of honest nodes."""
    largest: int
    """Honest nodes in the largest part that links between honest nodes join."""


class Broadcasts(NamedTuple):
    """Means over broadcasts."""

    sent: int
    """How many were sent."""
    reliability: float
    """Share of nodes that got one."""
    rmr: float
    """Copies beyond one for each node, per node (relative message redundancy)."""
    last_hop: float
    """Hops until it was everywhere."""
    last_us: float
    """Virtual µs until it was everywhere."""
    control: float
    """IHAVE, GRAFT and PRUNE messages per node."""


class Trees(NamedTuple):
    """Broadcasts in a steady overlay."""

    first: Broadcasts
    """The very first: it floods, and so makes the tree."""
    single: Broadcasts
    """Those after it, of the same sender."""
    many: Broadcasts
    """Those after these, each of a sender drawn by chance."""


class Healed(NamedTuple):
    """Broadcasts from a crash on, by one sender that is left."""

    left: int
    """Nodes that are left."""
    first: float
    """Share of them that got the first one, sent at the instant of the crash."""
    last: float
    """Share that got the last one, half a minute later."""
    healed_us: int
    """Virtual µs until the first one from which on all got as far as the last."""
    rmr: float
    """Copies beyond one for each node, per node, over all of them."""


class Fabricated(NamedTuple):
    """A node whose neighbours announce broadcasts that do not exist."""

    announced: int
    """Ids."""
    refused: int
    """Of these, those in messages that the node refused."""
    awaited: int
    """The most ids that it waited for at any time,"""
    seen: int
    """that it remembered as seen,"""
    outbox: int
    """and the most actions that waited to be done."""
    awaited_after: int
    """Ids that it waited for in the end."""
    reached: int
    """Nodes that its next broadcast reached."""


class Overlay:
    """Many nodes that joined one after another and have shuffled for some cycles, ready to be measured.

    The nodes are real machines (`city_chain.algorithms.hvp`) with real messages; only signatures are left out. All hops
    take 10 ms. Each experiment works on a copy: the overlay stays as it is, and one seed gives the same numbers again.

    Args:
        nodes: 2 to 50,000; one takes some ten kilobytes of memory.
        cycles: How many periods of SHUFFLE (10 virtual seconds) pass before anything is measured; at most 10,000.
        seed: All chance.
        on_progress: Called about ten times a second with the share that is done, 0 to 1; it may raise to stop.

    Raises:
        InputError: A number out of range.

    Example:
        >>> overlay = Overlay(nodes=200, cycles=5)
        >>> overlay.steady().components
        1
        >>> overlay.crash(50).reliability > 0.95
        True
    """

    def __init__(self, nodes: int = 10_000, cycles: int = 50, seed: int = 1, *, on_progress: _Seen = None) -> None:
        (self._run,) = _all([lambda watch: _native.SimOverlay(nodes, cycles, seed, watch)], on_progress)
        self.nodes = nodes

    def steady(self) -> Steady:
        """Measures the overlay as it is; paths and floods from 100 nodes.

        Example:
            >>> Overlay(nodes=60, cycles=3).steady().symmetric
            1.0
        """
        measured = dict(self._run.steady())
        whole = ("components", "in_degree_least", "in_degree_most")
        return Steady(**{name: int(value) if name in whole else value for name, value in measured.items()})  # type: ignore[arg-type]

    def crash(self, percent: int, detection: Detection = "closed connections") -> Crashed:
        """Crashes a share of the nodes at once, and measures how many of the others a message reaches soon after.

        With closed connections that is the mean over 100 floods four seconds after the crash. If failures are found on
        send, 50 broadcasts are sent within these seconds, and the mean is over them.

        Args:
            percent: 0 to 99.
            detection: One of `DETECTIONS`.

        Raises:
            InputError: A number out of range, or an unknown detection.

        Example:
            >>> Overlay(nodes=100, cycles=3).crash(30).left
            70
        """
        (row,) = self.crashes([(percent, detection)])
        return row

    def crashes(self, each: Iterable[tuple[int, Detection]], *, on_progress: _Seen = None) -> list[Crashed]:
        """Several of `crash`, side by side.

        Args:
            each: The arguments of each.
            on_progress: As for the overlay.

        Raises:
            InputError: A number out of range, or an unknown detection.

        Example:
            >>> rows = Overlay(nodes=100, cycles=3).crashes((percent, "closed connections") for percent in (10, 20))
            >>> [row.left for row in rows]
            [90, 80]
        """

        def crash(watch: _native.SimWatch, percent: int, detection: Detection) -> Crashed:
            return Crashed(*self._run.crash(percent, detection, watch))

        return _each(crash, each, on_progress)

    def rejoin(self, percent: int = 95, cycles: int = 20, *, on_progress: _Seen = None) -> Returned:
        """Crashes a share of the nodes, when all know eight contacts that survive it; waits until one part is left.

        Args:
            percent: 0 to 99.
            cycles: For how many cycles at most; at most 10,000.
            on_progress: As for the overlay.

        Raises:
            InputError: A number out of range.

        Example:
            >>> Overlay(nodes=200, cycles=3).rejoin(80).components
            1
        """
        return _all([lambda watch: Returned(*self._run.rejoin(percent, cycles, watch))], on_progress)[0]

    def partition(self, cut: int = 10, cycles: int = 20, *, on_progress: _Seen = None) -> Returned:
        """Cuts the network into two halves, heals it, and waits until one part is left.

        Args:
            cut: For how many cycles it is cut; at most 10,000.
            cycles: How many are waited for at most; at most 10,000.
            on_progress: As for the overlay.

        Raises:
            InputError: A number out of range.

        Example:
            >>> Overlay(nodes=100, cycles=3).partition(3).components
            1
        """
        return _all([lambda watch: Returned(*self._run.partition(cut, cycles, watch))], on_progress)[0]

    def trees(self, count: int = 20, *, on_progress: _Seen = None) -> Trees:
        """Sends broadcasts: one, `count` by the same sender, `count` by others.

        Args:
            count: At most 1,000.
            on_progress: As for the overlay.

        Raises:
            InputError: A number out of range.

        Example:
            >>> trees = Overlay(nodes=100, cycles=3).trees(5)
            >>> trees.first.rmr > 1, trees.single.rmr < 0.1, trees.many.reliability
            (True, True, 1.0)
        """
        (made,) = _all([lambda watch: self._run.trees(count, watch)], on_progress)
        return Trees(*(Broadcasts(*means) for means in made))

    def heal(self, each: Iterable[tuple[int, Detection]], *, on_progress: _Seen = None) -> list[Healed]:
        """Makes a tree, crashes a share of the nodes, and goes on sending, twice a second for half a minute.

        Args:
            each: Percent, 0 to 99, and one of `DETECTIONS`.
            on_progress: As for the overlay.

        Raises:
            InputError: A number out of range, or an unknown detection.

        Example:
            >>> row, = Overlay(nodes=100, cycles=3).heal([(30, "closed connections")])
            >>> row.left, row.last
            (70, 1.0)
        """

        def heal(watch: _native.SimWatch, percent: int, detection: Detection) -> Healed:
            return Healed(*self._run.heal(percent, detection, watch))

        return _each(heal, each, on_progress)

    def fabricated(self, count: int = 1_000_000, *, on_progress: _Seen = None) -> Fabricated:
        """All neighbours of one node announce broadcasts that nobody has.

        Args:
            count: How many ids, at most 100,000,000.
            on_progress: As for the overlay.

        Raises:
            InputError: A number out of range.

        Example:
            >>> held = Overlay(nodes=50, cycles=3).fabricated(20_000)
            >>> held.announced, held.awaited <= 10_000, held.awaited_after, held.reached
            (20000, True, 0, 50)
        """
        return _all([lambda watch: Fabricated(*self._run.fabricated(count, watch))], on_progress)[0]


def eclipse(
    nodes: int = 10_000, cycles: int = 50, seed: int = 1, percent: int = 5, *, on_progress: _Seen = None
) -> Eclipse:
    """An overlay to which attackers come when it has settled.

    They know everybody. They take whoever asks, keep asking honest nodes for urgent links, shuffle in each other's
    contacts, answer whatever names contacts with their own, leave links so that these must be replaced, and hand on no
    broadcast.

    Args:
        nodes: 2 to 50,000.
        cycles: For how many cycles they attack; at most 10,000.
        seed: All chance.
        percent: The share of attackers, 0 to 50.
        on_progress: As for `Overlay`.

    Raises:
        InputError: A number out of range.

    Example:
        >>> row = eclipse(nodes=200, cycles=3)
        >>> row.honest, row.attackers, row.eclipsed <= 2
        (190, 10, True)
    """
    return _all([lambda watch: Eclipse(*_native.sim_eclipse(nodes, cycles, seed, percent, watch))], on_progress)[0]


def _each[T](
    call: Callable[[_native.SimWatch, int, Detection], T], each: Iterable[tuple[int, Detection]], on_progress: _Seen
) -> list[T]:
    def of(one: tuple[int, Detection]) -> Callable[[_native.SimWatch], T]:
        return lambda watch: call(watch, *one)

    return _all([of(one) for one in each], on_progress)


def _all[T](calls: Sequence[Callable[[_native.SimWatch], T]], on_progress: _Seen) -> list[T]:
    """Does all of this in threads: the caller can be interrupted, and what runs then ends at its next step."""
    watch = _native.SimWatch()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="city-chain-overlay") as pool:
        futures = [pool.submit(call, watch) for call in calls]
        try:
            left = set(futures)
            while left:
                done, left = wait(left, _POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    future.result()
                if on_progress is not None:
                    steps, total = watch.seen()
                    on_progress(steps / total if total else 0.0)
        except BaseException:
            watch.stop()
            for future in futures:
                future.cancel()
            raise
    return [future.result() for future in futures]
