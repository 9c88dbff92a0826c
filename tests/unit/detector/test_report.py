"""What is published: complete, finite, and the numbers that were counted."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

import pytest

from tests.unit.detector.traffic import (
    QUICK,
    Log,
    arms,
    at,
    deploy,
    error,
    harmful,
    recommendations,
    rules,
    run,
    said,
    usage,
)


def finite(value: Any) -> bool:
    """Whether every number in a decoded record is finite."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or isfinite(value)


def last(log: Log) -> dict[str, Any]:
    """The last verdict of a log."""
    found: dict[str, Any] = said(run(log), "verdicts")[-1]
    return found


def test_counts_are_those_sent() -> None:
    """The evidence for the whole holds the units of both arms, counted by hand."""
    found = last(harmful(12))
    windows = (found["window_end"] - at(6)) // 10_000
    whole = found["evidence"][0]
    assert whole["segment"] is None
    assert whole["candidate"] == {
        "releases": ["2"],
        "units": 200.0 * windows,
        "bad": 20.0 * windows,
        "rate": 0.1,
    }
    assert whole["control_arm"]["units"] == 800.0 * windows
    assert (whole["unit"], whole["control"], whole["guarantee"]) == (
        "session",
        "concurrent",
        "proven",
    )


def test_harm_is_summed_up() -> None:
    """Affected and excess units are those since the onset."""
    found = last(harmful(12))
    windows = (found["window_end"] - found["onset_ms"]) // 10_000
    assert found["affected_units"] == 200.0 * windows
    assert found["excess_bad_units"] == pytest.approx((20 - 2) * windows)


def test_verdict_refers_to_recommendation() -> None:
    """A regressed verdict names the open recommendation."""
    outputs = run(harmful())
    assert (
        said(outputs, "verdicts")[-1]["recommendation_id"]
        == (recommendations(outputs)[0]["id"])
    )


def test_worst_signature_comes_first() -> None:
    """Signatures are ordered by their excess over the control's."""
    log = harmful(0)
    for window in range(6, 18):
        log.add(
            at(window + 1),
            usage(window, "1", 800),
            usage(window, "2", 200),
            error(window, "1", 40, signature="Old"),
            error(window, "2", 10, signature="Old"),
            error(window, "2", 30, signature="New", url="https://shop/trace"),
        )
    found = last(log)["top_signatures"]
    assert [s["signature"] for s in found] == ["New", "Old"]
    assert found[0]["url"] == "https://shop/trace"


def test_competitors_are_named() -> None:
    """Other releases under judgement and the changes that came along are shown."""
    log = harmful(4)
    log.add(at(10), deploy(10, "3", predecessor="1", components={"cart": "7"}))
    log.windows(range(10, 20), {"1": (700, 7), "2": (200, 20), "3": (100, 1)})
    found = [v for v in said(run(log), "verdicts") if v["release"] == "3"]
    assert found[-1]["competing_releases"] == ["2"]
    assert found[-1]["competing_changes"] == {"cart": "7"}


def test_owner_comes_from_deploy() -> None:
    """Who deployed is asked first, else who owns the rule."""
    log = (
        Log()
        .add(at(0), deploy(0, owner="team-cart"))
        .windows(range(5), {"1": (10, 1), "2": (10, 1)})
    )
    assert last(log)["owner"] == "team-cart"
    book = rules("owner: rule-team")
    assert said(run(harmful(), book), "verdicts")[-1]["owner"] == "rule-team"


@pytest.mark.parametrize(
    "counts",
    [
        {"1": (800, 0), "2": (200, 0)},
        {"1": (800, 0), "2": (200, 200)},
        {"1": (0, 0), "2": (200, 100)},
        {"1": (800, 800), "2": (0, 50)},
        {"1": (10**12, 10**11), "2": (10**12, 10**12)},
        {"1": (1, 1), "2": (1, 1)},
        {"1": (5, 50), "2": (5, 90)},
    ],
)
def test_extreme_counts_stay_finite(counts: dict[str, tuple[int, int]]) -> None:
    """No count of either arm, zero and huge ones included, gives NaN or infinity."""
    log = Log().windows(range(6), {"1": (800, 8)}).add(at(6), deploy(6))
    outputs = run(log.windows(range(6, 40), counts))
    assert outputs
    for output in outputs:
        assert finite(json.loads(output.value))
        assert b"nan" not in output.value.replace(b"tenant", b"")


def test_missing_evidence_is_quantified() -> None:
    """A suspicion says how many failed units would decide it."""
    log = harmful(0).windows(range(6, 12), {"1": (800, 80), "2": (200, 33)})
    found = last(log)
    assert found["verdict"] == "inconclusive"
    assert "more failed units" in found["change_needs"]


def test_equal_decisions_equal_bytes() -> None:
    """Two runs of one log give the same outputs, ids and keys included."""
    assert run(harmful(40)) == run(harmful(40))


def test_output_ids_are_unique() -> None:
    """Receivers dedupe by id, so no two different records share one."""
    log = harmful(8)
    log.add(at(80), usage(79, "1", 800), usage(79, "2", 200))
    log.windows(range(80, 90), {"1": (800, 8), "2": (200, 20)})
    log.add(at(90), deploy(90, phase="rolled_back"), deploy(90, "3"))
    outputs = run(log, QUICK)
    assert len({o.id for o in outputs}) == len(outputs)


def test_one_record_may_decide_often() -> None:
    """Verdicts that one late batch causes together have ids of their own."""
    log = Log().windows(range(6), {"1": (800, 8)}).add(at(6), deploy(6))
    counts = {"1": (800, 8), "2": (200, 20)}
    batch = [e for w in range(6, 18) for e in arms(w, counts)]
    outputs = [o for o in run(log.add(at(18) + 500, *batch)) if o.topic == "verdicts"]
    last = [json.loads(o.value)["offset"] for o in outputs]
    assert last.count(max(last)) > 1
    assert len({o.id for o in outputs}) == len(outputs)
