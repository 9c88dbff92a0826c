"""`hypercare act` on a real Kafka: told once, acted once, through a restart."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from standardwebhooks import Webhook

from detector.records import Output
from detector.verdicts import RecommendationRecord, Verdict, VerdictRecord
from detector.wire import recommendation_output, verdict_output
from streams.connection import kafka_python_options
from streams.kafka_local import LocalKafka, free_ports
from streams.lanes import partition_of
from streams.progress import LaneState
from streams.pulse import Pulse
from streams.signing import HEADER, Signer, new_key
from streams.topics import PULSE
from streams.wallclock import now_ms
from tests.integration.support import ROOT, Stage, until
from tests.unit.streams.receivers import SECRET, recommendation

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FILE = """\
version: 1
receivers:
  - name: pager
    kind: webhook
    allow: [127.0.0.0/8]
    webhook: {url: "http://127.0.0.1:%PORT/pager", secrets: [{env: PAGER}]}
  - name: dead
    kind: webhook
    allow: [127.0.0.0/8]
    webhook: {url: "http://127.0.0.1:%PORT/dead", secrets: [{env: PAGER}]}
  - name: store
    kind: http
    services: [shop-a]
    actions: [rollback]
    allow: [127.0.0.0/8]
    http:
      url: "http://127.0.0.1:%PORT/store/{{release}}"
      json: '{"to": "{{target}}", "why": "{{reason}}"}'
      success: {pointer: /state, equals: stopped}
  - name: script
    kind: command
    services: [shop-b]
    actions: [rollback]
    command:
      run:
        - %PYTHON
        - -c
        - import os; open("%PROOF", "a").write(os.environ["HYPERCARE_GATE_TARGET"])
