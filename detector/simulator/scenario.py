"""A scenario is a service, a rollout and effects; a play is one draw of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detector.evidence.types import FloatArray
from detector.simulator.draw import draw
from detector.simulator.harms import Effect
from detector.simulator.lines import Emitter, Record
from detector.simulator.rollout import Rollout
from detector.simulator.service import Service
from detector.simulator.world import CANDIDATE, build_world

START_MS = 1_767_571_200_000
"""Monday, 2026-01-05T00:00Z: all grids are aligned, a weekend is five days away."""


SERVICE, CANARY = Service(), Rollout()
"""What a scenario has if nothing else is said."""


@dataclass
class Play:
    """One run of a scenario: its records, and what only the simulator knows.

    Attributes
    ----------
    batches : iterator of (int, list of dict)
        Arrival time in epoch ms and the records of each window.
    is_bad : bool
        Whether the release should be taken back.
    kinds : tuple of str
        Kinds of harm.
    ratio : float
        Largest factor on the error rate.
    segment : dict of str to str
        Where the harm is; {} everywhere.
    onset_ms : int or None
        Start of the first affected window.
    affected, failed : arrays (window,)
        The candidate's affected sessions and the failed ones among them.
    window_ends_ms : array (window,)
        Ends of the windows in epoch milliseconds.
    """

    batches: Iterator[tuple[int, list[Record]]]
    kinds: tuple[str, ...]
    ratio: float
    segment: dict[str, str]
    deploy_ms: int
    onset_ms: int | None
    affected: FloatArray
    failed: FloatArray
    window_ends_ms: FloatArray

    @property
    def is_bad(self) -> bool:
        """Whether the release should be taken back."""
        return bool(self.kinds)

    def until(self, counts: FloatArray, at_ms: float) -> float:
        """Sum of counts of windows that ended by then."""
        return float(counts[self.window_ends_ms <= at_ms].sum())


@dataclass(frozen=True)
class Scenario:
    """What happens around one release.

    Attributes
    ----------
    family : str
        Name it is counted under.
    past_min, post_min : float
        Minutes before the deploy and from it on.
    """

    family: str
    service: Service = SERVICE
    rollout: Rollout = CANARY
    effects: tuple[Effect, ...] = ()
    past_min: float = 30.0
    post_min: float = 120.0

    def play(self, rng: np.random.Generator, name: str = "shop") -> Play:
        """Draw one run; everything comes from the generator.

        Parameters
        ----------
        name : str
            Service name in the records.
        """
        window_s = self.service.window_s
        world = build_world(
            self.service,
            self.rollout,
            rng,
            start_ms=START_MS,
            past=round(self.past_min * 60 / window_s),
            post=round(self.post_min * 60 / window_s),
        )
        for effect in self.effects:
            effect.apply(world, rng)
        drawn = draw(world, rng)
        harmed = world.truth.harmed
        sessions = drawn.sessions[CANDIDATE] * harmed
        bad = drawn.bad[CANDIDATE].sum(axis=-1) * harmed
        affected = sessions.sum(axis=1).astype(np.float64)
        at = np.flatnonzero(affected)
        steps_ms = np.arange(1, world.windows + 1, dtype=np.float64)
        ends_ms = START_MS + steps_ms * window_s * 1000
        return Play(
            batches=Emitter(world, drawn, self.rollout, rng).batches(name),
            kinds=tuple(world.truth.kinds),
            ratio=world.truth.ratio,
            segment=dict(world.truth.segment),
            deploy_ms=START_MS + world.deploy * window_s * 1000,
            onset_ms=int(ends_ms[at[0]]) - window_s * 1000 if len(at) else None,
            affected=affected,
            failed=bad.sum(axis=1).astype(np.float64),
            window_ends_ms=ends_ms,
        )
