"""Injected regressions: nothing else is changed, and what is stays plausible."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.backtest.injection import Injection, inject
from detector.decode import decode
from detector.records import Rejected
from detector.simulate import Shop, ramp

Json = dict[str, Any]
START_MS = 1_800_000_000_000
WINDOWS = 24
RELEASE = "2.4.0"


def aggregates(seed: int, **changes: Any) -> list[bytes]:
    """A service that ramps a release, one line a window; extra fields in its usage."""
    shop = Shop(weight=ramp([(4, 0.3)]), sessions_per_window=400.0, error_rate=0.05)
    rng = np.random.default_rng(seed)
    lines = []
    for records in shop.windows(rng, START_MS, WINDOWS):
        for record in records:
            if record["kind"] == "usage":
                record.update(changes)
        lines.append(msgspec.json.encode(records))
    return lines


def singles(seed: int) -> list[bytes]:
    """The same as single events."""
    shop = Shop(weight=ramp([(4, 0.3)]), sessions_per_window=60.0, error_rate=0.05)
    rng = np.random.default_rng(seed)
    return [
        msgspec.json.encode(record)
        for index in range(WINDOWS)
        for record in shop.events(rng, START_MS + index * 10_000, index)
    ]


def durations(lines: list[bytes]) -> list[bytes]:
    """The lines with a histogram beside each record of usage."""
    rng = np.random.default_rng(1)
    out = []
    for line in lines:
        members = msgspec.json.decode(line)
        for member in list(members):
            if member["kind"] == "usage":
                common = {k: v for k, v in member.items() if k not in ("count", "seq")}
                common.pop("sessions")
                counts = rng.multinomial(member["count"], [0.5, 0.3, 0.15, 0.05])
                both = {"bounds_ms": [10.0, 50.0, 250.0], "counts": counts.tolist()}
                members.append({**common, **both, "kind": "latency", "id": "l1"})
        out.append(msgspec.json.encode(members))
    return out


def members(lines: list[bytes]) -> list[Json]:
    found: list[Json] = []
    for line in lines:
        whole = msgspec.json.decode(line)
        found += whole if isinstance(whole, list) else [whole]
    return found


def made(what: Any, size: float, **changes: Any) -> Injection:
    fields: dict[str, Any] = {
        "service": "shop",
        "environment": "production",
        "release": RELEASE,
        "onset_ms": START_MS + 80_000,
        "what": what,
        "size": size,
        "seed": 3,
    }
    return Injection(**{**fields, **changes})


HISTORIES = {"aggregates": durations(aggregates(1)), "singles": singles(2)}
KINDS = st.sampled_from(
    [("errors", 4.0), ("latency", 2.0), ("usage", 0.4), ("actions", 0.4)]
)
SEGMENTS = st.sampled_from(
    [(), (("os", "android"),), (("os", "ios"), ("region", "us"))]
)


@settings(max_examples=60, deadline=None)
@given(
    history=st.sampled_from(sorted(HISTORIES)),
    kind=KINDS,
    segment=SEGMENTS,
    onset_s=st.integers(0, 300),
    seed=st.integers(0, 1000),
)
def test_only_what_is_named_changes(
    history: str, kind: Any, segment: Any, onset_s: int, seed: int
) -> None:
    """Other releases and segments, what came before: same bytes, same order."""
    lines = HISTORIES[history]
    onset_ms = START_MS + onset_s * 1000
    one = made(*kind, segment=segment, onset_ms=onset_ms, seed=seed)
    changed = inject(lines, one)
    assert changed == inject(lines, one)
    outside = [m for m in members(lines) if not one.hits(m)]
    assert outside == [m for m in members(changed) if not one.hits(m)]
    early = [line for line in lines if all(m["ts"] < onset_ms for m in members([line]))]
    assert early == changed[: len(early)]
    for line in changed:
        assert not [r for r in decode(line) if isinstance(r, Rejected)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), ratio=st.floats(1.0, 50.0))
def test_added_failures_are_of_units_that_exist(seed: int, ratio: float) -> None:
    """Never more bad sessions than sessions; ids stay unique; usage stays."""
    for lines in HISTORIES.values():
        changed = members(inject(lines, made("errors", ratio, seed=seed)))
        usage = [m for m in members(lines) if m["kind"] == "usage"]
        assert usage == [m for m in changed if m["kind"] == "usage"]
        ids = Counter((m["kind"], m["release"], m["id"]) for m in changed if "id" in m)
        assert [k for k, n in ids.items() if n > 1 and k[2] != "l1"] == []
        assert_no_more_bad_than_units(changed)


def assert_no_more_bad_than_units(changed: list[Json]) -> None:
    units: defaultdict[object, int] = defaultdict(int)
    bad: defaultdict[object, int] = defaultdict(int)
    known = {m["session"] for m in changed if m["kind"] == "usage" and "session" in m}
    for m in changed:
        key = m["ts"], m["release"], str(m.get("attrs"))
        if "session" in m:
            assert m["session"] in known
        elif m["kind"] == "usage":
            units[key] += m["sessions"]
        elif m["kind"] == "error":
            assert m["count"] >= m["sessions"] > 0
            bad[key] += m["sessions"]
    assert all(count <= units[key] for key, count in bad.items())


@pytest.mark.parametrize("history", HISTORIES)
def test_errors_grow_by_the_ratio(history: str) -> None:
    """Six standard deviations: a correct program fails with less than 1e-8."""
    lines = HISTORIES[history]
    one = made("errors", 4.0)

    def bad(found: list[Json]) -> int:
        errors = [m for m in found if m["kind"] == "error"]
        return sum(m.get("sessions", 1) for m in errors)

    def units(found: list[Json]) -> int:
        usage = [m for m in found if m["kind"] == "usage"]
        return sum(m.get("sessions", 1) for m in usage)

    reached = [m for m in members(lines) if one.hits(m)]
    rate = bad(members(lines)) / units(members(lines))
    added = bad(members(inject(lines, one))) - bad(members(lines))
    expected = 3.0 * rate * units(reached)
    assert abs(added - expected) < 6 * expected**0.5
    assert added > 20


@pytest.mark.parametrize("history", HISTORIES)
def test_usage_is_thinned_with_its_errors(history: str) -> None:
    """The share that is gone, within six standard deviations (below 1e-8)."""
    lines = HISTORIES[history]
    one = made("usage", 0.4)
    changed = members(inject(lines, one))
    assert_no_more_bad_than_units(changed)
    for kind in ("usage", "error"):
        before, after = (
            sum(m.get("sessions", 1) for m in found if m["kind"] == kind)
            for found in (
                [m for m in members(lines) if one.hits(m)],
                [m for m in changed if one.hits(m)],
            )
        )
        assert abs(after - 0.6 * before) < 6 * (before * 0.24) ** 0.5
        assert after < before


def test_actions_are_thinned_and_sessions_are_not() -> None:
    """Requests go, six standard deviations (below 1e-8); every session is kept."""
    lines = HISTORIES["aggregates"]
    one = made("actions", 0.4)
    usage = [
        [m for m in found if one.hits(m) and m["kind"] == "usage"]
        for found in (members(lines), members(inject(lines, one)))
    ]
    assert [m["sessions"] for m in usage[0]] == [m["sessions"] for m in usage[1]]
    before, after = (sum(m["count"] for m in found) for found in usage)
    assert abs(after - 0.6 * before) < 6 * (before * 0.24) ** 0.5


def test_histograms_keep_their_totals_and_move_up() -> None:
    """Twice as long: each record counts as many durations, none shorter."""
    lines = HISTORIES["aggregates"]
    one = made("latency", 2.0)
    before, after = (
        np.array([m["counts"] for m in found if one.hits(m) and m["kind"] == "latency"])
        for found in (members(lines), members(inject(lines, one)))
    )
    assert (before.sum(axis=1) == after.sum(axis=1)).all()
    assert (after.cumsum(axis=1) <= before.cumsum(axis=1)).all()
    assert after[:, 0].sum() < before[:, 0].sum()


def test_exponential_histograms_keep_their_totals() -> None:
    """A factor of 2 at scale 1 is two buckets, exactly."""
    buckets = {"offset": 3, "counts": [5, 0, 7]}
    record = {
        "kind": "latency",
        "ts": START_MS + 90_000,
        "window_s": 10,
        "service": "shop",
        "release": RELEASE,
        "exponential": {"scale": 1, "zero_count": 2, "positive": buckets},
    }
    found = members(inject([msgspec.json.encode(record)], made("latency", 2.0)))
    moved = found[0]["exponential"]
    assert moved["positive"] == {"offset": 5, "counts": [5, 0, 7]}
    assert moved["zero_count"] == 2


def test_outcomes_of_requests_grow_with_their_errors() -> None:
    """Where requests tell how they ended, the added failures are among them."""
    lines = []
    for index in range(WINDOWS):
        for release, count in (("2.3.1", 1000), (RELEASE, 500)):
            failed = count // 50
            record = {
                "kind": "usage",
                "ts": START_MS + index * 10_000,
                "window_s": 10,
                "service": "shop",
                "release": release,
                "count": count,
                "outcomes": {"ok": count - failed, "server_error": failed},
            }
            lines.append(msgspec.json.encode(record))
    one = made("errors", 5.0)
    changed = members(inject(lines, one))
    failed = [m["outcomes"]["server_error"] for m in changed if one.hits(m)]
    assert all(sum(m["outcomes"].values()) == m["count"] for m in changed)
    # 16 windows of 500 with 8 % added: 640, sd 25.
    assert abs(sum(failed) - len(failed) * 10 - 640) < 150


def test_a_rate_of_nothing_can_not_be_multiplied() -> None:
    """It says so, and what to do instead."""
    lines = [line for line in singles(4) if b'"error"' not in line]
    with pytest.raises(ValueError, match="inject latency or a drop instead"):
        inject(lines, made("errors", 2.0))
