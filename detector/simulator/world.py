"""Expectations of every release, window and stratum, before anything is drawn.

Effects change a ``World``; what is drawn from it is in ``detector.simulator.draw``.
All arrays have the axes (release, window, stratum), the candidate last among the
releases, unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.evidence.types import BoolArray, FloatArray
from detector.simulator.rollout import Rollout
from detector.simulator.service import Attrs, Service

CANDIDATE = -1
"""Index of the candidate on the axis of releases."""


@dataclass
class ExtraErrors:
    """A signature beside the service's own.

    Attributes
    ----------
    rate : array (release, window, stratum)
        Failed sessions of it per session.
    visitors : array (release, window, stratum)
        Expected sessions that come only to fail: bots, devices in a loop.
    devices : float
        So many visitors' sessions come from one device.
    events_per_failure : float
        Error events of each failed session.
    """

    signature: str
    rate: FloatArray
    visitors: FloatArray
    devices: float = 1.0
    events_per_failure: float = 1.0


@dataclass
class Feed:
    """What happens to the telemetry on its way; times in seconds.

    Attributes
    ----------
    senders, restart_chance : int, float
        Processes a release reports from, and how often one restarts in a window.
    keep_usage, keep_errors : array (release, window)
        Share of sessions and of errors that survives sampling, told to the reader.
    lost : dict of str to array (release, window, stratum)
        Chance of a line of that kind to vanish.
    late, late_s : dict of str to array (release,), float
        Chance of a line of that kind to come late, and how late on average.
    repeated : float
        Chance of a line to arrive again.
    skew_s : array (release,)
        How far a release's sender is ahead of the true time.
    launch_delay_s : float
        Mean time until a crash is reported at the next launch; 0 reports at once.
    """

    keep_usage: FloatArray
    keep_errors: FloatArray
    skew_s: FloatArray
    senders: int = 1
    restart_chance: float = 0.0
    lost: dict[str, FloatArray] = field(default_factory=dict)
    late: dict[str, FloatArray] = field(default_factory=dict)
    late_s: float = 300.0
    repeated: float = 0.0
    launch_delay_s: float = 0.0


@dataclass
class Truth:
    """What is wrong with the candidate, if anything.

    Attributes
    ----------
    kinds : list of str
        Kinds of harm, empty for a harmless release.
    ratio : float
        Largest factor on its error rate, 1 where harm is of another kind.
    segment : tuple
        Where, of the last harm; () everywhere.
    harmed : array (window, stratum)
        Where and when its sessions are affected.
    """

    harmed: BoolArray
    kinds: list[str] = field(default_factory=list)
    ratio: float = 1.0
    segment: Attrs = ()

    @property
    def is_bad(self) -> bool:
        """Whether the release should be taken back."""
        return bool(self.kinds)


@dataclass
class World:
    """A service around one deploy.

    Attributes
    ----------
    deploy : int
        Index of the first window of the candidate.
    traffic : array (window, stratum)
        Expected sessions of all releases.
    share : array
        How they are divided among the releases.
    volume : array
        Factor on a release's sessions: below 1 fewer of its users get in.
    acts : array
        Factor on the requests of a session: below 1 it gets less done.
    rate : array
        Chance of a session to fail.
    slower : array
        Log of the factor on all durations.
    tail : array
        Share of durations that are ten times as long.
    voices, score : array
        Feedback per session and its mean score.
    passing : array (release, window, stratum, step)
        Share that passes each step of the funnel.
    renamed : float
        Share of the candidate's failures that carry new names for old errors.
    """

    service: Service
    start_ms: int
    deploy: int
    traffic: FloatArray
    share: FloatArray
    volume: FloatArray
    acts: FloatArray
    rate: FloatArray
    slower: FloatArray
    tail: FloatArray
    voices: FloatArray
    score: FloatArray
    passing: FloatArray
    feed: Feed
    truth: Truth
    extra: list[ExtraErrors] = field(default_factory=list)
    renamed: float = 0.0

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self.traffic)

    def index(self, after_min: float) -> int:
        """The window at so many minutes after the deploy, kept inside the run."""
        at = self.deploy + round(after_min * 60 / self.service.window_s)
        return min(max(at, 0), self.windows)

    def span(self, start_min: float, end_min: float | None) -> slice:
        """The windows between two times after the deploy; None is the end."""
        end = self.windows if end_min is None else self.index(end_min)
        return slice(self.index(start_min), end)

    def inside(self, segment: Attrs) -> NDArray[np.intp]:
        """Numbers of the strata that lie in a segment; () is all of them."""
        wanted = set(segment)
        found = [
            number
            for number, stratum in enumerate(self.service.strata)
            if wanted <= set(stratum.attrs)
        ]
        return np.array(found, dtype=np.intp)

    def blame(self, kind: str, windows: slice, segment: Attrs) -> None:
        """Note that the candidate harms these windows' sessions in a segment."""
        self.truth.harmed[windows, self.inside(segment)] = True
        self.truth.kinds.append(kind)
        self.truth.segment = segment


