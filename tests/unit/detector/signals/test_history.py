"""The past as control: which counts it reads and when it speaks."""

from __future__ import annotations

import numpy as np

from detector.findings import Finding
from detector.ledger import Values
from detector.rulefile.model import BUILT_IN_RULE
from detector.scope import Scope, Watch
from detector.sight import Sight
from detector.signals.history import look
from detector.signals.pastview import has_history
from detector.windows import OpenWindow

START_MS = 1_795_356_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
OLD, NEW = 1, 2
REGIONS = ("eu", "us")


class World:
    """A service of two regions that flips from one release to another."""

    def __init__(self, past_hours: float = 8.0) -> None:
        self.rng = np.random.default_rng(11)
        self.scope = Scope("shop", "production", MINUTE_MS)
        self.scope.ledger.set_width(MINUTE_MS)
        limits = (("region", 9),)
        self.strata = [
            self.scope.strata.number({"region": r}, limits, "2.0") for r in REGIONS
        ]
        self.scope.registry.admit("1.0", START_MS)
        self.release = self.scope.registry.admit("2.0", START_MS)
        self.watch = Watch("2.0")
        self.now_ms = START_MS
        self.run(OLD, round(past_hours * 60))

    def flip(self) -> None:
        """From now on the new release is alone."""
        self.release.started_ms = self.watch.control_lost_ms = self.now_ms

    def run(
        self,
        release: int,
        minutes: int,
        rate: tuple[float, float] = (0.02, 0.02),
        usage: float = 1000.0,
        errors: float | None = None,
    ) -> None:
        """Close that many windows of one release."""
        for _ in range(minutes):
            self.now_ms += MINUTE_MS
            for stratum, share in zip(self.strata, rate, strict=True):
                units = float(self.rng.poisson(usage))
                bad = float(self.rng.poisson(share * (errors or usage)))
                values = Values(units, bad, units, 1.0)
                self.scope.ledger.add(self.now_ms, (release, stratum), values)
        self.scope.ledger.forget()

    def sight(self, cache: dict[object, object] | None = None) -> Sight:
        """What may be looked at now."""
        window = OpenWindow(self.now_ms)
        return Sight(
            self.scope,
            self.watch,
            self.release,
            BUILT_IN_RULE,
            self.now_ms,
            window,
            {},
            {} if cache is None else cache,
        )

    def found(self) -> list[Finding]:
        """What fires now."""
        return [f for f in look(self.sight()) if f.fires]


def test_concurrent_control_keeps_it_silent() -> None:
    """While a control is left the past is not asked."""
    world = World()
    world.run(NEW, 10, (0.1, 0.1))
    assert not has_history(world.sight())
    assert look(world.sight()) == []


def test_too_short_past_is_named() -> None:
    """Half an hour of past is no history, an hour is."""
    for hours, enough in ((0.5, False), (1.0, True)):
        world = World(hours)
        world.flip()
        assert has_history(world.sight()) is enough


def test_harm_everywhere_is_found() -> None:
    """Four times the failures since the flip fire, with the past as control."""
    world = World()
    world.flip()
    world.run(NEW, 10, (0.08, 0.08))
    whole = next(f for f in world.found() if not f.segment)
    assert (whole.signal, whole.control, whole.guarantee) == (
        "errors",
        "history",
        "empirical",
    )
    assert whole.onset_ms >= world.watch.control_lost_ms
    assert whole.ratio[0] < 4.0 < whole.ratio[2]


def test_harmed_segment_is_named() -> None:
    """Harm in one region fires there and not in the other."""
    world = World()
    world.flip()
    world.run(NEW, 15, (0.02, 0.2))
    segments = {f.segment for f in world.found()}
    assert (("region", "us"),) in segments
    assert (("region", "eu"),) not in segments


def test_ramp_belongs_to_the_past() -> None:
    """An outage of everybody during a long ramp is no news after it."""
    world = World()
    world.release.started_ms = world.now_ms
    world.run(OLD, 120, (0.08, 0.08))
    world.watch.control_lost_ms = world.now_ms
    world.run(NEW, 20, (0.08, 0.08))
    assert world.found() == []


def test_usage_drop_is_found() -> None:
    """Volume that is halved at the flip fires as less usage."""
    world = World(30.0)
    world.flip()
    world.run(NEW, 20, usage=400.0)
    assert [(f.signal, f.reason) for f in world.found()] == [("usage", "usage_down")]


def test_lost_usage_is_no_drop() -> None:
    """Where failures keep coming, missing usage is missing telemetry."""
    world = World(30.0)
    world.flip()
    world.run(NEW, 20, usage=400.0, errors=1000.0)
    assert "usage" not in {f.signal for f in world.found()}


def test_empty_cache_changes_nothing() -> None:
    """Findings with a kept cache equal those computed anew."""
    world = World()
    world.flip()
    cache: dict[object, object] = {}
    for _ in range(8):
        world.run(NEW, 1, (0.05, 0.02))
        assert look(world.sight(cache)) == look(world.sight())
