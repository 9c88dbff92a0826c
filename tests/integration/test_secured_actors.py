"""Who acts, orders, tells and drills on a Kafka with access lists: what is listed for
them is enough, and without any single right of it they are refused, not obeyed."""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from detector.verdicts import (
    Action,
    RecommendationRecord,
    Verdict,
    VerdictRecord,
    recommendation_id,
)
from streams.gate.executions import Executions
from streams.kafka_local import DEFAULT_VERSION, free_ports
from streams.permissions import Permission, Role
from streams.wallclock import monotonic_s, now_ms
from tests.integration.gating import rollback_of, verdict_of
from tests.integration.secured import USERS, SecuredKafka
from tests.integration.securing import Secured
from tests.integration.support import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One secured Apache Kafka for the tests of this file."""
    version = os.environ.get("KAFKA", DEFAULT_VERSION)
    made = SecuredKafka(tmp_path_factory.mktemp("secured"), version)
    made.broker.start(lambda line: print(line, file=sys.stderr))  # noqa: T201
    yield made
    made.broker.wipe()


HALT = ("--on-unavailable", "halt")
RIGHTS_OF_GATE = ("verdicts", "recommendations", "pulse", "events", "executions")


def answered(made: Secured, user: str, service: str) -> Result:
    """What the command `gate` says of a service's release 2."""
    return made.run(user, "gate", service, "2", *HALT)


def refused(made: Secured, need: Permission, *command: str) -> None:
    """Without a right a command of its owner ends without effect and says why."""
    user = command[0]
    with made.without(user, need):
        until(
            lambda: made.run(*command).exit_code in (2, 30),
            what=f"{command[1]} is refused without {need.operation} on {need.name}",
            limit_s=60,
        )
        before = made.written()
        found = made.run(*command)
        assert found.exit_code in (2, 30), found.output
        assert made.written() == before
        assert "hypercare topics acls" in found.output
        assert f"User:{user}" in found.output
        assert need.name in found.output
        assert "Traceback" not in found.output
        for words in USERS.values():
            assert words not in found.output


def test_listed_rights_are_enough(kafka: SecuredKafka, tmp_path: Path) -> None:
    """Who acts asks, serves and carries out; a person orders, tells, labels and asks; a
    drill goes every way: each with what is listed for it, and no more."""
    with closing(Secured(kafka, "enough", tmp_path)) as made:
        for user, role in (
            ("actor", Role.ACTOR),
            ("person", Role.PERSON),
            ("drill", Role.DRILL),
        ):
            kafka.grant(f"User:{user}", made.needs(role))
        name = made.harmed("asked")
        until(
            lambda: answered(made, "actor", "asked").exit_code in (10, 11),
            what="the gate grants",
            limit_s=60,
        )
        until(
            lambda: made.run("person", "executions", "list").exit_code == 0,
            what="a person sees it",
            limit_s=60,
        )
        why = ("--why", "test")
        for command in (
            ("order", "freeze", "--service", "asked", *why),
            ("order", "thaw", "--service", "asked", *why),
            ("tell", "freeze", "asked", *why),
            ("tell", "thaw", "asked", *why),
            ("label", name, "right", *why),
            ("wrong", name, *why),
        ):
            done = made.run("person", *command)
            assert done.exit_code == 0, done.output
        made.pulse()
        assert answered(made, "person", "asked").exit_code == 11

        port, act = free_ports(2), "actor"
        serving = {"HYPERCARE_GATES_PORT": str(port)}
        acting = {"HYPERCARE_ACT_PORT": str(port + 1)}
        token = tmp_path / "drill.token"
        token.write_text(made.tokens["act"])
        with (
            made.process(act, "gates", "serve", **serving) as gates,
            made.process(act, "act", **acting) as log,
        ):
            until(lambda: "act.active" in log.read_text(), what="act", limit_s=60)
            url = f"http://127.0.0.1:{port}"
            done = made.run(
                "drill", "drill", "--act", "--gates", url, "--gates-token", str(token)
            )
            assert done.exit_code == 0, done.output + gates.read_text()
            assert "24 drill" in done.output
            assert "record http" in done.output
            part = withdrawal("carried")
            made.verdict(part[1])
            made.recommend(part[0])
            made.pulse()
            until(
                lambda: (
                    "end=executed" in log.read_text()
                    or "executed" in made.run("person", "executions", "list").output
                ),
                what="act carries out",
                limit_s=60,
            )
            for said in (gates.read_text(), log.read_text()):
                assert "AuthorizationFailed" not in said
                assert "Canary7" not in said


def withdrawal(service: str) -> tuple[RecommendationRecord, VerdictRecord]:
    """A component of a service is to be taken out."""
    start_ms = now_ms()
    name = recommendation_id(service, "production", "2", "cart", start_ms)
    facts = {"component": "cart", "target": None, "action": Action.WITHDRAW}
    wanted = rollback_of((service, "2"), id=name, episode_start_ms=start_ms, **facts)
    said = verdict_of((service, "2"), verdict=Verdict.REGRESSED, recommendation_id=name)
    return wanted, said


