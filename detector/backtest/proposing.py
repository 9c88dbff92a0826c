"""One change of one knob of a rule that people found wrong or late, and what it does.

Candidates are tried on recorded history, each by itself. None is good that loses a
release which was rightly found, or adds a recommendation that was not made before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from detector.backtest.courses import Course, ReleaseKey
from detector.backtest.effects import outcome_of
from detector.backtest.precision import LATE, WRONG, Labels
from detector.rulefile import Rule
from detector.verdicts import ReasonCode

SIGNAL_OF = {
    ReasonCode.ERROR_RATE_UP.value: "errors",
    ReasonCode.LATENCY_UP.value: "latency",
    ReasonCode.STEPS_DOWN.value: "steps",
    ReasonCode.FEEDBACK_WORSE.value: "feedback",
    ReasonCode.ACTIONS_DOWN.value: "actions",
}
"""Reasons whose signal has a margin that somebody can turn."""


class Knob(NamedTuple):
    """A key of a rule and the value that it would get."""

    rule: str
    key: str
    before: float
    after: float


class Truth(NamedTuple):
    """What people said of releases: harmful ones, those found late, harmless ones."""

    harmful: frozenset[ReleaseKey]
    late: frozenset[ReleaseKey]
    harmless: frozenset[ReleaseKey]


class Measured(NamedTuple):
    """What rules do on a history.

    ``unlabelled`` releases are recommended against and nobody said of them what they
    are. ``delay_ms`` is the median from the first deploy to the first recommendation
    over harmful releases, ``late_ms`` that over those people called late; None where
    there is none.
    """

    right: frozenset[ReleaseKey]
    wrong: frozenset[ReleaseKey]
    unlabelled: frozenset[ReleaseKey]
    delay_ms: float | None
    late_ms: float | None


def truth_of(labels: Labels) -> Truth:
    """What the labels say of releases; one rightly found once is harmful."""
    words: dict[ReleaseKey, set[str]] = {}
    for one in labels.recommended.values():
        if word := labels.word_of(one.id):
            words.setdefault(one.key, set()).add(word)
    harmful = frozenset(key for key, said in words.items() if said != {WRONG})
    late = frozenset(key for key, said in words.items() if LATE in said)
    return Truth(harmful, late, frozenset(words) - harmful)


def begun_of(lines: Iterable[bytes]) -> dict[tuple[str, str, str], int]:
    """When each release was first deployed, epoch ms, by service, environment, name."""
    found: dict[tuple[str, str, str], int] = {}
    for line in lines:
        if b'"deploy"' not in line:
            continue
        whole = msgspec.json.decode(line)
        for one in whole if isinstance(whole, list) else [whole]:
            if one.get("kind") == "deploy":
                environment = one.get("environment", "production")
                key = (one["service"], environment, one["release"])
                found.setdefault(key, one["ts"])
    return found


def measure(
    courses: Mapping[ReleaseKey, Course],
    truth: Truth,
    begun: Mapping[tuple[str, str, str], int],
) -> Measured:
    """Count what was recommended against what people said of the releases."""
    first = {
        key: outcome.recommended_ms - begun.get(key[:3], course.steps[0].decided_ms)
        for key, course in courses.items()
        if (outcome := outcome_of(course)).recommended_ms is not None
    }
    asked = frozenset(first)

    def middle(keys: frozenset[ReleaseKey]) -> float | None:
        delays = [first[key] for key in keys & asked]
        return float(median(delays)) if delays else None

    return Measured(
        asked & truth.harmful,
        asked & truth.harmless,
        asked - truth.harmful - truth.harmless,
        middle(truth.harmful),
        middle(truth.late),
    )


def knobs(rule: Rule, reasons: Iterable[str], *, sooner: bool) -> list[Knob]:
    """Values to try, small steps first.

    Parameters
    ----------
    reasons : iterable of str
        What the recommendations in question named: only margins of these signals
        are turned.
    sooner : bool
        To find harm earlier; else to be wrong less often.
    """
    signals = dict.fromkeys(SIGNAL_OF[r] for r in reasons if r in SIGNAL_OF)
    factors = (0.67, 0.5, 0.25) if sooner else (1.5, 2.0, 4.0)
    found: list[tuple[str, float, float]] = []
    for factor in factors:
        lasting = max(round(rule.persistence_s * factor), 0)
        found.append(("persistence_s", rule.persistence_s, lasting))
    for signal in signals:
        margin = rule.signals[signal].margin
        found += [
            (f"signals.{signal}.margin", margin, round(1 + (margin - 1) * f, 3))
            for f in factors
        ]
    for factor in factors:
        exposure = max(round(rule.min_exposure * factor), 1)
        found.append(("min_exposure", rule.min_exposure, exposure))
    found += [
        ("alpha", rule.alpha, float(f"{rule.alpha / factor**2:.2g}"))
        for factor in factors
    ]
    return [Knob(rule.name, k, a, b) for k, a, b in dict.fromkeys(found) if a != b]


def helps(before: Measured, after: Measured, *, sooner: bool) -> bool:
    """Whether a candidate does good and no harm that the history shows."""
    if not (
        before.right <= after.right
        and after.wrong <= before.wrong
        and after.unlabelled <= before.unlabelled
    ):
        return False
    if not sooner:
        return len(after.wrong) < len(before.wrong)
    if before.late_ms is None or after.late_ms is None:
        return False
    return after.late_ms < before.late_ms


def best(
    before: Measured, tried: Sequence[tuple[Knob, Measured]], *, sooner: bool
) -> tuple[Knob, Measured] | None:
    """The candidate that helps most, the smaller and the quicker one of equals."""
    useful = [pair for pair in tried if helps(before, pair[1], sooner=sooner)]

    def cost(pair: tuple[Knob, Measured]) -> tuple[float, float]:
        found = pair[1]
        if sooner:
            return found.late_ms or 0.0, 0.0
        return len(found.wrong), found.delay_ms or 0.0

    return min(useful, key=cost, default=None)  # min keeps the first of equals
