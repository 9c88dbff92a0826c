"""Successes per session: beside whom, in which cells, and what fools it not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from msgspec import structs

from detector.evidence.plansteps import PlanPast
from detector.findings import Finding
from detector.ledger import Values
from detector.releases import Release
from detector.rulefile.model import BUILT_IN_RULE
from detector.rulefile.parts import Signal
from detector.scope import Scope, Watch
from detector.sight import Sight
from detector.signals.actions import last_change, look_with
from detector.windows import OpenWindow

START_MS = 1_795_356_000_000
MINUTE_MS = 60_000
OLD, NEW = 1, 2
Traffic = Callable[[int, int, int], Values | None]
"""(minute, release, stratum) -> counts of a minute; None: no line."""


def busy(
    does: float = 1.0,
    *,
    share: float = 0.1,
    bad: float = 0.01,
    lines: float = 1.0,
    total: float = 1000.0,
) -> Traffic:
    """Sessions that make 5 requests, those of the new release so many times that."""

    def values(minute: int, release: int, stratum: int) -> Values:
        begun = total * (share if release == NEW and minute >= 0 else 1 - share)
        made = 5.0 * begun * (does if release == NEW else 1.0)
        return Values(begun, bad * begun, made, lines, begun, made)

    return values


def world(
    traffic: Traffic,
    *,
    minutes: int = 40,
    strategy: str = "mobile",
    attrs: tuple[dict[str, str], ...] = ({},),
) -> Sight:
    """A release that came at minute 0, after an hour of the old one alone."""
    scope = Scope("shop", "production", MINUTE_MS)
    limits = tuple((name, 9) for name in attrs[0])
    strata = [scope.strata.number(one, limits, "2.0") for one in attrs]
    scope.registry.admit("1.0", START_MS)
    release = scope.registry.admit("2.0", START_MS)
    release.strategy, release.predecessor = strategy, "1.0"
    release.started_ms = START_MS
    release.ramp = [(START_MS, 0.1)]
    scope.ledger.set_width(MINUTE_MS)
    for minute in range(-60, minutes):
        for number in (OLD, NEW) if minute >= 0 else (OLD,):
            for stratum in strata:
                values = traffic(minute, number, stratum)
                if values is not None:
                    end_ms = START_MS + (minute + 1) * MINUTE_MS
                    scope.ledger.add(end_ms, (number, stratum), values)
    now_ms = START_MS + minutes * MINUTE_MS
    window = OpenWindow(now_ms)
    return Sight(scope, Watch("2.0"), release, BUILT_IN_RULE, now_ms, window, {}, {})


def seen(sight: Sight) -> dict[int, Finding]:
    """Findings by the number of attributes of their segment."""
    return {len(one.segment): one for one in look_with(sight, PlanPast())}


def test_equal_sessions_are_no_finding() -> None:
    """A release whose sessions do as much as those beside it is not mentioned."""
    assert seen(world(busy())) == {}


def test_a_little_less_is_reported() -> None:
    """Beyond the margin, but not by enough, is shown and accuses nobody."""
    one = seen(world(busy(0.75)))[0]
    assert not one.fires
    assert one.ratio[1] == pytest.approx(0.75, abs=0.02)


def test_broken_button_fires() -> None:
    """Half as many successes in each session are harm that a rollback takes back."""
    one = seen(world(busy(0.5)))[0]
    assert one.fires
    assert one.acts
    assert (one.signal, one.reason) == ("actions", "actions_down")
    assert (one.control, one.guarantee) == ("concurrent", "empirical")
    low, point, high = one.ratio
    assert low < point < high < 0.8
    assert point == pytest.approx(0.5, abs=0.02)


def test_missing_successes_are_counted() -> None:
    """The counts say how many requests should have ended well, and how many lack."""
    due, missing, beside, _ = seen(world(busy(0.5, bad=0.0), minutes=22))[0].counts
    span = round(beside / 4500)
    assert due == pytest.approx(500 * span, rel=0.01)
    assert missing == pytest.approx(250 * span, rel=0.01)


def test_better_releases_never_fire() -> None:
    """Sessions that get more done are no harm."""
    assert seen(world(busy(2.0))) == {}


def test_less_than_margin_is_no_harm() -> None:
    """What the margin allows is nobody's fault; a smaller margin asks for more."""
    sight = world(busy(0.72, total=1e5))
    assert not seen(sight)[0].fires
    signals = {**BUILT_IN_RULE.signals, "actions": Signal(margin=1.05)}
    assert seen(sight._replace(rule=replace(BUILT_IN_RULE, signals=signals)))[0].fires


def test_weight_zero_switches_it_off() -> None:
    """Nothing is looked at where the rule says so."""
    signals = {**BUILT_IN_RULE.signals, "actions": Signal(weight=0.0)}
    rule = replace(BUILT_IN_RULE, signals=signals)
    assert seen(world(busy(0.5))._replace(rule=rule)) == {}


def test_young_split_is_not_judged() -> None:
    """For twenty minutes after a change of the share nothing is said."""
    assert seen(world(busy(0.1), minutes=20)) == {}
    release = Release(
        "2.0", NEW, 0, started_ms=5, ramp=[(10, 0.2), (70, 0.4), (90, 0.4)]
    )
    assert [last_change(release, now) for now in (5, 10, 95)] == [5, 10, 70]


