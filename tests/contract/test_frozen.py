"""What people have stopped or frozen is not undone by those who act without a claim."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acting.answers import Answer, Ruling, Why
from acting.calendars import Window
from acting.protocols import FLAGGER, Hook, Standing
from acting.records import Calendar, Order, Word
from detector.verdicts import Verdict
from tests.integration.gating import Place, Served
from tests.integration.support import until

pytestmark = pytest.mark.kafka

Held = tuple[Served, str]
STOPPED = Ruling(Answer.FROZEN, Why.KILLED, "the file says stop")


@pytest.fixture(params=["switch", "freeze", "calendar"])
def frozen(request: pytest.FixtureRequest, place: Place) -> Iterator[Held]:
    """Gates on a machine that was stopped, or a service that was frozen; and its name.

    Each service is the test's own: orders hold for whoever reads the topic later.
    """
    service, switch = f"held-by-{request.param}", request.param == "switch"
    for verdict in (Verdict.HEALTHY, Verdict.REGRESSED):
        place.judge((service, verdict.value), verdict)
    with place.served(stopped_here=lambda: STOPPED if switch else None) as gates:
        if request.param == "freeze":
            gates.executions.append(Order(Word.FREEZE, "ada", "the season", service))
        if request.param == "calendar":
            windows = (
                Window("year round", "FREQ=DAILY", "2020-01-01T00:00", "P1D", "UTC"),
            )
            gates.executions.append(Calendar("ada", "the season", service, windows))
        ask = f"/v1/gate?service={service}&release=regressed"
        until(
            lambda: gates.ask(ask).body["data"]["standing"] == "frozen",
            what="the board has read the verdict",
        )
        yield gates, service


def test_argo_pauses(frozen: Held) -> None:
    """Argo hears inconclusive of a regression, and why; of health it hears as ever."""
    gates, service = frozen
    found = {
        release: gates.ask(f"/v1/gate?service={service}&release={release}").body["data"]
        for release in ("healthy", "regressed")
    }
    assert found["healthy"]["verdict"] == "healthy"
    assert found["regressed"]["verdict"] == "inconclusive"
    assert found["regressed"]["action"] is None
    assert "it fails three times as often" in found["regressed"]["text"]


def test_flagger_holds(frozen: Held) -> None:
    """Nothing is rolled back, by a yes or by failed checks, and nothing grows."""
    gates, service = frozen
    body = {"name": service, "namespace": "p", "metadata": {"release": "regressed"}}
    for hook in Hook:
        found = gates.ask(f"/flagger/{hook}", body)
        is_yes = Standing.FROZEN in FLAGGER[hook]
        assert found.status == (200 if is_yes else 409), hook
        assert found.body["reason"].startswith("frozen")
    leases = gates.ask("/v1/executions").body["leases"]
    assert service not in {one["service"] for one in leases}


def test_kayenta_is_marginal(frozen: Held) -> None:
    """Its score is that of a release nobody is sure of."""
    gates, service = frozen
    asked = {"scope": "regressed", "location": "production"}
    scopes = {"default": {"controlScope": asked, "experimentScope": asked}}
    body = {"scopes": scopes, "thresholds": {"pass": 90, "marginal": 75}}
    path = f"/canary/hypercare?application={service}"
    started = gates.ask(path, body).body["canaryExecutionId"]
    told = gates.ask(f"/canary/{started}").body["result"]["judgeResult"]["score"]
    assert (told["score"], told["classification"]) == (75, "Marginal")
