"""Flagger's own canary controller, 1.36.1, on the canary of docs/gate.md.

``FLAGGER_CODE=1`` builds it. Kubernetes and the mesh are the client libraries' fakes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acting.answers import Answer, Ruling, Why
from acting.records import Order, Word
from detector.verdicts import Verdict
from tests.contract.controlling import NOBODY, built, canary, lost, run
from tests.integration.gating import Place, Served

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STOPPED = Ruling(Answer.FROZEN, Why.KILLED, "the file says stop")
Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The controller's program."""
    return built("flagger_controller", "FLAGGER_CODE", tmp_path_factory)


def played(
    program: Path, gates: Served, *releases: str, at_url: str = "", **types: str
) -> Outcome:
    """A healthy release grows to its first weight; then it stands like another one,
    as a gate at ``at_url`` says, for eight intervals."""
    token = gates.tokens["act"]
    cases = [
        {
            "name": f"{gates.port}-{release}".replace("_", "-"),
            "stages": [
                {"canary": canary(gates.url, "healthy", token), "intervals": 2},
                {
                    "canary": canary(at_url or gates.url, release, token, **types),
                    "intervals": 8,
                },
            ],
        }
        for release in releases
    ]
    found = run(program, cases)
    assert all(one["steps"][1]["weight"] == 25 for one in found.values())
    return dict(zip(releases, (found[c["name"]] for c in cases), strict=True))


def ends(found: Outcome) -> dict[str, tuple[str, int]]:
    """Phase and weight after the last interval."""
    return {
        k: (v["steps"][-1]["phase"], v["steps"][-1]["weight"]) for k, v in found.items()
    }


def test_verdicts_move_the_canary(served: Served, program: Path) -> None:
    """Health promotes, a regression rolls back at once, doubt grows and waits before
    promotion, what is not reliable stays where it is; no check has failed."""
    found = played(
        program,
        served,
        *(
            "healthy",
            "inconclusive",
            "no_data",
            "never-seen",
            "unreliable",
            "regressed",
        ),
    )
    assert ends(found) == {
        "healthy": ("Succeeded", 0),
        "inconclusive": ("WaitingPromotion", 50),
        "no_data": ("WaitingPromotion", 50),
        "never-seen": ("WaitingPromotion", 50),
        "unreliable": ("Progressing", 25),
        "regressed": ("Failed", 0),
    }
    at_once = found["regressed"]["steps"][2]
    assert (at_once["phase"], at_once["weight"]) == ("Failed", 0)
    assert {s["failed"] for one in found.values() for s in one["steps"]} == {0}
    assert any("Rollback check" in said for said in found["regressed"]["events"])


def test_kill_switch_holds_the_canary(place: Place, program: Path) -> None:
    """Neither rolled back nor grown: not by failed checks, which need no claim."""
    with place.served(stopped_here=lambda: STOPPED) as gates:
        assert ends(played(program, gates, "regressed")) == {
            "regressed": ("Progressing", 25)
        }
        found = played(program, gates, "regressed", confirm_rollout="rollout")
        assert ends(found) == {"regressed": ("Progressing", 25)}
        assert found["regressed"]["steps"][-1]["failed"] == 0


def test_freeze_holds_the_canary(place: Place, program: Path) -> None:
    """An order of a person in the topic of claims does the same."""
    place.judge(("shop", "bad-in-season"), Verdict.REGRESSED)
    with place.served() as gates:
        gates.executions.append(Order(Word.FREEZE, "ada", "the season", "shop"))
        try:
            found = played(program, gates, "bad-in-season")
        finally:
            gates.executions.append(Order(Word.THAW, "ada", "it is over", "shop"))
    assert ends(found) == {"bad-in-season": ("Progressing", 25)}


def test_stale_holds_the_canary(place: Place, program: Path) -> None:
    """While Kafka is away nothing grows, is promoted or rolled back."""
    with place.served() as gates, place.served() as away:
        lost(away)
        found = played(program, gates, "regressed", at_url=away.url)
    assert ends(found) == {"regressed": ("Progressing", 25)}


def test_unreachable_holds_the_canary(served: Served, program: Path) -> None:
    """A gate that is gone is no rollback and no promotion; with `rollout` it would be
    one, which is why the docs leave it out."""
    found = played(program, served, "healthy", at_url=NOBODY)
    assert ends(found) == {"healthy": ("Progressing", 25)}
    counted = played(
        program, served, "inconclusive", at_url=NOBODY, confirm_rollout="rollout"
    )
    assert ends(counted) == {"inconclusive": ("Failed", 0)}


def test_bad_release_never_begins(served: Served, program: Path) -> None:
    """Who is known to be bad waits at `confirm-rollout`, before it has any traffic;
    Flagger does not ask whether to roll back then."""
    token = served.tokens["act"]
    case = {
        "name": "never-begins",
        "stages": [{"canary": canary(served.url, "regressed", token), "intervals": 3}],
    }
    steps = run(program, [case])["never-begins"]["steps"]
    assert {(one["phase"], one["weight"]) for one in steps} == {("Waiting", 0)}


def test_refused_claim_holds_the_canary(place: Place, program: Path) -> None:
    """In mode recommend a person decides: Flagger does not go on, nor back."""
    place.judge(("shop", "for-people"), Verdict.REGRESSED)
    with place.served() as gates:
        lower = Order(Word.MODE, "ada", "new team", "shop", "recommend")
        gates.executions.append(lower)
        try:
            found = played(program, gates, "for-people")
        finally:
            back = Order(Word.MODE, "ada", "trained", "shop", "rule")
            gates.executions.append(back)
    assert ends(found) == {"for-people": ("Progressing", 25)}
    assert found["for-people"]["steps"][-1]["failed"] == 0