end_of_receivers: true
"""


class Receivers:
    """A server with the receivers of the file; one of them is dead at first."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.is_dead = True
        receivers = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = 500 if receivers.is_dead and "dead" in self.path else 200
                receivers.calls.append((self.path, dict(self.headers), body))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{"state": "stopped"}')

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def to(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        """What came to a path."""
        return [(h, b) for p, h, b in list(self.calls) if p.startswith(path)]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Actors(Stage):
    """Topics as a worker would have written them, and processes that act."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        super().__init__(bootstrap, "act", folder)
        self.receivers = Receivers()
        secret, self.public = folder / "keys.key", folder / "keys.pub"
        for path, text in zip((secret, self.public), new_key(), strict=True):
            path.write_bytes(text)
        self.signer = Signer.load([secret])
        self.proof = folder / "proof"
        text = FILE.replace("%PORT", str(self.receivers.port))
        text = text.replace("%PYTHON", sys.executable).replace(
            "%PROOF", str(self.proof)
        )
        self.file = folder / "actuators.yaml"
        self.file.write_text(text, encoding="utf-8")
        self.ports: dict[str, int] = {}
        self._port = free_ports(2)
        self.producer: Any = KafkaProducer(
            **kafka_python_options(self.settings, "test"), acks="all"
        )

    def act(self, name: str) -> subprocess.Popen[bytes]:
        """Start a process."""
        self.ports[name] = self._port + len(self.ports)
        more = {
            "HYPERCARE_ACTUATORS": str(self.file),
            "HYPERCARE_PUBLIC_KEYS": str(self.public),
            "HYPERCARE_ACT_PORT": str(self.ports[name]),
            "HYPERCARE_STOP_FILE": str(self.folder / "STOP"),
            "PAGER": SECRET,
        }
        with self.log_of(name).open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "act"],
                cwd=ROOT,
                env=self.environment(name) | more,
                stdout=out,
                stderr=out,
            )
        self.workers.append(process)
        return process

    def page(self, name: str, path: str) -> str:
        """A page of a process; "" while it does not answer."""
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def active(self) -> str:
        """Which process delivers; "" while none does."""
        word = '"active":true'
        found = [name for name in self.ports if word in self.page(name, "/readyz")]
        return found[0] if len(found) == 1 else ""

    def log(self) -> str:
        """What all processes have said."""
        return "".join(self.said(name) for name in self.ports)

    def publish(self, record: RecommendationRecord, *, forged: bool = False) -> None:
        """What a worker writes: pulse, verdict, recommendation."""
        conf = self.settings
        self.watch(record.service)
        said = verdict_output(verdict_of(record))
        self._send("verdicts", said.key.encode(), said.value)
        output: Output = recommendation_output(record)
        topic, value = conf.topic("recommendations"), output.value
        if forged:
            value = value.replace(b"2.3.1", b"6.6.6")
        header = self.signer.header(topic, output.key.encode(), output.value)
        self._send("recommendations", output.key.encode(), value, [(HEADER, header)])
        self.producer.flush(timeout=60)

    def publish_healthy(self, services: int) -> None:
        """Others do well: what is wrong with a few is no common cause."""
        for number in range(services):
            found = verdict_of(fresh(f"well-{number}"))
            well = msgspec.structs.replace(found, verdict=Verdict.HEALTHY)
            said = verdict_output(well)
            self._send("verdicts", said.key.encode(), said.value)

    def watch(self, service: str) -> None:
        """Say that a service is watched, as its worker does every five seconds."""
        number = partition_of(service.encode(), self.settings.partitions)
        pulse = Pulse(number, "w", 1, LaneState.READY, "", 1, now_ms())
        self._send(PULSE, str(number).encode(), msgspec.json.encode(pulse))
        self.producer.flush(timeout=60)

    def _send(self, name: str, key: bytes, value: bytes, headers: Any = None) -> None:
        topic = self.settings.topic(name)
        self.producer.send(topic, value, key=key, headers=headers or [])

    def end(self) -> None:
        """Leave nothing behind."""
        super().end()
        self.producer.close()
        self.receivers.close()


def verdict_of(record: RecommendationRecord) -> VerdictRecord:
    """The verdict behind a recommendation."""
    shared = set(VerdictRecord.__struct_fields__) & set(record.__struct_fields__)
    facts = {name: getattr(record, name) for name in shared}
    return VerdictRecord(
        **facts,
        verdict=Verdict.REGRESSED,
        condition=None,
        window_end=record.decided_at,
        evidence=(),
        affected_units=1.0,
        excess_bad_units=1.0,
        onset_ms=None,
        top_signatures=(),
        ambient_ratio=None,
        competing_releases=(),
        competing_changes={},
        change_needs="",
        inferred=False,
        owner=None,
        code_version="0",
        offset=1,
        recommendation_id=record.id,
    )


def fresh(service: str, **changes: Any) -> RecommendationRecord:
    """A recommendation of this minute."""
    at_ms = now_ms()
    times = {"decided_at": at_ms, "issued_at": at_ms, "expires_at": at_ms + 600_000}
    return recommendation(service=service, **times, **changes)


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Actors]:
    """Topics, receivers and keys."""
    stage = Actors(kafka.bootstrap, tmp_path)
    yield stage
    stage.end()


def test_told_and_acted_once(made: Actors) -> None:
    """Each receiver hears once and each action happens once, beside a dead receiver,
    through a forged record, a kill and a takeover; the dead one hears later. What a
    rule leaves to one receiver no other hears."""
    processes = {name: made.act(name) for name in ("first", "second")}
    until(lambda: bool(made.active()), what="one of them delivers")
    stop = made.folder / "STOP"
    stop.write_text("")
    made.publish_healthy(10)
    for service in ("shop-a", "shop-b"):
        made.publish(fresh(service))
    made.publish(fresh("shop-c"), forged=True)
    calls = made.receivers
    until(lambda: len(calls.to("/pager")) == 2, what="both are told")
    until(lambda: "act.held" in made.log(), what="the file stops actions")
    until(lambda: "act.unsigned" in made.log(), what="the forged one is refused")
    assert calls.to("/store") == []
    assert not made.proof.exists()
    for headers, body in calls.to("/pager"):
        Webhook(SECRET).verify(body, headers)

    until(lambda: bool(made.active()), what="one of them delivers")
    dead = made.active()
    (heir,) = set(processes) - {dead}
    processes[dead].send_signal(signal.SIGKILL)
    until(lambda: made.active() == heir, what="the other one takes over")
    for service in ("shop-a", "shop-b"):
        made.watch(service)
    stop.unlink()
    until(lambda: bool(calls.to("/store")), what="the store is asked")
    until(made.proof.exists, what="the script runs")
    until(lambda: _executed(made, heir) == 2, what="both ends are told")
    assert [json.loads(body) for _, body in calls.to("/store")] == [
        {"to": "2.3.1", "why": "sessions fail twice as often"}
    ]
    assert made.proof.read_text() == "2.3.1"
    assert len(calls.to("/pager")) == 2

    calls.is_dead = False
    made.publish(fresh("shop-e", hooks=("dead", "nobody")))
    made.publish(fresh("shop-d"))
    ids = {"shop-a", "shop-b", "shop-d", "shop-e"}
    until(lambda: _services(calls.to("/dead")) >= ids, what="it is told")
    none_left = 'hypercare_delivery_pending{receiver="dead"} 0.0'
    until(lambda: none_left in made.page(heir, "/metrics"), what="none waits")
    page = made.page(heir, "/metrics")
    assert (
        'hypercare_receiver_actions_total{outcome="executed",receiver="store"} 1.0'
        in page
    )
    assert 'hypercare_delivery_pending{receiver="pager"} 0.0' in page
    assert _services(calls.to("/pager")) == {"shop-a", "shop-b", "shop-d"}
    assert "hypercare_act_unknown_hooks 1.0" in page
    assert "act.unknown_hook rule=default hook=nobody" in made.log()
    processes[heir].terminate()
    assert processes[heir].wait(timeout=30) == 0, made.said(heir)


def _executed(made: Actors, name: str) -> int:
    """How many actions have told their end."""
    lines = made.page(name, "/metrics").splitlines()
    begin = 'hypercare_receiver_actions_total{outcome="executed",'
    return sum(line.startswith(begin) and line.endswith(" 1.0") for line in lines)


def _services(calls: list[tuple[dict[str, str], bytes]]) -> set[str]:
    """Services that were told, those that were answered 500 included."""
    return {json.loads(body)["data"]["service"] for _, body in calls}
