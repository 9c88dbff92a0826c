"""What people type is checked before anything is written: no Kafka is asked here."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from detector.verdicts import Verdict
from streams.cli.calendar import read_windows
from streams.cli.main import main
from streams.errors import Refused
from streams.gate.reading import _Named, regressed_now

NOWHERE = {"HYPERCARE_KAFKA": "127.0.0.1:1"}
WINDOW = """\
windows:
- name: weekend
  rrule: FREQ=WEEKLY;BYDAY=FR
  start: 2026-11-27T16:00
  duration: P2DT16H
  timezone: Europe/Berlin
"""


def test_windows_of_a_file_are_read(tmp_path: Path) -> None:
    """The example of the documentation is understood, and is what the page shows."""
    path = tmp_path / "season.yaml"
    path.write_text(WINDOW)
    (window,) = read_windows(path)
    path.write_text(WINDOW.replace("T16:00", "T16:00:00"))
    assert read_windows(path)[0].start == "2026-11-27T16:00:00"
    assert (window.name, window.duration) == ("weekend", "P2DT16H")
    page = Path(__file__).parents[3] / "docs" / "gate.md"
    words = " ".join(page.read_text(encoding="utf-8").split())
    for line in WINDOW.splitlines()[1:]:
        assert line.strip() in words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "windows: []",
        "more: []\n" + WINDOW,
        WINDOW.replace("WEEKLY", "HOURLY"),
        WINDOW + "  extra: 1\n",
        "windows: &a [*a]",
        "windows: [" * 2_000,
        "x" * 70_000,
    ],
)
def test_odd_files_are_refused(text: str, tmp_path: Path) -> None:
    """A file that is no calendar is refused with its name."""
    path = tmp_path / "season.yaml"
    path.write_text(text)
    with pytest.raises(Refused, match=r"season\.yaml"):
        read_windows(path)


@pytest.mark.parametrize(
    "words",
    [
        ("order", "approvals", "6", "--why", "x"),
        ("order", "approvals", "--why", "x"),
        ("tell", "acknowledge", "shop", "--why", "x"),
        ("tell", "withdraw", "rec_a", "--why", " "),
        ("tell", "mode", "shop", "fast", "--why", "x"),
        ("label", "rec_a", "great", "--why", "x"),
        ("wrong", "rec_a"),
        ("drill",),
        ("calendar", "set", "nowhere.yaml", "--why", "x"),
    ],
)
def test_wrong_words_ask_nobody(words: tuple[str, ...]) -> None:
    """A wrong word is told at once, without waiting for a Kafka that is not there."""
    done = CliRunner().invoke(main, words, env=NOWHERE)
    assert done.exit_code == 2, done.output
    assert done.stderr


def test_regressions_at_one_time_are_counted() -> None:
    """Services count once, while their verdict is bad and no older than 15 minutes."""
    now_ms = 10_000_000
    seen = [
        _Named("shop", "production", Verdict.REGRESSED, now_ms),
        _Named("shop", "staging", Verdict.REGRESSED, now_ms - 900_000),
        _Named("pay", "production", Verdict.REGRESSED, now_ms - 900_001),
        _Named("cart", "production", Verdict.HEALTHY, now_ms),
    ]
    assert regressed_now(seen, now_ms) == 1
