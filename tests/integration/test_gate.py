"""`hypercare gate` on a real Kafka: one of all callers acts, every lock holds."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acting.answers import Answer, Why
from streams.gate.access import Scope, digest_of, new_token
from streams.gate.asking import Question, ask
from streams.gate.executions import Executions
from streams.gate.reading import Release, Topics
from streams.kafka_local import LocalKafka, free_ports
from streams.signing import Verifier
from streams.wallclock import monotonic_s, now_ms
from tests.integration.detecting import RULES, DetectorStage, windows
from tests.integration.support import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CALLERS = 20
WINDOWS = 75
PLACE = ("shop-bad", "2.4.0")


class Gated(DetectorStage):
    """A stage whose rule lets machines act, and commands that ask."""

    rules_text = RULES.replace("- name: test", "- name: test\n    mode: auto")

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command of an operator, who knows the workers' public key."""
        known = {"HYPERCARE_PUBLIC_KEYS": str(self.public), "USER": "ada"}
        return subprocess.run(
            [sys.executable, "-m", "streams.cli", *words],
            cwd=ROOT,
            env=self.environment("gate") | known | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def gate(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Ask the gate about the bad release."""
        return self.command("gate", *PLACE, "--on-unavailable", "halt", *words, **more)

    def ask(self, number: int) -> tuple[Answer, Why]:
        """Ask once, as a caller with connections of its own."""
        verifier = Verifier.load([self.public])
        asked = Release(PLACE[0], "production", PLACE[1], None)
        question = Question(asked, f"job-{number}", f"{number:016d}", 60)
        with (
            closing(Topics(self.settings, monotonic_s=monotonic_s)) as topics,
            closing(Executions(self.settings, monotonic_s=monotonic_s)) as claims,
        ):
            ruling = ask(question, topics, verifier, lambda: claims, now_ms()).ruling
        return ruling.answer, ruling.why


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Gated]:
    """A worker that has recommended a rollback of the bad release."""
    stage = Gated(kafka.bootstrap, "gate", tmp_path)
    stage.rules.write_text(Gated.rules_text, encoding="utf-8")
    yield stage
    stage.end()


def test_one_of_all_callers_acts(made: Gated, rng: np.random.Generator) -> None:
    """Unknown, then recommended: a stopped, a frozen and a not trusted gate refuse;
    of twenty callers one gets the lease, runs its command, and nobody does again."""
    worker = made.start("w0")
    until(lambda: made.said("w0").count("lane.ready") == 4, what="the worker is up")
    numbers = count(1)
    until(
        lambda: made.ask(next(numbers))[1] is Why.UNKNOWN,
        what="the worker says it watches",
    )
    producer = made.producer()
    for records in windows(rng, WINDOWS):
        made.write_log(records, producer)
    until(lambda: bool(made.recommendations()), what="the recommendation")

    stopped = made.gate(HYPERCARE_STOP="1")
    assert stopped.returncode == Answer.FROZEN, stopped.stderr
    other = made.folder / "stop"
    other.write_text("")
    assert made.gate(HYPERCARE_STOP_FILE=str(other)).returncode == Answer.FROZEN
    keys = made.command("keys", "new", str(made.folder / "stranger"))
    assert keys.returncode == 0, keys.stderr
    stranger = str(made.folder / "stranger.pub")
    unknown = made.gate("--json", HYPERCARE_PUBLIC_KEYS=stranger)
    assert unknown.returncode == Answer.STALE
    assert json.loads(unknown.stdout)["why"] == Why.UNSIGNED
    order = made.command("order", "freeze", "--service", PLACE[0], "--why", "drill")
    assert order.returncode == 0, order.stderr
    assert made.ask(1_000) == (Answer.FROZEN, Why.FROZEN)
    order = made.command("order", "thaw", "--service", PLACE[0], "--why", "over")
    assert order.returncode == 0, order.stderr

    proof = made.folder / "done"
    code = "import os; print(os.environ['HYPERCARE_GATE_TARGET'], file="
    code += f"open({str(proof)!r}, 'a'))"
    with ThreadPoolExecutor(CALLERS) as pool:
        first = pool.submit(made.gate, "--", sys.executable, "-c", code)
        found = list(pool.map(made.ask, range(2_000, 2_000 + CALLERS)))
    answers = Counter([Answer(first.result().returncode), *(a for a, _ in found)])
    assert answers == {Answer.ACT: 1, Answer.HANDLED: CALLERS}
    if first.result().returncode == Answer.ACT:
        assert proof.read_text() == "2.3.1\n"
    listed = made.command("executions", "list", "--json")
    (lease,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (lease["action"], lease["target"]) == ("rollback", "2.3.1")

    _asked_over_http(made)

    worker.kill()
    worker.wait()
    silent = made.gate(HYPERCARE_KAFKA="127.0.0.1:1")
    assert silent.returncode == Answer.UNREACHABLE
    going = made.command(
        "gate", *PLACE, "--on-unavailable", "continue", HYPERCARE_KAFKA="127.0.0.1:1"
    )
    assert going.returncode == Answer.GO_ON


class Server:
    """`hypercare gates serve` with a token for each scope."""

    def __init__(self, made: Gated) -> None:
        self.tokens = {scope: new_token() for scope in Scope}
        lines = [f"{s} {s} {digest_of(t).hex()}" for s, t in self.tokens.items()]
        path = made.folder / "tokens"
        path.write_text("\n".join(lines))
        self.port = free_ports(1)
        own = {
            "HYPERCARE_PUBLIC_KEYS": str(made.public),
            "HYPERCARE_GATES_TOKENS": str(path),
            "HYPERCARE_GATES_PORT": str(self.port),
        }
        with (made.folder / "gates.log").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "gates", "serve"],
                cwd=ROOT,
                env=made.environment("gates") | own,
                stdout=out,
                stderr=out,
            )
        made.workers.append(self.process)

    def call(
        self,
        path: str,
        body: object = None,
        *,
        scope: Scope | None = None,
        host: str | None = None,
    ) -> tuple[int, Any]:
        """Ask; status and what came back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {} if host is None else {"Host": host}
        if scope is not None:
            headers["Authorization"] = f"Bearer {self.tokens[scope]}"
        try:
            method = "GET" if body is None else "POST"
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except OSError:
            return 0, None
        finally:
            connection.close()


def _asked_over_http(made: Gated) -> None:
    """Argo hears regressed; Flagger's hooks hear what the table says, and its rollback
    that somebody else has done it; each scope may do what it may, and no more."""
    server, question = Server(made), f"?service={PLACE[0]}&release={PLACE[1]}"
    until(lambda: server.call("/readyz")[0] == 200, what="the gates have read all")
    path = f"/v1/gate{question}"
    assert server.call(path)[0] == 401
    assert server.call(path, scope=Scope.READ, host="evil.example")[0] == 403
    status, said = server.call(path, scope=Scope.READ)
    assert (status, said["data"]["verdict"]) == (200, "regressed")
    assert (said["data"]["action"], said["data"]["target"]) == ("rollback", "2.3.1")
    other = server.call("/v1/gate?service=shop-bad&release=9+9", scope=Scope.READ)[1]
    assert (other["data"]["verdict"], other["data"]["standing"]) == (
        "inconclusive",
        "unknown",
    )
    hook = {
        "name": PLACE[0],
        "namespace": "test",
        "phase": "Progressing",
        "metadata": {"release": PLACE[1], "token": server.tokens[Scope.ACT]},
    }
    for name, status in (("rollout", 409), ("event", 200), ("rollback", 409)):
        assert server.call(f"/flagger/{name}", hook)[0] == status
    reason = server.call("/flagger/rollback", hook)[1]["reason"]
    assert reason.startswith(("in_progress", "executed"))
    assert server.call("/flagger/nothing", hook)[0] == 404
    claim = {"service": PLACE[0], "release": PLACE[1], "token": "t" * 16}
    assert server.call("/v1/claims", claim, scope=Scope.READ)[0] == 403
    assert server.call("/v1/claims", {**claim, "more": 1}, scope=Scope.ACT)[0] == 400
    assert server.call("/v1/claims", claim, scope=Scope.ACT)[1]["answer"] == 11
    stop = {"word": "stop", "why": "drill"}
    assert server.call("/v1/orders", stop, scope=Scope.ACT)[0] == 403
    assert server.call("/v1/orders", stop, scope=Scope.ADMIN)[0] == 200
    listed = server.call("/v1/executions", scope=Scope.READ)[1]
    assert (listed["stopped"]["actor"], len(listed["leases"])) == ("admin", 1)
    (record,) = server.call("/v1/recommendations", scope=Scope.READ)[1][
        "recommendations"
    ]
    Verifier.load([made.public]).check(
        record["topic"],
        record["key"].encode(),
        base64.b64decode(record["value"]),
        record["signature"].encode(),
    )
    server.process.terminate()
    assert server.process.wait(timeout=30) == 0
