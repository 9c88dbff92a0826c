"""After a rollback: did it help, was the release innocent, can it be told at all."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from detector import aftermath
from detector.aftermath import Aftermath, excuse, follow, is_excused
from detector.engine import Partition
from detector.latencystate import LatencyState
from detector.ledger import Ledger, Values
from detector.releases import Registry
from detector.rollbackview import rollback_views
from detector.series import Strata
from detector.spans import Books, Question, wander
from detector.view import PAGING, partition_view
from tests.unit.detector.calm import finding
from tests.unit.detector.traffic import (
    QUICK,
    START_MS,
    Event,
    Log,
    arms,
    at,
    deploy,
    feed,
    harmful,
    restored,
    rules,
    run,
    said,
    usage,
)

BACK = 26
"""Window in which the release is taken back."""

WHOLE = {"1": (800, 8), "2": (200, 20)}
INNOCENT = Aftermath(
    release="2",
    number=2,
    component=None,
    recommendation_id="rec_a",
    signal="errors",
    segment=(),
    unit="session",
    onset_ms=0,
    ended_ms=0,
    harm_ratio=3.0,
    bad_control=100.0,
    outcome="did_not_help",
    after=(10_000.0, 300.0),
    left=3.0,
    done_ms=1_000_000,
)


def taken_back(after: int, bad: int, sessions: int = 1000) -> Log:
    """A harmful canary, rolled back; then the old release alone for some windows."""
    log = harmful(BACK - 6).add(at(BACK) + 100, deploy(BACK, phase="rolled_back"))
    return log.windows(range(BACK, BACK + after), {"1": (sessions, bad)})


def answers(log: Log) -> list[dict[str, Any]]:
    """What was said about the way back."""
    found = said(run(log), "verdicts")
    return [v for v in found if v["reasons"][0].startswith("rollback_")]


def test_gone_harm_means_helped() -> None:
    """Failures fall to the control's level: the rollback is confirmed, once."""
    (found,) = answers(taken_back(220, 10))
    assert (found["verdict"], found["reasons"], found["action"]) == (
        "regressed",
        ["rollback_helped"],
        "continue",
    )
    assert "taking it back helped" in found["sentence"]
    assert found["recommendation_id"].startswith("rec_")


def test_lasting_harm_exonerates() -> None:
    """Failures stay where they were: the release is said to be innocent."""
    (found,) = answers(taken_back(220, 28))
    assert (found["verdict"], found["reasons"], found["action"]) == (
        "inconclusive",
        ["rollback_did_not_help"],
        "investigate",
    )
    assert "not to blame" in found["sentence"]
    low, best, high = found["evidence"][0]["rate_ratio"]
    assert low < best < high
    assert best == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("bad", "sessions"), [(0, 4), (0, 0)])
def test_thin_traffic_stays_unverified(bad: int, sessions: int) -> None:
    """Without enough traffic the answer is that there is none, in bounded time."""
    (found,) = answers(taken_back(240, bad, sessions))
    assert found["reasons"] == ["rollback_unverified"]
    most_ms = aftermath.SETTLE_MS + aftermath.VERIFY_WITHIN_MS + 60_000
    assert found["window_end"] - at(BACK) <= most_ms


def test_silence_ends_by_ticks() -> None:
    """A partition asks for ticks until the way back is judged, and then no more."""
    partition = Partition(0, QUICK)
    feed(partition, taken_back(2, 10))
    assert partition.wants_tick(at(BACK + 300))
    log = taken_back(2, 10)
    log.ticks(range(BACK + 230, BACK + 232))
    partition = Partition(0, QUICK)
    found = said(feed(partition, log), "verdicts")
    assert found[-1]["reasons"] == ["rollback_unverified"]
    assert not partition.wants_tick(at(BACK + 300))


