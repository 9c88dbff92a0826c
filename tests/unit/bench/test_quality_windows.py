"""Rivals see each line once, in its window, if it came before the window closed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.quality.windows import Arm, Feed, History, unit_of

MINUTE_MS = 60_000


def line(kind: str, minute: int, release: str = "1", **fields: Any) -> dict[str, Any]:
    start = minute * MINUTE_MS
    return {
        "kind": kind,
        "ts": start,
        "window_s": 60,
        "received_at": start + MINUTE_MS + 1000,
        "service": "shop",
        "release": release,
        "count": 100,
        **fields,
    }


def deploy(minute: int) -> dict[str, Any]:
    at = minute * MINUTE_MS
    return line("deploy", minute, "2", ts=at, received_at=at, window_s=0)


def fed(feed: Feed, *events: dict[str, Any]) -> list[History]:
    return [history for event in events for history in feed.take(event)]


def test_window_closes_after_grace() -> None:
    """The first line that arrives twenty seconds after its end closes a window."""
    feed = Feed("requests")
    fed(feed, deploy(0), line("usage", 0, "2"), line("error", 0, "2", count=4))
    assert fed(feed, line("usage", 5, received_at=MINUTE_MS + 19_999)) == []
    (history,) = fed(feed, line("usage", 5, received_at=MINUTE_MS + 20_000))
    assert (history.since[0].new.units, history.since[0].new.bad) == (100, 4)


def test_late_line_is_left_out() -> None:
    """What comes after the close changes nothing."""
    feed = Feed("requests")
    late = line("error", 0, "2", received_at=10 * MINUTE_MS)
    (history,) = fed(feed, deploy(0), line("usage", 0, "2"), late)
    fed(feed, line("usage", 20, "2"))
    assert [w.new.bad for w in history.since] == [0]


@pytest.mark.parametrize("name", [{"id": "a"}, {"sender": "s", "seq": 4}])
def test_repeated_line_counts_once(name: dict[str, Any]) -> None:
    """A second copy, known by its id or its whole content, is no second line."""
    feed = Feed("requests")
    once = line("usage", 0, "2", **name)
    again = once | {"received_at": once["received_at"] + 500}
    other = deploy(0) | {"id": "d"}
    (history,) = fed(feed, other, once, again, line("usage", 3, id="z"))
    assert history.since[0].new.units == 100


def test_past_ends_at_deploy() -> None:
    """Windows before the deploy are the past, of all releases together."""
    feed = Feed("requests")
    before = [line("usage", 0), line("usage", 0, "0.9"), line("usage", 1)]
    (history,) = fed(feed, *before, deploy(2), line("usage", 2, "2"), line("usage", 9))
    assert [arm.units for arm in history.past] == [200, 100]
    assert len(history.since) == 1


def test_control_is_beside_if_possible() -> None:
    """The old release is the control until next to none of it is left."""
    feed = Feed("requests")
    events = [line("usage", 0, count=70), deploy(1)]
    events += [line("usage", 1, count=2), line("usage", 1, "2", count=50)]
    (history,) = fed(feed, *events, line("usage", 9))
    assert [arm.units for arm in history.control()] == [2]
    (last,) = fed(feed, line("usage", 10, "2", count=5000), line("usage", 20))
    assert not last.is_beside
    assert [arm.units for arm in last.control()] == [70]


def test_sampled_counts_are_scaled() -> None:
    """A tenth of the requests stands for all of them."""
    feed = Feed("requests")
    kept = line("usage", 0, "2", count=10, sample_rate=0.1)
    (history,) = fed(feed, deploy(0), kept, line("usage", 9))
    assert history.since[0].new.units == pytest.approx(100)


@pytest.mark.parametrize(
    ("extra", "unit"),
    [
        ([{"users": 3, "sessions": 5}], "sessions"),
        ([{"users": 3}], "users"),
        ([{"users": 3, "sender": "a"}], "users"),
        ([{"users": 3, "sender": "a"}, {"users": 3, "sender": "b"}], "requests"),
        ([{"users": 3, "sample_rate": 0.5}], "requests"),
        ([{"users": 3}, {}], "requests"),
    ],
)
def test_unit_is_best_common(extra: list[dict[str, Any]], unit: str) -> None:
    """Sessions, else users where they add up, else requests."""
    assert unit == unit_of([deploy(0), *(line("usage", 0, **e) for e in extra)])


def test_percentile_lies_in_bucket() -> None:
    """The 99th percentile is interpolated on a log scale inside its bucket."""
    arm = Arm(0, 0, (10.0, 20.0, 40.0), [0, 98, 2, 0])
    assert arm.p99_ms == pytest.approx(20 * math.sqrt(2))
    assert Arm(0, 0, (10.0, 20.0), [0, 0, 5]).p99_ms == pytest.approx(20 * 2**0.99)
    assert math.isnan(Arm().p99_ms)
