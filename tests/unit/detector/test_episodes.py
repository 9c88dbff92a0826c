"""One harm, one recommendation: opened, revised, withdrawn, executed, expired."""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise
from typing import Any

import pytest

from detector.engine import Partition
from detector.rulefile import RuleSet
from tests.unit.detector.traffic import (
    QUICK,
    WINDOW_MS,
    Event,
    Log,
    at,
    command,
    deploy,
    feed,
    harmful,
    recommendations,
    restored,
    rules,
    run,
    said,
    verdicts,
)

BOTH = {"1": (800, 8), "2": (200, 20)}
CALM = {"1": (800, 8), "2": (200, 2)}
WELL = {"1": (800, 8), "2": (200, 0)}


def states(records: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Revision and state of each recommendation record."""
    return [(r["revision"], r["state"]) for r in records]


def later(log: Log, window: int, *events: Event) -> Log:
    """The log with one more record."""
    return log.add(at(window), *events)


def put_rules(window: int, book: RuleSet) -> Event:
    """A reload."""
    return {
        **command(window, "ruleset", rules_text=book.to_canonical_json().decode()),
        "service": "all",
    }


def test_harm_opens_one_recommendation() -> None:
    """Lasting harm gives one rollback to the predecessor, with its numbers."""
    (first,) = recommendations(run(harmful()))
    assert (first["action"], first["target"], first["state"]) == (
        "rollback",
        "1",
        "open",
    )
    low, best, _ = first["rate_ratio"]
    assert 2.0 < low < best
    assert best == pytest.approx(10.0, rel=0.05)


def test_id_follows_from_facts() -> None:
    """The id is the published function of service, release and episode start."""
    (first,) = recommendations(run(harmful()))
    start_ms = first["episode_start_ms"]
    facts = "\x1f".join(("v1", "shop", "production", "2", "", str(start_ms)))
    code = base64.b32encode(hashlib.sha256(facts.encode()).digest()).decode().lower()
    assert first["id"] == "rec_" + code[:26]
    assert start_ms % WINDOW_MS == 0


def test_lasting_harm_is_reissued() -> None:
    """Every five minutes the same revision goes out again, so it can not expire."""
    found = recommendations(run(harmful(80)))
    assert len(found) == 3
    assert {r["id"] for r in found} == {found[0]["id"]}
    assert {r["revision"] for r in found} == {1}
    gaps = [b["issued_at"] - a["issued_at"] for a, b in pairwise(found)]
    assert gaps == [300_000, 300_000]


def test_rollback_executes_at_once() -> None:
    """The deploy event of the way back closes the episode in its own record."""
    log = harmful()
    later(log, 18, deploy(18, phase="rolled_back"))
    partition = Partition(0, QUICK)
    feed(partition, log.records[:-1])
    closing = feed(partition, log.records[-1:])
    assert states(recommendations(closing)) == [(2, "executed")]
    assert said(closing, "verdicts")[-1]["reasons"] == ["rolled_back"]
    assert len(partition.rows) == 0


def test_deploy_of_predecessor_executes() -> None:
    """Deploying what ran before is the same as saying rolled back."""
    log = later(harmful(), 18, deploy(18, "1"))
    assert states(recommendations(run(log)))[-1] == (2, "executed")


def test_recovery_withdraws() -> None:
    """When the harm has gone for good the recommendation is withdrawn, once."""
    log = harmful().windows(range(18, 80), WELL)
    found = recommendations(run(log))
    assert states(found)[-1] == (2, "withdrawn")
    assert [r["state"] for r in found].count("withdrawn") == 1
    assert "regressed" not in verdicts(run(log))[-2:]


def test_relapse_is_another_episode() -> None:
    """Harm that returns after a recovery has an id of its own."""
    log = harmful().windows(range(18, 80), WELL).windows(range(80, 110), BOTH)
    found = recommendations(run(log))
    assert len({r["id"] for r in found}) == 2
    assert found[-1]["state"] == "open"


def test_redeploy_is_another_episode() -> None:
    """The same release deployed again after a rollback is judged from nothing."""
    log = harmful()
    later(log, 18, deploy(18, phase="rolled_back"))
    log.add(at(18) + 100, deploy(18, predecessor="1") | {"ts": at(18) + 100})
    log.windows(range(18, 30), BOTH)
    found = recommendations(run(log))
    assert [r["state"] for r in found] == ["open", "executed", "open"]
    assert found[0]["id"] != found[2]["id"]


def test_deploying_twice_keeps_episode() -> None:
    """A ramp step in the middle of an episode changes neither id nor revision."""
    log = harmful()
    later(log, 18, deploy(18, phase="progressed", weight=0.5))
    log.windows(range(18, 30), BOTH)
    assert states(recommendations(run(log))) == [(1, "open")]


def test_reload_keeps_the_id() -> None:
    """A rule reload in the middle of an episode gives the same id, new hash."""
    log = harmful()
    book = rules("persistence_s: 60", "alpha: 0.001", "mode: approve")
    later(log, 18, put_rules(18, book))
    log.windows(range(18, 60), BOTH)
    plain = recommendations(run(harmful().windows(range(18, 60), BOTH)))
    found = recommendations(run(log))
    assert [r["id"] for r in found] == [r["id"] for r in plain]
    assert found[-1]["rules_hash"] == book.hash != found[0]["rules_hash"]
    assert found[-1]["mode"] == "approve"


def test_new_strata_keep_readable_sentence() -> None:
    """A reload to other strata in an episode leaves true numbers and no NaN."""
    log = Log().windows(range(6), {"1": (800, 8)}, attrs={"os": "ios"})
    log.windows(range(6), {"1": (800, 8)}, attrs={"os": "android"})
    log.add(at(6), deploy(6, predecessor="1"))
    for window in range(6, 20):
        log.windows([window], BOTH, attrs={"os": "ios"})
        log.windows([window], CALM, attrs={"os": "android"})
    book = rules("persistence_s: 30", strata="[{attr: os}]")
    later(log, 20, put_rules(20, rules(strata="[{attr: tier}]")))
    for window in range(20, 60):
        log.windows([window], BOTH, attrs={"tier": "gold"})
    found = recommendations(run(log, book))
    assert found[0]["segment"] == {"os": "ios"}
    assert len(found) > 1
    for record in found:
        assert "nan" not in record["sentence"]
        assert record["rate_ratio"][1] > 2
        assert " 0 of 0 " not in record["sentence"]


def test_late_deploy_event_uncaps() -> None:
    """An inferred harm is watched; its deploy event makes it a rollback revision."""
    log = Log().windows(range(61), {"1": (800, 8)}).windows(range(61, 80), BOTH)
    later(log, 80, deploy(61, predecessor="1"))
    log.windows(range(80, 84), BOTH)
    found = recommendations(run(log))
    assert [(r["revision"], r["action"]) for r in found] == [
        (1, "watch"),
        (2, "rollback"),
    ]
    assert found[0]["id"] == found[1]["id"]


@pytest.mark.parametrize(
    ("name", "state"), [("acknowledge", "acknowledged"), ("withdraw", "withdrawn")]
)
def test_people_are_obeyed_once(name: str, state: str) -> None:
    """A command raises the revision once; a copy of it changes nothing."""
    log = harmful()
    opened = recommendations(run(log))[0]
    order = command(18, name, recommendation_id=opened["id"])
    later(log, 18, order)
    later(log, 18, order)
    found = recommendations(run(log))
    assert states(found) == [(1, "open"), (2, state)]


def test_withdrawn_stays_withdrawn() -> None:
    """After a person withdrew it the same episode recommends nothing more."""
    log = harmful()
    opened = recommendations(run(log))[0]
    later(log, 18, command(18, "withdraw", recommendation_id=opened["id"]))
    log.windows(range(18, 80), BOTH)
    assert states(recommendations(run(log)))[-1] == (2, "withdrawn")


def test_unknown_recommendation_is_ignored() -> None:
    """A command about a recommendation that does not exist changes nothing."""
    log = later(harmful(), 18, command(18, "withdraw", recommendation_id="rec_x"))
    assert states(recommendations(run(log))) == [(1, "open")]


def test_freeze_is_a_condition() -> None:
    """A frozen service is judged as before; the verdict says that it is frozen."""
    log = Log().add(at(0), tick_usage(0), command(0, "freeze"))
    log.records += harmful().records
    log.records = [r._replace(offset=i) for i, r in enumerate(log.records)]
    found = said(run(log), "verdicts")
    assert {r["condition"] for r in found} == {"frozen"}
    assert found[-1]["verdict"] == "regressed"


def tick_usage(window: int) -> Event:
    """One session, so that the scope exists."""
    return {
        "kind": "usage",
        "ts": at(window),
        "service": "shop",
        "release": "1",
        "session": "s",
    }


def test_hypercare_ends_with_time() -> None:
    """After its days a release is a baseline; its open recommendation expires."""
    book = rules(
        "persistence_s: 30",
        "hypercare: {min_hours: 0.0, min_exposure: 100, max_days: 0.01}",
    )
    partition = Partition(0, book)
    found = recommendations(feed(partition, harmful(100)))
    assert found[-1]["state"] == "expired"
    (scope,) = partition.scopes.values()
    assert not scope.watches
    assert scope.registry.releases["2"].stage.value == "baseline"


@pytest.mark.parametrize("cut", [7, 12, 15, 19])
def test_episode_survives_restore(cut: int) -> None:
    """A restore before, at and after the start leaves id and revisions as they are."""
    log = later(harmful(), 19, deploy(19, phase="aborted"))
    partition = Partition(0, QUICK)
    found = feed(partition, log.records[:cut])
    found += feed(restored(partition), log.records[cut:])
    assert found == run(log)


def test_recommendation_names_deployers() -> None:
    """The record carries who deployed the release and how many have to agree."""
    log = Log().windows(range(6), {"1": (800, 8)})
    log.add(at(6), deploy(6, predecessor="1", actor="ada"))
    log.windows(range(6, 20), BOTH)
    (found,) = recommendations(run(log, rules("persistence_s: 30", "approvals: 2")))
    assert (found["deployed_by"], found["approvals"]) == (["ada"], 2)
    assert found["test"] is False


def test_recommendation_names_hooks_of_its_rule() -> None:
    """Each revision carries them; without any its bytes are what they always were."""
    log = harmful()
    (found,) = recommendations(run(log, rules("persistence_s: 30", "hooks: [a, b]")))
    (plain,) = recommendations(run(log, rules("persistence_s: 30")))
    assert found.pop("hooks") == ["a", "b"]
    assert found.pop("rules_hash") != plain.pop("rules_hash")
    assert found == plain
