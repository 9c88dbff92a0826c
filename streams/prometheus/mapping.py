"""The mapping file: which counters are requests and failures, which labels say whose.

Plain selectors only: differences, resets and gaps are ours to handle, and a function
around a counter would hide them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Literal, cast

from msgspec import Struct

from detector.events import DEFAULT_ENVIRONMENT, NAME_PATTERN
from detector.rulefile.errors import Place, Report, nearest
from detector.rulefile.yamltree import Broken, Entries, Items, Node, Scalar, compose

Unit = Literal["request", "session"]
Outcome = Literal["server_error", "timeout"]
UNITS = ("request", "session")
OUTCOMES = ("server_error", "timeout")
TOP = ("version", "sources", "deploys")
NAMED = ("service", "environment", "release")
SOURCE = ("requests", "failures", "unit", "outcome", *NAMED, "component", "attrs")
DEPLOYS = ("info", *NAMED)
PART = ("label", "const", "info", "by")
SOURCES_MAX = 100
ATTRS_MAX = 16
PART_HINT = "write {label: NAME}, {const: VALUE}, or both: the label, else the value"
SELECTOR_HINT = 'write a plain selector as in http_requests_total{job="shop"}'

_STRING = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)"""
_IS = rf"\s*(?:=~|!~|!=|=)\s*{_STRING}"
_ITEM = rf"(?:[A-Za-z_]\w*{_IS}|{_STRING}(?:{_IS})?)"
_BRACES = rf"\{{\s*(?:{_ITEM}\s*(?:,\s*{_ITEM}\s*)*,?)?\s*\}}"
SELECTOR = re.compile(rf"(?:[A-Za-z_:][\w:]*\s*(?:{_BRACES})?|{_BRACES})", re.ASCII)
LABEL = re.compile(r"[^\s{}\"',=]{1,128}")
NAME = re.compile(NAME_PATTERN)


class Part(Struct, frozen=True):
    """Where a word comes from: a label, else a constant.

    With ``info`` the label is that of an info metric, found by the labels ``by`` that
    it shares with the counter.
    """

    label: str | None = None
    const: str | None = None
    info: str | None = None
    by: tuple[str, ...] = ()


class Deploys(Struct, frozen=True):
    """An info metric whose new release is a deploy."""

    info: str
    service: Part
    environment: Part
    release: Part

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part."""
        return (self.service, self.environment, self.release)


class Source(Struct, frozen=True):
    """Counters of requests and of those that failed, and whose they are."""

    requests: str
    failures: str
    service: Part
    environment: Part
    release: Part
    component: Part | None = None
    attrs: tuple[tuple[str, Part], ...] = ()
    unit: Unit = "request"
    outcome: Outcome = "server_error"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part."""
        own = (self.service, self.environment, self.release)
        component = (self.component,) if self.component is not None else ()
        return (*own, *component, *(part for _, part in self.attrs))


class MetricMap(Struct, frozen=True):
    """What a mapping file says."""

    sources: tuple[Source, ...]
    deploys: tuple[Deploys, ...] = ()

    @property
    def infos(self) -> dict[str, tuple[Part, ...]]:
        """Info metrics that are looked up, each with the parts that do."""
        found: dict[str, tuple[Part, ...]] = {}
        named = [one.parts for one in self.sources]
        named += [one.parts for one in self.deploys]
        for part in itertools.chain(*named):
            if part.info is not None and part not in found.get(part.info, ()):
                found[part.info] = (*found.get(part.info, ()), part)
        return found


def read_mapping(text: str, source: str) -> MetricMap:
    """A mapping from the text of its file.

    Raises
    ------
    RuleFileError
        Everything that is wrong with it, with line, key and fix.
    """
    report = Report(source, text)
    hint = "write version: 1 and sources as in docs/import-prometheus.md"
    if not text.strip():
        report.add(Place(1, 1), "the file is empty", hint)
        report.raise_if_any()
    root = compose(text, report)
    if root is not None and not isinstance(root, Entries):
        report.add(root.place, "a mapping file is a mapping of keys", hint)
    report.raise_if_any()
    assert isinstance(root, Entries)
    found = _Reading(report).whole(root)
    report.raise_if_any()
    return found


