"""What a change of rules means, which rule a place gets, and why."""

from __future__ import annotations

import pytest

from detector.rulefile import BUILT_IN_RULE, RuleSet, load_rules
from detector.rulefile.explaining import explain_rules, meaning_of
from detector.rulefile.meaning import (
    Difference,
    Place,
    changes_of,
    compare,
    effect,
    values_of,
)

EVERYWHERE = Place("shop", "production", None, None)


def rules(*listed: str) -> RuleSet:
    """Rules in flow style."""
    return load_rules(text_of(*listed), source="test")


def text_of(*listed: str) -> str:
    """A file with these rules, one a line from line 3 on."""
    body = "".join(f"  - {{{one}}}\n" for one in listed)
    return f"version: 1\nrules:\n{body}end_of_rules: true\n"


def test_spelling_is_no_difference() -> None:
    """Defaults that are written out and the order of globs mean nothing."""
    found = compare(
        rules("name: a, match: {service: [x, z]}"),
        rules("name: a, alpha: 0.0025, match: {service: [z, x]}"),
    )
    assert found == Difference((), (), False, (), (), False)


def test_each_key_is_compared() -> None:
    """Every key of a rule, nested ones too, has a path and shows when it changes."""
    values = values_of(BUILT_IN_RULE)
    assert {"alpha", "signals.errors.margin", "hypercare.max_days"} <= set(values)
    old = rules("name: a").rules[0]
    new = rules(
        "name: a, alpha: 0.001, strata: [{attr: os}], signals: {latency: {weight: 0}}"
    ).rules[0]
    changed = {c.key: (c.before, c.after) for c in changes_of(old, new)}
    assert changed == {
        "alpha": (0.0025, 0.001),
        "strata": ((), ("os:16",)),
        "signals.latency.weight": (0.5, 0.0),
    }


@pytest.mark.parametrize(
    ("tune", "before", "after", "turned"),
    [
        ("Smaller: fewer alarms.", 2, 1, False),
        ("Smaller: fewer alarms.", 1, 2, True),
        ("Larger than the others: sooner.", 1, 2, False),
        ("More: slower.", ("a",), (), True),
        ("false: all as one.", True, False, False),
        ("false: all as one.", False, True, True),
        ("hold: safer.", "hold", "wait", True),
    ],
)
def test_effect_is_turned_the_way_of_the_change(
    tune: str, before: object, after: object, turned: bool
) -> None:
    """Words about larger values are not told of one that became smaller."""
    assert effect(tune, before, after).startswith("the reverse of: ") is turned


def test_places_that_get_another_rule() -> None:
    """Globs, all others, and the order of rules; same settings are told apart."""
    old = rules("name: pay, match: {service: 'pay-*'}, alpha: 0.001", "name: all")
    new = rules("name: pay, match: {service: 'pay-eu*'}, alpha: 0.001", "name: all")
    found = compare(old, new)
    assert [(r.place.service, r.before, r.after) for r in found.reassigned] == [
        ("pay-*", "pay", "all")
    ]
    renamed = compare(rules("name: all"), rules("name: every"))
    assert (renamed.added, renamed.removed) == (("every",), ("all",))
    assert [r.alike for r in renamed.reassigned] == [True]


def test_crossing_globs_and_order() -> None:
    """A place that two rules fit goes to the upper one: moving it moves the place."""
    one, two = "name: a, match: {service: x}", "name: b, match: {environment: dev}"
    found = compare(rules(one, two), rules(two, one))
    assert found.reordered
    assert [(r.place, r.before, r.after) for r in found.reassigned] == [
        (Place("x", "dev", None, None), "a", "b")
    ]


def test_criticality_that_matters_is_named() -> None:
    """Where only some releases of a place change, the line says which."""
    old = rules("name: all")
    new = rules("name: top, match: {criticality: critical}", "name: all")
    found = compare(old, new)
    assert [r.place.criticality for r in found.reassigned] == ["critical"]
    service = compare(old, new, [EVERYWHERE])
    assert [r.place for r in service.reassigned] == [Place("*", "*", None, "critical")]


def test_too_many_names_are_told() -> None:
    """Two sets of hundreds of names: own ones alone, and it says so."""
    names = ", ".join(f"s{n}" for n in range(60))
    areas = ", ".join(f"e{n}" for n in range(60))
    parts = ", ".join(f"c{n}" for n in range(60))
    old = rules(f"name: a, match: {{service: [{names}], component: [{parts}]}}")
    new = rules(f"name: a, match: {{service: [{names}], environment: [{areas}]}}")
    found = compare(old, new)
    assert found.partial
    assert found.reassigned


def test_explanation_names_what_does_not_fit() -> None:
    """Each rule above, with its line and the part of match that fails."""
    listed = (
        "name: pay, match: {service: 'pay*', environment: dev}",
        "name: top, match: {criticality: [critical, high]}",
        "name: all, alpha: 0.001, signals: {errors: {margin: 2.0}}",
    )
    text = text_of(*listed)
    found = explain_rules(rules(*listed), text, EVERYWHERE)
    assert (found.rule.name, found.line) == ("all", 5)
    assert [(p.rule, p.line, len(p.because)) for p in found.passed] == [
        ("pay", 3, 2),
        ("top", 4, 1),
    ]
    assert "not known" in found.passed[1].because[0]
    lines = {s.key: s.line for s in found.settings}
    assert lines["alpha"] == lines["signals.errors.margin"] == 5
    assert lines["signals.errors.weight"] is lines["window_s"] is None


def test_numbers_in_words_follow_the_rule() -> None:
    """1/alpha, persistence or three windows, and the share of one signal."""
    rule = rules("name: a, alpha: 0.001, persistence_s: 20, window_s: 60").rules[0]
    told = " ".join(meaning_of(rule))
    assert "e-value of 1000 (1/alpha" in told
    assert "errors 2,000, latency 4,000" in told
    assert "last 180 s (three windows)" in told


def test_hooks_are_explained_and_compared() -> None:
    """Whom a rule leaves its recommendations to is said, and so is a change of it."""
    old, new = rules("name: a"), rules("name: a, hooks: [pager, flags]")
    (change,) = compare(old, new).changes
    assert change[:4] == ("a", "hooks", (), ("flags", "pager"))
    assert change.effect.startswith("A receiver that is not named")
    assert "every receiver may hear" in meaning_of(old.rules[0])[-1]
    assert "only flags, pager may hear" in meaning_of(new.rules[0])[-1]
