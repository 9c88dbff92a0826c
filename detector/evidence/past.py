"""Is it worse than the past? A block of windows against what the past predicts.

Without a concurrent control only the past is left to compare with. Its noise is
correlated, so evidence must saturate: one block is compared with a prediction, and
what the prediction is worth is learnt from pseudo-deploys, moments of the past from
which the same block at the same age is predicted. The guarantee is empirical: an
incident that begins after a deploy looks like a regression, and sliding
pseudo-deploys overlap, so that no rank among them can be a small p-value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence.blocks import Blocks
from detector.evidence.forecast import (
    DAY_MS,
    HALF,
    HOUR_MS,
    WEEK_MS,
    Forecaster,
    Forecasts,
    Terms,
    may_exceed,
)
from detector.evidence.incident import RUNNING_MS, Incident
from detector.evidence.pseudo import (
    LEARNT_MIN_MS,
    RESIDUAL2,
    SHORT_PAST_MS,
    Learnt,
    PseudoDeploys,
)
from detector.evidence.types import FloatArray, IntArray

COMPARABLE = 2.0
"""Predictions whose error is within this factor of the best one must agree."""

RESTING_ON_HOUR = frozenset({"hour", "moved"})
"""Predictions from the last hour: void once an incident that filled it is over."""

STILL_SHARE = 0.4
"""Part of a block's log-ratio that its newer half and newest windows must show."""

VOLUME_FIRST_MS = 6 * HOUR_MS
"""Without the same weekday in the past a volume is judged for this long only."""


class Outcome(NamedTuple):
    """What the most telling block says.

    Attributes
    ----------
    z, threshold : float
        Excess over prediction and margin in spreads, and from where on it counts.
    present : bool
        The newest windows and the newer half, each alone, still show a good part
        of the excess: a blip at the deploy is in neither.
    length_ms : int
        Length of the block.
    ratio : tuple of float
        Observed / predicted: two spreads below, best, two spreads above.
    bad, units, expected : float
        Counts of the block; ``expected`` is the prediction of ``bad``.
    predictor : str
        The best of the predictions that were combined, or ``hour``.
    sigma : float
        Relative error of the prediction, its Poisson part included.
    """

    z: float
    threshold: float
    present: bool
    length_ms: int
    ratio: tuple[float, float, float]
    bad: float
    units: float
    expected: float
    predictor: str
    sigma: float

    @property
    def fires(self) -> bool:
        """Whether it is beyond the threshold and still there."""
        return self.present and self.z >= self.threshold


