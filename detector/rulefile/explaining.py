"""Why a rule judges a release, where each of its values comes from, what it means."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import NamedTuple

from detector.rulefile.errors import Report
from detector.rulefile.match import any_matches
from detector.rulefile.meaning import Place, values_of
from detector.rulefile.model import BUILT_IN_RULE, PERSISTENCE_WINDOWS_MIN, Rule
from detector.rulefile.parts import Match
from detector.rulefile.ruleset import RuleSet
from detector.rulefile.yamltree import Entries, Items, Node, compose

IN_THE_MEAN = ("errors", "latency", "steps", "feedback")
"""Signals that share the evidence beside a control by their weights."""


class Passed(NamedTuple):
    """A rule that does not fit, and the parts of its match that do not."""

    rule: str
    line: int | None
    because: tuple[str, ...]


class Setting(NamedTuple):
    """A value in force; ``line`` of the file it stands in, None for a default."""

    key: str
    value: object
    unit: str
    line: int | None
    effect: str


class Explanation(NamedTuple):
    """The rule of a place, those above it that do not fit, and what it comes to."""

    rule: Rule
    line: int | None
    passed: tuple[Passed, ...]
    settings: tuple[Setting, ...]
    meaning: tuple[str, ...]


def explain_rules(rules: RuleSet, text: str, place: Place) -> Explanation:
    """Explain which rule of a file a release gets.

    Parameters
    ----------
    text : str
        The text that ``rules`` was read from.

    Examples
    --------
    >>> from detector.rulefile import load_rules
    >>> listed = "[{name: a, match: {service: x}}]"
    >>> text = f"version: 1\\nrules: {listed}\\nend_of_rules: true"
    >>> place = Place("y", "production", None, None)
    >>> found = explain_rules(load_rules(text, source=""), text, place)
    >>> found.rule.name, found.passed[0].because
    ('built-in', ('service y is not x',))
    """
    nodes = rule_nodes(text)
    passed: list[Passed] = []
    for rule, node in zip(rules.rules, nodes, strict=True):
        if rule.matches(*place):
            settings = tuple(_settings(rule, node))
            line = node.place.line
            return Explanation(rule, line, tuple(passed), settings, meaning_of(rule))
        because = tuple(unmatched(rule.match, place))
        passed.append(Passed(rule.name, node.place.line, because))
    settings = tuple(_settings(BUILT_IN_RULE, None))
    words = meaning_of(BUILT_IN_RULE)
    return Explanation(BUILT_IN_RULE, None, tuple(passed), settings, words)


def rule_nodes(text: str) -> tuple[Node, ...]:
    """The rules of a valid file as parts of its tree, with their places."""
    root = compose(text.removeprefix("\ufeff"), Report("", text))
    listed = root.get("rules") if isinstance(root, Entries) else None
    return listed.items if isinstance(listed, Items) else ()


def unmatched(match: Match, place: Place) -> Iterator[str]:
    """Say which parts of a match a release does not fit."""
    for name in Place._fields:
        globs, given = getattr(match, name), getattr(place, name)
        if any_matches(globs, given):
            continue
        wanted = " or ".join(globs)
        if given is None:
            yield f"the {name} is not known, and only * fits that, not {wanted}"
        else:
            yield f"{name} {given} is not {wanted}"


def _settings(rule: Rule, node: Node | None) -> Iterator[Setting]:
    for path, (value, tune, unit) in values_of(rule).items():
        yield Setting(path, value, unit, line_of(node, path), tune)


def line_of(node: Node | None, path: str) -> int | None:
    """Line in which the value of a key stands; None if it is left out."""
    for name in path.split("."):
        if not isinstance(node, Entries):
            return None
        node = node.get(name)
    return node.place.line if node is not None else None


def meaning_of(rule: Rule) -> tuple[str, ...]:
    """What the numbers of a rule come to, for delay and false alarms."""
    return tuple(_meaning(rule))


def _meaning(rule: Rule) -> Iterator[str]:
    needed = 1 / rule.alpha
    yield (
        f"evidence: a release is found regressed beside its control at an e-value of "
        f"{needed:g} (1/alpha, {log(needed):.1f} nats). At most {rule.alpha:.2%} of "
        "harmless releases ever get there."
    )
    weights = {name: rule.signals[name].weight for name in IN_THE_MEAN}
    whole = sum(weights.values())
    alone = {n: needed * whole / w for n, w in weights.items() if w > 0}
    if alone:
        said = ", ".join(f"{name} {round(value):,}" for name, value in alone.items())
        yield (
            "evidence of one signal alone, where all of them are compared and the "
            f"others say nothing: {said}."
        )
    floor_s = PERSISTENCE_WINDOWS_MIN * rule.window_s
    last_s = rule.persistence_ms // 1000
    why = "persistence_s" if rule.persistence_s >= floor_s else "three windows"
    soonest_s = last_s + rule.window_s + rule.grace_s
    yield (
        f"earliest decision: about {soonest_s} s after the harm begins: it has to last "
        f"{last_s} s ({why}), in windows of {rule.window_s} s that wait {rule.grace_s} "
        "s for late records."
    )
    yield (
        f"exposure: each arm needs {rule.min_exposure} units before that. At 10 units "
        f"a minute in the smaller arm that is {rule.min_exposure / 10:g} minutes."
    )
    margin = rule.signals["errors"].margin
    yield (
        f"harm: failures up to {margin:g} times the control's are acceptable and never "
        "reported; the closer above it, the longer it takes."
    )
    young = rule.hypercare
    yield (
        f"healthy: not before {young.min_hours:g} h and {young.min_exposure} units, "
        "and only if harm above the margin is ruled out. Watched for "
        f"{young.max_days:g} d."
    )
    yield (
        f"steps: watched from an e-value of {rule.ladder.watch_e:g}, held from "
        f"{rule.ladder.hold_e:g}; mode {rule.mode}; with too little data "
        f"{rule.on_no_data}, with evidence for neither {rule.on_inconclusive}."
    )
    named = f"only {', '.join(rule.hooks)}" if rule.hooks else "every receiver"
    yield (
        f"hooks: of hypercare act {named} may hear of it and act, as far as its own "
        "filters let it."
    )


def place_names(place: Place) -> str:
    """A place in words."""
    parts = [f"{n} {v}" for n, v in zip(Place._fields, place, strict=True) if v]
    return ", ".join(parts)
