"""Histograms of durations: what arrives, merged without losing what it can say.

Senders choose their own buckets. Of a histogram only the records above one of its own
bucket edges can be counted exactly, so cells keep each layout apart, and a comparison
uses edges that nearly all records of both arms know. Intervals are half-open, the
upper edge included, as OpenTelemetry has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct, field

from detector.events import ExponentialHistogram, Latency
from detector.evidence.types import FloatArray

LAYOUTS_MAX = 4
"""Layouts kept apart in one cell; records of further ones are counted as unread."""

SINGLE_SCALE = 3
"""Buckets of single durations: ratio 2**(1/8), 9 %. Larger: finer and more of them."""

KNOWN_MIN = 0.8
"""Share of an arm's records that must know an edge for it to be used."""

ZERO = -(1 << 31)
"""Index of durations of zero in an exponential layout: below every edge."""

EXPLICIT = 1 << 16
"""In place of a scale: the layout has explicit bounds."""

_DUST = 1e-3


class Histogram(Struct, array_like=True):
    """Counts in one layout, only buckets that hold something.

    Bucket i of explicit ``bounds_ms`` holds ``(bounds[i-1], bounds[i]]``, of an
    exponential ``scale`` it holds ``(b**i, b**(i+1)]`` with ``b = 2**(2**-scale)``.
    """

    scale: int
    bounds_ms: tuple[float, ...] = ()
    counts: dict[int, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """All records."""
        return math.fsum(self.counts.values())

    def same_layout(self, other: Histogram) -> bool:
        """Whether the buckets are the same."""
        return self.scale == other.scale and self.bounds_ms == other.bounds_ms

    def edges_ms(self) -> list[float]:
        """Finite edges at and between the occupied buckets, ascending."""
        if self.scale == EXPLICIT:
            return [edge_id(bound) for bound in self.bounds_ms]
        places = {i for i in self.counts if i != ZERO}
        return [
            edge_id(edge)
            for i in sorted(places | {i + 1 for i in places})
            if 0.0 < (edge := _power(i, self.scale)) < math.inf
        ]

    def above(self, edges_ms: Sequence[float]) -> list[float]:
        """Records above each edge; NaN where the layout does not know the edge."""
        at = {edge: i for i, edge in enumerate(self.edges_ms(), start=1)}
        return [
            math.nan
            if (first := self._first_above(edge, at)) is None
            else math.fsum(n for i, n in self.counts.items() if i >= first)
            for edge in edges_ms
        ]

    def _first_above(self, edge_ms: float, at: dict[float, int]) -> int | None:
        if self.scale == EXPLICIT:
            return at.get(edge_ms)
        place = math.ldexp(math.log2(edge_ms), self.scale)
        nearest = round(place)
        return nearest if edge_id(_power(nearest, self.scale)) == edge_ms else None


class Durations(Struct, array_like=True):
    """Durations of one release in one stratum, layouts kept apart."""

    parts: list[Histogram] = field(default_factory=list)
    unread: float = 0.0

    @property
    def total(self) -> float:
        """All records whose layout is kept."""
        return math.fsum(part.total for part in self.parts)

    def add(self, histogram: Histogram) -> None:
        """Add a histogram to the part with its layout."""
        for part in self.parts:
            if part.same_layout(histogram):
                for i, count in histogram.counts.items():
                    part.counts[i] = part.counts.get(i, 0.0) + count
                return
        if len(self.parts) >= LAYOUTS_MAX:
            self.unread += histogram.total
            return
        counts = dict(histogram.counts)
        self.parts.append(Histogram(histogram.scale, histogram.bounds_ms, counts))

    def absorb(self, other: Durations) -> None:
        """Add all of the other's records."""
        for part in other.parts:
            self.add(part)
        self.unread += other.unread

    def decay(self, factor: float) -> None:
        """Make the past count less; layouts no longer in use disappear."""
        for part in self.parts:
            scaled = ((i, n * factor) for i, n in part.counts.items())
            part.counts = {i: n for i, n in scaled if n > _DUST}
        self.parts = [part for part in self.parts if part.counts]

    def edges_ms(self) -> list[float]:
        """Edges that some layout knows, ascending."""
        return sorted({edge for part in self.parts for edge in part.edges_ms()})

    def above(self, edges_ms: Sequence[float]) -> tuple[FloatArray, FloatArray]:
        """Records above each edge, and the records of layouts that know the edge.

        Returns
        -------
        above, known : arrays of shape (edges,)
        """
        above, known = np.zeros(len(edges_ms)), np.zeros(len(edges_ms))
        for part in self.parts:
            found = np.array(part.above(edges_ms), dtype=np.float64)
            there = np.isfinite(found)
            above += np.where(there, found, 0.0)
            known += np.where(there, part.total, 0.0)
        return above, known

    def well_known(self, known: FloatArray) -> np.ndarray:
        """Which edges nearly all records know, from the second result of `above`."""
        total = self.total + self.unread
        return (known > 0) & (known >= KNOWN_MIN * total)


def together(several: Iterable[Durations]) -> Durations:
    """The records of several cells as one."""
    total = Durations()
    for one in several:
        total.absorb(one)
    return total


def histogram_of(event: Latency) -> Histogram | None:
    """The histogram of a latency record, None if it holds none that can be read.

    Explicit bounds must ascend, with one count more than bounds.

    Examples
    --------
    >>> from detector.events import Latency
    >>> line = Latency(
    ...     ts=0, service="s", release="1", bounds_ms=[10.0, 20.0], counts=[5, 3, 1]
    ... )
    >>> histogram_of(line).above([10.0, 20.0])
    [4.0, 1.0]
    """
    if event.exponential is not None:
        return _exponential(event.exponential)
    bounds = tuple(float(bound) for bound in event.bounds_ms)
    ascending = all(a < b for a, b in pairwise(bounds))
    if not bounds or not ascending or len(event.counts) != len(bounds) + 1:
        return None
    if not all(math.isfinite(bound) for bound in bounds):
        return None
    counts = {i: float(n) for i, n in enumerate(event.counts) if n}
    return Histogram(EXPLICIT, bounds, counts)


def single(duration_ms: float, count: float = 1.0) -> Histogram:
    """One duration, or ``count`` equal ones, as a histogram."""
    return Histogram(SINGLE_SCALE, (), {single_bucket(duration_ms): count})


def singles(durations_ms: Iterable[float]) -> Histogram:
    """Durations one by one as one histogram, buckets in the order of first sight."""
    counts: dict[int, float] = {}
    for duration_ms in durations_ms:
        index = single_bucket(duration_ms)
        counts[index] = counts.get(index, 0.0) + 1.0
    return Histogram(SINGLE_SCALE, (), counts)


def single_bucket(duration_ms: float) -> int:
    """Index of the bucket that one duration falls into."""
    if duration_ms <= 0:
        return ZERO
    return math.ceil(math.ldexp(math.log2(duration_ms), SINGLE_SCALE)) - 1


def edge_id(edge_ms: float) -> float:
    """The edge as all layouts spell it: nine digits.

    Examples
    --------
    >>> edge_id(2.0 * 1.6**7) == edge_id(53.68709120000001)
    True
    """
    return float(f"{edge_ms:.9g}")


def _exponential(histogram: ExponentialHistogram) -> Histogram:
    first = histogram.positive.offset
    counts = {first + i: float(n) for i, n in enumerate(histogram.positive.counts) if n}
    if histogram.zero_count:
        counts[ZERO] = float(histogram.zero_count)
    return Histogram(histogram.scale, (), counts)


def _power(index: int, scale: int) -> float:
    """Lower edge of an exponential bucket, 0 or infinity beyond what floats hold."""
    exponent = math.ldexp(index, -scale)
    if exponent < -1000.0:
        return 0.0
    return math.inf if exponent > 1000.0 else 2.0**exponent
