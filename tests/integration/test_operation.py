"""Operation on a real Kafka: lost state, lost logs, brokers that go and come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from streams.halt import Exit
from streams.kafka_local import LocalKafka, free_ports
from streams.settings import Settings
from streams.topics import LOG, STATE, create_missing
from tests.integration.detecting import (
    WINDOWS,
    DetectorStage,
    detector_stage,
    pause,
    windows,
)
from tests.integration.support import KEYS, ROOT, Load, Stage, stage, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STOP_MAX_S = 11
"""Ten seconds for the orderly end, and one for the process to be gone."""

OUTAGE_S = 20.0


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalKafka]:
    """A broker of this test alone, to kill; not started."""
    broker = LocalKafka(tmp_path / "own", port=free_ports(2), tied=True)
    yield broker
    broker.wipe()


def hypercare(made: Stage, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the settings of the stage."""
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *words],
        cwd=ROOT,
        env=made.environment("operator"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def end(worker: subprocess.Popen[bytes]) -> None:
    """Stop a worker in order."""
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=STOP_MAX_S + 4) == 0


def ready(made: Stage, name: str, count: int = 4) -> None:
    """Wait until the worker started last has its partitions; it must not end."""

    def holds() -> bool:
        ended = made.workers[-1].poll()
        assert ended is None, f"{name} ended with {ended}: {made.said(name)[-2000:]}"
        return made.said(name).count("lane.ready") == count

    until(holds, what=f"{name} has {count} partitions")


def counted(made: Stage, total: int) -> None:
    """Start a worker, let it count so many records, and end it."""
    first = made.start("first")
    ready(made, "first")
    with Load(made.settings, total, 4_000):
        pass
    until(lambda: made.applied() == total, what="all counted")
    end(first)


def blind_after_start(made: Stage, name: str, count: int = 4) -> str:
    """Start a worker that refuses its partitions; end it and return what it said."""
    worker = made.start(name)
    until(
        lambda: made.said(name).count("lane.blind") == count,
        what=f"{count} partitions are blind",
    )
    end(worker)
    return made.said(name)


def test_rebuild_repairs_lost_state(kafka: LocalKafka, tmp_path: Path) -> None:
    """A lost state topic is refused, named by show, and repaired by rebuild:
    everything in the log is counted once."""
    with stage(kafka.bootstrap, "rebuildstate", tmp_path) as made:
        counted(made, 2_000)
        made.recreate(STATE)
        assert "hypercare state rebuild" in blind_after_start(made, "blind")
        shown = hypercare(made, "state", "show")
        assert shown.returncode == 3
        assert shown.stdout.count("blind:") == 4
        asked = hypercare(made, "state", "rebuild", "--all")
        assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
        done = hypercare(made, "state", "rebuild", "--all", "--yes")
        assert done.returncode == 0, done.stderr
        made.start("second")
        until(lambda: made.applied() == 2_000, what="all counted again")
        assert hypercare(made, "state", "show").returncode == 0


def test_recreated_log_is_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    """A log created anew, while the worker is away or runs, is refused with the
    way out, and rebuild reads what the new one holds."""
    with stage(kafka.bootstrap, "recreatedlog", tmp_path) as made:
        counted(made, 2_000)
        made.recreate(LOG)
        said = blind_after_start(made, "blind")
        assert "created anew" in said
        assert "hypercare state rebuild" in said
        with Load(made.settings, 500, 4_000):
            pass
        assert hypercare(made, "state", "rebuild", "--all", "--yes").returncode == 0
        made.start("second")
        until(lambda: made.applied() == 500, what="the new log is counted")


def test_retention_past_us_is_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    """Records deleted before they were counted blind their partition alone; reset
    of that one partition begins at its end and leaves the others."""
    with stage(kafka.bootstrap, "retention", tmp_path) as made:
        counted(made, 2_000)
        with Load(made.settings, 1_000, 4_000):
            pass
        part = TopicPartition(made.settings.topic(LOG), 1)
        admin = KafkaAdminClient(bootstrap_servers=made.settings.kafka)
        try:
            admin.delete_records({part: -1})
        finally:
            admin.close()
        assert "retention deleted records" in blind_after_start(made, "blind", 1)
        left = (2_000 + 1_000) * (KEYS - len(made.keys_of(1))) // KEYS
        done = hypercare(made, "state", "reset", "--partition", "1", "--yes", "--json")
        assert done.returncode == 0, done.stderr
        ordered = json.loads(done.stdout)
        assert ordered["partition"] == 1
        second = made.start("second")
        ready(made, "second")
        line = f"partition=1 epoch={ordered['epoch'] + 1} "
        assert f"{line}next_offset={ordered['offset']}" in made.said("second")
        until(lambda: made.applied(but=1) == left, what="the others count on")
        end(second)


def test_reset_refuses_living_workers(kafka: LocalKafka, tmp_path: Path) -> None:
    """While a worker lives reset refuses; with --force the owner ends as fenced and
    its successor begins where it was told."""
    with stage(kafka.bootstrap, "resetliving", tmp_path) as made:
        worker = made.start("first")
        ready(made, "first")
        refused = hypercare(made, "state", "reset", "--all", "--yes")
        assert refused.returncode == 2
        assert "--force" in refused.stderr
        forced = hypercare(made, "state", "reset", "--all", "--yes", "--force")
        assert forced.returncode == 0, forced.stderr
        with Load(made.settings, 200, 1_000):
            pass
        assert worker.wait(timeout=60) == Exit.FENCED
        made.start("second")
        until(lambda: made.applied() == 200, what="what came after is counted")


