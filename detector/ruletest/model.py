"""What a file of tests holds: structures with kind, default and meaning of each key.

The loader and the JSON schema (``rules/tests.schema.json``) are made from these.
"""

# ``key`` declares a field as ``dataclasses.field`` does; no value is shared.
# ruff: noqa: RUF009

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from detector.events import DEFAULT_ENVIRONMENT, Change, Strategy
from detector.rulefile.errors import Report
from detector.rulefile.kinds import (
    INVALID,
    Choice,
    Integer,
    Kind,
    Schema,
    Text,
    Word,
    join,
    key,
    keys_of,
    refuse,
)
from detector.rulefile.parts import CRITICALITIES
from detector.rulefile.shapes import Listing, OneOrMany, Struct
from detector.rulefile.yamltree import Entries, Node
from detector.ruletest.notation import Series, Time, Values
from detector.ruletest.phrases import Event, Phrase
from detector.verdicts import Action, ReasonCode, Verdict

NONE = "none"
"""In place of a verdict: nothing has been said yet."""

VERDICTS = (*(v.value for v in Verdict), NONE)
ACTIONS = tuple(a.value for a in Action)
REASONS = tuple(r.value for r in ReasonCode)
NEVER = tuple(dict.fromkeys((*ACTIONS, *(v.value for v in Verdict))))


@dataclass(frozen=True)
class Named(Kind):
    """A mapping from names to values of one kind; ``name`` reads the names."""

    name: Kind
    value: Kind
    most: int = 64

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Entries):
            return refuse(node, path, report, self.words())
        if len(node.entries) > self.most:
            report.add(
                node.place, f"{path}: more than {self.most} entries", "use fewer"
            )
            return INVALID
        found = [
            (
                self.name.read(at, join(path, at.raw[:40]), report),
                self.value.read(part, join(path, at.raw[:40]), report),
            )
            for at, part in node.entries
        ]
        if any(INVALID in pair for pair in found):
            return INVALID
        return dict(found)

    def schema(self) -> Schema:
        one = {"type": "object", "additionalProperties": self.value.schema()}
        names = {"propertyNames": self.name.schema(), "maxProperties": self.most}
        return one | names

    def words(self) -> str:
        return f"a mapping from {self.name.words()} to {self.value.words()}"


