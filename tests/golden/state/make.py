"""Write what this version leaves behind: its state topic, its log, its outputs.

``python -m tests.golden.state.make`` writes a folder named after the version and the
version of its state, and never touches one that is there: old folders are what later
versions must read.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detector import state
from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.rulefile import RuleSet, load_rules
from detector.simulate import Shop, constant, ramp
from detector.version import CODE_VERSION
from streams.core import Core
from streams.fence import Fence, Frozen
from streams.outbox import SHARD, Outbox
from streams.packs import Packs
from tests.unit.streams.memory import MemoryPartition, MemoryStateLog

HERE = Path(__file__).parent
START_MS = 1_795_356_000_000
SEED = 4
WINDOWS = 26
SNAPSHOT_AT = 18
"""Records before the newest snapshot; the rest is what the next owner reads."""

RULES = """\
version: 1
rules:
  - name: all
    strata: [{attr: os, max_values: 4}]
    persistence_s: 30
    hypercare: {min_hours: 0.0, min_exposure: 100}
end_of_rules: true
"""
ANDROID = (("os", "android"),)
IOS = (("os", "ios"),)


def lines() -> Iterator[bytes]:
    """A shop that is harmed and rolled back, and a cart of single, repeated events."""
    rng = np.random.default_rng(SEED)
    strata = ((ANDROID, 0.5), (IOS, 0.5))
    shop = Shop(
        strata=strata, weight=ramp([(3, 0.3)]), harm=constant(8.0), harm_segment=ANDROID
    )
    cart = Shop(
        service="cart", strata=strata, sessions_per_window=6.0, error_rate=0.2,
        weight=ramp([(3, 0.5)]), errors_per_failure=2,
    )  # fmt: skip
    for index, window in enumerate(shop.windows(rng, START_MS, WINDOWS)):
        ts = START_MS + index * 10_000
        late_ms = ts + 10_500
        if index == 3:
            window.append(cart.deploy(ts, 0.5, "started"))
        if index == WINDOWS - 4:
            back = shop.deploy(ts, 0.0, "rolled_back")
            window = [r for r in window if r["release"] == shop.baseline] + [back]
        singles = [
            {**one, "received_at": late_ms} for one in cart.events(rng, ts, index)
        ]
        yield msgspec.json.encode([*window, *singles, *singles[:2]])


def records(found: Iterator[bytes] | list[bytes]) -> list[LogRecord]:
    """Lines as records of the log, at the times they arrived."""
    return [
        LogRecord(offset, START_MS + offset * 10_000 + 10_500, b"shop", line)
        for offset, line in enumerate(found)
    ]


async def snapshots(log: list[LogRecord], rules: RuleSet) -> list[tuple[Any, Any]]:
    """Apply the head of the log; what the state topic then holds."""
    topic = MemoryPartition()
    fence = Fence(MemoryStateLog(topic), worker="golden", log_partitions=4)
    await fence.claim()
    core, outbox, packs = Core(Partition(0, rules)), Outbox(), Packs()
    for record in log[:SNAPSHOT_AT]:
        outbox.add(core.apply([record]).records)
        whole = fence.must_write_whole
        due = set() if whole else packs.due()
        shards = core.all_shards() if whole else core.dirty_shards(due)
        core.mark_clean()
        shards = {**shards, SHARD: outbox.encode()}
        packed = packs.pack(shards, whole=whole, due=due)
        await fence.write(Frozen(core.next_offset, packed, whole))
        await fence.clean()
    topic.compact()
    return [(record.key, record.value) for record in topic.records]


def outputs_of(partition: Partition, log: list[LogRecord]) -> list[Output]:
    """Everything a partition puts out, in order."""
    return [one for record in log for one in partition.apply([record]).records]


def main() -> int:
    """Write the folder of this version unless it is there."""
    folder = HERE / f"{CODE_VERSION}.{state.VERSION}"
    if folder.exists():
        sys.stderr.write(f"{folder.name} is there: a golden state is never rewritten\n")
        return 2
    folder.mkdir()
    rules = load_rules(RULES, source="golden")
    found = list(lines())
    topic = asyncio.run(snapshots(records(found), rules))
    outputs = outputs_of(Partition(0, rules), records(found))
    rows = [
        {"topic": o.topic, "key": o.key, "id": o.id, "value": json.loads(o.value)}
        for o in outputs
    ]
    packed = gzip.compress(msgspec.msgpack.encode(topic), mtime=0)
    (folder / "state-topic.msgpack.gz").write_bytes(packed)
    (folder / "log.jsonl.gz").write_bytes(gzip.compress(b"\n".join(found), mtime=0))
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "outputs.jsonl").write_text(text, encoding="utf-8")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
