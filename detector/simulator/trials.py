"""Many releases through the core, and what was decided about each.

The whole way is taken: bytes of the log, decoding, windows, evidence, decision.
Services share a partition, because a window closes for all of them in one call
then; what becomes of one does not depend on its neighbours.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet
from detector.simulator.lines import Record
from detector.simulator.scenario import Play, Scenario
from detector.verdicts import (
    Action,
    RecommendationRecord,
    RecommendationState,
    VerdictRecord,
)
from detector.wire import RECOMMENDATIONS, VERDICTS

TAKING_BACK = frozenset(
    {Action.ROLLBACK, Action.HOTFIX, Action.HALT, Action.WITHDRAW, Action.REPLACE}
)
"""Actions that end the harm; hold, watch and investigate leave it to people."""

TOGETHER = 100
"""Releases that share a partition; more of them save nothing, but need memory."""

EVENTS_PER_RECORD = 2000
SETTLING_MS = 15 * 60_000
"""Harm must have been there so long before the end to be owed a recommendation:
grace, persistence and the guards against blips take some minutes."""

_encode = msgspec.json.Encoder().encode
_recommendation = msgspec.json.Decoder(RecommendationRecord)
_verdict = msgspec.json.Decoder(VerdictRecord)


@dataclass
class Fate:
    """What was decided about one release, beside what was true.

    Attributes
    ----------
    family : str
        Family of its scenario.
    kinds, ratio, segment
        The harm, as in `Play`.
    deploy_ms, onset_ms : int, int or None
        When it was deployed and when harm began.
    decided_ms : int or None
        Arrival time of the decision to take it back.
    action : Action or None
        What was recommended then.
    named : dict of str to str
        Segment of the recommendation; {} everywhere.
    first_action : Action or None
        First recommendation of any kind, also hold or investigate.
    verdict : str or None
        Last verdict.
    reasons : tuple of str
        Reasons of the recommendation, else of the last verdict.
    affected, served : float
        Affected sessions of the whole run and those served before the decision.
    failed, failed_in_time : float
        Failed sessions of the candidate where it is harmful: in the whole run, and
        until `SETTLING_MS` before its end.
    """

    family: str
    kinds: tuple[str, ...]
    ratio: float
    segment: dict[str, str]
    deploy_ms: int
    onset_ms: int | None
    decided_ms: int | None = None
    action: Action | None = None
    named: dict[str, str] | None = None
    first_action: Action | None = None
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    affected: float = 0.0
    served: float = 0.0
    failed: float = 0.0
    failed_in_time: float = 0.0

    @property
    def is_bad(self) -> bool:
        """Whether it should be taken back."""
        return bool(self.kinds)

    @property
    def is_hit(self) -> bool:
        """Whether a bad release was taken back after its harm began."""
        return (
            self.decided_ms is not None
            and self.onset_ms is not None
            and self.decided_ms > self.onset_ms
        )

    @property
    def is_false(self) -> bool:
        """Whether it was taken back without harm, or before it began."""
        return self.decided_ms is not None and not self.is_hit

    @property
    def minutes(self) -> float:
        """Minutes from the onset to the decision, infinite if never found."""
        if not self.is_hit or self.decided_ms is None or self.onset_ms is None:
            return math.inf
        return (self.decided_ms - self.onset_ms) / 60_000


def run_scenarios(
    scenarios: Sequence[Scenario], rules: RuleSet, *, seed: int, first: int = 0
) -> list[Fate]:
    """Run each release until its end or until it is taken back.

    Parameters
    ----------
    seed, first : int
        Release ``i`` draws from ``default_rng([seed, first + i])``, whatever runs
        beside it: parts of a population can run apart.

    Raises
    ------
    ValueError
        When the core refuses a simulated record.
    """
    fates: dict[int, Fate] = {}
    # Those of one width and length together: their windows close in one call.
    order = sorted(range(len(scenarios)), key=lambda i: _extent(scenarios[i]))
    for low in range(0, len(order), TOGETHER):
        group = order[low : low + TOGETHER]
        plays = [
            scenarios[i].play(np.random.default_rng([seed, first + i]), _name(place))
            for place, i in enumerate(group)
        ]
        run = _Run([scenarios[i].family for i in group], plays, rules)
        fates |= zip(group, run.to_end(), strict=True)
    return [fates[i] for i in range(len(scenarios))]


def _extent(scenario: Scenario) -> tuple[int, float, float]:
    return scenario.service.window_s, scenario.past_min, scenario.post_min


def _name(number: int) -> str:
    return f"shop-{number}"


def _number(service: str) -> int:
    return int(service.removeprefix("shop-"))


class _Run:
    """Plays that share a partition, fed in order of arrival."""

    def __init__(self, families: list[str], plays: list[Play], rules: RuleSet) -> None:
        self.plays = plays
        self.partition = Partition(0, rules, topic="simulation")
        self.fates = [
            Fate(family, p.kinds, p.ratio, p.segment, p.deploy_ms, p.onset_ms)
            for family, p in zip(families, plays, strict=True)
        ]
        self._due: list[tuple[int, int, list[Record]]] = []

    def to_end(self) -> list[Fate]:
        """Feed everything and say what became of each release."""
        for number in range(len(self.plays)):
            self._next(number)
        while self._due:
            now_ms = self._due[0][0]
            batch: list[Record] = []
            while self._due and self._due[0][0] == now_ms:
                _, number, records = heapq.heappop(self._due)
                batch += records
                self._next(number)
                if len(batch) >= EVENTS_PER_RECORD:
                    self._feed(now_ms, batch)
                    batch = []
            self._feed(now_ms, batch)
        for play, fate in zip(self.plays, self.fates, strict=True):
            _settle(play, fate)
        return self.fates

    def _next(self, number: int) -> None:
        """Queue the next batch of a play, unless its release was taken back."""
        if self.fates[number].decided_ms is not None:
            return
        batch = next(self.plays[number].batches, None)
        if batch is not None:
            heapq.heappush(self._due, (batch[0], number, batch[1]))

    def _feed(self, now_ms: int, records: list[Record]) -> None:
        for low in range(0, len(records), EVENTS_PER_RECORD):
            part = _encode(records[low : low + EVENTS_PER_RECORD])
            offset = self.partition.next_offset
            outputs = self.partition.apply([LogRecord(offset, now_ms, None, part)])
            for output in outputs.records:
                self._note(output)

    def _note(self, output: Output) -> None:
        if output.topic == RECOMMENDATIONS:
            self._recommended(_recommendation.decode(output.value))
        elif output.topic == VERDICTS:
            found = _verdict.decode(output.value)
            fate = self.fates[_number(found.service)]
            if fate.decided_ms is None:
                fate.verdict = found.verdict.value
                fate.reasons = tuple(r.value for r in found.reasons)
        elif b'"future"' not in output.value:
            raise ValueError(f"a simulated event was refused: {output.value!r}")

    def _recommended(self, found: RecommendationRecord) -> None:
        fate = self.fates[_number(found.service)]
        if found.state is not RecommendationState.OPEN:
            return
        fate.first_action = fate.first_action or found.action
        if found.action in TAKING_BACK and fate.decided_ms is None:
            fate.decided_ms, fate.action = found.decided_at, found.action
            fate.named = found.segment or {}
            fate.reasons = tuple(r.value for r in found.reasons)


def _settle(play: Play, fate: Fate) -> None:
    """Count what the decision prevented and what was owed one."""
    end_ms = float(play.window_ends_ms[-1])
    fate.affected = play.until(play.affected, end_ms)
    fate.served = play.until(play.affected, fate.decided_ms or end_ms)
    fate.failed = play.until(play.failed, end_ms)
    fate.failed_in_time = play.until(play.failed, end_ms - SETTLING_MS)