SCORES = ("1", "2", "3", "4", "5")
BUCKET = Word(r"^(?:[0-9]{1,7}(?:\.[0-9]+)?|over)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A step of a release."""

    release: str = key(Word(), "Release that the step is about.")
    event: Event = key(Phrase(), "Phase, time and planned share of the users.")
    strategy: str = key(
        Choice(get_args(Strategy)), "How it is rolled out.", default="canary"
    )
    predecessor: str | None = key(
        Word(), "Release that it replaces. Default: not told.", default=None
    )
    criticality: str = key(
        Choice(CRITICALITIES[1:]), "How much depends on it.", default="medium"
    )
    change: str = key(Choice(get_args(Change)), "What changed.", default="code")
    component: str | None = key(Word(), "Component that it changes.", default=None)
    service: str | None = key(Word(), "Default: that of the test.", default=None)
    environment: str | None = key(Word(), "Default: that of the test.", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What one release, with one set of attributes, is heard of."""

    release: str = key(Word(), "Release that the series are about.")
    service: str | None = key(Word(), "Default: that of the test.", default=None)
    environment: str | None = key(Word(), "Default: that of the test.", default=None)
    component: str | None = key(Word(), "Component of the service.", default=None)
    attrs: Mapping[str, str] = key(
        Named(Word(), Text(4096), most=16), "Attributes of the records.", default={}
    )
    usage: Values | None = key(
        Series(), "Sessions that began in each interval.", default=None
    )
    requests: Values | None = key(
        Series(),
        "Requests in each interval. Default: as many as sessions.",
        default=None,
    )
    errors: Values | None = key(
        Series(), "Sessions that failed in each interval.", default=None
    )
    signature: str = key(Text(4096), "Signature of the failures.", default="TestError")
    latency: Mapping[str, Values] = key(
        Named(BUCKET, Series()),
        "Requests by duration: upper edge of the bucket in ms, `over` for the last.",
        default={},
    )
    feedback: Mapping[str, Values] = key(
        Named(Choice(SCORES), Series(), most=5),
        "Reports of users by score, 1 to 5.",
        default={},
    )
    steps: Mapping[str, Values] = key(
        Named(Word(), Series(), most=8),
        "Sessions that passed a step, by its name.",
        default={},
    )
    delay: int = key(
        Time(), "How long after their interval the records arrive.", default=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What has to be said, or must not be."""

    at: int | None = key(Time(), "All of the rest holds at this time.", default=None)
    by: int | None = key(
        Time(), "All of the rest held at some time up to this one.", default=None
    )
    never: tuple[str, ...] = key(
        OneOrMany(Choice(NEVER), most=len(NEVER), least=1),
        "Verdicts and actions that are not said at any time of the test.",
        default=(),
    )
    verdict: str | None = key(Choice(VERDICTS), "The verdict.", default=None)
    action: str | None = key(
        Choice(ACTIONS),
        "What is recommended; without a recommendation what the verdict advises.",
        default=None,
    )
    segment: Mapping[str, str] | None = key(
        Named(Word(), Text(4096), most=16),
        "Cut that the recommendation names; {} is all of the release.",
        default=None,
    )
    reasons: tuple[str, ...] = key(
        OneOrMany(Choice(REASONS), most=16),
        "Reasons that are given, perhaps among others.",
        default=(),
    )
    rule: str | None = key(Word(), "Name of the rule that judges.", default=None)
    not_before: int | None = key(
        Time(), "All of the rest held at no time before this one.", default=None
    )
    release: str | None = key(
        Word(), "Which release. Default: the only one deployed.", default=None
    )
    component: str | None = key(
        Word(), "Which component. Default: the release as a whole.", default=None
    )
    service: str | None = key(Word(), "Default: that of the test.", default=None)
    environment: str | None = key(Word(), "Default: that of the test.", default=None)

    @property
    def wanted(self) -> dict[str, Any]:
        """The parts of a state that are expected, by name."""
        names = ("verdict", "action", "segment", "reasons", "rule")
        found = {name: getattr(self, name) for name in names}
        return {name: v for name, v in found.items() if v is not None and v != ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test: what comes in, and what has to be said."""

    name: str = key(Text(200), "What the rules have to do, in a sentence.")
    interval: int | None = key(
        Time(1, 3600), "Default: that of the file.", default=None
    )
    service: str = key(Word(), "Service that all of it is about.", default="shop")
    environment: str = key(
        Word(), "Environment that all of it is about.", default=DEFAULT_ENVIRONMENT
    )
    noise: str = key(
        Choice(("none", "poisson")),
        "none: counts are exactly those of the series; poisson: they are drawn, with "
        "the series as means. Needs a seed.",
        default="none",
    )
    seed: int | None = key(
        Integer(0, 2**31 - 1), "Same seed, same counts.", default=None
    )
    deploys: tuple[Deployed, ...] = key(
        Listing(Struct(Deployed), most=64), "Steps of releases.", default=()
    )
    input: tuple[Input, ...] = key(
        Listing(Struct(Input), most=256, least=1), "Series of records."
    )
    expect: tuple[Expectation, ...] = key(
        Listing(Struct(Expectation), most=256, least=1), "What has to be said."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFile:
    """Tests of one rule file."""

    version: int = key(Integer(1, 1), "Version of the file format.")
    rules: str | None = key(
        Text(1024),
        "Rule file, as seen from this one. Default: the shipped rules.",
        default=None,
    )
    interval: int = key(
        Time(1, 3600), "Length of an interval of the series.", default=10
    )
    tests: tuple[Test, ...] = key(
        Listing(Struct(Test), most=500, least=1, unique="name"), "The tests."
    )


def schema_of_tests() -> str:
    """Give the JSON schema (draft 2020-12) of a file of tests, as text."""
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tests of Hypercare rules",
        "description": "What a schema can say of it; hypercare rules test says more.",
    }
    schema |= Struct(TestFile).schema()
    assert set(schema["properties"]) == set(keys_of(TestFile))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
