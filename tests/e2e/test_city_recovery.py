"""Opening a city first carries on with what the delegates had accepted, and only then with what waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_chain import City, records
from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.transport.inprocess import InProcessTransport
from city_chain.errors import CityChainError, VerificationError
from city_chain.ports import Handler, Request
from city_chain.stages import messages

pytestmark = pytest.mark.e2e


class Kept(MemoryStorage):
    def close(self) -> None:
        pass


class Mute:
    """A transport's way to serve: while `votes_lost`, delegates accept and journal batches, and nobody hears of it."""

    def __init__(self) -> None:
        self.transport = InProcessTransport()
        self.votes_lost = True
        serve = self.transport.serve

        def muted(handler: Handler, address: str | None = None) -> str:
            def answer(burst: Sequence[Request]) -> Sequence[bytes]:
                answers = handler(burst)
                lost = [self.votes_lost and messages.parse(request.body).kind == "vote" for request in burst]
                return [b"" if gone else said for gone, said in zip(lost, answers, strict=True)]

            return serve(answer, address)

        self.transport.serve = muted  # type: ignore[method-assign]


def opened(storage: Kept, transport: InProcessTransport | None = None) -> City:
    return City.local(storage=storage, transport=transport, engine="dpos", nodes=6, validators=4, k=2, n=4)


def numbered_0(city: City, payload: bytes) -> records.Transaction:
    """A transaction with the first number, as another process made it that did not send it."""
    sender = city._city.sender
    return records.Transaction(sender.identity, network=city.network, sequence=0, hlc=sender.stamp(), payload=payload)


@pytest.mark.parametrize("accepted_is_first", [True, False])
def test_what_was_accepted_comes_before_what_has_the_same_number(accepted_is_first: bool) -> None:
    """Two transactions of one number are certified, and the delegates have accepted a batch with one of them.

    It is that one which is finished, and the other which is given up, in whatever order the journal has them.
    """
    storage, mute = Kept(), Mute()
    with opened(storage, mute.transport) as city:
        pair = sorted((numbered_0(city, b"one"), numbered_0(city, b"two")), key=lambda made: made.tx_id)
        accepted, other = pair if accepted_is_first else reversed(pair)
        for transaction in (accepted, other):
            with pytest.raises(CityChainError):
                city.send(transaction, deadline_s=0.3)
        pending = city._city.journal.pending()
        assert [item.transaction.tx_id for item in pending] == [transaction.tx_id for transaction in pair]
        assert all(item.certificate is not None for item in pending)
        assert city.height == 0
    with opened(storage) as city:
        recovery = city.recovery
        assert [receipt.tx_id for receipt in recovery.finished] == [accepted.tx_id]
        assert set(recovery.failed or {}) == {other.tx_id}
        assert isinstance((recovery.failed or {})[other.tx_id], VerificationError)
        assert not recovery.pending
        assert city.receive(accepted.tx_id) == accepted.payload
        assert city.height == 1
        city.send(b"later").verify(city.trust)
    with opened(storage) as city:
        assert str(city.recovery) == "0 sends finished, 0 given up, 0 pending"
        assert accepted.tx_id in set(city.tx_ids())
        assert other.tx_id not in set(city.tx_ids())
