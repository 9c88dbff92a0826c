"""The document of feature flags: what its owner wrote, with every withdrawal in force.

A flag says in ``switches`` which component it switches. Once the component is taken out
its flag gives the off variant to everybody, once it is replaced the variant of the last
good version. Targeting is emptied, as a rule that matches would win over the default;
and the flag is enabled, as a disabled one gives the caller's own default: maybe on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from acting.flagrules import SCHEMA, problems_of
from acting.records import EVERY
from acting.switches import Place, Switched, Switches
from detector.rulefile.errors import Report
from detector.rulefile.yamltree import Entries, Items, Node, Scalar, compose
from detector.verdicts import Action

WORDS = ("service", "environment", "component", "withdrawn")
SWITCH_KEYS = (*WORDS, "versions")
MARK = "end_of_flags"
ENVIRONMENT = {"var": ["environment", "production"]}
"""Where a caller runs, by its context: production where it says nothing."""


class FlagsError(Exception):
    """A file of flags can not be served; the text names each place and the fix."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What a flag switches, and by which variants.

    ``versions`` names the variant of a version of the component; a version that it
    does not know gets the off variant. With `EVERY` for an environment the caller's
    context says in which one it runs.
    """

    place: Place
    off: str
    versions: dict[str, str]

    def variant(self, switched: Switched) -> str:
        """The variant that everybody is to get."""
        if switched.action == Action.REPLACE and switched.target is not None:
            return self.versions.get(switched.target, self.off)
        return self.off


@dataclass(frozen=True, slots=True)
class FlagsFile:
    """A file of flags.

    Attributes
    ----------
    document : dict
        The document as written, without what only we read.
    switches : dict of str to Switch
        What flags switch, by their names.
    services : dict of str to str
        Whose flags are, by their names; a flag that is missing is nobody's.
    is_marked : bool
        Whether the file ends with ``end_of_flags: true``, so that one that was cut off
        can be told.
    """

    document: dict[str, Any]
    switches: dict[str, Switch]
    services: dict[str, str]
    is_marked: bool = False


def read_flags(text: str, source: str) -> FlagsFile:
    """Read a file of flags, YAML or JSON, as strictly as a rule file.

    Raises
    ------
    FlagsError
        With every problem found.
    """
    report = Report(source, text)
    root = compose(text, report)
    if root is None or report.problems:
        raise FlagsError("\n".join(str(one) for one in report.problems))
    document = _plain(root)
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise FlagsError(f"{source}: `flags` is missing: a mapping of flags by name")
    switches, services, problems = {}, {}, []
    is_marked = MARK in document
    if is_marked and (document[MARK] is not True or [*document][-1] != MARK):
        problems.append(f"{MARK}: true, as the last key, or left out")
    document.pop(MARK, None)
    for name, flag in document["flags"].items():
        if not isinstance(flag, dict):
            continue
        if "service" in flag:
            services[name] = flag.pop("service")
            if not isinstance(services[name], str) or not services[name]:
                problems.append(f"flags.{name}.service: must be text")
            if "switches" in flag:
                problems.append(f"flags.{name}.service: `switches` says it already")
        if "switches" in flag:
            told = flag.pop("switches")
            found = _switch(told, flag, f"flags.{name}")
            if isinstance(found, Switch):
                switches[name] = found
                services[name] = found.place.service
            else:
                problems += found
    problems += problems_of(document)
    if problems:
        raise FlagsError("\n".join(f"{source}: {problem}" for problem in problems))
    whole = {"$schema": SCHEMA, **document}
    return FlagsFile(whole, switches, services, is_marked)


def flag_document(file: FlagsFile, switched: Switches) -> dict[str, Any]:
    """The document as it is to be served now.

    Examples
    --------
    >>> file = read_flags('''
    ... flags:
    ...   cart:
    ...     state: ENABLED
    ...     variants: {"on": true, "off": false}
    ...     defaultVariant: "on"
    ...     switches: {service: shop, component: cart, withdrawn: "off"}
    ... ''', "flags.yaml")
    >>> done = Switched("withdraw", None, "rec_a", 1_000)
    >>> found = flag_document(file, {Place("shop", "production", "cart"): done})
    >>> found["flags"]["cart"]["defaultVariant"]
    'off'
    """
    flags = dict(file.document["flags"])
    for name, switch in file.switches.items():
        if switch.place.environment != EVERY:
            done = switched.get(switch.place)
            if done is not None:
                flags[name] = _switched(flags[name], switch.variant(done), done)
            continue
        where = {
            place.environment: done
            for place, done in switched.items()
            if place._replace(environment=EVERY) == switch.place
        }
        if where:
            flags[name] = _switched_where(flags[name], switch, where)
    return {**file.document, "flags": flags}


def part_of(document: dict[str, Any], may: Callable[[str], bool]) -> dict[str, Any]:
    """The document with the flags that somebody may see, by name.

    Shared rules go along as far as one of these flags uses them.
    """
    flags = {name: flag for name, flag in document["flags"].items() if may(name)}
    part = {**document, "flags": flags}
    if "$evaluators" in document:
        shared, used = document["$evaluators"], set[str]()
        waiting = list(_references(flags))
        while waiting:
            name = waiting.pop()
            if name in shared and name not in used:
                used.add(name)
                waiting += _references(shared[name])
        part["$evaluators"] = {k: rule for k, rule in shared.items() if k in used}
    return part


def encoded(document: dict[str, Any]) -> bytes:
    """The same document in the same bytes, whatever the order of its keys."""
    return msgspec.json.encode(document, order="sorted")


def _switched(flag: dict[str, Any], variant: str, done: Switched) -> dict[str, Any]:
    return {
        **flag,
        "state": "ENABLED",
        "defaultVariant": variant,
        "targeting": {},
        "metadata": {**flag.get("metadata", {}), **_told(done)},
    }


def _switched_where(
    flag: dict[str, Any], switch: Switch, where: dict[str, Switched]
) -> dict[str, Any]:
    """Switched for callers of some environments, as its owner wrote it for others."""
    is_on = flag["state"] == "ENABLED"
    parts: list[Any] = []
    metadata = dict(flag.get("metadata", {}))
    for environment, done in sorted(where.items()):
        parts += [{"==": [ENVIRONMENT, environment]}, switch.variant(done)]
        metadata |= _told(done, f".{environment}")
    # No variant gives others what they would have got: the default, if there is one.
    rest = (flag.get("targeting") if is_on else None) or None
    return {
        **flag,
        "state": "ENABLED",
        "defaultVariant": flag.get("defaultVariant") if is_on else None,
        "targeting": {"if": [*parts, rest]},
        "metadata": metadata,
    }


def _told(done: Switched, suffix: str = "") -> dict[str, Any]:
    """Which recommendation did it, where it was not a person, and when."""
    told: dict[str, Any] = {f"hypercare.action{suffix}": done.action}
    if done.recommendation:
        told[f"hypercare.recommendation{suffix}"] = done.recommendation
    return told | {f"hypercare.at_ms{suffix}": done.at_ms}


def _references(part: Any) -> Iterator[str]:
    """Names of shared rules in a rule, at any depth."""
    if isinstance(part, list):
        for one in part:
            yield from _references(one)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)


def _switch(told: Any, flag: dict[str, Any], place: str) -> Switch | list[str]:
    """What a flag switches, or what is wrong with how it says so."""
    at = f"{place}.switches"
    if not isinstance(told, dict):
        return [f"{at}: must be a mapping"]
    problems = [f"{at}.{key}: unknown key" for key in told if key not in SWITCH_KEYS]
    named = {"environment": "production", **told}
    words = [named.get(key) for key in WORDS]
    versions = told.get("versions", {})
    if not isinstance(versions, dict):
        return [*problems, f"{at}.versions: must be a mapping"]
    if not all(isinstance(word, str) and word for word in words):
        problems.append(f"{at}: service, component and withdrawn are text, and needed")
    variants = flag.get("variants")
    known = variants if isinstance(variants, dict) else {}
    for used in (told.get("withdrawn"), *versions.values()):
        if not isinstance(used, str) or used not in known:
            problems.append(f'{at}: no variant is called "{used}"')
    if problems:
        return problems
    service, environment, component, off = (str(word) for word in words)
    return Switch(Place(service, environment, component), off, dict(versions))


def _plain(node: Node) -> Any:
    if isinstance(node, Entries):
        return {key.raw: _plain(value) for key, value in node.entries}
    if isinstance(node, Items):
        return [_plain(item) for item in node.items]
    return node.value if isinstance(node, Scalar) else None
