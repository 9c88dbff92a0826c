"""The course of each release of a history under one rule set: what was said, when."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

import msgspec

from detector.engine import Partition
from detector.replay import Replay
from detector.rulefile import RuleSet
from detector.verdicts import (
    Action,
    RecommendationRecord,
    RecommendationState,
    VerdictRecord,
)
from detector.wire import RECOMMENDATIONS, VERDICTS

TAKES_BACK = frozenset(
    {Action.ROLLBACK, Action.HOTFIX, Action.HALT, Action.WITHDRAW, Action.REPLACE}
)
"""Actions that take a release, or a part of it, from its users."""

BATCH = 20
"""Records applied together; it changes no decision. Many that hold many events each
would be held in memory at once."""

_verdict = msgspec.json.Decoder(VerdictRecord)
_recommendation = msgspec.json.Decoder(RecommendationRecord)


class ReleaseKey(NamedTuple):
    """Name of a release under judgement."""

    service: str
    environment: str
    release: str
    component: str | None


class Step(NamedTuple):
    """One record that was published about a release: a verdict or a recommendation."""

    decided_ms: int
    record: VerdictRecord | RecommendationRecord


class Course(NamedTuple):
    """All that was published about one release, in order."""

    key: ReleaseKey
    steps: list[Step]

    @property
    def verdicts(self) -> list[VerdictRecord]:
        """Its verdicts."""
        return [s.record for s in self.steps if isinstance(s.record, VerdictRecord)]

    @property
    def recommendations(self) -> list[RecommendationRecord]:
        """All revisions of its recommendations."""
        found = (step.record for step in self.steps)
        return [r for r in found if isinstance(r, RecommendationRecord)]

    @property
    def taken_back(self) -> RecommendationRecord | None:
        """The first revision that asked to take it from its users."""
        return next(
            (
                record
                for record in self.recommendations
                if record.action in TAKES_BACK
                and record.state is RecommendationState.OPEN
            ),
            None,
        )


class Judged(NamedTuple):
    """A history under one rule set.

    ``refused`` records could not be used; ``begin_ms`` and ``end_ms`` are the arrival
    times of the first and the last record, -1 where there is none.
    """

    steps: list[Step]
    records: int
    refused: int
    begin_ms: int
    end_ms: int


def judge(
    lines: Iterable[bytes],
    rules: RuleSet,
    look: Callable[[Partition], None] | None = None,
) -> Judged:
    """Send recorded lines through the core that runs live.

    Parameters
    ----------
    lines : iterable of bytes
        Envelopes or arrays of them, in arrival order, of any number of services.
    rules : RuleSet
        In force from the first line on. Rule sets that the recording itself names take
        its place, as they did then: leave them out with :func:`without_rulesets`.
    look : callable, optional
        Is given the partition after each batch, to read only.
    """
    replay = Replay(rules)
    steps: list[Step] = []
    begin_ms = -1
    source = iter(lines)
    while chunk := list(islice(source, BATCH)):
        records = replay.records(chunk)
        if begin_ms < 0 and records:
            begin_ms = records[0].timestamp_ms
        for output in replay.partition.apply(records).records:
            if output.topic == VERDICTS:
                verdict = _verdict.decode(output.value)
                steps.append(Step(verdict.decided_at, verdict))
            elif output.topic == RECOMMENDATIONS:
                record = _recommendation.decode(output.value)
                steps.append(Step(record.decided_at, record))
        if look is not None:
            look(replay.partition)
    counts = replay.partition.counts.items()
    refused = sum(n for name, n in counts if name.startswith("rejected."))
    end_ms = replay.partition.arrival_ms if replay.lines else -1
    return Judged(steps, replay.lines, refused, begin_ms, end_ms)


def without_rulesets(lines: Iterable[bytes]) -> Iterable[bytes]:
    """The lines without the rule sets that were in force when they were recorded."""
    for line in lines:
        if b'"ruleset"' not in line:
            yield line
            continue
        whole = msgspec.json.decode(line)
        members = whole if isinstance(whole, list) else [whole]
        kept = [m for m in members if m.get("name") != "ruleset"]
        if kept:
            yield msgspec.json.encode(kept)


def courses_of(judged: Judged) -> dict[ReleaseKey, Course]:
    """What was published, by release, in the order of the first word about each."""
    found: dict[ReleaseKey, Course] = {}
    for step in judged.steps:
        record = step.record
        key = ReleaseKey(
            record.service, record.environment, record.release, record.component
        )
        found.setdefault(key, Course(key, [])).steps.append(step)
    return found
