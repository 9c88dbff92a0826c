"""Histograms of many lines as one for each layout, as if they were added in turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from detector.durations import EXPLICIT, SINGLE_SCALE, ZERO, Histogram, single_bucket
from detector.evidence.types import IntArray
from detector.groups.lines import LatencyLine, Line

Layout = tuple[int, tuple[float, ...]]
"""Scale and bounds of a histogram."""

FEW = 8
"""Fewer histograms are added number by number."""

_Part = tuple[int, list[int], list[int]]
"""Index of the first bucket, counts of it and those after it, indices of others."""


def histograms(
    lines: Sequence[Line], cell_of: Sequence[int]
) -> list[tuple[int, Histogram]]:
    """By cell and layout, in the order of the first line that counts something.

    Buckets come in the order in which the lines bring them.
    """
    parts: dict[tuple[int, Layout], list[_Part]] = {}
    for line, cell in zip(lines, cell_of, strict=True):
        found = _part_of(line)
        if found is not None:
            layout, part = found
            parts.setdefault((cell, layout), []).append(part)
    return [
        (cell, Histogram(scale, bounds, _added(several)))
        for (cell, (scale, bounds)), several in parts.items()
    ]


def _part_of(line: Line) -> tuple[Layout, _Part] | None:
    """What a line brings; None if that is nothing."""
    if line.duration_ms is not None:
        place = single_bucket(line.duration_ms)
        return (SINGLE_SCALE, ()), (place, [1], [])
    if type(line) is not LatencyLine:
        return None
    if line.exponential is None:
        if not any(line.counts):
            return None
        return (EXPLICIT, tuple(line.bounds_ms)), (0, line.counts, [])
    own = line.exponential
    if not own.zero_count and not any(own.positive.counts):
        return None
    zero = [own.zero_count] if own.zero_count else []
    return (own.scale, ()), (own.positive.offset, own.positive.counts, zero)


def _added(parts: Sequence[_Part]) -> dict[int, float]:
    """Sums by bucket; what a part says of zeros comes last in it."""
    if len(parts) < FEW:
        return _added_in_turn(parts)
    runs = list(chain.from_iterable((counts, zero) for _, counts, zero in parts))
    begins = list(chain.from_iterable((first, ZERO) for first, _, _ in parts))
    sizes = np.array([len(counts) for counts in runs])
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    index: IntArray = np.repeat(np.array(begins, dtype=np.int64), sizes) + within
    counts = np.array(list(chain.from_iterable(runs)), dtype=np.float64)
    there = counts > 0
    found, first, number = np.unique(
        index[there], return_index=True, return_inverse=True
    )
    sums = np.bincount(number, weights=counts[there])
    order = np.argsort(first)
    return dict(zip(found[order].tolist(), sums[order].tolist(), strict=True))


def _added_in_turn(parts: Sequence[_Part]) -> dict[int, float]:
    sums: dict[int, float] = {}
    for first, counts, zero in parts:
        for index, count in chain(enumerate(counts, first), ((ZERO, n) for n in zero)):
            if count:
                sums[index] = sums.get(index, 0.0) + count
    return sums
