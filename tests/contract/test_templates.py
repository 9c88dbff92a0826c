"""The templates of docs/gate.md, filled in and asked as they stand there."""

from __future__ import annotations

import json
import re
import textwrap
from functools import cache
from typing import Any

import pytest
import yaml
from yarl import URL

from acting.protocols import FLAGGER, Hook, Standing
from tests.integration.gating import Served
from tests.integration.support import ROOT

pytestmark = pytest.mark.kafka


@cache
def template(heading: str) -> Any:
    """The first block of YAML under a heading."""
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### {heading}\n")[2]
    block = re.search(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    assert block is not None, heading
    return yaml.safe_load(textwrap.dedent(block.group()))


def test_argo_web_template_measures(served: Served) -> None:
    """Path and header as written; both conditions compare words that are answered."""
    (metric,) = template("Argo Rollouts")["metrics"]
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
    asked = metric["provider"]["kayenta"]
    assert URL(asked["address"].replace("TOKEN", "x")).password == "x"
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
    """Each hook's address fits its type, and its metadata is all that is needed."""
    for hook in template("Flagger")["webhooks"]:
        assert hook["url"].endswith(f":9109/flagger/{hook['type']}")
        metadata = hook["metadata"] | {"token": served.tokens["act"]}
        assert all(isinstance(one, str) for one in metadata.values())
        body = {"name": "shop", "namespace": "test", "metadata": metadata}
        found = served.ask(f"/flagger/{hook['type']}", json.loads(json.dumps(body)))
        is_yes = Standing.UNKNOWN in FLAGGER[Hook(hook["type"])]
        assert found.status == (200 if is_yes else 409)
