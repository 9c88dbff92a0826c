"""Mappings with known keys, and values that only receivers have: URLs, networks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from yarl import URL

from detector.rulefile.errors import Report, nearest
from detector.rulefile.kinds import INVALID, Kind, Schema, Text, join, refuse
from detector.rulefile.yamltree import Entries, Node
from streams.actuators.template import Form, Template, TemplateKind
from streams.outgoing import NEVER, SCHEMES

REQUIRED: Final = object()
"""In place of a default: the key must be there."""

ANYTHING = {"type": "object"}


class Spec(NamedTuple):
    """What a key may hold, and what counts where it is not there."""

    kind: Kind
    default: object = REQUIRED


class Keys(Kind):
    """A mapping with known keys; gives a dict.

    Parameters
    ----------
    specs : mapping of str to Spec
        The keys.
    """

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._specs = specs

    def read(self, node: Node, path: str, report: Report) -> Any:
        """All values, or `INVALID` with every problem reported."""
        if not isinstance(node, Entries):
            return refuse(node, path, report, self.words())
        for at, _ in node.entries:
            if at.raw not in self._specs and not report.full:
                message = f"{join(path, at.raw[:40])}: unknown key"
                report.add(at.place, message, nearest(at.raw, list(self._specs)))
        found: dict[str, Any] = {}
        for name, spec in self._specs.items():
            given = node.get(name)
            if given is not None:
                found[name] = spec.kind.read(given, join(path, name), report)
            elif spec.default is REQUIRED:
                message = f"{path or 'the file'}: {name} is missing"
                report.add(node.place, message, f"add {name}: {spec.kind.words()}")
                found[name] = INVALID
            else:
                found[name] = spec.default
        return INVALID if any(v is INVALID for v in found.values()) else found

    def schema(self) -> Schema:
        """A mapping."""
        return dict(ANYTHING)

    def words(self) -> str:
        """What to write."""
        return "a mapping"


class Table(Kind):
    """A mapping whose keys are the user's own words.

    Parameters
    ----------
    pattern : str
        What a key looks like.
    value : callable
        Kind of the value under a key.
    """

    def __init__(self, pattern: str, value: Callable[[str], Kind]) -> None:
        self._pattern, self._value = re.compile(pattern), value

    def read(self, node: Node, path: str, report: Report) -> Any:
        """All values by key, or `INVALID` with every problem reported."""
        if not isinstance(node, Entries):
            return refuse(node, path, report, self.words())
        found = {}
        for at, value in node.entries:
            if not self._pattern.fullmatch(at.raw):
                message = f"{path}: {at.raw[:40]!r} is no name that fits here"
                report.add(
                    at.place, message, f"it has to match {self._pattern.pattern}"
                )
            kind = self._value(at.raw)
            found[at.raw] = kind.read(value, join(path, at.raw), report)
        return INVALID if any(v is INVALID for v in found.values()) else found

    def schema(self) -> Schema:
        """A mapping."""
        return dict(ANYTHING)

    def words(self) -> str:
        """What to write."""
        return "a mapping"


class Address(TemplateKind):
    """An absolute URL; places may stand behind its host only.

    Parameters
    ----------
    names : collection of str
        What may stand in a place.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        super().__init__(Form.URL, names, longest=2_048)

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The URL as a template, or `INVALID` with the reason reported."""
        found = super().read(node, path, report)
        if found is INVALID:
            return INVALID
        problem = _url_problem(found)
        if problem is not None:
            report.add(node.place, f"{path}: {problem}", f"write {self.words()}")
            return INVALID
        return found

    def words(self) -> str:
        """What to write."""
        return "https://host/path (http for networks in `allow` only)"


def _url_problem(found: Template) -> str | None:
    scheme, _, rest = found.text.partition("://")
    if scheme not in SCHEMES:
        return "neither https:// nor http://"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "{{" in host:
        return "a place in the host: events must not choose where it goes"
    try:
        url = URL(found.fill(dict.fromkeys(found.places, "x")), encoded=True)
        known = url.host, url.port
    except ValueError as error:
        return f"no URL ({error})"
    if not known[0]:
        return "no host"
    if url.user is not None or url.password is not None:
        return "a user in the URL: secrets come from files or variables"
    return "a # has no meaning here" if url.fragment else None


class Networks(Kind):
    """Networks in CIDR notation."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The network, or `INVALID` with the reason reported."""
        text = Text(64).read(node, path, report)
        if text is INVALID:
            return INVALID
        try:
            found = ipaddress.ip_network(text)
        except ValueError as error:
            report.add(node.place, f"{path}: {error}", "write it as 10.1.0.0/16")
            return INVALID
        for one in NEVER:
            if one.version == found.version and found.supernet_of(one):  # type: ignore[arg-type]
                hint = "name the receiver's own network"
                report.add(node.place, f"{path}: {found} holds {one}", hint)
                return INVALID
        return found

    def schema(self) -> Schema:
        """Text."""
        return {"type": "string"}

    def words(self) -> str:
        """What to write."""
        return "a network such as 10.1.0.0/16"


class FileName(Kind):
    """A file that is there."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        """Its path, or `INVALID` with the reason reported."""
        text = Text(1_024).read(node, path, report)
        if text is INVALID:
            return INVALID
        if not Path(text).is_file():
            report.add(node.place, f"{path}: there is no such file", "give its path")
            return INVALID
        return Path(text)

    def schema(self) -> Schema:
        """Text."""
        return {"type": "string"}

    def words(self) -> str:
        """What to write."""
        return "the path of a file"
