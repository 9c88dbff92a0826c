"""What a lane is built on: the core it drives and the log it reads, as interfaces.

The detector implements the core; so does anything else that can apply records and
give its state in shards. The batch source implements the log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from faust.types import TP

from detector.records import LogRecord, Outputs
from streams.bounded import Refused


class PartitionCore(Protocol):
    """The functional core of one partition."""

    next_offset: int

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Apply records in offset order; those below ``next_offset`` are dropped."""

    @property
    def resume_offset(self) -> int:
        """Return where a restore of what was marked clean last reads on.

        It may lie before the offset of the snapshot: a core may leave out some of
        what changed, and take it from the log again.
        """

    def dirty_shards(
        self, also: Collection[str] = (), *, everything: bool = False
    ) -> dict[str, bytes | None]:
        """Return shards changed since they were marked clean (``None``: deleted).

        ``everything`` asks for all of them, else a core may leave some for later.
        What is named in ``also`` is written too, itself or what replaces it; a name
        that stands for nothing any more is left out.
        """

    def all_shards(self) -> dict[str, bytes]:
        """Return the whole state."""

    def mark_clean(self) -> None:
        """Remember as written what was asked for last, all shards or the changed."""

    def wants_tick(self, now_ms: int) -> bool:
        """Return whether something is open that only time can close."""


class CoreFactory(Protocol):
    """Makes cores: empty ones and restored ones."""

    def new(self, partition: int) -> PartitionCore:
        """Return the core of a partition without any state."""

    def restore(
        self, partition: int, shards: Mapping[str, bytes], next_offset: int
    ) -> PartitionCore:
        """Return the core whose shards these are."""


class Bounds(NamedTuple):
    """What the log holds of a partition: ``[start, end)``, and the group's offset."""

    start: int
    end: int
    committed: int | None


class LogPort(Protocol):
    """What a lane asks of the input log."""

    async def bounds(self, partition: int) -> Bounds:
        """Return what the partition holds now."""

    async def seek(self, partition: int, offset: int) -> None:
        """Make ``offset`` the next record that is fetched."""


class BatchHandler(Protocol):
    """Who takes the records of the batch topics."""

    topics: frozenset[str]

    def wants(self, tp: TP) -> bool:
        """Return whether records of the partition may be fetched now."""

    def position(self, tp: TP) -> int | None:
        """Return the offset the partition's state is at, if it has one."""

    def committable(self, tp: TP) -> int | None:
        """Return the offset that may be committed, if there is one."""

    async def on_records(
        self, tp: TP, records: list[LogRecord], highwater: int | None
    ) -> None:
        """Take the records of one partition; an error must end the process."""

    async def on_assigned(self, tps: Iterable[TP]) -> None:
        """Begin to own partitions; must not wait for them to be restored."""

    async def on_revoked(self, tps: Iterable[TP]) -> None:
        """Write what has to be written and let partitions go."""

    def on_discarded(self, tps: Iterable[TP]) -> None:
        """Hear that a fetch of these partitions was thrown away."""

    async def on_refused(self, refused: list[Refused]) -> None:
        """Hear of batches, of any topic, that were too large to open."""

    def reports(self, topic: str) -> bool:
        """Return whether batches refused of a topic are to be told to this one."""

    def on_read_error(self, error: Exception) -> None:
        """Hear that reading failed: return to try again, or end the process."""
