"""Metrics of the gates: what was asked, what was ordered, what waits for people."""

from __future__ import annotations

import re
import secrets
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from detector.verdicts import RecommendationState, Verdict, recommendation_id
from streams.metrictable import ACTING, PREFIX
from streams.wallclock import now_ms
from tests.integration.gating import Place, Served, rollback_of, verdict_of
from tests.integration.support import until
from tests.rules.programs import monitoring_folder

pytestmark = pytest.mark.kafka

GATE = "/v1/gate?service=shop&release="
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
KNOWN = re.compile(
    r"text/plain; version=(0\.0\.4|1\.0\.0); charset=utf-8"
    r"|application/openmetrics-text; version=1\.0\.0; charset=utf-8"
)
"""Content types that Prometheus 3 reads; another one, and it drops the target."""


def samples(served: Served) -> dict[tuple[str, ...], float]:
    """Every sample of the page by name and label values, these as in the table."""
    text, labels = served.ask("/metrics").text, {one.name: one.labels for one in ACTING}
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            name = one.name.removeprefix(PREFIX)
            values = (one.labels[label] for label in labels[name])
            found[name, *values] = one.value
    return found


def test_table_and_page_agree(place: Place, served: Served) -> None:
    """Every metric of the table is rendered with its labels, and no other; no
    build_info, which would hide that no worker runs."""
    served.ask(GATE + "healthy")
    _act(place, served, "page")
    _again(place, served, "page")
    found = {
        family.name: set(family.samples[0].labels)
        for family in openmetrics.text_string_to_metric_families(
            served.ask("/metrics", Accept=OPENMETRICS).text
        )
    }
    kinds = {"counter": "_total", "info": "_info"}
    expected = {
        PREFIX + one.name.removesuffix(kinds.get(one.kind, "")): set(one.labels)
        for one in ACTING
    }
    assert found == expected


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "text/plain",
        "*/*",
        "text/plain;version=0.0.4;q=1,*/*;q=0.1",
        f"{OPENMETRICS},{OPENMETRICS.replace('1.0.0', '0.0.1')};q=0.75",
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
    ],
)
def test_content_type_is_known(served: Served, accept: str) -> None:
    """Prometheus 3 drops a target whose content type it does not know."""
    found = served.ask("/metrics", Accept=accept)
    plain = found.headers["Content-Type"].partition("; escaping")[0]
    assert KNOWN.fullmatch(plain), plain


def test_page_needs_a_token(served: Served) -> None:
    """Names of services are nobody's business: with a token file it is asked for."""
    assert served.ask("/metrics", token=None).status == 401
    assert served.ask("/metrics", token="read").status == 200


def test_requests_are_counted(place: Place) -> None:
    """By protocol and what was heard, refusals included; pages are not."""
    hook = {"name": "shop", "namespace": "x", "metadata": {"release": "healthy"}}
    with place.served() as gates:
        for _ in range(2):
            gates.ask(GATE + "healthy")
        gates.ask(GATE + "regressed", token=None)
        gates.ask("/flagger/rollback", hook)
        gates.ask("/readyz")
        gates.ask("/nothing")
        found = {k[1:]: v for k, v in samples(gates).items() if "requests" in k[0]}
    assert found == {("argo", "healthy"): 2, ("argo", "401"): 1, ("flagger", "no"): 1}


def test_kill_switch_is_shown(place: Place, served: Served) -> None:
    """On with the order, off with its end, and still on while Kafka is away."""
    assert samples(served)["kill_switch_engaged",] == 0
    order = {"word": "stop", "why": "test"}
    assert served.ask("/v1/orders", order).status == 200
    try:
        assert samples(served)["kill_switch_engaged",] == 1
    finally:
        served.ask("/v1/orders", {"word": "resume", "why": "test"})
    assert samples(served)["kill_switch_engaged",] == 0


def test_waiting_lasts_until_decided(place: Place, served: Served) -> None:
    """An action that needs a person counts from the episode's begin; one that is
    approved, or closed, waits no longer."""
    where = ("shop", "waits")
    wanted = rollback_of(where, mode="approve")
    place.recommend(wanted)
    name = ("approval_waiting_seconds", "shop", "production", "waits")
    until(lambda: samples(served).get(name, 0) >= 60, what="it waits", limit_s=30)
    assert samples(served)["mode_info", "shop", "approve"] == 1
    order = {
        "word": "approve",
        "why": "seen",
        "recommendation_id": wanted.id,
        "value": "rollback",
    }
    assert served.ask("/v1/orders", order).status == 200
    assert samples(served)[name] == 0
    other = rollback_of(("shop", "over"), mode="approve")
    place.recommend(other)
    name = (*name[:3], "over")
    until(lambda: samples(served).get(name, 0) >= 60, what="it waits", limit_s=30)
    closed = rollback_of(
        ("shop", "over"),
        mode="approve",
        id=other.id,
        episode_start_ms=other.episode_start_ms,
        revision=2,
        state=RecommendationState.WITHDRAWN,
    )
    place.recommend(closed)
    until(lambda: samples(served)[name] == 0, what="it is over", limit_s=30)


def _act(place: Place, served: Served, service: str) -> None:
    """Let a job roll a service back."""
    place.judge((service, "2"), Verdict.REGRESSED)
    ask = f"/v1/gate?service={service}&release=2"
    until(
        lambda: served.ask(ask).body["data"]["recommendation"],
        what="the board has read it",
        limit_s=30,
    )
    token = secrets.token_hex(16)
    claim = {"service": service, "release": "2", "token": token}
    assert served.ask("/v1/claims", claim).body["answer"] == 10
    told = {"token": token, "end": "executed"}
    assert served.ask("/v1/outcomes", told).status == 200


def _again(place: Place, served: Served, service: str) -> None:
    """What was rolled back does harm again: the claim freezes the service."""
    start_ms = now_ms()
    name = recommendation_id(service, "production", "2", None, start_ms)
    where = (service, "2")
    said = verdict_of(where, verdict=Verdict.REGRESSED, recommendation_id=name)
    place.verdict(said)
    place.recommend(rollback_of(where, id=name, episode_start_ms=start_ms))
    ask = f"/v1/gate?service={service}&release=2"
    until(
        lambda: served.ask(ask).body["data"]["recommendation"] == name,
        what="the board has read it",
        limit_s=30,
    )
    claim = {"service": service, "release": "2", "token": secrets.token_hex(16)}
    assert served.ask("/v1/claims", claim).body["why"] == "ping_pong"


def test_actions_spend_the_budget(place: Place) -> None:
    """An action that was told its end is counted once by every gate, and takes one of
    three from its service's day."""
    with place.served() as one, place.served() as other:
        before = samples(one).get(("executions_total", "job", "executed"), 0)
        _act(place, one, "spender")
        for gates in (one, other, one):
            found = samples(gates)
            assert found["action_budget_remaining", "spender", "production"] == 2
        assert found["executions_total", "job", "executed"] == before + 1


def test_prometheus_reads_the_page(served: Served, tmp_path: Path) -> None:
    """promtool, which reads as Prometheus does, finds nothing to blame."""
    found = subprocess.run(
        [str(monitoring_folder() / "promtool"), "check", "metrics"],
        input=served.ask("/metrics").text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_open_gates_show_their_page(place: Place) -> None:
    """Without tokens, on loopback, Prometheus needs none."""
    with place.served(tokens=None) as gates:
        assert gates.ask("/metrics", token=None).status == 200
        assert gates.ask("/v1/orders", {"word": "stop", "why": "x"}).status == 403
