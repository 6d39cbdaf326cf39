"""Where the time of one `send` goes: a profile by function, as JSON.

A profile slows Python calls down and native ones not, so shares are to be read, not milliseconds. The city has no file:
the disk's share is seen in the difference of the rows *durable* and *memory* of the page.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats

from city_chain import City
from city_chain.adapters.storage.memory import MemoryStorage

SENDS = 300


def main() -> None:
    """Profiles and prints."""
    with City.local(storage=MemoryStorage()) as city:
        payloads = [os.urandom(4096) for _ in range(SENDS)]
        for payload in payloads[:50]:
            city.send(payload)
        profiler = cProfile.Profile()
        profiler.enable()
        for payload in payloads:
            city.send(payload)
        profiler.disable()
    found = []
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (path, _, name), (_, calls, own, _, _) in stats.items():
        module = path.rpartition("city_chain/")[2].removesuffix(".py").replace("/", ".")
        function = name.strip("<>") if path == "~" else f"{module}: {name}"
        found.append({"function": function, "calls": calls / SENDS, "own_ms": own / SENDS * 1e3})
    found.sort(key=lambda entry: -float(str(entry["own_ms"])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
