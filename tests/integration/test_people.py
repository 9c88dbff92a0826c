"""What people tell on a real Kafka: workers obey, gates refuse, the audit remembers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner, Result

from acting.answers import Answer, Why
from streams.cli.main import main
from streams.gate.asking import Question, ask
from streams.gate.executions import Executions
from streams.gate.reading import Release, Topics
from streams.kafka_local import LocalKafka
from streams.signing import Verifier
from streams.wallclock import monotonic_s, now_ms
from tests.integration.detecting import RULES, DetectorStage, windows
from tests.integration.support import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

WINDOWS = 75
SERVICE, RELEASE = "shop-bad", "2.4.0"


class Told(DetectorStage):
    """A stage whose rule lets machines act, and people who tell."""

    rules_text = RULES.replace("- name: test", "- name: test\n    mode: auto")

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        super().__init__(bootstrap, prefix, folder)
        self.rules.write_text(self.rules_text, encoding="utf-8")

    port: ClassVar[dict[str, str]] = {}

    def command(self, *words: str) -> Result:
        """Run a command of an operator, in this process: a dozen would start slowly."""
        known = {"HYPERCARE_PUBLIC_KEYS": str(self.public), "USER": "ada"}
        env = self.environment("person") | known | self.port
        return CliRunner().invoke(main, words, env=env)

    def tell(self, *words: str) -> None:
        """Run a command that has to succeed."""
        done = self.command(*words, "--why", "because")
        assert done.exit_code == 0, done.stderr

    def why(self, number: int) -> Why:
        """What the gate says; where that is a lease, it is given back."""
        question = Question(
            Release(SERVICE, "production", RELEASE, None),
            f"job-{number}",
            f"{number:016d}",
            60,
        )
        verifier = Verifier.load([self.public])
        with (
            closing(Topics(self.settings, monotonic_s=monotonic_s)) as topics,
            closing(Executions(self.settings, monotonic_s=monotonic_s)) as claims,
        ):
            ruling = ask(question, topics, verifier, lambda: claims, now_ms()).ruling
        assert ruling.answer is not Answer.ACT
        return ruling.why

    def newest(self) -> tuple[str, str]:
        """State and mode of the newest revision of the recommendation."""
        found = max(self.recommendations(), key=lambda r: (r.revision, r.issued_at))
        return found.state.value, found.mode

    def heard(self) -> list[dict[str, Any]]:
        """Commands of people in the audit."""
        bodies = [json.loads(record.value) for record in self.read("audit")]
        return [b for b in bodies if b.get("command") not in (None, "ruleset")]


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Told]:
    """Topics, keys and a rule of mode auto."""
    stage = Told(kafka.bootstrap, "people", tmp_path)
    yield stage
    stage.end()


def test_people_are_heard_everywhere(made: Told, rng: np.random.Generator) -> None:
    """Unknown ids and services are refused before anything is written; what is told
    changes revisions and gates, and stands in the audit with who and why."""
    made.start("w0")
    until(lambda: made.said("w0").count("lane.ready") == 4, what="the worker is up")
    producer = made.producer()
    for records in windows(rng, WINDOWS):
        made.write_log(records, producer)
    until(lambda: bool(made.recommendations()), what="the recommendation")
    (name,) = {r.id for r in made.recommendations()}

    for words in (
        ("wrong", "rec_" + "a" * 26),
        ("label", "shop", "right"),
        ("tell", "freeze", "nobody"),
        ("tell", "mode", SERVICE, "shadow", "--environment", "moon"),
    ):
        refused = made.command(*words, "--why", "because")
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "hypercare:" in refused.stderr
    assert made.command("wrong", name, "--why", " ").exit_code == 2
    assert made.read("executions") == []

    made.tell("tell", "acknowledge", name)
    until(lambda: made.newest() == ("acknowledged", "auto"), what="acknowledged")
    made.tell("tell", "mode", SERVICE, "recommend")
    until(lambda: made.newest()[1] == "recommend", what="the mode is lowered")
    until(lambda: bool(made.read("pulse")), what="the worker speaks")
    assert made.why(1) is Why.MODE
    made.tell("tell", "mode", SERVICE, "rule")
    made.tell("tell", "freeze", SERVICE)
    assert made.why(2) is Why.FROZEN
    made.tell("tell", "thaw", SERVICE)
    made.tell("label", name, "late")
    made.tell("wrong", name)
    until(
        lambda: made.newest()[0] == "withdrawn", what="the recommendation is withdrawn"
    )
    assert made.why(3) is Why.WITHDRAWN

    until(lambda: len(made.heard()) == 8, what="all is in the audit")

    assert_commands_look_back(made)
    heard = made.heard()
    assert {(b["actor"].partition("@")[0], b["why"], b["changed"]) for b in heard} == {
        ("ada", "because", True)
    }
    (loaded,) = {b["rules_hash"] for b in heard}
    assert len(loaded) == 64
    told = sorted((b["command"], b["value"] or "") for b in heard)
    assert told == [
        ("acknowledge", ""),
        ("freeze", ""),
        ("freeze", "off"),
        ("label", "late"),
        ("label", "wrong"),
        ("mode", "recommend"),
        ("mode", "rule"),
        ("withdraw", ""),
    ]


def assert_commands_look_back(made: Told) -> None:
    """Labels become a figure of the rule; traffic is learnt from the log in Kafka and,
    of a release under judgement, from the worker."""
    done = made.command("rules", "precision", "--json")
    assert done.exit_code == 0, done.stderr
    (of_rule,) = map(json.loads, done.stdout.splitlines())
    assert (of_rule["rule"], of_rule["wrong"], of_rule["unlabelled"]) == ("test", 1, 0)
    quick = ("--releases", "20", "--ratio", "4", "--share", "0.25", "--json")
    learnt = made.command("power", "shop-well", "--topic", *quick)
    assert learnt.exit_code == 0, learnt.stderr
    traffic = json.loads(learnt.stdout)
    (port,) = re.findall(r"web\.listening host=\S+ port=(\d+)", made.said("w0"))
    made.port["HYPERCARE_WEB_PORT"] = port
    under_way = made.command("power", "shop-well", "--release", RELEASE, *quick)
    assert under_way.exit_code == 0, under_way.stderr
    told = json.loads(under_way.stdout)
    assert told["begun"]["units"] > 0
    assert traffic["begun"] is None
    assert told["sessions_per_min"] == pytest.approx(
        traffic["sessions_per_min"], rel=0.05
    )
