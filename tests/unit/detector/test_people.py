"""What people tell a service through the log: obeyed once, kept with who and why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detector.engine import Partition
from detector.people import LABELS_MAX, labels_of
from detector.view import partition_view
from tests.unit.detector.traffic import (
    QUICK,
    Event,
    Log,
    at,
    command,
    feed,
    harmful,
    recommendations,
    restored,
    rules,
    run,
    said,
)

AUTO = rules(
    "persistence_s: 30",
    "hypercare: {min_hours: 0.0, min_exposure: 100}",
    "mode: auto",
    "without_baseline: rollback",
)


def told(log: Log, *events: Event, window: int = 18) -> Log:
    """The log with what people tell, a record each."""
    for event in events:
        log.add(at(window), event)
    return log


def audit(log: Log) -> list[dict[str, Any]]:
    """What the audit keeps of commands."""
    return said(run(log), "commands")


def label(name: str, word: str, **more: Any) -> Event:
    """Somebody labels a recommendation."""
    return command(18, "label", recommendation_id=name, value=word, **more)


def test_audit_keeps_who_and_why() -> None:
    """Each command leaves a record of who, why, when, and under which rule."""
    (opened,) = recommendations(run(harmful()))
    order = command(
        18, "withdraw", recommendation_id=opened["id"], actor="ada", reason="a test"
    )
    log = told(harmful(), order, order)
    first, copy = audit(log)
    assert (first["command"], first["recommendation_id"]) == ("withdraw", opened["id"])
    assert (first["actor"], first["why"]) == ("ada", "a test")
    assert first["at"] == at(18) + 500  # no earlier than what arrived before
    assert (first["rule"], first["rules_hash"]) == ("all", QUICK.hash)
    assert (first["changed"], copy["changed"]) == (True, False)


@pytest.mark.parametrize(
    "event",
    [
        command(18, "withdraw", recommendation_id="rec_x"),
        {**command(18, "freeze"), "service": "nobody"},
        command(18, "mode", value="fast"),
        command(18, "mode"),
        command(18, "label", value="wrong"),
        label("rec_x", "great"),
        {**command(18, "ruleset", rules_text="{}"), "service": "all"},
    ],
)
def test_audit_keeps_what_changed_nothing(event: Event) -> None:
    """Unknown ids, services and values leave a record that says so."""
    (record,) = audit(told(harmful(), event))
    assert (record["command"], record["changed"]) == (event["name"], False)


def test_reload_stands_in_the_audit() -> None:
    """A rule set that comes in force leaves a record with its hash."""
    text = AUTO.to_canonical_json().decode()
    event = {**command(18, "ruleset", rules_text=text), "service": "all"}
    (record,) = audit(told(harmful(), event))
    assert (record["changed"], record["rules_hash"]) == (True, AUTO.hash)
    assert record["value"] is None


def test_mode_is_lowered_at_once() -> None:
    """An open recommendation gets a revision with the lower mode, and another one when
    the mode is taken back; what is said twice changes nothing."""
    log = told(harmful(), *[command(18, "mode", value="recommend")] * 2)
    told(log, command(18, "mode", value="rule"), command(18, "mode", value="auto"))
    found = recommendations(run(log, AUTO))
    assert [(r["revision"], r["mode"]) for r in found] == [
        (1, "auto"),
        (2, "recommend"),
        (3, "auto"),
    ]


def test_mode_only_lowers() -> None:
    """A rule that only recommends is not made to act."""
    log = told(harmful(), command(18, "mode", value="auto"))
    assert {r["mode"] for r in recommendations(run(log))} == {"recommend"}


def test_mode_outlives_a_restart() -> None:
    """What people told is in the state, and in what it shows."""
    partition = Partition(0, AUTO)
    feed(partition, told(harmful(), command(18, "mode", value="shadow")))
    for one in (partition, restored(partition)):
        (view,) = partition_view(one).releases
        assert view.recommendation.mode == "shadow"


def test_labels_count_once_each() -> None:
    """Each label of a recommendation counts once, for the rule in force."""
    labels = [label("rec_a", w) for w in ("wrong", "wrong", "late")]
    partition = Partition(0, QUICK)
    feed(partition, told(harmful(), *labels, label("rec_b", "wrong")))
    for one in (partition, restored(partition)):
        found = list(labels_of(partition_view(one).counts))
        assert found == [("late", "all", 1), ("wrong", "all", 2)]
    feed(restored(partition), told(Log(), label("rec_a", "wrong")))
    assert partition.counts["label.wrong.all"] == 2


def test_labels_are_bounded() -> None:
    """Labels of made-up recommendations push each other out."""
    partition = Partition(0, QUICK)
    told(log := harmful(), *(label(f"rec_{n}", "right") for n in range(LABELS_MAX + 5)))
    feed(partition, log)
    (scope,) = partition.scopes.values()
    assert len(scope.labels) == LABELS_MAX
    assert "rec_4" not in scope.labels


def test_audit_is_no_decision() -> None:
    """What people tell and what changes nothing leaves the decisions as they were."""
    log = told(harmful(), label("rec_a", "right"), command(18, "mode", value="auto"))
    assert said(run(log), "verdicts") == said(run(harmful()), "verdicts")
    assert json.dumps(recommendations(run(log))) == json.dumps(
        recommendations(run(harmful()))
    )
