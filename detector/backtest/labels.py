"""Labels: which releases were harmful, and since when, as their owners know it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from detector.events import DEFAULT_ENVIRONMENT
from detector.rulefile.errors import Place, Report, nearest
from detector.rulefile.yamltree import Broken, Entries, Items, Node, Scalar, compose

KEYS = (
    "service", "environment", "release", "component", "harmful", "onset", "note",
)  # fmt: skip
ONSET_MS_LEAST = 1_000_000_000_000
"""Smaller numbers are seconds by mistake."""

Fields = Mapping[str, tuple[Place, Any]]


class Label(Struct, frozen=True):
    """What is true of a release; ``onset_ms`` is None where nobody knows it."""

    service: str
    environment: str
    release: str
    component: str | None
    harmful: bool
    onset_ms: int | None = None
    note: str = ""


class SaidLabel(Struct, frozen=True):
    """What a person called a recommendation: right, wrong or late."""

    service: str
    environment: str
    release: str
    recommendation_id: str
    value: str


def read_labels(text: str, source: str) -> list[Label]:
    """Labels of a file: YAML if its name ends so, else a JSON object a line.

    Raises
    ------
    RuleFileError
        Everything that is wrong with it, with line and fix.
    """
    report = Report(source, text)
    rows = _yaml(text, report) if source.endswith((".yaml", ".yml")) else None
    found: dict[tuple[str | None, ...], tuple[Place, Label]] = {}
    for place, fields in _jsonl(text, report) if rows is None else rows:
        label = _label(place, fields, report)
        if label is None:
            continue
        key = (label.service, label.environment, label.release, label.component)
        if key in found:
            first = found[key][0].line
            message = f"{label.service} {label.release} is labelled in line {first} too"
            report.add(place, message, "keep one of the two")
        found[key] = (place, label)
    if not found:
        hint = 'write one release each: {"service":"shop","release":"2.4.0",...}'
        report.add(report.end, "no label in the file", hint)
    report.raise_if_any()
    return [label for _, label in found.values()]


def said_labels(line: bytes) -> Iterator[SaidLabel]:
    """Labels that ``hypercare label`` and ``wrong`` left in a line of the log."""
    if b'"label"' not in line:
        return
    try:
        whole = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return
    for member in whole if isinstance(whole, list) else [whole]:
        if not isinstance(member, dict) or member.get("kind") != "command":
            continue
        names = ("service", "release", "recommendation_id", "value")
        said = [x for name in names if isinstance(x := member.get(name), str)]
        if member.get("name") == "label" and len(said) == len(names):
            environment = str(member.get("environment") or DEFAULT_ENVIRONMENT)
            yield SaidLabel(said[0], environment, said[1], said[2], said[3])


def labels_of_people(
    said: Iterable[SaidLabel],
    found: Mapping[str, tuple[str | None, int]],
) -> list[Label]:
    """Labels of releases by what people called their recommendations.

    Parameters
    ----------
    said : iterable of SaidLabel
        In their order; the last word about a recommendation counts. A release with one
        that was right or late is harmful, with wrong ones alone it is not.
    found : mapping
        Recommendation id to its component and the start of the harm in epoch
        milliseconds, as far as a rule set gave the same one.
    """
    last = {one.recommendation_id: one for one in said}
    labels: dict[tuple[str | None, ...], Label] = {}
    for name, one in last.items():
        component, onset_ms = found.get(name, (None, -1))
        key = (one.service, one.environment, one.release, component)
        harmful = one.value != "wrong"
        before = labels.get(key)
        if before is not None and before.harmful:
            continue
        onset = onset_ms if harmful and onset_ms >= 0 else None
        labels[key] = Label(
            one.service, one.environment, one.release, component, harmful, onset,
            f"people said {one.value}",
        )  # fmt: skip
    return list(labels.values())


def _jsonl(text: str, report: Report) -> Iterator[tuple[Place, Fields]]:
    for number, line in enumerate(text.split("\n"), 1):
        place = Place(number, 1)
        if not line.strip():
            continue
        try:
            fields = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            report.add(place, f"not JSON: {error}", "write one JSON object a line")
            continue
        if not isinstance(fields, dict):
            report.add(place, "no object", 'write {"service": ..., "release": ...}')
            continue
        yield place, {name: (place, value) for name, value in fields.items()}


def _yaml(text: str, report: Report) -> Iterator[tuple[Place, Fields]]:
    if not text.strip():
        return
    root = compose(text, report)
    if isinstance(root, Items):
        for node in root.items:
            if isinstance(node, Entries):
                entries = node.entries
                yield node.place, {at.raw: _value(at, x) for at, x in entries}
            elif not isinstance(node, Broken):
                hint = "write - service: ..., then its other keys below"
                report.add(node.place, "a label is a mapping", hint)
    elif root is not None:
        hint = "write - service: ... for each release"
        report.add(root.place, "labels are a list", hint)


def _value(at: Scalar, node: Node) -> tuple[Place, Any]:
    if isinstance(node, Scalar):
        return node.place, node.value
    return at.place, node


def _label(place: Place, fields: Fields, report: Report) -> Label | None:
    problems = len(report.problems)
    for name, (at, _) in fields.items():
        if name not in KEYS:
            report.add(at, f"unknown key {name}", nearest(name, KEYS))
    for name in ("service", "release", "harmful"):
        if name not in fields:
            report.add(place, f"{name} is missing", f"add {name}")
    words = {
        name: _text(name, fields, report)
        for name in ("service", "environment", "release", "component", "note")
    }
    harmful = _harmful(fields, report)
    onset_ms = _onset(fields, report)
    if harmful is False and onset_ms is not None:
        message = "onset of a release that is not harmful"
        report.add(fields["onset"][0], message, "leave onset out, or harmful: true")
    if len(report.problems) > problems or harmful is None:
        return None
    return Label(
        words["service"] or "",
        words["environment"] or DEFAULT_ENVIRONMENT,
        words["release"] or "",
        words["component"],
        harmful,
        onset_ms,
        words["note"] or "",
    )


def _text(name: str, fields: Fields, report: Report) -> str | None:
    place, value = fields.get(name, (None, None))
    if place is None or isinstance(value, Broken):
        return None
    needed = name in ("service", "release")
    if (value is None and not needed) or (isinstance(value, str) and value):
        return value
    report.add(place, f"{name} is no text", f'write {name} in quotes: "2.4"')
    return None


def _harmful(fields: Fields, report: Report) -> bool | None:
    place, value = fields.get("harmful", (None, None))
    if place is None or isinstance(value, bool):
        return value
    if not isinstance(value, Broken):
        report.add(place, "harmful is neither true nor false", "write true or false")
    return None


def _onset(fields: Fields, report: Report) -> int | None:
    place, value = fields.get("onset", (None, None))
    if place is None or value is None or isinstance(value, Broken):
        return None
    hint = 'write "2026-11-23T14:05:00Z", or epoch milliseconds'
    if isinstance(value, int) and not isinstance(value, bool):
        if value >= ONSET_MS_LEAST:
            return value
        report.add(place, f"onset {value} is no time in milliseconds", hint)
        return None
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        report.add(place, "onset is no time", hint)
        return None
    if found.tzinfo is None:
        report.add(place, "onset has no time zone", "end it with Z, or +02:00")
        return None
    return round(found.timestamp() * 1000)
