"""Answers of the OpenFeature remote evaluation protocol (OFREP) to one document.

Only flags that are the same for everybody are evaluated: targeting belongs to an
evaluator beside the caller, which reads the document itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MESSAGE = "targeting is not evaluated here: read /v1/flags.json with flagd"


class Reply(NamedTuple):
    """A status and a body."""

    status: int
    body: dict[str, Any]


def evaluate(document: dict[str, Any], key: str) -> Reply:
    """What one flag is for everybody."""
    flag = document["flags"].get(key)
    if flag is None:
        return _failed(404, key, "FLAG_NOT_FOUND", "no such flag")
    if flag["state"] != "ENABLED":
        return _failed(404, key, "FLAG_NOT_FOUND", "disabled: your default holds")
    if flag.get("targeting"):
        return _failed(400, key, "GENERAL", MESSAGE)
    chosen = flag.get("defaultVariant")
    metadata = {**document.get("metadata", {}), **flag.get("metadata", {})}
    body: dict[str, Any] = {"key": key, "reason": "STATIC", "metadata": metadata}
    if chosen is None:  # the caller's default holds
        return Reply(200, {**body, "reason": "DEFAULT"})
    return Reply(200, {**body, "variant": chosen, "value": flag["variants"][chosen]})


def evaluate_all(document: dict[str, Any]) -> Reply:
    """What every enabled flag is; one that can not be evaluated says why."""
    enabled = [k for k, f in sorted(document["flags"].items()) if _is_enabled(f)]
    flags = [evaluate(document, key).body for key in enabled]
    return Reply(200, {"flags": flags, "metadata": document.get("metadata", {})})


def bad_context(key: str | None, problem: str) -> Reply:
    """A request whose body or context is not as it should be."""
    body: dict[str, Any] = {"errorCode": "INVALID_CONTEXT", "errorDetails": problem}
    return Reply(400, body if key is None else {"key": key, **body})


def _is_enabled(flag: dict[str, Any]) -> bool:
    return bool(flag["state"] == "ENABLED")


def _failed(status: int, key: str, code: str, details: str) -> Reply:
    return Reply(status, {"key": key, "errorCode": code, "errorDetails": details})
