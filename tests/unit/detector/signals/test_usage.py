"""Usage against the plan: which bins count, what fires, and what it says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from detector.evidence.plan import THRESHOLD
from detector.evidence.plansteps import PlanPast, Step
from detector.findings import Finding
from detector.ledger import Values
from detector.releases import Release
from detector.rulefile.model import BUILT_IN_RULE
from detector.scope import Scope, Watch
from detector.sight import Sight
from detector.signals.split import rates_of
from detector.signals.usage import (
    SEGMENT_EXTRA,
    learnt_spread,
    look_with,
    planned_step,
)
from detector.windows import Cell, OpenWindow

START_MS = 1_795_356_000_000
MINUTE_MS = 60_000
OLD, NEW = 1, 2

Traffic = Callable[[int, int, int], Values | None]
"""(minute, release, stratum) -> units, failed ones, requests, lines; None: no line."""


def even(share: float = 0.1, *, bad: float = 0.01, total: float = 1000.0) -> Traffic:
    """Traffic of which the new release gets this share."""

    def values(minute: int, release: int, stratum: int) -> Values:
        units = total * (share if release == NEW else 1 - share)
        return Values(units, bad * units, units, 1.0)

    return values


def world(
    traffic: Traffic,
    *,
    minutes: int = 30,
    strategy: str = "canary",
    ramp: tuple[tuple[int, float], ...] = ((0, 0.1),),
    attrs: tuple[dict[str, str], ...] = ({},),
) -> Sight:
    """A release whose ramp began at minute 0, after that many closed minutes."""
    scope = Scope("shop", "production", MINUTE_MS)
    limits = tuple((name, 9) for name in attrs[0])
    strata = [scope.strata.number(one, limits, "2.0") for one in attrs]
    release = scope.registry.admit("1.0", START_MS)
    release = scope.registry.admit("2.0", START_MS)
    release.strategy = strategy
    release.ramp = [(START_MS + at * MINUTE_MS, weight) for at, weight in ramp]
    scope.ledger.set_width(MINUTE_MS)
    for minute in range(minutes):
        for number in (OLD, NEW):
            for stratum in strata:
                values = traffic(minute, number, stratum)
                if values is not None:
                    end_ms = START_MS + (minute + 1) * MINUTE_MS
                    scope.ledger.add(end_ms, (number, stratum), values)
    now_ms = START_MS + minutes * MINUTE_MS
    window = OpenWindow(now_ms)
    return Sight(scope, Watch("2.0"), release, BUILT_IN_RULE, now_ms, window, {}, {})


def seen(sight: Sight, past: PlanPast | None = None) -> dict[str, Finding]:
    """Findings by signal and number of attributes of their segment."""
    found = look_with(sight, past or PlanPast())
    return {f"{one.signal}{len(one.segment)}": one for one in found}


def test_plan_kept_is_no_finding_that_fires() -> None:
    """A release with its planned share is reported and accused of nothing."""
    found = seen(world(even(0.1)))
    assert not any(one.fires for one in found.values())
    assert found["usage0"].ratio[1] == pytest.approx(1.0, abs=0.01)


def test_halved_share_fires() -> None:
    """Half the planned share is a usage drop that a rollback takes back."""
    one = seen(world(even(0.05)))["usage0"]
    assert one.fires
    assert one.acts
    assert one.reason == "usage_down"
    assert (one.control, one.guarantee) == ("plan", "empirical")
    low, point, high = one.ratio
    assert low < point < high < 1 / 1.1


def test_missing_units_are_counted() -> None:
    """The counts say how many units the plan gave and how many did not come."""
    one = seen(world(even(0.05), minutes=7))["usage0"]
    planned, missing, control, _ = one.counts
    assert control == pytest.approx(5 * 950)
    assert planned == pytest.approx(5 * 950 / 9)
    assert missing == pytest.approx(planned - 5 * 50)


def test_errors_on_plan_are_lost_telemetry() -> None:
    """Usage at half with all its failures does not fire and says why."""

    def values(minute: int, release: int, stratum: int) -> Values:
        units = 50.0 if release == NEW else 900.0
        return Values(units, 100.0 if release == NEW else 900.0, units, 1.0)

    one = seen(world(values))["usage0"]
    assert one.z >= one.threshold
    assert not one.fires
    assert one.reason == "errors_without_usage"


def test_lines_that_are_missing_are_not_zero() -> None:
    """Minutes without a line of the candidate do not count against it."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        lost = release == NEW and 10 <= minute < 25
        return None if lost else even(0.1)(minute, release, stratum)

    assert not seen(world(values))["usage0"].fires


