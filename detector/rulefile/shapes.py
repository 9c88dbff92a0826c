"""Lists, sets, structures and tables: the kinds of value made of other values.

Every part is read before any is refused, so that one look at a file tells all its
problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detector.rulefile.errors import Report, nearest
from detector.rulefile.kinds import (
    INVALID,
    SHOWN_MAX,
    Kind,
    Schema,
    Word,
    is_required,
    join,
    keys_of,
    refuse,
)
from detector.rulefile.yamltree import Entries, Items, Node, Scalar


@dataclass(frozen=True)
class OneOrMany(Kind):
    """A set of words, written as one word or as a list; order means nothing."""

    item: Kind
    most: int
    least: int = 1

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Items):
            value = self.item.read(node, path, report)
            return INVALID if value is INVALID else (value,)
        values = _read_items(self.item, node, path, report, self.least, self.most)
        return INVALID if values is INVALID else tuple(sorted(set(values)))

    def schema(self) -> Schema:
        one = self.item.schema()
        limits = {"minItems": self.least, "maxItems": self.most}
        return {"anyOf": [one, {"type": "array", "items": one} | limits]}

    def words(self) -> str:
        return f"{self.item.words()}, or a list of at most {self.most}"


@dataclass(frozen=True)
class Listing(Kind):
    """A list whose order is kept; ``unique`` names the key that must not repeat."""

    item: Kind
    most: int
    least: int = 0
    unique: str = ""

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Items):
            return refuse(node, path, report, self.words())
        if self.unique:
            refuse_repeats(node, self.unique, path, report)
        return _read_items(self.item, node, path, report, self.least, self.most)

    def schema(self) -> Schema:
        limits = {"minItems": self.least, "maxItems": self.most}
        return {"type": "array", "items": self.item.schema()} | limits

    def words(self) -> str:
        return f"a list of {self.least} to {self.most} entries"


def refuse_repeats(node: Items, name: str, path: str, report: Report) -> None:
    """Report list entries that repeat the value of the key ``name``."""
    first: dict[str, int] = {}
    for item in node.items:
        at = item.get(name) if isinstance(item, Entries) else None
        if not isinstance(at, Scalar):
            continue
        if at.raw in first:
            message = f"{path}: the {name} {at.raw[:SHOWN_MAX]} is taken already"
            report.add(at.place, message, f"it stands in line {first[at.raw]} as well")
        else:
            first[at.raw] = at.place.line


@dataclass(frozen=True)
class Struct(Kind):
    """A mapping with fixed keys, built into a dataclass of the model."""

    model: type[Any]
    check: Callable[[Any, Entries, str, Report], None] | None = None

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Entries):
            return refuse(node, path, report, self.words())
        known = keys_of(self.model)
        self._refuse_unknown(node, known, path, report)
        values: dict[str, Any] = {}
        for name, (one, part) in known.items():
            given = node.get(name)
            if given is not None:
                values[name] = one.kind.read(given, join(path, name), report)
            elif is_required(part):
                hint = f"add {name}: {one.kind.words()}"
                report.add(node.place, f"{path or 'the file'}: {name} is missing", hint)
                values[name] = INVALID
        if any(value is INVALID for value in values.values()):
            return INVALID
        built = self.model(**values)
        if self.check is not None:
            self.check(built, node, path, report)
        return built

    def _refuse_unknown(
        self, node: Entries, known: Mapping[str, object], path: str, report: Report
    ) -> None:
        for at, _ in node.entries:
            if at.raw not in known and not report.full:
                message = f"{join(path, at.raw[:SHOWN_MAX])}: unknown key"
                report.add(at.place, message, nearest(at.raw, list(known)))

    def schema(self) -> Schema:
        known = keys_of(self.model)
        properties: Schema = {}
        for name, (one, _) in known.items():
            properties[name] = one.kind.schema() | {"description": one.means}
        found: Schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
        }
        required = [name for name, (_, part) in known.items() if is_required(part)]
        return found | ({"required": required} if required else {})

    def words(self) -> str:
        return "a mapping with the keys " + ", ".join(keys_of(self.model))


@dataclass(frozen=True)
class Table(Kind):
    """A mapping from names to equal structures, laid over the shipped entries.

    An entry that is not named keeps its shipped value, so that tuning one never
    switches the others off by silence. ``names`` limits the names, if set.
    """

    entry: Struct
    shipped: Mapping[str, Any]
    names: tuple[str, ...] = ()
    most: int = 32

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Entries):
            return refuse(node, path, report, self.words())
        if len(node.entries) > self.most:
            message = f"{path}: more than {self.most} entries"
            report.add(node.place, message, "keep those that matter")
            return INVALID
        found = {
            at.raw: self._entry(at, part, path, report) for at, part in node.entries
        }
        if any(value is INVALID for value in found.values()):
            return INVALID
        return dict(sorted((dict(self.shipped) | found).items()))

    def _entry(self, at: Scalar, part: Node, path: str, report: Report) -> Any:
        if self.names and at.raw not in self.names:
            message = f"{join(path, at.raw[:SHOWN_MAX])}: unknown name"
            report.add(at.place, message, nearest(at.raw, self.names))
            return INVALID
        if Word().read(at, path, report) is INVALID:
            return INVALID
        return self.entry.read(part, join(path, at.raw), report)

    def schema(self) -> Schema:
        one = self.entry.schema()
        if self.names:
            properties = dict.fromkeys(self.names, one)
            closed: Schema = {"type": "object", "additionalProperties": False}
            return closed | {"properties": properties}
        limit = {"maxProperties": self.most}
        return {"type": "object", "additionalProperties": one} | limit

    def words(self) -> str:
        which = ", ".join(self.names) if self.names else "a name of yours"
        return f"a mapping from {which} to the keys below"


def _read_items(
    kind: Kind, node: Items, path: str, report: Report, least: int, most: int
) -> Any:
    if not least <= len(node.items) <= most:
        message = f"{path}: {len(node.items)} entries"
        report.add(node.place, message, f"write {least} to {most} entries")
        return INVALID
    values = [
        kind.read(item, f"{path}[{index}]", report)
        for index, item in enumerate(node.items)
    ]
    return INVALID if any(value is INVALID for value in values) else tuple(values)
