"""The slopes behind ``hypercare capacity``, and how well they predict a real worker.

Run ``python -m bench.capacity [--write]`` (Linux, about seven minutes). It measures the
core, then starts Apache Kafka and one worker, sends single events, arrays and
aggregates, and compares the worker's processor time with what the model says. Single
events give the cost of a record; the other two are predictions. ``--write`` keeps the
slopes in ``streams/capacity/slopes.json``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import psutil
from kafka import KafkaProducer

from detector.simulate import Shop, ramp
from streams.capacity.measure import measure
from streams.capacity.model import SNAPSHOT_S, Check, Measured, Slopes, read_slopes
from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings
from streams.topics import LOG, create_missing
from streams.wallclock import monotonic_s, now_ms

ROOT = Path(__file__).resolve().parent.parent
SLOPES = ROOT / "streams" / "capacity" / "slopes.json"
COMMAND = "python -m bench.capacity --write"
WINDOWS = 10
SESSIONS = {1: 8_000, 100: 20_000}
"""Sessions of a window, by events of a record."""

RUNS = 3
"""Of each kind, for the median: starting a worker takes a second more at times,
which is as much as some of the events take."""

APART_MS = 60_000
"""Between windows of single events: were they as dense as they are read, a worker would
take them for those of a clock that is off."""

SERVICES, SERVICE_WINDOWS = 100, 40
LOOK_S = 2.0
LIMIT_S = 180.0
RULES = """\
version: 1
rules:
  - name: capacity
    strata: [{attr: os}, {attr: region}]
end_of_rules: true
"""

Value = tuple[bytes, bytes, int]
"""Key and value of a record, and its events."""


class Worker:
    """A real worker, its processor time and what it has counted."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        self.port = free_ports(1)
        own = {
            "KAFKA": settings.kafka,
            "PREFIX": settings.prefix,
            "GROUP": settings.group,
            "DEMO": "1",
            "RULES": str(folder / "rules.yaml"),
            "WEB_PORT": str(self.port),
            "TICK_INTERVAL": "300",
        }
        environment = {f"HYPERCARE_{name}": value for name, value in own.items()}
        with (folder / f"{settings.prefix}.log").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "worker"],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=out,
                stderr=out,
            )
        self.wait(lambda: self._page("readyz") is not None, "the worker is ready")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _page(self, path: str) -> str | None:
        try:
            address = f"http://127.0.0.1:{self.port}/{path}"
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def counted(self) -> int:
        """Events counted so far."""
        lines = (self._page("metrics") or "").splitlines()
        mark = 'result="counted"'
        return sum(int(float(line.split()[-1])) for line in lines if mark in line)

    def cpu_s(self) -> float:
        """Processor time of the process."""
        took = psutil.Process(self.process.pid).cpu_times()
        return took.user + took.system

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def wait(self, claim: Callable[[], bool], what: str) -> None:
        """Wait until a claim holds."""
        pause, end_s = threading.Event(), monotonic_s() + LIMIT_S
        while not claim():
            if monotonic_s() > end_s or self.process.poll() is not None:
                raise RuntimeError(f"not within {LIMIT_S:g} s: {what}")
            pause.wait(LOOK_S)


def singles(array: int) -> Iterator[Value]:
    """Single events of one service, in records of so many."""
    source = Shop(sessions_per_window=SESSIONS[array], weight=ramp([(2, 0.3)]))
    rng = np.random.default_rng(5)
    begin_ms = now_ms() // 10_000 * 10_000 - APART_MS * (WINDOWS + 1)
    for index in range(WINDOWS):
        ts = begin_ms + APART_MS * index
        events = list(source.events(rng, ts, index))
        if index == 2:
            events.insert(0, source.deploy(ts, 0.3, "started"))
        for low in range(0, len(events), array):
            part = events[low : low + array]
            value = msgspec.json.encode(part if array > 1 else part[0])
            yield b"shop", value, len(part)


