"""Records read as lines, or as single events where none of them holds a line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import isfinite

from detector.checks import problem_of
from detector.events import Latency
from detector.groups import light
from detector.groups.light import RECORD as LIGHT_RECORD
from detector.groups.lines import (
    RECORD,
    LatencyLine,
    Line,
    Whole,
    full,
    key_of,
    shape_of,
    told_by,
)


def unsound(lines: Sequence[Line]) -> list[int]:
    """Which lines are not to be counted here, or not at all, whatever their shape.

    Their numbers contradict each other, or it takes more than them to count.
    """
    found = [i for i, e in enumerate(lines) if e.seq is not None and e.sender is None]
    found += [
        i
        for i, e in enumerate(lines)
        if e.outcomes is not None
        and e.count is not None
        and sum(e.outcomes.values()) > e.count
    ]
    found += [
        i
        for i, e in enumerate(lines)
        if e.duration_ms is not None and (e.window_s or e.count is not None)
    ]
    found += [
        i
        for i, e in enumerate(lines)
        if type(e) is LatencyLine and not _is_histogram(e)
    ]
    return found


def _is_histogram(line: LatencyLine) -> bool:
    if line.exponential is not None:
        bare = Latency(
            ts=0,
            service="a",
            release="a",
            bounds_ms=line.bounds_ms,
            counts=line.counts,
            exponential=line.exponential,
        )
        return problem_of(bare, names=False, nul=False) is None
    bounds = tuple(line.bounds_ms)
    return len(line.counts) == len(bounds) + 1 and _are_bounds(bounds)


@lru_cache(maxsize=1024)
def _are_bounds(bounds_ms: tuple[float, ...]) -> bool:
    rising = all(low < high for low, high in pairwise((-1e-9, *bounds_ms)))
    return rising and all(map(isfinite, bounds_ms))


def read_sound(value: bytes) -> list[Whole] | None:
    """The events of one record if it consists of lines and all of them are sound."""
    lines = light.members_of(value, RECORD)
    if lines is None or unsound(lines):
        return None
    found: list[Whole] = []
    for line in lines:
        shape = shape_of(key_of(line), told_by(line))
        if shape is None:
            return None
        found.append(full(line, shape))
    return found


def read_many(values: Sequence[bytes | None]) -> list[Line | list[Line] | None]:
    """One result a record; an object stands alone. Any of them may be unsound."""
    together = light.read_together(values, RECORD)
    return light.each_of(values, RECORD) if together is None else together


def read_singles(
    values: Sequence[bytes | None],
) -> list[light.Light | list[light.Light] | None] | None:
    """The records as single events; None if one of them holds lines that are not."""
    together = light.read_together(values, LIGHT_RECORD)
    if together is not None:
        return together
    found: list[light.Light | list[light.Light] | None] = []
    for value in values:
        (part,) = light.each_of((value,), LIGHT_RECORD)
        if part is None and value and light.members_of(value, RECORD) is not None:
            return None
        found.append(part)
    return found
