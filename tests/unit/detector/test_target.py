"""Where a rollback leads: to what is known to be good, else nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from detector.engine import Partition
from detector.rulefile import Rule, RuleSet
from detector.target import target_of
from tests.unit.detector.traffic import (
    QUICK,
    Log,
    at,
    command,
    deploy,
    error,
    feed,
    harmful,
    recommendations,
    rules,
    run,
    said,
    usage,
)

BAD = {"1": (800, 8), "2": (200, 20)}
BOTH_BAD = {"1": (600, 6), "2": (200, 20), "3": (200, 20)}
AUTO = rules(
    "persistence_s: 30", "mode: auto", "hypercare: {min_hours: 0.0, min_exposure: 100}"
)


def stacked(**third: Any) -> Log:
    """A bad release 2 over 1, and a release 3 over it that is as bad."""
    log = harmful(12)
    log.add(at(18), deploy(18, "3", predecessor="2", strategy="canary", **third))
    return log.windows(range(18, 34), BOTH_BAD)


def about(log: Log, release: str, book: RuleSet = QUICK) -> list[dict[str, Any]]:
    """Recommendations against a release."""
    return [r for r in recommendations(run(log, book)) if r["release"] == release]


def test_target_is_not_recommended_against() -> None:
    """Over a release that is itself to be taken back, the way leads further back."""
    (found,) = about(stacked(), "3")
    assert (found["action"], found["target"], found["state"]) == (
        "rollback",
        "1",
        "open",
    )


def lone(log: Log | None = None, book: RuleSet = QUICK) -> list[dict[str, Any]]:
    """A bad release whose predecessor nobody has ever seen, beside release 1."""
    log = log or Log().windows(range(6), {"1": (800, 8)})
    log.add(at(6), deploy(6, predecessor="0.9", strategy="canary"))
    return recommendations(run(log.windows(range(6, 18), BAD), book))


def test_unseen_predecessor_is_no_target() -> None:
    """What never ran here is not known to be good; what was live beside it is."""
    (found,) = lone()
    assert found["target"] == "1"


def nowhere() -> Log:
    """Release 1 ended for its own sake; 2 took its place and fails in a new way."""
    log = Log().windows(range(30), {"1": (800, 8)})
    log.add(at(30), deploy(30, "1", phase="aborted"))
    log.add(at(30) + 1, deploy(30, "2", predecessor="1", strategy="bluegreen"))
    for window in range(30, 60):
        log.add(
            at(window + 1) + 500,
            usage(window, "2", 800),
            {**error(window, "2", 160), "signature": "TypeError: total"},
        )
    return log


def test_no_target_asks_a_person() -> None:
    """Where nothing is safe the recommendation is blocked, says why, and names none."""
    first = recommendations(run(nowhere()))[0]
    found = first["action"], first["target"], first["state"]
    assert found == ("rollback", None, "blocked")
    assert "no_safe_target" in first["reasons"]
    assert first["sentence"].endswith("a person has to choose one.")


def test_blocked_opens_with_a_target() -> None:
    """Once the earlier release is back the way is free: the same recommendation, one
    revision later."""
    log = nowhere()
    log.add(at(60), deploy(60, "1", predecessor="0.9", strategy="canary"))
    log.windows(range(60, 66), {"2": (600, 120), "1": (200, 2)})
    found = recommendations(run(log))
    told = list(dict.fromkeys((r["revision"], r["state"], r["target"]) for r in found))
    assert told == [(1, "blocked", None), (2, "open", "1")]
    assert len({r["id"] for r in found}) == 1


def test_acknowledged_stays_acknowledged() -> None:
    """A person who has seen a blocked recommendation is not told again."""
    log = nowhere()
    (name,) = {r["id"] for r in recommendations(run(log))}
    log.add(at(60), command(60, "acknowledge", recommendation_id=name))
    log.windows(range(60, 70), {"2": (800, 160)})
    states = [r["state"] for r in recommendations(run(log))]
    assert list(dict.fromkeys(states)) == ["blocked", "acknowledged"]


def test_window_limits_the_way() -> None:
    """Further back than the rule allows there is no target."""
    log = stacked()
    partition = Partition(0, QUICK)
    feed(partition, log)
    (scope,) = partition.scopes.values()
    release = scope.registry.releases["3"]
    release.live_before = ()
    assert target_of(scope, release, Rule(name="r", rollback_window=1)) is None
    assert target_of(scope, release, Rule(name="r", rollback_window=2)) == "1"


def test_left_release_is_no_target() -> None:
    """A release that was rolled back from is not gone back to (A, B, A, then C)."""
    log = harmful(12)
    log.add(at(18), deploy(18, "1"))
    log.windows(range(18, 24), {"1": (1000, 10)})
    log.add(at(24), deploy(24, "3", predecessor="2", strategy="canary"))
    log.windows(range(24, 40), {"1": (800, 8), "3": (200, 20)})
    (found,) = about(log, "3")
    assert found["target"] == "1"


def test_rollback_is_no_candidate() -> None:
    """What ran before is watched, never judged, also where the end of the bad release
    was told apart from the way back."""
    log = harmful(12)
    log.add(at(18), deploy(18, "2", phase="rolled_back"))
    log.add(at(18) + 1, deploy(18, "1"))
    log.windows(range(18, 30), {"1": (1000, 100)})
    partition = Partition(0, QUICK)
    outputs = feed(partition, log)
    assert {v["release"] for v in said(outputs, "verdicts")} == {"2"}
    (scope,) = partition.scopes.values()
    assert scope.registry.releases["1"].returned_ms == at(18)
    assert scope.registry.candidates() == []
    assert [a.release for a in scope.aftermaths.values()] == ["2"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, ("rollback", "auto")),
        ({"rollback": "auto"}, ("rollback", "auto")),
        ({"rollback": "manual"}, ("rollback", "approve")),
        ({"rollback": "forbidden"}, ("hotfix", "auto")),
    ],
)
def test_deploy_lowers_the_mode(
    policy: dict[str, str], expected: tuple[str, str]
) -> None:
    """What the deploy says of going back is more cautious than the rule, never less."""
    log = Log().windows(range(6), {"1": (800, 8)})
    log.add(at(6), deploy(6, predecessor="1", strategy="canary", **policy))
    log.add(at(6) + 1, deploy(6, phase="progressed", rollback="auto"))
    log.windows(range(6, 18), BAD)
    (found,) = recommendations(run(log, AUTO))
    assert (found["action"], found["mode"]) == expected


def test_effects_are_units_per_minute() -> None:
    """Of 200 sessions a window 18 more fail than would on release 1: 108 a minute."""
    log = Log().windows(range(6), {"1": (800, 8)})
    log.add(at(6), deploy(6, predecessor="1", strategy="canary", weight=0.2))
    log.windows(range(6, 46), BAD)
    found = recommendations(run(log))[-1]["effects"]
    assert [e["action"] for e in found] == ["rollback", "hold", "hotfix"]
    assert found[0]["target"] == "1"
    assert {e["unit"] for e in found} == {"session"}
    assert found[0]["spared_per_min"] == pytest.approx(108.0, rel=0.02)
    assert found[1]["spared_per_min"] == 0.0


def test_window_has_a_default() -> None:
    """Three revisions, unless a rule says otherwise."""
    assert Rule(name="r").rollback_window == 3
