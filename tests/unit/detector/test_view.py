"""What a partition shows is what its state holds, no more and no less."""

from __future__ import annotations

import json
from math import inf, log

import numpy as np
import pytest

from detector import state
from detector.engine import Partition
from detector.reading import facts_of
from detector.records import LogRecord
from detector.rulefile import load_rules
from detector.simulate import DEFAULT_STRATA, Shop, constant, ramp
from detector.verdicts import Action, RecommendationState, Verdict
from detector.view import (
    Reading,
    ReleaseView,
    eta_s,
    partition_view,
    release_views,
    severity_of,
)

START_MS = 1_795_356_000_000
RULES = """\
version: 1
rules:
  - name: all
    owner: rule-team
    strata: [{attr: os}, {attr: region}]
end_of_rules: true
"""


def log_of(shop: Shop, rng: np.random.Generator, windows: int) -> list[LogRecord]:
    """The shop's traffic as records of the log, one a window."""
    records = []
    for events in shop.windows(rng, START_MS, windows):
        at_ms = max(e["received_at"] for e in events)
        value = json.dumps(events).encode()
        records.append(LogRecord(len(records), at_ms, b"shop", value))
    return records


def run(shop: Shop, rng: np.random.Generator, windows: int = 120) -> Partition:
    """A partition that has seen the shop."""
    partition = Partition(3, load_rules(RULES, source="test"))
    partition.apply(log_of(shop, rng, windows))
    return partition


@pytest.fixture
def bad_shop() -> Shop:
    """Four times the errors on android from the start of the release on."""
    return Shop(
        harm=constant(4.0),
        harm_segment=(("os", "android"),),
        sessions_per_window=2000.0,
    )


def only(partition: Partition) -> ReleaseView:
    """The one release under judgement."""
    (view,) = release_views(partition)
    return view


def test_harm_shows_an_open_recommendation(
    bad_shop: Shop, rng: np.random.Generator
) -> None:
    """A regressed release shows its id, segment, ratio and excess.

    Evidence grows by more than 0.5 nats a window, far above the threshold after 90
    windows: a correct program fails with a probability below 1e-9.
    """
    view = only(run(bad_shop, rng))
    said = view.recommendation
    assert (view.verdict, said.is_open) == (Verdict.REGRESSED, True)
    assert (said.action, said.state) == (Action.ROLLBACK, RecommendationState.OPEN)
    assert said.id is not None
    assert said.id.startswith("rec_")
    assert said.segment == {"os": "android"}
    assert (view.release, view.baseline) == ("2.4.0", "2.3.1")
    assert (view.strategy, view.criticality, view.owner) == (
        "canary",
        "medium",
        "rule-team",
    )
    low, best, high = view.signals[0].rate_ratio
    assert 1.0 < low < best < high
    assert view.excess_units > 100
    assert view.eta_s == 0.0
    harm = view.harm
    assert harm is not None
    assert (harm.segment, harm.onset_ms) == (said.segment, said.onset_ms)
    assert harm.excess_units == view.excess_units < harm.bad < harm.units
    assert harm.rate_ratio[0] > best


def test_closed_series_exists_before_harm(rng: np.random.Generator) -> None:
    """Before any harm the recommendation is there, closed, with its likely action.

    At most alpha = 0.0025 of null streams open one; the seed is fixed.
    """
    view = only(run(Shop(), rng))
    said = view.recommendation
    assert (said.is_open, said.action, said.id) == (False, Action.ROLLBACK, None)
    assert view.evaluated_ms is not None
    assert view.excess_units == 0.0


