"""Prepared windows into the rows of evidence, all of a round in one kernel call.

Restores take the same way (``detector.steps``): the same counts give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from detector.evidence.confidence import ratio_log_likelihood
from detector.evidence.rate_ratio import (
    adding,
    excess_bad,
    increments,
    recovery_increments,
    robust_increments,
)
from detector.evidence.rows import RateRatioRows
from detector.evidence.types import IntArray
from detector.scope import Track
from detector.series import SeriesSet
from detector.signals.errors import Comparison


class Prepared(NamedTuple):
    """One signal of one candidate in one closed window, ready for the kernel."""

    track: Track
    start_ms: int
    end_ms: int
    comparisons: list[Comparison]
    silent: bool = False


class Membership(NamedTuple):
    """Which cell feeds which line of an update, and the row and time of each line."""

    cell_of: IntArray
    line_of: IntArray
    rows: IntArray
    start_ms: IntArray
    end_ms: IntArray


class Fed(NamedTuple):
    """The same of one candidate alone; ``touched`` are its series, ascending."""

    cell_of: IntArray
    line_of: IntArray
    touched: list[int]


def add_evidence(rows: RateRatioRows, prepared: list[Prepared]) -> None:
    """Update the rows of all series of all prepared candidates in one call."""
    if not prepared:
        return
    cells = [c for p in prepared for c in p.comparisons]
    sizes = [len(p.comparisons) for p in prepared]
    margin = np.repeat([p.track.margin for p in prepared], sizes)
    cell_of, line_of, lines, start_ms, end_ms = _membership(prepared, sizes)
    counts = np.array(
        [
            (c.bad_candidate, c.bad_control, c.units_candidate, c.units_control)
            for c in cells
        ]
    ).T
    evidence = increments(*counts, margin=margin)
    clustered = np.array([c.clustered for c in cells])
    if clustered.any():
        evidence[clustered] = robust_increments(
            *counts[:, clustered], margin=margin[clustered]
        )
    silent = np.repeat([p.silent for p in prepared], sizes)
    if silent.any():  # a minimum with 0 keeps a supermartingale one
        evidence[silent] = np.minimum(evidence[silent], 0.0)
    totals = np.column_stack(
        (counts[0], counts[2], counts[1], counts[3], excess_bad(*counts))
    )
    added = adding(cell_of, line_of, (len(lines), len(cells)))
    rows.update(
        lines,
        added @ evidence,
        added @ ratio_log_likelihood(*counts),
        window_start_ms=start_ms,
        window_end_ms=end_ms,
        recovery=added @ recovery_increments(*counts, margin=margin),
        totals=added @ totals,
    )


def _membership(prepared: Sequence[Prepared], sizes: Sequence[int]) -> Membership:
    """Which cell feeds which updated row."""
    fed = [_fed(p.track.series, p.comparisons) for p in prepared]
    cells = np.cumsum([0, *sizes[:-1]])
    lines = np.cumsum([0, *[len(one.touched) for one in fed[:-1]]])
    entries = [len(one.cell_of) for one in fed]
    updated = [len(one.touched) for one in fed]
    rows: list[int] = []
    for p, one in zip(prepared, fed, strict=True):
        series = p.track.series.series
        rows += [series[i].row for i in one.touched]
    return Membership(
        np.concatenate([one.cell_of for one in fed]) + np.repeat(cells, entries),
        np.concatenate([one.line_of for one in fed]) + np.repeat(lines, entries),
        np.array(rows, np.int64),
        np.repeat([p.start_ms for p in prepared], updated),
        np.repeat([p.end_ms for p in prepared], updated),
    )


def _fed(series: SeriesSet, comparisons: Sequence[Comparison]) -> Fed:
    """The series of one candidate that its cells feed."""
    return _fed_by(tuple([tuple(series.of_stratum[c.stratum]) for c in comparisons]))


@lru_cache(maxsize=256)
def _fed_by(of_cell: tuple[tuple[int, ...], ...]) -> Fed:
    """The same of the series by cell: alike in many services and all windows."""
    # Rising rows: the store takes neighbours as a slice, without copies.
    touched = sorted({index for indices in of_cell for index in indices})
    line_of = {index: line for line, index in enumerate(touched)}
    sizes = [len(indices) for indices in of_cell]
    return Fed(
        np.repeat(np.arange(len(of_cell)), sizes),
        np.array([line_of[i] for indices in of_cell for i in indices], np.int64),
        touched,
    )
