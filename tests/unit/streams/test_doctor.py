"""Each broken setup is named in one line, with its fix."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from streams import doctor
from streams.doctor import Finding, Level
from streams.doctor_cluster import (
    group_findings,
    judge_clock,
    no_answer,
    state_findings,
    topic_findings,
)
from streams.errors import Unreachable
from streams.groups import Group
from streams.settings import Settings
from streams.stateadmin import PartitionState
from streams.topics import Difference

KEY = {"HYPERCARE_IDENTITY_KEY": "k" * 32}


def one_line(finding: Finding) -> str:
    """The finding as it is printed: one line, with a fix unless all is well."""
    line = str(finding)
    assert "\n" not in line
    assert (finding.level is Level.OK) == ("Fix: " not in line)
    return line


def test_good_settings_are_ok() -> None:
    """A usable environment gives settings and one good line."""
    settings, found = doctor.read_settings(KEY)
    assert settings is not None
    assert [one.level for one in found] == [Level.OK]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "HYPERCARE_IDENTITY_KEY"),
        (KEY | {"HYPERCARE_PARTITIONS": "x"}, "HYPERCARE_PARTITIONS"),
        (KEY | {"HYPERCARE_PREFIXX": "x"}, "HYPERCARE_PREFIX"),
    ],
)
def test_bad_settings_name_variables(environment: dict[str, str], words: str) -> None:
    """Every problem of the environment is a line that names its variable."""
    settings, found = doctor.read_settings(environment)
    assert settings is None
    assert all(one.level is Level.ERROR for one in found)
    assert words in one_line(found[0])


def test_demo_key_is_a_warning() -> None:
    """A demonstration works, and says that its hashes do not last."""
    settings, found = doctor.read_settings({"HYPERCARE_DEMO": "1"})
    assert settings is not None
    assert found[0].level is Level.WARNING
    one_line(found[0])


def test_broken_rules_name_their_line(tmp_path: Path) -> None:
    """A rule file with an error is named with file, line and column."""
    path = tmp_path / "broken.yaml"
    path.write_text("version: 1\nrules:\n  - nam: x\nend_of_rules: true\n")
    found = doctor.rules_finding(Settings(rules=path))
    assert found.level is Level.ERROR
    assert f"{path}:3:5" in one_line(found)


def test_vanished_rules_name_their_file(tmp_path: Path) -> None:
    """A rule file that is not there is named."""
    found = doctor.rules_finding(Settings(rules=tmp_path / "gone.yaml"))
    assert found.level is Level.ERROR
    assert "gone.yaml" in one_line(found)


def test_taken_port_names_the_variable() -> None:
    """A port that another program has is an error that names HYPERCARE_WEB_PORT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        settings = Settings(web_port=server.getsockname()[1])
        # Nobody answers there: the question for a worker must give up.
        status, found = doctor.port_finding(settings)
    assert (status, found.level) == (None, Level.ERROR)
    assert "HYPERCARE_WEB_PORT" in one_line(found)


def test_free_port_is_fine() -> None:
    """A port nobody has is no finding."""
    assert doctor.port_finding(Settings(web_port=0))[1].level is Level.OK


def test_foreign_address_names_the_host() -> None:
    """An address this machine does not have is an error that names the variable."""
    _, found = doctor.port_finding(Settings(web_host="192.0.2.1", web_port=0))
    assert found.level is Level.ERROR
    assert "HYPERCARE_WEB_HOST" in one_line(found)


def test_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no temporary file can be written the line says why."""
    monkeypatch.setattr(
        "tempfile.TemporaryFile",
        lambda dir: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    found = doctor.disk_finding()
    assert found.level is Level.WARNING
    assert "No space left on device" in one_line(found)


def test_unusable_temporary_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder of TMPDIR itself is tried, not where Python goes instead."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    found = doctor.disk_finding()
    assert found.level is Level.WARNING
    assert str(tmp_path / "gone") in one_line(found)


@pytest.mark.parametrize(
    ("ahead_ms", "level"),
    [
        (0, Level.OK),
        (-900, Level.OK),
        (30_000, Level.WARNING),
        (3_600_000, Level.ERROR),
        (-3_600_000, Level.ERROR),
    ],
)
def test_clock_difference_is_judged(ahead_ms: int, level: Level) -> None:
    """Seconds are a warning, an hour either way is an error, and the fix is NTP."""
    found = judge_clock(ahead_ms, round_trip_ms=10)
    assert found.level is level
    if level is not Level.OK:
        assert "NTP" in one_line(found)


def test_slow_answers_excuse_the_clock() -> None:
    """What a long round trip explains is not blamed on the clock."""
    assert judge_clock(4_000, round_trip_ms=8_000).level is Level.OK


def test_topic_differences_keep_their_fix() -> None:
    """Every difference of the topics is a line with its own fix."""
    wrong = Difference("h.events", "topic", "missing", "4 partitions", "Create", True)
    (found,) = topic_findings([wrong])
    assert found.level is Level.ERROR
    assert one_line(found).endswith("Fix: Create")
    (fine,) = topic_findings([])
    assert fine.level is Level.OK


def partition(blind: str = "") -> PartitionState:
    return PartitionState(
        partition=1,
        epoch=3,
        owner="w",
        next_offset=None if blind else 7,
        ordered=None,
        log_start=0,
        log_end=9,
        shards=1,
        bytes=10,
        written_ms=None,
        blind=blind,
    )


def test_blind_partitions_name_the_way_out() -> None:
    """A partition a worker would refuse is an error with what to do."""
    (found,) = state_findings([partition("lost: run `hypercare state rebuild`")])
    assert found.level is Level.ERROR
    assert "hypercare state rebuild" in one_line(found)
    (fine,) = state_findings([partition()])
    assert fine.level is Level.OK


def test_group_without_worker_is_named() -> None:
    """Nobody at work and what waits for somebody are lines of their own."""
    settings = Settings()
    ends = {("hypercare.events", 0): 50_000, ("hypercare.usage", 0): 7}
    found = list(group_findings(Group("Empty", ()), ends, settings))
    assert [one.level for one in found] == [Level.WARNING, Level.OK, Level.WARNING]
    assert "50000 records wait in the log" in one_line(found[2])


def test_unreachable_broker_is_one_line() -> None:
    """What the client says becomes what and fix."""
    found = no_answer(Unreachable("Kafka at x:1 does not answer (no): start it"))
    assert one_line(found).endswith("Fix: start it")


def test_coverage_gaps_are_named() -> None:
    """Services without deploys, releases without verdict and a worker that sees
    nothing are named; full coverage is fine."""
    shop = {"service": "shop", "environment": "production", "last_event_ms": {}}
    seen = {**shop, "last_event_ms": {"deploys": 1}}
    release = {**shop, "release": "2.4.0", "verdict": None}

    def said(services: list[Any], releases: list[Any]) -> str:
        status = {"services": services, "releases": releases}
        return " ".join(one_line(one) for one in doctor.coverage_findings(status))

    assert "has seen no service" in said([], [])
    assert "no deploy was seen of shop/production" in said([shop], [])
    assert "not judged yet: shop/production/2.4.0" in said([seen], [release])
    judged = {**release, "verdict": "healthy"}
    assert said([seen], [judged]).startswith("ok")


def test_worst_finding_decides() -> None:
    """One error outweighs everything else."""
    good, bad = doctor.ok("a", "b"), doctor.error("a", "b", "c")
    assert doctor.worst([good, bad, doctor.warning("a", "b", "c")]) is Level.ERROR
    assert doctor.worst([]) is Level.OK
