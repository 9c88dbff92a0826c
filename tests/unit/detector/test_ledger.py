"""Counts over time: bins, pages, what is forgotten and what is not."""

from __future__ import annotations

import msgspec
import numpy as np

from detector.ledger import (
    COARSE_KEPT_MS,
    DAY_MS,
    FOLDED,
    KEYS_MAX,
    LINES,
    UNITS,
    Ledger,
    Values,
    coarse_bin_ms,
)

ONE = Values(1.0, 0.5, 2.0, 1.0, 1.0, 1.5)
MINUTE_MS = 60_000


def filled(width_ms: int, windows: int, start_ms: int = 0) -> Ledger:
    """A ledger of one key with one unit a window."""
    ledger = Ledger()
    ledger.set_width(width_ms)
    for i in range(windows):
        end_ms = start_ms + (i + 1) * width_ms
        ledger.add(end_ms, (1, 0), ONE)
    return ledger


def test_coarse_and_fine_bins_agree() -> None:
    """Both resolutions hold the same sums, across midnight too."""
    ledger = filled(10_000, 720, start_ms=DAY_MS - 3_600_000)
    span = (DAY_MS - 3_600_000, DAY_MS + 3_600_000)
    coarse, fine = ledger.table(*span), ledger.table(*span, coarse=False)
    assert (coarse.bin_ms, fine.bin_ms) == (300_000, 60_000)
    assert coarse.values[0].sum(axis=0).tolist() == [720 * x for x in ONE]
    assert np.array_equal(
        fine.values[0].reshape(-1, 5, len(ONE)).sum(axis=1), coarse.values[0]
    )


def test_silence_is_not_zero_usage() -> None:
    """A bin in which nothing arrived has no lines."""
    ledger = filled(MINUTE_MS, 5)
    ledger.add(30 * MINUTE_MS, (1, 0), Values(7.0, 0.0, 7.0, 1.0))
    values = ledger.table(0, 30 * MINUTE_MS, coarse=False).values[0]
    assert values[:, LINES].tolist() == [1.0] * 5 + [0.0] * 24 + [1.0]
    assert values[-1, UNITS] == 7.0


def test_old_bins_are_forgotten() -> None:
    """What is older than is kept goes, what is younger stays."""
    ledger = filled(3_600_000, 24 * 20)
    ledger.forget()
    oldest = ledger.oldest_ms()
    assert ledger.newest_ms - COARSE_KEPT_MS - DAY_MS <= oldest
    assert oldest <= ledger.newest_ms - COARSE_KEPT_MS


def test_wider_windows_keep_whole_bins() -> None:
    """Bins that still hold whole windows survive a change of the window's width."""
    ledger = filled(10_000, 60)
    ledger.set_width(300_000)
    assert ledger.table(0, 600_000).values[0, :, UNITS].tolist() == [30.0, 30.0]
    ledger.set_width(1_800_000)
    assert ledger.table(0, 600_000).keys == []


def test_flood_of_keys_is_folded() -> None:
    """More releases and strata than there is room for are counted together."""
    ledger = Ledger()
    ledger.set_width(MINUTE_MS)
    for release in range(1, 3 * KEYS_MAX):
        ledger.add(MINUTE_MS, (release, release % 7), Values(1.0, 0.0, 1.0, 1.0))
    table = ledger.table(0, 300_000)
    assert len(table.keys) <= 2 * KEYS_MAX + 1
    assert table.values[:, :, UNITS].sum() == 3 * KEYS_MAX - 1
    assert table.sum_of(lambda key: key[0] == FOLDED)[:, UNITS].sum() > 0


def test_ledger_survives_a_snapshot() -> None:
    """Encoded and read again, a ledger answers the same."""
    ledger = filled(10_000, 100)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(ledger), type=Ledger)
    for coarse in (True, False):
        ours = ledger.table(0, 1_000_000, coarse=coarse)
        theirs = again.table(0, 1_000_000, coarse=coarse)
        assert np.array_equal(ours.values, theirs.values)
        assert ours.keys == theirs.keys


def test_a_day_is_made_of_bins() -> None:
    """Coarse bins are multiples of the fine ones and divide a day."""
    for fine_s in (60, 120, 180, 420, 600, 1800, 3600):
        size = coarse_bin_ms(fine_s * 1000)
        assert size % (fine_s * 1000) == 0
        assert size >= 300_000
        assert DAY_MS % size == 0 or size >= DAY_MS