def test_a_missing_sender_is_not_a_drop() -> None:
    """Minutes in which half of the candidate's lines are missing are left out."""

    def values(minute: int, release: int, stratum: int) -> Values:
        units = 900.0 if release == OLD else 50.0 if minute > 24 else 100.0
        lines = 9.0 if release == OLD else 1.0 if minute > 24 else 2.0
        return Values(units, 0.0, units, lines)

    assert not seen(world(values))["usage0"].fires


def with_sessions(began: float, made: float, *, bad: float = 0.01) -> Traffic:
    """A plan of a tenth of which so much began, and was made in requests."""

    def values(minute: int, release: int, stratum: int) -> Values:
        part = 100.0 if release == NEW else 900.0
        units = part * (began if release == NEW else 1.0)
        requests = 3 * part * (made if release == NEW else 1.0)
        failed = bad * part
        return Values(units, failed, requests, 1.0, units, requests)

    return values


def test_retries_do_not_mask_lost_users() -> None:
    """Half of the sessions with all of their requests is a usage drop."""
    one = seen(world(with_sessions(0.5, 1.0)))["usage0"]
    assert one.fires
    assert (one.reason, one.unit) == ("usage_down", "session")
    assert one.ratio[1] == pytest.approx(0.5, abs=0.01)


def test_requests_on_plan_prove_lines_came() -> None:
    """Failures that keep the plan clear sessions only where requests lack, too."""
    masked = seen(world(with_sessions(0.3, 1.0, bad=0.5)))["usage0"]
    assert masked.fires
    lost = seen(world(with_sessions(0.3, 0.3, bad=0.5)))["usage0"]
    assert not lost.fires
    assert lost.reason == "errors_without_usage"


def test_young_sessions_are_on_plan() -> None:
    """Sessions that have made few of their requests yet are no usage drop."""

    def growing(told: bool) -> Traffic:
        def values(minute: int, release: int, stratum: int) -> Values:
            part = 100.0 if release == NEW else 900.0
            grown = 1 - math.exp(-(minute + 1) / 20) if release == NEW else 1.0
            sessions = (part, 5 * part * grown) if told else ()
            return Values(part, 0.0, 5 * part * grown, 1.0, *sessions)

        return values

    for minutes in range(8, 60, 4):
        told = seen(world(growing(True), minutes=minutes))["usage0"]
        assert told.ratio[1] == pytest.approx(1.0, abs=0.01)
        untold = seen(world(growing(False), minutes=minutes))["usage0"]
        assert untold.unit == "request"
        assert not untold.fires


def test_a_new_weight_starts_anew() -> None:
    """Traffic of an earlier step is not held against the present plan."""

    def values(minute: int, release: int, stratum: int) -> Values:
        return even(0.1 if minute < 20 else 0.5)(minute, release, stratum)

    ramp = ((0, 0.1), (20, 0.5))
    sight = world(values, minutes=40, ramp=ramp)
    assert not seen(sight)["usage0"].fires
    assert seen(sight)["usage0"].onset_ms >= START_MS + 20 * MINUTE_MS


def test_repeated_weight_is_one_step() -> None:
    """A step announced again with its weight goes on."""
    release = Release("2.0", NEW, 0, strategy="ab", ramp=[(10, 0.2), (70, 0.2)])
    assert planned_step(release, 100) == (10, 0.2)
    release.ramp = [(10, 0.2), (70, 0.4), (90, 0.2)]
    assert planned_step(release, 100) == (90, 0.2)
    assert planned_step(release, 80) == (70, 0.4)


@pytest.mark.parametrize("strategy", ["mobile", "rolling", "bluegreen", "wave", None])
def test_other_strategies_plan_no_share(strategy: str | None) -> None:
    """A weight that a release only heads for is no plan for now."""
    release = Release("2.0", NEW, 0, strategy=strategy, ramp=[(10, 0.2)])
    assert planned_step(release, 100) is None


