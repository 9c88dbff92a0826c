"""Which names a glob covers: ``*`` any run of characters, ``?`` exactly one.

No character classes and no regular expressions: two people must read a rule's
match alike, and matching must stay linear whatever a rule file says.
"""

from __future__ import annotations

from collections.abc import Iterable


def glob_matches(pattern: str, name: str) -> bool:
    """Whether ``name`` fits ``pattern``, in at most len(pattern) * len(name) steps.

    Names never hold ``*``; so ``name`` may be a glob itself, and then True means
    that everything it fits, ``pattern`` fits too (``?`` does not swallow a ``*``).

    Examples
    --------
    >>> glob_matches("check*-eu", "checkout-eu"), glob_matches("a?", "a*")
    (True, False)
    """
    if pattern == "*":
        return True
    at, read, star, resume = 0, 0, -1, 0
    while read < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, read
            at += 1
        elif at < len(pattern) and _fits(pattern[at], name[read]):
            at += 1
            read += 1
        elif star >= 0:
            resume += 1
            at, read = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def _fits(wanted: str, found: str) -> bool:
    return wanted == found or (wanted == "?" and found != "*")


def any_matches(patterns: Iterable[str], name: str | None) -> bool:
    """Whether one of ``patterns`` fits; an unknown name (None) fits only ``*``."""
    if name is None:
        return any(not pattern.strip("*") for pattern in patterns)
    return any(glob_matches(pattern, name) for pattern in patterns)


def covers(general: Iterable[str], special: Iterable[str]) -> bool:
    """Whether every name that ``special`` fits is fitted by ``general`` as well.

    Sound, not complete: True is certain, False may be a cover made of several
    globs together.
    """
    wide = tuple(general)
    return all(any(glob_matches(one, glob) for one in wide) for glob in special)
