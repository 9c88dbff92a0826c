"""The simulated service: its traffic, its strata, its releases and its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detector.evidence.types import FloatArray

Attrs = tuple[tuple[str, str], ...]
Counting = Literal["sessions", "users", "requests"]

DAY_S = 86_400


@dataclass(frozen=True)
class Stratum:
    """A part of the fleet that can be told apart by its attributes.

    Attributes
    ----------
    share : float
        Share of the service's traffic; shares are normalised.
    frailty : float
        Factor on every release's error rate here.
    peak_shift_h : float
        How much later in the day its peak lies.
    """

    attrs: Attrs
    share: float
    frailty: float = 1.0
    peak_shift_h: float = 0.0


@dataclass(frozen=True)
class Noise:
    """Wander of a log rate: an AR(1) process with mean factor 1."""

    sd: float = 0.0
    corr_min: float = 30.0

    def factors(
        self, rng: np.random.Generator, windows: int, width: int, window_s: int
    ) -> FloatArray:
        """Factors of each window, shape (windows, width), independent columns."""
        if self.sd == 0.0:
            return np.ones((windows, width))
        keep = math.exp(-window_s / (60.0 * self.corr_min))
        steps = rng.normal(0.0, self.sd, (windows, width))
        steps[1:] *= math.sqrt(1.0 - keep * keep)
        for index in range(1, windows):
            steps[index] += keep * steps[index - 1]
        factors: FloatArray = np.exp(steps - self.sd**2 / 2)
        return factors


@dataclass(frozen=True)
class LatencyShape:
    """Log-normal durations, reported in buckets with these upper edges."""

    median_ms: float = 120.0
    log_sd: float = 0.6
    bounds_ms: tuple[float, ...] = tuple(round(10 * 1.6**k, 1) for k in range(14))


@dataclass(frozen=True)
class FeedbackShape:
    """How often sessions leave feedback and which score 1..5 they give."""

    per_session: float = 0.01
    score_mean: float = 4.2


WEB: tuple[Stratum, ...] = (
    Stratum((("os", "android"),), 0.6),
    Stratum((("os", "ios"),), 0.4),
)
"""The least that has segments."""


@dataclass(frozen=True)
class Service:
    """One service before anything is deployed.

    Attributes
    ----------
    sessions_per_min : float
        Sessions started a minute, all releases together, averaged over a day.
    error_rate : float
        Share of sessions that fail at frailty 1.
    olds : tuple of (str, float)
        Releases that are live before the deploy and their shares.
    daily_traffic, daily_errors : float
        Swing of the day, 0..1: from 1 - swing to 1 + swing.
    weekend : float
        Factor on the traffic of Saturdays and Sundays.
    wander_traffic, wander_errors : Noise
        Wander that all releases of a stratum share.
    wander_private : Noise
        Wander of the error rate that each release has for itself.
    session_min, session_spread : float
        Mean minutes over which a session makes its requests, and how much their
        number varies between sessions beside Poisson's noise (sd over mean).
    events_per_failure : float
        Error events of a failed session on average, at least 1.
    counting : str
        What aggregates carry beside requests: additive sessions, users of a
        single sender, or nothing.
    steps : tuple of (str, float)
        Steps of a funnel and the share of those who come to each that pass it.
    clock_h : float
        Hours its week is ahead of UTC's: where in the week a run begins.
    """

    sessions_per_min: float = 600.0
    error_rate: float = 0.01
    window_s: int = 60
    strata: tuple[Stratum, ...] = WEB
    olds: tuple[tuple[str, float], ...] = (("2.3.1", 1.0),)
    candidate: str = "2.4.0"
    daily_traffic: float = 0.0
    daily_errors: float = 0.0
    weekend: float = 1.0
    wander_traffic: Noise = Noise()
    wander_errors: Noise = Noise()
    wander_private: Noise = Noise()
    requests_per_session: float = 3.0
    session_min: float = 0.0
    session_spread: float = 0.0
    events_per_failure: float = 1.0
    signatures: tuple[tuple[str, float], ...] = (
        ("TimeoutError: cart", 0.7),
        ("KeyError: price", 0.3),
    )
    counting: Counting = "sessions"
    steps: tuple[tuple[str, float], ...] = ()
    clock_h: float = 0.0
    latency: LatencyShape | None = None
    feedback: FeedbackShape | None = None

    def day(self, times_s: FloatArray, swing: float) -> FloatArray:
        """Daily cycle around 1 per time and stratum, shape (times, strata)."""
        shifts_s = np.array([s.peak_shift_h * 3600.0 for s in self.strata])
        local_s = times_s[:, None] + self.clock_h * 3600.0
        turns = (local_s - shifts_s) / DAY_S
        cycle: FloatArray = 1.0 + swing * np.sin(2 * np.pi * turns)
        return cycle

    def week(self, times_s: FloatArray) -> FloatArray:
        """Factor of the day of the week per time, shape (times, 1)."""
        # The epoch was a Thursday: its days 2 and 3 are the weekend.
        local_s = times_s + self.clock_h * 3600.0
        days = (local_s // DAY_S).astype(np.int64) % 7
        factors = np.where((days == 2) | (days == 3), self.weekend, 1.0)
        return np.asarray(factors, dtype=np.float64)[:, None]
