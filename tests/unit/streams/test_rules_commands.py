"""``hypercare rules`` and its words, as a terminal runs them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from detector.backtest import courses_of, judge
from detector.rulefile import load_rules
from detector.simulate import Shop, burst, ramp
from streams.cli.exits import Exit
from streams.cli.main import main

START_MS = 1_795_356_000_000
QUICK = """# mine
version: 1
rules:
  - name: all       # everything
    persistence_s: 30
    strata: [{attr: os}]
end_of_rules: true
"""
TEST = """version: 1
rules: rules.yaml
tests:
  - name: harm is found
    deploys: [{release: b, event: started at 2m weight 0.5, predecessor: a}]
    input:
      - {release: a, usage: "200x11 100x59", errors: "4x11 2x59"}
      - {release: b, usage: "_x12 100x59", errors: "_x12 8x59"}
    expect:
      - {at: 10m, verdict: VERDICT}
"""


def run(*args: object) -> Result:
    """Run a command of ``hypercare rules``."""
    return CliRunner().invoke(main, ["rules", *map(str, args)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A rule file, tests that pass and that fail."""
    (tmp_path / "rules.yaml").write_text(QUICK)
    (tmp_path / "pass.yaml").write_text(TEST.replace("VERDICT", "regressed"))
    (tmp_path / "fail.yaml").write_text(TEST.replace("VERDICT", "healthy"))
    return tmp_path


def history(path: Path) -> Path:
    """A bad release, a blip, and one that is well, as ``hypercare record`` has it."""
    weight = ramp([(10, 0.3)])
    shops = [
        Shop(service="bad", weight=weight, harm=burst(12, 10**9, 8.0)),
        Shop(service="blip", weight=weight, harm=burst(12, 20, 8.0)),
        Shop(service="well", weight=weight),
    ]
    rng = np.random.default_rng(7)
    streams = [shop.windows(rng, START_MS, 70) for shop in shops]
    lines = [msgspec.json.encode(r) for g in zip(*streams, strict=True) for r in g]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_tests_that_pass(folder: Path) -> None:
    """Exit code 0, and the rule file stands beside the file of tests."""
    found = run("test", folder / "pass.yaml")
    assert found.exit_code == Exit.DONE, found.output
    assert "1 test: all as expected" in found.output


def test_failure_is_a_diff_with_its_place(folder: Path) -> None:
    """Exit code 3; expected, said and when, with file, line and name."""
    found = run("test", folder / "fail.yaml", folder / "pass.yaml")
    assert found.exit_code == Exit.FOUND
    assert f"FAIL {folder / 'fail.yaml'}:4: harm is found" in found.output
    assert f"{folder / 'fail.yaml'}:10: at 10m, shop production b" in found.output
    assert "    - verdict: healthy\n    + verdict: regressed   since" in found.output
    assert "2 tests, 1 failed" in found.output
    told = run("test", "--json", folder / "fail.yaml")
    body = json.loads(told.output)
    assert (body["passed"], body["failures"][0]["line"]) == (False, 10)


def test_other_rules_can_be_put_to_the_same_tests(folder: Path) -> None:
    """What a candidate breaks shows before it is in force."""
    slow = folder / "slow.yaml"
    slow.write_text(QUICK.replace("30", "3600"))
    assert run("test", folder / "pass.yaml", "--rules", slow).exit_code == Exit.FOUND


def test_wrong_files_are_told_all_at_once(folder: Path) -> None:
    """Exit code 2 and every place; a missing rule file says who asked for it."""
    for name in ("one", "two"):
        (folder / name).write_text(TEST.replace("VERDICT", "bad"))
    found = run("test", folder / "one", folder / "two")
    assert found.exit_code == Exit.USAGE
    assert found.output.count("hint: valid:") == 2
    (folder / "rules.yaml").unlink()
    found = run("test", folder / "pass.yaml")
    assert found.exit_code == Exit.USAGE
    assert "pass.yaml: rules:" in found.output
    assert run("test", folder / "pass.yaml", "--only", "x").exit_code == Exit.USAGE


def test_diff_with_history(folder: Path) -> None:
    """Keys with their effect, and what becomes of each recorded release."""
    slow = folder / "slow.yaml"
    slow.write_text(QUICK.replace("30", "150"))
    args = ("diff", folder / "rules.yaml", slow, "--history", history(folder / "h"))
    found = run(*args)
    assert found.exit_code == Exit.DONE, found.output
    assert "  persistence_s: 30 -> 150\n      fewer alarms from blips" in found.output
    body = json.loads(run(*args, "--json").output)
    words = {one["key"]["service"]: one["word"] for one in body["history"]}
    assert words == {"bad": "later", "blip": "gone", "well": "same"}
    assert next(one["by_ms"] for one in body["history"] if one["word"] == "later") > 0
    back = run("diff", slow, folder / "rules.yaml", "--history", folder / "h")
    assert "blip production 2.4.0: new" in back.output
    assert "bad production 2.4.0: earlier by" in back.output


