"""What can be wrong with a release. Each is applied to a world before the draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from detector.simulator.service import Attrs
from detector.simulator.world import CANDIDATE, ExtraErrors, World


class Effect(Protocol):
    """Something that changes a world: harm, or what only looks like it."""

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Change the expectations in place."""


@dataclass(frozen=True)
class MoreErrors:
    """The candidate fails ``factor`` times as often in a segment.

    Attributes
    ----------
    after_min : float
        Onset after the deploy: 0 at once, later for delayed harm.
    grows_min : float
        Time until the factor is reached, on a straight line: a leak.
    """

    factor: float
    after_min: float = 0.0
    grows_min: float = 0.0
    segment: Attrs = ()

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Multiply the candidate's rate; a factor up to 1 is no harm."""
        windows = world.span(self.after_min, None)
        ages = np.arange(windows.stop - windows.start) * world.service.window_s / 60.0
        grown = np.minimum(1.0, (ages + 1e-9) / max(self.grows_min, 1e-9))
        factors = 1.0 + (self.factor - 1.0) * grown
        inside = world.inside(self.segment)
        world.rate[CANDIDATE, windows, inside] *= factors
        if self.factor > 1.0:
            world.blame("errors", windows, self.segment)
            world.truth.ratio = max(world.truth.ratio, self.factor)


@dataclass(frozen=True)
class Slower:
    """Durations of the candidate: all by a factor, and a share ten times as long."""

    factor: float = 1.0
    tail_share: float = 0.0
    after_min: float = 0.0
    segment: Attrs = ()

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Shift the body and add a tail."""
        windows, inside = world.span(self.after_min, None), world.inside(self.segment)
        world.slower[CANDIDATE, windows, inside] += math.log(self.factor)
        world.tail[CANDIDATE, windows, inside] += self.tail_share
        world.blame("latency", windows, self.segment)


@dataclass(frozen=True)
class LessUse:
    """Sessions of the candidate's users fall to ``factor``: they can not get in."""

    factor: float
    after_min: float = 0.0
    segment: Attrs = ()

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Lower the candidate's sessions."""
        windows = world.span(self.after_min, None)
        world.volume[CANDIDATE, windows, world.inside(self.segment)] *= self.factor
        world.blame("usage", windows, self.segment)


@dataclass(frozen=True)
class Retries:
    """Sessions of the candidate's users fall to ``factor``, and those who are in
    try so much more often that the requests do not fall."""

    factor: float
    after_min: float = 0.0

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Lower the sessions and raise their requests."""
        windows = world.span(self.after_min, None)
        world.volume[CANDIDATE, windows] *= self.factor
        world.acts[CANDIDATE, windows] /= self.factor
        world.blame("usage", windows, ())


@dataclass(frozen=True)
class LessDone:
    """Each of the candidate's sessions gets ``factor`` of its requests done."""

    factor: float
    after_min: float = 0.0
    segment: Attrs = ()

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Lower the requests of its sessions; no error is seen."""
        windows, inside = world.span(self.after_min, None), world.inside(self.segment)
        world.acts[CANDIDATE, windows, inside] *= self.factor
        world.blame("actions", windows, self.segment)


@dataclass(frozen=True)
class StuckStep:
    """Fewer of the candidate's users pass a step of the funnel; no error is seen."""

    factor: float
    step: str = "pay"
    after_min: float = 0.0
    segment: Attrs = ()

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Lower the share that passes."""
        windows, inside = world.span(self.after_min, None), world.inside(self.segment)
        number = [name for name, _ in world.service.steps].index(self.step)
        world.passing[CANDIDATE, windows, inside, number] *= self.factor
        world.blame("funnel", windows, self.segment)


@dataclass(frozen=True)
class NewSignature:
    """A new kind of failure of ``excess`` times the service's own rate.

    A small excess hides in the total; only the name tells.
    """

    excess: float = 0.3
    after_min: float = 0.0
    segment: Attrs = ()
    signature: str = "NullPointerException: payment.confirm"

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Add failures under a name of their own."""
        windows, inside = world.span(self.after_min, None), world.inside(self.segment)
        rate = np.zeros_like(world.rate)
        level = world.service.error_rate * self.excess
        rate[CANDIDATE, windows, inside] = level
        world.extra.append(ExtraErrors(self.signature, rate, np.zeros_like(rate)))
        world.blame("signature", windows, self.segment)
        world.truth.ratio = max(world.truth.ratio, 1.0 + self.excess)


@dataclass(frozen=True)
class WorseFeedback:
    """Users of the candidate complain more often and give lower scores."""

    more: float = 2.0
    score_drop: float = 1.0
    after_min: float = 0.0

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Raise the candidate's voices and lower their score."""
        windows = world.span(self.after_min, None)
        world.voices[CANDIDATE, windows] *= self.more
        world.score[CANDIDATE, windows] -= self.score_drop
        world.blame("feedback", windows, ())
