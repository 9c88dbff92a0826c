"""The product from input to recommendation on a real Kafka, killed and replayed."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from kafka import KafkaConsumer, TopicPartition

from detector import state
from detector.engine import Partition
from detector.replay import Replay
from detector.rulefile import load_rules
from detector.verdicts import Action, recommendation_id
from streams.cli.main import main
from streams.kafka_local import LocalKafka
from streams.logreader import topic_lines
from streams.outbox import SHARD
from streams.settings import Settings
from tests.integration.detecting import (
    HARM_AT,
    RULES,
    START_MS,
    WINDOWS,
    DetectorStage,
    detector_stage,
    pause,
    windows,
)
from tests.integration.support import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

KILLS = 10
INGRESS_OF_KIND = {"usage": "usage", "error": "errors", "deploy": "deploys"}


def replay_lines(lines: list[bytes], batch: int) -> dict[str, list[bytes]]:
    """Replay output by service."""
    run = Replay(load_rules(RULES, source="test"))
    found: dict[str, list[bytes]] = {}
    for line in run.feed(lines, batch):
        found.setdefault(json.loads(line)["service"], []).append(line)
    return found


def counts_of(partition: Partition) -> dict[str, tuple[float, ...]]:
    """What each service has counted: units, copies, late ones, units by release."""
    return {
        scope.service: (
            scope.units_total,
            scope.duplicates,
            scope.late,
            *(release.units for release in scope.registry.releases.values()),
        )
        for scope in partition.scopes.values()
    }


def live_counts(made: DetectorStage) -> dict[str, tuple[float, ...]]:
    """The counts that the newest snapshots hold."""
    found: dict[str, tuple[float, ...]] = {}
    for number, (manifest, shards) in made.manifests().items():
        blocks = {name: shard for name, shard in shards.items() if name != SHARD}
        found |= counts_of(state.restore(number, blocks, manifest.next_offset))
    return found


def replay_counts(lines: list[bytes]) -> dict[str, tuple[float, ...]]:
    """The counts of an undisturbed run over the same log."""
    run = Replay(load_rules(RULES, source="test"))
    for _ in run.feed(lines, 1000):
        pass
    return counts_of(run.partition)


def assert_one_recommendation(made: DetectorStage) -> None:
    """One episode, of the bad service alone, under the id of its facts."""
    found = made.recommendations()
    assert {r.service for r in found} == {"shop-bad"}
    assert len({r.id for r in found}) == 1
    first = found[0]
    assert first.action is Action.ROLLBACK
    assert first.segment == {"os": "android"}
    assert first.target == "2.3.1"
    assert first.episode_start_ms >= START_MS + HARM_AT * 10_000
    assert first.id == recommendation_id(
        "shop-bad", "production", "2.4.0", None, first.episode_start_ms
    )


@pytest.mark.fault("1")
def test_killed_workers_decide_as_an_undisturbed_run(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Ten kill -9 inside windows: decisions are byte for byte those of a replay of
    the log, whatever its batch size; one recommendation, one id."""
    with detector_stage(kafka.bootstrap, "killdetector", tmp_path) as made:
        producer = made.producer()
        kills = {int(k) for k in rng.choice(np.arange(5, WINDOWS - 5), KILLS, False)}
        worker, number = made.start("w0"), 0
        until(lambda: "lane.ready" in made.said("w0"), what="the first worker is up")
        for index, records in enumerate(windows(rng, WINDOWS)):
            made.write_log(records, producer)
            pause(float(rng.uniform(0.02, 0.12)))
            if index in kills:
                worker.kill()
                worker.wait()
                number += 1
                worker = made.start(f"w{number}")
                name = f"w{number}"
                until(
                    lambda name=name: made.said(name).count("lane.ready") == 4,
                    what=f"worker {name} has taken over",
                )
        until(lambda: bool(made.recommendations()), what="the recommendation")
        _quiet(made, worker)
        recorded = list(topic_lines(made.settings))
        live = made.audit_lines()
        for batch in (1, 7, 1000):
            assert replay_lines(recorded, batch) == live
        assert live_counts(made) == replay_counts(recorded)
        assert_one_recommendation(made)
        by_id: dict[bytes, set[bytes]] = {}
        for record in made.read("audit"):
            by_id.setdefault(dict(record.headers)["id"], set()).add(record.value)
        assert all(len(values) == 1 for values in by_id.values())


