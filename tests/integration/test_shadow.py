"""A worker and two candidates on one log: what each says, and what nobody hears."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detector.backtest.courses import without_rulesets
from detector.replay import Replay, encode_recommendation, encode_verdict
from detector.rulefile import load_rules
from detector.verdicts import Action, RecommendationRecord, VerdictRecord
from streams.kafka_local import LocalKafka
from streams.logreader import topic_lines
from streams.reload import ruleset_command
from streams.shadowing import in_shadow
from streams.signing import HEADER
from streams.topics import LOG, create_missing
from tests.integration.detecting import (
    RULES,
    START_MS,
    WINDOWS,
    DetectorStage,
    detector_stage,
    windows,
)
from tests.integration.support import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

LOOSER = RULES.replace(
    "name: test", "name: test\n    mode: auto\n    persistence_s: 30"
)
STRICTER = RULES.replace(
    "name: test", "name: test\n    mode: auto\n    persistence_s: 86400"
)
CANDIDATES = {"looser": LOOSER, "stricter": STRICTER}


def start_shadow(made: DetectorStage, name: str, log: str) -> subprocess.Popen[bytes]:
    """Start ``hypercare shadow`` in the environment of a worker, signing keys too."""
    path = made.folder / f"{name}.yaml"
    path.write_text(CANDIDATES[name], encoding="utf-8")
    words = ["shadow", "--rules", str(path), "--name", name, "--port", "0"]
    with made.log_of(log).open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *words],
            cwd=ROOT,
            env=made.environment(log),
            stdout=out,
            stderr=out,
        )
    made.workers.append(process)
    return process


def said_by(made: DetectorStage, name: str) -> dict[str, list[bytes]]:
    """What a candidate said as replay lines by service, copies removed and unsigned."""
    found: dict[str, list[bytes]] = {}
    seen: set[bytes] = set()
    revisions: dict[str, int] = {}
    for kind in ("verdicts", "recommendations"):
        for record in made.read(f"shadow.{name}.{kind}"):
            headers = dict(record.headers)
            assert HEADER not in headers
            assert headers["ce_source"] == f"/hypercare/shadow/{name}".encode()
            if headers["id"] in seen:
                continue
            seen.add(headers["id"])
            if kind == "verdicts":
                verdict = msgspec.json.decode(record.value, type=VerdictRecord)
                line, service = encode_verdict(verdict), verdict.service
            else:
                said = msgspec.json.decode(record.value, type=RecommendationRecord)
                assert said.mode == "shadow"
                if revisions.get(said.id) == said.revision:
                    continue
                revisions[said.id] = said.revision
                line, service = encode_recommendation(said), said.service
            found.setdefault(service, []).append(line)
    return {service: sorted(lines) for service, lines in found.items()}


def would_say(lines: list[bytes], name: str) -> dict[str, list[bytes]]:
    """What a candidate says about the log in an undisturbed run."""
    run = Replay(in_shadow(load_rules(CANDIDATES[name], source="test")))
    found: dict[str, list[bytes]] = {}
    for line in run.feed(without_rulesets(lines), 500):
        found.setdefault(json.loads(line)["service"], []).append(line)
    return {service: sorted(said) for service, said in found.items()}


def live_would_say(lines: list[bytes]) -> dict[str, list[bytes]]:
    """What the live rules say about the log where no shadow ever ran."""
    run = Replay(load_rules(RULES, source="test"))
    found: dict[str, list[bytes]] = {}
    for line in run.feed(lines, 500):
        found.setdefault(json.loads(line)["service"], []).append(line)
    return {service: sorted(said) for service, said in found.items()}


def is_written_down(made: DetectorStage) -> bool:
    """Whether the worker's newest snapshots hold all of the log, and all has left."""
    ends = {0: 0}
    for record in made.read(LOG):
        ends[record.partition] = record.offset + 1
    kept = made.manifests()
    return all(kept[p][0].next_offset >= end for p, end in ends.items())


