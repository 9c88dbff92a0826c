"""Twenty jobs ask about one recommendation at once, over three ways: one may act."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from acting.answers import Answer
from acting.records import Claim
from detector.verdicts import (
    Action,
    ReasonCode,
    RecommendationRecord,
    RecommendationState,
    Verdict,
    VerdictRecord,
    recommendation_id,
)
from detector.wire import recommendation_output, verdict_output
from streams.cli.main import main
from streams.gate.asking import Question, ask
from streams.gate.executions import Executions
from streams.gate.reading import Release, Topics
from streams.kafka_local import LocalKafka, free_ports
from streams.progress import LaneState
from streams.pulse import Pulse
from streams.signing import HEADER, Signer, Verifier
from streams.topics import PULSE
from streams.wallclock import monotonic_s, now_ms
from tests.integration.detecting import DetectorStage
from tests.integration.support import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STORMS, JOBS = 100, 20
SERVICE, RELEASE = "shop", "2.4.0"
PULSE_S = 5.0
Ask = Callable[[int], bool]
"""Asks about the recommendation of a storm; whether this job may act."""


def component(storm: int) -> str:
    """Each storm is about a component of its own: limits hold large actions only."""
    return f"part-{storm:03d}"


def asked(storm: int) -> Release:
    """What everybody asks about."""
    return Release(SERVICE, "production", RELEASE, component(storm))


def recommended(storm: int, at_ms: int) -> RecommendationRecord:
    """One component should be switched off."""
    place = SERVICE, "production", RELEASE, component(storm)
    return RecommendationRecord(
        *(recommendation_id(*place, at_ms), 1),
        *(Action.WITHDRAW, RecommendationState.OPEN, *place, None, "auto"),
        *(at_ms, at_ms, at_ms + 600_000, at_ms, None, 9.0, (1.5, 2.0, 2.5), ""),
        *("it fails", (ReasonCode.ERROR_RATE_UP,), 1, "all", "h"),
    )


def judged(wanted: RecommendationRecord) -> VerdictRecord:
    """The verdict that leads to it."""
    told: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in ("service", "environment", "release", "component", "action")
    }
    filled = {"evidence": (), "top_signatures": (), "competing_releases": ()}
    empty: dict[str, Any] = {
        "reasons": wanted.reasons,
        "sentence": wanted.sentence,
        "condition": None,
        "decided_at": wanted.decided_at,
        "window_end": wanted.decided_at,
        "log_e": 9.0,
        "affected_units": 0.0,
        "excess_bad_units": 0.0,
        "onset_ms": None,
        "ambient_ratio": None,
        "competing_changes": {},
        "change_needs": "",
        "inferred": False,
        "owner": None,
        "rule": "all",
        "rules_hash": "h",
        "code_version": "0",
        "offset": 1,
    }
    return VerdictRecord(
        **told,
        **filled,
        **empty,
        verdict=Verdict.REGRESSED,
        recommendation_id=wanted.id,
    )


class Stormy(DetectorStage):
    """Topics with what a worker would have said, and a server of gates."""

    def write(self) -> list[RecommendationRecord]:
        """Verdicts and signed recommendations, as a worker writes them."""
        signer, at_ms = Signer.load([self.secret]), now_ms()
        found = [recommended(storm, at_ms) for storm in range(STORMS)]
        with closing(self.producer()) as producer:
            for wanted in found:
                for output in (
                    recommendation_output(wanted),
                    verdict_output(judged(wanted)),
                ):
                    topic = self.settings.topic(output.topic)
                    key = output.key.encode()
                    signed = signer.header(topic, key, output.value)
                    headers = [(HEADER, signed)]
                    producer.send(topic, output.value, key=key, headers=headers)
            producer.flush(timeout=60)
        return found

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say of all partitions, all the time, that they are read up to now."""
        ending = threading.Event()

        def beat() -> None:
            with closing(self.producer()) as producer:
                while True:
                    for part in range(self.settings.partitions):
                        pulse = Pulse(part, "w", 1, LaneState.READY, "", 1, now_ms())
                        producer.send(
                            self.settings.topic(PULSE),
                            msgspec.json.encode(pulse),
                            key=str(part).encode(),
                        )
                    producer.flush(timeout=60)
                    if ending.wait(PULSE_S):
                        return

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    def serve(self, names: list[str]) -> tuple[int, dict[str, str]]:
        """Start a server of gates; its port, and a token for each name."""
        tokens, lines = {}, []
        for name in names:
            made = CliRunner().invoke(main, ["gates", "token", name, "--scope", "act"])
            assert made.exit_code == 0, made.output
            tokens[name] = made.stderr.split()[-1]
            lines.append(made.stdout.strip())
        path, port = self.folder / "tokens", free_ports(1)
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        own = {
            "HYPERCARE_PUBLIC_KEYS": str(self.public),
            "HYPERCARE_GATES_TOKENS": str(path),
            "HYPERCARE_GATES_PORT": str(port),
        }
        with self.log_of("gates").open("wb") as out:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "streams.cli", "gates", "serve"],
                    cwd=ROOT,
                    env=self.environment("gates") | own,
                    stdout=out,
                    stderr=out,
                )
            )
        until(lambda: _ready(port), what="the gates have read all")
        return port, tokens

    # The three ways.

    def by_library(self, job: int, stack: ExitStack) -> Ask:
        """As `hypercare gate` asks, with connections of its own."""
        verifier = Verifier.load([self.public])
        topics = stack.enter_context(
            closing(Topics(self.settings, monotonic_s=monotonic_s))
        )
        claims = self._claims(stack)

        def way(storm: int) -> bool:
            question = Question(asked(storm), f"job-{job}", secrets.token_hex(16), 600)
            reply = ask(question, topics, verifier, lambda: claims, now_ms())
            return _one_of(reply.ruling.answer)

        return way

    def by_claim(
        self, job: int, stack: ExitStack, found: list[RecommendationRecord]
    ) -> Ask:
        """A claim and nothing else, as an actuator makes it that follows the topics."""
        claims = self._claims(stack)

        def way(storm: int) -> bool:
            wanted = found[storm]
            claim = Claim(
                secrets.token_hex(16),
                f"actuator-{job}",
                self.settings.topic("recommendations"),
                wanted.id,
                msgspec.json.encode(wanted),
                "",
                600,
            )
            return _one_of(claims.claim(claim).answer)

        return way

    def _claims(self, stack: ExitStack) -> Executions:
        made = Executions(self.settings, monotonic_s=monotonic_s)
        return stack.enter_context(closing(made))