def test_whole_traffic_plans_no_share() -> None:
    """Once a release has all traffic there is nothing left to compare with."""
    release = Release("2.0", NEW, 0, strategy="canary", ramp=[(10, 0.2), (20, 1.0)])
    assert planned_step(release, 100) is None


def test_short_steps_are_not_judged() -> None:
    """Less than the shortest span after a change nothing is said."""
    assert seen(world(even(0.01), minutes=5)) == {}


TWO_SYSTEMS = ({"os": "android"}, {"os": "ios"})


def test_drop_in_one_segment_is_named() -> None:
    """If only one system is short of its share, the finding names that system."""

    def values(minute: int, release: int, stratum: int) -> Values:
        share = 0.02 if stratum == 1 else 0.1
        return even(share, bad=0.0)(minute, release, stratum)

    found = seen(world(values, attrs=TWO_SYSTEMS, strategy="ab"))
    (one,) = [f for f in found.values() if f.segment]
    assert one.fires
    assert one.segment == (("os", "ios"),)
    assert one.threshold > THRESHOLD + SEGMENT_EXTRA


def test_another_mix_is_no_drop() -> None:
    """A segment short of its share beside one above it tells of who updates first."""

    def values(minute: int, release: int, stratum: int) -> Values:
        return even(0.02 if stratum == 1 else 0.18)(minute, release, stratum)

    found = seen(world(values, attrs=TWO_SYSTEMS, strategy="ab"))
    assert "usage1" not in found
    assert not found["usage0"].fires


def test_canary_plans_no_segment() -> None:
    """Early adopters choose themselves: what one system lacks says nothing."""

    def values(minute: int, release: int, stratum: int) -> Values:
        return even(0.05 if stratum == 1 else 0.1)(minute, release, stratum)

    found = seen(world(values, attrs=TWO_SYSTEMS, strategy="canary"))
    assert not [f for f in found.values() if f.segment]


def test_experiment_off_plan_is_told() -> None:
    """A split with far too much in the candidate is reported, never acted upon."""
    one = seen(world(even(0.3), strategy="ab"))["sample_ratio0"]
    assert one.fires
    assert not one.acts
    assert one.reason == "sample_ratio_off"
    assert not seen(world(even(0.3), strategy="ab"))["usage0"].fires


def test_experiment_on_plan_is_quiet() -> None:
    """A split as planned is no mismatch."""
    assert not seen(world(even(0.1), strategy="ab"))["sample_ratio0"].fires


def test_own_steps_excuse_nothing() -> None:
    """The spread is learnt from other releases, and not from those taken back."""
    sight = world(even(0.1))
    registry = sight.scope.registry
    third = registry.admit("3.0", START_MS)
    steps = [Step(number, 0.18, 0.0) for number in (OLD, NEW, third.number)] * 4
    past = PlanPast(steps)
    both = learnt_spread(past, registry, NEW)
    third.ended_by = "rolled_back"
    assert learnt_spread(past, registry, NEW) < both
    only_own = PlanPast([Step(NEW, 0.18, 0.0)] * 12)
    assert learnt_spread(only_own, registry, NEW) == pytest.approx(0.05)


def test_running_step_is_noted() -> None:
    """After each look the step knows how far its share is off."""
    past = PlanPast()
    seen(world(even(0.05)), past)
    assert past.running is not None
    assert past.running.release == NEW
    assert past.running.residual == pytest.approx(-0.747, abs=0.01)


def test_sampling_rates_are_per_arm() -> None:
    """Each arm's kept share comes from its own usage of the window."""
    window = OpenWindow(START_MS)
    window.cells[NEW, 0] = Cell(seen_units=10.0, weighted_units=200.0)
    window.cells[OLD, 0] = Cell(seen_units=90.0, weighted_units=90.0)
    assert rates_of(window, NEW, {}) == (20.0, 1.0)
    assert rates_of(OpenWindow(START_MS), NEW, {}) == (1.0, 1.0)
    kept = {OLD: 0.5, NEW: 0.05}
    assert rates_of(OpenWindow(START_MS), NEW, kept) == (20.0, 2.0)


def test_looking_twice_changes_nothing() -> None:
    """The same window seen again gives the same findings."""
    sight, past = world(even(0.07)), PlanPast()
    assert look_with(sight, past) == look_with(sight, past)
