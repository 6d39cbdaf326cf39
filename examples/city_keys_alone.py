"""A city's keys: a receipt made small, and other delegates under the same public key."""

from city_chain import City

with City.local(nodes=20, validators=4) as city:
    keys = city.keys
    print(f"{keys.threshold} of {len(keys.delegates)} delegates together sign and decrypt for the city")

    # One signature of the city stands for the votes of a quorum; the trust anchor has the key that it is checked with.
    receipt = city.send(b"hello, city")
    small = city.compress(receipt)
    small.verify(city.trust)
    print(f"receipt: {len(receipt.to_bytes())} bytes; compressed: {len(small.to_bytes())} bytes")

    # The delegates change; the keys are handed on, and what was proven stays proven.
    epoch = city.elect(7)
    assert city.keys.signing_key == keys.signing_key
    print(f"epoch {epoch.number}: {city.keys.threshold} of {len(city.keys.delegates)}, under the same public key")
    small.verify(city.trust)
    assert city.receive(receipt.tx_id) == b"hello, city"
    print("what was sent before is still there, and proven")
