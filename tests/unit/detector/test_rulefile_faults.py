"""Rule files named by their fault: each must be refused, at the place it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.rulefile import check_text

FAULTS = Path(__file__).parents[2] / "faults" / "rules"
MARK = "# expect: "
NAMES = sorted(path.name for path in FAULTS.glob("*.yaml"))


def test_faults_are_found_on_disk() -> None:
    """The folder is where this module looks for it."""
    assert len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_fault_gives_expected_problems(name: str) -> None:
    """All problems of the file are told, at their places, and no other ones."""
    text = (FAULTS / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    expected = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]

    problems = check_text(text, name)

    told = [f"{found.line}:{found.column}: {found.message}" for found in problems]
    assert expected == told


@pytest.mark.parametrize("name", NAMES)
def test_fault_message_names_the_fix(name: str) -> None:
    """Every problem has a hint, and the source and place lead what is printed."""
    text = (FAULTS / name).read_text(encoding="utf-8")
    for found in check_text(text, name):
        assert found.hint
        assert str(found).startswith(f"{name}:{found.line}:{found.column}: ")


@pytest.mark.parametrize("name", NAMES)
def test_marker_stands_under_offending_text(name: str) -> None:
    """The second line of a snippet holds only carets, within the line above."""
    text = (FAULTS / name).read_text(encoding="utf-8")
    for found in check_text(text, name):
        line, marker = found.snippet.split("\n")
        assert set(marker) <= {" ", "^"}
        assert len(marker.strip()) >= 1
        assert len(marker) <= len(line) + 1
