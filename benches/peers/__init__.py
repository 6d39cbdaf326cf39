"""Each algorithm beside what a Python user would install instead: one file per algorithm, one harness.

``python benches/peers`` runs them all and prints their tables; ``--quick`` runs each thing once, without figures. A
peer that is not installed is named and left out. `benches/report.py` writes the tables into docs/benchmarks.md.
"""

ALGORITHMS = ("ec", "rvh", "vrf", "cbf", "hlc", "tokens", "poh", "pop", "dkg", "bls", "tdh2", "kem", "ml_dsa")
"""The modules here, in the order of the page."""
