"""The templates of docs/gate.md, filled in and asked as they stand there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from yarl import URL

from acting.protocols import FLAGGER, Hook, Standing
from tests.contract.controlling import written
from tests.integration.gating import Served

pytestmark = pytest.mark.kafka


def template(heading: str) -> Any:
    """The first block of YAML under a heading."""
    return yaml.safe_load(written(heading))


def fill(text: str, **arguments: str) -> str:
    """As Argo fills in the arguments of a template; none is left over."""
    for name, value in arguments.items():
        text = text.replace(f"{{{{args.{name}}}}}", value)
    assert "{{" not in text
    return text


@pytest.mark.parametrize("heading", ["Argo Rollouts", "Kayenta"])
def test_argo_templates_come_to_an_end(heading: str) -> None:
    """Health alone ends a run well; a count, without which Argo refuses a step, would
    end it so with inconclusive ones, were it not for the successes in a row.
    Limits are said, as Argo's own are 0 and 40 s; without an interval its kayenta
    provider asks nobody. Arguments that are used are declared."""
    whole, found = template("Argo Rollouts"), template(heading)
    (metric,) = found.get("spec", found)["metrics"]
    assert metric["count"] > metric["inconclusiveLimit"]
    assert metric["interval"] == "30s"
    assert metric["consecutiveSuccessLimit"] >= 1
    assert metric["failureLimit"] == 0
    assert metric["inconclusiveLimit"] > 0
    assert metric["consecutiveErrorLimit"] > 4
    declared = {one["name"] for one in whole["spec"]["args"]}
    assert declared == set(re.findall(r"{{args\.(\w+)}}", json.dumps(metric)))
    assert whole["kind"] == "AnalysisTemplate"


def test_argo_web_template_measures(served: Served) -> None:
    """Path and header as written; both conditions compare words that are answered."""
    (metric,) = template("Argo Rollouts")["spec"]["metrics"]
    web = metric["provider"]["web"]
    (header,) = web["headers"]
    assert header["key"] == "Authorization"
    value = header["value"].replace("{{args.token}}", served.tokens["read"])
    for release in ("healthy", "regressed"):
        address = web["url"].replace("{{args.service}}", "shop")
        address = address.replace("{{args.release}}", release)
        path = address.partition(":9109")[2]
        found = served.ask(path, token=None, Authorization=value)
        verdict = found.body["data"]["verdict"]
        said = {
            k: metric[f"{k}Condition"].split('"')[1] for k in ("success", "failure")
        }
        assert [k for k, word in said.items() if word == verdict] == [
            "success" if release == "healthy" else "failure"
        ]
    assert web["jsonPath"] == "{$.data}"


def test_kayenta_template_scores(served: Served) -> None:
    """Names and thresholds as written lead to a score between them."""
    (metric,) = template("Kayenta")["metrics"]
    filled = fill(json.dumps(metric), service="shop", release="no_data", token="x")
    asked = json.loads(filled)["provider"]["kayenta"]
    assert URL(asked["address"]).password == "x"
    query = f"?application={asked['application']}"
    configs = served.ask(f"/canaryConfig{query}").body
    (name,) = [c["id"] for c in configs if c["name"] == asked["canaryConfigName"]]
    (scope,) = asked["scopes"]
    places = {
        part: {"scope": scope[part]["scope"], "location": scope[part]["region"]}
        for part in ("controlScope", "experimentScope")
    }
    body = {"scopes": {scope["name"]: places}, "thresholds": asked["threshold"]}
    started = served.ask(f"/canary/{name}{query}", body).body
    found = served.ask(f"/canary/{started['canaryExecutionId']}").body
    score = found["result"]["judgeResult"]["score"]["score"]
    assert asked["threshold"]["marginal"] <= score < asked["threshold"]["pass"]


def test_flagger_template_is_answered(served: Served) -> None:
    """Each hook's address fits its type, and its metadata is all that is needed; no
    hook counts failed checks, which roll back without a claim."""
    spec = template("Flagger")["spec"]
    for hook in spec["analysis"]["webhooks"]:
        assert hook["url"].endswith(f":9109/flagger/{hook['type']}")
        metadata = hook["metadata"] | {"token": served.tokens["act"]}
        assert all(isinstance(one, str) for one in metadata.values())
        body = {"name": "shop", "namespace": "test", "metadata": metadata}
        found = served.ask(f"/flagger/{hook['type']}", json.loads(json.dumps(body)))
        is_yes = Standing.UNKNOWN in FLAGGER[Hook(hook["type"])]
        assert found.status == (200 if is_yes else 409)
    types = {hook["type"] for hook in spec["analysis"]["webhooks"]}
    assert {"confirm-traffic-increase", "confirm-promotion", "rollback"} <= types
    assert not types & {"rollout", "pre-rollout"}
