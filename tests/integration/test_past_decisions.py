"""Decisions of real workers on a real Kafka, made again by another process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detector.simulate import Record, Shop, burst, ramp
from streams.kafka_local import LocalKafka
from tests.integration.detecting import RULES, START_MS, DetectorStage, detector_stage
from tests.integration.support import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

WINDOWS = 75
SHOPS = 9
RELOAD_AT, RESTART_AT = 30, 50


def traffic(rng: np.random.Generator) -> Iterator[list[Record]]:
    """Shops in every partition, a third of them with a bad release."""
    streams = [
        Shop(
            service=f"shop-{number}",
            weight=ramp([(10, 0.3)]),
            harm=burst(20 if number % 3 == 0 else 9_999, 10_000, 8.0),
            strata=(((("os", "ios"),), 0.5), ((("os", "android"),), 0.5)),
        ).windows(rng, START_MS, WINDOWS)
        for number in range(SHOPS)
    ]
    for group in zip(*streams, strict=True):
        yield [record for records in group for record in records]


def hypercare(made: DetectorStage, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of an operator, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *words],
        cwd=ROOT,
        env=made.environment("person") | {"HYPERCARE_PUBLIC_KEYS": str(made.public)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def drained(made: DetectorStage) -> bool:
    """Whether workers have written down all of the log."""
    ends: dict[int, int] = {}
    for record in made.read("events"):
        ends[record.partition] = record.offset + 1
    at = {p: m.next_offset for p, (m, _) in made.manifests().items()}
    return all(at.get(p, 0) >= end for p, end in ends.items())


def test_past_decisions_of_workers_are_identical(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Over a reload, a killed worker, and what people told: every byte; and a record
    that was changed afterwards is named."""
    with detector_stage(kafka.bootstrap, "pastdecisions", tmp_path) as made:
        first_rules = tmp_path / "first.yaml"
        first_rules.write_text(RULES, encoding="utf-8")
        worker = made.start("w0")
        until(lambda: made.said("w0").count("lane.ready") == 4, what="w0 is up")
        producer = made.producer()
        for index, records in enumerate(traffic(rng)):
            made.write_log(records, producer)
            if index == RELOAD_AT:
                text = RULES.replace("- name: test", "- name: test\n    mode: auto")
                made.rules.write_text(text, encoding="utf-8")
                until(
                    lambda: made.said("w0").count("rules.sent") == 4, what="the reload"
                )
            if index == RESTART_AT:
                worker.kill()
                worker.wait()
                worker = made.start("w1")
                until(lambda: made.said("w1").count("lane.ready") == 4, what="w1 is up")
        until(
            lambda: len({r.id for r in made.recommendations()}) >= 2, what="two harms"
        )
        one, two = sorted({r.id for r in made.recommendations()})[:2]
        for words in (("acknowledge", one), ("withdraw", two)):
            done = hypercare(made, "tell", *words, "--why", "because")
            assert done.returncode == 0, done.stderr
        until(
            lambda: (
                {"acknowledged", "withdrawn"}
                <= {r.state.value for r in made.recommendations()}
            ),
            what="people were heard",
        )
        until(lambda: drained(made), what="everything is written down")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=30) == 0

        values = {record.value for record in made.read("audit")}
        ruled = ("--rules", str(first_rules))
        done = hypercare(made, "replay", "--all", "--json", *ruled)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert sum(told["identical"].values()) == len(values)
        assert told["differing"] == told["absent"] == told["missing"] == []
        assert len([p for p in told["partitions"] if p["end"]]) == 4
        assert told["identical"]["verdict"] >= SHOPS

        history, audit = tmp_path / "log.jsonl", tmp_path / "audit.jsonl"
        assert hypercare(made, "record", "--exact", str(history)).returncode == 0
        assert hypercare(made, "record", "--audit", str(audit)).returncode == 0
        files = ("--history", str(history), "--audit", str(audit), *ruled)
        for words in (("--all",), (one,), (two,)):
            done = hypercare(made, "replay", *words, *files)
            assert done.returncode == 0, done.stdout + done.stderr

        for ident, word in ((one, "acknowledge"), (two, "withdraw")):
            done = hypercare(made, "explain", ident, "--json", *ruled)
            assert done.returncode == 0, done.stdout + done.stderr
            found = json.loads(done.stdout)
            assert [t["command"] for t in found["told"]] == [word]
            count = found["made_again"].split()
            assert count[0] == count[2] != "0"
            assert len(found["course"]) > 20
            assert found["notes"] == []

        lines = audit.read_bytes().splitlines()
        spoilt = next(n for n, line in enumerate(lines) if b'"verdict":' in line)
        at = lines[spoilt].index(b'"decided_at":1') + len(b'"decided_at":1') + 3
        changed = bytearray(lines[spoilt])
        changed[at] = ord("0") + (changed[at] - ord("0") + 1) % 10
        lines = [x for x in lines if x != lines[spoilt]]  # its copies, too
        audit.write_bytes(b"\n".join([*lines, bytes(changed)]) + b"\n")
        done = hypercare(made, "replay", "--all", *files)
        assert done.returncode == 3
        assert "first difference at decided_at" in done.stdout
        assert "1 differ, 0 not in the audit" in done.stdout
