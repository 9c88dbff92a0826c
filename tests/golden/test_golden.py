"""Whole incidents under the shipped rules: known recordings, known answers.

``pytest tests/golden --update-golden`` writes the expected outputs anew; what they
must say whatever the bytes is stated below and is never updated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detector.records import Output
from detector.replay import Replay
from detector.rulefile import RuleSet, load_rules
from detector.verdicts import RecommendationRecord
from detector.wire import RECOMMENDATIONS
from tests.golden.incidents import INCIDENTS

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "rules" / "default.yaml"
HARMFUL = {
    "segment_canary": ["rollback"],
    "rollback": ["rollback"],
    "recovery": ["rollback"],
    "bluegreen": ["rollback"],
    "requests_only": ["rollback"],
    "inferred": ["watch"],
    "mobile": ["halt", "hotfix"],
    "forbidden": ["hotfix"],
    "component_withdrawn": ["withdraw"],
    "component_replaced": ["replace"],
    "stacked": ["rollback"],
}
"""Actions recommended, in order. No other incident recommends anything."""

REASONS = {
    "bluegreen": ("regressed", "new_signature"),
    "thin_traffic": ("inconclusive", "thin_traffic"),
    "outage": ("inconclusive", "warming_up"),
    "healthy": ("healthy", "upper_limit_below_margin"),
    "odd_clocks": ("inconclusive", "warming_up"),
    "sampled": ("inconclusive", "warming_up"),
    "early_adopters": ("inconclusive", "warming_up"),
}
"""Last verdict and first reason of incidents that end in words of their own."""


@pytest.fixture(scope="module")
def book() -> RuleSet:
    """The rules Hypercare ships with."""
    return load_rules(SHIPPED.read_text(encoding="utf-8"), source=str(SHIPPED))


def lines_of(name: str) -> list[bytes]:
    """The recording, drawn once if it is new."""
    path = HERE / f"{name}.jsonl"
    if not path.exists():
        path.write_bytes(b"\n".join(INCIDENTS[name]().lines) + b"\n")
    return path.read_bytes().splitlines()


def answers(name: str, book: RuleSet, batch: int = 7) -> list[bytes]:
    """What replay says about a recording."""
    return list(Replay(book).feed(lines_of(name), batch))


class Whole(Replay):
    """Keeps every recommendation as it is published."""

    def __init__(self, rules: RuleSet) -> None:
        super().__init__(rules)
        self.recommendations: list[RecommendationRecord] = []

    def show(self, output: Output) -> bytes | None:
        """As ever, and keep it."""
        if output.topic == RECOMMENDATIONS:
            found = msgspec.json.decode(output.value, type=RecommendationRecord)
            self.recommendations.append(found)
        return super().show(output)


def full(name: str, book: RuleSet) -> list[RecommendationRecord]:
    """Every recommendation of a recording, with all that replay leaves out."""
    replay = Whole(book)
    list(replay.feed(lines_of(name), 7))
    return replay.recommendations


def decoded(name: str, book: RuleSet, kind: str) -> list[dict[str, Any]]:
    """The decoded answers of one type."""
    found = [json.loads(line) for line in answers(name, book)]
    return [record for record in found if record["type"] == kind]


@pytest.mark.parametrize("name", INCIDENTS)
def test_incident_gives_known_bytes(
    name: str, book: RuleSet, request: pytest.FixtureRequest
) -> None:
    """The answers are those on file, byte for byte."""
    found = b"\n".join(answers(name, book)) + b"\n"
    path = HERE / f"{name}.expected"
    if request.config.getoption("--update-golden", default=False):
        path.write_bytes(found)
    assert path.exists(), "pytest tests/golden --update-golden writes it"
    assert found.decode() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", INCIDENTS)
def test_incident_leads_to_action(name: str, book: RuleSet) -> None:
    """Harm leads to the action that fits, and no harm to none at all."""
    actions = [r["action"] for r in decoded(name, book, "recommendation")]
    assert list(dict.fromkeys(actions)) == HARMFUL.get(name, [])


@pytest.mark.parametrize("name", REASONS)
def test_incident_ends_in_words(name: str, book: RuleSet) -> None:
    """The last verdict and its reason are what a person would say."""
    last = decoded(name, book, "verdict")[-1]
    assert (last["verdict"], last["reasons"][0]) == REASONS[name]


def test_one_segment_is_named(book: RuleSet) -> None:
    """The canary's recommendation names the segment that is hurt."""
    (found,) = decoded("segment_canary", book, "recommendation")
    assert found["segment"] == {"os": "android"}
    assert found["rate_ratio"][0] > 2