def test_redeploy_ends_the_question() -> None:
    """A release that is back cannot be missed: nothing is said of its absence."""
    log = taken_back(10, 10)
    log.add(at(BACK + 10) + 600, deploy(BACK + 10))
    log.windows(range(BACK + 10, BACK + 230), {"1": (800, 8), "2": (200, 2)})
    assert answers(log) == []


def test_older_deploy_counts_as_rollback() -> None:
    """To deploy the older release over the newer one is the way back, too."""
    log = harmful(BACK - 6).add(at(BACK) + 100, deploy(BACK, "1"))
    log.windows(range(BACK, BACK + 120), {"1": (1000, 10)})
    (found,) = answers(log)
    assert found["reasons"] == ["rollback_helped"]


def test_leftover_traffic_exonerates_nobody() -> None:
    """While the release still serves, lasting failures do not speak for it."""
    log = harmful(BACK - 6).add(at(BACK) + 100, deploy(BACK, phase="rolled_back"))
    log.windows(range(BACK, BACK + 230), {"1": (800, 23), "2": (200, 20)})
    assert [a["reasons"] for a in answers(log)] == [["rollback_unverified"]]


def test_calm_release_starts_no_question() -> None:
    """Only a release that was recommended against is followed."""
    log = Log().windows(range(6), {"1": (800, 8)}).add(at(6), deploy(6))
    log.windows(range(6, BACK), {"1": (800, 8), "2": (200, 2)})
    log.add(at(BACK) + 100, deploy(BACK, phase="rolled_back"))
    log.windows(range(BACK, BACK + 120), {"1": (1000, 10)})
    assert answers(log) == []


def test_answer_survives_a_snapshot() -> None:
    """Restored in the middle of the question, a partition gives the same bytes."""
    log = taken_back(110, 28)
    whole = run(log, batch=1)
    for cut in (BACK + 5, BACK + 60):
        partition = Partition(0, QUICK)
        head = feed(partition, log.records[:cut])
        assert head + feed(restored(partition), log.records[cut:]) == whole


def test_outcome_is_shown_for_an_hour() -> None:
    """The view names the outcome while it is news, with its severity."""
    partition = Partition(0, QUICK)
    feed(partition, taken_back(110, 28))
    (shown,) = partition_view(partition).rollbacks
    assert (shown.release, shown.outcome, shown.severity) == (
        "2",
        "did_not_help",
        "ticket",
    )
    later_ms = START_MS + 3 * 3_600_000
    assert rollback_views(partition.scopes.values(), later_ms, PAGING) == []


def test_harm_elsewhere_is_not_excused() -> None:
    """Innocent in one segment, a release may still be guilty in another."""
    one = msgspec.structs.replace(INNOCENT, segment=ANDROID)
    assert is_excused(one, finding(segment=ANDROID), 2_000_000)
    assert not is_excused(one, finding(segment=(("os", "ios"),)), 2_000_000)
    assert not is_excused(one, finding(), 2_000_000)


def test_latency_is_excused_by_growth() -> None:
    """Slow requests above another edge are compared by how much more there are."""
    one = msgspec.structs.replace(INNOCENT, signal="latency:p90", edge=3)
    slower = finding(signal="latency", ratio=(3.0, 4.5, 6.0))
    assert is_excused(one, finding(signal="latency"), 2_000_000)
    assert not is_excused(one, slower, 2_000_000)


def minute(number: int) -> int:
    """Start of a minute."""
    return START_MS + number * 60_000