def build_world(
    service: Service,
    rollout: Rollout,
    rng: np.random.Generator,
    *,
    start_ms: int,
    past: int,
    post: int,
) -> World:
    """Expectations of a service without any effect.

    Parameters
    ----------
    past, post : int
        Windows before the deploy and from it on.
    """
    windows, strata = past + post, len(service.strata)
    times_s = start_ms / 1000 + service.window_s * np.arange(windows, dtype=float)
    after_min = (np.arange(windows) - past) * service.window_s / 60.0
    shares = np.where(
        after_min[:, None] >= 0, rollout.shares(after_min, service.strata), 0.0
    )
    shape = (len(service.olds) + 1, windows, strata)
    feedback, window_s = service.feedback, service.window_s
    passing = np.array([share for _, share in service.steps])
    noise: Callable[..., FloatArray] = service.wander_private.factors
    private = [noise(rng, windows, strata, window_s) for _ in range(shape[0])]
    return World(
        service=service,
        start_ms=start_ms,
        deploy=past,
        traffic=_traffic(service, rng, times_s),
        share=_divide(service, shares),
        volume=np.ones(shape),
        acts=np.ones(shape),
        rate=_errors(service, rng, times_s) * np.stack(private),
        slower=np.zeros(shape),
        tail=np.zeros(shape),
        voices=np.full(shape, feedback.per_session if feedback else 0.0),
        score=np.full(shape, feedback.score_mean if feedback else 0.0),
        passing=np.tile(passing, (*shape, 1)),
        feed=Feed(np.ones(shape[:2]), np.ones(shape[:2]), np.zeros(shape[0])),
        truth=Truth(np.zeros(shape[1:], dtype=bool)),
    )


def _divide(service: Service, shares: FloatArray) -> FloatArray:
    """Shares of all releases, the candidate's last."""
    parts = np.array([part for _, part in service.olds])
    old = (parts / parts.sum())[:, None, None] * (1.0 - shares)
    return np.concatenate([old, shares[None]])


def _traffic(
    service: Service, rng: np.random.Generator, times_s: FloatArray
) -> FloatArray:
    parts = np.array([s.share for s in service.strata])
    level = service.sessions_per_min * service.window_s / 60.0 * parts / parts.sum()
    wander = service.wander_traffic.factors(rng, len(times_s), 1, service.window_s)
    cycle = service.day(times_s, service.daily_traffic) * service.week(times_s)
    expected: FloatArray = level * cycle * wander
    return expected


def _errors(
    service: Service, rng: np.random.Generator, times_s: FloatArray
) -> FloatArray:
    """Shared error rate, shape (1, window, stratum)."""
    frailty = np.array([s.frailty for s in service.strata])
    noise, width = service.wander_errors, len(service.strata)
    wander = noise.factors(rng, len(times_s), width, service.window_s)
    # Failures peak when traffic is low: the phases must not help each other.
    cycle = service.day(times_s + 43_200.0, service.daily_errors)
    rate: FloatArray = (service.error_rate * frailty * cycle * wander)[None]
    return rate
