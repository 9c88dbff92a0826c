"""How wrong were predictions? Pseudo-deploys all over the past say it.

A pseudo-deploy is a moment of the past from which the same block at the same age is
predicted as after the real one. Errors of several predictions are learnt together,
so that their combination has an error of its own. Beyond half of the past nothing
can be tried: there the variance grows with age.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence.forecast import (
    DAY_MS,
    HALF,
    HOUR_MS,
    Forecaster,
    Terms,
    robust_spread,
)
from detector.evidence.types import BoolArray, FloatArray

SHORT_PAST_MS = 2 * DAY_MS
"""A shorter past has not shown a daily swing: prior and threshold are larger."""

PSEUDO_MAX = 500
"""Pseudo-deploys evaluated at most; a longer past is taken in steps."""

GRID_RATIO = 1.3
"""Spreads are learnt on a grid of ages and lengths with this ratio."""

LEARNT_MIN_MS = DAY_MS // 2
"""Moments a prediction by daily rhythm must have been tried at, as a span."""

RESIDUAL2 = 0.05**2
"""Variance below which predictions count as equally good."""

PRIOR_SD, UNSEEN_SD = 0.1, 0.25
"""Log spreads of a prior: what no past shows, and what a short one can not show."""

PRIOR_BLOCKS = 4.0
"""Disjoint blocks of experience that weigh as much as the prior."""


class Learnt(NamedTuple):
    """Errors of the predictions of one block at one age, without their Poisson part.

    ``share`` are the weights of the combination, ``blocks`` how many disjoint blocks
    the errors come from, ``largest`` the largest error of the combination.
    """

    variance: dict[str, float]
    share: dict[str, float]
    mixed: float
    blocks: float
    largest: float


class PseudoDeploys:
    """What predictions from one past are worth, learnt when asked for.

    Parameters
    ----------
    source : Forecaster
    terms : Terms
    calm : array of shape (bins + 1,)
        Which bins are no start inside an incident. If the real deploy is none
        either, pseudo-deploys inside incidents are left out.
    """

    def __init__(self, source: Forecaster, terms: Terms, calm: BoolArray) -> None:
        self._source, self._terms, self._calm = source, terms, calm
        self._bin_ms = source.bin_ms
        self._length_ms = source.bins * source.bin_ms
        self._learnt: dict[tuple[int, int], Learnt] = {}

    def lesson(self, age_ms: float, length_ms: float) -> tuple[Learnt, float]:
        """Errors at the nearest age that half the past can show, and their stretch."""
        half = max(1, self._source.bins // 2)
        age = min(half, self._bins(_on_grid(age_ms, self._bin_ms)))
        size = min(age, self._bins(_on_grid(length_ms, self._bin_ms)))
        if (age, size) not in self._learnt:
            self._learnt[age, size] = self._learn(age, size)
        return self._learnt[age, size], max(1.0, age_ms / (age * self._bin_ms))

    def _learn(self, age: int, size: int) -> Learnt:
        """Predict the block from pseudo-deploys all over the past."""
        step = max(1, (self._source.bins - age) // PSEUDO_MAX)
        starts = np.arange(self._source.bins - age, 0, -step)
        if self._calm[-1]:
            starts = starts[self._calm[starts]]
        bad, units = self._source.window(starts + age - size, starts + age)
        errors: dict[str, FloatArray] = {}
        noise: dict[str, FloatArray] = {}
        for name, (rate, weight) in self._source.predict(starts, age, size).items():
            expected = rate * units
            error = np.log((bad + HALF) / (expected + HALF)) * self._terms.direction
            tried = int(np.isfinite(error).sum()) * step
            if tried and (name == "hour" or tried * self._bin_ms >= LEARNT_MIN_MS):
                errors[name] = error
                noise[name] = 1 / (expected + HALF) + 1 / (weight + HALF)
        variance = {n: robust_spread(errors[n], noise[n]) for n in errors}
        share = _shares(variance)
        mixed, grain = np.zeros(len(starts)), np.zeros(len(starts))
        for name, weight_of in share.items():
            mixed += weight_of * errors[name]
            grain += weight_of * noise[name]
        seen = mixed[np.isfinite(mixed)]
        if not share or not len(seen):
            return Learnt({}, {}, 0.0, 0.0, -math.inf)
        blocks = len(seen) * step / size
        largest = float(seen.max())
        return Learnt(variance, share, robust_spread(mixed, grain), blocks, largest)

    def total(self, learnt: float, blocks: float, age_ms: float) -> float:
        """Variance of a prediction: learnt, and a prior while little was learnt."""
        prior = PRIOR_SD**2
        if self._length_ms < SHORT_PAST_MS:
            prior += UNSEEN_SD**2 * min(1.0, age_ms / (3 * HOUR_MS))
        trust = blocks / (blocks + PRIOR_BLOCKS)
        return trust * learnt + (1 - trust) * 2.25 * prior + 0.25 * prior

    def _bins(self, span_ms: float) -> int:
        return max(1, round(span_ms / self._bin_ms))


def _shares(variance: dict[str, float]) -> dict[str, float]:
    """Weights of predictions by the square of their precision, summing to 1.

    The square and not the precision itself: predictions share their errors, and
    then the better one deserves more than its precision.
    """
    raw = {name: (v + RESIDUAL2) ** -2 for name, v in variance.items()}
    whole = sum(raw.values())
    return {name: value / whole for name, value in raw.items()}


def _on_grid(span_ms: float, bin_ms: int) -> float:
    """The nearest span of the grid, not below one bin."""
    steps = round(math.log(max(1.0, span_ms / bin_ms)) / math.log(GRID_RATIO))
    return bin_ms * GRID_RATIO**steps
