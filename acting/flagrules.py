"""What a document of feature flags must be for every evaluator that reads it.

One key that is unknown in one flag makes one evaluator refuse the whole document, one
default variant that does not exist makes another do so: every flag would then fall back
to its caller's default. So nothing is served that breaks any of these rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

STATES = ("ENABLED", "DISABLED")
FLAG_KEYS = ("state", "variants", "defaultVariant", "targeting", "metadata")
DOCUMENT_KEYS = ("$schema", "$evaluators", "flags", "metadata")
SCHEMA = "https://flagd.dev/schema/v0/flags.json"
KEY_CHARS_MAX = 256

# fmt: off
OPERATORS = frozenset((
    "var", "missing", "missing_some", "if", "==", "===", "!=", "!==", "!", "!!",
    "or", "and", ">", ">=", "<", "<=", "max", "min", "+", "-", "*", "/", "%", "map",
    "filter", "reduce", "all", "none", "some", "merge", "in", "cat", "substr",
    "fractional", "starts_with", "ends_with", "sem_ver", "$ref",
))
# fmt: on
"""JsonLogic, and what flagd adds to it."""

KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("boolean", (bool,)),
    ("number", (int, float)),
    ("string", (str,)),
    ("object", (dict,)),
)


def problems_of(document: dict[str, Any]) -> list[str]:
    """What is wrong with a document of flags, each with its place; empty if nothing is.

    Examples
    --------
    >>> flag = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "off"}
    >>> problems_of({"flags": {"cart": flag}})
    ['flags.cart.defaultVariant: no variant is called "off"']
    """
    found = [f"{key}: unknown key" for key in document if key not in DOCUMENT_KEYS]
    evaluators = document.get("$evaluators", {})
    flags = document.get("flags")
    if not isinstance(flags, dict) or not isinstance(evaluators, dict):
        return [*found, "flags, $evaluators: must be mappings"]
    found += _metadata(document.get("metadata", {}), "metadata")
    for name, rule in evaluators.items():
        found += _targeting(rule, evaluators, f"$evaluators.{name}")
    for name, flag in flags.items():
        place = f"flags.{name}"
        if not 0 < len(name) <= KEY_CHARS_MAX:
            found.append(f"{place}: a flag has a name of 1 to {KEY_CHARS_MAX} letters")
        if isinstance(flag, dict):
            found += _flag(flag, evaluators, place)
        else:
            found.append(f"{place}: must be a mapping")
    return found


def _flag(
    flag: dict[str, Any], evaluators: dict[str, Any], place: str
) -> Iterator[str]:
    for key in flag:
        if key not in FLAG_KEYS:
            yield f"{place}.{key}: unknown key: what is your own goes into metadata"
    if flag.get("state") not in STATES:
        yield f"{place}.state: must be ENABLED or DISABLED"
    variants = flag.get("variants")
    if not isinstance(variants, dict) or not variants or "" in variants:
        yield f"{place}.variants: must name at least one variant"
    else:
        if kind_of(variants) is None:
            yield f"{place}.variants: all of one kind: boolean, number, string, object"
        chosen = flag.get("defaultVariant")
        if chosen is not None and chosen not in variants:
            yield f'{place}.defaultVariant: no variant is called "{chosen}"'
    targeting = flag.get("targeting", {})
    if not isinstance(targeting, dict):
        yield f"{place}.targeting: must be a mapping"
    elif targeting:
        yield from _targeting(targeting, evaluators, f"{place}.targeting")
    yield from _metadata(flag.get("metadata", {}), f"{place}.metadata")


def kind_of(variants: dict[str, Any]) -> str | None:
    """The kind of value that all variants have; None if they differ."""
    for kind, types in KINDS:
        fits = [
            isinstance(value, types) and isinstance(value, bool) == (kind == "boolean")
            for value in variants.values()
        ]
        if all(fits):
            return kind
    return None


def _targeting(rule: Any, evaluators: dict[str, Any], place: str) -> Iterator[str]:
    if isinstance(rule, list):
        for index, part in enumerate(rule):
            yield from _targeting(part, evaluators, f"{place}[{index}]")
    if not isinstance(rule, dict):
        return
    if len(rule) != 1:
        yield f"{place}: one operator each"
        return
    ((operator, parts),) = rule.items()
    if operator not in OPERATORS:
        yield f"{place}: no operator is called {operator}"
    elif operator == "$ref" and parts not in evaluators:
        yield f'{place}: $evaluators has no "{parts}"'
    else:
        yield from _targeting(parts, evaluators, f"{place}.{operator}")


def _metadata(metadata: Any, place: str) -> Iterator[str]:
    if not isinstance(metadata, dict):
        yield f"{place}: must be a mapping"
        return
    for key, value in metadata.items():
        if not key or not isinstance(value, str | int | float | bool):
            yield f"{place}.{key}: must be text, a number, true or false"