def test_rollback_closes_as_executed(book: RuleSet) -> None:
    """One recommendation: opened, then executed."""
    found = decoded("rollback", book, "recommendation")
    assert [r["state"] for r in found] == ["open", "executed"]


def test_recovery_withdraws(book: RuleSet) -> None:
    """One recommendation: opened, then withdrawn."""
    found = decoded("recovery", book, "recommendation")
    assert [r["state"] for r in found] == ["open", "withdrawn"]


@pytest.mark.parametrize(
    ("name", "target"), [("component_withdrawn", None), ("component_replaced", "6")]
)
def test_bad_component_is_taken_out(
    name: str, target: str | None, book: RuleSet
) -> None:
    """One recommendation, in the window of the verdict, about the component alone; it
    is done once a deploy event says so."""
    records = [json.loads(line) for line in answers(name, book)]
    places = [i for i, r in enumerate(records) if r["type"] == "recommendation"]
    first, *_, last = (records[i] for i in places)
    beside = [r for r in records if r["decided_at"] == first["decided_at"]]
    assert any(r.get("verdict") == "regressed" for r in beside)
    assert {(r["release"], r["component"]) for r in (first, last)} == {
        ("2.4.0", "cart")
    }
    assert (first["state"], last["state"]) == ("open", "executed")
    assert {records[i]["id"] for i in places} == {first["id"]}
    (found,) = {record.target for record in full(name, book) if record.state == "open"}
    assert found == target
    assert (records[-1]["verdict"], records[-1]["id"]) == ("inconclusive", None)


def test_way_back_skips_bad_releases(book: RuleSet) -> None:
    """Of two bad releases on top of each other neither is the other's way back."""
    found = [r for r in full("stacked", book) if r.state == "open"]
    assert {(r.release, r.target) for r in found} == {
        ("2.4.0", "2.3.1"),
        ("2.4.1", "2.3.1"),
    }


def test_lost_usage_is_unreliable(book: RuleSet) -> None:
    """Errors without usage are broken telemetry, until usage is back."""
    found = [
        (r["verdict"], r["reasons"][0]) for r in decoded("lost_usage", book, "verdict")
    ]
    assert ("unreliable", "errors_without_usage") in found
    assert found[-1][0] == "inconclusive"


def test_blip_is_seen_not_acted_on(book: RuleSet) -> None:
    """Three minutes of harm hold the rollout at most."""
    found = decoded("blip", book, "verdict")
    assert "harm_not_persistent" in {r["reasons"][0] for r in found}
    assert "regressed" not in {r["verdict"] for r in found}


def test_strays_are_refused(book: RuleSet) -> None:
    """Future records are dead letters; late ones are counted, not compared."""
    replay = Replay(book)
    assert all(b"regressed" not in line for line in replay.feed(lines_of("odd_clocks")))
    letters = [json.loads(letter.value)["reason"] for letter in replay.rejected]
    assert set(letters) == {"future"}
    (scope,) = replay.partition.scopes.values()
    assert scope.late > 40


@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize("name", INCIDENTS)
def test_batches_change_no_byte(name: str, batch: int, book: RuleSet) -> None:
    """The answers are the same for any batch size."""
    assert answers(name, book, batch) == answers(name, book)
