"""Pieces of a certificate, recorded traffic split at random, and the page."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest

from detector.certify import (
    Chunk,
    History,
    Made,
    Outcome,
    block_of,
    certificate,
    chunks,
    done,
)
from detector.certify.chunks import BAD, NULL, SPLIT
from detector.certify.page import upper_limit
from detector.replay import Replay
from detector.rulefile import load_rules
from detector.simulate import Shop, ramp
from detector.simulate_trials import START_MS

RULES = load_rules(
    "version: 1\nrules:\n  - name: all\n    window_s: 60\nend_of_rules: true\n",
    source="all",
)
MADE = Made("certify", "abc", 1, "default", "0" * 64, 300, 5.0, 1)


def recorded(*, single: bool = False, windows: int = 30) -> list[bytes]:
    """Lines of a shop without a release."""
    shop = Shop(window_s=60, sessions_per_window=300.0, weight=ramp([]))
    rng = np.random.default_rng(3)
    found = []
    for index in range(windows):
        ts = START_MS + index * 60_000
        events = (
            list(shop.events(rng, ts, index))
            if single
            else shop._window(rng, ts, index)
        )
        found.append(msgspec.json.encode(list(events)))
    return found


def members(lines: list[bytes]) -> list[dict[str, Any]]:
    """All members of the lines."""
    return [m for line in lines for m in msgspec.json.decode(line)]


def test_chunks_hold_every_release_once() -> None:
    """1,003 releases over thirty families, and each bad cell 70 times."""
    found = list(chunks(1003, 70, split=False))
    assert sum(c.size for c in found if c.kind == NULL) == 1003
    per_cell = Counter[str]()
    for c in found:
        if c.kind == BAD:
            per_cell[c.family] += c.size
    assert set(per_cell.values()) == {70}
    assert len(found) == len({(c.kind, c.family, c.first) for c in found})


def test_a_chunk_does_not_depend_on_how_it_was_cut() -> None:
    """Releases 0 to 3 of a bad cell are those of 0, 1 and 2, 3."""
    whole = done(Chunk(BAD, "10/0.5/2000", 0, 4), RULES, 5)
    parts = [done(Chunk(BAD, "10/0.5/2000", low, 2), RULES, 5) for low in (0, 2)]
    assert whole.taken_back == sum(p.taken_back for p in parts) == 4
    assert whole.minutes == [m for p in parts for m in p.minutes]
    assert all(3 < m < 10 for m in whole.minutes)


def test_splitting_keeps_every_session_of_an_aggregate() -> None:
    """Counts of the two arms add up to what was recorded; nothing is made up."""
    history = History.of(recorded())
    block = block_of(history, np.random.default_rng(1))
    split = members(block.lines)
    told = [m for m in split if m["kind"] != "deploy"]
    before = members(recorded())
    for name in ("sessions", "count"):
        assert sum(m[name] for m in told) == sum(m[name] for m in before)
    own = sum(m["sessions"] for m in told if m["release"] == block.release)
    share = next(m["weight"] for m in split if m["kind"] == "deploy")
    after = sum(m["sessions"] for m in told if m["ts"] >= block.deploy_ms)
    assert own / after == pytest.approx(share, abs=0.05)


def test_a_session_stays_whole() -> None:
    """Usage and errors of one session are told of the same release."""
    history = History.of(recorded(single=True, windows=12))
    block = block_of(history, np.random.default_rng(2))
    releases: dict[str, set[str]] = {}
    for m in members(block.lines):
        if m["kind"] != "deploy":
            releases.setdefault(m["session"], set()).add(m["release"])
    assert all(len(found) == 1 for found in releases.values())
    assert len({name for found in releases.values() for name in found}) == 2


def test_split_history_is_taken_by_the_core() -> None:
    """The core refuses no line of a block and judges the pretend release."""
    block = block_of(History.of(recorded()), np.random.default_rng(4))
    run = Replay(RULES)
    shown = list(run.feed(block.lines))
    assert not run.rejected
    assert any(block.release.encode() in line for line in shown)


def test_a_release_against_itself_is_left_alone() -> None:
    """Of 6 pretend releases at most 2 are taken back: P < 1e-6 at .0025 each."""
    found = done(Chunk(SPLIT, "history", 0, 6), RULES, 7, History.of(recorded()))
    assert found.taken_back <= 2


def test_history_without_usage_is_refused() -> None:
    """The message says what there is."""
    with pytest.raises(LookupError, match="usage of shop"):
        History.of(recorded(), "cart")


def test_the_page_says_how_many_and_never_more() -> None:
    """The bound is that of the releases that were run, not of those planned."""
    outcomes = [
        Outcome(NULL, "ramp", 0, 100, 0, [], [], 20.0, "c0ffee"),
        Outcome(NULL, "bots", 0, 100, 1, [9.0], ["new_signature"], 20.0),
        Outcome(BAD, "2/0.25/2000", 0, 50, 40, [12.0] * 40, [], 10.0),
    ]
    page = certificate(outcomes, MADE)
    assert "**1 of 200 harmless releases were taken back.**" in page
    assert f"at most {100 * upper_limit(1, 200):.3g} %" in page
    assert "| commit | c0ffee: 100, unknown: 150 |" in page
    assert "cut short: 300 were planned" in page
    assert "| 2,000 | 25% | 2 | 40 of 50 (0.66 to 0.90) | 12.0 |" in page


def test_upper_limit_is_exact() -> None:
    """Without a hit: the rate at which nothing is seen with probability .05."""
    assert (1 - upper_limit(0, 1000)) ** 1000 == pytest.approx(0.05)
