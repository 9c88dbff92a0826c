"""Well-known ways to judge a release, each looked at whenever a window closes.

None of them is bent to lose: every rival looks as often as the product does, has its
published constants where there are any, and error level 1 % where it has to choose.
They differ from their vendors' products in one thing: those look once an hour or day.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.stats import norm

from bench.quality.windows import Arm, History

ALPHA = 0.01
FEWEST_FAILURES = 5
FEWEST_WINDOWS = 5

Series = Sequence[float]
Metric = Callable[[Arm], float]


def error_rate(arm: Arm) -> float:
    """Failed units per unit."""
    return arm.error_rate


def p99_ms(arm: Arm) -> float:
    """99th percentile of the durations."""
    return arm.p99_ms


METRICS: tuple[Metric, ...] = (error_rate, p99_ms)


class Rival(ABC):
    """A detector that looks at the history of one release.

    One object serves one release of one case; it may keep what it has computed.
    """

    name: ClassVar[str]

    @abstractmethod
    def look(self, history: History) -> bool:
        """Should the release be rolled back, by the windows closed so far?"""


class MannWhitneyJudge(Rival):
    """The judge of Spinnaker's Kayenta: rank test of two time series of a metric.

    A metric is High when the 98 % confidence interval of the Hodges-Lehmann shift
    lies above 0.25 times the shift's estimate and the means' ratio is at least 1
    (NetflixACAJudge, MannWhitneyClassifier). Any metric that is High fails the
    release. Samples are minutes, or windows where these are longer.
    """

    name = "Mann-Whitney judge"
    confidence = 0.98
    tolerance = 0.25
    sample_ms = 60_000

    def __init__(self) -> None:
        self._used = 0
        self._new: list[Arm] = []
        self._old: list[Arm] = []
        self._past: list[Arm] | None = None

    def look(self, history: History) -> bool:
        """Is any metric High?"""
        newest = history.since[-1]
        size = max(1, self.sample_ms // (newest.end_ms - newest.start_ms))
        if len(history.since) < self._used + size:
            return False
        fresh = history.since[self._used :]
        self._used = len(history.since)
        self._new.append(pooled([w.new for w in fresh]))
        self._old.append(pooled([w.old for w in fresh]))
        if self._past is None:
            self._past = _merged(history.past, size)
        old = self._old if history.is_beside else self._past[-len(self._new) :]
        return any(self.is_high(_known(self._new, m), _known(old, m)) for m in METRICS)

    def is_high(self, new: Series, old: Series) -> bool:
        """Are the new samples higher by more than the tolerance?"""
        m, n = len(new), len(old)
        if min(m, n) == 0 or len({*new, *old}) == 1 or np.mean(new) < np.mean(old):
            return False
        shifts = np.sort(np.subtract.outer(np.array(new), np.array(old)), axis=None)
        spread = math.sqrt(m * n * (m + n + 1) / 12)
        z = float(norm.ppf(0.5 + self.confidence / 2))
        rank = math.floor(m * n / 2 - z * spread)
        if rank < 1:
            return False
        return bool(shifts[rank - 1] > self.tolerance * abs(np.median(shifts)))


class PeekedZTest(Rival):
    """The two-proportion z-test on everything since the deploy, looked at each time.

    One-sided, level 1 %, from five failures on. Made for one look, used for many.
    """

    name = "z-test, peeked"

    def look(self, history: History) -> bool:
        """Is the difference of the error rates significant now?"""
        new, old = _totals(history)
        if min(new.units, old.units) <= 0 or new.bad < FEWEST_FAILURES:
            return False
        rate = (new.bad + old.bad) / (new.units + old.units)
        variance = rate * (1 - rate) * (1 / new.units + 1 / old.units)
        difference = new.error_rate - old.error_rate
        return variance > 0 and difference > norm.ppf(1 - ALPHA) * math.sqrt(variance)


class MixtureSprt(Rival):
    """Mixture SPRT on the difference of two means, as Statsig documents it.

    With V the variance of the difference and the mixing variance
    tau = z^2 (var_T + var_C) / (N_T + N_C), z the two-sided normal quantile, the
    critical value is sqrt((V + tau) / tau (-2 ln(alpha/2) - ln(V / (V + tau)))).
    """

    name = "mSPRT"

    def look(self, history: History) -> bool:
        """Is the difference of the error rates beyond the critical value?"""
        new, old = _totals(history)
        if min(new.units, old.units) <= 0 or new.bad < FEWEST_FAILURES:
            return False
        rates = np.clip([new.error_rate, old.error_rate], 0, 1)
        spreads = rates * (1 - rates)
        variance = spreads[0] / new.units + spreads[1] / old.units
        if variance <= 0:
            return False
        z = float(norm.ppf(1 - ALPHA / 2))
        tau = z * z * spreads.sum() / (new.units + old.units)
        widened = variance + tau
        bound = -2 * math.log(ALPHA / 2) - math.log(variance / widened)
        critical = math.sqrt(widened / tau * bound)
        return bool(rates[0] - rates[1] > critical * math.sqrt(variance))


class PoissonCusum(Rival):
    """Page's CUSUM of failures against the rate of the past, threshold from there.

    The sum bets on a rate 1.5 times the past's. Its threshold is log 1000 or a fifth
    more than the sum ever reached in the past, whichever is larger.
    """

    name = "CUSUM"
    ratio = 1.5
    least_threshold = math.log(1000)

    def __init__(self) -> None:
        self._rate = math.nan
        self._threshold = math.inf
        self._sum = 0.0
        self._used = 0

    def look(self, history: History) -> bool:
        """Has the sum crossed its threshold?"""
        if self._used == 0:
            self._tune(history.past)
        for window in history.since[self._used :]:
            self._sum = self._step(self._sum, window.new)
        self._used = len(history.since)
        return self._sum > self._threshold

    def _tune(self, past: Sequence[Arm]) -> None:
        whole = pooled(past)
        if len(past) < FEWEST_WINDOWS or whole.units <= 0:
            return
        # Half a failure keeps a spotless past from condemning the first error.
        self._rate = (whole.bad + 0.5) / whole.units
        reached = most = 0.0
        for arm in past:
            reached = self._step(reached, arm)
            most = max(most, reached)
        self._threshold = max(self.least_threshold, 1.2 * most)

    def _step(self, before: float, arm: Arm) -> float:
        if math.isnan(self._rate):
            return 0.0
        expected = self._rate * arm.units
        gain = arm.bad * math.log(self.ratio) - expected * (self.ratio - 1)
        return max(0.0, before + gain)


class ThreeSigma(Rival):
    """Three windows in a row above the past's mean plus three standard deviations.

    Of the error rate or of the 99th percentile of the durations.
    """

    name = "3 sigma x3"
    windows = 3

    def __init__(self) -> None:
        self._limits: list[float] | None = None

    def look(self, history: History) -> bool:
        """Are the last three windows all too high?"""
        if self._limits is None:
            past = history.past
            self._limits = [_three_sigma(_known(past, m)) for m in METRICS]
        last = [w.new for w in history.since[-self.windows :]]
        return len(last) == self.windows and any(
            all(metric(arm) > limit for arm in last)
            for metric, limit in zip(METRICS, self._limits, strict=True)
        )


class Adwin(Rival):
    """River's ADWIN with its own settings, fed the metric of each window.

    Values are divided by the past's mean first: on bare error rates its bound, made
    for values from 0 to 1, would never be passed. A drift counts when the mean rose.
    """

    name = "ADWIN (river)"

    def __init__(self) -> None:
        self._drifts: list[_Drift] | None = None
        self._used = 0

    def look(self, history: History) -> bool:
        """Did any metric drift upwards?"""
        if self._drifts is None:
            past = history.past
            self._drifts = [_Drift(metric, past) for metric in METRICS]
        fresh = [w.new for w in history.since[self._used :]]
        self._used = len(history.since)
        return any([drift.rose(arm) for drift in self._drifts for arm in fresh])


class _Drift:
    """One detector of river on one metric, warmed up on the past."""

    def __init__(self, metric: Metric, past: Sequence[Arm]) -> None:
        self.metric = metric
        values = _known(past, metric)
        self.scale = float(np.mean(values)) if values else 0.0
        self.detector = _river_adwin()
        for value in values:
            self.update(value)

    def update(self, value: float) -> bool:
        before = self.detector.estimation
        self.detector.update(value / self.scale if self.scale else value)
        rose = self.detector.estimation > before
        return bool(self.detector.drift_detected and rose)

    def rose(self, arm: Arm) -> bool:
        value = self.metric(arm)
        return not math.isnan(value) and self.update(value)


def _river_adwin() -> Any:
    from river.drift import ADWIN  # here: one rival of six needs what `bench` locks

    return ADWIN()


RIVALS: tuple[type[Rival], ...] = (
    MannWhitneyJudge,
    PeekedZTest,
    MixtureSprt,
    PoissonCusum,
    ThreeSigma,
    Adwin,
)


def _merged(arms: Sequence[Arm], size: int) -> list[Arm]:
    """Neighbouring windows added up, the newest group complete."""
    start = len(arms) % size
    return [pooled(arms[i : i + size]) for i in range(start, len(arms), size)]


def _totals(history: History) -> tuple[Arm, Arm]:
    """Units and failures of both sides since the deploy, durations left out."""
    old = history.control()
    return (
        Arm(history.new_units, sum(w.new.bad for w in history.since)),
        Arm(sum(a.units for a in old), sum(a.bad for a in old)),
    )


def pooled(arms: Sequence[Arm]) -> Arm:
    """Windows added up."""
    whole = Arm()
    for arm in arms:
        whole.add(arm)
    return whole


def _known(arms: Sequence[Arm], metric: Metric) -> list[float]:
    return [v for v in map(metric, arms) if not math.isnan(v)]


def _three_sigma(values: Series) -> float:
    if len(values) < FEWEST_WINDOWS:
        return math.inf
    return float(np.mean(values) + 3 * np.std(values, ddof=1))
