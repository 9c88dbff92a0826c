"""Argo Rollouts' web provider, as its own code reads answers (1.10): each trap by name.

Its code: any status but 2xx is an error, the fifth error in a row ends the rollout;
a 2xx that is no JSON is a success whatever the conditions say.
"""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest

from tests.integration.gating import Place, Served
from tests.integration.support import ROOT

pytestmark = pytest.mark.kafka

GATE = "/v1/gate?service=shop&release="
WORDS = {
    "healthy": "healthy",
    "regressed": "regressed",
    "inconclusive": "inconclusive",
    "no_data": "inconclusive",
    "unreliable": "inconclusive",
    "never-seen": "inconclusive",
}


@pytest.mark.parametrize(("release", "word"), WORDS.items())
def test_every_standing_is_200(served: Served, release: str, word: str) -> None:
    """A release that warms up, or that nobody knows, is no error: four of those would
    abort. Only health and a regression are words that conditions compare with."""
    found = served.ask(GATE + release)
    assert (found.status, found.body["data"]["verdict"]) == (200, word)


def test_json_whatever_is_asked(served: Served) -> None:
    """No answer is anything but JSON: a page of text would promote."""
    for path in (GATE + "healthy", "/v1/gate", "/", "/v1/gate/", "/nothing", "/v1"):
        for token in ("read", None, "stranger"):
            found = served.ask(path, token=token)
            assert "json" in found.headers["Content-Type"], path
            json.loads(found.text)


def test_path_of_template_is_there(served: Served) -> None:
    """`$.data` exists in every answer with 200: a missing path is an error."""
    for release in WORDS:
        assert isinstance(served.ask(GATE + release).body["data"], dict)


def test_blank_is_read_as_plus(place: Place, served: Served) -> None:
    """Argo does not encode arguments: `1.2.0+build.7` arrives with a blank, or as it
    is, or encoded by somebody else; all mean the same release."""
    for written in ("1.2.0+build.7", "1.2.0%20build.7", quote("1.2.0+build.7", "")):
        found = served.ask(GATE + written)
        assert (found.status, found.body["data"]["standing"]) == (200, "unknown")


def test_too_many_requests_pause(place: Place) -> None:
    """Beyond the limit Argo hears inconclusive with 200, never 429."""
    with place.served(rate_per_s=0.1) as slow:
        found = [slow.ask(GATE + "healthy") for _ in range(3)]
    assert [one.status for one in found] == [200, 200, 200]
    words = [one.body["data"]["verdict"] for one in found]
    assert words == ["healthy", "inconclusive", "inconclusive"]
    assert "too many" in found[2].body["data"]["text"]


def test_lost_kafka_pauses(place: Place) -> None:
    """While Kafka is away Argo hears inconclusive with 200, never 503."""
    with place.served() as gates:
        gates.board.stop()
        gates.board.problem = "Kafka does not answer"
        found = gates.ask(GATE + "healthy")
    assert (found.status, found.body["data"]["standing"]) == (200, "stale")


def test_user_info_of_url_lets_in(place: Place, served: Served) -> None:
    """Clients that send no headers of their own put the token into the URL."""
    words = base64.b64encode(f"argo:{place.tokens['read']}".encode()).decode()
    found = served.ask(GATE + "healthy", token=None, Authorization=f"Basic {words}")
    assert found.status == 200
    assert served.ask(GATE + "healthy", token=None).status == 401


def test_template_has_both_conditions() -> None:
    """Without any condition Argo's code takes every answer for a success; without
    jsonPath it compares with the whole document."""
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    assert 'successCondition: result.verdict == "healthy"' in text
    assert 'failureCondition: result.verdict == "regressed"' in text
    assert 'jsonPath: "{$.data}"' in text
    assert re.search(r"inconclusiveLimit: \d+", text)


def test_nothing_redirects(served: Served) -> None:
    """No path, with or without a slash at its end, answers with 3xx."""
    for path in ("/v1/gate/", "//v1/gate", "/canaryConfig/", "/flagger/rollback/"):
        for body in (None, {}):
            assert served.ask(path, body).status >= 400, path
