"""One value changed in a file; every other letter stays."""

from __future__ import annotations

import difflib

import pytest

from detector.rulefile import load_rules
from detector.rulefile.editing import with_value

BLOCK = """# ours
version: 1
rules:
  - name: first   # named for a reason
    match: {service: a}
    # about alpha
    alpha: 0.0025   # a twentieth of 0.05
    signals:
      latency: {weight: 0}
  - match: {service: b}
    name: second
  - {name: third, match: {service: c}}   # short
  -
    name: "quoted"
    signals: {errors: {margin: 2.0}}
end_of_rules: true
"""


@pytest.mark.parametrize(
    ("rule", "key", "value", "removed", "added"),
    [
        ("first", "alpha", 0.001, 1, "    alpha: 0.001   # a twentieth of 0.05"),
        ("first", "persistence_s", 60, 0, "    persistence_s: 60"),
        ("first", "signals.latency.margin", 1.5, 1, None),
        ("first", "signals.errors.margin", 1.5, 0, "      errors: {margin: 1.5}"),
        ("second", "min_exposure", 7, 1, None),
        ("third", "alpha", 0.00001, 1, None),
        ("third", "signals.errors.margin", 1.5, 1, None),
        ("quoted", "signals.errors.margin", 1.5, 1, None),
        ("quoted", "alpha", 0.01, 0, "    alpha: 0.01"),
    ],
)
def test_only_this_value_changes(
    rule: str, key: str, value: float, removed: int, added: str | None
) -> None:
    """At most one line goes, and what is meant is the one change and no other."""
    edited = with_value(BLOCK, rule, key, value)
    assert edited is not None
    marked = list(difflib.ndiff(BLOCK.splitlines(), edited.splitlines()))
    assert sum(line.startswith("- ") for line in marked) == removed
    assert sum(line.startswith("+ ") for line in marked) in (1, 2)
    assert edited.count("#") == BLOCK.count("#")
    if added is not None:
        assert f"+ {added}" in marked
    changed = next(r for r in load_rules(edited, source="").rules if r.name == rule)
    part: object = changed
    for name in key.split("."):
        part = part[name] if isinstance(part, dict) else getattr(part, name)
    assert part == value


@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("first", "alpha", 0.5),  # out of range
        ("first", "alpha", 0.04),  # 1/alpha below the ladder's hold_e
        ("none-such", "alpha", 0.001),
        ("first", "alpha", 0.0025),  # nothing would change
        ("first", "no_such_key", 1),
    ],
)
def test_what_can_not_be_done_is_not(rule: str, key: str, value: float) -> None:
    """No half-good text comes out."""
    assert with_value(BLOCK, rule, key, value) is None
