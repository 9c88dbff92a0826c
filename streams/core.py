"""The functional core as the lanes know it: partitions made new or from shards."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from detector import state
from detector.engine import Partition
from detector.records import LogRecord, Outputs
from detector.rulefile import RuleSet
from streams.history import DamagedState


class Core:
    """One partition of the core behind the interface of ``streams.lane``."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self._whole = False

    @property
    def next_offset(self) -> int:
        """Next offset of the log to apply."""
        return self.partition.next_offset

    @next_offset.setter
    def next_offset(self, offset: int) -> None:
        self.partition.next_offset = offset

    @property
    def resume_offset(self) -> int:
        """Where a restore of what was marked clean last reads on."""
        return self.partition.turns.start(self.partition, ()).offset

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Apply records in offset order."""
        return self.partition.apply(records)

    def dirty_shards(
        self, also: Collection[str] = (), *, everything: bool = False
    ) -> dict[str, bytes | None]:
        """What changed, all of it or what is due, and what is named."""
        self._whole = False
        return state.dirty_blocks(self.partition, also, everything=everything)

    def all_shards(self) -> dict[str, bytes]:
        """The whole state."""
        self._whole = True
        return state.all_blocks(self.partition)

    def mark_clean(self) -> None:
        """Remember as written what was asked for last."""
        state.mark_clean(self.partition, whole=self._whole)

    def wants_tick(self, now_ms: int) -> bool:
        """Whether something is open that only time can close."""
        return self.partition.wants_tick(now_ms)


class DetectorCores:
    """Makes cores: empty ones with the rules of this worker, or restored ones."""

    def __init__(self, rules: RuleSet, topic: str) -> None:
        self.rules = rules
        self._topic = topic

    def new(self, partition: int) -> Core:
        """An empty partition under the rules of this worker."""
        return Core(Partition(partition, self.rules, self._topic))

    def restore(
        self, partition: int, shards: Mapping[str, bytes], next_offset: int
    ) -> Core:
        """The partition that wrote the shards; its rules come from its state.

        Raises
        ------
        DamagedState
            If this code can not read them: too new, or damaged.
        """
        try:
            with _no_collections():
                found = state.restore(partition, shards, next_offset, self._topic)
        except state.StateError as error:
            raise DamagedState(str(error)) from error
        return Core(found)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Let no garbage be looked for where millions of objects are made to stay.

    The collector would go through all of them again and again: decoding took five
    times as long. Freezing and thawing moves them to the oldest generation at once.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()
        if enabled:
            gc.enable()
