"""Many releases at once through the very evidence that runs live.

What is drawn are counts; what happens to them is done by `increments` and
`RateRatioRows`, the kernel of the worker, for all releases in one call. Windows grow
with the age of a release: evidence adds up over windows, so a window a thirtieth as
long as what came before moves a decision by that much at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, log
from typing import NamedTuple

import numpy as np

from detector.combine import release_log_es
from detector.evidence.confidence import ratio_interval, ratio_log_likelihood
from detector.evidence.rate_ratio import increments
from detector.evidence.rows import RateRatioRows
from detector.evidence.types import BoolArray, FloatArray, IntArray
from detector.power.learn import Begun
from detector.power.traffic import HOURS, Traffic
from detector.reading import CONFIDENCE_ALPHA
from detector.rulefile import Rule

GROWTH = 1 / 30
"""A window's length by the time since the start. Larger: quicker, coarser delays."""

PAST_STEPS = 60
ERROR_RATE_MAX = 0.95


class Cell(NamedTuple):
    """A release to be drawn: how bad it is, and its share of the sessions."""

    ratio: float
    share: float


@dataclass(frozen=True)
class Pipeline:
    """What lies between the end of a window and the decision.

    Attributes
    ----------
    report_s : float
        How often usage arrives: time is known to have passed only then.
    lag_s : float
        Time from an event to the log.
    """

    report_s: float = 10.0
    lag_s: float = 0.5

    def wait_s(self, rule: Rule) -> float:
        """Seconds from the end of a window until it is judged."""
        return ceil(rule.grace_s / self.report_s) * self.report_s + self.lag_s


@dataclass(frozen=True)
class Fates:
    """What became of the releases of one cell; seconds since the start, inf for never.

    Attributes
    ----------
    evidence_s : array (releases,)
        End of the first window at which the evidence stood at its threshold.
    decided_s : array (releases,)
        When it was taken back: evidence, exposure and persistence, and the pipeline.
    locked_s : array (releases,)
        The same without the pipeline: the end of the window that was decided on.
    healthy_s : array (releases,)
        When it was first called healthy; only for ratios up to 1.
    """

    cell: Cell
    evidence_s: FloatArray
    locked_s: FloatArray
    decided_s: FloatArray
    healthy_s: FloatArray


def simulate(
    cells: Sequence[Cell],
    traffic: Traffic,
    rule: Rule,
    *,
    releases: int,
    horizon_s: float,
    seed: int,
    pipeline: Pipeline | None = None,
    deploy_hour: float | None = None,
    begun: Begun | None = None,
) -> list[Fates]:
    """Draw releases of every cell and judge them until a decision or the horizon.

    Parameters
    ----------
    releases : int
        Of each cell.
    horizon_s : float
        Seconds from the start; with ``begun`` from now.
    deploy_hour : float, optional
        Hour of the day (UTC) of the start; without it each release draws its own.
    begun : Begun, optional
        What a release under way has so far, taken as spread evenly over its age.
    """
    run = _Run(cells, traffic, rule, releases, seed, deploy_hour)
    if begun is not None:
        run.catch_up(begun)
    for start_s, end_s in steps_s(rule.window_s, horizon_s):
        run.step(start_s, end_s)
        if not run.alive.size:
            break
    wait_s = (pipeline or Pipeline(float(rule.window_s))).wait_s(rule)
    return [
        Fates(
            cell,
            run.evidence_s[part],
            run.locked_s[part],
            run.locked_s[part] + wait_s,
            run.healthy_s[part] + wait_s,
        )
        for i, cell in enumerate(cells)
        for part in (slice(i * releases, (i + 1) * releases),)
    ]


def steps_s(window_s: int, horizon_s: float) -> Iterator[tuple[float, float]]:
    """Windows from now to the horizon, whole multiples of the rule's."""
    start = 0.0
    while start < horizon_s:
        size = window_s * max(1, int(start * GROWTH / window_s))
        yield start, start + size
        start += size


