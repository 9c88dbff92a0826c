"""What looks like a bad release and is none. Each can lie beside real harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detector.evidence.types import FloatArray
from detector.simulator.service import Attrs
from detector.simulator.world import CANDIDATE, ExtraErrors, World

Arm = Literal["old", "new", "both"]
LineKind = Literal["usage", "error", "latency", "feedback"]

OLDS = slice(0, -1)


def _arms(arm: Arm) -> slice:
    """Releases of an arm on the axis of releases."""
    return {"old": OLDS, "new": slice(-1, None), "both": slice(None)}[arm]


@dataclass(frozen=True)
class EarlyAdopters:
    """Who updates first is no random sample, and the difference fades.

    Attributes
    ----------
    lean : mapping of stratum number to float
        Factor on the candidate's share there at the deploy.
    excess : float
        Factor on the error rate of those who came first, whatever their release;
        they are on the candidate, so it looks like its own.
    half_life_min : float
        Time until half of the difference is gone.
    acts : float
        Factor on what those who came first do in a session.
    """

    lean: Mapping[int, float]
    excess: float = 1.0
    half_life_min: float = 40.0
    acts: float = 1.0

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Bend the candidate's share and, for the excess, its rate."""
        ages = (np.arange(world.windows) - world.deploy) * world.service.window_s / 60
        left = np.where(ages >= 0, 0.5 ** (np.maximum(ages, 0) / self.half_life_min), 0)
        for stratum, factor in self.lean.items():
            new = world.share[CANDIDATE, :, stratum]
            leant = np.clip(new * (1 + (factor - 1) * left), 0.0, 1.0)
            rest = np.divide(
                1 - leant, 1 - new, out=np.zeros_like(new), where=new < 1.0
            )
            world.share[OLDS, :, stratum] *= rest
            world.share[CANDIDATE, :, stratum] = leant
        world.rate[CANDIDATE] *= (1 + (self.excess - 1) * left)[:, None]
        world.acts[CANDIDATE] *= (1 + (self.acts - 1) * left)[:, None]


@dataclass(frozen=True)
class Outage:
    """A dependency fails: everybody's errors rise, perhaps in one region only.

    With ``arm`` old it is the old release's own trouble.
    """

    start_min: float
    end_min: float
    factor: float
    segment: Attrs = ()
    arm: Arm = "both"

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Multiply the error rates of the arm for a time."""
        windows = world.span(self.start_min, self.end_min)
        for stratum in world.inside(self.segment):
            world.rate[_arms(self.arm), windows, stratum] *= self.factor


@dataclass(frozen=True)
class Blip:
    """Cold caches: the candidate fails for a minute or three, then all is well."""

    minutes: float = 2.0
    factor: float = 10.0

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Multiply the candidate's rate right after the deploy."""
        world.rate[CANDIDATE, world.span(0.0, self.minutes)] *= self.factor


@dataclass(frozen=True)
class Marketing:
    """A campaign: more traffic, and newcomers fail more often, on every release."""

    start_min: float
    end_min: float
    traffic: float = 3.0
    errors: float = 1.3

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Raise traffic and error rates for a time."""
        windows = world.span(self.start_min, self.end_min)
        world.traffic[windows] *= self.traffic
        world.rate[:, windows] *= self.errors


@dataclass(frozen=True)
class Bots:
    """A scanner hits one arm: few sessions, all fail, with many events each."""

    sessions_per_min: float = 0.5
    events_per_session: float = 40.0
    arm: Arm = "new"
    start_min: float = 0.0
    end_min: float | None = None
    signature: str = "NotFound: wp-login"

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Add visitors that only fail, spread over strata like the traffic."""
        windows = world.span(self.start_min, self.end_min)
        visitors = np.zeros_like(world.rate)
        shares = np.array([s.share for s in world.service.strata])
        per_window = self.sessions_per_min * world.service.window_s / 60
        visitors[_arms(self.arm), windows] = per_window * shares / shares.sum()
        visitors *= world.share > 0
        world.extra.append(
            ExtraErrors(
                self.signature,
                np.zeros_like(visitors),
                visitors,
                events_per_failure=self.events_per_session,
            )
        )


