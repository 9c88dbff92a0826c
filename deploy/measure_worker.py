"""What a worker needs: CPU and memory under two loads, for the resource requests.

Run ``python deploy/measure_worker.py`` in the source tree (about eight minutes, Linux).
It starts Apache Kafka and, for each load, one worker with all partitions; scrapes
it, reads ``/proc``, prints one JSON object a load. CPU is the mean after the
warm-up, memory the largest resident size ever (``VmHWM``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from kafka import KafkaProducer

from detector.simulate import Shop, ramp
from streams.cli.produce import INGRESS_OF_KIND
from streams.demo.shop import ShopTraffic
from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings
from streams.topics import create_missing
from streams.wallclock import monotonic_s, now_ms

SERVICES = 500
WINDOW_S = 10
WARM_S = 60
MEASURED_S = 120
SCRAPE_S = 5
PARTITIONS = 4
READY_S = 90
MIB = 2**20


class Load(Protocol):
    """A thread that sends until it is told to stop."""

    def start(self) -> None:
        """Begin to send."""

    def stop(self) -> None:
        """Send nothing more."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""


class Fleet(threading.Thread):
    """Aggregates of many services, each with a new release beside the old one.

    The services' ten-second windows are spread over the ten seconds, as the clocks
    of independent senders are.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="fleet", daemon=True)
        self._settings = settings
        self._stop_asked = threading.Event()
        self.events = 0

    def stop(self) -> None:
        """Send nothing more."""
        self._stop_asked.set()

    def run(self) -> None:
        """Send until stopped."""
        producer: Any = KafkaProducer(
            bootstrap_servers=self._settings.kafka.split(","), acks="all", linger_ms=20
        )
        rng = np.random.default_rng(11)
        start_ms = now_ms() - WINDOW_S * 1000
        shops = [
            Shop(service=f"service-{n:03d}", weight=ramp([(1, 0.3)]))
            for n in range(SERVICES)
        ]
        sources = [
            shop.windows(rng, start_ms + (n % WINDOW_S) * 1000, 1_000_000)
            for n, shop in enumerate(shops)
        ]
        second = 0
        while not self._stop_asked.is_set():
            for source in sources[second % WINDOW_S :: WINDOW_S]:
                for record in next(source):
                    self._send(producer, record)
            producer.flush(timeout=10)
            second += 1
            wait_ms = start_ms + (WINDOW_S + second) * 1000 - now_ms()
            self._stop_asked.wait(max(0, wait_ms) / 1000)
        producer.close(timeout=5)

    def _send(self, producer: Any, record: dict[str, Any]) -> None:
        record = {k: v for k, v in record.items() if k != "received_at"}
        topic = self._settings.topic(INGRESS_OF_KIND[record["kind"]])
        key = record["service"].encode()
        producer.send(topic, msgspec.json.encode(record), key=key)
        self.events += 1


def cpu_s(pid: int) -> float:
    """Seconds of CPU a process has used."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int, name: str) -> float:
    """A line of ``/proc/PID/status`` that counts kB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in text.splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) * 1024 / MIB


def page(port: int, path: str) -> bytes:
    """What a worker answers."""
    url = f"http://127.0.0.1:{port}{path}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


@contextmanager
def worker(settings: Settings, port: int) -> Iterator[int]:
    """A worker that is ready; gives its process id."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HYPERCARE_")}
    own = {
        "HYPERCARE_KAFKA": settings.kafka,
        "HYPERCARE_PREFIX": settings.prefix,
        "HYPERCARE_GROUP": settings.group,
        "HYPERCARE_DEMO": "1",
        "HYPERCARE_WEB_PORT": str(port),
    }
    command = [sys.executable, "-m", "streams.cli", "worker", "--log-level", "warning"]
    process = subprocess.Popen(command, env=kept | own)
    try:
        wait_until_ready(process, port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the worker is ready; tell why it never will be."""
    pause, end_s = threading.Event(), monotonic_s() + READY_S
    while process.poll() is None and monotonic_s() < end_s:
        try:
            page(port, "/readyz")
        except OSError:
            pause.wait(0.5)
        else:
            return
    raise SystemExit(f"no worker was ready within {READY_S} s; see its messages above")


def measure(
    name: str, kafka: LocalKafka, make_load: Callable[[Settings], Load]
) -> dict[str, object]:
    """Figures of one load on a worker of its own."""
    settings = Settings(
        kafka=kafka.bootstrap, prefix=name, group=name, partitions=PARTITIONS
    )
    create_missing(settings)
    port = free_ports(1)
    pause = threading.Event()
    with worker(settings, port) as pid:
        idle_mib = memory_mib(pid, "VmRSS")
        load = make_load(settings)
        load.start()
        pause.wait(WARM_S)
        begun_s, used_s = monotonic_s(), cpu_s(pid)
        while monotonic_s() < begun_s + MEASURED_S:
            pause.wait(SCRAPE_S)
            page(port, "/metrics")
        took_s = monotonic_s() - begun_s
        load.stop()
        load.join(10)
        lines = page(port, "/metrics").decode().splitlines()
        return {
            "load": name,
            "cpu_cores_mean": round((cpu_s(pid) - used_s) / took_s, 3),
            "rss_mib_idle": round(idle_mib),
            "rss_mib_end": round(memory_mib(pid, "VmRSS")),
            "rss_mib_largest": round(memory_mib(pid, "VmHWM")),
            "events_sent": getattr(load, "events", None),
            "series": sum(not line.startswith("#") for line in lines),
        }


def main() -> int:
    """Measure both loads."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = LocalKafka(folder / "kafka", port=free_ports(2), tied=True)
        stack.callback(kafka.wipe)
        kafka.start(lambda line: print(line, file=sys.stderr))
        loads: dict[str, Callable[[Settings], Load]] = {
            "demo": lambda s: ShopTraffic(s, lambda _, text: None),
            "fleet": Fleet,
        }
        for name, make_load in loads.items():
            print(json.dumps(measure(name, kafka, make_load)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
