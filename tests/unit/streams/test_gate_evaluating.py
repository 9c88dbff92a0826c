"""Targeting over any context: a variant of the flag, or a reason why there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acting.flags import FlagsError, read_flags
from acting.ofrep import Unresolved
from streams.gate.evaluating import Evaluator

NAMES = ("a", "b", "email", "app_version", "environment")
A, B = {"var": "a"}, {"var": "b"}
RULES: dict[str, Any] = {
    "equal": {"if": [{"==": [A, B]}, "on", "off"]},
    "less": {"if": [{"<": [A, B]}, "on", None]},
    "in": {"if": [{"in": [A, B]}, "on"]},
    "version": {"if": [{"sem_ver": [{"var": "app_version"}, ">=", B]}, "on"]},
    "text": {
        "if": [{"starts_with": [{"var": "email"}, A]}, "on", {"ends_with": [A, B]}]
    },
    "share": {"fractional": [A, ["on", 1], ["off", 1]]},
    "key": {"fractional": [["on", 1], ["off", 1]]},
    "sum": {"if": [{">": [{"%": [{"+": [A, 1]}, B]}, 1]}, "on"]},
    "deep": {"if": [{"==": [{"var": "a.b.c"}, 1]}, "on"]},
    "some": {"if": [{"some": [A, {"==": [{"var": ""}, B]}]}, "on"]},
    "cut": {"if": [{"substr": [A, B]}, "on"]},
    "any": {"var": "a"},
}


def evaluator(variants: dict[str, Any] | None = None) -> Evaluator:
    """Flags of all rules."""
    flag = {
        "state": "ENABLED",
        "variants": variants or {"on": True, "off": False},
        "defaultVariant": "off",
    }
    flags = {name: {**flag, "targeting": rule} for name, rule in RULES.items()}
    document = read_flags(json.dumps({"flags": flags}), "flags.json").document
    return Evaluator(document)


EVERY = evaluator()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(("on", "2.4.0", "production")),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=2), part)
    ),
    max_leaves=6,
)
CONTEXTS = st.dictionaries(st.sampled_from(NAMES), VALUES) | st.dictionaries(
    st.text(max_size=9), VALUES
)


@settings(max_examples=300, deadline=None)
@given(context=CONTEXTS, key=st.sampled_from(sorted(RULES)))
def test_any_context_has_an_answer(context: dict[str, Any], key: str) -> None:
    """Whatever a client sends: a variant that the flag has, the caller's own default,
    or a refusal, never a defect."""
    try:
        found = EVERY.resolve(key, context)
    except Unresolved:
        return
    assert found.variant in ("on", "off", None)
    assert found.reason in ("TARGETING_MATCH", "DEFAULT")


@pytest.mark.parametrize(
    "values", [(True, False), (1, 2), (0.5, 2), ("a", "b"), ({"a": 1}, {})]
)
def test_every_kind_of_variant_is_resolved(values: tuple[Any, Any]) -> None:
    """Logical values, numbers, texts and objects."""
    found = evaluator(dict(zip(("on", "off"), values, strict=True)))
    assert found.resolve("equal", {"a": 1, "b": 1}).variant == "on"
    assert found.resolve("less", {"a": 2, "b": 1}) == ("off", "DEFAULT")


def test_variant_that_is_missing_is_told() -> None:
    """A rule that names no variant of its flag is refused for that caller."""
    with pytest.raises(Unresolved, match="not in variants"):
        EVERY.resolve("any", {"a": "nix"})


def test_document_that_breaks_the_evaluator_is_refused() -> None:
    """Letters in shared rules that providers for Python stumble over."""
    text = json.dumps(
        {
            "flags": {"a": {"state": "ENABLED", "variants": {"on": True}}},
            "$evaluators": {"b": {"==": [{"var": "city"}, "Köln"]}},
        }
    )
    used = text.replace('"variants"', '"targeting": {"$ref": "b"}, "variants"', 1)
    with pytest.raises(FlagsError, match="not ASCII"):
        Evaluator(read_flags(used, "flags.json").document)
