"""Errors as a person at a terminal can use them: short, with what to do where the command line has something to do it.

What happened stands first. Of a long list of reasons the first are shown.
"""

from __future__ import annotations

import os

from city_chain.errors import CityChainError

__all__ = ["brief", "reason", "why"]

_CHARACTERS_MAX = 240
"""About how much of a message is shown; a list of reasons is cut between two of them, and the first is always there."""

_STOPPED = "city-chain nodes shows which nodes are stopped, nodes --start ID starts one"
_READERS = "give the secret key file of one of them with --key FILE; city-chain inspect FILE shows a key file's id"
_OLDER = "a newer trust anchor may have it: ask whoever runs the city"
_OPEN = "the next command that opens the city finishes it, or reports it"


def reason(error: CityChainError | OSError) -> str:
    """An error in one line or two, with the file that it is about.

    Example:
        >>> reason(FileNotFoundError(2, "No such file or directory", "letter.txt"))
        'letter.txt: No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror and not isinstance(error, CityChainError):
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return why(error)


def why(error: CityChainError | OSError) -> str:
    """What to say of an error where the file is named already: what it is, whether its end is open yet, what to do.

    Example:
        >>> why(FileNotFoundError(2, "No such file or directory", "letter.txt"))
        'No such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = str(error) or type(error).__name__
    whose = "is sealed to readers" in message or "it is not for the key" in message  # then every reader is named
    parts = [message if whose else brief(message)]
    parts += [note for note in getattr(error, "__notes__", ()) if not note.startswith("in stage ")]
    if any("journalled" in note for note in parts[1:]):
        parts.append(_OPEN)
    if whose:
        parts.append(_READERS)
    if "is not among the trusted ones" in message or "no key of the city is known" in message:
        parts.append(_OLDER)
    if "logged in" in str(error):
        parts.append(_STOPPED)
    return "; ".join(parts)


def brief(message: str) -> str:
    """A message without the end of a long list of reasons.

    Example:
        >>> brief("needed 8, had 0 (fragment 0: refused; fragment 1: refused)")
        'needed 8, had 0 (fragment 0: refused; fragment 1: refused)'
        >>> brief("needed 99, had 0 (" + "; ".join(f"fragment {at}: refused" for at in range(99)) + ")")[-25:]
        '; fragment 9: refused; …)'
    """
    if len(message) <= _CHARACTERS_MAX:
        return message
    end = message.rfind("; ", 0, _CHARACTERS_MAX)
    if end < 0:
        end = message.find("; ")
    if not 0 <= end <= 2 * _CHARACTERS_MAX:
        return message[:_CHARACTERS_MAX] + " …"
    kept = message[:end]
    return f"{kept}; …" + ")" * (kept.count("(") - kept.count(")"))