def test_backtest_of_a_recording_names_what_was_published(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Every id and revision of the recommendations topic with its time, action and
    state, from ``hypercare backtest`` of the recorded log by two processes."""
    with detector_stage(kafka.bootstrap, "backtested", tmp_path) as made:
        producer = made.producer()
        worker = made.start("w0")
        until(lambda: "lane.ready" in made.said("w0"), what="the worker is up")
        for records in windows(rng, WINDOWS):
            made.write_log(records, producer)
        until(lambda: bool(made.recommendations()), what="the recommendation")
        _quiet(made, worker)
        source = tmp_path / "history.jsonl"
        source.write_bytes(b"\n".join(topic_lines(made.settings)))
        given = ["--rules", str(made.rules), "--jobs", "2", "--json"]
        done = CliRunner().invoke(main, ["backtest", str(source), *given])
        assert done.exit_code == 0, done.stderr
        (trial,) = json.loads(done.stdout)["trials"]
        told = {
            (w["id"], w["revision"]): (w["decided_ms"], w["said"], w["state"])
            for row in trial["rows"]
            for w in row["words"]
            if w["revision"]
        }
        published: dict[tuple[str, int], tuple[int, str, str]] = {}
        for r in made.recommendations():
            # An open one is issued anew now and then, as the same revision.
            first = (r.decided_at, r.action.value, r.state.value)
            published.setdefault((r.id, r.revision), first)
        assert told == published
        assert {row["service"] for row in trial["rows"]} == {
            "shop-bad",
            "shop-well",
            "shop-outage",
        }


def _quiet(made: DetectorStage, worker: subprocess.Popen[bytes]) -> None:
    """Let the worker finish, and end it in order: its last outputs leave."""
    until(lambda: _is_written_down(made), what="everything is read and written down")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=15) == 0


def _is_written_down(made: DetectorStage) -> bool:
    at = {p: m.next_offset for p, (m, _) in made.manifests().items()}
    return all(at.get(p, 0) >= end for p, end in _log_ends(made.settings).items())


def _log_ends(settings: Settings) -> dict[int, int]:
    consumer: Any = KafkaConsumer(bootstrap_servers=settings.kafka.split(","))
    try:
        topic = settings.topic("events")
        parts = [TopicPartition(topic, n) for n in range(settings.partitions)]
        return {p.partition: end for p, end in consumer.end_offsets(parts).items()}
    finally:
        consumer.close()


def test_ingress_events_become_a_recommendation(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """kafka-python senders on the ingress topics: a rollback is recommended, bad
    records are dead letters with their reason, raw user ids reach nothing."""
    with detector_stage(kafka.bootstrap, "ingressdetector", tmp_path) as made:
        made.start("w0")
        until(lambda: made.said("w0").count("lane.ready") == 4, what="the worker is up")
        producer = made.producer()
        for index, records in enumerate(windows(rng, WINDOWS)):
            for record in records:
                topic = made.settings.topic(INGRESS_OF_KIND[record["kind"]])
                record["user"] = "ada@example.org"
                if record["kind"] == "deploy":
                    del record["user"]
                body = json.dumps(record).encode()
                producer.send(topic, body, key=record["service"].encode())
            if index == 3:
                bad = made.settings.topic("usage")
                producer.send(bad, b"{not json", key=b"shop-bad")
            producer.flush(timeout=60)
            pause(0.15)
        until(lambda: bool(made.recommendations()), what="the recommendation")
        assert_one_recommendation(made)
        letters = [json.loads(r.value) for r in made.read("deadletter")]
        assert [x["topic"] for x in letters] == [made.settings.topic("usage")]
        assert letters[0]["reason"]
        for topic in ("events", "state", "audit", "deadletter"):
            assert not any(
                b"ada@example.org" in (r.value or b"") for r in made.read(topic)
            )


def test_backlog_of_an_outage_is_not_late(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Workers that were away find a backlog: errors, a hundred times fewer, are moved
    long before the usage of the same time, and yet nothing is late."""
    with detector_stage(kafka.bootstrap, "backlog", tmp_path) as made:
        producer = made.producer()
        for records in windows(rng, WINDOWS):
            for record in records:
                topic = made.settings.topic(INGRESS_OF_KIND[record["kind"]])
                copies = 6 if record["kind"] == "usage" else 1
                for copy in range(copies):
                    part = dict(record)
                    if copies > 1:
                        part["sessions"] = _share(record["sessions"], copy, copies)
                        part["count"] = _share(record["count"], copy, copies)
                        part["sender"] = f"edge-{copy}"
                    body = json.dumps(part).encode()
                    producer.send(topic, body, key=record["service"].encode())
        producer.flush(timeout=60)
        made.start("w0")
        until(
            lambda: bool(made.recommendations()), what="the recommendation", limit_s=240
        )
        assert_one_recommendation(made)
        until(lambda: _is_written_down(made), what="everything is read", limit_s=120)
        late = sum(
            msgspec.msgpack.decode(shard, type=state.ScopeBlock).scope.late
            for _, shards in made.manifests().values()
            for name, shard in shards.items()
            if name.startswith("scope/")
        )
        assert late == 0


def _share(total: int, part: int, parts: int) -> int:
    """The part-th of ``parts`` whole numbers that add up to ``total``."""
    return total * (part + 1) // parts - total * part // parts
