"""From the events of a bad component to a flag that is off, on a real Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from acting.answers import Answer
from acting.records import End, Outcome
from detector.verdicts import RecommendationRecord
from streams.gate.access import Scope
from streams.gate.asking import Question, ask
from streams.gate.executions import Executions
from streams.gate.reading import Release, Topics
from streams.kafka_local import LocalKafka
from streams.signing import Verifier
from streams.topics import LOG
from streams.wallclock import monotonic_s, now_ms
from tests.integration.support import ROOT, until
from tests.integration.test_gate import Gated, Server

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RULES = "version: 1\nrules: [{name: test, mode: auto}]\nend_of_rules: true\n"
RECORDING = ROOT / "tests" / "golden" / "component_withdrawn.jsonl"
TOKEN = "actuator-00000001"


def flags() -> str:
    """A flag for each of the two components."""
    flag = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "on",
    }
    place = {"service": "shop", "withdrawn": "off"}
    found = {
        name: {**flag, "switches": {**place, "component": name}}
        for name in ("cart", "search")
    }
    return json.dumps({"flags": found})


class Flagged(Gated):
    """A stage whose gates serve flags."""

    rules_text = RULES

    def environment(self, name: str) -> dict[str, str]:
        """Add the file of flags."""
        path = self.folder / "flags.json"
        path.write_text(flags())
        return super().environment(name) | {"HYPERCARE_FLAGS_FILE": str(path)}

    def send(self, lines: Sequence[bytes], producer: Any) -> None:
        """Write recorded lines into the log."""
        for line in lines:
            producer.send(self.settings.topic(LOG), line, key=b"shop")
        producer.flush(timeout=60)

    def carry_out(self, component: str) -> Answer:
        """Claim what is recommended against a component, and tell that it was done."""
        asked = Release("shop", "production", "2.4.0", component)
        question, verifier = (
            Question(asked, "actuator", TOKEN, 60),
            Verifier.load([self.public]),
        )
        with (
            closing(Topics(self.settings, monotonic_s=monotonic_s)) as topics,
            closing(Executions(self.settings, monotonic_s=monotonic_s)) as claims,
        ):
            reply = ask(question, topics, verifier, lambda: claims, now_ms())
            if reply.ruling.answer is Answer.ACT:
                claims.append(Outcome(TOKEN, End.EXECUTED))
        return reply.ruling.answer

    def newest(self) -> RecommendationRecord | None:
        """The last thing that was recommended."""
        found = self.recommendations()
        return found[-1] if found else None


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Flagged]:
    """A stage with flags."""
    stage = Flagged(kafka.bootstrap, "flags", tmp_path)
    stage.rules.write_text(RULES, encoding="utf-8")
    yield stage
    stage.end()


def values(server: Server) -> dict[str, bool]:
    """What the served flags give everybody."""
    status, found = server.call("/v1/flags.json", scope=Scope.READ)
    assert status == 200
    flags = found["flags"].items()
    return {name: flag["variants"][flag["defaultVariant"]] for name, flag in flags}


def test_bad_component_is_switched_off(made: Flagged) -> None:
    """The cart of a release does harm: one `withdraw`, no rollback; once it was told
    executed the cart's flag is off and the search's on, and without the cart the
    release is no longer regressed. A person switches it on again."""
    lines = RECORDING.read_bytes().splitlines()
    told = next(i for i, line in enumerate(lines) if b'"withdrawn"' in line)
    made.start("w0")
    until(lambda: made.said("w0").count("lane.ready") == 4, what="the worker is up")
    server = Server(made)
    until(lambda: server.call("/readyz")[0] == 200, what="the gates have read all")
    assert server.call("/v1/flags.json")[0] == 401
    assert values(server) == {"cart": True, "search": True}

    producer = made.producer()
    made.send(lines[:told], producer)
    until(lambda: made.newest() is not None, what="the recommendation")
    assert values(server) == {"cart": True, "search": True}
    until(lambda: bool(made.read("pulse")), what="the worker speaks")
    assert made.carry_out("search") is Answer.UNDECIDED
    until(lambda: made.carry_out("cart") is Answer.ACT, what="the lease")
    until(lambda: not values(server)["cart"], what="the cart's flag is off")
    assert values(server) == {"cart": False, "search": True}
    one = server.call("/ofrep/v1/evaluate/flags/cart", {}, scope=Scope.READ)[1]
    assert (one["value"], one["reason"]) == (False, "STATIC")

    made.send(lines[told:], producer)
    until(lambda: _state(made) == "executed", what="the recommendation is over")
    path = "/v1/gate?service=shop&release=2.4.0"
    until(
        lambda: (
            server.call(path, scope=Scope.READ)[1]["data"]["verdict"] != "regressed"
        ),
        what="the release without its cart is no longer regressed",
    )
    found = made.recommendations()
    assert {(r.action.value, r.component) for r in found} == {("withdraw", "cart")}
    assert len({r.id for r in found}) == 1
    assert values(server) == {"cart": False, "search": True}

    order = ("order", "restore", "cart", "--service", "shop", "--why", "fixed")
    done = made.command(*order, "--environment", "staging")
    assert done.returncode == 0, done.stderr
    switched = server.call("/v1/executions", scope=Scope.READ)[1]["switched"]
    assert [(one["environment"], one["component"]) for one in switched] == [
        ("production", "cart")
    ]
    listed = made.command("executions", "list").stdout
    assert "withdraw shop/production/cart, until it is restored" in listed
    done = made.command(*order)
    assert done.returncode == 0, done.stderr
    until(lambda: values(server)["cart"], what="the cart's flag is on again")


def _state(made: Flagged) -> str:
    newest = made.newest()
    return newest.state.value if newest is not None else ""
