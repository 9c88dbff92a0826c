"""`hypercare drill` through `hypercare act` and servers of gates, on a real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from acting.answers import Answer, Ruling, Why
from acting.figures import drills
from acting.known import Known
from streams.cli.main import main
from streams.gate.executions import Executions
from streams.kafka_local import LocalKafka, free_ports
from streams.wallclock import monotonic_s
from tests.integration.gating import Place, Served
from tests.integration.support import ROOT, until
from tests.integration.test_act import Receivers
from tests.unit.streams.receivers import SECRET

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

FILE = """\
version: 1
receivers:
  - name: pager
    kind: webhook
    services: [shop]
    allow: [127.0.0.0/8]
    webhook: {url: "%URL/pager", secrets: [{env: PAGER}]}
  - name: hurt
    kind: webhook
    allow: [127.0.0.0/8]
    webhook: {url: "%URL/dead", secrets: [{env: PAGER}]}
  - name: alerts
    kind: alertmanager
    allow: [127.0.0.0/8]
    alertmanager: {urls: ["%URL/am"]}
  - name: store
    kind: http
    actions: [halt]
    allow: [127.0.0.0/8]
    http: {url: "%URL/store/{{release}}", json: '{}'}
  - name: script
    kind: command
    actions: [rollback]
    command: {run: [%PYTHON, -c, "open('%PROOF', 'w')"]}
  - name: flags
    kind: flags
    actions: [withdraw]
end_of_receivers: true
"""


class Ways(Place):
    """Topics, receivers, a process that acts, and drills."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        super().__init__(bootstrap, prefix, folder)
        self.receivers = Receivers()
        self.proof, self.log = folder / "proof", folder / "act.log"
        text = FILE.replace("%URL", f"http://127.0.0.1:{self.receivers.port}")
        text = text.replace("%PYTHON", sys.executable).replace(
            "%PROOF", str(self.proof)
        )
        (folder / "actuators.yaml").write_text(text, encoding="utf-8")
        (folder / "drill.token").write_text(self.tokens["act"] + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of everything that is started."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HYPERCARE_")}
        return clean | {
            "HYPERCARE_KAFKA": self.settings.kafka,
            "HYPERCARE_PREFIX": self.settings.prefix,
            "HYPERCARE_GROUP": self.settings.group,
            "HYPERCARE_ACTUATORS": str(self.folder / "actuators.yaml"),
            "HYPERCARE_PUBLIC_KEYS": str(self.folder / "gating.pub"),
            "HYPERCARE_SIGNING_KEYS": str(self.folder / "gating.key"),
            "HYPERCARE_STOP_FILE": str(self.folder / "STOP"),
            "HYPERCARE_ACT_PORT": str(free_ports(1)),
            "PAGER": SECRET,
            "USER": "ada",
        }

    def act(self) -> None:
        """Start to deliver."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "act"],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=out,
            )
        until(lambda: "act.active" in self.log.read_text(), what="act delivers")

    def drill(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The exit code, and the steps by name."""
        done = CliRunner().invoke(
            main, ["drill", "--json", *words], env=self.environment
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.output
        return done.exit_code, {line["name"]: line for line in lines}

    def through(self, gates: Served) -> list[str]:
        """Words that lead through a server."""
        return ["--gates", gates.url, "--gates-token", str(self.folder / "drill.token")]

    def known(self) -> Known:
        """All claims up to now."""
        with closing(Executions(self.settings, monotonic_s=monotonic_s)) as found:
            found.catch_up()
            return found.ledger.known

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
        self.receivers.close()
        super().close()


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Ways]:
    """Everything but `hypercare act`."""
    with closing(Ways(kafka.bootstrap, f"drill-{tmp_path.name}", tmp_path)) as ways:
        ways.pulse()
        yield ways


def test_drill_goes_every_way(made: Ways) -> None:
    """Without anybody who acts the way is told as unanswered. A receiver that answers
    500 fails alone, the others are told what was seen. When all are well each way's
    success is on record, nobody was asked to do anything, and nothing was queued."""
    code, steps = made.drill("--act", "--wait", "2")
    assert (code, steps["act all receivers"]["is_fine"]) == (3, False)
    assert list(drills(made.known())) == ["gate"]

    made.act()
    code, steps = made.drill("--act")
    assert code == 3
    assert not steps["act hurt"]["is_fine"]
    assert "500" in steps["act hurt"]["text"]
    assert "record act" not in steps
    good = ("pager", "alerts", "store", "script", "flags")
    for name in good:
        assert steps[f"act {name}"]["is_fine"], steps

    made.receivers.is_dead = False
    with made.served() as one, made.served() as other:
        begun = len(made.receivers.calls)
        code, steps = made.drill("--act", *made.through(one), *made.through(other))
        assert code == 0, steps
        for name in ("store", "script", "flags"):
            assert steps[f"act {name}"]["text"].startswith("24 drill"), steps
        for gates in (one, other):
            step = steps[f"gates 127.0.0.1:{gates.port}"]
            assert step["text"].startswith("24 drill")
            assert step["took_ms"] >= 0
        assert other.ask("/v1/recommendations").body["recommendations"] == []
        page = one.ask("/metrics").text
    calls = made.receivers.calls[begun:]
    assert sorted(path.split("?")[0] for path, _, _ in calls) == [
        "/am/api/v2/alerts",
        "/dead",
        "/pager",
    ]
    said = [json.loads(body) for path, _, body in calls if path != "/am/api/v2/alerts"]
    assert {one["type"] for one in said} == {"hypercare.recommendation.drill"}
    assert all(one["data"]["test"] for one in said)
    assert not made.proof.exists()
    known = made.known()
    assert (known.leases, known.done) == ({}, [])
    assert sorted(known.drills) == ["act", "gate", "http"]
    for kind in known.drills:
        assert f'drill_last_success_timestamp_seconds{{kind="{kind}"}}' in page


def test_server_that_does_not_stop_it_fails(made: Ways) -> None:
    """A token of scope read, a server that is stopped by its own switch, and one that
    is away are no success, and each is told with what it said."""
    free = f"http://127.0.0.1:{free_ports(1)}"
    token = made.folder / "read.token"
    token.write_text(made.tokens["read"])
    with made.served() as gates:
        words = ["--gates", gates.url, "--gates-token", str(token), "--wait", "5"]
        code, steps = made.drill(*words)
        step = steps[f"gates 127.0.0.1:{gates.port}"]
        assert (code, "403" in step["text"]) == (3, True), step
    killed = Ruling(Answer.FROZEN, Why.KILLED, "stopped here")
    with made.served(stopped_here=lambda: killed) as gates:
        code, steps = made.drill(*made.through(gates))
        step = steps[f"gates 127.0.0.1:{gates.port}"]
        assert (code, step["text"][:9]) == (3, "22 killed"), step
    words = ["--gates", free, "--gates-token", str(token), "--wait", "2"]
    code, steps = made.drill(*words)
    assert code == 3
    assert "within 2 s" in steps[f"gates {free.removeprefix('http://')}"]["text"]
    assert sorted(made.known().drills) == ["gate"]
