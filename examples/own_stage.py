"""A stage of one's own between S2 and S3: it keeps a register of every fragment that leaves."""

from collections.abc import Sequence

from city_chain import City
from city_chain.composer import stage
from city_chain.pipelines import SENDING
from city_chain.stages.model import Dispersal

register: dict[bytes, int] = {}


@stage(inputs=("dispersals",), output="dispersals", budget_ms=5)
def s2_register(dispersals: Sequence[Dispersal]) -> Sequence[Dispersal]:
    """Writes hashes and sizes down and hands the fragments on as they are: holders check them against the hashes."""
    for dispersal in dispersals:
        size = memoryview(dispersal.fragments[0]).nbytes
        register.update(dict.fromkeys(dispersal.hashes, size))
    return dispersals


sending = SENDING.insert(s2_register, after="s2_encode")
print(" > ".join(sending.order))

with City.local(nodes=20, validators=4, k=6, n=10) as city:
    city.use(sending)
    city.watch(lambda event: print(f"  {event.stage:12} {event.took_ms:7.3f} ms of {event.budget_ms:.0f}"))
    receipt = city.send(b"a letter that is registered")
    city.watch(None)
    print(f"{len(register)} fragments of {sum(register.values())} bytes registered")
    assert list(register) == receipt.availability.fragment_hashes
    assert city.receive(receipt.tx_id) == b"a letter that is registered"
