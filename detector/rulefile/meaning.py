"""What a change of rules means: key by key, and which releases get another rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from itertools import islice, product
from typing import Any, NamedTuple

from detector.rulefile.kinds import keys_of
from detector.rulefile.model import Rule
from detector.rulefile.ruleset import RuleSet

PLACES_MAX = 100_000
"""Combinations of names that are tried; sets of rules with more are compared by the
names of each rule alone."""

NAMELESS = frozenset({"name", "owner", "why"})
"""Keys that are for people: no decision depends on them."""

_UP = ("Larger", "Longer", "More")
_DOWN = ("Smaller",)


class Value(NamedTuple):
    """A key of a rule as it is in force; ``tune`` is its effect in words."""

    value: Any
    tune: str
    unit: str


class Change(NamedTuple):
    """A key that differs. ``before`` or ``after`` is None where there is no such key.

    ``effect`` says how this change moves delay and false alarms, "" if neither.
    """

    rule: str
    key: str
    before: Any
    after: Any
    effect: str


class Place(NamedTuple):
    """What a rule is chosen by; a glob stands for what it fits, * for all others."""

    service: str
    environment: str
    component: str | None
    criticality: str | None


class Reassigned(NamedTuple):
    """A place that another rule judges now; ``alike`` if that decides nothing else."""

    place: Place
    before: str
    after: str
    alike: bool


class Difference(NamedTuple):
    """All that differs in meaning between two sets of rules.

    ``partial``: there were too many names to try every combination of them.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reordered: bool
    changes: tuple[Change, ...]
    reassigned: tuple[Reassigned, ...]
    partial: bool


def values_of(rule: Rule) -> dict[str, Value]:
    """Every key of a rule by its path in a file: ``signals.errors.margin``."""
    return dict(_walk(rule, ""))


def _walk(part: Any, path: str) -> Iterator[tuple[str, Value]]:
    for name, (one, _) in keys_of(type(part)).items():
        value, here = getattr(part, name), f"{path}{name}"
        if is_dataclass(value):
            yield from _walk(value, f"{here}.")
        elif isinstance(value, Mapping):
            for entry, inner in value.items():
                yield from _walk(inner, f"{here}.{entry}.")
        elif name == "strata":
            listed = tuple(f"{s.attr}:{s.max_values}" for s in value)
            yield here, Value(listed, one.tune, one.unit)
        else:
            yield here, Value(value, one.tune, one.unit)


def compare(before: RuleSet, after: RuleSet, known: Iterable[Place] = ()) -> Difference:
    """Compare two sets of rules by meaning; rules are the same if their names are.

    Parameters
    ----------
    known : iterable of Place
        Services and environments that there are, tried beside those of the globs.

    Examples
    --------
    >>> from detector.rulefile import load_rules
    >>> text = "version: 1\\nrules: [{name: a, alpha: 0.01}]\\nend_of_rules: true"
    >>> old, new = (load_rules(t, source="") for t in (text, text.replace("01", "001")))
    >>> [change[:4] for change in compare(old, new).changes]
    [('a', 'alpha', 0.01, 0.001)]
    """
    old = {rule.name: rule for rule in before.rules}
    new = {rule.name: rule for rule in after.rules}
    both = [name for name in old if name in new]
    changes = [c for name in both for c in changes_of(old[name], new[name])]
    places, partial = _places(before, after)
    tried = dict.fromkeys([*known, *places])
    found = [r for r in (_reassigned(before, after, p) for p in tried) if r]
    return Difference(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        reordered=both != [name for name in new if name in old],
        changes=tuple(changes),
        reassigned=tuple(_merged(found, tried)),
        partial=partial,
    )


def changes_of(before: Rule, after: Rule) -> list[Change]:
    """Every key in which two rules differ."""
    old, new = values_of(before), values_of(after)
    found = []
    for path in dict.fromkeys((*old, *new)):
        left, right = old.get(path), new.get(path)
        was, now = left and left.value, right and right.value
        if was != now:
            tune = (left or right or Value(None, "", "")).tune
            found.append(Change(before.name, path, was, now, effect(tune, was, now)))
    return found


def effect(tune: str, before: Any, after: Any) -> str:
    """The words on a key's effect, turned the way the value moved.

    Examples
    --------
    >>> effect("Larger: fewer alarms.", 2, 3), effect("Larger: fewer alarms.", 3, 2)
    ('fewer alarms.', 'the reverse of: fewer alarms.')
    """
    lead, _, rest = tune.partition(": ")
    if not rest:
        return tune
    turned = f"the reverse of: {rest}"
    first = lead.split()[0]
    if first in _UP + _DOWN and before is not None and after is not None:
        left, right = _size(before), _size(after)
        if left is None or right is None:
            return tune
        if left == right:
            return tune
        return rest if (right > left) is (first in _UP) else turned
    shown = str(before).lower()
    return turned if lead == shown else rest if lead == str(after).lower() else tune


def _size(value: Any) -> float | None:
    if isinstance(value, tuple):
        return len(value)
    return value if isinstance(value, int | float) else None


def _reassigned(before: RuleSet, after: RuleSet, place: Place) -> Reassigned | None:
    names = (_name(place.service), _name(place.environment))
    more = (place.component and _name(place.component), place.criticality)
    old, new = before.rule_for(*names, *more), after.rule_for(*names, *more)
    if old.name == new.name:
        return None
    said = {c.key for c in changes_of(old, new)}
    alike = not {k for k in said if k not in NAMELESS and not k.startswith("match.")}
    return Reassigned(place, old.name, new.name, alike)


def _name(glob: str) -> str:
    """A name that a glob fits, and hardly another glob."""
    return glob.replace("*", "~").replace("?", "~")


def _places(before: RuleSet, after: RuleSet) -> tuple[list[Place], bool]:
    matches = [rule.match for rule in (*before.rules, *after.rules)]
    fields = (
        _sorted(g for m in matches for g in m.service),
        _sorted(g for m in matches for g in m.environment),
        [None, *_sorted((g for m in matches for g in m.component), every=False)],
        [None, *_sorted((g for m in matches for g in m.criticality), every=False)],
    )
    size = 1
    for field in fields:
        size *= len(field)
    if size <= PLACES_MAX:
        return [Place(*place) for place in product(*fields)], False
    own = (
        Place(s, e, None if c == "*" else c, None if k == "*" else k)
        for m in matches
        for s, e, c, k in product(m.service, m.environment, m.component, m.criticality)
    )
    return list(dict.fromkeys(islice(own, PLACES_MAX))), True


def _sorted(globs: Iterable[str], *, every: bool = True) -> list[str]:
    found = set(globs) - {"*"}
    return sorted(found) + (["*"] if every else [])


def _merged(
    found: list[Reassigned], tried: Mapping[Place, None]
) -> Iterator[Reassigned]:
    """One line for a service and environment where component and criticality do not
    matter."""
    cells: dict[tuple[str, str], int] = {}
    for place in tried:
        cells[place[:2]] = cells.get(place[:2], 0) + 1
    groups: dict[tuple[str, str], list[Reassigned]] = {}
    for one in found:
        groups.setdefault(one.place[:2], []).append(one)
    for (service, environment), group in groups.items():
        kinds = {one[1:] for one in group}
        if len(kinds) == 1 and len(group) == cells[service, environment]:
            yield group[0]._replace(place=Place(service, environment, None, None))
        else:
            yield from group
