"""Who takes part, and what each is told."""

from __future__ import annotations

import msgspec

from bench.kafka.workloads import Workload

HYPERCARE, COUNTING, AIOKAFKA = "hypercare", "counting-only", "aiokafka"
CONFLUENT, QUIX, FAUST = "confluent-kafka", "quixstreams", "faust agent"
CONTESTANTS = (HYPERCARE, COUNTING, AIOKAFKA, CONFLUENT, QUIX, FAUST)
SLOW = (QUIX, FAUST)
SLOW_EVENTS_MAX = 40_000


class Entry(msgspec.Struct, kw_only=True):
    """What one process is asked to read.

    ``ends`` are the offsets before which each partition ends, ``events`` what is there
    in all; a slow contestant stops after ``limit`` events.
    """

    contestant: str
    bootstrap: str
    prefix: str
    group: str
    load: Workload
    ends: dict[int, int]
    events: int
    limit: int

    @property
    def topic(self) -> str:
        """Name of the log."""
        return f"{self.prefix}.events"


def run(entry: Entry) -> None:
    """Be that contestant; the process ends with its result."""
    from bench.kafka import frameworks, hypercare, loops

    {
        HYPERCARE: lambda: hypercare.run(entry, detection=True),
        COUNTING: lambda: hypercare.run(entry, detection=False),
        AIOKAFKA: lambda: loops.run_aiokafka(entry),
        CONFLUENT: lambda: loops.run_confluent(entry),
        QUIX: lambda: frameworks.run_quixstreams(entry),
        FAUST: lambda: frameworks.run_faust(entry),
    }[entry.contestant]()
