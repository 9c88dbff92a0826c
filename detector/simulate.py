"""Seeded traffic of a service around a release: for the demo, tests and docs.

A ``Shop`` is one service with strata, a control and a candidate. It yields, one
window at a time, aggregates with additive sessions or single events, as the
envelope has them. What makes a candidate bad, and what only looks like it, are
fields of the shop. Everything is drawn from one generator: same seed, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Record = dict[str, Any]
Attrs = tuple[tuple[str, str], ...]
Curve = Callable[[int], float]
"""A number as a function of the window's index since the start."""
StratumCurve = Callable[[int, Attrs], float]
"""The same for each stratum."""

DEFAULT_STRATA: tuple[tuple[Attrs, float], ...] = (
    ((("os", "android"), ("region", "eu")), 0.35),
    ((("os", "android"), ("region", "us")), 0.15),
    ((("os", "ios"), ("region", "eu")), 0.2),
    ((("os", "ios"), ("region", "us")), 0.3),
)


def constant(value: float) -> Curve:
    """The same in every window."""
    return lambda _: value


def everywhere(value: float) -> StratumCurve:
    """The same in every window and stratum."""
    return lambda _, __: value


def ramp(steps: Sequence[tuple[int, float]]) -> Curve:
    """Steps: from window index on, this value; 0 before the first."""

    def at(window: int) -> float:
        value = 0.0
        for start, step in steps:
            if window >= start:
                value = step
        return value

    return at


def daily(swing: float, window_s: int, phase: float = 0.0) -> Curve:
    """A daily cycle around 1: from 1 - swing to 1 + swing."""

    def at(window: int) -> float:
        turn = 2 * math.pi * (window * window_s / 86_400 + phase)
        return 1.0 + swing * math.sin(turn)

    return at


def burst(start: int, end: int, factor: float) -> Curve:
    """``factor`` inside ``[start, end)``, 1 outside: an outage or a spike."""
    return lambda window: factor if start <= window < end else 1.0


def product(*curves: Curve) -> Curve:
    """Curves multiplied."""
    return lambda window: math.prod(curve(window) for curve in curves)


