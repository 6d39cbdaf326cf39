"""What a city tells about itself."""

from __future__ import annotations

import pytest

from city_chain.adapters.storage.memory import MemoryStorage
from city_chain.adapters.storage.namespaced import NamespacedStorage
from city_chain.levels import City
from city_chain.stages import messages


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 6, 7, 169, 4096])
def test_a_repair_counts_the_bytes_that_it_placed(size: int) -> None:
    storage = MemoryStorage()
    with City.local(nodes=12, validators=4, k=6, n=8, storage=storage) as city:
        receipt = city.send(b"x" * size)
        delegates = {node.id for node in city.nodes() if node.delegate}
        ordinary = [node for _, node in receipt.availability.holders if node not in delegates]
        for node in ordinary[:2]:
            city.stop_node(node)
        report = city.repair()
        assert (report.repaired, report.fragments) == (1, 2)
        rows = NamespacedStorage(storage, b"h").scan(b"n")
        placed = {
            (key[6:38], int.from_bytes(key[38:40], "big"), key[1:5]): len(messages.answer(row, "held", 2)[1])
            for key, row in rows
            if key[5:6] == b"f"
        }
        sizes = set(placed.values())
        assert len(sizes) == 1
        assert report.size == 2 * sizes.pop()
