"""The file of receivers: strict YAML in, receivers or every problem with its place out.

The tree, the kinds of values and the form of errors are those of rule files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detector.rulefile import RuleFileError
from detector.rulefile.errors import Report, nearest
from detector.rulefile.kinds import (
    GLOB_PATTERN,
    INVALID,
    RECEIVER_PATTERN,
    Choice,
    Flag,
    Integer,
    Kind,
    Number,
    Schema,
    Text,
    Word,
    refuse,
)
from detector.rulefile.shapes import Listing, OneOrMany, refuse_repeats
from detector.rulefile.yamltree import Entries, Items, Node, Scalar, compose
from detector.verdicts import Action
from streams.actuators.keys import REQUIRED, FileName, Keys, Networks, Spec, Table
from streams.actuators.receiver import EVERYTHING, Context, Receiver
from streams.actuators.table import KINDS
from streams.actuators.template import TOLD

PLACE_NAME = r"[a-z][a-z0-9_]{0,31}"
RECEIVERS_MAX = 100
LEASE_MARGIN_S = 15
"""What a lease has beyond the request, to say how it ended."""


def load(text: str, *, source: str, environment: Mapping[str, str]) -> list[Receiver]:
    """Read a file of receivers.

    Parameters
    ----------
    text : str
        The file.
    source : str
        Its name, for messages only.
    environment : mapping
        Variables that secrets may come from.

    Raises
    ------
    RuleFileError
        With every problem found, each with its place and the fix.
    """
    report = Report(source, text)
    root = compose(text, report)
    if root is None:
        raise RuleFileError(report.problems)
    found = Keys(
        {
            "version": Spec(Integer(1, 1)),
            "receivers": Spec(Listing(_Receiver(environment), RECEIVERS_MAX)),
            "end_of_receivers": Spec(Flag()),
        }
    ).read(root, "", report)
    listed = root.get("receivers") if isinstance(root, Entries) else None
    if isinstance(listed, Items):
        refuse_repeats(listed, "name", "receivers", report)
    if found is not INVALID and not found["end_of_receivers"]:
        hint = "end the file with end_of_receivers: true, or it may be cut off"
        report.add(report.end, "end_of_receivers is not true", hint)
    report.raise_if_any()
    receivers: list[Receiver] = found["receivers"]
    return receivers


class _Receiver(Kind):
    """One receiver: what all have, and the block that is named as its kind."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The receiver, or `INVALID` with every problem reported."""
        if not isinstance(node, Entries):
            return refuse(node, path, report, self.words())
        named = node.get("kind")
        kind = named.raw if isinstance(named, Scalar) else "nothing"
        common = _common()
        if kind not in KINDS:
            return Keys(common).read(node, path, report)
        tables = node.get("tables")
        names = [at.raw for at, _ in _entries(tables)]
        context = Context(self._environment, tuple(names))
        specs = KINDS[kind].keys(context)
        if specs:
            least = all(spec.default is not REQUIRED for spec in specs.values())
            common[kind] = Spec(Keys(specs), {}) if least else Spec(Keys(specs))
        values = Keys(common).read(node, path, report)
        if values is INVALID:
            return INVALID
        plan = values.pop(kind, {})
        made = Receiver(**values, plan=plan)
        _check(made, node, path, report)
        return made

    def schema(self) -> Schema:
        """A mapping."""
        return {"type": "object"}

    def words(self) -> str:
        """What to write."""
        return "a receiver: a mapping with name and kind"


def _entries(node: Node | None) -> tuple[tuple[Scalar, Node], ...]:
    return node.entries if isinstance(node, Entries) else ()


def _common() -> dict[str, Spec]:
    globs = OneOrMany(Word(GLOB_PATTERN), 100)
    words = tuple(one.value for one in Action)
    return {
        "name": Spec(Word(RECEIVER_PATTERN)),
        "kind": Spec(Choice(tuple(KINDS)), "nothing"),
        "services": Spec(globs, EVERYTHING),
        "environments": Spec(globs, EVERYTHING),
        "actions": Spec(OneOrMany(Choice(words), len(words)), EVERYTHING),
        "allow": Spec(Listing(Networks(), 32), ()),
        "ca_file": Spec(FileName(), None),
        "timeout_s": Spec(Number(1, 60), 15.0),
        "lease_s": Spec(Integer(30, 3_600), 120),
        "tables": Spec(Table(PLACE_NAME, lambda _: Table(r".{1,256}", _value)), {}),
    }


def _value(_: str) -> Kind:
    return Text(1_024)


def _check(made: Receiver, node: Entries, path: str, report: Report) -> None:
    """What the keys say about each other."""
    kind = KINDS[made.kind]
    given = node.get("actions")
    if kind.acts and given is None:
        hint = f"say for which actions it acts: {', '.join(kind.actions)}"
        report.add(node.place, f"{path}: actions is missing", hint)
    elif given is not None:
        for one in made.actions:
            if one not in kind.actions:
                message = f"{path}.actions: {made.kind} can not do {one}"
                report.add(given.place, message, nearest(one, kind.actions))
    if kind.acts and made.lease_s < made.timeout_s + LEASE_MARGIN_S:
        message = f"{path}.lease_s: too short for a request of {made.timeout_s:g} s"
        hint = f"at least {made.timeout_s + LEASE_MARGIN_S:g}"
        report.add(node.place, message, hint)
    taken = [name for name in made.tables if name in TOLD]
    for name in taken:
        report.add(node.place, f"{path}.tables.{name}: a known place", "rename it")
    if made.kind == "http" and made.plan["json"] and made.plan["form"]:
        report.add(node.place, f"{path}.http: json and form", "keep one of them")
