"""The real Prometheus and Alertmanager on shipped files, and whom they notify."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.integration.support import until
from tests.rules.programs import (
    ALERTMANAGER_EXAMPLE,
    PROMETHEUS_RULES,
    monitoring_folder,
)

SHORTER = {
    "scrape_interval": {"15s": "1s"},
    "evaluation_interval": {"15s": "1s"},
    "keep_firing_for": {"5m": "20s"},
    "for": {"1m": "6s", "2m": "25s", "10m": "60s", "30m": "60s"},
    "group_wait": {"30s": "1s", "10s": "1s"},
    "group_interval": {"5m": "2s"},
}
"""What the test's copies of the shipped files change: how long things take."""


def shortened(path: Path) -> str:
    """A shipped file with shorter times."""

    def shorter(found: re.Match[str]) -> str:
        indent, key, value = found.groups()
        return f"{indent}{key}: {SHORTER[key][value]}"

    keys = "|".join(SHORTER)
    text = path.read_text(encoding="utf-8")
    return re.sub(rf"(?m)^( *)({keys}): (\w+)$", shorter, text)


def fetched(url: str) -> Any:
    """JSON from a program on this machine."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  (loopback)
        return json.load(answer)


def answers(url: str) -> bool:
    """Whether a program is ready."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


class Receiver:
    """Gets Alertmanager's webhooks; remembers (receiver, body) in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                calls.append((self.path.strip("/"), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def about(self, name: str) -> list[tuple[str, str, dict[str, Any]]]:
        """(receiver, status, alert) of every notification about an alert, in order."""
        return [
            (receiver, body["status"], alert)
            for receiver, body in list(self.calls)
            for alert in body["alerts"]
            if alert["labels"]["alertname"] == name
        ]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Monitoring:
    """Prometheus and Alertmanager with short intervals, on ports of their own.

    Parameters
    ----------
    folder : Path
        For configuration, data and logs.
    port : int
        First of two free ports.
    workers : list of int
        Ports of the workers to scrape.
    """

    def __init__(self, folder: Path, port: int, workers: list[int]) -> None:
        self.folder = folder
        self.programs = monitoring_folder()
        self.receiver = Receiver()
        self.prometheus_port, self.alertmanager_port = port, port + 1
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._write(workers)

    def _write(self, workers: list[int]) -> None:
        targets = ", ".join(f'"127.0.0.1:{port}"' for port in workers)
        prometheus = shortened(PROMETHEUS_RULES / "prometheus.example.yml")
        for old, new in [
            ('"127.0.0.1:9093"', f'"127.0.0.1:{self.alertmanager_port}"'),
            ('"127.0.0.1:9108"', targets),
        ]:
            assert old in prometheus
            prometheus = prometheus.replace(old, new)
        texts = {
            "prometheus.yml": prometheus,
            "hypercare.yml": shortened(PROMETHEUS_RULES / "hypercare.yml"),
            "alertmanager.yml": shortened(ALERTMANAGER_EXAMPLE).replace(
                ":9199/", f":{self.receiver.port}/"
            ),
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def start_prometheus(self) -> None:
        """Start Prometheus and wait until it answers."""
        self._start(
            "prometheus",
            self.prometheus_port,
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/prometheus-data",
            # Otherwise an alert is sent again after a minute only.
            "--rules.alert.resend-delay=2s",
        )

    def start_alertmanager(self) -> None:
        """Start Alertmanager, alone, and wait until it answers."""
        self._start(
            "prometheus-alertmanager",
            self.alertmanager_port,
            f"--config.file={self.folder}/alertmanager.yml",
            f"--storage.path={self.folder}/alertmanager-data",
            "--cluster.listen-address=",
        )

    def _start(self, program: str, port: int, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("ab") as out:
            self._running[program] = subprocess.Popen(
                [
                    str(self.programs / program),
                    f"--web.listen-address=127.0.0.1:{port}",
                    *arguments,
                ],
                # Where an unpacked Alertmanager finds its template.
                cwd=self.programs,
                stdout=out,
                stderr=out,
            )
        url = f"http://127.0.0.1:{port}/-/ready"
        until(lambda: answers(url), what=f"{program} is ready", limit_s=90)

    def stop_alertmanager(self) -> None:
        """End it in good order, as a restart does."""
        program = self._running.pop("prometheus-alertmanager")
        program.send_signal(signal.SIGTERM)
        program.wait(timeout=20)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Result of an instant query."""
        base = f"http://127.0.0.1:{self.prometheus_port}/api/v1/query?"
        found = fetched(base + urlencode({"query": expression}))
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Alerts of a name that Alertmanager holds now."""
        found = fetched(f"http://127.0.0.1:{self.alertmanager_port}/api/v2/alerts")
        return [alert for alert in found if alert["labels"]["alertname"] == name]

    def end(self) -> None:
        """End whatever still runs."""
        for program in self._running.values():
            program.kill()
            program.wait()
        self.receiver.close()


@contextmanager
def monitoring(folder: Path, port: int, workers: list[int]) -> Iterator[Monitoring]:
    """Prometheus and Alertmanager that leave nothing behind."""
    made = Monitoring(folder, port, workers)
    try:
        yield made
    finally:
        made.end()
