"""Kafka with TLS, users and access lists: who is let in, who is told why not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from streams.bus import Bus
from streams.greeting import AccessDenied, open_client, require_broker
from streams.ingress.look import IngressLook
from streams.kafka_local import DEFAULT_VERSION
from streams.logreader import open_partitions
from streams.permissions import Role, permissions
from streams.settings import Settings
from streams.topics import TOPICS, check_or_explain, create_missing
from tests.integration.certificates import Authority
from tests.integration.detecting import WINDOWS, DetectorStage, pause, windows
from tests.integration.secured import USERS, SecuredKafka, settings_of
from tests.integration.support import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

INGRESS_OF_KIND = {"usage": "usage", "error": "errors", "deploy": "deploys"}
MECHANISMS = ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """One secured Apache Kafka for the tests of this file."""
    version = os.environ.get("KAFKA", DEFAULT_VERSION)
    made = SecuredKafka(tmp_path_factory.mktemp("secured"), version)
    made.broker.start(lambda line: print(line, file=sys.stderr))  # noqa: T201
    yield made
    made.broker.wipe()


def prepared(kafka: SecuredKafka, prefix: str, *principals: str) -> Settings:
    """Topics under a prefix; the principals get what a worker needs, and no more."""
    plain = Settings(kafka=kafka.broker.bootstrap, prefix=prefix, group=prefix)
    create_missing(plain)
    for principal in principals:
        kafka.grant(principal, permissions(plain, Role.WORKER))
    return plain


async def all_clients(settings: Settings) -> list[int]:
    """Use each of aiokafka's clients once: producer, consumer, admin."""
    bus = Bus(settings)
    await bus.start()
    look = IngressLook(bus)
    try:
        log = bus.state_log(0)
        (at,) = await log.append([(b"probe", b"1")])
        read = [record.offset async for record in log.read(at, at + 1)]
        assert len(await look.ingress_offsets()) == settings.partitions * 4
    finally:
        await look.stop()
        await bus.stop()
    return read


def assert_all_libraries_work(settings: Settings) -> None:
    """kafka-python's admin finds everything right, aiokafka writes and reads."""
    assert check_or_explain(settings) == []
    assert len(asyncio.run(all_clients(settings))) == 1


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_mechanism_opens_every_client(kafka: SecuredKafka, mechanism: str) -> None:
    """Each mechanism lets the clients of both libraries in, over TLS."""
    prepared(kafka, "mechanisms", "User:worker")
    assert_all_libraries_work(
        settings_of(kafka.environment("worker", mechanism), "mechanisms")
    )


def test_certificate_opens_every_client(kafka: SecuredKafka) -> None:
    """A client certificate with an encrypted key in PEM is enough."""
    prepared(kafka, "mutual", "User:CN=worker")
    environment = kafka.certificate_environment("worker", "Canary7key")
    assert_all_libraries_work(settings_of(environment, "mutual"))


@pytest.mark.parametrize("mechanism", MECHANISMS[:3])
def test_wrong_password_names_its_variable(kafka: SecuredKafka, mechanism: str) -> None:
    """One line on standard error names the variable; no traceback, no secret."""
    environment = kafka.environment("worker", mechanism)
    secret = Path(environment["HYPERCARE_KAFKA_PASSWORD_FILE"])
    secret.write_text("Canary7wrong")
    done = command("topics", "check", environment=environment)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "HYPERCARE_KAFKA_PASSWORD_FILE" in done.stderr
    assert "'worker'" in done.stderr
    assert "Canary7" not in done.stdout + done.stderr


def test_worker_with_a_wrong_password_ends(kafka: SecuredKafka) -> None:
    """A worker ends with 78 and says which variable is wrong, without a traceback."""
    environment = kafka.environment("worker") | {
        "HYPERCARE_DEMO": "1",
        "HYPERCARE_WEB_PORT": "0",
    }
    Path(environment["HYPERCARE_KAFKA_PASSWORD_FILE"]).write_text("Canary7wrong")
    done = command("worker", "--log-level", "debug", environment=environment)
    assert done.returncode == 78
    assert "HYPERCARE_KAFKA_PASSWORD_FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Canary7" not in done.stdout + done.stderr


def test_wrong_doors_are_named(kafka: SecuredKafka) -> None:
    """Each wrong combination of listener and setting names the setting to change."""
    worker = kafka.environment("worker")
    name = "HYPERCARE_KAFKA_"
    authority = str(kafka.authority.file)
    only_ca = {"HYPERCARE_KAFKA": kafka.sasl, f"{name}CA_FILE": authority}
    other = Authority(kafka.folder, "foreign").file
    cases = [
        ({"HYPERCARE_KAFKA": kafka.sasl}, "SECURITY=SASL_SSL"),
        (only_ca | {f"{name}SECURITY": "SSL"}, "asks for a user"),
        (worker | {"HYPERCARE_KAFKA": kafka.broker.bootstrap}, "not speak TLS"),
        (worker | {"HYPERCARE_KAFKA": kafka.mutual}, f"{name}CERT_FILE"),
        (worker | {f"{name}CA_FILE": str(other)}, f"{name}CA_FILE"),
    ]
    for environment, words in cases:
        with pytest.raises(AccessDenied) as error:
            require_broker(settings_of(environment, "doors"))
        assert words in str(error.value)


