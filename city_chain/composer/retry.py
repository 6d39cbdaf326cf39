"""Waiting between attempts: exponential backoff with full jitter.

The wait before attempt `n + 1` is drawn evenly from 0 to min(cap, base * 2^(n - 1)). Source: M. Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015: full jitter needs the fewest calls in all under contention.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["BACKOFF_BASE_S", "BACKOFF_MAX_S", "full_jitter"]

BACKOFF_BASE_S = 0.01
"""Longest first wait of a stage that is tried again, seconds. Our choice: an eighth of a stage's 80 ms budget."""

BACKOFF_MAX_S = 1.0
"""Longest wait of a stage that is tried again, seconds. Our choice: a run's whole budget is below it."""

_DOUBLINGS_MAX = 64


def full_jitter(
    failures: int, base_s: float, max_s: float, left_s: float, draw: Callable[[], float] = random.random
) -> float:
    """How long to wait after `failures` failed attempts, in seconds.

    Args:
        failures: How many attempts have failed, 1 or more.
        base_s: The longest first wait, seconds.
        max_s: The longest wait ever, seconds.
        left_s: The time left until the deadline, seconds; the wait is never longer.
        draw: Gives an even draw from [0, 1).

    Example:
        >>> full_jitter(3, 0.01, 1.0, 60.0, draw=lambda: 0.5)
        0.02
    """
    ceiling = min(max_s, base_s * 2.0 ** min(failures - 1, _DOUBLINGS_MAX))
    return max(0.0, min(ceiling, left_s)) * draw()
