"""The generated schema and page say what the model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector.rulefile import load_rules
from detector.rulefile.kinds import Key, keys_of
from detector.rulefile.model import Rule, RuleFile
from detector.rulefile.parts import (
    Hypercare,
    Ladder,
    Match,
    Signal,
    SourceClass,
    Stratum,
)
from detector.rulefile.reference import reference_page, rules_schema

ROOT = Path(__file__).parents[3]
MODELS = (RuleFile, Rule, Match, Stratum, Signal, Hypercare, SourceClass, Ladder)
KEYS = [
    (model, name, one) for model in MODELS for name, (one, _) in keys_of(model).items()
]


def test_schema_in_tree_is_new() -> None:
    """Run tools/generate_rule_docs.py after a change of the model."""
    assert (ROOT / "rules/rules.schema.json").read_text("utf-8") == rules_schema()


def test_page_in_tree_is_new() -> None:
    """Run tools/generate_rule_docs.py after a change of the model."""
    assert (ROOT / "docs/rules.md").read_text("utf-8") == reference_page()


@pytest.mark.parametrize(("model", "name", "one"), KEYS)
def test_key_has_a_meaning(model: type[Any], name: str, one: Key) -> None:
    """Every key is explained in a sentence, and stands on the page."""
    assert one.means.endswith("."), f"{model.__name__}.{name}"
    assert f"| `{name}` |" in reference_page()


@pytest.mark.parametrize(("model", "name", "one"), KEYS)
def test_key_with_unit_says_its_direction(
    model: type[Any], name: str, one: Key
) -> None:
    """A number that can be turned says which way delay and false alarms go."""
    if one.unit:
        assert one.tune.endswith("."), f"{model.__name__}.{name}"


def test_readme_example_is_valid() -> None:
    """What newcomers copy from rules/README.md loads."""
    text = (ROOT / "rules/README.md").read_text("utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]

    rules = load_rules(example, source="README.md")

    assert rules.rule_for("payment-eu", "production").name == "checkout"
    assert rules.rule_for("shop", "production").name == "everything-else"
