"""The simulator: nodes in virtual time over a network that goes wrong, replayed byte for byte from one seed.

A `Simulation` runs the nodes of a protocol by its name, nodes of your own, or both. One seed makes all chance: the same
seed gives the same run. A run that breaks a rule (two honest nodes decide different values in one slot, nobody gets on)
raises an error that says how to replay it. What happened is a table: `Simulation.events` gives rows of plain values.

- `Network`, `Partition`, `Slow`: latencies, loss, duplicates, reordering, cuts, slow nodes, disks.
- `Faults`, `Crash`, `Storm`: crashes at any step or time, restarts, wiped disks.
- `send`, `broadcast`, `persist`, `wake`, `decide`, `note`: what a node of your own returns from its turn.
- `twins`: HotStuff with validators that run twice, in a hundred thousand scenarios.
- `engines`, `counts`: the commit engines side by side, and their counts beside those that theory gives.
- `Overlay`, `eclipse`: ten thousand nodes of HyParView and Plumtree; `hyparview`, `plumtree`: the papers' tables.
- `aggregates`: what HotStuff's quorum certificates cost, in both of their forms.

Times are virtual microseconds from the start of the run.

Example:
    >>> run = Simulation(seed=7, nodes=4, protocol="dpos", faults=Faults([Crash(2, at_us=3_000, restart_us=9_000)]))
    >>> run.run(decided=20)
    'decided'
    >>> [row["at"] for row in run.events() if row["kind"] == "restart"]
    [12000]
    >>> again = Simulation(seed=7, nodes=4, protocol="dpos", faults=Faults([Crash(2, at_us=3_000, restart_us=9_000)]))
    >>> again.run(decided=20), again.digest == run.digest
    ('decided', True)
"""

from city_chain.sim.actions import Behaviour, broadcast, decide, note, persist, send, wake
from city_chain.sim.aggregates import aggregates
from city_chain.sim.counts import counts
from city_chain.sim.engines import ENGINES, engines
from city_chain.sim.faults import Crash, Faults, Storm
from city_chain.sim.network import Network, Partition, Slow
from city_chain.sim.overlay import (
    DETECTIONS,
    Broadcasts,
    Crashed,
    Eclipse,
    Fabricated,
    Healed,
    Overlay,
    Returned,
    Steady,
    Trees,
    eclipse,
)
from city_chain.sim.overlay_labs import hyparview, plumtree
from city_chain.sim.simulation import PROTOCOLS, Limits, Simulation, Workload, key
from city_chain.sim.twins import TwinsReport, twins

__all__ = [
    "DETECTIONS",
    "ENGINES",
    "PROTOCOLS",
    "Behaviour",
    "Broadcasts",
    "Crash",
    "Crashed",
    "Eclipse",
    "Fabricated",
    "Faults",
    "Healed",
    "Limits",
    "Network",
    "Overlay",
    "Partition",
    "Returned",
    "Simulation",
    "Slow",
    "Steady",
    "Storm",
    "Trees",
    "TwinsReport",
    "Workload",
    "aggregates",
    "broadcast",
    "counts",
    "decide",
    "eclipse",
    "engines",
    "hyparview",
    "key",
    "note",
    "persist",
    "plumtree",
    "send",
    "twins",
    "wake",
]
