"""Hot reload: whole and valid sets only, and only files that have come to rest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from detector.engine import Partition
from detector.events import Command, Event
from detector.records import LogRecord
from detector.rulefile import RuleSet, load_rules
from streams.reload import RuleWatch, ruleset_command

TEXT = "version: 1\nrules:\n  - name: {}\nend_of_rules: true\n"


def rules(name: str) -> RuleSet:
    """A set of one rule."""
    return load_rules(TEXT.format(name), source="test")


def replace(path: Path, text: str) -> None:
    """Write as an editor does: a new file under the old name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


@pytest.fixture
def watch(tmp_path: Path) -> RuleWatch:
    path = tmp_path / "rules.yaml"
    path.write_text(TEXT.format("one"), encoding="utf-8")
    return RuleWatch(path, rules("one"))


def test_changed_file_is_taken_at_rest(watch: RuleWatch) -> None:
    """A change is taken once two looks in a row agree, and only once."""
    assert watch.path is not None
    replace(watch.path, TEXT.format("two"))
    assert watch.poll() is None, "it may still be being written"
    taken = watch.poll()
    assert taken is not None
    assert [r.name for r in taken.rules] == ["two"]
    assert watch.poll() is None


def test_broken_file_changes_nothing(watch: RuleWatch) -> None:
    """What does not load leaves the old set and says why."""
    assert watch.path is not None
    replace(watch.path, "version: 1\nrules:\n  - nam: x\n")
    assert [watch.poll() for _ in range(3)] == [None] * 3
    assert not watch.successful
    assert ":3:" in watch.problem
    assert [r.name for r in watch.rules.rules] == ["one"]


def test_repaired_file_is_successful(watch: RuleWatch) -> None:
    """A repair clears the problem, also when the set is the old one."""
    assert watch.path is not None
    replace(watch.path, "broken")
    watch.poll(), watch.poll()
    replace(watch.path, TEXT.format("one"))
    assert [watch.poll(), watch.poll()] == [None, None]
    assert watch.successful
    assert watch.problem == ""


def test_vanished_file_changes_nothing(watch: RuleWatch) -> None:
    """A file that is gone for a moment is waited for."""
    assert watch.path is not None
    watch.path.unlink()
    assert [watch.poll() for _ in range(3)] == [None] * 3
    assert [r.name for r in watch.rules.rules] == ["one"]


def test_command_puts_rules_in_force() -> None:
    """The command a reload sends changes the rules of a partition, all or nothing."""
    partition = Partition(0, rules("one"))
    record = LogRecord(0, 1000, b"all", ruleset_command(rules("two"), 1000))
    partition.apply([record])
    assert partition.rulebook.default.hash == rules("two").hash
    damaged = msgspec.json.decode(ruleset_command(rules("three"), 2000), type=Event)
    assert isinstance(damaged, Command)
    half = msgspec.structs.replace(damaged, rules_text=(damaged.rules_text or "")[:-9])
    outputs = partition.apply(
        [LogRecord(1, 2000, b"all", msgspec.json.encode(half))]
    ).records
    assert partition.rulebook.default.hash == rules("two").hash
    assert [o.topic for o in outputs] == ["deadletter", "commands"]
    assert json.loads(outputs[1].value)["changed"] is False