def by_http(port: int, token: str) -> Ask:
    """A job without Kafka, which asks the server."""

    def way(storm: int) -> bool:
        place = {"service": SERVICE, "release": RELEASE, "component": component(storm)}
        body = place | {"token": secrets.token_hex(16)}
        status, said = _post(port, "/v1/claims", body, token)
        assert status == 200, said
        return _one_of(said["answer"])

    return way


def by_flagger(port: int, token: str, job: int) -> Ask:
    """A canary of its own name space, which asks whether to roll back."""

    def way(storm: int) -> bool:
        about = {"release": RELEASE, "component": component(storm), "token": token}
        body = {"name": SERVICE, "namespace": f"ns-{job}", "metadata": about}
        status, said = _post(port, "/flagger/rollback", body, token)
        assert status in (200, 409), said
        return status == 200

    return way


def _one_of(answer: int) -> bool:
    assert answer in (Answer.ACT, Answer.HANDLED), answer
    return answer == Answer.ACT


def _post(port: int, path: str, body: object, token: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {token}"}
    with closing(connection):
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def _ready(port: int) -> bool:
    with (
        suppress(OSError),
        closing(http.client.HTTPConnection("127.0.0.1", port)) as to,
    ):
        to.request("GET", "/readyz")
        return to.getresponse().status == 200
    return False


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Stormy]:
    """Topics and keys; no process is left."""
    stage = Stormy(kafka.bootstrap, "storms", tmp_path)
    yield stage
    stage.end()


def test_storms_execute_once_each(made: Stormy) -> None:
    """Of a hundred recommendations each is granted to exactly one of twenty jobs that
    ask at the same moment: three as the command does, seven over HTTP (two of them
    Flagger's), ten with bare claims, as actuators make them."""
    found = made.write()
    names = [f"job-{job}" for job in range(JOBS)]
    with made.beating(), ExitStack() as stack:
        port, tokens = made.serve(names)
        ways: list[Ask] = []
        for job, name in enumerate(names):
            if job < 3:
                ways.append(made.by_library(job, stack))
            elif job < 8:
                ways.append(by_http(port, tokens[name]))
            elif job < 10:
                ways.append(by_flagger(port, tokens[name], job))
            else:
                ways.append(made.by_claim(job, stack, found))
        granted = _storm(ways)
    assert Counter(storm for storm, _ in granted) == dict.fromkeys(range(STORMS), 1)
    with closing(Executions(made.settings, monotonic_s=monotonic_s)) as claims:
        claims.catch_up()
        leases = claims.ledger.known.leases
        rulings = claims.ledger.rulings
    assert {name for name, _ in leases} == {wanted.id for wanted in found}
    answers = Counter(ruling.answer for ruling in rulings.values())
    assert answers[Answer.ACT] == STORMS
    assert set(answers) <= {Answer.ACT, Answer.HANDLED}
    assert len({job for _, job in granted}) > 1


def _storm(ways: list[Ask]) -> list[tuple[int, int]]:
    """All ask at once, storm after storm; which job was granted which."""
    barrier = threading.Barrier(len(ways), timeout=120)
    granted: list[tuple[int, int]] = []
    problems: list[BaseException] = []

    def work(job: int, way: Ask) -> None:
        try:
            for storm in range(STORMS):
                barrier.wait()
                if way(storm):
                    granted.append((storm, job))
        except threading.BrokenBarrierError:
            return
        except BaseException as error:  # noqa: BLE001 - told by the test
            problems.append(error)
            barrier.abort()

    threads = [
        threading.Thread(target=work, args=one, daemon=True) for one in enumerate(ways)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    return granted
