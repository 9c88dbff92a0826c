"""Counts of a window: every way of counting, and which of them may be used."""

from __future__ import annotations

import math
from typing import Any

import pytest

from detector.counting import WAYS, Arm, ledger_values, read_cell
from detector.events import Error, Usage
from detector.windows import Cell, SeenBad, add_error, add_usage, failed_outcomes
from tests.unit.detector.samples import sketch


def usage(**fields: object) -> Usage:
    """A usage record of the release under test."""
    return Usage(ts=0, service="s", release="1", **fields)  # type: ignore[arg-type]


def error(**fields: object) -> Error:
    """An error record of the release under test."""
    return Error(ts=0, service="s", release="1", **fields)  # type: ignore[arg-type]


def cell_of(*events: Usage | Error, seen: SeenBad | None = None) -> Cell:
    """A cell that counted these events."""
    cell, seen = Cell(), SeenBad() if seen is None else seen
    for event in events:
        if isinstance(event, Usage):
            failures = [(9, n) for n in failed_outcomes(event).values()]
            add_usage(cell, event, 1, seen, 0, failures)
        else:
            add_error(cell, event, 1, seen, 0, signature=1)
    return cell


def best(arm: Arm) -> tuple[str, float, float]:
    """The best usable way with what it counted."""
    index = arm.usable.index(True)
    return WAYS[index], arm.units[index], arm.bad[index]


def test_additive_sessions_are_preferred() -> None:
    """Sessions that add up over senders are the first choice."""
    arm = read_cell(
        cell_of(
            usage(window_s=10, count=90, sessions=30, users=20, sender="a"),
            usage(window_s=10, count=30, sessions=10, users=9, sender="b"),
            error(window_s=10, count=8, sessions=3),
        )
    )
    assert best(arm) == ("session", 40.0, 3.0)


def test_one_line_without_sessions_disables_them() -> None:
    """A way is usable only when every line carries it."""
    arm = read_cell(cell_of(usage(window_s=10, sessions=30, count=90), usage()))
    assert best(arm) == ("request", 91.0, 0.0)


def test_users_never_add_over_senders() -> None:
    """Distinct users of two senders are no unit; those of one sender are."""
    one = usage(window_s=10, count=50, users=20, sender="a")
    two = usage(window_s=10, count=50, users=20, sender="b")
    assert best(read_cell(cell_of(one)))[0] == "user"
    assert best(read_cell(cell_of(one, two)))[0] == "request"


def test_session_fails_once_an_hour() -> None:
    """Ten errors of one session are one failed session."""
    crash = error(session="s1")
    arm = read_cell(cell_of(usage(session="s1"), usage(session="s2"), *[crash] * 10))
    assert best(arm) == ("session_hour", 2.0, 1.0)


def test_failed_session_is_not_recounted() -> None:
    """The second window of the hour does not count the same session again."""
    seen = SeenBad()
    events = (usage(session="s1"), error(session="s1"))
    assert best(read_cell(cell_of(*events, seen=seen)))[2] == 1.0
    assert best(read_cell(cell_of(*events, seen=seen)))[2] == 0.0


def test_hours_are_forgotten() -> None:
    """What no open window can touch is dropped, and a new hour counts anew."""
    seen = SeenBad()
    assert seen.first(1, 7)
    assert seen.first(2, 7)
    seen.forget_before(2)
    assert set(seen.hours) == {2}


def test_sketches_merge_over_senders() -> None:
    """Sketches of the same users do not add up, and count as users."""
    line = usage(window_s=10, count=900, users_sketch=sketch(300))
    way, units, _ = best(read_cell(cell_of(line, line)))
    assert way == "user_sketch"
    assert units == pytest.approx(300, rel=0.2)


def test_sketch_alone_is_traffic() -> None:
    """A line that brings nothing but a sketch still counts as exposure."""
    cell = cell_of(usage(window_s=10, users_sketch=sketch(300)))
    assert cell.requests.units == pytest.approx(300, rel=0.2)