def test_view_agrees_with_published_verdict(
    bad_shop: Shop, rng: np.random.Generator
) -> None:
    """Verdict, evidence and counts are those of the records that went out."""
    partition = Partition(0, load_rules(RULES, source="test"))
    records = log_of(bad_shop, rng, 120)
    said = None
    for record in records:
        for output in partition.apply([record]).records:
            if output.topic == "verdicts":
                said = json.loads(output.value)
                view = only(partition)
                whole = said["evidence"][0] if said["evidence"] else None
                assert view.verdict is not None
                assert view.verdict.value == said["verdict"]
                assert view.signals[0].log_e == pytest.approx(said["log_e"], rel=1e-5)
                if whole and whole["rate_ratio"][2] < 1e9:
                    assert view.signals[0].rate_ratio == pytest.approx(
                        whole["rate_ratio"], rel=1e-5
                    )
                    assert view.signals[0].bad == whole["candidate"]["bad"]
    assert said is not None


def test_restored_partition_shows_the_same(
    bad_shop: Shop, rng: np.random.Generator
) -> None:
    """A view read from a snapshot equals the view of the one that wrote it."""
    partition = run(bad_shop, rng)
    again = state.restore(3, state.all_blocks(partition), partition.next_offset)
    assert partition_view(again) == partition_view(partition)


def test_many_releases_are_read_as_one(rng: np.random.Generator) -> None:
    """Reading all releases in one go gives each what it has alone in a partition."""
    shops = [
        Shop(
            service=f"shop-{n}", harm=constant(1.0 + n), strata=DEFAULT_STRATA[: n + 1]
        )
        for n in range(4)
    ]
    logs = [log_of(shop, rng, 60) for shop in shops]
    together = Partition(3, load_rules(RULES, source="test"))
    for records in zip(*logs, strict=True):
        for record in records:
            offset = together.next_offset
            together.apply([record._replace(offset=offset)])
    for view, log_records in zip(release_views(together), logs, strict=True):
        alone = Partition(3, load_rules(RULES, source="test"))
        alone.apply(log_records)
        assert only(alone) == view
        scope = alone.scopes[(view.service, view.environment)]
        watch = scope.watches[view.release]
        facts = facts_of(watch, alone.rows, scope.closed_until_ms)
        assert view.signals[0].log_e == pytest.approx(facts.log_e, rel=1e-9)
        assert view.signals[0].rate_ratio == facts.ratio


def test_ended_release_is_not_shown(bad_shop: Shop, rng: np.random.Generator) -> None:
    """A release that was rolled back leaves no view behind."""
    partition = run(bad_shop, rng)
    end_ms = partition.arrival_ms + 1_000
    events = [
        {
            "kind": "deploy",
            "ts": end_ms,
            "service": "shop",
            "release": "2.4.0",
            "phase": "rolled_back",
        },
        {"kind": "tick", "ts": end_ms + 120_000, "service": "all"},
    ]
    for event in events:
        value = json.dumps(event).encode()
        record = LogRecord(partition.next_offset, event["ts"], b"shop", value)
        partition.apply([record])
    assert release_views(partition) == []
    assert [s.service for s in partition_view(partition).scopes] == ["shop"]


def test_unjudged_release_shows_no_verdict() -> None:
    """Between the deploy and the first closed window nothing is claimed."""
    partition = Partition(0, load_rules(RULES, source="test"))
    shop = Shop()
    deploy = json.dumps(shop.deploy(START_MS, 0.1, "started")).encode()
    partition.apply([LogRecord(0, START_MS, b"shop", deploy)])
    watch = partition.scopes[("shop", "production")].watches["2.4.0"]
    watch.published = None
    view = only(partition)
    assert (view.verdict, view.evaluated_ms, view.reasons) == (None, None, ())
    assert view.signals[0].rate_ratio == (0.0, 1.0, inf)
    assert view.eta_s is None


