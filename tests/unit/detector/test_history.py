"""Blocks of history: sums are exact, ages approximate, size bounded."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.history import PER_LEVEL, History

WINDOW_MS = 10_000


def history_of(count: int) -> History:
    """A history with one unit of everything in every window."""
    history = History()
    for i in range(count):
        history.add(i * WINDOW_MS, (i + 1) * WINDOW_MS, {i % 3: (1.0, 2.0, 3.0, 4.0)})
    return history


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2000))
def test_nothing_is_lost(count: int) -> None:
    """Sums from the start are those of all windows."""
    total = history_of(count).since(0)
    assert sum(c[0] for c in total.values()) == count
    assert sum(c[3] for c in total.values()) == 4 * count


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2000), st.floats(0, 1))
def test_onset_is_found_nearly(count: int, share: float) -> None:
    """Sums since an onset hold all windows after it, and few before it."""
    onset = int(count * share)
    found = sum(c[0] for c in history_of(count).since(onset * WINDOW_MS).values())
    age = count - onset
    assert age <= found <= age + max(1, 2 * age / PER_LEVEL) + 1


def test_blocks_grow_with_logarithm() -> None:
    """A week of windows needs a few dozen blocks, in order of time."""
    blocks = history_of(60_480).blocks
    assert len(blocks) <= PER_LEVEL * 17
    assert all(a.end_ms == b.start_ms for a, b in pairwise(blocks))
    assert [b.level for b in blocks] == sorted((b.level for b in blocks), reverse=True)
