"""Past decisions made again: identical, or the first field that differs is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from detector.records import LogRecord
from streams.cli.replay import replay
from streams.recording import exact_line, plain_lines
from tests.unit.detector.traffic import rules
from tests.unit.streams.past import STRICT, Files, live, log_of, short_past, traffic


@pytest.fixture
def past() -> tuple[list[LogRecord], list[bytes]]:
    """A log of some rounds and what was said about it."""
    return short_past()


@pytest.fixture
def files(tmp_path: Path, past: tuple[list[LogRecord], list[bytes]]) -> Files:
    """The same as files."""
    return Files(tmp_path, *past)


SERVICES = int(os.environ.get("REPLAYED_SERVICES", "70"))
"""400 make a thousand verdicts and take minutes."""


@pytest.mark.slow
def test_thousand_verdicts_are_identical(tmp_path: Path) -> None:
    """Random batches, restores and a reload in between: every byte comes out again."""
    records = log_of(traffic(1, SERVICES, 1))
    said = live(records, 2)
    verdicts = sum(b'"verdict":' in value for value in said)
    assert verdicts >= SERVICES * 5 // 2
    files = Files(tmp_path, records, said)
    done = files.replay("--all", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["identical"]["verdict"] == verdicts
    assert sum(told["identical"].values()) == len(said)
    assert told["differing"] == told["absent"] == told["missing"] == []


def test_one_byte_is_found_and_named(files: Files) -> None:
    """A figure that was changed afterwards is named with its place and field."""
    lines = files.audit.read_bytes().splitlines()
    spoilt = next(n for n, v in enumerate(lines) if b'"revision":1,' in v)
    lines[spoilt] = lines[spoilt].replace(b'"revision":1,', b'"revision":7,')
    files.audit.write_bytes(b"\n".join(lines) + b"\n")
    done = files.replay("--all")
    assert done.exit_code == 3
    assert f":{spoilt + 1}: recommendation" in done.stdout
    assert "first difference at revision: audit 7, replay 1" in done.stdout
    assert "1 differ, 0 not in the audit" in done.stdout


@pytest.mark.parametrize("place", [0, 40, -2])
def test_any_byte_is_found(files: Files, place: int) -> None:
    """Also where the record is no JSON or no record of ours any more."""
    lines = files.audit.read_bytes().splitlines()
    changed = bytearray(lines[7])
    changed[place] ^= 1
    lines[7] = bytes(changed)
    files.audit.write_bytes(b"\n".join(lines) + b"\n")
    done = files.replay("--all")
    assert done.exit_code == 3
    assert f"{files.audit}:8: " in done.stdout
    assert "1 differ" in done.stdout


def test_deleted_record_is_missed(files: Files) -> None:
    """What the audit has before and after, it must have in between."""
    lines = files.audit.read_bytes().splitlines()
    name = json.loads(lines[0])["release"]
    own = [n for n, v in enumerate(lines) if json.loads(v).get("release") == name]
    about = [n for n in own if json.loads(lines[n])["service"] == "shop-0"]
    del lines[about[1]]
    files.audit.write_bytes(b"\n".join(lines) + b"\n")
    done = files.replay("--all")
    assert done.exit_code == 3
    assert "0 differ, 1 not in the audit" in done.stdout


def test_single_ids(files: Files) -> None:
    """A recommendation gives all its revisions, a release its newest verdict."""
    lines = files.audit.read_bytes().splitlines()
    bodies = [json.loads(line) for line in lines]
    name = next(b["id"] for b in bodies if "id" in b)
    done = files.replay(name)
    assert done.exit_code == 0, done.output
    own = [x for x, b in zip(lines, bodies, strict=True) if b.get("id") == name]
    assert done.stdout.encode().splitlines() == own
    release = "shop-1/production/3.0.0"
    verdicts = [
        x
        for x, b in zip(lines, bodies, strict=True)
        if "verdict" in b and (b["service"], b["release"]) == ("shop-1", "3.0.0")
    ]
    done = files.replay("--id", release)
    assert (done.exit_code, done.stdout.encode().strip()) == (0, verdicts[-1])


def test_rules_are_checked_by_hash(files: Files) -> None:
    """Other rules than those it began with are refused, not compared."""
    files.put_rules(rules("persistence_s: 90"))
    done = files.replay("--all")
    assert done.exit_code == 2
    assert STRICT.hash[:12] in done.stderr
    assert "--rules" in done.stderr


def test_log_that_does_not_reach_back(
    files: Files, past: tuple[list[LogRecord], list[bytes]]
) -> None:
    """No false disagreement: what is missing is named."""
    files.put_history(past[0][100:])
    done = files.replay("--all")
    assert done.exit_code == 2
    assert "records 0 to 99 are gone" in done.stderr
    assert "differ" not in done.stdout.replace("0 differ", "")


def test_two_recordings_are_put_together(
    files: Files, past: tuple[list[LogRecord], list[bytes]], tmp_path: Path
) -> None:
    """They may overlap; a gap between them is named."""
    records = past[0]
    later = tmp_path / "later.jsonl"
    later.write_bytes(b"".join(exact_line(0, r) + b"\n" for r in records[300:]))
    files.put_history(records[:350])
    done = files.replay("--all", "--history", str(later))
    assert done.exit_code == 0, done.output
    files.put_history(records[:200])
    done = files.replay("--all", "--history", str(later))
    assert done.exit_code == 2
    assert "nothing from offset 200" in done.stderr


def test_other_version_is_said(files: Files) -> None:
    """A decision of other code is no disagreement before it was asked for."""
    text = files.audit.read_bytes()
    version = json.loads(text.splitlines()[0])["code_version"].encode()
    mark = b'"code_version":"%s"'
    files.audit.write_bytes(text.replace(mark % version, mark % b"0.0.1"))
    done = files.replay("--all")
    assert done.exit_code == 3
    assert "decided by Hypercare 0.0.1" in done.stderr
    assert files.replay("--all", "--other-version").exit_code == 0


def test_plain_recording_still_serves(files: Files) -> None:
    """Recordings of old give everything again but offsets."""
    lines = files.history.read_bytes().splitlines()
    files.history.write_bytes(b"\n".join(plain_lines(lines)) + b"\n")
    done = files.replay("--all")
    assert done.exit_code == 0, done.output
    assert "offsets were not compared" in done.stderr


def test_exact_recording_replays_like_a_plain_one(files: Files) -> None:
    """``replay FILE`` prints the same for both."""
    exact = files.history.read_bytes().splitlines()
    plain = files.history.with_suffix(".plain")
    plain.write_bytes(b"\n".join(plain_lines(exact)) + b"\n")
    said = [
        CliRunner().invoke(replay, [str(path), "--rules", str(files.rules)])
        for path in (files.history, plain)
    ]
    assert said[0].exit_code == said[1].exit_code == 0
    assert said[0].stdout == said[1].stdout != ""


@pytest.mark.parametrize(
    "words",
    [("--all", "--id", "a/b/c"), ("x.jsonl", "--all"), ("--id", "a/b/c"), ("x.jsonl",)],
)
def test_wrong_requests_name_the_fix(files: Files, words: tuple[str, ...]) -> None:
    """Two things at once, an unknown release, options that go with others."""
    done = files.replay(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "hypercare:" in done.stderr
