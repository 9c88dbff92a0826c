"""A past of one partition: its log, what was said about it, and both as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from click.testing import CliRunner, Result

from detector import state
from detector.engine import Partition
from detector.records import LogRecord
from detector.reproduce import DECISIONS
from detector.rulefile import RuleSet
from detector.simulate import Record, Shop, burst, ramp
from streams.cli.main import main
from streams.recording import exact_line
from streams.reload import ruleset_command
from tests.unit.detector.traffic import START_MS, rules

STRICT = rules("persistence_s: 30", "hypercare: {min_hours: 0.0, min_exposure: 100}")
LOOSE = rules("persistence_s: 60", "hypercare: {min_hours: 0.0, min_exposure: 200}")
WINDOWS = 45
STRATA = (((("os", "ios"),), 0.5), ((("os", "android"),), 0.5))


def traffic(seed: int, shops: int, rounds: int) -> Iterator[list[Record]]:
    """Window by window: every shop ships a release a round, every third one bad."""
    rng = np.random.default_rng(seed)
    for turn in range(rounds):
        streams = []
        for number in range(shops):
            harm = burst(15, 30, 8.0) if (number + turn) % 3 == 0 else burst(0, 0, 1.0)
            shop = Shop(
                service=f"shop-{number}",
                baseline=f"{turn}.0.0",
                candidate=f"{turn + 1}.0.0",
                weight=ramp([(5, 0.3)]),
                harm=harm,
                strata=STRATA,
            )
            streams.append(
                shop.windows(rng, START_MS + turn * WINDOWS * 10_000, WINDOWS)
            )
        for group in zip(*streams, strict=True):
            yield [record for records in group for record in records]


def log_of(windows: Iterator[list[Record]]) -> list[LogRecord]:
    """Records of one partition, with a new rule set in the middle."""
    found: list[LogRecord] = []
    for number, records in enumerate(windows):
        at_ms = max(int(r["received_at"]) for r in records)
        if number == 30:
            command = ruleset_command(LOOSE, at_ms)
            found.append(LogRecord(len(found), at_ms, b"all", command))
        by_service: dict[str, list[Record]] = {}
        for record in records:
            by_service.setdefault(record["service"], []).append(record)
        for service, own in by_service.items():
            value = msgspec.json.encode(own)
            found.append(LogRecord(len(found), at_ms, service.encode(), value))
    return found


def live(records: list[LogRecord], seed: int) -> list[bytes]:
    """What a partition said that was fed by chance and moved between workers."""
    rng = np.random.default_rng(seed)
    partition, said, place = Partition(0, STRICT), list[bytes](), 0
    while place < len(records):
        size = int(rng.integers(1, 400))
        for output in partition.apply(records[place : place + size]).records:
            if output.topic in DECISIONS:
                said.append(output.value)
        place += size
        if rng.random() < 0.2:
            blocks = state.all_blocks(partition)
            partition = state.restore(0, blocks, partition.next_offset)
    return said


class Files:
    """A recorded log, its audit and the rules that it began with."""

    def __init__(self, folder: Path, records: list[LogRecord], said: list[bytes]):
        self.history = folder / "log.jsonl"
        self.audit = folder / "audit.jsonl"
        self.rules = folder / "rules.yaml"
        self.put_history(records)
        self.audit.write_bytes(b"".join(value + b"\n" for value in said))
        self.put_rules(STRICT)

    def put_history(self, records: list[LogRecord]) -> None:
        """Record these."""
        lines = (exact_line(0, record) + b"\n" for record in records)
        self.history.write_bytes(b"".join(lines))

    def put_rules(self, book: RuleSet) -> None:
        """Give other rules."""
        self.rules.write_bytes(_as_file(book))

    def replay(self, *words: str) -> Result:
        """Run the command on these files."""
        paths = ("--audit", str(self.audit), "--history", str(self.history))
        return self.run("replay", *words, *paths)

    def run(self, *words: str) -> Result:
        """Run a command under the rules that it began with."""
        return CliRunner().invoke(main, [*words, "--rules", str(self.rules)])


def _as_file(book: RuleSet) -> bytes:
    """A rule set as a file."""
    whole = json.loads(book.to_canonical_json())
    return json.dumps({**whole, "end_of_rules": True}).encode()


@cache
def short_past() -> tuple[list[LogRecord], list[bytes]]:
    """A log of four shops and three releases each, and what was said about it."""
    records = log_of(traffic(5, 4, 3))
    return records, live(records, 6)


@cache
def single_past() -> tuple[list[LogRecord], list[bytes]]:
    """A log of a bad release (of shop-0) beside a good one (of shop-1)."""
    records = log_of(traffic(5, 2, 1))
    return records, live(records, 6)
