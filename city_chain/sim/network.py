"""The network of a run and the disks of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from city_chain.errors import InputError

__all__ = ["Network", "Partition", "Slow"]


@dataclass(frozen=True, slots=True)
class Partition:
    """For some time, nodes of different groups do not reach each other; who is in no group is alone.

    Args:
        begin_us: From when.
        end_us: Until when.
        groups: Who still reaches whom.
        holds: Whether what is sent across waits for the end (a reliable transport) or is lost.

    Example:
        >>> Partition(0, 5_000_000, [[0, 1], [2, 3]]).holds
        False
    """

    begin_us: int
    end_us: int
    groups: Sequence[Sequence[int]]
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """A node that takes longer, for some time, to send, to receive and to write.

    Args:
        node: Which.
        begin_us: From when.
        end_us: Until when.
        extra_us: How much longer each takes.

    Example:
        >>> Slow(3, 0, 1_000_000, extra_us=50_000).extra_us
        50000
    """

    node: int
    begin_us: int
    end_us: int
    extra_us: int


@dataclass(frozen=True, slots=True)
class Network:
    """The network and the disks. The default is a data centre: half a millisecond a hop, nothing goes wrong.

    Args:
        latency_us: Between any two nodes; or a matrix, one row for each sender.
        jitter_us: Up to so much is added, drawn for each message.
        loss: Share of messages that never arrive, 0 to 1.
        duplication: Share that arrives twice.
        reordering: Share that arrives up to `late_us` later.
        late_us: How much later, at most.
        calm_us: When loss, duplication and reordering end; None: never.
        partitions: Times in which the network is cut in pieces.
        slow: Times in which nodes are slow.
        holds_for_down: Whether messages for a node that is down wait for it, or are lost.
        write_us: How long a disk takes for the records of one turn.
        write_jitter_us: Up to so much is added, drawn for each write.

    Example:
        >>> Network(latency_us=40_000, loss=0.01, calm_us=2_000_000).jitter_us
        100
        >>> Network.hostile(calm_us=10_000_000).reordering
        0.1
    """

    latency_us: int | Sequence[Sequence[int]] = 450
    jitter_us: int = 100
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    late_us: int = 10_000
    calm_us: int | None = None
    partitions: Sequence[Partition] = ()
    slow: Sequence[Slow] = ()
    holds_for_down: bool = False
    write_us: int = 150
    write_jitter_us: int = 100

    @classmethod
    def exact(cls, latency_us: int) -> Network:
        """Each hop takes exactly so long, and a write nothing: for counting hops.

        Args:
            latency_us: A hop.
        """
        return cls(latency_us=latency_us, jitter_us=0, write_us=0, write_jitter_us=0)

    @classmethod
    def hostile(cls, calm_us: int | None = None) -> Network:
        """A bad one: 1 to 20 ms a hop, and of a hundred messages two get lost, five come twice, ten much later.

        Args:
            calm_us: When that ends.
        """
        return cls(
            latency_us=1_000,
            jitter_us=19_000,
            loss=0.02,
            duplication=0.05,
            reordering=0.1,
            late_us=200_000,
            calm_us=calm_us,
        )

    def _plain(self) -> tuple[object, ...]:
        """As the extension takes it."""
        latency = self.latency_us if isinstance(self.latency_us, int) else [list(row) for row in self.latency_us]
        chances = (
            _ppm("loss", self.loss),
            _ppm("duplication", self.duplication),
            _ppm("reordering", self.reordering),
            self.late_us,
            self.calm_us,
        )
        cuts = [(cut.begin_us, cut.end_us, [list(group) for group in cut.groups], cut.holds) for cut in self.partitions]
        slow = [(one.node, one.begin_us, one.end_us, one.extra_us) for one in self.slow]
        disk = (self.write_us, self.write_jitter_us)
        return (latency, self.jitter_us, chances, cuts, slow, self.holds_for_down, disk)


def _ppm(name: str, share: float) -> int:
    if isinstance(share, bool) or not isinstance(share, int | float):
        raise TypeError(f"{name}: a float is needed, not {type(share).__name__}")
    if not 0 <= share <= 1:
        raise InputError(f"{name}: {share}; a share from 0 to 1 is needed")
    return round(share * 1_000_000)
