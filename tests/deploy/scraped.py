"""A worker's real pages and a real Prometheus that scrapes them, on loopback."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from detector.engine import Partition
from detector.records import LogRecord
from detector.rulefile import load_rules
from detector.simulate import Shop, ramp
from detector.view import partition_view
from streams.kafka_local import free_ports
from streams.metrics import Metrics, Readings, RulesStatus
from streams.progress import Counted, Counters, LaneProgress, LaneState
from streams.readiness import Readiness
from streams.wallclock import monotonic_s, now_ms
from streams.web import Web
from tests.rules.programs import monitoring_folder

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60
WINDOWS = 60
WINDOW_MS = 2_000


def shop_partition() -> Partition:
    """A release with an open recommendation; some records were not counted."""
    start_ms = now_ms() - WINDOWS * WINDOW_MS - 1_000
    text = (ROOT / "rules/demo.yaml").read_text(encoding="utf-8")
    partition = Partition(0, load_rules(text, source="demo.yaml"))
    shop = Shop(
        window_s=WINDOW_MS // 1000,
        sessions_per_window=400,
        error_rate=0.02,
        weight=ramp([(10, 0.3)]),
        harm=lambda window: 8.0 if window >= 15 else 1.0,
        harm_segment=(("os", "android"), ("region", "eu")),
    )
    # One fixed seed: the same release is recommended against in every run.
    windows = list(shop.windows(np.random.default_rng(1), start_ms, WINDOWS))
    values = [msgspec.json.encode(window) for window in windows]
    late = values[0]
    for offset, value in enumerate([*values, values[-1], late, b"{"]):
        arrival_ms = start_ms + (min(offset, WINDOWS - 1) + 1) * WINDOW_MS + 500
        partition.apply([LogRecord(offset, arrival_ms, b"shop", value)])
    return partition


class Worker(threading.Thread):
    """A worker's real pages over this partition, on a free port."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(name="pages", daemon=True)
        view = partition_view(partition)
        lane = LaneProgress(0, LaneState.READY, 1, 9, 9, 9, 0.1, 0.1, 4096, 0, "")
        counters = Counters()
        counters.count_ingress(
            Counted("hypercare.usage", "envelope", "accepted", ""), 7
        )
        counters.count_ingress(
            Counted("hypercare.usage", "envelope", "rejected", "syntax")
        )
        readings = Readings(
            views=lambda: [view],
            lanes=lambda: [lane],
            counters=counters,
            rules=lambda: RulesStatus(1, True),
            now_ms=now_ms,
            monotonic_s=monotonic_s,
        )
        self.metrics = Metrics(readings)
        self.web = Web(
            self.metrics,
            Readiness(snapshot_interval_s=2.0),
            is_member=lambda: True,
            monotonic_s=monotonic_s,
            port=0,
        )
        self.is_up = threading.Event()
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until told to stop."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        """Close the port."""
        self._ended.set()
        self.join(10)

    async def _serve(self) -> None:
        await self.web.start()
        self.is_up.set()
        while not await asyncio.to_thread(self._ended.wait, 0.5):
            self.metrics.observe_tick(0.002)
        await self.web.stop()


class Prometheus:
    """A running Prometheus that is asked by HTTP."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **arguments: str) -> Any:
        """The data of an answer; an error of Prometheus fails the test."""
        query = urllib.parse.urlencode(arguments)
        url = f"{self.address}{path}?{query}"
        with urllib.request.urlopen(url, timeout=10) as got:  # noqa: S310 - loopback
            return json.loads(got.read())["data"]

    def series(self, expr: str) -> list[dict[str, Any]]:
        """Series of an instant query."""
        found: list[dict[str, Any]] = self.ask("/api/v1/query", query=expr)["result"]
        return found

    def wait_for(self, expr: str) -> None:
        """Return when a query has an answer."""
        pause, end_s = threading.Event(), monotonic_s() + LIMIT_S
        while monotonic_s() < end_s:
            try:
                if self.series(expr):
                    return
            except OSError:
                pass  # not listening yet
            pause.wait(0.2)
        pytest.fail(f"no answer within {LIMIT_S} s: {expr}")


@contextmanager
def prometheus(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """Prometheus on a configuration that may be reloaded."""
    path, port = folder / "prometheus.yml", free_ports(1)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        str(monitoring_folder() / "prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(30)


def configuration(worker_port: int) -> str:
    """The compose file's configuration, with this machine's paths and addresses."""
    text = (ROOT / "deploy/compose/prometheus.yml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "rules/prometheus/hypercare.yml")]
    del config["alerting"]
    (job,) = [one for one in config["scrape_configs"] if one["job_name"] == "hypercare"]
    config["scrape_configs"] = [job]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{worker_port}"]}]
    return yaml.safe_dump(config)
