"""One event into its scope: late, early, twice, wide, or simply counted."""

from __future__ import annotations

from typing import Any

import pytest

from detector.events import Deploy, Usage
from detector.intake import Intake, take_deploy, take_telemetry
from detector.rulebook import InForce, Rulebook
from detector.scope import Scope
from tests.unit.detector.traffic import START_MS, rules

BOOK = Rulebook(rules("exclude_releases: ['lt-*']"))
IN_FORCE: InForce = BOOK.find("shop", "production")


@pytest.fixture
def scope() -> Scope:
    """A scope that has seen nothing."""
    return Scope("shop", "production", 10_000)


def take(
    scope: Scope,
    ts: int = START_MS,
    *,
    arrival_ms: int | None = None,
    name: str | None = None,
    **fields: Any,
) -> Intake:
    """Take a usage event that arrives at its end unless said otherwise."""
    event = Usage(ts=ts, service="shop", release="1", **fields)
    arrived = event.end_ms if arrival_ms is None else arrival_ms
    return take_telemetry(scope, event, name, arrived, IN_FORCE)


def units(scope: Scope) -> float:
    """Requests in all open windows."""
    return sum(c.requests.units for w in scope.open.values() for c in w.cells.values())


def test_copy_counts_once(scope: Scope) -> None:
    """A second record of the same id changes counts, watermark and sums nowhere."""
    assert take(scope, name="a") is Intake.COUNTED
    assert take(scope, name="a", arrival_ms=START_MS + 9_000) is Intake.DUPLICATE
    assert (units(scope), scope.duplicates, scope.watermark_ms) == (1, 1, START_MS)


def test_nameless_events_all_count(scope: Scope) -> None:
    """Without an id equal events are different events."""
    take(scope)
    take(scope)
    assert units(scope) == 2


def test_late_event_changes_nothing(scope: Scope) -> None:
    """Behind a closed window an event is counted as late and nothing else."""
    scope.closed_until_ms = START_MS
    assert take(scope, START_MS - 1) is Intake.LATE
    assert take(scope, START_MS) is Intake.LATE
    assert take(scope, START_MS + 1) is Intake.COUNTED
    assert (scope.late, units(scope)) == (2, 1)


def test_late_event_widens_nothing(scope: Scope) -> None:
    """A batch from an hour ago does not slow the service's windows down."""
    scope.closed_until_ms = START_MS
    late = take(scope, START_MS - 3_600_000, window_s=3600, count=5)
    assert (late, scope.width_ms) == (Intake.LATE, 10_000)


def test_future_event_is_refused(scope: Scope) -> None:
    """Beyond the skew an event moves neither counts nor watermark."""
    skew_ms = IN_FORCE.rule.skew_ms
    assert take(scope, START_MS, arrival_ms=START_MS - skew_ms) is Intake.COUNTED
    assert take(scope, START_MS + 1, arrival_ms=START_MS - skew_ms) is Intake.FUTURE
    assert scope.future == 1
    assert scope.watermark_ms == START_MS - skew_ms


def test_watermark_never_exceeds_arrival(scope: Scope) -> None:
    """An event that ends after it arrived moves the watermark to its arrival."""
    take(scope, START_MS + 30_000, arrival_ms=START_MS)
    assert scope.watermark_ms == START_MS


def test_wrong_clock_is_corrected(scope: Scope) -> None:
    """A sender an hour behind is counted where its records arrive."""
    hour_ms = 3_600_000
    sent = START_MS - hour_ms
    take(scope, sent, sent_at=sent, received_at=START_MS, arrival_ms=START_MS)
    assert list(scope.open) == [START_MS]


def test_synthetic_moves_time_only(scope: Scope) -> None:
    """Synthetic traffic is never counted but shows that time passes."""
    assert take(scope, synthetic=True) is Intake.IGNORED
    assert (units(scope), scope.watermark_ms) == (0, START_MS)


def test_wide_aggregate_widens_windows(scope: Scope) -> None:
    """Open windows merge into the width of the longest, with all counts and ids."""
    for index in range(6):
        take(scope, START_MS + index * 10_000 + 1, name=f"n{index}")
    take(scope, START_MS, window_s=60, count=100, arrival_ms=START_MS + 60_000)
    assert scope.width_ms == 60_000
    assert list(scope.open) == [START_MS + 60_000]
    assert units(scope) == 106
    assert len(scope.open[START_MS + 60_000].ids) == 6
    take(scope, START_MS + 1, name="n0", arrival_ms=START_MS + 60_000)
    assert scope.duplicates == 1


def test_hour_after_ten_seconds(scope: Scope) -> None:
    """An hourly sender joins one of 10 s without a window on two grids."""
    take(scope, START_MS + 1)
    scope.closed_until_ms = START_MS + 20_000
    end_ms = START_MS + 3_600_000
    assert take(scope, START_MS, window_s=3600, count=7) is Intake.COUNTED
    assert take(scope, START_MS + 25_000, arrival_ms=end_ms) is Intake.COUNTED
    assert list(scope.open) == [end_ms]
    assert units(scope) == 9


def test_deploys_are_never_late(scope: Scope) -> None:
    """What is live is a fact, however late it is told."""
    scope.closed_until_ms = START_MS
    event = Deploy(ts=START_MS - 60_000, service="shop", release="2")
    assert take_deploy(scope, event, START_MS, IN_FORCE) is Intake.COUNTED
    assert list(scope.watches) == ["2"]


def test_future_deploy_is_refused(scope: Scope) -> None:
    """A deploy beyond the skew starts nothing."""
    event = Deploy(ts=START_MS + 60_001, service="shop", release="2")
    assert take_deploy(scope, event, START_MS, IN_FORCE) is Intake.FUTURE
    assert not scope.watches


def test_excluded_release_is_not_judged(scope: Scope) -> None:
    """A release the rule excludes is traffic, never a candidate."""
    event = Deploy(ts=START_MS, service="shop", release="lt-7")
    take_deploy(scope, event, START_MS, IN_FORCE)
    assert not scope.watches
    assert not scope.registry.candidates()