@dataclass(frozen=True)
class Shop:
    """A service and its release.

    Attributes
    ----------
    sessions_per_window : float
        Sessions that start in a window, all releases together, at traffic 1.
    error_rate : float
        Share of sessions that fail, for both releases, at ambient 1.
    weight : Curve
        Candidate's share of the sessions; its first positive window is the deploy.
    harm : Curve
        Factor on the candidate's error rate inside ``harm_segment``.
    traffic, ambient : Curve
        Factors on sessions and on everybody's error rate.
    lean : StratumCurve
        Factor on the candidate's share in a stratum: early adopters are not a
        random sample.
    frailty : StratumCurve
        Factor on both releases' error rate in a stratum.
    errors_per_failure : int
        Error events of one failed session, where sessions come as single events.
    """

    service: str = "shop"
    baseline: str = "2.3.1"
    candidate: str = "2.4.0"
    window_s: int = 10
    sessions_per_window: float = 800.0
    error_rate: float = 0.01
    weight: Curve = field(default_factory=lambda: ramp([(30, 0.2)]))
    harm: Curve = field(default_factory=lambda: constant(1.0))
    harm_segment: Attrs = ()
    traffic: Curve = field(default_factory=lambda: constant(1.0))
    ambient: Curve = field(default_factory=lambda: constant(1.0))
    lean: StratumCurve = field(default_factory=lambda: everywhere(1.0))
    frailty: StratumCurve = field(default_factory=lambda: everywhere(1.0))
    errors_per_failure: int = 1
    strata: tuple[tuple[Attrs, float], ...] = DEFAULT_STRATA
    signatures: tuple[str, ...] = ("TimeoutError: cart", "KeyError: price")
    harm_signature: str = "NullPointerException: payment.confirm"
    arrival_lag_ms: int = 500

    def windows(
        self, rng: np.random.Generator, start_ms: int, count: int
    ) -> Iterator[list[Record]]:
        """Aggregates of each window, one list a window, deploys included."""
        before = 0.0
        for index in range(count):
            ts = start_ms + index * self.window_s * 1000
            share = self.weight(index)
            records = []
            if share != before:
                phase = "started" if before == 0 else "progressed"
                records.append(self.deploy(ts, share, phase))
                before = share
            records += self._window(rng, ts, index)
            yield records

    def deploy(self, ts: int, weight: float, phase: str) -> Record:
        """The deploy event of the candidate."""
        return {
            "kind": "deploy",
            "ts": ts,
            "received_at": ts,
            "service": self.service,
            "release": self.candidate,
            "predecessor": self.baseline,
            "phase": phase,
            "strategy": "canary",
            "weight": weight,
            "id": f"deploy-{self.candidate}-{ts}",
        }

    def rates(self, index: int, attrs: Attrs) -> tuple[float, float]:
        """Error rates (baseline, candidate) of a stratum in a window."""
        rate = self.error_rate * self.ambient(index) * self.frailty(index, attrs)
        ambient = min(0.5, rate)
        inside = set(self.harm_segment) <= set(attrs)
        own = min(0.9, ambient * self.harm(index)) if inside else ambient
        return ambient, own

    def share(self, index: int, attrs: Attrs) -> float:
        """Candidate's share of a stratum's sessions in a window."""
        return min(1.0, self.weight(index) * self.lean(index, attrs))

    def events(self, rng: np.random.Generator, ts: int, index: int) -> Iterator[Record]:
        """The same window as single events: a session each, in order of time."""
        total = int(rng.poisson(self.sessions_per_window * self.traffic(index)))
        parts = np.array([part for _, part in self.strata])
        cells = rng.choice(len(parts), size=total, p=parts / parts.sum())
        times = np.sort(rng.integers(0, self.window_s * 1000, size=total))
        for offset_ms, cell in zip(times.tolist(), cells.tolist(), strict=True):
            attrs = self.strata[cell][0]
            is_candidate = bool(rng.random() < self.share(index, attrs))
            ambient, own = self.rates(index, attrs)
            failed = bool(rng.random() < (own if is_candidate else ambient))
            session = f"s{int(rng.integers(0, 2**48)):012x}"
            common = {
                "ts": ts + offset_ms,
                "service": self.service,
                "release": self.candidate if is_candidate else self.baseline,
                "attrs": dict(attrs),
                "session": session,
            }
            yield {"kind": "usage", "unit": "session", "id": f"u-{session}", **common}
            if failed:
                harmed = is_candidate and rng.random() >= ambient / own
                signature = self.harm_signature if harmed else self.signatures[cell % 2]
                kind, _, message = signature.partition(": ")
                for repeat in range(self.errors_per_failure):
                    yield {
                        "kind": "error",
                        "id": f"e-{session}-{repeat}" if repeat else f"e-{session}",
                        "type": kind,
                        "message": message,
                        **common,
                    }

    def _window(
        self, rng: np.random.Generator, ts: int, index: int
    ) -> Iterator[Record]:
        received_at = ts + self.window_s * 1000 + self.arrival_lag_ms
        total = self.sessions_per_window * self.traffic(index)
        for number, (attrs, part) in enumerate(self.strata):
            rates = self.rates(index, attrs)
            share = self.share(index, attrs)
            for release, weight, rate in (
                (self.baseline, 1.0 - share, rates[0]),
                (self.candidate, share, rates[1]),
            ):
                sessions = int(rng.poisson(total * part * weight))
                failed = int(rng.binomial(sessions, rate))
                if weight <= 0:
                    continue
                common = {
                    "ts": ts,
                    "window_s": self.window_s,
                    "received_at": received_at,
                    "service": self.service,
                    "release": release,
                    "attrs": dict(attrs),
                    "sender": "edge-1",
                }
                seq = (index * len(self.strata) + number) * 4
                seq += 2 if release == self.candidate else 0
                yield {
                    "kind": "usage",
                    "seq": seq,
                    "count": sessions * 3,
                    "sessions": sessions,
                    **common,
                }
                if failed:
                    excess = rate > rates[0] and release == self.candidate
                    yield {
                        "kind": "error",
                        "seq": seq + 1,
                        "count": failed,
                        "sessions": failed,
                        "signature": (
                            self.harm_signature
                            if excess
                            else self.signatures[number % len(self.signatures)]
                        ),
                        **common,
                    }
