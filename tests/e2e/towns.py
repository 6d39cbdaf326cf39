"""A city whose storage and packets are seen: for tests of what is sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.ports import Handler, Request
from city_chain.stages import messages

# Six holders: whichever four nodes are stopped, k of them stay.
SETTINGS: dict[str, Any] = {"nodes": 10, "validators": 4, "k": 2, "n": 6, "districts": 2}
THRESHOLD = 3  # of 4 delegates

type Change = Callable[[str, records.Message, bytes], bytes]
"""What a node answers instead: its address, what it was asked, what the honest answer would be."""


class Kept(MemoryStorage):
    """A memory that outlives the cities on it."""

    def close(self) -> None:
        pass


class Tapped(InProcessTransport):
    """Keeps every packet, there and back; answers may be changed on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.change: Change = lambda _address, _asked, honest: honest

    def serve(self, handler: Handler, address: str | None = None) -> str:
        def tapped(requests: Sequence[Request]) -> Sequence[bytes]:
            answers = [
                self.change(request.address, messages.parse(request.body), answer)
                for request, answer in zip(requests, handler(requests), strict=True)
            ]
            self.packets += [request.body for request in requests] + answers
            return answers

        return super().serve(tapped, address)


class Town:
    """A city whose storage and packets are seen."""

    def __init__(self, storage: Kept | None = None, **settings: Any) -> None:
        self.storage = storage or Kept()
        self.transport = Tapped()
        self.city = City.local(storage=self.storage, transport=self.transport, **(SETTINGS | settings))

    @property
    def delegates(self) -> list[Any]:
        return [node for node in self.city.nodes() if node.delegate]

    @contextmanager
    def without(self, nodes: Iterable[Any]) -> Iterator[None]:
        """While these nodes are stopped."""
        stopped = list(nodes)
        for node in stopped:
            self.city.stop_node(node.id)
        yield
        for node in stopped:
            self.city.start_node(node.id)

    def ask(self, node: Any, tx_id: bytes, capsule: bytes, requester: records.Identity | None = None) -> bytes:
        """What a node answers to who asks for its decryption share."""
        city = self.city._city
        request = records.RepairRequest(
            requester or city.sender.identity,
            network=self.city.network,
            node=node.id,
            hlc=city.sender.stamp(),
            deadline_ms=city.clock.now_ms() + 10_000,
            items=[(tx_id, 0)],
        )
        body = messages.message("open", [request.to_bytes(), capsule])
        return self.transport.request(node.address, body, city.clock.monotonic() + 10)

    def refusal(self, node: Any, tx_id: bytes, capsule: bytes) -> str:
        """Why a node gives no share."""
        (part,) = messages.answer(self.ask(node, tx_id, capsule), "shares", 1)
        why = messages.reason_of(part)
        assert why is not None, "a share was given"
        return why

    def __enter__(self) -> Town:
        return self

    def __exit__(self, *_: object) -> None:
        self.city.close()


def capsule_of(transaction: records.Transaction) -> bytes:
    sealed = records.Sealed.of(transaction)
    assert sealed is not None
    assert sealed.capsule is not None
    return sealed.capsule