def test_trace_fails_once() -> None:
    """A failed outcome and the error event of the same trace are one failure."""
    arm = read_cell(
        cell_of(
            usage(outcome="server_error", trace_id="t1"),
            usage(trace_id="t2"),
            error(trace_id="t1"),
        )
    )
    assert best(arm) == ("request", 2.0, 1.0)


@pytest.mark.parametrize("outcome", ["client_error", "cancelled", "ok"])
def test_callers_faults_are_no_failures(outcome: str) -> None:
    """Only the service's own faults count against a release."""
    assert best(read_cell(cell_of(usage(outcome=outcome))))[2] == 0.0


def test_warnings_are_no_failures() -> None:
    """An error record below severity error leaves the cell as it was."""
    assert cell_of(error(severity="warning")) == Cell()


def test_outcomes_of_aggregates_count() -> None:
    """The failed part of an aggregate's outcomes is its failed units."""
    line = usage(
        window_s=10, count=100, outcomes={"ok": 90, "timeout": 6, "client_error": 4}
    )
    assert best(read_cell(cell_of(line))) == ("request", 100.0, 6.0)


def test_sampling_scales_exposure_only() -> None:
    """Failures stay as observed; their own share and the usage's are kept apart."""
    arm = read_cell(cell_of(usage(sample_rate=0.1), error(sample_rate=0.5)))
    assert arm.usage_weight == pytest.approx(10.0)
    assert arm.error_rate == pytest.approx(0.5)
    assert best(arm)[2] == 1.0


def test_error_share_unknown_without_errors() -> None:
    """Without an error nothing is known about how errors are sampled."""
    assert read_cell(cell_of(usage())).error_rate is None


def test_absorbing_equals_counting_together() -> None:
    """Two narrow cells merged are the cell that saw all events."""
    first = [usage(session="a", sample_rate=0.5), error(session="a", trace_id="t")]
    second = [
        usage(session="b", user="u", outcome="timeout"),
        usage(window_s=10, count=3, sessions=2, users=2, sender="x"),
        error(users_sketch=sketch(20), window_s=10),
    ]
    seen = SeenBad()
    merged = cell_of(*first, seen=seen)
    merged.absorb(cell_of(*second, seen=seen))
    together = cell_of(*first, *second)
    assert read_cell(merged) == read_cell(together)
    assert merged.bad_traces == together.bad_traces


@pytest.mark.parametrize(
    ("fields", "ok"),
    [
        ({"count": 90}, 90.0),
        ({"count": 90, "outcomes": {"ok": 60, "client_error": 20}}, 70.0),
        ({"count": 90, "outcomes": {"timeout": 99}}, 0.0),
        ({"count": 90, "outcome": "cancelled"}, 0.0),
        ({"count": 90, "sample_rate": 0.5}, 180.0),
    ],
)
def test_requests_that_ended_well_are_kept(fields: dict[str, Any], ok: float) -> None:
    """What did not fail, was not refused and not given up, as before sampling."""
    cell = cell_of(usage(window_s=10, sessions=30, **fields))
    values = ledger_values(cell, 1.0, frozenset())
    assert values.ok == ok
    assert values.sessions == 30 / fields.get("sample_rate", 1.0)


@pytest.mark.parametrize(
    "other",
    [
        {"count": 10},
        {"sessions": 10},
        {"count": 10, "sessions": 10, "unit": "session"},
    ],
)
def test_one_line_can_leave_sessions_untold(other: dict[str, Any]) -> None:
    """Sessions and successes are known only where every line tells both."""
    told = usage(window_s=10, sessions=30, count=90)
    values = ledger_values(cell_of(told, usage(window_s=10, **other)), 1.0, frozenset())
    assert math.isnan(values.sessions)
    assert math.isnan(values.ok)


def test_errors_alone_hide_no_sessions() -> None:
    """A window of failures without usage has no sessions, and is known to."""
    values = ledger_values(cell_of(error(count=3)), 1.0, frozenset())
    assert (values.sessions, values.ok, values.lines) == (0.0, 0.0, 0.0)
