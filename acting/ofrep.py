"""Answers of the OpenFeature remote evaluation protocol (OFREP) to one document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """A status and a body."""

    status: int
    body: dict[str, Any]


class Resolved(NamedTuple):
    """What a flag is for a caller: which variant, if any, and why in OFREP's words."""

    variant: str | None
    reason: str


class Unresolved(Exception):
    """The targeting of a flag gives nothing for this context; the text says why."""


Resolve = Callable[[str], Resolved]
"""Evaluates the enabled flag of a name for one caller; may raise Unresolved."""


def evaluate(document: dict[str, Any], key: str, resolve: Resolve) -> Reply:
    """What one flag is for a caller."""
    flag = document["flags"].get(key)
    if flag is None:
        return _failed(404, key, "FLAG_NOT_FOUND", "this token sees no such flag")
    if flag["state"] != "ENABLED":
        return _failed(404, key, "FLAG_NOT_FOUND", "disabled: your default holds")
    try:
        found = resolve(key)
    except Unresolved as error:
        return _failed(400, key, "GENERAL", str(error))
    metadata = {**document.get("metadata", {}), **flag.get("metadata", {})}
    body: dict[str, Any] = {"key": key, "reason": found.reason, "metadata": metadata}
    if found.variant is None:  # the caller's default holds
        return Reply(200, {**body, "reason": "DEFAULT"})
    value = flag["variants"][found.variant]
    return Reply(200, {**body, "variant": found.variant, "value": value})


def evaluate_all(document: dict[str, Any], resolve: Resolve) -> Reply:
    """What every enabled flag is; one that can not be evaluated says why."""
    enabled = [k for k, f in sorted(document["flags"].items()) if _is_enabled(f)]
    flags = [evaluate(document, key, resolve).body for key in enabled]
    return Reply(200, {"flags": flags, "metadata": document.get("metadata", {})})


def bad_context(key: str | None, problem: str) -> Reply:
    """A request whose body or context is not as it should be."""
    body: dict[str, Any] = {"errorCode": "INVALID_CONTEXT", "errorDetails": problem}
    return Reply(400, body if key is None else {"key": key, **body})


def _is_enabled(flag: dict[str, Any]) -> bool:
    return bool(flag["state"] == "ENABLED")


def _failed(status: int, key: str, code: str, details: str) -> Reply:
    return Reply(status, {"key": key, "errorCode": code, "errorDetails": details})