def test_redeployed_innocent_is_not_blamed() -> None:
    """An outage blamed on a flip goes on after the rollback, and then a third time.

    The release comes back while the outage pauses, so that its past is calm; the
    same level of failures leads to a look, with the reason, and to no rollback.
    """
    log = Log()

    def flow(span: range, release: str, bad: int) -> None:
        for number in span:
            common = {
                "ts": minute(number),
                "window_s": 60,
                "service": "shop",
                "release": release,
            }
            log.add(
                minute(number + 1) + 500,
                {"kind": "usage", "count": 1000, "sessions": 1000, **common},
                {"kind": "error", "count": bad, "sessions": bad, **common},
            )

    def ship(number: int, **more: Any) -> None:
        event = {"kind": "deploy", "ts": minute(number), "service": "shop"}
        log.add(minute(number) + 100, {**event, "release": "2", **more})

    flip = {"predecessor": "1", "strategy": "bluegreen", "weight": 1.0}
    flow(range(100), "1", 10)
    ship(100, **flip)
    flow(range(100, 110), "2", 10)
    flow(range(110, 125), "2", 50)
    ship(125, phase="rolled_back")
    flow(range(125, 140), "1", 50)
    flow(range(140, 500), "1", 10)
    ship(500, **flip)
    flow(range(500, 510), "2", 10)
    flow(range(510, 540), "2", 50)
    book = rules(
        "window_s: 60",
        "persistence_s: 180",
        "hypercare: {min_hours: 0.0, min_exposure: 100}",
    )
    outputs = run(log, book)
    asked_back = said(outputs, "recommendations")
    assert {r["decided_at"] < minute(130) for r in asked_back} == {True}
    late = [v for v in said(outputs, "verdicts") if v["window_end"] > minute(510)]
    assert late[-1]["reasons"] == ["error_rate_up", "exonerated"]
    assert late[-1]["action"] == "investigate"


def test_same_harm_is_excused() -> None:
    """A harm no larger than the one that went on without it leads to no action."""
    (found,) = excuse(INNOCENT, [finding()], 2_000_000)
    assert found.fires
    assert not found.acts


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": (1000.0, 45.0, 1000.0, 10.0)},
        {"segment": (("os", "android"),), "ratio": (3.0, 4.5, 6.0)},
        {"signal": "latency"},
        {"control": "concurrent"},
    ],
)
def test_new_evidence_is_not_excused(changes: dict[str, Any]) -> None:
    """Worse, of another kind, or seen beside a control: the release is blamed."""
    (found,) = excuse(INNOCENT, [finding(**changes)], 2_000_000)
    assert found.acts


def test_exoneration_ends_after_a_day() -> None:
    """A day later the same harm is the release's own again."""
    late_ms = INNOCENT.done_ms + aftermath.EXONERATED_MS
    assert is_excused(INNOCENT, finding(), late_ms)
    assert not is_excused(INNOCENT, finding(), late_ms + 1)


def test_outcomes_are_bounded() -> None:
    """Many rollbacks leave the newest sixteen in the state."""
    partition = Partition(0, rules("persistence_s: 30"))
    log = Log()
    begin = 0
    for n in range(2, 21):
        log.windows(range(begin, begin + 6), {"1": (800, 8)})
        log.add(at(begin + 6), deploy(begin + 6, str(n), predecessor="1"))
        arms = {"1": (800, 8), str(n): (800, 200)}
        log.windows(range(begin + 6, begin + 26), arms)
        log.add(at(begin + 26), deploy(begin + 26, str(n), phase="rolled_back"))
        begin += 26
    feed(partition, log)
    (scope,) = partition.scopes.values()
    assert len(scope.aftermaths) == aftermath.AFTERMATHS_MAX


@pytest.mark.parametrize(
    ("factor", "wrong"), [(1.0, "rollback_did_not_help"), (2.8, "rollback_helped")]
)
def test_wrong_answers_are_rare(factor: float, wrong: str) -> None:
    """Random counts at either truth: of 12 rollbacks none is answered wrongly.

    A wrong answer needs a rate beyond the middle of the two, log(2.8) / 2 = 0.51 off;
    at the first look the log rate of 180 failures has a sd of 0.075, so that is 6.9 sd
    away, 2.6e-12 a look. With at most 180 looks of 12 runs a correct program fails
    with a probability below 1e-8.
    """
    rng = np.random.default_rng(7)
    for _ in range(12):
        log = harmful(BACK - 6).add(at(BACK) + 100, deploy(BACK, phase="rolled_back"))
        for window in range(BACK, BACK + 100):
            failed = int(rng.poisson(10 * factor))
            log.windows([window], {"1": (1000, failed)})
        assert wrong not in [a["reasons"][0] for a in answers(log)]


