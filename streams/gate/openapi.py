"""The OpenAPI document of the gates, made from their table of routes.

Committed as ``docs/openapi.json`` by ``tools/generate_openapi.py``, and served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from detector.version import CODE_VERSION
from streams.gate.bodies import NAME_CHARS_MAX
from streams.gate.route import Answer, Route

PROBLEM = "application/problem+json"
JSON = "application/json"
REFERENCE = "#/components/schemas/{name}"

ABOUT = (
    "How a release stands, and who may act on it. Bearer tokens; clients that send no "
    "headers put the token into the user info of the URL, as the password, or, "
    "Flagger, into metadata.token. See docs/gate.md."
)


class ProblemTold(Struct):
    """What is wrong, and what helps (RFC 9457)."""

    type: str
    title: str
    status: int


WRONG = Answer("what is wrong with the request")
ALWAYS = {
    403: Answer("this token, or this host name, is not good for it"),
    429: Answer("too many requests; Retry-After says when"),
}
WITH_TOKEN = {401: Answer("a token that is known here is needed")}
WITH_BODY = {
    408: Answer("the body did not come in time"),
    413: Answer("the body is too large"),
}


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The whole document."""
    every = tuple(routes)
    types = {ProblemTold, *_types(every)}
    ordered = sorted(types, key=str)
    named, schemas = msgspec.json.schema_components(ordered, ref_template=REFERENCE)
    by_type = dict(zip(ordered, named, strict=True))
    paths: dict[str, Any] = {}
    for route in every:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, by_type
        )
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "userInfo": {"type": "http", "scheme": "basic"},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hypercare gates",
            "version": CODE_VERSION,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
    }


def rendered(routes: Iterable[Route]) -> bytes:
    """The document as it is committed and served."""
    found = msgspec.json.encode(document(routes), order="sorted")
    return msgspec.json.format(found, indent=2) + b"\n"


def answers_of(route: Route) -> dict[int, Answer]:
    """Every status that a route may answer with, those of the guard included."""
    found = dict(ALWAYS)
    if route.fallback is not None:
        del found[429]
    if route.scope is not None:
        found |= WITH_TOKEN
    if route.body is not None:
        found |= WITH_BODY
    if route.body is not None or route.query:
        found[400] = WRONG
    return dict(sorted((found | dict(route.answers)).items()))


def _types(routes: tuple[Route, ...]) -> Iterable[Any]:
    for route in routes:
        bodies = [route.body, *(one.body for one in route.answers.values())]
        yield from (one for one in bodies if one is not None and one is not str)


def _operation(route: Route, by_type: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "tags": [route.protocol],
        "parameters": list(_parameters(route)),
        "responses": {
            str(status): _response(status, answer, by_type)
            for status, answer in answers_of(route).items()
        },
        "security": [],
    }
    if route.scope is not None:
        found["security"] = [{"bearer": []}, {"userInfo": []}]
        found["description"] = f"Scope of the token: {route.scope.value}."
    if route.body is not None:
        content = {JSON: {"schema": by_type[route.body]}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _name(route: Route) -> str:
    words = re.findall(r"[A-Za-z]+", route.path)
    return "_".join([route.method.lower(), *words])


def _parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", route.path):
        schema: dict[str, Any] = {"type": "string"}
        if name in route.parts:
            schema["enum"] = list(route.parts[name])
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    sent = [("query", one) for one in route.query]
    sent += [("header", one) for one in route.headers]
    for place, one in sent:
        schema = {"type": "string"}
        if place == "query":
            schema["maxLength"] = NAME_CHARS_MAX
        if one.required:
            schema["minLength"] = 1
        yield {
            "name": one.name,
            "in": place,
            "required": one.required,
            "description": one.help,
            "schema": schema,
        }


def _response(status: int, answer: Answer, by_type: dict[Any, Any]) -> dict[str, Any]:
    if not answer.kind:
        return {"description": answer.help}
    if answer.body is str:
        content = {answer.kind: {"schema": {"type": "string"}}}
    elif answer.body is not None:
        content = {answer.kind: {"schema": by_type[answer.body]}}
    else:
        content = {PROBLEM: {"schema": by_type[ProblemTold]}}
    found: dict[str, Any] = {"description": answer.help, "content": content}
    if status == 429:
        found["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return found