def test_each_missing_permission_is_named(kafka: SecuredKafka) -> None:
    """Without any single one of the listed permissions `topics check` names it."""
    plain = prepared(kafka, "lacking", "User:worker")
    settings = settings_of(kafka.environment("worker"), "lacking")
    until(lambda: check_or_explain(settings) == [], what="all permissions hold")
    for need in permissions(plain, Role.WORKER):
        kafka.revoke("User:worker", [need])

        def named(need: Any = need) -> bool:
            found = check_or_explain(settings)
            told = [(d.kind, d.topic, d.what, d.fatal) for d in found]
            return told == [
                (need.kind, need.name, f"permission {need.operation}", True)
            ]

        until(named, what=f"the missing {need} is named", limit_s=180)
        kafka.grant("User:worker", [need])


def test_creator_needs_what_is_listed(kafka: SecuredKafka) -> None:
    """With the creator's permissions topics come to be; without, they are named."""
    settings = settings_of(kafka.environment("creator"), "creating")
    done = command(
        "topics",
        "create",
        environment=kafka.environment("creator") | {"HYPERCARE_PREFIX": "creating"},
    )
    assert done.returncode == 30
    for words in ("--operation Create", "--operation Describe", "prefixed"):
        assert words in done.stderr
    kafka.grant("User:creator", permissions(settings, Role.CREATOR))
    assert len(create_missing(settings)) == len(TOPICS)


def test_sender_without_rights_is_told(kafka: SecuredKafka, tmp_path: Path) -> None:
    """`hypercare produce` without Write says so in one line."""
    prepared(kafka, "unsent")
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind":"usage","service":"shop","release":"1","ts":1}\n')
    environment = kafka.environment("nobody") | {"HYPERCARE_PREFIX": "unsent"}
    done = command("produce", str(path), environment=environment)
    assert done.returncode == 2
    assert "User:nobody" in done.stderr
    assert "Traceback" not in done.stderr


class SecuredStage(DetectorStage):
    """A worker that has what the list says, on the TLS listener."""

    # The shops' clock is not today's: a tick would make what is sent next late.
    tick_interval_s = 300

    def __init__(self, kafka: SecuredKafka, prefix: str, folder: Path) -> None:
        super().__init__(kafka.broker.bootstrap, prefix, folder)
        self.kafka = kafka
        kafka.grant("User:worker", permissions(self.settings, Role.WORKER))

    def environment(self, name: str) -> dict[str, str]:
        """Add the worker's user, and ask for all that is ever logged."""
        loud = {"HYPERCARE_LOG_LEVEL": "debug"}
        return super().environment(name) | self.kafka.environment("worker") | loud


def test_least_privilege_worker_recommends(
    kafka: SecuredKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Sender, worker and reader with exactly the listed permissions: events in, a
    recommendation out, and no password in anything that was said."""
    made = SecuredStage(kafka, "private", tmp_path)
    for name, role in (("sender", Role.PRODUCER), ("reader", Role.READER)):
        kafka.grant(f"User:{name}", permissions(made.settings, role))
    try:
        made.start("w0")
        until(lambda: made.said("w0").count("lane.ready") == 4, what="the worker is up")
        send(settings_of(kafka.environment("sender"), "private"), rng)
        reader = settings_of(kafka.environment("reader"), "private")
        until(lambda: "rollback" in read_actions(reader), what="the recommendation")
        for words in USERS.values():
            assert words not in made.said("w0")
        assert "AuthorizationFailed" not in made.said("w0")
    finally:
        made.end()


def send(settings: Settings, rng: np.random.Generator) -> None:
    """Events of the shops to the ingress topics, as the producer role."""
    producer: Any = open_client(settings, KafkaProducer, "shop", acks="all")
    try:
        for records in windows(rng, WINDOWS):
            for record in records:
                topic = settings.topic(INGRESS_OF_KIND[record["kind"]])
                body = json.dumps(record).encode()
                producer.send(topic, body, key=record["service"].encode())
            producer.flush(timeout=60)
            pause(0.1)
    finally:
        producer.close()


def read_actions(settings: Settings) -> set[str]:
    """Actions on the recommendation topic, as the reader role sees them."""
    parts = open_partitions(settings, settings.topic("recommendations"))
    return {json.loads(record.value)["action"] for part in parts for record in part}


def test_compression_is_chosen_once(kafka: SecuredKafka) -> None:
    """Without compression everything works as with it."""
    prepared(kafka, "mechanisms", "User:worker")
    settings = settings_of(
        kafka.environment("worker", COMPRESSION="none"), "mechanisms"
    )
    assert settings.connection == replace(settings.connection, compression="none")
    assert len(asyncio.run(all_clients(settings))) == 1


def command(
    *words: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run ``hypercare`` as a user would."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HYPERCARE_")}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *words],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
