"""``hypercare inject`` on recorded history: what it finds, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from detector.simulate import Shop, burst, ramp
from streams.cli.main import main

START_MS = 1_800_000_000_000
QUICK = """\
version: 1
rules: [{name: all, persistence_s: 30, min_exposure: 20, hypercare: {min_hours: 0.1}}]
end_of_rules: true
"""
BLUNT = QUICK.replace("min_exposure", "signals: {errors: {margin: 8}}, min_exposure", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three services: a good release, one that was bad anyway, one with no traffic."""
    weight = ramp([(12, 0.3)])
    shops = [
        Shop(service="well", weight=weight, error_rate=0.02),
        Shop(service="bad", weight=weight, error_rate=0.02, harm=burst(14, 10**9, 8.0)),
        Shop(service="thin", weight=weight, sessions_per_window=3.0),
    ]
    rng = np.random.default_rng(7)
    streams = [shop.windows(rng, START_MS, 90) for shop in shops]
    with (tmp_path / "history.jsonl").open("wb") as file:
        for group in zip(*streams, strict=True):
            file.writelines(msgspec.json.encode(records) + b"\n" for records in group)
    (tmp_path / "quick.yaml").write_text(QUICK, encoding="utf-8")
    (tmp_path / "blunt.yaml").write_text(BLUNT, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    rules = [f"--rules={folder}/{name}.yaml" for name in ("quick", "blunt")]
    history = f"{folder}/history.jsonl"
    done = CliRunner().invoke(
        main, ["inject", history, *rules, "--after=3m", *arguments]
    )
    return done.exit_code, done.stdout, done.stderr


def test_rules_are_told_apart(folder: Path) -> None:
    """Keen rules find what blunt ones miss; what was bad anyway tells nothing."""
    code, out, _ = run(folder, "--ratio=4", "--ratio=1", "--json", "--jobs=1")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    rows = {(Path(r["rules"]).stem, r["size"]): r for r in lines if r["type"] == "row"}
    assert rows["quick", 4]["found"]["hits"] == 1
    assert rows["quick", 4]["found"]["of"] == 1
    assert rows["quick", 4]["false_after"] + rows["quick", 4]["false_before"] == 1
    assert 0 < rows["quick", 4]["median_s"] < 600
    assert rows["quick", 1]["found"]["hits"] == 0
    assert rows["blunt", 4]["found"]["hits"] == 0
    trial = next(t for t in lines if t["type"] == "trial" and t["service"] == "well")
    assert trial["control"] == {"taken_back_ms": None, "doubted_ms": None}
    assert [x["release"] for x in lines if x["type"] == "left_out"] == ["thin/2.4.0"]


def test_processes_and_pages_change_nothing(folder: Path) -> None:
    """The same figures from two processes; the page shows them."""
    wish = ["--ratio=6", "--ratio=8", "--release=well/2.4.0", "--segment=os=android"]
    alone = run(folder, *wish, "--jobs=1")
    assert alone == run(folder, *wish, "--jobs=2", f"--html={folder}/report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "os=android" in page
    assert "1 of 1" in alone[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--segment=os"], "--segment: 'os' is not like os=android"),
        (["--after=soon"], "--after: 'soon' is no time"),
        (["--release=9.9"], "--release: 9.9 is not in the history"),
        (["--latency=2"], "has no durations to make longer"),
        (["--segment=os=amiga"], "0 units after the onset in os=amiga"),
    ],
)
def test_what_can_not_be_done_is_said(
    folder: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2, and the message names the place."""
    code, _, said = run(folder, *arguments)
    assert code == 2
    assert message in said