def pilot(made: DetectorStage, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code and answers of ``hypercare pilot``, JSON and for a terminal."""
    command = [sys.executable, "-m", "streams.cli", "pilot", *words]
    environment = made.environment("pilot") | {"PYTHONPATH": os.fspath(ROOT)}
    done = [
        subprocess.run(
            [*command, *more],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=False,
        )
        for more in (["--json"], [])
    ]
    assert not done[0].stderr, done[0].stderr
    return done[0].returncode, json.loads(done[0].stdout), done[1].stdout.decode()


def test_candidates_beside_live(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator
) -> None:
    """A looser and a stricter set beside the live one, the looser killed twice: each
    says what a replay says, live says what it says alone, and nothing of a candidate
    stands on a topic that anybody acts on."""
    with detector_stage(kafka.bootstrap, "shadowed", tmp_path) as made:
        for name in CANDIDATES:
            create_missing(replace(made.settings, shadow=name))
        made.start("w0")
        running = {name: start_shadow(made, name, name) for name in CANDIDATES}
        until(
            lambda: all(
                made.said(n).count("lane.ready") == 4 for n in ("w0", *CANDIDATES)
            ),
            what="worker and shadows are up",
        )
        producer, sent = made.producer(), 0
        for index, records in enumerate(windows(rng, WINDOWS)):
            made.write_log(records, producer)
            sent += len({record["service"] for record in records})
            if index == 30:  # a rule set in force: workers obey, candidates do not
                other = load_rules(RULES.replace("test", "renamed"), source="test")
                for number in range(made.settings.partitions):
                    command = ruleset_command(other, START_MS)
                    topic = made.settings.topic(LOG)
                    producer.send(topic, command, key=b"all", partition=number)
                    sent += 1
                # The worker asks for its own file again. Later than here, a pilot of
                # the live rules would count anew after all that matters.
                until(
                    lambda: len(own_rules(made)) == made.settings.partitions,
                    what="the worker's own rules are back",
                )
            if index in (25, 70):
                running["looser"].kill()
                running["looser"].wait()
                running["looser"] = start_shadow(made, "looser", f"looser{index}")
        until(lambda: bool(made.recommendations()), what="the recommendation")
        recorded = list(topic_lines(made.settings))
        for name in CANDIDATES:
            wanted = would_say(recorded, name)
            until(
                lambda name=name, wanted=wanted: said_by(made, name) == wanted,
                what=f"{name} says what a replay says",
            )
        until(lambda: is_written_down(made), what="the worker has read everything")
        # Keys of one service stand in several partitions of a topic.
        said = {service: sorted(one) for service, one in made.audit_lines().items()}
        assert said == live_would_say(recorded)
        assert_reached_nobody(made, sent)
        assert_examined(made)
        assert_pilots(made)


def own_rules(made: DetectorStage) -> list[dict[str, Any]]:
    """Commands in the log by which the worker put its own file in force again."""
    kept = [json.loads(record.value) for record in made.read(LOG)]
    commands = [
        one for one in kept if isinstance(one, dict) and one["kind"] == "command"
    ]
    live = load_rules(RULES, source="test").hash
    return [one for one in commands if one["rules_hash"] == live]


def assert_reached_nobody(made: DetectorStage, sent: int) -> None:
    """The log holds what was sent and the worker's own rule set, all else is signed."""
    assert len(list(made.read(LOG))) == sent + len(own_rules(made))
    assert {r.mode for r in made.recommendations()} == {"recommend"}
    for topic in ("verdicts", "recommendations", "audit", "deadletter"):
        for record in made.read(topic):
            assert dict(record.headers)["ce_source"] == b"/hypercare"
    assert not made.read("executions")


def assert_examined(made: DetectorStage) -> None:
    """Doctor finds a candidate well that is, and names one without topics."""
    examined = {}
    for name in ("looser", "nobody"):
        command = [sys.executable, "-m", "streams.cli", "doctor", "--json"]
        done = subprocess.run(
            [*command, "--shadow", name],
            cwd=ROOT,
            env=made.environment("doctor"),
            capture_output=True,
            check=False,
        )
        found = [json.loads(line) for line in done.stdout.splitlines()]
        examined[name] = [one for one in found if one["check"] == "shadow"]
    well, missing = examined["looser"], examined["nobody"]
    assert [one["level"] for one in well] == ["ok"] * 4, well
    assert "1 alive in" in well[1]["what"]
    assert "nobody acts on it" in well[3]["what"]
    assert " 0 looked at" not in well[3]["what"]
    assert [one["level"] for one in missing] == ["error"] * 3
    assert "--shadow" in missing[0]["fix"]


def assert_pilots(made: DetectorStage) -> None:
    """The looser is earlier than live, the stricter says nothing; both are too early,
    and the page for a first installation knows live alone."""
    code, looser, page = pilot(made, "--name", "looser")
    assert (code, looser["decision"]) == (3, "too early")
    assert looser["taken"] >= 1
    assert (looser["earlier"], looser["later"]) == (1, 0)
    assert looser["unlabelled"] == looser["taken"]
    assert "TOO EARLY" in page
    assert "hypercare label rec_" in page
    code, stricter, _ = pilot(made, "--name", "stricter")
    assert (code, stricter["taken"], stricter["only_live"]) == (3, 0, 1)
    code, alone, _ = pilot(made)
    (bad,) = [one for one in alone["releases"] if one["tried"]["take"]]
    assert (bad["service"], bad["tried"]["take"]["action"]) == (
        "shop-bad",
        Action.ROLLBACK,
    )
