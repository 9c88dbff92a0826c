"""Flagger's webhooks, as its own code reads answers (1.36): each trap by name.

Its code: a status above 202 is a failure, so 204 is one; a redirect is followed with
GET; of 429 and 5xx the text is dropped and Retry-After waited out inside its loop.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acting.protocols import FLAGGER, Hook, Standing
from detector.verdicts import Verdict
from tests.integration.gating import Place, Reply, Served
from tests.integration.support import until

pytestmark = pytest.mark.kafka

STANDINGS = {
    "healthy": Standing.HEALTHY,
    "regressed": Standing.REGRESSED,
    "inconclusive": Standing.INCONCLUSIVE,
    "no_data": Standing.NO_DATA,
    "unreliable": Standing.UNRELIABLE,
    "never-seen": Standing.UNKNOWN,
}


def call(
    served: Served, hook: str, release: str, token: str | None = "", **more: str
) -> Reply:
    """Post what Flagger posts, the token in its metadata."""
    known = served.tokens["act"] if token == "" else token
    metadata = {"release": release, **more} | ({"token": known} if known else {})
    body = {
        "name": "shop",
        "namespace": "test",
        "phase": "Progressing",
        "checksum": "85d557f47b",
        "metadata": metadata,
    }
    return served.ask(f"/flagger/{hook}", body, token=None)


@pytest.mark.parametrize("hook", [h for h in Hook if h is not Hook.ROLLBACK])
@pytest.mark.parametrize("release", STANDINGS)
def test_hooks_answer_by_the_table(served: Served, hook: Hook, release: str) -> None:
    """Exactly 200 or 409, over HTTP as in the table, and a reason with it: before a
    release has traffic nothing holds it back."""
    found = call(served, hook, release)
    is_yes = STANDINGS[release] in FLAGGER[hook]
    assert found.status == (200 if is_yes else 409)
    assert found.body["reason"].startswith(STANDINGS[release])


@pytest.mark.parametrize("release", [r for r in STANDINGS if r != "regressed"])
def test_no_regression_rolls_nothing_back(served: Served, release: str) -> None:
    """A success of this hook is a rollback, so it says no to all but one."""
    assert call(served, "rollback", release).status == 409


def test_rollback_says_yes_again(place: Place, served: Served) -> None:
    """Flagger asks every interval: the one that holds the lease hears yes each time,
    another namespace hears who holds it."""
    place.judge(("shop", "bad-one"), Verdict.REGRESSED)
    ask = "/v1/gate?service=shop&release=bad-one"
    until(
        lambda: served.ask(ask).body["data"]["recommendation"],
        what="the board has read both records",
    )
    assert [call(served, "rollback", "bad-one").status for _ in range(3)] == [200] * 3
    body = {"name": "shop", "namespace": "other", "metadata": {"release": "bad-one"}}
    other = served.ask("/flagger/rollback", body, token="act")
    assert other.status == 409
    assert other.body["reason"].startswith("in_progress")


def test_rollback_needs_the_act_scope(served: Served) -> None:
    """Who may only read is refused with a reason, neither 200 nor 5xx."""
    found = call(served, "rollback", "regressed", served.tokens["read"])
    assert found.status == 403
    assert "act" in found.body["title"]


def test_no_headers_are_needed(served: Served) -> None:
    """Flagger sends none: its token stands in metadata; without one it is 401."""
    assert call(served, "rollout", "healthy").status == 200
    assert call(served, "rollout", "healthy", None).status == 401
    assert call(served, "rollout", "healthy", "x" * 43).status == 401


def test_event_payload_is_taken(served: Served) -> None:
    """An event has further strings in its metadata, and hears 200 within its 5 s."""
    more = {
        "eventMessage": "New revision detected!",
        "eventType": "Normal",
        "timestamp": "1579706340000",
    }
    assert call(served, "event", "healthy", **more).status == 200


@pytest.fixture(params=["limit", "kafka"])
def troubled(request: pytest.FixtureRequest, place: Place) -> Iterator[Served]:
    """Gates that can not, or will not, look now."""
    if request.param == "limit":
        with place.served(rate_per_s=0.1) as slow:
            call(slow, "event", "healthy")
            yield slow
        return
    with place.served() as gates:
        gates.board.stop()
        gates.board.problem = "Kafka does not answer"
        yield gates


def test_trouble_is_no_5xx(troubled: Served) -> None:
    """Too many requests, or Kafka away: 200 or 409 as for a stale verdict, so a
    rollout waits, nothing is rolled back, and the text is shown."""
    for hook in Hook:
        found = call(troubled, hook, "regressed")
        is_yes = Standing.STALE in FLAGGER[hook]
        assert found.status == (200 if is_yes else 409), hook
        assert found.body["reason"].startswith("stale")
        assert "Retry-After" not in found.headers
