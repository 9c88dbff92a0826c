"""How well plans are kept, and arms agree, that nobody complained of.

Balancers keep to a plan only roughly, and users of two arms differ. How much is learnt
from the finished steps of earlier releases, beside a prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct, field

SPREAD_PRIOR = 0.05
"""Standard deviation of the log odds that a balancer is off its plan (prior)."""

SPREAD_PRIOR_WEIGHT = 4.0
"""How many past steps the prior spread is worth."""

STEPS_KEPT = 32
"""Finished steps of a service that are remembered."""

RESIDUAL_MAX = 0.2
"""More than this off the plan was trouble, not a balancer: it teaches no more."""


class Step(Struct, array_like=True):
    """One finished step of a ramp: how far its share was off the plan."""

    release: int
    residual: float
    variance: float


class PlanPast(Struct, array_like=True):
    """Finished steps of a service, newest last, and the one that is running."""

    steps: list[Step] = field(default_factory=list)
    running: Step | None = None
    running_since_ms: int = -1

    def note(self, since_ms: int, step: Step) -> None:
        """Remember the state of a step; an earlier one with it is finished."""
        before = self.running
        changed = before is not None and (self.running_since_ms, before.release) != (
            since_ms,
            step.release,
        )
        if before is not None and changed:
            self.steps = [*self.steps, before][-STEPS_KEPT:]
        self.running, self.running_since_ms = step, since_ms


def spread(residuals: Sequence[float], variances: Sequence[float]) -> float:
    """How far this balancer strays from its plans, learnt from finished steps.

    Parameters
    ----------
    residuals
        Log ratio to the plan of each step of earlier releases.
    variances
        Variance that counting noise alone gave each of them.

    Returns
    -------
    float
        Standard deviation of the log odds, shrunk to `SPREAD_PRIOR` and never
        below it: a few well-behaved steps prove little.
    """
    excess = [
        min(max(0.0, r * r - v), RESIDUAL_MAX**2)
        for r, v in zip(residuals, variances, strict=True)
    ]
    prior = SPREAD_PRIOR_WEIGHT * SPREAD_PRIOR**2
    learnt = (prior + math.fsum(excess)) / (SPREAD_PRIOR_WEIGHT + len(excess))
    return max(SPREAD_PRIOR, math.sqrt(learnt))
