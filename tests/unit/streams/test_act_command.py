"""A program is run once, with what it needs and no more, and its end is known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.actuators.command import Command
from streams.actuators.hooks import UnknownHooks
from streams.actuators.parcel import Word
from streams.actuators.receiver import Receiver
from streams.actuators.tally import Tally
from streams.cli.main import main
from tests.unit.streams.receivers import START_MS, parcel, recommendation


def command(code: str, lease_s: int = 60) -> Command:
    """A receiver that runs some Python."""
    run = [sys.executable, "-c", code]
    return Command(Receiver(name="one", lease_s=lease_s, plan={"run": run}))


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("pass", Word.DONE),
        ("raise SystemExit(3)", Word.FAILED),
        ("import os; os.kill(os.getpid(), 9)", Word.FAILED),
        ("import time; time.sleep(60)", Word.FAILED),
    ],
)
async def test_exit_code_says_how_it_ended(code: str, word: Word) -> None:
    """0 is done; any other, a signal and the end of the lease have failed."""
    one = command(code, lease_s=6)
    assert (await one.deliver(parcel(), START_MS)).word is word


async def test_missing_program_did_nothing() -> None:
    """What could not be started may be tried again."""
    one = Command(Receiver(name="one", plan={"run": ["/nowhere/at-all"]}))
    assert (await one.deliver(parcel(), START_MS)).word is Word.AGAIN
    assert await one.check() == ["/nowhere/at-all: no such program"]


async def test_program_finds_facts_not_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told what a gate would tell it, and none of our own variables."""
    monkeypatch.setenv("HYPERCARE_KAFKA_PASSWORD", "secret")
    path = tmp_path / "found"
    code = f"import os; open({str(path)!r}, 'w').write(str(dict(os.environ)))"
    sent = parcel(target="2.3.1; rm -rf /")
    sent.token = "t" * 16
    assert (await command(code).deliver(sent, START_MS)).word is Word.DONE
    found = path.read_text()
    assert "'HYPERCARE_GATE_TARGET': '2.3.1; rm -rf /'" in found
    assert f"'HYPERCARE_GATE_TOKEN': '{'t' * 16}'" in found
    assert "secret" not in found


def test_check_examines_every_address(tmp_path: Path) -> None:
    """`act --check` ends with 3 where something may not be reached, 2 where the file is
    wrong, 0 where all is well; it sends nothing."""
    path = tmp_path / "actuators.yaml"
    text = (
        "version: 1\nreceivers:\n- name: a\n  kind: alertmanager\n"
        "  allow: [127.0.0.0/8]\n  alertmanager: {urls: ['http://%s:9/']}\n"
        "end_of_receivers: true\n"
    )
    for host, code in (("127.0.0.1", 0), ("169.254.169.254", 3), ("u:p@a", 2)):
        path.write_text(text.replace("%s", host))
        known = {"HYPERCARE_ACTUATORS": str(path)}
        done = CliRunner().invoke(main, ["act", "--check"], env=known)
        assert done.exit_code == code, done.output


def test_file_must_be_named() -> None:
    """Without a file, or with an unknown receiver to enable, nothing starts."""
    done = CliRunner().invoke(main, ["act"], env={"HYPERCARE_ACTUATORS": ""})
    assert (done.exit_code, "HYPERCARE_ACTUATORS" in done.output) == (2, True)


def test_check_names_hooks_that_nobody_has(tmp_path: Path) -> None:
    """`act --check` ends with 3 where a rule names a receiver that is not there."""
    path, rules = tmp_path / "actuators.yaml", tmp_path / "rules.yaml"
    path.write_text("version: 1\nreceivers: [{name: a}]\nend_of_receivers: true\n")
    known = {"HYPERCARE_ACTUATORS": str(path), "HYPERCARE_RULES": str(rules)}
    for hooks, code, said in (
        ("[a]", 0, "a (nothing): ok"),
        ("[a, pager]", 3, "rule all: hook pager: no receiver has that name"),
    ):
        listed = f"[{{name: all, hooks: {hooks}}}]"
        rules.write_text(f"version: 1\nrules: {listed}\nend_of_rules: true\n")
        done = CliRunner().invoke(main, ["act", "--check"], env=known)
        assert (done.exit_code, said in done.output) == (code, True), done.output


def test_unknown_hooks_are_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name that no receiver has is logged once for each rule; the gauge counts it."""
    unknown = UnknownHooks(["one"])
    tally = Tally(unknown_hooks=lambda: len(unknown))
    for rule in ("a", "a", "b"):
        unknown.note(recommendation(rule=rule, hooks=("one", "pager")))
    unknown.note(recommendation())
    assert [r.getMessage()[:36] for r in caplog.records] == [
        "act.unknown_hook rule=a hook=pager r",
        "act.unknown_hook rule=b hook=pager r",
    ]
    assert tally.registry.get_sample_value("hypercare_act_unknown_hooks") == 1.0
