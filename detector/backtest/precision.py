"""What people said of recommendations, and how often each rule was right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from detector.backtest.courses import Course, ReleaseKey
from detector.backtest.intervals import Share, share
from detector.people import LABELS

RIGHT, WRONG, LATE = LABELS


class Recommended(NamedTuple):
    """A recommendation as it was first published."""

    id: str
    key: ReleaseKey
    rule: str
    action: str
    reason: str
    decided_ms: int


class Labels:
    """Recommendations and what was said of them, from the audit or the log.

    Attributes
    ----------
    recommended : dict
        Recommendations by id, as first published; those of drills are left out.
    unreadable : int
        Lines that are no JSON objects.
    """

    def __init__(self) -> None:
        self.recommended: dict[str, Recommended] = {}
        self.unreadable = 0
        self._words: dict[str, list[tuple[int, str]]] = {}

    def read(self, lines: Iterable[bytes]) -> None:
        """Take records of ``hypercare.audit``, or labels among lines of the log."""
        for line in lines:
            if not line.strip():
                continue
            try:
                whole = msgspec.json.decode(line)
            except (msgspec.DecodeError, RecursionError):
                self.unreadable += 1
                continue
            for record in whole if isinstance(whole, list) else [whole]:
                if isinstance(record, dict):
                    self._take(record)
                else:
                    self.unreadable += 1

    def judged(self, courses: Mapping[ReleaseKey, Course]) -> None:
        """Take the recommendations of a history that was judged."""
        for key, course in courses.items():
            for record in course.recommendations:
                reason = record.reasons[0].value if record.reasons else ""
                said = (record.id, key, record.rule, record.action.value, reason)
                if not record.test:
                    one = Recommended(*said, record.decided_at)
                    self.recommended.setdefault(record.id, one)

    def word_of(self, name: str) -> str | None:
        """right, wrong or late, the last word that was said; None if none was.

        One that was late was right, so ``late`` outlives a later ``right``.
        """
        said = [word for _, word in sorted(self._words.get(name, []))]
        since = said[len(said) - said[::-1].index(WRONG) :] if WRONG in said else said
        if not since:
            return WRONG if said else None
        return LATE if LATE in since else RIGHT

    @property
    def unknown(self) -> list[str]:
        """Ids that were labelled and of which no recommendation was read."""
        return sorted(set(self._words) - set(self.recommended))

    def _take(self, record: dict[str, Any]) -> None:
        if {"id", "revision", "action", "rule", "decided_at"} <= set(record):
            self._recommendation(record)
        elif "label" in (record.get("command"), record.get("name")):
            name, word = record.get("recommendation_id"), record.get("value")
            at = record.get("at", record.get("received_at", record.get("ts", 0)))
            if isinstance(name, str) and word in LABELS and isinstance(at, int):
                self._words.setdefault(name, []).append((at, word))

    def _recommendation(self, record: dict[str, Any]) -> None:
        if record.get("test"):
            return
        key = ReleaseKey(
            str(record.get("service")),
            str(record.get("environment")),
            str(record.get("release")),
            record.get("component"),
        )
        reason = next(iter(record.get("reasons") or ()), "")
        said = (record["id"], key, record["rule"], record["action"], reason)
        one = Recommended(*said, record["decided_at"])
        self.recommended.setdefault(one.id, one)


class Precision(NamedTuple):
    """How often a rule's recommendations were right, as far as people said."""

    rule: str
    recommended: int
    right: int
    late: int
    wrong: int
    unlabelled: int
    precision: Share


def precision_by_rule(labels: Labels) -> list[Precision]:
    """Precision of each rule with its exact interval, the least precise first.

    A late one was right. Unlabelled ones count for neither side: if only the wrong
    ones are labelled, the precision looks worse than it is.
    """
    counted: dict[str, Counter[str | None]] = {}
    for one in labels.recommended.values():
        counted.setdefault(one.rule, Counter())[labels.word_of(one.id)] += 1
    found = [
        Precision(
            rule,
            sum(words.values()),
            words[RIGHT],
            words[LATE],
            words[WRONG],
            words[None],
            share(
                words[RIGHT] + words[LATE],
                words[RIGHT] + words[LATE] + words[WRONG],
            ),
        )
        for rule, words in counted.items()
    ]

    def order(one: Precision) -> tuple[bool, float, str]:
        value = one.precision.value
        return value is None, 0.0 if value is None else value, one.rule

    return sorted(found, key=order)
