"""How long a fan-out waits for nodes: its deadline, a bound on it, and what it leaves to the stages after it."""

from __future__ import annotations

__all__ = ["PATIENCE_MAX_S", "leaving_time"]

PATIENCE_MAX_S = 60.0
"""The longest that a fan-out is waited for, seconds, whatever its deadline."""

_LEFT_SHARE = 0.25
_LEFT_MAX_S = 2.0


def leaving_time(now: float, deadline: float) -> float:
    """When a fan-out gives up, so that the stages after it have time for what did arrive.

    Example:
        >>> leaving_time(100.0, 102.0), leaving_time(100.0, 160.0)
        (101.5, 158.0)
    """
    return deadline - min(max(deadline - now, 0.0) * _LEFT_SHARE, _LEFT_MAX_S)
