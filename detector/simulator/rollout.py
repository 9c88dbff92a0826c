"""How a release takes over: the candidate's share over time, and its deploys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from detector.evidence.types import FloatArray
from detector.simulator.service import Attrs, Stratum

CANARY_STEPS: tuple[tuple[float, float], ...] = ((0, 0.05), (40, 0.25), (80, 0.5))


class DeployStep(NamedTuple):
    """One deploy event: minutes since the first, phase, weight and scope."""

    after_min: float
    phase: str
    weight: float
    scope: Attrs


@dataclass(frozen=True)
class Rollout:
    """Shares step by step, the same in every stratum.

    Attributes
    ----------
    strategy : str
        As the deploy events call it.
    steps : tuple of (float, float)
        Minutes since the deploy and the weight from then on.
    """

    strategy: str = "canary"
    steps: tuple[tuple[float, float], ...] = CANARY_STEPS

    def shares(self, after_min: FloatArray, strata: tuple[Stratum, ...]) -> FloatArray:
        """Candidate's share, shape (times, strata), 0 before the deploy."""
        shares = np.zeros(len(after_min))
        for start, weight in self.steps:
            shares[after_min >= start] = weight
        return np.repeat(shares[:, None], len(strata), axis=1)

    def deploys(self, strata: tuple[Stratum, ...]) -> list[DeployStep]:
        """The deploy events, in order of time."""
        return [
            DeployStep(start, "progressed" if index else "started", weight, ())
            for index, (start, weight) in enumerate(self.steps)
        ]


def ab_test(weight: float = 0.5) -> Rollout:
    """A fixed share from the beginning."""
    return Rollout("ab", ((0, weight),))


def blue_green() -> Rollout:
    """All traffic at once."""
    return Rollout("bluegreen", ((0, 1.0),))


@dataclass(frozen=True)
class Rolling(Rollout):
    """Instances are replaced one by one within minutes; the weight is 1."""

    strategy: str = "rolling"
    steps: tuple[tuple[float, float], ...] = ((0, 1.0),)
    takes_min: float = 5.0

    def shares(self, after_min: FloatArray, strata: tuple[Stratum, ...]) -> FloatArray:
        """Candidate's share: a straight line from 0 to 1."""
        line = np.clip((after_min + 1e-9) / self.takes_min, 0.0, 1.0)
        return np.repeat(line[:, None], len(strata), axis=1)


@dataclass(frozen=True)
class Adoption(Rollout):
    """A store rollout: devices update when they please, up to the phase's weight."""

    strategy: str = "mobile"
    steps: tuple[tuple[float, float], ...] = ((0, 0.2), (240, 0.5), (480, 1.0))
    tau_min: float = 180.0

    def shares(self, after_min: FloatArray, strata: tuple[Stratum, ...]) -> FloatArray:
        """Candidate's share: each phase's devices update with time constant tau."""
        share, before = np.zeros(len(after_min)), 0.0
        for start, weight in self.steps:
            age = np.maximum(after_min - start, 0.0)
            share += (weight - before) * -np.expm1(-age / self.tau_min)
            before = weight
        return np.repeat(share[:, None], len(strata), axis=1)


@dataclass(frozen=True)
class Waves(Rollout):
    """Values of one attribute flip wholly, one after the other.

    Attributes
    ----------
    order : tuple of str
        Values in order; those not named never flip.
    every_min : float
        Time between two flips.
    """

    strategy: str = "wave"
    steps: tuple[tuple[float, float], ...] = ((0, 1.0),)
    attribute: str = "region"
    order: tuple[str, ...] = ()
    every_min: float = 120.0

    def shares(self, after_min: FloatArray, strata: tuple[Stratum, ...]) -> FloatArray:
        """Candidate's share: 0 or 1, per value of the attribute."""
        columns = []
        for stratum in strata:
            value = dict(stratum.attrs).get(self.attribute)
            turn = self.order.index(value) if value in self.order else np.inf
            columns.append((after_min >= turn * self.every_min).astype(np.float64))
        return np.stack(columns, axis=1)

    def deploys(self, strata: tuple[Stratum, ...]) -> list[DeployStep]:
        """One event for each value, with its scope."""
        return [
            DeployStep(
                turn * self.every_min,
                "progressed" if turn else "started",
                1.0,
                ((self.attribute, value),),
            )
            for turn, value in enumerate(self.order)
        ]


def deploy_record(step: DeployStep, strategy: str, **common: Any) -> dict[str, Any]:
    """A deploy event of the envelope; ``common`` holds names and times."""
    record = {
        "kind": "deploy",
        "phase": step.phase,
        "strategy": strategy,
        "weight": step.weight,
        **common,
    }
    if step.scope:
        record["scope"] = dict(step.scope)
    return record
