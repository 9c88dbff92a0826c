"""Answers for people: probabilities by time, median delays, the smallest effects."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log
from typing import Any, NamedTuple

import numpy as np

from detector.backtest import Share, share
from detector.evidence.types import FloatArray
from detector.power.learn import Begun
from detector.power.simulate import Cell, Fates, Pipeline, simulate
from detector.power.traffic import Traffic
from detector.rulefile import Rule

RATIOS = (1.25, 1.5, 2.0, 4.0, 10.0)
SHARES = (0.05, 0.25, 0.5)
TIMES_S = (300, 900, 3600, 21_600, 86_400)
HOUR_S = 3600.0
LEVELS = (0.8, 0.95)
RATIO_MAX = 40.0

ROWS_MAX = 24_000
RELEASES_MIN, RELEASES_MAX = 100, 400
INNER = 3
"""Ratios tried between two of the grid to place the smallest effect."""


class Answer(NamedTuple):
    """What becomes of releases of one effect and share.

    ``by`` has for each time the probability of being taken back until then;
    delays are medians in seconds, infinite where fewer than half were found.
    ``evidence_s`` is statistics alone, ``persistence_s`` what the second lock adds and
    ``pipeline_s`` what follows the end of a window.
    """

    cell: Cell
    by: tuple[Share, ...]
    healthy_by: tuple[Share, ...]
    median_s: float
    evidence_s: float
    persistence_s: float
    pipeline_s: float
    healthy_s: float


class Smallest(NamedTuple):
    """Smallest ratio taken back within a time with a probability, None: beyond 40."""

    share: float
    level: float
    within_s: float
    ratio: float | None


def releases_for(traffic: Traffic, cells: int) -> int:
    """Releases a cell that an answer in seconds has room for."""
    series = len(traffic.series()[0])
    return max(RELEASES_MIN, min(RELEASES_MAX, ROWS_MAX // (cells * series)))


def plan(
    traffic: Traffic,
    rule: Rule,
    *,
    ratios: Sequence[float] = RATIOS,
    shares: Sequence[float] = SHARES,
    times_s: Sequence[float] = TIMES_S,
    releases: int | None = None,
    seed: int = 0,
    **also: Any,
) -> list[Answer]:
    """The grid: every ratio (and none, 1) at every share.

    ``also`` is passed to `simulate`.
    """
    cells = [Cell(r, s) for s in shares for r in (1.0, *ratios)]
    fates = simulate(
        cells,
        traffic,
        rule,
        releases=releases or releases_for(traffic, len(cells)),
        horizon_s=max(times_s),
        seed=seed,
        **also,
    )
    return [answer(each, times_s) for each in fates]


def under_way(traffic: Traffic, rule: Rule, begun: Begun, **also: Any) -> list[Answer]:
    """When it will be known about a release that has come this far, by effect."""
    return plan(traffic, rule, shares=(begun.share,), begun=begun, **also)


def answer(fates: Fates, times_s: Sequence[float]) -> Answer:
    """Summarise the releases of a cell."""
    median_s = _median(fates.decided_s)
    evidence_s, locked_s = _median(fates.evidence_s), _median(fates.locked_s)
    known = median_s < inf
    return Answer(
        cell=fates.cell,
        by=tuple(_by(fates.decided_s, t) for t in times_s),
        healthy_by=tuple(_by(fates.healthy_s, t) for t in times_s),
        median_s=median_s,
        evidence_s=evidence_s,
        persistence_s=locked_s - evidence_s if known else inf,
        pipeline_s=median_s - locked_s if known else inf,
        healthy_s=_median(fates.healthy_s),
    )


def smallest(
    traffic: Traffic,
    rule: Rule,
    answers: Sequence[Answer],
    *,
    place: int,
    within_s: float = HOUR_S,
    releases: int | None = None,
    seed: int = 0,
    pipeline: Pipeline | None = None,
    deploy_hour: float | None = None,
) -> list[Smallest]:
    """The smallest effects found within a time, placed between those of the grid.

    ``place`` is that of ``within_s`` among the times of the ``answers``. Between two
    ratios the probability is taken as linear in the logarithm of the ratio.
    """
    shares = list(dict.fromkeys(a.cell.share for a in answers))
    known: dict[float, dict[float, float]] = {s: {RATIO_MAX: 1.0} for s in shares}
    for a in answers:
        known[a.cell.share][a.cell.ratio] = a.by[place].value or 0.0
    ends = [Cell(RATIO_MAX, s) for s in shares]
    inner = {
        Cell(exp(log(low) + (log(high) - log(low)) * k / (INNER + 1)), s)
        for s in shares
        for level in LEVELS
        for low, high in (_around(known[s], level),)
        for k in range(1, INNER + 1)
    }
    cells = sorted(inner) + ends
    fates = simulate(
        cells,
        traffic,
        rule,
        releases=releases or releases_for(traffic, len(cells)),
        horizon_s=within_s,
        seed=seed + 1,
        pipeline=pipeline,
        deploy_hour=deploy_hour,
    )
    for each in fates:
        hit = _by(each.decided_s, within_s).value
        known[each.cell.share][each.cell.ratio] = hit or 0.0
    return [
        Smallest(s, level, within_s, _crossing(known[s], level))
        for s in shares
        for level in LEVELS
    ]


def _by(seconds: FloatArray, time_s: float) -> Share:
    return share(int((seconds <= time_s).sum()), seconds.size)


def _median(seconds: FloatArray) -> float:
    """Median with infinite values: an infinite one where it lies among them."""
    ordered = np.sort(seconds)
    return float(ordered[seconds.size // 2])


def _around(known: dict[float, float], level: float) -> tuple[float, float]:
    """Neighbours in the grid between which the probability passes the level."""
    ratios = sorted(known)
    high = next(i for i, r in enumerate(ratios) if known[r] >= level)
    return ratios[max(0, high - 1)], ratios[high]


def _crossing(known: dict[float, float], level: float) -> float | None:
    ratios = sorted(known)
    high = next((i for i, r in enumerate(ratios) if known[r] >= level), None)
    if high is None:
        return None
    if high == 0:
        return ratios[0]
    low_p, high_p = known[ratios[high - 1]], known[ratios[high]]
    part = (level - low_p) / (high_p - low_p)
    low, top = log(ratios[high - 1]), log(ratios[high])
    return exp(low + part * (top - low))
