"""What holders say that they hold: their inventory filters, remembered for a while, so that R2 asks the right ones.

A filter is a hint. Its *no* puts a holder last, never out: should the others not do, it is asked all the same, so a
filter that lies, or is older than a fragment, costs a round trip and no data. None is fetched on the way of a receive:
they come with health checks and repairs, and, behind a receive, from holders that had not what was asked of them.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from city_chain import records
from city_chain.algorithms import cbf
from city_chain.errors import CityChainError
from city_chain.ports import Clock, Request, Transport
from city_chain.stages import messages
from city_chain.stages.model import Members, Sender

__all__ = ["AGE_MAX_S", "BYTES_MAX", "ENTRY_LEN", "Inventories", "entry", "refresh"]

ENTRY_LEN = 32 + 2
"""Bytes of an entry: tx_id ‖ index."""

BYTES_MAX = 16 << 20
"""The most bytes of one filter: room for seven million fragments."""

TOTAL_BYTES_MAX = 128 << 20
"""The most bytes of all filters that are remembered; the oldest go first."""

AGE_MAX_S = 600.0
"""How long a filter is believed."""

_ROUNDS_MAX = 64
"""How often a node that is still making its filter is asked again in one go."""

_AGAIN_S = 5.0
"""How long a node is not asked again that had not what its filter said."""


def entry(tx_id: bytes, index: int) -> bytes:
    """What a fragment is entered as.

    Example:
        >>> len(entry(bytes(32), 3))
        34
    """
    return tx_id + index.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class _Known:
    filter: cbf.Cuckoo
    height: int
    at: float


class Inventories:
    """The filters of a city's holders. Safe to use from several threads.

    Args:
        clock: Tells how old a filter is.

    Example:
        >>> from city_chain.adapters.clock import ManualClock
        >>> inventories, held = Inventories(ManualClock()), cbf.Cuckoo(10)
        >>> held.insert(entry(bytes(32), 3))
        >>> inventories.learn(b"node", held.to_bytes(), height=7)
        >>> [inventories.denies(b"node", bytes(32), index, height=7) for index in (3, 4)]
        [False, True]
        >>> inventories.denies(b"node", bytes(32), 4, height=8), inventories.denies(b"another", bytes(32), 4, height=7)
        (False, False)
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._bytes = 0
        self._asked: dict[bytes, float] = {}

    def __len__(self) -> int:
        """How many filters are remembered."""
        return len(self._known)

    def learn(self, node: bytes, encoded: bytes, height: int) -> None:
        """Remembers a node's filter.

        Args:
            node: The node's id.
            encoded: What it gave.
            height: The ledger's height before it was asked: of what was committed later the filter says nothing.

        Raises:
            InputError: The bytes are no filter, or too many.
        """
        found = cbf.Cuckoo.from_bytes(encoded[: BYTES_MAX + 1])
        with self._lock:
            self._drop(node)
            self._known[node] = _Known(found, height, self._clock.monotonic())
            self._bytes += found.table_len
            while self._bytes > TOTAL_BYTES_MAX:
                self._drop(next(iter(self._known)))

    def denies(self, node: bytes, tx_id: bytes, index: int, height: int) -> bool:
        """Whether a node says that it certainly does not hold a fragment.

        Args:
            node: The node's id.
            tx_id: The transaction.
            index: The fragment.
            height: The height at which the transaction was committed.
        """
        known = self._known.get(node)
        if known is None or height > known.height:
            return False
        if self._clock.monotonic() >= known.at + AGE_MAX_S:
            self.forget([node])
            return False
        return entry(tx_id, index) not in known.filter

    def forget(self, nodes: Iterable[bytes]) -> None:
        """Drops the filters of some nodes."""
        with self._lock:
            for node in nodes:
                self._drop(node)

    def worth_asking(self, nodes: Iterable[bytes]) -> list[bytes]:
        """Those of some nodes that were not asked a moment ago; they count as asked from now on."""
        now = self._clock.monotonic()
        with self._lock:
            found = [node for node in dict.fromkeys(nodes) if now >= self._asked.get(node, -math.inf) + _AGAIN_S]
            self._asked = {node: at for node, at in self._asked.items() if now < at + _AGAIN_S}
            self._asked.update(dict.fromkeys(found, now))
        return found

    def _drop(self, node: bytes) -> None:
        known = self._known.pop(node, None)
        if known is not None:
            self._bytes -= known.filter.table_len


def refresh(
    inventories: Inventories,
    nodes: Sequence[bytes],
    sender: Sender,
    members: Members,
    transport: Transport,
    height: int,
    deadline: float,
    ends: Callable[[], bool] = bool,
) -> int:
    """Asks nodes for their filters, again while they are still making them; forgets those of nodes that give none.

    Args:
        inventories: Where what they say is remembered.
        nodes: Whom to ask; who is not logged in is left out.
        sender: Who asks.
        members: Where the nodes are.
        transport: Carries the messages.
        height: The ledger's height now.
        deadline: When to give up, on the sender's monotonic clock.
        ends: Whether to give up at once.

    Returns:
        How many gave one.
    """
    left = [node for node in nodes if node in members.addresses]
    learnt = 0
    for _ in range(_ROUNDS_MAX):
        if not left or sender.clock.monotonic() >= deadline or ends():
            break
        asked, left = left, []
        gather = transport.gather(_requests(asked, sender, members, deadline), deadline)
        while gather.pending and sender.clock.monotonic() < deadline:
            for response in gather.take(deadline):
                node = asked[response.ticket]
                try:
                    parts = messages.answer(response.body or b"", "filter")
                    if not parts:
                        left.append(node)
                        continue
                    inventories.learn(node, b"".join(parts), height)
                    learnt += 1
                except CityChainError:
                    inventories.forget([node])
    return learnt


def _requests(nodes: Sequence[bytes], sender: Sender, members: Members, deadline: float) -> list[Request]:
    left_s = max(deadline - sender.clock.monotonic(), 0.0)
    return [
        Request(
            members.addresses[node],
            messages.message(
                "inventory",
                [
                    records.RepairRequest(
                        sender.identity,
                        network=members.epoch.network,
                        node=node,
                        hlc=sender.stamp(),
                        deadline_ms=sender.clock.now_ms() + math.ceil(min(left_s, 60.0) * 1000),
                        items=[],
                    ).to_bytes()
                ],
            ),
        )
        for node in nodes
    ]
