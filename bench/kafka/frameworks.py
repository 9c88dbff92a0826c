"""Stream frameworks as their guides show them: a count per key and window.

They are slow, so they are given fewer events of the same log. They count less than the
plain loops do: by service and window only, and no copy is recognised.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from bench.kafka.contest import Entry
from bench.kafka.meter import Meter
from bench.plain import WINDOW_MS


class _Events:
    """Counts events that went through, and ends the process after enough of them."""

    def __init__(self, limit: int) -> None:
        self.meter = Meter()
        self._limit = limit
        self._seen = 0

    def note(self) -> None:
        """Note one event, after it was counted."""
        self._seen += 1
        if self._seen >= self._limit:
            self.meter.end(self._seen)


def run_quixstreams(entry: Entry) -> None:
    """A tumbling window that counts, with its state in RocksDB and a changelog."""
    from quixstreams import Application

    app = Application(
        broker_address=entry.bootstrap,
        consumer_group=entry.group,
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(prefix="quix-"),
        loglevel="WARNING",
    )
    events = _Events(entry.limit)
    stream = app.dataframe(
        app.topic(entry.topic, value_deserializer="json", key_deserializer="str")
    )

    def begin(value: Any) -> None:
        events.meter.begin()

    stream = stream.update(begin)
    if entry.load.array > 1:
        stream = stream.apply(lambda value: value, expand=True)
    stream = stream.tumbling_window(duration_ms=WINDOW_MS, grace_ms=20_000)
    stream = stream.count().current()
    stream.update(lambda value: events.note())
    app.run()


def run_faust(entry: Entry) -> None:
    """An agent that counts in a table."""
    import faust

    app = faust.App(
        entry.group,
        broker=f"kafka://{entry.bootstrap}",
        store="memory://",
        topic_partitions=len(entry.ends),
        consumer_auto_offset_reset="earliest",
        datadir=tempfile.mkdtemp(prefix="faust-"),
        web_enabled=False,
    )
    table = app.Table("counts", default=int)
    events = _Events(entry.limit)

    @app.agent(app.topic(entry.topic, value_type=bytes, value_serializer="raw"))
    async def count(stream: Any) -> None:
        async for value in stream:
            events.meter.begin()
            decoded = json.loads(value)
            for event in decoded if isinstance(decoded, list) else [decoded]:
                table[f"{event['service']} {event['ts'] // WINDOW_MS}"] += 1
                events.note()

    sys.argv = ["faust", "worker", "-l", "warn", "--without-web"]
    app.main()
