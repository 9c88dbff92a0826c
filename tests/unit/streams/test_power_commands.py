"""``hypercare power`` and ``hypercare certify`` as people call them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from detector.simulate import Shop, ramp
from detector.simulate_trials import START_MS
from streams.cli.main import main

PLAIN = ["power", "shop", "--sessions-per-minute", "2000", "--error-rate", "0.01"]
SHORT = ["--share", "0.5", "--ratio", "10", "--releases", "20"]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Twenty minutes of a shop without a release."""
    shop = Shop(window_s=60, sessions_per_window=300.0, weight=ramp([]))
    found = shop.windows(np.random.default_rng(1), START_MS, 20)
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in found))
    return path


def test_table_for_people() -> None:
    """Rule, table, split of the delay, smallest effects."""
    got = CliRunner().invoke(main, [*PLAIN, *SHORT])
    assert got.exit_code == 0, got.output
    assert "margin 1.25, alpha 0.0025, persistence 180 s" in got.output
    assert "evidence + lasts + pipeline" in got.output
    assert "Smallest ratio taken back within an hour" in got.output


def test_json_for_machines() -> None:
    """A tenfold rate at half the traffic is taken back within a quarter of an hour."""
    got = CliRunner().invoke(main, [*PLAIN, *SHORT, "--json"])
    cell = next(c for c in json.loads(got.output)["cells"] if c["ratio"] == 10)
    assert cell["taken_back"][1] == {
        "within_s": 900,
        "share": 1.0,
        "low": pytest.approx(0.8316, abs=1e-3),
        "high": 1.0,
    }
    assert 180 < cell["median_s"] < 300


def test_traffic_from_history(history: Path) -> None:
    """300 sessions a minute, four strata in nine series."""
    words = ["power", "shop", "--history", str(history), *SHORT, "--json"]
    got = CliRunner().invoke(main, words)
    assert got.exit_code == 0, got.output
    told = json.loads(got.output)
    assert told["series"] == 9
    assert told["sessions_per_min"] == pytest.approx(300, rel=0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["power", "shop"], "no traffic given: use --history"),
        ([*PLAIN, "--attr", "os=ios"], "write it like os=android:0.6"),
        ([*PLAIN, "--signals", "usage"], "choose from errors, latency"),
    ],
)
def test_wrong_requests_are_explained(words: list[str], said: str) -> None:
    """Exit code 2 and the fix."""
    got = CliRunner().invoke(main, words)
    assert got.exit_code == 2
    assert said in got.output


def test_a_service_that_history_lacks(history: Path) -> None:
    """It names those that are there."""
    got = CliRunner().invoke(main, ["power", "cart", "--history", str(history)])
    assert got.exit_code == 2
    assert "it has shop" in got.output


def certify(history: Path, *more: str) -> list[str]:
    """A tiny certificate of a history."""
    journal = str(history.parent / "journal.jsonl")
    words = ["certify", "--history", str(history), "--jobs", "1"]
    return [*words, "--journal", journal, *more]


def test_a_certificate_goes_on_where_it_stopped(history: Path) -> None:
    """Parts of the journal are not run again; a cut line is run again."""
    first = CliRunner().invoke(main, certify(history, "--releases", "5", "--json"))
    assert first.exit_code == 0, first.output
    journal = history.parent / "journal.jsonl"
    assert len(journal.read_bytes().splitlines()) == 2
    with journal.open("ab") as file:
        file.write(b'{"kind": "spl')
    page = history.parent / "page.md"
    more = certify(history, "--releases", "7", "--output", str(page))
    assert CliRunner().invoke(main, more).exit_code == 0
    kept = [line for line in journal.read_bytes().splitlines() if b"took_s" in line]
    assert len(kept) == 2
    assert " of 7 harmless releases were taken back" in page.read_text()


def test_a_journal_of_another_run_is_refused(history: Path) -> None:
    """Parts of another seed would not be this run's."""
    CliRunner().invoke(main, certify(history, "--releases", "1"))
    got = CliRunner().invoke(main, certify(history, "--releases", "1", "--seed", "7"))
    assert got.exit_code == 2
    assert "journal of another run" in got.output
