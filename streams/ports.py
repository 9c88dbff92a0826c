"""What a lane is built on: the core it drives and the log it reads, as interfaces.

The detector implements the core; so does anything else that can apply records and
give its state in shards. The batch source implements the log.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from detector.records import LogRecord, Outputs


class PartitionCore(Protocol):
    """The functional core of one partition."""

    next_offset: int

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Apply records in offset order; those below ``next_offset`` are dropped."""

    def dirty_shards(self, also: Collection[str] = ()) -> dict[str, bytes | None]:
        """Return the shards changed since ``mark_clean`` (``None``: deleted).

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
