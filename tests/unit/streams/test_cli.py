"""The command line: answers, exit codes, errors that name place and fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli.exits import Exit
from streams.cli.main import COMMANDS, main

GOLDEN = Path(__file__).parents[2] / "golden"
DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def run(*args: str, given: bytes | None = None, **env: str) -> Result:
    """Run a command as a terminal would."""
    return CliRunner(env=env).invoke(main, list(args), input=given)


@pytest.mark.parametrize("word", COMMANDS)
def test_every_word_has_help_and_docs(word: str) -> None:
    """Each word loads, explains itself and stands in docs/cli.md."""
    found = run(word, "--help")
    assert found.exit_code == Exit.DONE
    assert found.output.startswith("Usage:")
    assert f"`{word}" in DOCS.read_text(encoding="utf-8")


def test_every_exit_code_is_documented() -> None:
    """docs/cli.md names each exit code."""
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"| {code.value} |" in text for code in Exit)


def test_unknown_word_is_refused() -> None:
    """A word that does not exist is a usage error."""
    assert run("rollback").exit_code == Exit.USAGE


def test_shipped_rules_are_valid() -> None:
    """`rules check` without a file checks what is shipped."""
    found = run("rules", "check")
    assert found.exit_code == Exit.DONE
    assert "valid" in found.output


def test_rule_problem_names_its_place(tmp_path: Path) -> None:
    """A problem is printed with file, line and column; exit code 3."""
    path = tmp_path / "broken.yaml"
    path.write_text("version: 1\nrules:\n  - nam: x\nend_of_rules: true\n")
    found = run("rules", "check", str(path))
    assert found.exit_code == Exit.FOUND
    assert f"{path}:3:5" in found.output
    as_json = run("rules", "check", "--json", str(path))
    assert json.loads(as_json.stdout)["problems"][0]["line"] == 3


@pytest.mark.parametrize("batch", ["1", "7", "1000"])
def test_replay_is_the_same_for_all_batches(batch: str) -> None:
    """A file and standard input give the same bytes, whatever the batch."""
    path = GOLDEN / "segment_canary.jsonl"
    whole = run("replay", str(path))
    piped = run("replay", "--batch", batch, given=path.read_bytes())
    assert whole.exit_code == piped.exit_code == Exit.DONE
    assert whole.stdout_bytes == piped.stdout_bytes
    kinds = [json.loads(line)["type"] for line in whole.stdout.splitlines()]
    assert {"verdict", "recommendation"} == set(kinds)


def test_replay_names_refused_lines() -> None:
    """A line that is no record is named; the others count; exit code 3."""
    found = run("replay", given=b'{"kind":"usage"}\nnot json\n')
    assert found.exit_code == Exit.FOUND
    assert "line 1" in found.stderr
    assert "line 2" in found.stderr


def test_missing_file_is_named() -> None:
    """A file that is not there is a usage error with its name."""
    found = run("replay", "/nowhere/x.jsonl")
    assert found.exit_code == Exit.USAGE
    assert "/nowhere/x.jsonl" in found.stderr


def test_missing_rule_file_is_named() -> None:
    """A rule file that is not there is a usage error with its name."""
    found = run("replay", "--rules", "/nowhere/r.yaml", given=b"")
    assert found.exit_code == Exit.USAGE
    assert "/nowhere/r.yaml" in found.stderr


@pytest.mark.parametrize("word", [("status",), ("topics", "check"), ("record",)])
def test_silence_has_its_exit_code(word: tuple[str, ...]) -> None:
    """Where nobody answers the exit code is 30 and the variable is named."""
    found = run(
        *word,
        HYPERCARE_KAFKA="127.0.0.1:1",
        HYPERCARE_WEB_PORT="1",
        HYPERCARE_IO_TIMEOUT="1",
    )
    assert found.exit_code == Exit.UNREACHABLE
    assert "HYPERCARE_" in found.stderr
    assert "Traceback" not in found.stderr


def test_wrong_setting_is_named() -> None:
    """A setting that can not be used is named with what would be right."""
    found = run("topics", "check", HYPERCARE_PARTITIONS="many")
    assert found.exit_code == Exit.USAGE
    assert "HYPERCARE_PARTITIONS" in found.stderr


def test_version_is_told_as_json() -> None:
    """`version --json` is one object."""
    assert "hypercare" in json.loads(run("version", "--json").stdout)