def test_scope_counts_what_was_refused(rng: np.random.Generator) -> None:
    """Repeats, late and future records are shown per scope; streams by last event."""
    partition = run(Shop(), rng, 20)
    now_ms = partition.arrival_ms
    late = {"kind": "usage", "ts": START_MS, "window_s": 10, "sessions": 1, "count": 1}
    future = {**late, "ts": now_ms + 600_000}
    fresh = {**late, "ts": now_ms // 10_000 * 10_000, "id": "twice"}
    events = [late, future, fresh, fresh]
    for event in events:
        event |= {"service": "shop", "release": "2.3.1"}
        value = json.dumps(event).encode()
        record = LogRecord(partition.next_offset, now_ms, b"shop", value)
        partition.apply([record])
    (scope,) = partition_view(partition).scopes
    assert (scope.late, scope.future, scope.duplicates) == (1, 1, 1)
    assert set(scope.last_event_ms) == {"usage", "errors"}
    assert scope.watermark_ms == partition_view(partition).watermark_ms


def test_view_does_not_move_later(bad_shop: Shop, rng: np.random.Generator) -> None:
    """What was taken stays as it was, whatever the partition reads afterwards."""
    partition = Partition(0, load_rules(RULES, source="test"))
    records = log_of(bad_shop, rng, 60)
    partition.apply(records[:50])
    view = partition_view(partition)
    before = repr(view)
    partition.apply(records[50:])
    assert repr(view) == before


def test_eta_predicts_the_detection(rng: np.random.Generator) -> None:
    """Time to go, foreseen at half the evidence, is right within a factor of 3.

    The evidence of the second half is a sum over hundreds of failures; seeded.
    """
    shop = Shop(harm=constant(2.0), weight=ramp([(30, 0.5)]), strata=DEFAULT_STRATA)
    partition = Partition(0, load_rules(RULES, source="test"))
    foreseen_s = foreseen_at_ms = None
    reached_ms = None
    for record in log_of(shop, rng, 200):
        partition.apply([record])
        views = release_views(partition)
        if not views or views[0].evaluated_ms is None:
            continue
        log_e = views[0].signals[0].log_e
        if foreseen_s is None and log_e >= log(400) / 2:
            foreseen_s, foreseen_at_ms = views[0].eta_s, views[0].evaluated_ms
        if log_e >= log(400):
            reached_ms = views[0].evaluated_ms
            break
    assert foreseen_s is not None
    assert foreseen_at_ms is not None
    assert reached_ms is not None
    took_s = (reached_ms - foreseen_at_ms) / 1000
    assert took_s / 3 <= foreseen_s + 10
    assert foreseen_s <= 3 * took_s + 10


@pytest.mark.parametrize(
    "reading",
    [
        Reading(0.0, (0.0, 1.0, inf), 0, 0, 0, 0, 0),
        Reading(0.0, (0.5, 1.05, 2.0), 9, 900, 9, 900, 60_000),
        Reading(0.0, (1.5, inf, inf), 9, 900, 0, 900, 60_000),
        Reading(0.0, (1.5, 3.0, 6.0), 9, 900, 3, 900, 0),
        Reading(0.0, (1.5, 3.0, 6.0), 9, 900, 0, 0, 60_000),
    ],
)
def test_eta_is_unknown_without_growth(reading: Reading) -> None:
    """No traffic, no excess over the margin, no finite ratio: no time is given."""
    assert eta_s(reading, margin=1.1, alpha=0.0025) is None


def test_eta_falls_with_evidence() -> None:
    """More evidence, same traffic: less time to go."""
    some = Reading(1.0, (1.5, 3.0, 6.0), 27, 900, 9, 900, 60_000)
    more = some._replace(log_e=3.0)
    here, there = eta_s(some, 1.1, 0.0025), eta_s(more, 1.1, 0.0025)
    assert here is not None
    assert there is not None
    assert 0 < there < here


@pytest.mark.parametrize(
    ("expected", "criticality", "action"),
    [
        ("page", "critical", Action.ROLLBACK),
        ("page", "high", Action.HALT),
        ("ticket", "medium", Action.ROLLBACK),
        ("ticket", "low", Action.ROLLBACK),
        ("ticket", "critical", Action.INVESTIGATE),
    ],
)
def test_severity_follows_criticality(
    expected: str, criticality: str, action: Action
) -> None:
    """Only critical and high releases wake people, and never to investigate."""
    assert severity_of(criticality, action) == expected
