"""Simulated telemetry on its way: senders, copies, delays, losses, sampling."""

from __future__ import annotations

import numpy as np
import pytest

from detector.simulator import confounders as looks
from detector.simulator import harms
from tests.unit.detector.simulated import (
    BUSY,
    NEW,
    OLD,
    content,
    identity,
    lines,
    rate,
    total,
    with_effects,
)


def test_batches_arrive_in_order() -> None:
    """Arrival times rise, and a batch's lines carry theirs."""
    scenario = with_effects(looks.LateLines(0.3), looks.RepeatedLines(0.3))
    batches = list(scenario.play(np.random.default_rng(1)).batches)
    times_ms = [now_ms for now_ms, _ in batches]
    assert times_ms == sorted(set(times_ms))
    assert all(r["received_at"] == now for now, batch in batches for r in batch)


def test_senders_share_one_total() -> None:
    """Eight restarting senders report the counts that one would."""
    one = lines(BUSY)
    many = lines(with_effects(looks.ManySenders(8, restarts_per_hour=6)))
    for kind in ("usage", "error"):
        for release in (OLD, NEW):
            assert total(many, "sessions", kind, release) == total(
                one, "sessions", kind, release
            )
    assert len({r["sender"] for r in many if "sender" in r}) == 16


def test_restarted_senders_keep_lines_apart() -> None:
    """A restarted sender counts from 0 and never repeats an identity."""
    records = lines(with_effects(looks.ManySenders(4, restarts_per_hour=6)))
    marks = [(*identity(r), r["kind"]) for r in records if "sender" in r]
    assert len(set(marks)) == len(marks)
    assert sum(r["seq"] == 0 for r in records if "seq" in r) > 8


def test_copies_are_recognisable() -> None:
    """Without its copies a run with repeated lines is the run without them."""
    seen: dict[tuple[str, int, int], str] = {}
    repeated = lines(with_effects(looks.RepeatedLines(0.3)))
    for record in repeated:
        if "sender" in record:
            assert seen.setdefault(identity(record), content(record)) == content(record)
    plain = {identity(r): content(r) for r in lines(BUSY) if "sender" in r}
    assert seen == plain
    assert len(repeated) > len(plain)


@pytest.mark.parametrize(
    "effect", [looks.LateLines(0.3), looks.LostLines(0.3, arm="both")]
)
def test_lines_on_the_way_are_not_invented(effect: harms.Effect) -> None:
    """Late and lost lines are some of those that were sent."""
    sent = {content(r) for r in lines(BUSY)}
    arrived = [content(r) for r in lines(with_effects(effect))]
    assert len(arrived) < len(sent)
    assert set(arrived) <= sent


def test_launches_delay_but_keep_crashes() -> None:
    """Crashes come later than they happened, and all of them in the end."""
    waits = looks.NextLaunch(mean_min=1.0)
    records = lines(with_effects(waits))
    plain = lines(BUSY)
    late = [r for r in records if r["received_at"] - r["ts"] > 120_000]
    assert late
    assert {r["kind"] for r in late} == {"error"}
    got = total(records, "sessions", "error") / total(plain, "sessions", "error")
    assert 0.5 < got <= 1.0


def test_sampled_rates_can_be_restored() -> None:
    """Divided by its sample rate each arm's error rate is the true one.

    300 failures are expected among those kept: a third is 6 standard errors.
    """
    keep = looks.Sampled(old=1.0, new=0.2, errors_new=0.5)
    records = lines(with_effects(keep, error_rate=0.04))
    rates = {r["kind"]: r["sample_rate"] for r in records if "sample_rate" in r}
    assert rates == {"usage": 0.2, "error": 0.5}
    assert rate(records) / 0.5 * 0.2 == pytest.approx(0.04, rel=1 / 3)


def test_skewed_clocks_shift_one_arm() -> None:
    """The arm's lines are stamped by its clock, which ``sent_at`` shows."""
    records = lines(with_effects(looks.SkewedClock(-120.0)))
    for record in records:
        if record["kind"] == "usage":
            late_ms = record["received_at"] - record["ts"]
            assert (late_ms > 120_000) == (record["release"] == NEW)
            assert ("sent_at" in record) == (record["release"] == NEW)
