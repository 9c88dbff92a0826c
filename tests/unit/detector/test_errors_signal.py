"""Candidate against control in one window: pairing, units, sampling, gaps."""

from __future__ import annotations

from typing import Any

import pytest

from detector.events import Error, Usage
from detector.releases import Release
from detector.signals.errors import (
    Comparison,
    Hits,
    Known,
    WindowFacts,
    compare,
)
from detector.windows import OpenWindow, SeenBad, add_error, add_usage
from tests.unit.detector.samples import sketch

OLD, NEW, OLDER = 1, 2, 3
CANDIDATE = Release(name="2", number=NEW, first_ms=0)


class Window:
    """A window that is filled cell by cell."""

    def __init__(self) -> None:
        self.window = OpenWindow(10_000)
        self.seen = SeenBad()

    def usage(self, release: int, stratum: int = 0, **fields: Any) -> Window:
        """Count a usage aggregate."""
        event = Usage(ts=0, service="s", release="x", window_s=10, **fields)
        add_usage(self.window.cell(release, stratum), event, release, self.seen, 0)
        return self

    def error(self, release: int, stratum: int = 0, **fields: Any) -> Window:
        """Count an error aggregate."""
        event = Error(ts=0, service="s", release="x", window_s=10, **fields)
        cell = self.window.cell(release, stratum)
        add_error(cell, event, release, self.seen, 0, signature=1)
        return self

    def compare(
        self,
        groups: list[list[int]] | None = None,
        rates: dict[int, float] | None = None,
    ) -> tuple[list[Comparison], WindowFacts]:
        """Compare release 2 with its control."""
        wanted = [[OLD]] if groups is None else groups
        known = Known(rates or {}, {}, Hits(), {})
        return compare(self.window, CANDIDATE, wanted, known)


def both(**fields: Any) -> Window:
    """A window with the same usage in both arms."""
    return Window().usage(OLD, **fields).usage(NEW, **fields)


def test_arms_meet_in_their_stratum() -> None:
    """Counts of one stratum are compared with that stratum's control alone."""
    window = both(count=90, sessions=30).usage(OLD, 1, count=900, sessions=300)
    (one,), facts = window.error(NEW, sessions=4, count=9).compare()
    assert one[:6] == (0, "session", 30.0, 4.0, 30.0, 0.0)
    assert facts.control_units == 990
    assert facts.joint_strata == 1


def test_first_group_with_exposure_wins() -> None:
    """Where the predecessor has no traffic the other live releases stand in."""
    window = Window().usage(NEW, count=9, sessions=9).usage(OLDER, count=5, sessions=5)
    (one,), _ = window.compare([[OLD], [OLDER]])
    assert one.control == (OLDER,)
    (one,), _ = window.usage(OLD, count=2, sessions=2).compare([[OLD], [OLDER]])
    assert one.control == (OLD,)


def test_requests_are_clustered() -> None:
    """Counting requests needs the robust kernel, counting sessions does not."""
    (requests,), _ = both(count=50).compare()
    (sessions,), _ = both(count=50, sessions=20).compare()
    assert (requests.way, requests.clustered) == ("request", True)
    assert (sessions.way, sessions.clustered) == ("session", False)


def test_common_way_is_taken() -> None:
    """The unit is the best one that both arms measured, not the best of one."""
    window = Window().usage(OLD, count=50).usage(NEW, count=40, sessions=20)
    (one,), _ = window.compare()
    assert (one.way, one.units_candidate, one.units_control) == ("request", 40, 50)


def test_sampled_errors_scale_exposure() -> None:
    """Half of the errors kept is half of the exposure that could have failed."""
    window = both(count=100, sessions=100)
    (one,), _ = window.error(NEW, count=5, sessions=5, sample_rate=0.5).compare()
    assert one.units_candidate == pytest.approx(50)
    assert one.bad_candidate == 5
    assert one.units_control == 100


def test_sampled_usage_scales_exposure() -> None:
    """A tenth of the usage kept stands for ten times as much."""
    window = Window().usage(OLD, count=100, sessions=100)
    window.usage(NEW, count=10, sessions=10, sample_rate=0.1)
    (one,), _ = window.compare()
    assert one.units_candidate == pytest.approx(one.units_control)


def test_last_error_share_is_remembered() -> None:
    """A window without errors uses the share of the errors seen before."""
    (one,), _ = both(count=100, sessions=100).compare(rates={NEW: 0.25})
    assert one.units_candidate == pytest.approx(25)


def test_lost_usage_compares_nothing() -> None:
    """Errors without exposure are reported as a gap, never as evidence."""
    window = Window().usage(OLD, count=9, sessions=9).error(NEW, count=50, sessions=50)
    found, facts = window.compare()
    assert all(c.units_candidate == 0 for c in found)
    assert (facts.candidate_units, facts.candidate_bad_lines) == (0, 1)
    assert facts.joint_strata == 0


def test_idle_senders_are_sound() -> None:
    """Aggregates that report zero are idle, not counted in the wrong unit."""
    window = Window().usage(OLD, count=9, sessions=9)
    found, facts = window.usage(NEW, count=0, sessions=0).compare()
    assert found == []
    assert facts.mismatched_strata == 0


def test_unusable_units_are_a_mismatch() -> None:
    """Usage that only a sketch measures can not be compared with plain counts."""
    window = Window().usage(OLD, count=100).usage(NEW, count=0, users_sketch=sketch(50))
    found, facts = window.compare()
    assert found == []
    assert facts.mismatched_strata == 1


def test_no_control_no_comparison() -> None:
    """A candidate alone in its stratum is seen but not compared."""
    found, facts = Window().usage(NEW, count=9).compare()
    assert (found, facts.candidate_units, facts.control_units) == ([], 9, 0)
