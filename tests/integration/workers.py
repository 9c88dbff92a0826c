"""A worker whose core counts exactly, for tests that kill and stop workers.

Run as ``python -m tests.integration.workers`` with ``HYPERCARE_*`` set: the real
application with :class:`CountingPartition` in place of the detector.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from detector.records import LogRecord, Output, Outputs

OUTPUT_EVERY = 100
"""A key's every so many-th record gives one output: its id is a fact."""


class CountingPartition:
    """Counts records and adds up their numbers per key; a shard per key."""

    def __init__(self) -> None:
        self.next_offset = 0
        self.counts: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.dirty: set[str] = set()
        self.wanted_ticks = 0

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Count each record once; the value is a number or a JSON array of them."""
        outputs = Outputs()
        for record in records:
            if record.offset < self.next_offset:
                continue
            self.next_offset = record.offset + 1
            key = (record.key or b"").decode()
            for number in numbers(record.value):
                self.counts[key] += 1
                self.sums[key] += number
                if self.counts[key] % OUTPUT_EVERY == 0:
                    outputs.records.append(self._output(key))
            self.dirty.add(key)
        return outputs

    def _output(self, key: str) -> Output:
        value = json.dumps([key, self.counts[key], self.sums[key]]).encode()
        return Output("verdicts", key, value, f"{key}-{self.counts[key]}")

    def all_shards(self) -> dict[str, bytes]:
        """Return one shard per key."""
        return {key: self._shard(key) for key in self.counts}

    @property
    def resume_offset(self) -> int:
        """Return where a restore reads on: nothing is ever left out."""
        return self.next_offset

    def dirty_shards(
        self, also: Collection[str] = (), *, everything: bool = False
    ) -> dict[str, bytes | None]:
        """Return the shards of the keys that changed or are asked for."""
        wanted = self.dirty | (set(also) & self.counts.keys())
        return {key: self._shard(key) for key in wanted}

    def _shard(self, key: str) -> bytes:
        return json.dumps([self.counts[key], self.sums[key]]).encode()

    def mark_clean(self) -> None:
        """Take everything as written."""
        self.dirty.clear()

    def wants_tick(self, now_ms: int) -> bool:
        """Want a tick while this many are wanted."""
        return self.wanted_ticks > 0


def numbers(value: bytes | None) -> list[int]:
    """Return the numbers a record holds."""
    decoded = json.loads(value or b"[]")
    return decoded if isinstance(decoded, list) else [decoded]


class CountingCores:
    """Makes counting partitions."""

    def new(self, partition: int) -> CountingPartition:
        """Return one that has counted nothing."""
        return CountingPartition()

    def restore(
        self, partition: int, shards: Mapping[str, bytes], next_offset: int
    ) -> CountingPartition:
        """Return one with the counts of its shards."""
        core = CountingPartition()
        core.next_offset = next_offset
        for key, shard in shards.items():
            core.counts[key], core.sums[key] = json.loads(shard)
        return core


def main() -> None:
    """Run a worker until it is told to end."""
    from streams.app import create_app
    from streams.settings import Settings

    app = create_app(Settings.from_environment(os.environ), CountingCores())
    sys.argv = ["faust", "worker", "-l", "info"]
    app.main()


if __name__ == "__main__":
    main()