@dataclass(frozen=True)
class CrashLoop:
    """A few broken devices restart and crash again, on one arm or on both."""

    restarts_per_min: float = 4.0
    devices: float = 20.0
    arm: Arm = "both"
    start_min: float = 0.0
    end_min: float | None = None
    signature: str = "SIGSEGV: graphics driver"

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Add failing sessions, many of each device, divided as the releases are."""
        windows = world.span(self.start_min, self.end_min)
        visitors = np.zeros_like(world.rate)
        per_window = self.restarts_per_min * world.service.window_s / 60
        visitors[_arms(self.arm), windows] = per_window / world.rate.shape[2]
        visitors *= world.share
        world.extra.append(
            ExtraErrors(
                self.signature,
                np.zeros_like(visitors),
                visitors,
                devices=max(1.0, per_window / self.devices),
            )
        )


@dataclass(frozen=True)
class Renamed:
    """A refactoring: some of the candidate's failures have a new name."""

    share: float = 0.5

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Move failures from old names to new ones."""
        world.renamed = self.share


@dataclass(frozen=True)
class Sampled:
    """Senders keep a share of sessions and of errors, told as ``sample_rate``.

    The old releases' senders keep ``old``, the candidate's ``new`` from its deploy on.
    """

    old: float = 0.5
    new: float = 0.5
    errors_old: float = 1.0
    errors_new: float = 1.0

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Set what survives."""
        for keep, old, new in (
            (world.feed.keep_usage, self.old, self.new),
            (world.feed.keep_errors, self.errors_old, self.errors_new),
        ):
            keep[OLDS], keep[CANDIDATE] = old, new


@dataclass(frozen=True)
class ManySenders:
    """Each release reports from so many processes, which restart now and then."""

    senders: int = 8
    restarts_per_hour: float = 0.2

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Set the number of senders and how often each restarts in a window."""
        world.feed.senders = self.senders
        hours = world.service.window_s / 3600
        world.feed.restart_chance = self.restarts_per_hour * hours


@dataclass(frozen=True)
class SkewedClock:
    """The sender of an arm has a wrong clock, by so many seconds ahead."""

    ahead_s: float = -90.0
    arm: Arm = "new"

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Shift the arm's time stamps."""
        world.feed.skew_s[_arms(self.arm)] = self.ahead_s


@dataclass(frozen=True)
class LateLines:
    """Some lines of a kind come minutes late."""

    chance: float = 0.1
    mean_s: float = 300.0
    kind: LineKind = "usage"
    arm: Arm = "both"

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Set the chance of being late."""
        chances = world.feed.late.setdefault(
            self.kind, np.zeros(world.rate.shape[0], dtype=np.float64)
        )
        chances[_arms(self.arm)] = self.chance
        world.feed.late_s = self.mean_s


@dataclass(frozen=True)
class LostLines:
    """Some lines of a kind never come: telemetry is broken, not the release."""

    chance: float = 0.3
    kind: LineKind = "usage"
    arm: Arm = "new"
    start_min: float = 0.0
    end_min: float | None = None

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Set the chance of being lost."""
        lost: FloatArray = np.zeros(world.rate.shape)
        lost[_arms(self.arm), world.span(self.start_min, self.end_min)] = self.chance
        world.feed.lost[self.kind] = lost


@dataclass(frozen=True)
class RepeatedLines:
    """Some lines arrive twice, in the same batch or in the next one."""

    chance: float = 0.2

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Set the chance of a copy."""
        world.feed.repeated = self.chance


@dataclass(frozen=True)
class NextLaunch:
    """Crashes are reported when the application starts again."""

    mean_min: float = 120.0

    def apply(self, world: World, rng: np.random.Generator) -> None:
        """Delay error lines of every release."""
        world.feed.launch_delay_s = self.mean_min * 60
