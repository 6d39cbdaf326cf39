"""The ledger of a city: the certificate of the last append is at hand, every other is read, and both are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_chain import City
from city_chain.node.ledger import Ledger

pytestmark = pytest.mark.e2e


def test_certificates_of_the_last_batch_and_of_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    batch = Ledger.batch

    def noted(ledger: Ledger, height: int) -> object:
        read.append(height)
        return batch(ledger, height)

    monkeypatch.setattr(Ledger, "batch", noted)
    with City.local(tmp_path / "city.db", nodes=8, validators=4, k=2, n=4) as city:
        sent = {height: city.send(b"%d" % height) for height in (1, 2, 3)}
        ledger = city._city.ledger
        assert read == [], "delegates that keep up read no batch"
        found = {height: ledger.certificate(height) for height in sent}
        assert read == [1, 2]
        assert found == {height: receipt.certificate for height, receipt in sent.items()}
        assert ledger.certificate(4) is None
    read.clear()
    with City.open(tmp_path / "city.db") as city:
        assert {height: city._city.ledger.certificate(height) for height in sent} == found
        assert 3 in read
