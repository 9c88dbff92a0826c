"""Series and times as they are written in tests of rules.

Series are those of promtool's rule tests, but counts of each interval, never running
totals: ``a+bxn`` is a, a+b, ... a+n*b; ``a-bxn`` goes down; ``axn`` is a and n more of
it; ``_`` is nothing, ``_xn`` n times nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from detector.rulefile.errors import Place, Report
from detector.rulefile.kinds import INVALID, SHOWN_MAX, Kind, Schema, refuse
from detector.rulefile.yamltree import Node, Scalar

INTERVALS_MAX = 100_000
"""A week of 10 s intervals fits; a slip of the pen does not fill memory."""

VALUE_MAX = 1e9

_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?)"
_PART = re.compile(
    rf"(?P<first>{_NUMBER})(?:(?P<step>[+-]{_NUMBER}))?(?:x(?P<more>[0-9]{{1,9}}))?"
)
_NOTHING = re.compile(r"_(?:x(?P<times>[0-9]{1,9}))?")
_TIME = re.compile(
    r"(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?"
)
_SECONDS = (86_400, 3_600, 60, 1)
TIME_PATTERN = r"^(?:0|(?=[0-9])(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?)$"
SERIES_WORDS = 'a series such as "600x59" or "6+2x10 _x3"'

Values = tuple[float | None, ...]
"""A number, or nothing, for each interval."""


class NotationError(ValueError):
    """What is wrong with a text: offset in it, width, message and the fix."""

    def __init__(self, offset: int, width: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.offset, self.width, self.message, self.hint = offset, width, message, hint


def parse_series(text: str) -> Values:
    """Read a series.

    Raises
    ------
    NotationError
        With the place of the part that can not be read.

    Examples
    --------
    >>> parse_series("10+5x2 _x2 7x1")
    (10.0, 15.0, 20.0, None, None, 7.0, 7.0)
    """
    found: list[float | None] = []
    for word in re.finditer(r"\S+", text):
        part = _part(word)
        if len(found) + len(part) > INTERVALS_MAX:
            raise _wrong(
                word, f"more than {INTERVALS_MAX} intervals", "use a longer interval"
            )
        found += part
    if not found:
        raise NotationError(0, 1, "an empty series", f"write {SERIES_WORDS}")
    return tuple(found)


def _part(word: re.Match[str]) -> list[float | None]:
    nothing = _NOTHING.fullmatch(word[0])
    if nothing:
        times = int(nothing["times"] or 1)
        if not times:
            raise _wrong(word, "nothing, no times at all", "remove it, or write _")
        return [None] * min(times, INTERVALS_MAX + 1)
    part = _PART.fullmatch(word[0])
    if part is None:
        raise _wrong(
            word,
            f"{word[0][:SHOWN_MAX]!r} is no part of a series",
            "write a, axn, a+bxn, a-bxn, _ or _xn, parts separated by spaces",
        )
    first, step = float(part["first"]), float(part["step"] or 0)
    if part["step"] and not part["more"]:
        raise _wrong(
            word, f"{word[0]!r} does not say how often", f"write {word[0]}x10 or so"
        )
    more = min(int(part["more"] or 0), INTERVALS_MAX)
    last = first + step * more
    if last < 0:
        raise _wrong(
            word, f"falls to {last:g}", "counts are not negative: fewer steps, or less"
        )
    if max(first, last) > VALUE_MAX:
        raise _wrong(word, f"more than {VALUE_MAX:g}", "write a smaller number")
    return [first + step * at for at in range(more + 1)]


def _wrong(word: re.Match[str], message: str, hint: str) -> NotationError:
    return NotationError(word.start(), len(word[0]), message, hint)


def parse_time(text: str) -> int | None:
    """Seconds since the beginning, or None where the text is no time.

    Examples
    --------
    >>> parse_time("1h30m"), parse_time("90s"), parse_time("0"), parse_time("soon")
    (5400, 90, 0, None)
    """
    if text == "0":
        return 0
    found = _TIME.fullmatch(text)
    if not text or found is None:
        return None
    parts = zip(found.groups(), _SECONDS, strict=True)
    return sum(int(number) * unit for number, unit in parts if number)


def shown_time(seconds: float) -> str:
    """A time as it is written in tests.

    Examples
    --------
    >>> shown_time(5400), shown_time(0), shown_time(692)
    ('1h30m', '0s', '11m32s')
    """
    left, text = int(seconds), ""
    for name, unit in zip("dhms", _SECONDS, strict=True):
        number, left = divmod(left, unit)
        text += f"{number}{name}" if number else ""
    return text or "0s"


@dataclass(frozen=True)
class Series(Kind):
    """Counts of each interval."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Scalar) or node.value is None:
            return refuse(node, path, report, SERIES_WORDS)
        try:
            return parse_series(node.raw)
        except NotationError as error:
            start = node.place.column + node.quoted + error.offset
            at = Place(node.place.line, start, error.width)
            report.add(at, f"{path}: {error.message}", error.hint)
            return INVALID

    def schema(self) -> Schema:
        return {"type": ["string", "number"]}

    def words(self) -> str:
        return SERIES_WORDS


@dataclass(frozen=True)
class Time(Kind):
    """Seconds since the beginning of a test, at least ``least``."""

    least: int = 0
    most: int = 90 * 86_400

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Scalar) or node.value is None:
            return refuse(node, path, report, self.words())
        seconds = parse_time(node.raw)
        if seconds is None:
            hint = f"write {self.words()}"
            if node.raw.isdigit():
                hint = f"with its unit: {node.raw}s or {node.raw}m"
            message = f"{path}: {node.raw[:SHOWN_MAX]!r} is no time"
            report.add(node.place, message, hint)
            return INVALID
        if not self.least <= seconds <= self.most:
            low, high = shown_time(self.least), shown_time(self.most)
            message = f"{path}: {node.raw[:SHOWN_MAX]} is out of range"
            report.add(node.place, message, f"from {low} to {high}")
            return INVALID
        return seconds

    def schema(self) -> Schema:
        return {"type": ["string", "integer"], "pattern": TIME_PATTERN}

    def words(self) -> str:
        return "a time such as 90s, 10m or 1h30m"