def ledger_of(rates: dict[int, tuple[float, float]]) -> Ledger:
    """Two hours of minutes for releases 2, then 1: (units, bad) a minute of each."""
    ledger = Ledger()
    ledger.set_width(60_000)
    for minute in range(120):
        number = 2 if minute < 60 else 1
        units, bad = rates[number]
        end_ms = (minute + 1) * 60_000
        ledger.add(end_ms, (number, 0), Values(units, bad, units, 1.0))
        # Another segment, in which nothing ever changed.
        ledger.add(end_ms, (number, 1), Values(units, 5.0, units, 1.0))
    return ledger


def asked(ledger: Ledger, **changes: Any) -> tuple[str, Aftermath]:
    """The answer after half an hour, for a flip from 1 to 2 that was taken back."""
    strata = Strata(
        attrs=("os",),
        values=[["android", "ios"]],
        numbers={("android",): 0, ("ios",): 1},
        next_number=2,
    )
    registry = Registry()
    for name in ("1", "2"):
        registry.admit(name, 0)
    one = msgspec.structs.replace(
        INNOCENT,
        **{"outcome": "waiting", "ended_ms": 3_600_000, "done_ms": -1, **changes},
    )
    books = Books(ledger, LatencyState(), strata, registry)
    for minute in range(60, 96):
        if follow(one, books, minute * 60_000):
            break
    return one.outcome, one


ANDROID = (("os", "android"),)


def test_only_the_harmed_segment_counts() -> None:
    """A drop inside the segment is seen as if the rest were not there."""
    ledger = ledger_of({2: (100, 30), 1: (100, 10)})
    outcome, one = asked(ledger, segment=ANDROID)
    assert outcome == "helped"
    assert one.before == (6000.0, 1800.0)


def test_usage_that_returns_helped() -> None:
    """Of a drop in volume the answer is whether the volume is back."""
    drop = {"signal": "usage", "harm_ratio": 0.6, "unit": "request"}
    outcome, one = asked(ledger_of({2: (60, 1), 1: (100, 1)}), **drop)
    assert outcome == "helped"
    assert one.before[1] / one.before[0] == pytest.approx(120.0)
    outcome, one = asked(ledger_of({2: (60, 1), 1: (60, 1)}), **drop)
    assert outcome == "did_not_help"
    now_ms = one.done_ms
    for volume, excused in ((1190.0, True), (700.0, False)):
        seen = finding(
            signal="usage",
            counts=(volume, 0.0, 2000.0, 0.0),
            onset_ms=now_ms - 10 * 60_000,
        )
        assert is_excused(one, seen, now_ms) is excused


@pytest.mark.parametrize(
    ("after", "said_of_it"), [(10, "helped"), (30, "did_not_help")]
)
def test_new_signature_is_judged_by_the_total(after: int, said_of_it: str) -> None:
    """What a new signature added must leave the failures of its segment."""
    ledger = ledger_of({2: (1000, 30), 1: (1000, after)})
    harm = {"signal": "new_signature", "harm_ratio": 1e9, "added": 0.02}
    outcome, _ = asked(ledger, segment=ANDROID, **harm)
    assert outcome == said_of_it


def test_small_harm_stays_unverified() -> None:
    """A harm as small as a quiet service wanders can not be verified."""
    ledger = ledger_of({2: (1000, 110), 1: (1000, 100)})
    outcome, _ = asked(ledger, segment=ANDROID, harm_ratio=1.1, bad_control=9000.0)
    assert outcome == "unverified"