class _Reading:
    """Reads parts of the tree; what is wrong goes to the report."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def whole(self, root: Entries) -> MetricMap:
        keys = self._keys(root, "", TOP, ("version", "sources"))
        version = keys.get("version")
        if isinstance(version, Scalar) and version.value != 1:
            self._report.add(version.place, "version: unknown", "write version: 1")
        sources = tuple(
            self._source(node, f"sources[{number}]")
            for number, node in self._list(keys.get("sources"), "sources")
        )
        deploys = tuple(
            self._deploys(node, f"deploys[{number}]")
            for number, node in self._list(keys.get("deploys"), "deploys")
        )
        return MetricMap(sources, deploys)

    def _source(self, node: Entries, path: str) -> Source:
        needed = ("requests", "failures", "service", "release")
        keys = self._keys(node, path, SOURCE, needed)
        named = self._named(keys, path)
        component = keys.get("component")
        return Source(
            self._selector(keys.get("requests"), f"{path}.requests"),
            self._selector(keys.get("failures"), f"{path}.failures"),
            *named,
            None if component is None else self._part(component, f"{path}.component"),
            self._attrs(keys.get("attrs"), f"{path}.attrs"),
            cast(Unit, self._word(keys.get("unit"), f"{path}.unit", UNITS)),
            cast(Outcome, self._word(keys.get("outcome"), f"{path}.outcome", OUTCOMES)),
        )

    def _deploys(self, node: Entries, path: str) -> Deploys:
        keys = self._keys(node, path, DEPLOYS, ("info", "service", "release"))
        info = self._selector(keys.get("info"), f"{path}.info")
        return Deploys(info, *self._named(keys, path))

    def _named(self, keys: Mapping[str, Node], path: str) -> tuple[Part, Part, Part]:
        environment = keys.get("environment")
        return (
            self._part(keys.get("service"), f"{path}.service"),
            Part(const=DEFAULT_ENVIRONMENT)
            if environment is None
            else self._part(environment, f"{path}.environment"),
            self._part(keys.get("release"), f"{path}.release"),
        )

    def _keys(
        self, node: Entries, path: str, known: tuple[str, ...], needed: tuple[str, ...]
    ) -> dict[str, Node]:
        lead = f"{path}." if path else ""
        found = {key.raw: value for key, value in node.entries}
        for key, _ in node.entries:
            if key.raw not in known:
                hint = nearest(key.raw, known)
                self._report.add(key.place, f"{lead}{key.raw}: unknown key", hint)
        for name in needed:
            if name not in found:
                self._report.add(node.place, f"{lead}{name} is missing", f"add {name}")
        return found

    def _list(self, node: Node | None, path: str) -> Iterator[tuple[int, Entries]]:
        if node is None or isinstance(node, Broken):
            return
        items = node.items if isinstance(node, Items) else ()
        if not 1 <= len(items) <= SOURCES_MAX:
            hint = f"write a list of 1 to {SOURCES_MAX} mappings, each with a dash"
            self._report.add(node.place, f"{path}: no list, or of no fit length", hint)
        for number, item in enumerate(items):
            if isinstance(item, Entries):
                yield number, item
            elif not isinstance(item, Broken):
                message = f"{path}[{number}]: no mapping"
                self._report.add(item.place, message, "write key: value below the dash")

    def _text(self, node: Node | None, path: str, hint: str) -> str:
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
            return node.value
        if node is not None and not isinstance(node, Broken):
            self._report.add(node.place, f"{path}: no text", hint)
        return ""

    def _selector(self, node: Node | None, path: str) -> str:
        text = self._text(node, path, SELECTOR_HINT).strip()
        if text and node is not None and not SELECTOR.fullmatch(text):
            hint = f"{SELECTOR_HINT}: no function, range or offset around it"
            self._report.add(node.place, f"{path}: no plain selector", hint)
        return text

    def _word(self, node: Node | None, path: str, words: tuple[str, ...]) -> str:
        if node is None:
            return words[0]
        text = self._text(node, path, f"valid: {', '.join(words)}")
        if text and text not in words:
            hint = nearest(text, words)
            self._report.add(node.place, f"{path}: unknown word {text}", hint)
        return text

    def _attrs(self, node: Node | None, path: str) -> tuple[tuple[str, Part], ...]:
        if node is None or isinstance(node, Broken):
            return ()
        if not isinstance(node, Entries) or len(node.entries) > ATTRS_MAX:
            hint = f"write up to {ATTRS_MAX} of region: {{label: region}}"
            self._report.add(node.place, f"{path}: no mapping, or too long", hint)
            return ()
        for key, _ in node.entries:
            if not NAME.fullmatch(key.raw):
                hint = "begin with a letter or digit, no blanks"
                self._report.add(key.place, f"{path}.{key.raw}: no name", hint)
        return tuple(
            (key.raw, self._part(value, f"{path}.{key.raw}"))
            for key, value in node.entries
        )

    def _part(self, node: Node | None, path: str) -> Part:
        if not isinstance(node, Entries):
            if node is not None and not isinstance(node, Broken):
                self._report.add(node.place, f"{path}: no mapping", PART_HINT)
            return Part()
        keys = self._keys(node, path, PART, ())
        if "label" not in keys and "const" not in keys:
            self._report.add(node.place, f"{path}: neither label nor const", PART_HINT)
        joined = {"info", "by"} & keys.keys()
        if joined and not {"label", "info", "by"} <= keys.keys():
            hint = "write {label: version, info: build_info, by: [job, instance]}"
            message = f"{path}: label, info and by go together"
            self._report.add(node.place, message, hint)
        label, const, info = keys.get("label"), keys.get("const"), keys.get("info")
        return Part(
            None if label is None else self._label(label, f"{path}.label"),
            None if const is None else self._const(const, path),
            None if info is None else self._selector(info, f"{path}.info"),
            self._by(keys.get("by"), f"{path}.by"),
        )

    def _label(self, node: Node, path: str) -> str:
        text = self._text(node, path, "write the name of a label")
        if text and not LABEL.fullmatch(text):
            hint = "write the name of a label, as job"
            self._report.add(node.place, f"{path}: no label", hint)
        return text

    def _const(self, node: Node, path: str) -> str:
        text = self._text(node, f"{path}.const", 'quote it if it is a number: "2.4"')
        if text and not NAME.fullmatch(text):
            hint = "1 to 128 letters, digits or . _ + / @ : -, a letter or digit first"
            self._report.add(node.place, f"{path}.const: no name", hint)
        return text

    def _by(self, node: Node | None, path: str) -> tuple[str, ...]:
        if node is None or isinstance(node, Broken):
            return ()
        if not isinstance(node, Items) or not node.items:
            self._report.add(node.place, f"{path}: no list", "write [job, instance]")
            return ()
        return tuple(
            self._label(one, f"{path}[{number}]")
            for number, one in enumerate(node.items)
        )