@pytest.mark.parametrize(("minutes", "is_judged"), [(80, False), (95, True)])
def test_later_step_waits_an_hour(minutes: int, is_judged: bool) -> None:
    """After a later step of the ramp nothing is said for an hour."""
    sight = world(busy(0.5), minutes=minutes)
    sight.release.ramp.append((START_MS + 30 * MINUTE_MS, 0.5))
    assert bool(seen(sight)) is is_judged


def test_untold_sessions_say_nothing() -> None:
    """Where lines do not tell sessions there is nothing to divide by."""

    def values(minute: int, release: int, stratum: int) -> Values:
        return Values(100.0, 1.0, 100.0, 1.0, nan, nan)

    assert seen(world(values)) == {}


def test_bins_half_told_are_left_out() -> None:
    """A minute in which one line does not tell its sessions counts for neither arm."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        found = busy(1.0)(minute, release, stratum)
        if found is not None and release == NEW and minute % 2:
            return Values(*found[:4])
        return found

    assert seen(world(values)) == {}


def test_lost_lines_are_no_decline() -> None:
    """Minutes in which half of the candidate's lines are missing are left out."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        found = busy(1.0, lines=2.0)(minute, release, stratum)
        if found is not None and release == NEW and minute > 30:
            return found._replace(lines=1.0, ok=found.ok / 10)
        return found

    assert seen(world(values)) == {}


def test_visitors_that_only_fail_are_left_out() -> None:
    """Sessions of a crash loop get nothing done and are the errors' business."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        found = busy(1.0)(minute, release, stratum)
        if found is not None and release == NEW:
            return found._replace(sessions=3 * found.sessions, bad=2 * found.sessions)
        return found

    assert seen(world(values)) == {}


def test_noise_on_the_control_is_no_harm() -> None:
    """Clients without sessions that hammer the old release raise what seems due."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        found = busy(1.0)(minute, release, stratum)
        if found is not None and release == OLD and minute > 5:
            return found._replace(ok=3 * found.ok)
        return found

    one = seen(world(values))[0]
    assert one.z >= one.threshold
    assert not one.fires


def test_few_sessions_are_not_enough() -> None:
    """Below the rule's exposure nothing is recommended, however clear it looks."""
    sight = world(busy(0.02, total=30.0))
    assert not seen(sight)[0].fires
    eager = replace(BUILT_IN_RULE, min_exposure=10)
    assert seen(sight._replace(rule=eager))[0].fires


TWO_SYSTEMS = ({"os": "android"}, {"os": "ios"})


def test_decline_in_one_segment_is_named() -> None:
    """If only one system is broken, the strongest finding names it."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        return busy(0.3 if stratum == 1 else 1.0)(minute, release, stratum)

    found = seen(world(values, attrs=TWO_SYSTEMS))
    assert found[1].fires
    assert found[1].segment == (("os", "ios"),)
    assert found[1].z / found[1].threshold > found[0].z / found[0].threshold


def test_early_adopters_of_one_system_are_alike() -> None:
    """A candidate that runs where less is done is compared there alone."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        share = 0.2 if stratum == 1 else 0.02
        found = busy(1.0, share=share)(minute, release, stratum)
        if found is not None and stratum == 1:
            return found._replace(ok=0.3 * found.ok)
        return found

    assert seen(world(values, attrs=TWO_SYSTEMS)) == {}


@pytest.mark.parametrize("why", ["lost", "flips", "blamed", "nobody"])
def test_without_control_nothing_is_said(why: str) -> None:
    """Arms that flip wholly, are gone or under blame themselves compare nothing."""
    sight = world(busy(0.3))
    if why == "lost":
        sight.watch.control_lost_ms = START_MS
    elif why == "flips":
        sight.release.flips = [(START_MS, (("region", "eu"),))]
    elif why == "nobody":
        sight.release.predecessor = None
    else:
        old = Watch("1.0")
        structs.force_setattr(old, "episode", object())
        sight.scope.watches["1.0"] = old
    assert seen(sight) == {}


def test_other_candidates_are_no_control() -> None:
    """A second new release beside it does not count as what is due."""

    def values(minute: int, release: int, stratum: int) -> Values | None:
        return busy(1.0)(minute, release, stratum)

    sight = world(values)
    sight.scope.registry.admit("3.0", START_MS)
    for minute in range(40):
        end_ms = START_MS + (minute + 1) * MINUTE_MS
        many = Values(5e3, 0.0, 5e5, 1.0, 5e3, 5e5)
        sight.scope.ledger.add(end_ms, (3, 0), many)
    assert seen(sight) == {}


def test_swapped_arms_flip_the_finding() -> None:
    """The release that is worse than its control makes it the better one."""
    rng = np.random.default_rng(6)
    draws = rng.poisson(400.0, (120, 2)).astype(float)

    def values(swap: bool) -> Traffic:
        def drawn(minute: int, release: int, stratum: int) -> Values:
            own = (release == NEW) != swap
            made = 2.0 * draws[minute, int(own)] * (0.5 if own else 1.0)
            return Values(400.0, 0.0, made, 1.0, 400.0, made)

        return drawn

    assert seen(world(values(False)))[0].fires
    assert seen(world(values(True))) == {}


def test_looking_twice_changes_nothing() -> None:
    """The same window seen again, with or without what was cached, says the same."""
    sight, past = world(busy(0.6)), PlanPast()
    first = look_with(sight, past)
    assert look_with(sight, past) == first
    assert look_with(sight._replace(cache={}), past) == first
    assert past.running is not None
    assert past.running.release == NEW
