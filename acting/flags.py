"""The document of feature flags: what its owner wrote, with every withdrawal in force.

A flag says in ``switches`` which component it switches. Once the component is taken out
its flag gives the off variant to everybody, once it is replaced the variant of the last
good version. Targeting is emptied, as a rule that matches would win over the default;
and the flag is enabled, as a disabled one gives the caller's own default: maybe on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from acting.flagrules import SCHEMA, problems_of
from acting.switches import Place, Switched, Switches
from detector.rulefile.errors import Report
from detector.rulefile.yamltree import Entries, Items, Node, Scalar, compose
from detector.verdicts import Action

WORDS = ("service", "environment", "component", "withdrawn")
SWITCH_KEYS = (*WORDS, "versions")


class FlagsError(Exception):
    """A file of flags can not be served; the text names each place and the fix."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What a flag switches, and by which variants.

    ``versions`` names the variant of a version of the component; a version that it
    does not know gets the off variant.
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
    """A file of flags: the document as written, and what its flags switch."""

    document: dict[str, Any]
    switches: dict[str, Switch]


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
    switches, problems = {}, []
    for name, flag in document["flags"].items():
        if isinstance(flag, dict) and "switches" in flag:
            told = flag.pop("switches")
            found = _switch(told, flag, f"flags.{name}")
            if isinstance(found, Switch):
                switches[name] = found
            else:
                problems += found
    problems += problems_of(document)
    if problems:
        raise FlagsError("\n".join(f"{source}: {problem}" for problem in problems))
    return FlagsFile({"$schema": SCHEMA, **document}, switches)


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
        done = switched.get(switch.place)
        if done is not None:
            flags[name] = _switched(flags[name], switch.variant(done), done)
    return {**file.document, "flags": flags}


def encoded(document: dict[str, Any]) -> bytes:
    """The same document in the same bytes, whatever the order of its keys."""
    return msgspec.json.encode(document, order="sorted")


def _switched(flag: dict[str, Any], variant: str, done: Switched) -> dict[str, Any]:
    told = {
        "hypercare.action": done.action,
        "hypercare.recommendation": done.recommendation,
        "hypercare.at_ms": done.at_ms,
    }
    return {
        **flag,
        "state": "ENABLED",
        "defaultVariant": variant,
        "targeting": {},
        "metadata": {**flag.get("metadata", {}), **told},
    }


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
