"""Receivers that are dead delay neither detection nor those who are well.

Forty services go bad at two thousand events a second, with nobody told, with one good
receiver, and with four dead ones beside it: what each recommendation took, from the
record that decided it, by the broker's clock. It measures, two minutes a round, so it
runs where ``ROUNDS=1`` asks for it; that nobody waits for the dead is tested in
``test_act_lane.py``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings
from streams.signing import new_key
from streams.topics import create_missing
from streams.wallclock import now_ms
from tests.integration.monitoring import fetched
from tests.integration.support import ROOT, until
from tests.unit.streams.receivers import (
    SECRET,
    Behave,
    Server,
    flooding,
    serving,
    silent,
    status,
)

latency: Any = pytest.importorskip("bench.kafka.latency", exc_type=ImportError)
"""Needs what benchmarks need."""

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif("ROUNDS" not in os.environ, reason="ROUNDS=1 measures it"),
]

logger = logging.getLogger(__name__)

RATE, SECONDS = 2_000, 30
ROUNDS = int(os.environ.get("ROUNDS", "1"))
SLOWER_S = 1.0
LEAD_MS = 3_000
"""For giving all records their times before the first one is due."""
DEAD: dict[str, Behave] = {
    "silent": silent,
    "failing": status("500 No"),
    "flooding": flooding,
    "redirecting": status("302 Found", "Location: http://169.254.169.254/latest/"),
}
ENTRY = """\
  - name: {name}
    kind: webhook
    allow: [127.0.0.0/8]
    webhook: {{url: "{url}", secrets: [{{env: SECRET}}]}}
"""

Told = dict[tuple[str, int], int]


class Delays(NamedTuple):
    """Seconds until each recommendation stood, and from there to the good receiver."""

    found_s: list[float]
    told_s: list[float]


class Receivers:
    """The good one and, if asked for, the dead ones, in a thread of their own."""

    def __init__(self, names: list[str]) -> None:
        self.told: Told = {}
        self.servers: dict[str, Server] = {}
        self._names = names
        self._ready, self._ended = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(30)

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async def good(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = json.loads(self.servers["good"].heard[-1][1])["data"]
            self.told.setdefault((data["id"], data["revision"]), now_ms())
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()

        async with AsyncExitStack() as stack:
            for name, behave in {"good": good, **DEAD}.items():
                if name in self._names:
                    made = await stack.enter_async_context(serving(behave))
                    self.servers[name] = made
            self._ready.set()
            await self._ended.wait()


@contextmanager
def acting(settings: Settings, folder: Path, names: list[str]) -> Iterator[Receivers]:
    """`hypercare act` that tells these receivers; without any it does not run."""
    receivers = Receivers(names)
    entries = [
        ENTRY.format(name=name, url=server.url)
        for name, server in receivers.servers.items()
    ]
    file = folder / "actuators.yaml"
    text = f"version: 1\nreceivers:\n{''.join(entries)}end_of_receivers: true\n"
    file.write_text(text, encoding="utf-8")
    environment = os.environ | {
        "HYPERCARE_KAFKA": settings.kafka,
        "HYPERCARE_PREFIX": settings.prefix,
        "HYPERCARE_GROUP": settings.prefix,
        "HYPERCARE_ACTUATORS": str(file),
        "HYPERCARE_PUBLIC_KEYS": str(folder / "keys.pub"),
        "HYPERCARE_ACT_PORT": "0",
        "SECRET": SECRET,
    }
    command = [sys.executable, "-m", "streams.cli", "act"]
    log = folder / "act.log"
    process = None
    try:
        if names:
            with log.open("wb") as out:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=out, stderr=out
                )
            until(lambda: "act.listening" in log.read_text(), what="it runs")
        yield receivers
    finally:
        if process is not None:
            process.terminate()
            process.wait(30)
        receivers.close()


def ready(port: int) -> int:
    """How many partitions a worker has ready; 0 while it does not answer."""
    try:
        status = fetched(f"http://127.0.0.1:{port}/v1/status")
    except OSError:
        return 0
    return sum(lane["state"] == "ready" for lane in status["lanes"])


def measured(
    settings: Settings, folder: Path, names: list[str], drawn: list[latency.Sent]
) -> Delays:
    """One run of the load, with these receivers."""
    create_missing(settings)
    folder.mkdir()
    rules = folder / "rules.yaml"
    rules.write_text(latency.RULES, encoding="utf-8")
    for name, text in zip(("keys.key", "keys.pub"), new_key(), strict=True):
        (folder / name).write_bytes(text)
    port = free_ports(1)
    more = {
        "HYPERCARE_SIGNING_KEYS": str(folder / "keys.key"),
        "HYPERCARE_WEB_PORT": str(port),
    }
    worker = latency.start(settings, rules, folder / "worker.log", **more)
    try:
        with acting(settings, folder, names) as receivers:
            until(lambda: ready(port) == settings.partitions, what="it is ready")
            start_ms = ((now_ms() + LEAD_MS) // 10_000 + 1) * 10_000
            latency.send(settings, [latency.shifted(one, start_ms) for one in drawn])
            threading.Event().wait(latency.LAST_S)
            told = dict(receivers.told)
            heard = {name: len(one.heard) for name, one in receivers.servers.items()}
    finally:
        worker.terminate()
        worker.wait(30)
    found = latency.delays_ms(settings, "recommendations", "evidence_offset")
    wrote: Told = {}
    for record in latency.read(settings, "recommendations"):
        body = msgspec.json.decode(record.value())
        wrote.setdefault((body["id"], body["revision"]), record.timestamp()[1])
    assert len(wrote) >= latency.SERVICES, len(wrote)
    assert all(heard.values()), heard
    assert not names or set(told) == set(wrote)
    return Delays(
        [one / 1_000 for one in found],
        [(at_ms - wrote[which]) / 1_000 for which, at_ms in told.items()],
    )


@pytest.mark.fault("19")
def test_dead_receivers_delay_nothing(kafka: LocalKafka, tmp_path: Path) -> None:
    """Every recommendation reaches the good receiver, and neither that nor detection
    takes a second longer than without the dead ones."""
    arms: dict[str, list[str]] = {
        "nobody": [],
        "good": ["good"],
        "dead": ["good", *DEAD],
    }
    seen = {arm: Delays([], []) for arm in arms}
    drawn = latency.records(0, SECONDS // latency.WINDOW_S, RATE)
    for number in range(ROUNDS):
        for arm, names in arms.items():
            settings = Settings(
                kafka=kafka.bootstrap, prefix=f"dead{number}-{arm}", demo=True
            )
            one = measured(settings, tmp_path / f"{number}-{arm}", names, drawn)
            seen[arm].found_s.extend(one.found_s)
            seen[arm].told_s.extend(one.told_s)
    for arm, delays in seen.items():
        for what, found in delays._asdict().items():
            if found:
                figures = np.percentile(found, [50, 99, 100]).round(3)
                logger.info("%s %s: %d, %s", arm, what, len(found), figures)
    # Of medians: on a busy machine the longest is what else ran there; that of
    # deliveries is held by test_act_lane.py.
    for before, beside in (
        (seen["nobody"].found_s, seen["dead"].found_s),
        (seen["good"].told_s, seen["dead"].told_s),
    ):
        assert len(beside) >= latency.SERVICES
        assert np.median(beside) - np.median(before) < SLOWER_S
