"""Checks shared by the composer: names, numbers, and how a refused value is shown.

A wrong type is a `TypeError`, a wrong value an `InputError`. Names may be any printable text, because drawings escape
them; control characters, line breaks and lone surrogates are refused here, once, for everybody.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable

from city_chain.errors import InputError

__all__ = ["NAME_LENGTH_MAX", "check_count", "check_instant", "check_name", "check_names", "check_seconds", "shown"]

NAME_LENGTH_MAX = 128
"""Longest stage, value or pipeline name, in characters: a name is a label that must fit a drawing."""

_SHOWN_LENGTH_MAX = 96


def shown(value: object) -> str:
    """A short `repr` of anything, for error messages; never raises and never grows with the value.

    Example:
        >>> shown("x" * 1000) == "'xxxxxxxxxxxx...xxxxxxxxxxxxx'"
        True
    """
    try:
        text = reprlib.repr(value)
    except Exception:  # a hostile __repr__ must not replace the error that is being built
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN_LENGTH_MAX else text[: _SHOWN_LENGTH_MAX - 3] + "..."


def check_name(value: object, what: str) -> str:
    """Returns `value` if it is a usable name.

    Args:
        value: What was given as the name.
        what: How an error message calls it, for example "stage name".

    Raises:
        TypeError: It is not a `str`.
        InputError: It is empty, longer than 128 characters, or holds what cannot be printed.

    Example:
        >>> check_name("s1_select", "stage name")
        's1_select'
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if not 1 <= len(value) <= NAME_LENGTH_MAX:
        raise InputError(f"{what} has {len(value)} characters; it must have 1 to {NAME_LENGTH_MAX}")
    if not value.isprintable() or value.isspace():
        raise InputError(f"{what} is {shown(value)}; it must be printable text on one line")
    return value


def check_names(values: object, what: str, count_max: int) -> tuple[str, ...]:
    """Returns `values` as a tuple of usable names.

    Raises:
        TypeError: It is no iterable of `str`, or it is one `str` (write `("name",)`).
        InputError: There are more than `count_max`, or one is not usable.

    Example:
        >>> check_names(["a", "b"], "input name", 8)
        ('a', 'b')
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{what}s must be a sequence of str, not {type(values).__name__}")
    names: list[str] = []
    for value in values:
        if len(names) == count_max:
            raise InputError(f"there are more than {count_max} {what}s")
        names.append(check_name(value, what))
    return tuple(names)


def check_seconds(value: object, what: str, *, low: float = 0.0, above: bool = False) -> float:
    """Returns `value` as a finite float of at least (`above`: more than) `low`.

    Raises:
        TypeError: It is not an int or float.
        InputError: It is NaN, infinite or too small.

    Example:
        >>> check_seconds(3, "timeout")
        3.0
    """
    number = _check_number(value, what)
    if not math.isfinite(number) or number < low or (above and number == low):
        raise InputError(f"{what} is {shown(value)}; it must be a finite number {'above' if above else 'from'} {low:g}")
    return number


def check_instant(value: object, what: str) -> float:
    """Returns `value` as an instant of `time.monotonic`, in seconds; None and infinity mean never.

    Raises:
        TypeError: It is not None, an int or a float.
        InputError: It is NaN.

    Example:
        >>> check_instant(None, "deadline")
        inf
    """
    if value is None:
        return math.inf
    number = _check_number(value, what)
    if math.isnan(number):
        raise InputError(f"{what} is nan; it must be an instant of time.monotonic() in seconds, or None")
    return number


def check_count(value: object, what: str, low: int, high: int) -> int:
    """Returns `value` if it is an int from `low` to `high`.

    Raises:
        TypeError: It is not an int (a bool is none).
        InputError: It is out of range.

    Example:
        >>> check_count(3, "retries", 0, 100)
        3
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise InputError(f"{what} is {shown(value)}; it must be from {low} to {high}")
    return value


def _check_number(value: object, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int or float, not {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
