"""Many seeded shops through the core, and what became of each release.

The whole way is taken: bytes of the log, decoding, windows, evidence, decision.
The shops share a partition, several in a record, because a window closes for all
of them in one call then; a shop's fate does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from detector.engine import Partition
from detector.events import EVERY_SERVICE
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet
from detector.simulate import Record, Shop
from detector.verdicts import (
    Action,
    ReasonCode,
    RecommendationRecord,
    Verdict,
    VerdictRecord,
)
from detector.wire import RECOMMENDATIONS, VERDICTS

START_MS = 1_767_225_600_000
"""A whole hour (2026-01-01T00:00Z), so that grids of all widths are aligned."""

EVENTS_PER_RECORD = 3000
"""At most so many events in a record, which keeps it below its limit of bytes."""

_encode = msgspec.json.Encoder().encode
_verdict = msgspec.json.Decoder(VerdictRecord)
_recommendation = msgspec.json.Decoder(RecommendationRecord)


@dataclass
class Trial:
    """What became of one shop's release.

    Attributes
    ----------
    crossed : bool
        The evidence reached 1/alpha at some look, acted on or not.
    found_ms : int or None
        End of the window that made the release regressed, since the start.
    decided_ms : int or None
        When that was decided, on the arrival clock, since the start.
    action : Action or None
        What was recommended first.
    segment : dict or None
        Where the first recommendation sees the harm, None for everywhere.
    bad : list of int
        Failed sessions of both releases in each window so far.
    """

    crossed: bool = False
    found_ms: int | None = None
    decided_ms: int | None = None
    action: Action | None = None
    segment: dict[str, str] | None = None
    bad: list[int] = field(default_factory=list)

    def bad_until_found(self, since_window: int, window_s: int) -> float:
        """Failed sessions of both arms that it took, infinite if never found."""
        if self.found_ms is None:
            return float("inf")
        return float(sum(self.bad[since_window : self.found_ms // (window_s * 1000)]))

    def minutes_until_found(self, since_window: int, window_s: int) -> float:
        """Minutes from the beginning of a window to the decision, grace included."""
        if self.decided_ms is None:
            return float("inf")
        return (self.decided_ms - since_window * window_s * 1000) / 60_000


def run_trials(
    shops: Sequence[Shop],
    rules: RuleSet,
    *,
    windows: int,
    seed: int,
    single_events: bool = False,
) -> list[Trial]:
    """Run each shop for so many windows or until its first recommendation.

    Parameters
    ----------
    shops : sequence of Shop
        All with the same ``window_s``. Each gets a generator of its own, seeded
        by ``seed`` and its position.
    single_events : bool
        Feed a record a session instead of an aggregate a window.
    """
    fleet = _Fleet(shops, rules, seed, single_events)
    for index in range(windows):
        fleet.step(index)
    fleet.finish(windows)
    return fleet.trials


class _Fleet:
    """The shops of one run, their partition, and what they became so far."""

    def __init__(
        self, shops: Sequence[Shop], rules: RuleSet, seed: int, single_events: bool
    ) -> None:
        self.window_ms = shops[0].window_s * 1000
        self.lag_ms = shops[0].arrival_lag_ms
        self.trials = [Trial() for _ in shops]
        self.partition = Partition(0, rules, topic="simulation")
        feed = _single_events if single_events else _aggregates
        self.open = {
            f"shop-{i}": feed(shop, np.random.default_rng([seed, i]))
            for i, shop in enumerate(shops)
        }

    def step(self, index: int) -> None:
        """Feed one window of every shop that has not been found yet."""
        pending: list[Record] = []
        for name, source in list(self.open.items()):
            events = next(source)
            for event in events:
                event["service"] = name
            self.trials[_number(name)].bad.append(_failed_sessions(events))
            pending += events
            if len(pending) >= EVENTS_PER_RECORD // 2:
                self._feed(pending, index)
                pending = []
        self._feed(pending, index)

    def finish(self, windows: int) -> None:
        """Let the time of grace pass, so that the last windows close."""
        end_ms = START_MS + windows * self.window_ms + 3_600_000
        self._apply([{"kind": "tick", "ts": end_ms, "service": EVERY_SERVICE}], end_ms)

    def _feed(self, events: list[Record], index: int) -> None:
        arrival_ms = START_MS + (index + 1) * self.window_ms + self.lag_ms
        for low in range(0, len(events), EVENTS_PER_RECORD):
            self._apply(events[low : low + EVENTS_PER_RECORD], arrival_ms)

    def _apply(self, events: list[Record], arrival_ms: int) -> None:
        offset = self.partition.next_offset
        record = LogRecord(offset, arrival_ms, None, _encode(events))
        for output in self.partition.apply([record]).records:
            self._note(output)

    def _note(self, output: Output) -> None:
        if output.topic == VERDICTS:
            verdict = _verdict.decode(output.value)
            if (
                verdict.verdict is Verdict.REGRESSED
                or ReasonCode.HARM_NOT_PERSISTENT in verdict.reasons
            ):
                self.trials[_number(verdict.service)].crossed = True
        elif output.topic == RECOMMENDATIONS:
            found = _recommendation.decode(output.value)
            trial = self.trials[_number(found.service)]
            if trial.found_ms is None:
                trial.found_ms = found.episode_start_ms - START_MS
                trial.decided_ms = found.decided_at - START_MS
                trial.action, trial.segment = found.action, found.segment
            self.open.pop(found.service, None)
        else:
            raise ValueError(f"a simulated event was refused: {output.value!r}")


def _number(service: str) -> int:
    return int(service.removeprefix("shop-"))


def _aggregates(shop: Shop, rng: np.random.Generator) -> Iterator[list[Record]]:
    return shop.windows(rng, START_MS, 1_000_000)


def _single_events(shop: Shop, rng: np.random.Generator) -> Iterator[list[Record]]:
    before = 0.0
    for index in range(1_000_000):
        ts = START_MS + index * shop.window_s * 1000
        events = list(shop.events(rng, ts, index))
        share = shop.weight(index)
        if share != before:
            phase = "started" if before == 0 else "progressed"
            events.insert(0, shop.deploy(ts, share, phase))
            before = share
        yield events


def _failed_sessions(events: list[Record]) -> int:
    """Sessions that failed: given by aggregates, counted once in single events."""
    errors = [e for e in events if e["kind"] == "error"]
    single = {e["session"] for e in errors if "session" in e}
    aggregated = sum(int(e.get("sessions", 0)) for e in errors)
    return len(single) + aggregated
