"""Sealed sends: to the city, which opens them once they are committed, and to readers, who open them alone."""

from city_chain import City
from city_chain.algorithms.tes import kem
from city_chain.errors import InputError, UnavailableError

with City.local(nodes=20, validators=4) as city:
    # Four delegates, any three of whom open what is sealed to the city; none does before it is committed.
    bids = {name: f"{name} bids {amount}".encode() for name, amount in (("Ada", 31), ("Ben", 42), ("Eve", 17))}
    receipts = {name: city.send(bid, seal="city") for name, bid in bids.items()}
    stored = city.receive_many([receipt.tx_id for receipt in receipts.values()])
    assert not any(b"bids" in transaction.payload for transaction in stored)
    opened = city.receive_payloads([receipt.tx_id for receipt in receipts.values()])
    assert opened == list(bids.values())
    print("committed unread, then opened:", *(bid.decode() for bid in opened), sep="\n  ")

    first, second, *_ = (node for node in city.nodes() if node.delegate)
    city.stop_node(first.id)
    assert city.receive(receipts["Ada"].tx_id) == bids["Ada"]
    city.stop_node(second.id)
    try:
        city.receive(receipts["Ada"].tx_id)
        raise SystemExit("two delegates opened what needs three")
    except UnavailableError as error:
        print(f"two delegates stopped: needed {error.needed}, had {error.had}")
    city.start_node(first.id)

    # Two readers, of whom each has a key of its own. X-Wing holds against quantum computers too.
    ada, ben, eve = (kem.SecretKey.generate() for _ in range(3))
    letter = city.send(b"for the two of you", seal=[ada.public_key, ben.public_key])
    for reader in (ada, ben):
        assert city.receive(letter.tx_id, key=reader) == b"for the two of you"
    try:
        city.receive(letter.tx_id, key=eve)
        raise SystemExit("a stranger's key opened it")
    except InputError as error:
        print(f"with a stranger's key: {str(error)[:60]}…")
