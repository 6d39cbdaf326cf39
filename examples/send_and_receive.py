"""A city in a file: send, receive, verify offline, lose nodes, repair."""

import tempfile
from pathlib import Path

from city_chain import City, Receipt, Trust

with tempfile.TemporaryDirectory() as folder:
    where = Path(folder)
    data = Path(__file__).read_bytes()
    with City.local(where / "city.db", nodes=20, validators=4, k=6, n=10) as city:
        receipt = city.send(data)
        city.settle()  # the last fragments arrive behind the receipt
        (where / "mail.receipt").write_bytes(receipt.to_bytes())
        (where / "city.trust").write_bytes(city.trust.to_bytes())
        print(f"sent {len(data)} bytes as {receipt.tx_id.hex()[:16]}…, durable: {city.durable}")

    # Who has the receipt and the trust anchor needs no city to check it. A single wrong bit would raise.
    kept = Receipt.from_bytes((where / "mail.receipt").read_bytes())
    kept.verify(Trust.from_bytes((where / "city.trust").read_bytes()))
    print(f"verified offline: batch {kept.header.height}, {len(kept.availability.holders)} holders acknowledged")

    with City.open(where / "city.db") as city:
        holders = [node for node in city.nodes() if node.fragments and not node.delegate]
        for node in holders[:3]:
            city.stop_node(node.id)
        print(f"three holders stopped: {city.health().summary()}")
        assert city.receive(kept.tx_id) == data
        report = city.repair()
        print(f"{report}\nafterwards: {city.health().summary()}")
        assert report.fragments == 3
        assert city.health().counts["whole"] == 1
        assert city.receive(kept.tx_id) == data