def test_gate_needs_each_right(kafka: SecuredKafka, tmp_path: Path) -> None:
    """Without any single right on the topics that it asks, the gate says no yes: it
    ends with 2 or 30, names the topic, and nothing is claimed."""
    with closing(Secured(kafka, "lackgate", tmp_path)) as made:
        kafka.grant("User:actor", made.needs(Role.ACTOR))
        name = made.harmed("shop")
        for need in made.needs(Role.ACTOR):
            if need.name.rpartition(".")[2] in RIGHTS_OF_GATE:
                made.pulse()
                refused(made, need, "actor", "gate", "shop", "2", *HALT)
        made.pulse()
        until(
            lambda: answered(made, "actor", "shop").exit_code in (10, 11),
            what=f"{name} is granted with all rights again",
            limit_s=60,
        )


def test_servers_need_each_right(kafka: SecuredKafka, tmp_path: Path) -> None:
    """The gates' server is not ready, and `act` delivers nothing, without any single
    right that is theirs; both go on as soon as it is granted."""
    with closing(Secured(kafka, "lackserve", tmp_path)) as made:
        kafka.grant("User:actor", made.needs(Role.ACTOR))
        made.harmed("shop")
        rights = made.needs(Role.ACTOR)
        for need in [one for one in rights if one.name.endswith(("pulse", "events"))]:
            port = free_ports(1)
            variables = {"HYPERCARE_GATES_PORT": str(port)}
            with (
                made.without("actor", need),
                made.process("actor", "gates", "serve", **variables) as log,
            ):
                waits = "may not see it"
                until(
                    lambda log=log, waits=waits: waits in log.read_text(),
                    what="the board says what is missing",
                    limit_s=60,
                )
                assert not ready(port)
                kafka.grant("User:actor", [need])
                until(lambda port=port: ready(port), what="it is ready", limit_s=60)
        for need in [one for one in rights if "deliveries" in one.name]:
            wait_for_act(made, need)
        (group,) = [one for one in rights if one.kind == "group"]
        wait_for_act(made, group)


def wait_for_act(made: Secured, need: Permission) -> None:
    """`act` says which right is missing, and delivers once it is granted."""
    more = {"HYPERCARE_ACT_PORT": str(free_ports(1))}
    with made.without("actor", need), made.process("actor", "act", **more) as log:
        until(
            lambda: (
                "AuthorizationFailed" in log.read_text()
                or "may not see it" in log.read_text()
            ),
            what=f"act is refused without {need.operation} on {need.name}",
            limit_s=60,
        )
        made.kafka.grant("User:actor", [need])
        until(
            lambda: (
                "act.over" in log.read_text()
                or "act.active" in log.read_text().rpartition("AuthorizationFailed")[2]
            ),
            what="act goes on",
            limit_s=90,
        )


def ready(port: int) -> bool:
    """Whether a server of gates has read all."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as r:
            return bool(r.status == 200)
    except OSError:
        return False


def test_people_need_each_right(kafka: SecuredKafka, tmp_path: Path) -> None:
    """Orders, words to workers and labels are refused without the right they need; what
    gates know already where the log may not be written is said."""
    with closing(Secured(kafka, "lackperson", tmp_path)) as made:
        needs = made.needs(Role.PERSON)
        kafka.grant("User:person", needs)
        name = made.harmed("shop")
        why = ("--why", "test")
        commands = {
            ("executions", "Read"): ("order", "stop", *why),
            ("executions", "Write"): ("order", "stop", *why),
            ("verdicts", "Read"): ("tell", "freeze", "shop", *why),
            ("recommendations", "Read"): ("label", name, "right", *why),
            ("events", "Write"): ("label", name, "right", *why),
            ("pulse", "Read"): ("gate", "shop", "2", *HALT),
        }
        for need in needs:
            made.pulse()
            command = commands[need.name.rpartition(".")[2], need.operation]
            refused(made, need, "person", *command)
        (log,) = [
            one for one in needs if one.operation == "Write" and "events" in one.name
        ]
        with made.without("person", log):
            until(
                lambda: made.run("person", "label", name, "right", *why).exit_code == 2,
                what="the log may not be written",
                limit_s=60,
            )
            half = made.run("person", "wrong", name, *why)
        assert (half.exit_code, "gates know it" in half.output) == (2, True), (
            half.output
        )


def test_nobody_is_refused_everything(kafka: SecuredKafka, tmp_path: Path) -> None:
    """Who has no right claims, orders, tells and drills nothing, whatever is asked."""
    with closing(Secured(kafka, "nothing", tmp_path)) as made:
        name = made.harmed("shop")
        why = ("--why", "test")
        for command in (
            ("gate", "shop", "2", *HALT),
            ("executions", "list"),
            ("order", "stop", *why),
            ("tell", "freeze", "shop", *why),
            ("label", name, "wrong", *why),
            ("wrong", name, *why),
            ("drill", "--act"),
        ):
            done = made.run("nobody", *command)
            assert done.exit_code in (2, 30), (command, done.output)
            assert "User:nobody" in done.output
        with closing(Executions(made.settings, monotonic_s=monotonic_s)) as found:
            found.catch_up()
            known = found.ledger.known
        assert (known.stopped, known.frozen, known.leases) == (None, {}, {})
