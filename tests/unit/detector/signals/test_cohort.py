"""Cohorts in a scope: when they are asked, whom they compare, what they say."""

from __future__ import annotations

import numpy as np

from detector.assess import prepare
from detector.events import Error, Usage
from detector.evidence.rows import RateRatioRows
from detector.maturity import HOUR_MS, Maturity
from detector.releases import Stage
from detector.rulebook import InForce
from detector.rulefile.model import BUILT_IN_RULE
from detector.scope import Scope, Watch
from detector.sight import Sight
from detector.signals.cohort import look_with
from detector.tracks import open_tracks
from detector.windows import OpenWindow

WIDTH_MS = 600_000
START_MS = 1_795_356_000_000 // HOUR_MS * HOUR_MS
DEPLOY_MS = START_MS + 24 * HOUR_MS
DELAY_MAX_MS = 72 * HOUR_MS
UNITS = {1: 900, 2: 300, 3: 600}
"""Units a window of the predecessor, an older release and the new one."""


def world(
    factor: float, *, strategy: str = "mobile", delay_h: float = 3.0, older: float = 1.0
) -> tuple[Sight, Maturity]:
    """A release twelve hours after its start, and what is known by then."""
    rng = np.random.default_rng(5)
    scope = Scope("app", "production", WIDTH_MS)
    for name in ("1.1", "1.0", "2.0"):
        scope.registry.admit(name, START_MS)
    release = scope.registry.releases["2.0"]
    release.started_ms = DEPLOY_MS
    release.predecessor, release.live_before = "1.1", ("1.1", "1.0")
    release.strategy = strategy
    now_ms = DEPLOY_MS + 12 * HOUR_MS
    rates = {1: 0.01, 2: 0.01 * older, 3: 0.01 * factor}
    maturity = scope.maturity
    lines: list[tuple[int, int, Usage | Error]] = []
    for at_ms in range(START_MS, now_ms, WIDTH_MS):
        for number, users in UNITS.items():
            if number == 3 and at_ms < DEPLOY_MS:
                continue
            name = f"r{number}"
            head = {"ts": at_ms, "service": "app", "window_s": 600, "release": name}
            used = Usage(**head, count=users, users=users)
            lines.append((used.end_ms, number, used))
            for _ in range(rng.poisson(users * rates[number])):
                late_ms = int(rng.exponential(delay_h * HOUR_MS)) + 1
                told = Error(**head, count=1, users=1)
                lines.append((told.end_ms + late_ms, number, told))
    for arrival_ms, number, event in sorted(lines, key=lambda line: line[:2]):
        if arrival_ms <= now_ms:
            late = arrival_ms > event.end_ms + 20_000
            maturity.note(
                event, (number, 0), arrival_ms, named=True, late=late, mark=None,
                delay_max_ms=DELAY_MAX_MS,
            )  # fmt: skip
    watch = Watch(release="2.0", tracks=open_tracks(scope, BUILT_IN_RULE))
    scope.watches["2.0"] = watch
    window = OpenWindow(now_ms)
    sight = Sight(scope, watch, release, BUILT_IN_RULE, now_ms, window, {}, {})
    return sight, maturity


def test_crashing_release_is_found() -> None:
    """Three times the crashes at equal maturity are reported."""
    (found,) = look_with(*world(3.0))
    assert found.fires
    assert (found.control, found.guarantee, found.unit) == (
        "cohort",
        "empirical",
        "user",
    )
    assert found.ratio[0] < 3 < found.ratio[2]
    assert found.onset_ms == DEPLOY_MS


def test_equal_release_is_left_alone() -> None:
    """A release like its predecessor does not fire."""
    assert not any(found.fires for found in look_with(*world(1.0)))


def test_calm_older_release_is_no_control() -> None:
    """A third release with a tenth of the crashes does not set what is usual."""
    assert not any(found.fires for found in look_with(*world(1.0, older=0.1)))


def test_prompt_source_has_no_cohorts() -> None:
    """Where crashes arrive at once the windows decide."""
    assert look_with(*world(3.0, delay_h=1e-4)) == []


def test_rule_must_name_the_source() -> None:
    """Lateness of a source that no rule calls slow is not made up for."""
    assert look_with(*world(3.0, strategy="canary")) == []


def test_look_waits_for_whole_bin() -> None:
    """Between two bins the same is said without looking again."""
    sight, maturity = world(3.0)
    first = look_with(sight, maturity)
    assert look_with(sight, maturity) is first
    assert look_with(sight._replace(cache={}), maturity) == first


def test_late_failures_are_no_evidence() -> None:
    """From the window on in which a source turns slow its windows prove nothing."""
    sight, _ = world(3.0)
    scope, rows = sight.scope, RateRatioRows()
    scope.registry.releases["2.0"].stage = Stage.CANDIDATE
    window = OpenWindow(sight.now_ms)
    for number in (1, 3):
        cell = window.cell(number, 0)
        cell.usage_lines, cell.seen_units, cell.weighted_units = 1, 900.0, 900.0
        cell.requests.units = 900.0
    inforce = InForce(BUILT_IN_RULE, (), "", DELAY_MAX_MS)
    assert not sight.watch.slow
    assert prepare(scope, window, inforce, rows).prepared == []
    assert sight.watch.slow