def test_diff_of_the_same_meaning(folder: Path) -> None:
    """Comments and spelled-out defaults are no difference."""
    other = folder / "other.yaml"
    other.write_text(QUICK.replace("# mine", "").replace("name: all", "name: all "))
    assert (
        "no difference in meaning" in run("diff", folder / "rules.yaml", other).output
    )


def test_explain(folder: Path) -> None:
    """Rule, what it means, and the origin of each value."""
    found = run("explain", "shop", "--rules", folder / "rules.yaml")
    assert found.exit_code == Exit.DONE
    assert f"rule all ({folder / 'rules.yaml'}:4)" in found.output
    assert "e-value of 400 (1/alpha" in found.output
    body = json.loads(
        run("explain", "shop", "--rules", folder / "rules.yaml", "--json").output
    )
    lines = {one["key"]: one["line"] for one in body["settings"]}
    assert (lines["persistence_s"], lines["alpha"]) == (5, None)
    assert run("explain", "not a name").exit_code == Exit.USAGE


def labelled(folder: Path, words: dict[str, str]) -> tuple[Path, Path]:
    """The history, and the audit of it with labels by service."""
    recording, audit = history(folder / "h"), folder / "audit"
    rules = load_rules(QUICK, source="test")
    lines = recording.read_bytes().splitlines()
    kept = []
    for key, course in courses_of(judge(lines, rules)).items():
        kept += [msgspec.json.encode(record) for record in course.recommendations]
        for record in course.recommendations[:1]:
            word = {"recommendation_id": record.id, "value": words.get(key.service)}
            kept.append(msgspec.json.encode({"command": "label", "at": 9, **word}))
    audit.write_bytes(b"\n".join(kept) + b"\n")
    return recording, audit


def test_precision_of_audit_and_of_a_recording(folder: Path) -> None:
    """One right, one wrong; the log alone gives the recommendations, unlabelled."""
    recording, audit = labelled(folder, {"bad": "right", "blip": "wrong"})
    found = run("precision", "--audit", audit)
    assert found.exit_code == Exit.DONE, found.output
    assert "50% (1% to 99%)" in found.output
    told = run("precision", "--audit", recording, "--rules", folder / "rules.yaml")
    assert "2 without a label" in told.output
    body = json.loads(run("precision", "--audit", audit, "--json").output)
    assert (body["right"], body["wrong"], body["rule"]) == (1, 1, "all")


def test_proposal_is_one_change_and_is_written_only_if_told(folder: Path) -> None:
    """A wrong blip: a diff with its effect; comments and all else stay."""
    recording, audit = labelled(folder, {"bad": "right", "blip": "wrong"})
    path = folder / "rules.yaml"
    asked = ("propose", "--history", recording, "--labels", audit, "--rules", path)
    found = run(*asked, "--json")
    assert found.exit_code == Exit.DONE, found.output
    assert path.read_text() == QUICK
    body = json.loads(found.output)
    proposed = body["proposed"]
    assert (body["before"]["right"], body["before"]["wrong"]) == (1, 1)
    chosen = next(
        one
        for one in body["tried"]
        if (one["key"], one["after"]) == (proposed["key"], proposed["after"])
    )
    assert (chosen["right"], chosen["wrong"]) == (1, 0)
    changed = [line for line in body["diff"].splitlines() if line[0] in "+-"]
    assert len(changed) in (3, 4)
    written = run(*asked, "--write")
    assert written.output.index("+++ ") < written.output.index("written")
    text = path.read_text()
    assert text != QUICK
    assert text.count("#") == QUICK.count("#")
    assert run("check", path).exit_code == Exit.DONE


def test_proposal_may_be_that_none_helps(folder: Path) -> None:
    """What is as bad as the harm that must be found can not be told from it: 3."""
    recording, audit = labelled(folder, {"bad": "wrong", "blip": "right"})
    path = folder / "rules.yaml"
    asked = ("propose", "--history", recording, "--labels", audit, "--rules", path)
    found = run(*asked, "--write")
    assert found.exit_code == Exit.FOUND
    assert "none helps" in found.output
    assert path.read_text() == QUICK
    assert run(*asked[:5], "--write").exit_code == Exit.USAGE


def test_nothing_to_propose_without_labels(folder: Path) -> None:
    """Without a label nobody knows what was wrong."""
    found = run("propose", "--history", history(folder / "h"))
    assert found.exit_code == Exit.DONE
    assert "nothing to propose" in found.output