class Past:
    """A series up to the loss of its control, ready to judge what comes after.

    Parameters
    ----------
    bad, units : array of shape (bins,)
        Counts per bin, oldest first, the newest ending when control was lost; NaN
        where nothing arrived. For a volume, ``bad`` is the volume and ``units`` 1.
    bin_ms : int
    terms : Terms
        Margin and direction of what counts as worse.
    extra : float
        Added to the threshold: one of many segments must stand out further.

    Attributes
    ----------
    running_rate : float or None
        Rate of an incident that was running when control was lost.
    """

    def __init__(
        self,
        bad: FloatArray,
        units: FloatArray,
        bin_ms: int,
        terms: Terms,
        extra: float = 0.0,
    ) -> None:
        self.terms = terms
        self.extra = extra
        self.bin_ms = bin_ms
        self.length_ms = len(bad) * bin_ms
        self._source = Forecaster(bad, units, bin_ms, terms)
        self.incident = Incident(self._source)
        self._pseudo = PseudoDeploys(self._source, terms, self.incident.calm)
        self.running_rate = None if terms.volume else self.incident.rate
        self._floor = self._low_volume()

    @property
    def threshold(self) -> float:
        """From which z on the series fires; a short past asks for more."""
        return (2.5 if self.length_ms >= SHORT_PAST_MS else 3.0) + self.extra

    def over_after_ms(self, bad: FloatArray, units: FloatArray, bin_ms: int) -> int:
        """When an incident that was running at the flip had ended, as an age.

        Parameters
        ----------
        bad, units : array of shape (bins,)
            Since the loss of control, in bins of about five minutes.
        bin_ms : int

        Returns
        -------
        int
            0 where none was running, -1 while it has not ended.
        """
        if self.running_rate is None:
            return 0
        bins = self.incident.bins_until_over(bad, units)
        return bins * bin_ms if bins else -1

    def look(
        self,
        age_ms: int,
        blocks: Blocks,
        over: bool = True,
        *,
        only_firing: bool = False,
    ) -> Outcome | None:
        """Judge the newest blocks at an age.

        Parameters
        ----------
        age_ms : int
            Time since control was lost.
        blocks : Blocks
            None of them may reach back into an incident that ran at the flip.
        over : bool
            Whether such an incident has ended (or there was none).
        only_firing : bool
            No other outcome is of interest: most blocks are dismissed cheaply.

        Returns
        -------
        Outcome or None
            None where the past says nothing about such a block.
        """
        best: Outcome | None = None
        if self._mute(age_ms):
            return None
        age, sizes = self._bins(age_ms), self._sizes(blocks.lengths_ms)
        predictions = self._source.predict_next(age, sizes)
        worse = np.ones(len(sizes), dtype=np.bool_)
        if only_firing:
            worse = may_exceed(blocks.bad, blocks.units, predictions, self.terms)
        for i in range(len(sizes)):
            if not (blocks.units[i] > 0 and worse[i]):
                continue
            found = [self._against_past(age_ms, blocks, i, predictions, over)]
            found.append(self._against_hour(blocks, i, found[0]))
            for one in found:
                if one is not None and (best is None or _rank(one) > _rank(best)):
                    best = one
        return best

    # -- what the past looked like

    def _bins(self, span_ms: float) -> int:
        return max(1, round(span_ms / self.bin_ms))

    def _sizes(self, lengths_ms: IntArray) -> IntArray:
        return np.maximum(1, np.rint(lengths_ms / self.bin_ms)).astype(np.int64)

    def _low_volume(self) -> float:
        """Volume per bin that a past without a daily rhythm hardly ever undercut."""
        if not self.terms.volume or self.length_ms >= DAY_MS:
            return math.inf
        size = self._bins(RUNNING_MS / 3)
        ends = np.arange(size, self._source.bins + 1)
        bad, units = self._source.window(ends - size, ends)
        rates = (bad / units)[np.isfinite(bad)]
        return 0.9 * float(np.quantile(rates, 0.03)) if len(rates) else 0.0

    def _mute(self, age_ms: int) -> bool:
        """A volume on an unseen kind of weekday is no drop."""
        young = self.length_ms < WEEK_MS + LEARNT_MIN_MS and age_ms > VOLUME_FIRST_MS
        return self.terms.volume and young

    # -- judging

    def _against_past(
        self, age_ms: int, blocks: Blocks, i: int, forecasts: Forecasts, over: bool
    ) -> Outcome | None:
        """The block against the combined prediction; None if comparable ones differ."""
        lesson, stretch = self._pseudo.lesson(age_ms, float(blocks.lengths_ms[i]))
        usable = {
            name: (float(rate[i]), float(weight[i]))
            for name, (rate, weight) in forecasts.items()
            if math.isfinite(rate[i]) and (name in lesson.share or not lesson.share)
        }
        if over and self.running_rate is not None:
            rested = {n: f for n, f in usable.items() if n not in RESTING_ON_HOUR}
            usable = rested or usable
        if not usable or not self._agree(blocks, i, usable, lesson):
            return None
        shift = HALF / float(blocks.units[i])  # as in the errors that were learnt
        share = {name: lesson.share.get(name, 1.0) for name in usable}
        whole = sum(share.values())
        logs = (share[n] * math.log(r + shift) for n, (r, _) in usable.items())
        grain = sum(share[n] / (w + HALF) for n, (_, w) in usable.items()) / whole
        learnt = lesson.mixed * stretch
        variance = grain + self._pseudo.total(learnt, lesson.blocks, age_ms)
        rate = math.exp(sum(logs) / whole)
        if self.terms.volume and blocks.bad[i] / blocks.units[i] > self._floor:
            return None
        best = max(share, key=lambda name: share[name])
        outcome = self._measure(blocks, i, rate, variance, best, lesson.largest)
        if over or self.running_rate is None:
            return outcome
        worst = max(rate, self.running_rate)
        return self._measure(blocks, i, worst, variance, "incident", lesson.largest)

    def _agree(
        self,
        blocks: Blocks,
        i: int,
        usable: dict[str, tuple[float, float]],
        lesson: Learnt,
    ) -> bool:
        """Whether every comparable prediction, of volume every one, sees the harm."""
        known = {name: lesson.variance.get(name, 0.0) for name in usable}
        limit = COMPARABLE**2 * (min(known.values()) + RESIDUAL2)
        return all(
            self._worse(blocks, i, rate)
            for name, (rate, _) in usable.items()
            if self.terms.volume or known[name] <= limit
        )

    def _worse(self, blocks: Blocks, i: int, rate: float) -> bool:
        """Whether the block is beyond a predicted rate by the margin."""
        return self._excess(blocks.bad[i], blocks.units[i], rate) >= math.log(
            self.terms.margin
        )

    def _excess(self, bad: float, units: float, rate: float) -> float:
        """Log-ratio of a count to its prediction, in the harmful direction."""
        ratio = (bad + HALF) / (rate * units + HALF)
        return self.terms.direction * math.log(ratio)

    def _measure(
        self,
        blocks: Blocks,
        i: int,
        rate: float,
        variance: float,
        name: str,
        largest: float,
    ) -> Outcome:
        bad, units = float(blocks.bad[i]), float(blocks.units[i])
        excess = self._excess(bad, units, rate)
        allowed = rate * self.terms.margin**self.terms.direction
        sigma = math.sqrt(variance + 1 / (rate * units + HALF))
        z = self._excess(bad, units, allowed) / sigma
        if largest >= excess and not self.terms.volume:
            z -= 1.0
        half = float(blocks.half_bad[i]), float(blocks.half_units[i])
        newest = blocks.last_bad, blocks.last_units
        still = max(math.log(self.terms.margin), STILL_SHARE * excess)
        present = all(
            n > 0 and self._excess(k, n, rate) >= still for k, n in (half, newest)
        )
        if present:
            alone = math.sqrt(variance + 1 / (rate * half[1] + HALF))
            present = self._excess(*half, allowed) >= self.threshold / 2 * alone
        low, point, high = (
            math.exp(self.terms.direction * excess + k * sigma) for k in (-2, 0, 2)
        )
        return Outcome(
            z,
            self.threshold,
            present,
            int(blocks.lengths_ms[i]),
            (low, point, high),
            bad,
            units,
            rate * units,
            name,
            sigma,
        )

    def _against_hour(
        self, blocks: Blocks, i: int, against_past: Outcome | None
    ) -> Outcome | None:
        """A late onset: the block against the hour just before it."""
        before = float(blocks.before_units[i])
        if self.terms.volume or against_past is None or not before > 0:
            return None
        if against_past.ratio[1] < self.terms.margin:
            return None
        length_ms = float(blocks.lengths_ms[i])
        lesson, _ = self._pseudo.lesson(length_ms, length_ms)
        sigma2 = self._pseudo.total(
            lesson.variance.get("hour", 0.0), lesson.blocks, length_ms
        )
        count = float(blocks.before_bad[i])
        outcome = self._measure(
            blocks,
            i,
            (count + HALF) / before,
            sigma2 + 1 / (count + HALF),
            "hour",
            -math.inf,
        )
        return outcome._replace(z=outcome.z - 1.0)


def _rank(outcome: Outcome) -> tuple[bool, float]:
    """One that fires counts before one that was larger and is over."""
    return outcome.fires, outcome.z
