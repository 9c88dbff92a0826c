"""The newest stretch of a series, cut into blocks of doubling length."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.types import FloatArray, IntArray


class Blocks(NamedTuple):
    """The last m windows since control was lost, for several m; arrays of shape (M,).

    ``before_*`` hold the time just before each block, NaN where that would begin
    before control was lost; ``half_*`` the newer half of each block, ``last_*`` the
    newest windows alone.
    """

    lengths_ms: IntArray
    bad: FloatArray
    units: FloatArray
    before_bad: FloatArray
    before_units: FloatArray
    half_bad: FloatArray
    half_units: FloatArray
    last_bad: float
    last_units: float


class Recent(NamedTuple):
    """A series since control was lost, in bins of any widths without gaps.

    Bin i lies in ``(edges_ms[i], edges_ms[i + 1]]``; where nothing arrived, ``bad``
    and ``units`` are 0.
    """

    edges_ms: IntArray
    bad: FloatArray
    units: FloatArray


def cut(
    recent: Recent, since_ms: int, shortest_ms: int, before_ms: int, last_ms: int
) -> Blocks:
    """Blocks that end with the series, from the shortest to all since ``since_ms``.

    Parameters
    ----------
    recent : Recent
    since_ms : int
        No block reaches back further.
    shortest_ms, before_ms, last_ms : int
        Lengths of the shortest block, of the time before a block, of the newest
        windows. A bin that is only partly inside is left out.

    Returns
    -------
    Blocks
        Empty where even the shortest does not fit.

    Examples
    --------
    >>> one = np.ones(8)
    >>> recent = Recent(np.arange(9) * 100, one, one)
    >>> cut(recent, 100, 200, 300, 100).lengths_ms.tolist()
    [200, 400, 700]
    """
    now_ms = int(recent.edges_ms[-1])
    finest_ms = now_ms - int(recent.edges_ms[-2])
    lengths = np.array(_lengths(shortest_ms, now_ms - since_ms), dtype=np.int64)
    starts = now_ms - lengths
    ends = np.full(len(starts), now_ms)
    known = starts - before_ms >= since_ms
    halves = now_ms - np.maximum(lengths // 2, finest_ms)
    size, last = len(starts), [now_ms - last_ms]
    bad, units = _sums(
        recent,
        np.concatenate([starts, starts - before_ms, halves, last]),
        np.concatenate([ends, starts, ends, [now_ms]]),
    )
    before = slice(size, 2 * size)
    return Blocks(
        lengths,
        bad[:size],
        units[:size],
        np.where(known, bad[before], np.nan),
        np.where(known, units[before], np.nan),
        bad[2 * size : -1],
        units[2 * size : -1],
        float(bad[-1]),
        float(units[-1]),
    )


def _lengths(shortest_ms: int, room_ms: int) -> list[int]:
    found = []
    length_ms = shortest_ms
    while length_ms < room_ms:
        found.append(length_ms)
        length_ms *= 2
    return [*found, room_ms] if room_ms >= shortest_ms else []


def _sums(
    recent: Recent, starts_ms: IntArray, ends_ms: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Sums over the bins that lie in each (start, end]."""
    low = np.searchsorted(recent.edges_ms, starts_ms, side="left")
    high = np.searchsorted(recent.edges_ms, ends_ms, side="right") - 1
    high = np.maximum(low, high)
    bad = np.concatenate([[0.0], np.cumsum(recent.bad)])
    units = np.concatenate([[0.0], np.cumsum(recent.units)])
    return bad[high] - bad[low], units[high] - units[low]
