"""Judges every fault run: lost, counted twice, ids, false alarms, time to heal.

One checker for all rows. It knows the history of the run, the log as the broker has
it, the state the workers wrote down and what they published; it asks no worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tests.faults import golden
from tests.faults.history import History
from tests.faults.traffic import BAD
from tests.integration.detecting import DetectorStage


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one run showed.

    Attributes
    ----------
    events, lost, doubled : int
        Acknowledged events; units of them that no state counts (an event that the
        log does not hold counts as one); units that were counted too often.
    ids, false_ids : int
        Distinct recommendations of the bad release, and of healthy ones.
    copies : int
        Events that stand in the log more than once: a crash between write and
        acknowledgement makes them, the detector knows them by their id.
    same_state, same_words : bool
        State and everything published are byte for byte those of the reference.
    fresh_s : float or None
        Longest time from a heal to a verdict about what was sent until then.
    peak_mb : float
        Largest resident size of a worker.
    notes : tuple of str
        What a row has to say beyond.
    problems : tuple of str
        What a row wanted and did not get.
    """

    events: int
    lost: int
    doubled: int
    ids: int
    false_ids: int
    copies: int
    same_state: bool
    same_words: bool
    fresh_s: float | None
    peak_mb: float
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def faults(self, *, fresh_max_s: float, peak_max_mb: float) -> list[str]:
        """What is not as it has to be; empty when the run was good."""
        wanted = {"lost": 0, "doubled": 0, "ids": 1, "false_ids": 0}
        wanted |= {"same_state": True, "same_words": True}
        found = [
            f"{name} is {getattr(self, name)}, wanted {value}"
            for name, value in wanted.items()
            if getattr(self, name) != value
        ]
        if self.fresh_s is not None and self.fresh_s > fresh_max_s:
            found.append(f"fresh {self.fresh_s:.1f} s after the heal")
        if self.peak_mb > peak_max_mb:
            found.append(f"a worker took {self.peak_mb:.0f} MB")
        return [*found, *self.problems]

    def beside(self, notes: Iterable[str], problems: Iterable[str]) -> Findings:
        """The same with what a row has to say."""
        return replace(self, notes=tuple(notes), problems=tuple(problems))


def check(made: DetectorStage, history: History) -> Findings:
    """Compare what was acknowledged with what is counted, said and held."""
    log = golden.log_records(made)
    live = golden.live_partitions(made)
    ends = {number: partition.next_offset for number, partition in live.items()}
    reference = golden.reference(made, log, ends)
    acked = _events(history, "acked")
    held = Counter(ids_in(log))
    missing = sum(name not in held for name in acked)
    lost, doubled = _compare(history, golden.units(live))
    recommended = {(r.service, r.id) for r in made.recommendations()}
    of_bad = sum(service == BAD for service, _ in recommended)
    return Findings(
        events=len(acked),
        lost=missing + lost,
        doubled=doubled,
        ids=of_bad,
        false_ids=len(recommended) - of_bad,
        copies=sum(count - 1 for count in held.values()),
        same_state=live.keys() == reference.partitions.keys()
        and all(
            golden.image(live[n]) == golden.image(reference.partitions[n]) for n in live
        ),
        same_words=golden.published(made) == reference.published,
        fresh_s=max((fact["took_s"] for fact in history.all("fresh")), default=None),
        peak_mb=max((fact["mb"] for fact in history.all("memory")), default=0.0),
    )


def _images(partitions: dict[int, golden.Partition]) -> dict[int, dict[str, Any]]:
    return {number: golden.image(one) for number, one in partitions.items()}


def _events(history: History, what: str) -> dict[str, tuple[str, str, int]]:
    """Events by id; a change of the sender's may have sent one more than once."""
    return {
        name: (service, release, units)
        for fact in history.all(what)
        for name, service, release, units in fact["events"]
    }


def _compare(history: History, counted: Counter[golden.Cell]) -> tuple[int, int]:
    """Units lost of what was acknowledged, and counted beyond what was sent.

    By service and release. Of an event that was sent and never acknowledged both
    counts are right.
    """
    least, most = _sums(history, "acked"), _sums(history, "sent")
    cells = least.keys() | most.keys()
    lost = sum(max(0, least[cell] - counted[cell]) for cell in cells)
    doubled = sum(max(0, counted[cell] - most[cell]) for cell in cells)
    return lost, doubled


def _sums(history: History, what: str) -> Counter[golden.Cell]:
    sums: Counter[golden.Cell] = Counter()
    for service, release, units in _events(history, what).values():
        sums[service, release] += units
    return sums


def ids_in(log: dict[int, list[golden.LogRecord]]) -> list[str]:
    """Ids of all telemetry in the log."""
    found = []
    for records in log.values():
        for record in records:
            try:
                body = msgspec.json.decode(record.value or b"null")
            except msgspec.DecodeError:
                continue
            for event in body if isinstance(body, list) else [body]:
                if isinstance(event, dict) and event.get("kind") in ("usage", "error"):
                    found.append(str(event.get("id")))
    return found
