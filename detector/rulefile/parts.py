"""What a rule is made of: its match, strata, signals, phases and steps.

Ranges, defaults and effects stand with each key, as in ``model``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from detector.events import DEFAULT_ENVIRONMENT, Strategy
from detector.rulefile.kinds import (
    GLOB_PATTERN,
    Choice,
    Flag,
    Integer,
    Number,
    Word,
    key,
)
from detector.rulefile.shapes import OneOrMany

CRITICALITIES = ("*", "critical", "high", "medium", "low")

GLOBS = OneOrMany(Word(GLOB_PATTERN), most=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which releases a rule is for: all four must fit."""

    service: tuple[str, ...] = key(GLOBS, "Services, as globs.", default=("*",))
    environment: tuple[str, ...] = key(
        GLOBS,
        f"Environments, as globs; records without one count as {DEFAULT_ENVIRONMENT}.",
        default=("*",),
    )
    component: tuple[str, ...] = key(
        GLOBS,
        "Components of the service, as globs. Only * fits a release as a whole.",
        default=("*",),
    )
    criticality: tuple[str, ...] = key(
        OneOrMany(Choice(CRITICALITIES), most=len(CRITICALITIES)),
        "Criticality that the deploy record names. Only * fits an unknown one.",
        default=("*",),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """One attribute whose values are compared separately."""

    attr: str = key(Word(), "Name of the attribute in the records' attrs.")
    max_values: int = key(
        Integer(1, 256),
        "Values kept apart, first seen first; later ones are counted as other.",
        default=16,
        tune="More: a regression in a small segment is found sooner, but evidence is "
        "spread over more series, so one that hits everybody is found later.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """How one signal is judged."""

    margin: float = key(
        Number(1.0, 20.0),
        "Ratio of bad rates (latency and steps: of odds; actions: of what sessions "
        "get done, downwards), release to control, that is still acceptable. Errors "
        "ask the past for 1.25 at least; usage, new_signature and sample_ratio have "
        "margins of their own.",
        default=1.25,
        unit="ratio",
        tune="Larger: fewer alarms about small harm, later detection, and harm below "
        "the margin is never reported.",
    )
    weight: float = key(
        Number(0.0, 1000.0),
        "Share of this signal in the release's evidence beside its control, relative "
        "to the others; 0 switches it off everywhere. Comparisons with the past, a "
        "plan, regions, cohorts, new names and actions have no share.",
        default=1.0,
        tune="Larger than the others: found sooner by this signal, later by the rest; "
        "the bound on false alarms stays.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypercare:
    """How long a release is young, and what healthy has to be earned with."""

    min_hours: float = key(
        Number(0.0, 168.0),
        "A release is not called healthy before this age.",
        default=1.0,
        unit="h",
        tune="Larger: late regressions are less often called healthy first; "
        "does not change when a regression is found.",
    )
    min_exposure: int = key(
        Integer(1, 1_000_000_000),
        "A release is not called healthy before it served this many units.",
        default=1000,
        unit="units",
        tune="Larger: healthy means more and comes later; "
        "does not change when a regression is found.",
    )
    max_days: float = key(
        Number(0.01, 90.0),
        "After this age the release is no longer watched as a young one.",
        default=7.0,
        unit="d",
        tune="Larger: later regressions are still found; costs memory.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceClass:
    """Sources whose records come late by nature, and are compared by age."""

    service: tuple[str, ...] = key(GLOBS, "Services, as globs.", default=("*",))
    strategy: tuple[str, ...] = key(
        OneOrMany(Choice(("*", *get_args(Strategy))), most=8),
        "Strategies of the deploy records; only * fits an unknown one.",
        default=("*",),
    )
    slow: bool = key(
        Flag(),
        "Compare sessions of the same age in both arms instead of the same time, "
        "once more than a tenth of the error lines came after their window.",
        default=True,
        tune="true: late records do not look like a change; detection waits for them.",
    )
    max_delay_h: int = key(
        Integer(1, 240),
        "Records are waited for at most this long.",
        default=72,
        unit="h",
        tune="Larger: more of the late records count, decisions on them come later.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """From which evidence on the smaller steps are taken."""

    watch_e: float = key(
        Number(1.0, 1e9),
        "Evidence (e-value) from which a release is watched.",
        default=10.0,
        tune="Larger: fewer and later watches.",
    )
    hold_e: float = key(
        Number(1.0, 1e9),
        "Evidence (e-value) from which the rollout should hold.",
        default=100.0,
        tune="Larger: fewer false holds, later holds.",
    )


SHIPPED_SIGNALS = {
    "errors": Signal(),
    "latency": Signal(weight=0.5),
    "steps": Signal(margin=1.1, weight=0.25),
    "feedback": Signal(weight=0.25),
    "usage": Signal(margin=1.1),
    "actions": Signal(),
    "new_signature": Signal(),
    "sample_ratio": Signal(margin=1.1),
}
KNOWN_SIGNALS = tuple(SHIPPED_SIGNALS)
SHIPPED_SOURCES = {"mobile": SourceClass(strategy=("mobile",))}
