"""``hypercare backtest`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from detector.rulefile import load_rules
from detector.simulate import Shop, burst, ramp
from streams.cli.exits import Exit
from streams.cli.main import main

START_MS = 1_795_356_000_000
ONSET_MS = START_MS + 200_000
RULES = (
    "version: 1\nrules: [{name: all, persistence_s: %d, strata: [{attr: os}]}]\n"
    "end_of_rules: true\n"
)
LABELS = f"""\
- {{service: bad, release: "2.4.0", harmful: true, onset: {ONSET_MS}}}
- {{service: well, release: "2.4.0", harmful: false}}
"""


def run(*args: str) -> Result:
    """Run it as a terminal would."""
    return CliRunner().invoke(main, ["backtest", *args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of two services with a rule set in it, labels, and two rule files."""
    made = tmp_path_factory.mktemp("backtest")
    weight = ramp([(10, 0.3)])
    shops = [
        Shop(service="bad", weight=weight, harm=burst(20, 10**9, 8.0)),
        Shop(service="well", weight=weight),
    ]
    rng = np.random.default_rng(7)
    streams = [shop.windows(rng, START_MS, 70) for shop in shops]
    lines = [
        msgspec.json.encode(records)
        for group in zip(*streams, strict=True)
        for records in group
    ]
    blind = RULES.replace("name: all", "name: blind, exclude_releases: 2.4.*") % 30
    text = load_rules(blind, source="test").to_canonical_json().decode()
    ruleset = {
        "kind": "command", "name": "ruleset", "ts": START_MS, "received_at": START_MS,
        "service": "bad", "rules_text": text,
    }  # fmt: skip
    lines.insert(1, msgspec.json.encode(ruleset))
    (made / "history.jsonl").write_bytes(b"\n".join(lines))
    (made / "labels.yaml").write_text(LABELS)
    for name, persistence_s in (("quick", 30), ("slow", 200)):
        (made / f"{name}.yaml").write_text(RULES % persistence_s)
    return made


def options(folder: Path, *names: str) -> list[str]:
    """Source, rule files and labels."""
    given = [str(folder / "history.jsonl"), "--labels", str(folder / "labels.yaml")]
    for name in names:
        given += ["--rules", str(folder / f"{name}.yaml")]
    return given


def test_two_rule_sets(folder: Path) -> None:
    """The slower one finds the same later; the recorded rule set judges nothing."""
    found = run(*options(folder, "quick", "slow"), "--json", "--jobs", "1")
    assert found.exit_code == Exit.DONE, found.stderr
    body: dict[str, Any] = json.loads(found.stdout)
    assert body["rulesets_left_out"] == 1
    assert "--as-recorded" in found.stderr
    quick, slow = body["trials"]
    for trial in (quick, slow):
        assert trial["summary"]["recall"]["value"] == 1
        assert trial["summary"]["false_rollbacks"]["value"] == 0
    times = [t["summary"]["median_time_to_detect_ms"] for t in (quick, slow)]
    assert 0 < times[0] < times[1]
    (change,) = body["against"][0]["differences"]
    assert change["by_ms"] == times[1] - times[0]
    curve = [log_e for _, log_e in quick["rows"][0]["evidence"]]
    assert max(curve) > 6 > min(curve)


def test_jobs_change_nothing(folder: Path) -> None:
    """One process or three: the same bytes."""
    given = [*options(folder, "quick", "slow"), "--json"]
    alone, several = (run(*given, "--jobs", n).stdout_bytes for n in ("1", "3"))
    assert alone == several
    assert alone


def test_recorded_rule_sets_can_be_kept(folder: Path) -> None:
    """What was in force then finds nothing here; with two rule files it is refused."""
    given = [*options(folder, "quick"), "--as-recorded", "--json", "--jobs", "1"]
    (trial,) = json.loads(run(*given).stdout)["trials"]
    assert trial["summary"]["recall"]["value"] == 0
    assert [row["verdict"] for row in trial["rows"]] == ["none", "inconclusive"]
    refused = run(*options(folder, "quick", "slow"), "--as-recorded")
    assert refused.exit_code == Exit.USAGE
    assert "at most one" in refused.stderr


def test_exit_codes_for_pipelines(folder: Path) -> None:
    """3 only where an option asks for it."""
    pair = [*options(folder, "quick", "slow"), "--jobs", "1"]
    changed = run(*pair, "--fail-on-change")
    assert changed.exit_code == Exit.FOUND
    assert "disagree" in changed.stderr
    well = run(*pair, "--fail-under-recall", "1", "--fail-over-false", "0")
    assert well.exit_code == Exit.DONE
    source = options(folder)[0]
    unknown = run(source, "--jobs", "1", "--fail-under-recall", "0.5")
    assert unknown.exit_code == Exit.FOUND


def test_page_and_table(folder: Path, tmp_path: Path) -> None:
    """Both name what was found; the page has its plots and loads nothing."""
    page = tmp_path / "page.html"
    given = [*options(folder, "quick", "slow"), "--jobs", "1", "--html", str(page)]
    found = run(*given)
    assert "bad 2.4.0" in found.stdout
    assert "later" in found.stdout
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert "bad 2.4.0" in text


def test_wrong_input_is_named(folder: Path, tmp_path: Path) -> None:
    """An empty history, a missing file and the same rules twice are usage errors."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for given in (
        [str(empty)],
        ["/nowhere/x.jsonl"],
        options(folder, "quick", "quick"),
    ):
        found = run(*given)
        assert found.exit_code == Exit.USAGE
        assert found.stderr.startswith("hypercare: ")
