"""``city-chain demo``: real files over twenty nodes, damaged, restored, proven.

===========  ========================================================
file         what
===========  ========================================================
`files`      which files, reading them, comparing what came back
`figures`    times of stages, the table at the end
`play`       the acts and the verdict
`proof`      the second process, which has only receipts and anchor
===========  ========================================================
"""

from city_chain.cli.demo.play import Demo, Plan, run

__all__ = ["Demo", "Plan", "run"]