def test_rebuild_gives_same_ids(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Doctor names a lost state topic; after the rebuild the recommendation of the
    episode has the id it had."""
    with detector_stage(kafka.bootstrap, "rebuildids", tmp_path) as made:
        # The traffic is of another day: a tick of today would make all of it late.
        made.tick_interval_s = 300
        first = made.start("first")
        ready(made, "first")
        producer = made.producer()
        for records in windows(rng, WINDOWS):
            made.write_log(records, producer)
            pause(0.02)
        until(lambda: bool(made.recommendations()), what="the recommendation")
        before = _settled(made)
        end(first)
        ids = {found.id for found in made.recommendations()}
        made.recreate(STATE)
        examined = hypercare(made, "doctor")
        assert examined.returncode == 3, examined.stdout
        assert "hypercare state rebuild" in examined.stdout
        assert hypercare(made, "state", "rebuild", "--all", "--yes").returncode == 0
        made.start("second")
        until(lambda: len(made.recommendations()) >= 2 * before, what="it comes again")
        assert {found.id for found in made.recommendations()} == ids


def _settled(made: DetectorStage) -> int:
    """Number of records on the recommendation topic once no more come."""
    seen = -1
    while seen != (now := len(made.recommendations())):
        seen = now
        pause(3.0)
    return seen


def test_worker_waits_for_its_broker(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """Without a broker a worker says so in one line again and again, and starts
    when it comes; told to end meanwhile it ends with 0."""
    made = Away(own_kafka.bootstrap, "away", tmp_path)
    try:
        # A worker that finds Kafka without its topics ends, so they are made before.
        own_kafka.start()
        create_missing(made.settings)
        own_kafka.kill()
        for name in ("ended", "waits"):
            made.start(name)
        for name in ("ended", "waits"):
            until(
                lambda name=name: made.said(name).count("kafka.waiting") >= 2,  # type: ignore[misc]
                what=f"{name} has said twice that it waits",
            )
        end(made.workers[0])
        own_kafka.start()
        ready(made, "waits")
        said = made.said("ended") + made.said("waits")
        assert "Traceback" not in said
        assert made.settings.kafka in said
        end(made.workers[1])
    finally:
        made.end()


class Away(DetectorStage):
    """A stage whose broker is not there yet, so it makes no topics."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.settings = Settings(
            kafka=bootstrap, prefix=prefix, group=prefix, partitions=4
        )
        self.folder = folder
        self.source = self.settings.source
        self.workers = []
        self.write_files()


@pytest.mark.fault("5")
def test_outage_loses_nothing(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """All brokers killed under load and back: the worker goes on by itself and every
    record is counted once; with the broker away it still stops in time."""
    own_kafka.start()
    with stage(own_kafka.bootstrap, "outage", tmp_path) as made:
        worker = made.start("stays")
        ready(made, "stays")
        with Load(made.settings, 20_000, 1_000) as load:
            until(lambda: made.applied() > 2_000, what="the worker counts")
            own_kafka.kill()
            pause(OUTAGE_S)
            own_kafka.start()
        until(lambda: made.applied() == load.total, what="everything is counted")
        assert made.counts() == load.expected()
        assert worker.poll() is None
        assert "Traceback" not in made.said("stays")
        own_kafka.kill()
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=STOP_MAX_S)


@pytest.mark.parametrize(
    ("broken", "code", "words"),
    [
        ({"HYPERCARE_PARTITIONS": "8"}, Exit.SETTINGS, "partitions is 4, wanted 8"),
        ({"HYPERCARE_PREFIX": "nobody"}, Exit.SETTINGS, "hypercare topics create"),
        ({"HYPERCARE_WEB_PORT": "{taken}"}, Exit.REFUSED, "HYPERCARE_WEB_PORT"),
        ({"HYPERCARE_RULES": "{rules}"}, Exit.REFUSED, "broken.yaml:3:5"),
        ({"HYPERCARE_RULES": "/nowhere"}, Exit.REFUSED, "there is no such file"),
        ({"HYPERCARE_TICK_INTERVAL": "soon"}, Exit.REFUSED, "number of seconds"),
    ],
    ids=["partitions", "topics", "port", "rules", "no-rules", "settings"],
)
def test_broken_setup_is_named(
    kafka: LocalKafka,
    tmp_path: Path,
    broken: dict[str, str],
    code: Exit,
    words: str,
) -> None:
    """A worker with a broken setup ends with its code and names place and fix;
    doctor names the same."""
    bad_rules = tmp_path / "broken.yaml"
    bad_rules.write_text("version: 1\nrules:\n  - nam: x\nend_of_rules: true\n")
    taken = kafka.bootstrap.rpartition(":")[2]
    values = {
        key: value.format(taken=taken, rules=bad_rules) for key, value in broken.items()
    }
    with detector_stage(kafka.bootstrap, "broken", tmp_path) as made:
        environment = made.environment("broken") | values
        for word, expected in (("worker", code), ("doctor", 3)):
            found = subprocess.run(
                [sys.executable, "-m", "streams.cli", word],
                cwd=ROOT,
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            said = found.stdout + found.stderr
            assert found.returncode == expected, said
            assert words in said
            assert "Traceback" not in said