def wandering(size: float, measure: str) -> float:
    """What is learnt of two hours whose blocks alternate by a factor."""
    ledger = Ledger()
    ledger.set_width(60_000)
    for number in range(120):
        level = 1000.0 * (size if number // 5 % 2 else 1.0)
        bad, requests = (level, 5e4) if measure == "bad" else (5.0, level)
        ledger.add((number + 1) * 60_000, (1, 0), Values(1e5, bad, requests, 1.0))
    books = Books(ledger, LatencyState(), Strata(), Registry())
    question = Question(2, (), volume=measure == "requests")
    return wander(question, books, 0, 120 * 60_000)


@pytest.mark.parametrize("measure", ["bad", "requests"])
def test_wander_is_learnt_from_before(measure: str) -> None:
    """The log-sd of blocks is found, none where counts only scatter."""
    assert wandering(1.0, measure) == 0.0
    half_apart = np.log(1.5) / 2.0
    assert wandering(1.5, measure) == pytest.approx(1.4826 * half_apart, rel=0.02)


def test_short_past_teaches_no_wander() -> None:
    """Less than half an hour of blocks says nothing about wander."""
    books = Books(ledger_of({2: (9, 1), 1: (9, 1)}), *OTHERS)
    assert wander(Question(2, ()), books, 0, 25 * 60_000) == 0.0
    assert wander(Question(2, ()), books, 400 * 60_000, 460 * 60_000) == 0.0


def test_wandering_service_takes_longer() -> None:
    """What a quiet service shows is not enough where rates wander by themselves."""
    quiet, restless = (
        asked(wandering_harm(size), onset_ms=3_000_000, bad_control=3000.0)[0]
        for size in (1.0, 4.0)
    )
    assert quiet == "helped"
    assert restless == "unverified"


def wandering_harm(size: float) -> Ledger:
    """Failures twice as frequent for ten minutes, after blocks that differ."""
    ledger = Ledger()
    ledger.set_width(60_000)
    for number in range(120):
        level = 100.0 * (size if number // 5 % 2 and number < 50 else 1.0)
        bad = 300.0 if 50 <= number < 60 else level
        release = 2 if 50 <= number < 60 else 1
        ledger.add((number + 1) * 60_000, (release, 0), Values(1e4, bad, 1e4, 1.0))
    return ledger


OTHERS = (LatencyState(), Strata(), Registry())


def slow(window: int, release: str, above: int) -> Event:
    """A histogram of 200 requests, some of them slow."""
    return {
        "kind": "latency",
        "ts": at(window),
        "window_s": 10,
        "service": "shop",
        "release": release,
        "bounds_ms": [100, 200, 400, 800, 1600],
        "counts": [100, 80 - above // 2, 20 - above // 8, above // 2, above // 8, 0],
    }


def test_latency_is_judged_by_durations() -> None:
    """Slow requests that stop being slow after the way back: it helped."""
    log = Log()
    for window in range(140):
        events = [*arms(window, {"1": (800, 8)}), slow(window, "1", 20)]
        if 6 <= window < 46:
            events += [*arms(window, {"2": (800, 8)}), slow(window, "2", 120)]
        if window == 6:
            log.add(at(6), deploy(6, predecessor="1", strategy="canary", weight=0.5))
        if window == 46:
            log.add(at(46) + 100, deploy(46, phase="rolled_back"))
        log.add(at(window + 1) + 500, *events)
    found = answers(log)
    assert [a["reasons"] for a in found] == [["rollback_helped"]]
    assert found[0]["evidence"][0]["signal"].startswith("latency")


def test_usage_alone_keeps_the_question_open() -> None:
    """The answer waits for a settled span: nothing is said in the first minutes."""
    log = harmful(BACK - 6).add(at(BACK) + 100, deploy(BACK, phase="rolled_back"))
    log.windows(range(BACK, BACK + 18), {"1": (1000, 10)})
    log.add(at(BACK + 20), usage(BACK + 19, "1", 1000))
    assert answers(log) == []