def aggregates() -> Iterator[Value]:
    """Aggregates of many services, window by window."""
    rng = np.random.default_rng(6)
    begin_ms = now_ms() - 10_000 * (SERVICE_WINDOWS + 1)
    shops = [
        Shop(service=f"s{n}", weight=ramp([(2, 0.3)])).windows(
            rng, begin_ms, SERVICE_WINDOWS
        )
        for n in range(SERVICES)
    ]
    for group in zip(*shops, strict=True):
        for number, events in enumerate(group):
            yield f"s{number}".encode(), msgspec.json.encode(events), len(events)


class Taken(NamedTuple):
    """What a worker took: processor time and wall time, and its memory at the end."""

    cpu_s: float
    passed_s: float
    rss_bytes: int
    values: list[Value]


def run(kafka: LocalKafka, name: str, values: list[Value], folder: Path) -> Taken:
    """Let a worker read what stands in the log already, as fast as it can."""
    settings = Settings(kafka=kafka.bootstrap, prefix=name, group=name, partitions=4)
    create_missing(settings)
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", linger_ms=20
    )
    for key, value, _ in values:
        producer.send(settings.topic(LOG), value, key=key)
    producer.flush()
    producer.close()
    wanted = sum(count for _, _, count in values)
    begun = monotonic_s()
    with Worker(settings, folder) as worker:
        worker.wait(lambda: worker.counted() >= wanted, f"{wanted} events counted")
        passed_s = monotonic_s() - begun
        return Taken(worker.cpu_s(), passed_s, worker.rss_bytes(), values)


def median(
    kafka: LocalKafka, name: str, made: Callable[[], Iterable[Value]], folder: Path
) -> Taken:
    """The run in the middle; each time with records of its own time."""
    runs = [run(kafka, f"{name}{n}", list(made()), folder) for n in range(RUNS)]
    return sorted(runs, key=lambda taken: taken.cpu_s)[RUNS // 2]


def predicted_s(slopes: Slopes, values: list[Value], passed_s: float) -> float:
    """Processor seconds of these records by the model."""
    events, records = sum(count for _, _, count in values), len(values)
    took_us = records * slopes.record_us
    if records == SERVICES * SERVICE_WINDOWS:
        series = SERVICES * 9
        took_us += events * slopes.aggregate_us
        took_us += (
            records * slopes.window_us + SERVICE_WINDOWS * series * slopes.series_us
        )
        saved_us = SERVICES * slopes.changed_us + series * slopes.changed_series_us
        took_us += passed_s / SNAPSHOT_S * saved_us
    else:
        took_us += events * slopes.array_us
    return took_us / 1e6


def main() -> int:
    """Measure, predict, compare; with --write keep the slopes."""
    say = partial(print, file=sys.stderr, flush=True)
    known = read_slopes().slopes
    slopes = measure(known, say)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = LocalKafka(folder / "kafka", port=free_ports(2), tied=True)
        stack.callback(kafka.wipe)
        kafka.start(say)
        first = list(islice(singles(1), 1))
        start = median(kafka, "start", lambda: first, folder)
        found = median(kafka, "singles", lambda: singles(1), folder)
        each_us = (found.cpu_s - start.cpu_s) / len(found.values) * 1e6
        slopes = msgspec.structs.replace(
            slopes,
            record_us=max(0.0, each_us - slopes.single_us),
            process_bytes=float(start.rss_bytes),
        )
        checks = []
        for name, made in (
            ("arrays of 100", lambda: singles(100)),
            ("aggregates", aggregates),
        ):
            say(name)
            taken = median(kafka, name.split()[0], made, folder)
            told = predicted_s(slopes, taken.values, taken.passed_s)
            real = taken.cpu_s - start.cpu_s
            checks.append(Check(name=name, measured_s=real, predicted_s=told))
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    measured = Measured(
        commit=commit,
        command=COMMAND,
        machine=f"{os.cpu_count()} shared cores, Python "
        f"{sys.version_info.major}.{sys.version_info.minor}",
        slopes=slopes,
        checks=checks,
    )
    text = msgspec.json.format(msgspec.json.encode(measured), indent=2).decode()
    if "--write" in sys.argv[1:]:
        SLOPES.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
