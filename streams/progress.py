"""What a worker can say about itself: progress per partition, plain values.

Health is our own progress, not Faust's word: a partition is healthy when its next
offset follows the end of the log and its snapshots are young.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from streams.breaker import Breaker


class LaneState(StrEnum):
    """Where a partition stands in the hands of this worker."""

    RESTORING = "restoring"
    READY = "ready"
    RELEASING = "releasing"
    CLOSED = "closed"
    FENCED = "fenced"
    BLIND = "blind"


@dataclass(frozen=True, slots=True)
class LaneProgress:
    """The progress of one partition at one moment.

    ``saved`` is where the newest acknowledged snapshot was taken; it, ``highwater`` and
    ``snapshot_age_s`` are ``None`` before the first snapshot or fetch. ``reason`` says
    why a partition is blind, ``held_back`` why its outputs could not leave the last
    time.
    """

    partition: int
    state: LaneState
    epoch: int
    next_offset: int
    highwater: int | None
    saved: int | None
    idle_s: float
    snapshot_age_s: float | None
    snapshot_bytes: int
    outputs_pending: int
    reason: str
    held_back: str = ""


class Counted(NamedTuple):
    """By what records of ingress topics are counted."""

    topic: str
    codec: str
    result: str
    reason: str


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    records_in: int = 0
    misrouted: int = 0
    fetches_discarded: int = 0
    gaps_accepted: int = 0
    snapshots: int = 0
    snapshots_failed: int = 0
    outputs_sent: int = 0
    ticks_sent: int = 0
    ingress: dict[Counted, int] = field(default_factory=dict)
    breakers: defaultdict[str, Breaker] = field(
        default_factory=lambda: defaultdict(Breaker)
    )

    def count_ingress(self, key: Counted, n: int = 1) -> None:
        """Add ``n`` records of an ingress topic."""
        self.ingress[key] = self.ingress.get(key, 0) + n

    def note_batch(self, counts: Mapping[Counted, int]) -> None:
        """Add the results of one batch of ingress records."""
        shares: dict[str, Counter[str]] = {}
        for key, count in counts.items():
            self.count_ingress(key, count)
            shares.setdefault(key.topic, Counter())[key.result] += count
        for topic, share in shares.items():
            rejected = share["rejected"]
            self.breakers[topic].note(
                accepted=share.total() - rejected, rejected=rejected
            )

    @property
    def refusing(self) -> tuple[str, ...]:
        """Topics of whose last records more than half were refused."""
        return tuple(t for t, one in sorted(self.breakers.items()) if one.is_tripped)
