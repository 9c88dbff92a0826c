"""A program may object to the release that a recommendation leads back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acting.answers import Answer, Why
from detector.verdicts import Action
from streams.gate.returning import anywhere, returning
from tests.unit.acting.test_ledger import wish

LIMIT_S = 0.2


def program(folder: Path, text: str) -> Path:
    """A script that is asked."""
    path = folder / "may-return"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo schema 7 is migrated; echo more; exit 3", "schema 7 is migrated"),
        ("exit 1", "may-return ended with 1"),
        ("printf '\\033[31mred'; exit 1", "[31mred"),
        ("exec sleep 5", "may-return did not answer within 0.2 s"),
        ("kill -9 $$", "may-return ended with -9"),
    ],
)
def test_program_may_object(tmp_path: Path, text: str, said: str) -> None:
    """Any end but 0 is a no, with the first line that it wrote and no control codes."""
    found = returning(program(tmp_path, text), LIMIT_S)(wish(target="1"))
    assert found is not None
    assert (found.answer, found.why) == (Answer.NEEDS_APPROVAL, Why.NOT_SAFE)
    assert found.text == f"1 is not safe to return to ({said}): page a person"


def test_program_that_can_not_run_objects(tmp_path: Path) -> None:
    """A broken hook lets nothing happen."""
    path = program(tmp_path, "exit 0")
    path.chmod(0o644)
    found = returning(path)(wish(target="1"))
    assert found is not None
    assert "could not run" in found.text


def test_program_knows_whom_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds release and target, and none of our settings; 0 is a yes."""
    monkeypatch.setenv("HYPERCARE_SASL_PASSWORD", "secret")
    told = tmp_path / "told"
    text = f"env | grep HYPERCARE_ > {told}; exit 0"
    assert returning(program(tmp_path, text))(wish(target="1")) is None
    found = dict(line.split("=", 1) for line in told.read_text().splitlines())
    assert found["HYPERCARE_GATE_TARGET"] == "1"
    assert "HYPERCARE_SASL_PASSWORD" not in found
    assert found["HYPERCARE_GATE_TOKEN"] == ""


@pytest.mark.parametrize(
    "changes",
    [{"action": Action.WITHDRAW}, {"action": Action.HALT}, {"test": True}],
)
def test_only_ways_back_are_asked_about(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """What leads to no other release, and a drill, needs nobody's word."""
    path = program(tmp_path, "exit 1")
    assert returning(path)(wish(**{"target": "1", **changes})) is None
    assert returning(None) is anywhere
    assert anywhere(wish()) is None
