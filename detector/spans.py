"""Units and failed ones of a span of time: of one release, and of the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.types import FloatArray
from detector.latencystate import LatencyState
from detector.ledger import BAD, REQUESTS, UNITS, Key, Ledger, Table, Wanted
from detector.releases import Registry
from detector.series import Segment, Strata

MINUTE_MS = 60_000
BLOCK_MS = 300_000
BLOCKS_LEAST = 6
"""Blocks of five minutes below which no wander can be learnt."""


class Books(NamedTuple):
    """What a scope remembers of its counts over time."""

    ledger: Ledger
    latency: LatencyState
    strata: Strata
    registry: Registry


class Counts(NamedTuple):
    """(units, failed ones) of the release and of the others."""

    own: tuple[float, float]
    others: tuple[float, float]

    @property
    def whole(self) -> tuple[float, float]:
        """Of everybody."""
        return self.own[0] + self.others[0], self.own[1] + self.others[1]


class Question(NamedTuple):
    """What is counted: by failures, above an edge of durations, or all requests.

    ``number`` is that of the release, ``edge`` -1 unless durations are asked for.
    """

    number: int
    segment: Segment
    edge: int = -1
    volume: bool = False


def counts(
    question: Question,
    books: Books,
    start_ms: int,
    end_ms: int,
    aside: frozenset[int] = frozenset(),
) -> Counts:
    """Units and failed ones inside the segment, in the whole bins of a span.

    ``aside`` are releases that count as neither. Of a volume the units are the
    minutes in which anything came, and the requests stand as failed.
    """
    inside = books.strata.within(question.segment)

    def own(key: Key) -> bool:
        return key[0] == question.number and inside(key[1])

    def others(key: Key) -> bool:
        other = key[0] != question.number and key[0] not in aside
        return other and inside(key[1])

    if question.edge >= 0:
        fine = books.latency.fine
        found = (
            fine.exceedances(question.edge, start_ms, end_ms, wanted)
            for wanted in (own, others)
        )
        sums = ((float(np.nansum(n)), float(np.nansum(k))) for k, n in found)
        return Counts(*sums)
    table = books.ledger.table(start_ms, end_ms, coarse=False)
    if question.volume:
        return Counts((0.0, 0.0), _volume(table))
    return Counts(_failures(table, own), _failures(table, others))


def wander(question: Question, books: Books, start_ms: int, end_ms: int) -> float:
    """Log-sd of the rate of everybody from block to block, beside counting noise.

    0 where there are too few blocks to learn it from. Robust: an incident is no
    wander (median absolute deviation, Hampel 1974, "The influence curve").
    """
    bad, units = _series(question, books, start_ms, end_ms)
    size = max(1, BLOCK_MS // max(1, _bin_ms(question, books)))
    count = len(bad) // size
    if count < BLOCKS_LEAST:
        return 0.0
    k = bad[: count * size].reshape(count, size).sum(axis=1)
    n = units[: count * size].reshape(count, size).sum(axis=1)
    there = n > 0
    if there.sum() < BLOCKS_LEAST:
        return 0.0
    logs = np.log((k[there] + 0.5) / n[there])
    apart = np.abs(logs - np.median(logs))
    excess = (1.4826 * np.median(apart)) ** 2 - np.median(1.0 / (k[there] + 0.5))
    return float(np.sqrt(max(0.0, excess)))


def _bin_ms(question: Question, books: Books) -> int:
    return books.latency.fine.bin_ms if question.edge >= 0 else books.ledger.fine_ms


def _series(
    question: Question, books: Books, start_ms: int, end_ms: int
) -> tuple[FloatArray, FloatArray]:
    """Bad and units of everybody inside the segment, bin by bin."""
    inside = books.strata.within(question.segment)

    def wanted(key: Key) -> bool:
        return inside(key[1])

    if question.edge >= 0:
        above, records = books.latency.fine.exceedances(
            question.edge, start_ms, end_ms, wanted
        )
        return np.nan_to_num(above), np.nan_to_num(records)
    rows = books.ledger.table(start_ms, end_ms, coarse=False).sum_of(wanted)
    if question.volume:
        return rows[:, REQUESTS], (rows[:, REQUESTS] > 0).astype(np.float64)
    return rows[:, BAD], rows[:, UNITS]


def _failures(table: Table, wanted: Wanted) -> tuple[float, float]:
    total = table.sum_of(wanted).sum(axis=0)
    return float(total[UNITS]), float(total[BAD])


def _volume(table: Table) -> tuple[float, float]:
    requests = table.sum_of(lambda key: True)[:, REQUESTS]
    minutes = float((requests > 0).sum()) * table.bin_ms / MINUTE_MS
    return minutes, float(requests.sum())
