"""What a rule file says, as a tree in which every part knows its place.

Only PyYAML's scanner and parser are used (its pure Python ones: the same text must
give the same rule set on every installation). No object is ever constructed from a
tag, and aliases, anchors, merge keys, directives and second documents are refused:
each of them makes a file mean something else than it seems to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from yaml import events
from yaml.error import Mark, MarkedYAMLError
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from detector.rulefile.errors import LINE_BREAK, Place, Report
from detector.rulefile.scalars import Disputed, JsonScalar, resolve

TEXT_MAX_BYTES = 1_048_576
DEPTH_MAX = 32


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; ``raw`` is what was written, ``quoted`` how."""

    place: Place
    value: JsonScalar
    raw: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Items:
    """A list of parts."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping; keys are text and differ from each other."""

    place: Place
    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        """Find the part under ``key``."""
        return next((node for at, node in self.entries if at.raw == key), None)


@dataclass(frozen=True, slots=True)
class Broken:
    """A part whose problem is reported already: readers pass over it in silence."""

    place: Place


Node = Scalar | Items | Entries | Broken


class _Abandon(Exception):
    """The text can not be read any further; the problem is in the report."""


class _EventReader(Reader, Scanner, Parser):
    """PyYAML up to its events, without the parts that construct objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


def compose(text: str, report: Report) -> Node | None:
    """Read one YAML document into a tree; None if it can not be read to its end.

    All problems go to ``report``. A returned tree may still have ``Broken`` parts.
    """
    if len(text.encode(errors="replace")) > TEXT_MAX_BYTES:
        hint = "split the rule set, or shorten its comments"
        report.add(Place(1, 1), f"the file is larger than {TEXT_MAX_BYTES} bytes", hint)
        return None
    try:
        return _Composer(text, report).document()
    except _Abandon:
        return None


class _Composer:
    def __init__(self, text: str, report: Report) -> None:
        self._text = text
        self._report = report
        try:
            self._reader: Any = _EventReader(text)
        except ReaderError as error:
            at = _place_of_index(text, error.position)
            hint = "remove the invisible character, or write it as an escape in quotes"
            message = f"the character U+{ord(text[error.position]):04X} is not allowed"
            report.add(at, message, hint)
            raise _Abandon from error

    def document(self) -> Node | None:
        self._next()
        start = self._next()
        if isinstance(start, events.StreamEndEvent):
            hint = "write version, rules and end_of_rules as in rules/README.md"
            self._report.add(Place(1, 1), "the file is empty", hint)
            return None
        if start.version or start.tags:
            message = "directives (lines that begin with %) are not allowed"
            self._report.add(_place(start), message, "remove the line")
        root = self._node(self._next(), depth=1)
        self._next()
        after = self._next()
        if not isinstance(after, events.StreamEndEvent):
            message = "a second document begins here"
            self._report.add(_place(after), message, "one file holds one rule set")
            return None
        return root

    def _next(self) -> Any:
        """Give the next event; whatever breaks the parser becomes one problem."""
        try:
            return self._reader.get_event()
        except MarkedYAMLError as error:
            self._syntax(error)
            raise _Abandon from error
        except (ValueError, OverflowError, IndexError, AssertionError) as error:
            # PyYAML lets these through for escapes beyond Unicode and for
            # directives with endless version numbers.
            at = _mark_place(self._reader.get_mark())
            self._report.add(at, "not valid YAML near here", "check escapes and quotes")
            raise _Abandon from error

    def _node(self, event: Any, *, depth: int) -> Node:
        place = _place(event)
        if depth > DEPTH_MAX:
            hint = "a rule needs four levels; look for brackets that are not closed"
            self._report.add(place, f"nested deeper than {DEPTH_MAX} levels", hint)
            raise _Abandon
        if isinstance(event, events.AliasEvent):
            message = "aliases are not allowed; text that begins with * needs quotes"
            hint = f'quote it: "*{event.anchor}"'
            self._report.add(place, message, hint)
            return Broken(place)
        refused = self._refuse_marks(event, place)
        if isinstance(event, events.SequenceStartEvent):
            node: Node = self._items(place, depth=depth)
        elif isinstance(event, events.MappingStartEvent):
            node = self._entries(place, depth=depth)
        else:
            node = Broken(place) if refused else self._scalar(event, place)
        return Broken(place) if refused else node

    def _refuse_marks(self, event: Any, place: Place) -> bool:
        if event.anchor is not None:
            hint = "write the value out where it is needed"
            self._report.add(place, f"anchors (&{event.anchor}) are not allowed", hint)
        if event.tag is not None:
            hint = "remove the tag; quote the value if it is text"
            self._report.add(place, f"tags ({event.tag}) are not allowed", hint)
        return event.anchor is not None or event.tag is not None

    def _scalar(self, event: Any, place: Place) -> Node:
        text: str = event.value
        if event.style is not None:
            return Scalar(place, text, text, quoted=True)
        value = resolve(text)
        if isinstance(value, Disputed):
            self._report.add(place, value.message, value.hint)
            return Broken(place)
        return Scalar(place, value, text, quoted=False)

    def _items(self, place: Place, *, depth: int) -> Items:
        found: list[Node] = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            found.append(self._node(event, depth=depth + 1))
        return Items(place, tuple(found))

    def _entries(self, place: Place, *, depth: int) -> Entries:
        found: dict[str, tuple[Scalar, Node]] = {}
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._node(event, depth=depth + 1)
            value = self._node(self._next(), depth=depth + 1)
            if self._usable(key, found) and isinstance(key, Scalar):
                found[key.raw] = (key, value)
        return Entries(place, tuple(found.values()))

    def _usable(self, key: Node, found: dict[str, tuple[Scalar, Node]]) -> bool:
        if isinstance(key, Broken):
            return False
        if not isinstance(key, Scalar) or not isinstance(key.value, str):
            hint = "quote it if it is text"
            self._report.add(key.place, "a key must be a word", hint)
            return False
        if key.raw in found:
            first = found[key.raw][0].place.line
            message = f"{_shown(key.raw)} appears twice, lines {first} and "
            hint = "keep one of the two; YAML readers disagree on which one counts"
            self._report.add(key.place, f"{message}{key.place.line}", hint)
            return False
        return True

    def _syntax(self, error: MarkedYAMLError) -> None:
        problem = error.problem or "unreadable"
        mark = error.problem_mark or error.context_mark
        # An open quote is found missing at the end; its author wants its beginning.
        if error.context_mark and _BLAMES_BEGINNING.search(
            f"{error.context} {problem}"
        ):
            mark = error.context_mark
        message = f"not valid YAML: {problem}"
        if error.context:
            since = error.context_mark
            where = f" that begins in line {since.line + 1}" if since else ""
            message += f" ({error.context}{where})"
        at = _mark_place(mark) if mark else Place(1, 1)
        self._report.add(at, message, _syntax_hint(f"{error.context} {problem}"))


_BLAMES_BEGINNING = re.compile(r"scanning an alias|unexpected end of stream")
_SYNTAX_HINTS = (
    (r"'\\t'", "indent with spaces; YAML allows no tabs there"),
    (r"cannot start any token", "quote text that begins with a special character"),
    (r"alias", 'text that begins with * needs quotes: "*"'),
    (r"mapping values are not allowed", "quote text that holds ': ', or indent evenly"),
    (r"expected ',' or", "add the missing comma, or quote what holds * ? : or #"),
    (r"expected <block end>", "indent this line like its neighbours above"),
    (r"could not find expected ':'", "write key: value; or the file is cut off here"),
    (r"end of stream|<stream end>", "something is not closed, or the file is cut off"),
)


def _syntax_hint(said: str) -> str:
    hints = (hint for part, hint in _SYNTAX_HINTS if re.search(part, said))
    return next(hints, "compare with the example in rules/README.md")


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    same_line = start.line == end.line and end.column > start.column
    width = end.column - start.column if same_line else 1
    return Place(start.line + 1, start.column + 1, width)


def _mark_place(mark: Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place_of_index(text: str, index: int) -> Place:
    before = LINE_BREAK.split(text[:index])
    return Place(len(before), len(before[-1]) + 1)


def _shown(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:40]}..."


def from_plain(value: object, *, depth: int = 1) -> Node:
    """Make the same tree from decoded JSON, which has no places.

    Raises
    ------
    ValueError
        If it is nested deeper than a rule file may be.
    """
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} levels")
    place = Place(1, 1)
    if isinstance(value, dict):
        pairs = (
            (Scalar(place, key, key, quoted=True), from_plain(part, depth=depth + 1))
            for key, part in value.items()
        )
        return Entries(place, tuple(pairs))
    if isinstance(value, list):
        return Items(place, tuple(from_plain(part, depth=depth + 1) for part in value))
    if value is None or isinstance(value, str | int | float | bool):
        return Scalar(place, value, str(value), quoted=isinstance(value, str))
    raise ValueError(f"not a JSON value: {type(value).__name__}")
