"""The gates do what their OpenAPI document says, asked by schemathesis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, SchemathesisConfig

from streams.gate.openapi import document, rendered
from streams.gate.table import ROUTES
from tests.integration.gating import Served
from tests.integration.support import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

EXAMPLES = 15
ITSELF = "/v1/openapi.json"
"""Schemathesis leaves out the document that it has loaded."""

NAMES = sorted(f"{r.method} {r.path}" for r in ROUTES if r.path != ITSELF)


FLAGGERS = {"name": "a", "namespace": "b", "metadata": {"release": "1"}}


@pytest.fixture(scope="module")
def operations(served: Served) -> dict[str, Any]:
    """What the served document describes, by method and path."""
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    config = SchemathesisConfig()
    config.projects.default.generation = GenerationConfig(modes=modes)
    schema = schemathesis.openapi.from_url(f"{served.url}{ITSELF}", config=config)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{one.method.upper()} {one.path}": one for one in found}


def test_committed_document_is_served(served: Served) -> None:
    """What the repository holds, what is served and what the table says is one."""
    found = served.ask(ITSELF, token=None)
    committed = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert found.text == committed == rendered(ROUTES).decode()


def test_every_schema_is_valid() -> None:
    """Bodies and answers are described in JSON Schema 2020-12, as OpenAPI 3.1 asks."""
    schemas = document(ROUTES)["components"]["schemas"]
    assert schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_route_is_described(operations: dict[str, Any]) -> None:
    """No route is without a description, and none is described that is not there."""
    assert sorted(operations) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_as_described(
    served: Served, operations: dict[str, Any], name: str
) -> None:
    """Whatever fits the description, or does not: a status, a type and a body that the
    document names, no 5xx, and nothing wrong accepted."""
    operation = operations[name]
    headers = {"Authorization": f"Bearer {served.tokens['admin']}"}

    def check(case: Any) -> None:
        case.call_and_validate(base_url=served.url, headers=headers)

    for strategy in _strategies(operation):
        settings(
            max_examples=EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(case=strategy)(check))()


def _strategies(operation: Any) -> Iterator[Any]:
    yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.body or operation.query or operation.path_parameters:
        yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)


def test_document_says_every_status(served: Served) -> None:
    """What a stranger, a wrong method and a foreign host name hear is described."""
    paths = json.loads(rendered(ROUTES))["paths"]
    for route in ROUTES:
        if route.scope is None:
            continue
        said = paths[route.path][route.method.lower()]["responses"]
        assert {"401", "403"} <= set(said)
        path = route.path.replace("{hook}", "event").replace("{", "").replace("}", "")
        path = path.replace("{key}", "cart")
        body = FLAGGERS if route.body else None
        assert served.ask(path, body, token=None).status == 401, path
        assert served.ask(path, body, Host="evil.example").status == 403, path
