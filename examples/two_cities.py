"""Two cities, and transactions that touch both: each is done in both cities or in neither.

    python examples/two_cities.py

Prints what was committed, what was aborted and why, and that the receipt proves everything to somebody who has only
the trust.
"""

from __future__ import annotations

from city_chain.levels.cross_receipt import AbortedError, CrossReceipt, WorldTrust
from city_chain.levels.crossing import Step
from city_chain.levels.world import World

ACCOUNTS = {"north": [b"ann"], "south": [b"ben"]}


def main() -> None:
    """Sends three: one is done, one is refused, one is done after all."""
    with World.local(["north", "south"], nodes=8, k=2, n=4) as world:
        receipt = world.send(b"ann gives 10 to ben", ACCOUNTS)
        kept, trust = receipt.to_bytes(), world.trust.to_bytes()
        assert world.version(b"ben", city="south") > 0
        print(
            f"committed in {len(receipt.certificates)} cities; ben is at version {world.version(b'ben', city='south')}"
        )

        def meanwhile(step: Step) -> None:
            """While the next one is on its way to its home city, another changes ben's account."""
            if step.name == "home":
                world.watch(None)
                world.send(b"ben gives 1 to charity", {"south": [b"ben"]})

        world.watch(meanwhile)
        try:
            world.send(b"ann gives 20 to ben", ACCOUNTS)
        except AbortedError as error:
            print(f"aborted in both: {error.city} refused it: {error.why}")
        assert world.pending() == []
        world.send(b"ann gives 20 to ben, again", ACCOUNTS)
        print(world.health())

    # Somewhere else, later, without a city:
    CrossReceipt.from_bytes(kept).verify(WorldTrust.from_bytes(trust))
    print("the receipt is right")


if __name__ == "__main__":
    main()