class _Run:
    """All releases of all cells, their evidence, and what became of them so far."""

    def __init__(
        self,
        cells: Sequence[Cell],
        traffic: Traffic,
        rule: Rule,
        releases: int,
        seed: int,
        deploy_hour: float | None,
    ) -> None:
        self.traffic, self.rule = traffic, rule
        self.rng = np.random.default_rng(seed)
        size = len(cells) * releases
        self.ratio = np.repeat([c.ratio for c in cells], releases)
        self.share = np.repeat([c.share for c in cells], releases)
        self.clock_s = (
            self.rng.uniform(0, 86_400, size)
            if deploy_hour is None
            else np.full(size, deploy_hour * 3600.0)
        )
        places, weights = traffic.series()
        self.member = np.zeros((len(places), len(traffic.parts)))
        for i, own in enumerate(places):
            self.member[i, own] = 1.0
        self.weights = np.array(weights) * traffic.errors_share
        self.parts = np.array([p.share for p in traffic.parts])
        self.rates = np.array([p.error_rate for p in traffic.parts])
        self.margin = rule.signals["errors"].margin
        self.rows = RateRatioRows(size * len(places))
        self.of = self.rows.allocate(
            size * len(places), persistence_ms=rule.persistence_ms
        ).reshape(size, -1)
        self.units = np.zeros((size, 2))
        self.alive: IntArray = np.arange(size)
        self.evidence_s = np.full(size, inf)
        self.locked_s = np.full(size, inf)
        self.healthy_s = np.full(size, inf)
        self.likelihood: FloatArray | None = None
        self.age_s = 0.0

    def catch_up(self, begun: Begun) -> None:
        """Give every release what the one under way has."""
        self.age_s = begun.age_s
        count = max(1, min(PAST_STEPS, int(begun.age_s // self.rule.window_s)))
        ends = np.linspace(0.0, begun.age_s, count + 1)
        each = (self.alive.size, 1)
        counts = [
            np.tile(total / count * self.parts, each)
            for total in (
                begun.bad,
                begun.bad_control,
                begun.units,
                begun.units_control,
            )
        ]
        for start, end in pairwise(ends.tolist()):
            self._add(counts, start, end)

    def step(self, start_s: float, end_s: float) -> None:
        """Draw one window of every release under watch and judge it."""
        counts = self._draw(start_s, end_s)
        self._add(counts, start_s + self.age_s, end_s + self.age_s)
        self._judge(end_s)

    def _draw(self, start_s: float, end_s: float) -> list[FloatArray]:
        """Failures and sessions of both arms, each of shape (alive, parts)."""
        alive = self.alive
        middle = self.clock_s[alive] + (start_s + end_s) / 2
        hour = (middle // 3600).astype(np.int64) % HOURS
        busy = np.array(self.traffic.hours)[hour]
        worse = np.array(self.traffic.error_hours)[hour]
        minutes = (end_s - start_s) / 60
        total = (self.traffic.sessions_per_min * minutes * busy)[:, None] * self.parts
        share = self.share[alive, None]
        own = self.rng.poisson(total * share)
        beside = self.rng.poisson(total * (1 - share))
        rate = np.minimum(worse[:, None] * self.rates, ERROR_RATE_MAX)
        bad = np.minimum(rate * self.ratio[alive, None], ERROR_RATE_MAX)
        return [
            self.rng.binomial(own, bad).astype(np.float64),
            self.rng.binomial(beside, rate).astype(np.float64),
            own.astype(np.float64),
            beside.astype(np.float64),
        ]

    def _add(self, counts: list[FloatArray], start_s: float, end_s: float) -> None:
        alive, width = self.alive, len(self.parts)
        flat = [each.ravel() for each in counts]
        found = increments(*flat, margin=self.margin)
        evidence = self.member @ found.reshape(alive.size, width, -1)
        rows = self.of[alive].ravel()
        self.rows.update(
            rows,
            evidence.reshape(rows.size, -1),
            window_start_ms=np.full(rows.size, round(start_s * 1000)),
            window_end_ms=np.full(rows.size, round(end_s * 1000)),
        )
        self.units[alive] += np.column_stack(
            (counts[2].sum(axis=1), counts[3].sum(axis=1))
        )
        calm = self.ratio[alive] <= 1.0
        if calm.any():
            told = ratio_log_likelihood(*(each[calm].ravel() for each in counts))
            if self.likelihood is None:
                self.likelihood = np.zeros((self.ratio.size, told.shape[1]))
            added = told.reshape(int(calm.sum()), width, -1).sum(axis=1)
            self.likelihood[alive[calm]] += added

    def _judge(self, end_s: float) -> None:
        alive, rule = self.alive, self.rule
        log_e = self.rows.log_evidence(self.of[alive].ravel())
        log_e = log_e.reshape(alive.size, -1)
        whole = release_log_es(log_e, self.weights)
        lead = np.argmax(log_e + np.log(self.weights), axis=1)
        least = self.units[alive].min(axis=1)
        beyond = (whole >= log(1 / rule.alpha)) & (least >= rule.min_exposure)
        first = beyond & np.isinf(self.evidence_s[alive])
        self.evidence_s[alive[first]] = end_s
        taken = beyond & self.rows.persistent(self.of[alive, lead])
        self.locked_s[alive[taken]] = end_s
        self._call_healthy(end_s, whole, least, beyond)
        kept = alive[~taken]
        self.alive = kept[
            ~((self.ratio[kept] <= 1) & np.isfinite(self.healthy_s[kept]))
        ]

    def _call_healthy(
        self, end_s: float, log_e: FloatArray, least: FloatArray, beyond: BoolArray
    ) -> None:
        """Note those at whose age, exposure and interval a release is healthy."""
        alive, earned = self.alive, self.rule.hypercare
        if self.likelihood is None or end_s + self.age_s < earned.min_hours * 3600:
            return
        could = (self.ratio[alive] <= 1.0) & ~beyond & (least >= earned.min_exposure)
        could &= log_e < log(self.rule.ladder.watch_e)
        places = alive[could & np.isinf(self.healthy_s[alive])]
        if places.size:
            upper = ratio_interval(self.likelihood[places], CONFIDENCE_ALPHA)[:, 2]
            self.healthy_s[places[upper < self.margin]] = end_s
