"""Kayenta's interface, as Argo Rollouts' provider of that name reads it (1.10)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.gating import Place, Served

pytestmark = pytest.mark.kafka

PASS, MARGINAL = 90, 75


def post(
    served: Served, release: str, *, thresholds: Any = None, **scopes: Any
) -> tuple[int, Any]:
    """Start a canary as Argo does; status and body."""
    where = {"scope": release, "location": "", "step": 60, "start": "", "end": ""}
    scope = {"controlScope": where | {"scope": "1"}, "experimentScope": where}
    body = {
        "scopes": scopes or {"default": scope},
        "thresholds": thresholds or {"pass": PASS, "marginal": MARGINAL},
    }
    path = (
        "/canary/hypercare?application=shop&metricsAccountName="
        "&configurationAccountName=&storageAccountName="
    )
    found = served.ask(path, body)
    return found.status, found.body


def score(served: Served, release: str, **more: Any) -> Any:
    """What Argo would compare with the thresholds."""
    status, said = post(served, release, **more)
    assert status == 200, said
    told = served.ask(f"/canary/{said['canaryExecutionId']}")
    assert (told.status, told.body["complete"]) == (200, True)
    return told.body["result"]["judgeResult"]["score"]["score"]


def test_config_is_found_by_name(served: Served) -> None:
    """A list of objects with id and name, which Argo searches."""
    found = served.ask("/canaryConfig?application=shop&configurationAccountName=")
    (config,) = found.body
    assert (found.status, config["id"], config["name"]) == (200,) + ("hypercare",) * 2


def test_post_answers_exactly_200(served: Served) -> None:
    """201, which would be right elsewhere, is an error to Argo; without an id it would
    poll `/canary/<nil>`."""
    status, said = post(served, "healthy")
    assert status == 200
    assert said["canaryExecutionId"]


@pytest.mark.parametrize(
    ("release", "low", "high"),
    [
        ("healthy", PASS, 101),
        ("regressed", 0, MARGINAL),
        ("inconclusive", MARGINAL, PASS),
        ("no_data", MARGINAL, PASS),
        ("unreliable", MARGINAL, PASS),
        ("never-seen", MARGINAL, PASS),
    ],
)
def test_score_is_an_integer(served: Served, release: str, low: int, high: int) -> None:
    """Argo cuts the score to an integer; "NaN" would be an error. Only a regression
    fails, only health passes, all else pauses."""
    found = score(served, release)
    assert type(found) is int
    assert low <= found < high


@pytest.mark.parametrize(
    ("passing", "marginal"), [(90, 75), (100, 99), (2, 1), (95.5, 94.2), (50, 0.5)]
)
def test_score_follows_the_thresholds(
    served: Served, passing: float, marginal: float
) -> None:
    """Whatever was posted, the three answers read as three."""
    limits = {"pass": passing, "marginal": marginal}
    found = [
        score(served, release, thresholds=limits)
        for release in ("healthy", "inconclusive", "regressed")
    ]
    assert found[0] >= passing > found[1] >= marginal > found[2]


@pytest.mark.parametrize(
    ("passing", "marginal"),
    [(75, 90), (90, 90), (90.5, 90.2), (1, 0.5), (90, 0), (0, 0)],
)
def test_thresholds_without_room_are_refused(
    served: Served, passing: float, marginal: float
) -> None:
    """No score could say undecided: told at once, before anything is promoted."""
    limits = {"pass": passing, "marginal": marginal}
    status, said = post(served, "healthy", thresholds=limits)
    assert status == (409 if marginal else 400)
    assert said["title"]


def test_worst_scope_decides(served: Served) -> None:
    """A scope with a name of its own is a component; one that nobody knows pauses."""
    where = {"scope": "healthy", "location": ""}
    scopes = {
        name: {"controlScope": where, "experimentScope": where}
        for name in ("default", "cart")
    }
    found = score(served, "healthy", **scopes)
    assert MARGINAL <= found < PASS


def test_nil_execution_is_unknown(served: Served) -> None:
    """What Argo would poll without an id, and other nonsense, is 404."""
    for name in ("<nil>", "%3Cnil%3E", "AAAA", "e30", "bnVsbA", "W1s5MCw3NV0sW11d"):
        assert served.ask(f"/canary/{name}").status == 404


def test_too_many_polls_wait(place: Place) -> None:
    """Beyond the limit the canary is not complete, so Argo asks again; never 429."""
    with place.served(rate_per_s=0.1) as slow:
        _, said = post(slow, "healthy")
        path = f"/canary/{said['canaryExecutionId']}"
        found = [slow.ask(path) for _ in range(2)]
    assert [(one.status, one.body["complete"]) for one in found] == [
        (200, True),
        (200, False),
    ]


def test_start_is_never_limited(place: Place) -> None:
    """A post answers 200 beyond the limit, too: 429 five times ends the rollout, and
    it costs us no more than the refusal."""
    with place.served(rate_per_s=0.1) as slow:
        assert [post(slow, "healthy")[0] for _ in range(3)] == [200, 200, 200]
        path = "/canaryConfig?application=shop"
        assert [slow.ask(path).status for _ in range(3)] == [200, 200, 200]
