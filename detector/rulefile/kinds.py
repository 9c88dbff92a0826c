"""Which values a key of the rule file takes, and what else is wrong with a value.

One class per kind of value: it reads a part of the tree strictly, reports what does
not fit, and describes itself for the schema and the reference page. A kind never
converts: ``10`` is not ``"10"`` and ``1`` is not ``true``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final

from detector.events import NAME_PATTERN
from detector.rulefile.errors import Report, nearest
from detector.rulefile.yamltree import Broken, Entries, Items, Node, Scalar

Schema = dict[str, Any]

INVALID: Final = object()
"""What a kind gives for a part it could not use; the problem is reported."""

GLOB_PATTERN = r"^[A-Za-z0-9*?][A-Za-z0-9._+/@:*?-]{0,127}$"
RECEIVER_PATTERN = r"^[a-z][a-z0-9-]{0,39}$"
"""Names of the receivers of `hypercare act`, in its file and in rules."""

_HINTS = {
    RECEIVER_PATTERN: "small letters, digits and -, a letter first; at most 40",
}
_WORDS = {GLOB_PATTERN: "a glob over names", RECEIVER_PATTERN: "a receiver's name"}
SHOWN_MAX = 40


class Kind(ABC):
    """One kind of value."""

    @abstractmethod
    def read(self, node: Node, path: str, report: Report) -> Any:
        """Give the value of ``node``, or report why not and give ``INVALID``."""

    @abstractmethod
    def schema(self) -> Schema:
        """Describe the kind as JSON schema (draft 2020-12)."""

    @abstractmethod
    def words(self) -> str:
        """Describe the kind for a person, in a few words."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known about one key beside its type and default.

    ``tune`` says which way the value moves detection delay and false alarms. A key
    that is ``quiet`` is left out of the canonical form while it has its default, so
    that the hash of rules that do not use it stays what it was before the key came.
    """

    kind: Kind
    means: str
    tune: str
    unit: str
    quiet: bool = False


def key(
    kind: Kind,
    means: str,
    *,
    default: Any = MISSING,
    tune: str = "",
    unit: str = "",
    quiet: bool = False,
) -> Any:
    """Declare a field of the model: kind, default and documentation in one place."""
    metadata = {"key": Key(kind, means, tune, unit, quiet)}
    if isinstance(default, dict):
        copy = default.copy
        return field(default_factory=copy, metadata=metadata, hash=False)
    return field(default=default, metadata=metadata)


def keys_of(model: type[Any]) -> dict[str, tuple[Key, Field[Any]]]:
    """List the keys of one structure of the model, in the order of its fields."""
    found = ((part.metadata.get("key"), part) for part in fields(model))
    return {part.name: (known, part) for known, part in found if known is not None}


def is_required(part: Field[Any]) -> bool:
    """Whether a key has no default."""
    return part.default is MISSING and part.default_factory is MISSING


@dataclass(frozen=True)
class Flag(Kind):
    """True or false."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        return refuse(node, path, report, "true or false")

    def schema(self) -> Schema:
        return {"type": "boolean"}

    def words(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number from ``low`` to ``high``, a divisor of ``divides`` if set."""

    low: int
    high: int
    divides: int | None = None

    def read(self, node: Node, path: str, report: Report) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, int) or isinstance(value, bool):
            return refuse(node, path, report, self.words())
        if not self.low <= value <= self.high:
            message = f"{path}: {_raw(node)} is not {self.words()}"
            report.add(node.place, message, f"write {self.words()}")
            return INVALID
        if self.divides is not None and self.divides % value:
            message = f"{path}: {value} does not divide {self.divides}"
            report.add(node.place, message, self._nearest_divisors(value))
            return INVALID
        return value

    def _nearest_divisors(self, value: int) -> str:
        whole = self.divides or 1
        divisors = [n for n in range(self.low, self.high + 1) if whole % n == 0]
        close = sorted(sorted(divisors, key=lambda n: abs(n - value))[:4])
        return f"near it: {', '.join(map(str, close))}"

    def schema(self) -> Schema:
        limits: Schema = {"type": "integer", "minimum": self.low, "maximum": self.high}
        if self.divides is not None:
            whole = self.divides
            divisors = [n for n in range(self.low, self.high + 1) if whole % n == 0]
            return {"type": "integer", "enum": divisors}
        return limits

    def words(self) -> str:
        if self.low == self.high:
            return f"{self.low}"
        ending = f" that divides {self.divides}" if self.divides else ""
        return f"a whole number from {self.low} to {self.high}{ending}"


@dataclass(frozen=True)
class Number(Kind):
    """A number from ``low`` to ``high``."""

    low: float
    high: float

    def read(self, node: Node, path: str, report: Report) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            return refuse(node, path, report, self.words())
        if math.isnan(value) or not self.low <= value <= self.high:
            message = f"{path}: {_raw(node)} is not {self.words()}"
            report.add(node.place, message, f"write {self.words()}")
            return INVALID
        # Adding zero turns -0.0 into 0.0: equal rules must have equal hashes.
        return float(value) + 0.0

    def schema(self) -> Schema:
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    def words(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Text(Kind):
    """Text for people, at most ``longest`` characters."""

    longest: int

    def read(self, node: Node, path: str, report: Report) -> Any:
        value = _text(node, path, report)
        if value is INVALID:
            return INVALID
        if len(value) > self.longest:
            message = f"{path}: longer than {self.longest} characters"
            report.add(node.place, message, "shorten it")
            return INVALID
        if not all(c.isprintable() or c == "\n" for c in value):
            message = f"{path}: holds an invisible character"
            report.add(node.place, message, "remove it, line breaks are fine")
            return INVALID
        return value

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": self.longest}

    def words(self) -> str:
        return f"text of at most {self.longest} characters"


@dataclass(frozen=True)
class Word(Kind):
    """A name, or a glob over names, as the envelope allows them, or a receiver."""

    pattern: str = NAME_PATTERN

    def read(self, node: Node, path: str, report: Report) -> Any:
        value = _text(node, path, report)
        if value is INVALID or re.fullmatch(self.pattern, value):
            return value
        message = f"{path}: {value[:SHOWN_MAX]!r} is not {self.words()}"
        hint = "letters, digits and . _ + / @ : - ; at most 128, no spaces"
        report.add(node.place, message, _HINTS.get(self.pattern, hint))
        return INVALID

    def schema(self) -> Schema:
        return {"type": "string", "pattern": self.pattern}

    def words(self) -> str:
        return _WORDS.get(self.pattern, "a name")


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    options: tuple[str, ...]

    def read(self, node: Node, path: str, report: Report) -> Any:
        value = _text(node, path, report)
        if value is INVALID or value in self.options:
            return value
        message = f"{path}: {value[:SHOWN_MAX]!r} is not one of the valid words"
        report.add(node.place, message, nearest(value, self.options))
        return INVALID

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.options)}

    def words(self) -> str:
        return "one of " + ", ".join(self.options)


def _text(node: Node, path: str, report: Report) -> Any:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value
    if isinstance(node, Scalar) and node.value is not None:
        message = f"{path}: {node.raw[:SHOWN_MAX]} is not text without quotes"
        report.add(node.place, message, f'quote it: "{node.raw[:SHOWN_MAX]}"')
        return INVALID
    return refuse(node, path, report, "text")


def refuse(node: Node, path: str, report: Report, wanted: str) -> Any:
    """Report that ``node`` is not a ``wanted``; give ``INVALID``."""
    if not isinstance(node, Broken):
        path = path or "the file"
        message = f"{path}: {_found(node)} where {wanted} belongs"
        remove = ", or remove the key" if _is_nothing(node) else ""
        report.add(node.place, message, f"write {wanted}{remove}")
    return INVALID


def _raw(node: Node) -> str:
    return node.raw[:SHOWN_MAX] if isinstance(node, Scalar) else ""


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _found(node: Node) -> str:
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Entries):
        return "a mapping"
    if _is_nothing(node):
        return "nothing"
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return f"the text {node.value[:SHOWN_MAX]!r}"
    return _raw(node)


def join(path: str, name: str) -> str:
    """Append a key to the path of the mapping that holds it."""
    return f"{path}.{name}" if path else name
