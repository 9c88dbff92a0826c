"""Histograms of durations: layouts, merging, and what the past keeps of them."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from detector.durationledger import EDGES_MAX, OTHERS, STRATA_MAX, DurationLedger
from detector.durations import (
    LAYOUTS_MAX,
    Durations,
    Histogram,
    edge_id,
    histogram_of,
    single,
    together,
)
from detector.events import ExponentialBuckets, ExponentialHistogram, Latency
from detector.ledger import Key

MINUTE_MS = 60_000
DAY_MS = 86_400_000


def line(bounds_ms: list[float], counts: list[int]) -> Latency:
    """A latency record with explicit bounds."""
    return Latency(ts=0, service="s", release="1", bounds_ms=bounds_ms, counts=counts)


def exponential(scale: int, offset: int, counts: list[int], zero: int = 0) -> Histogram:
    """The histogram of a latency record with exponential buckets."""
    found = histogram_of(
        Latency(
            ts=0,
            service="s",
            release="1",
            exponential=ExponentialHistogram(
                scale=scale,
                zero_count=zero,
                positive=ExponentialBuckets(offset=offset, counts=counts),
            ),
        )
    )
    assert found is not None
    return found


def explicit(bounds_ms: list[float], counts: list[int]) -> Histogram:
    """The histogram of a latency record with explicit bounds."""
    found = histogram_of(line(bounds_ms, counts))
    assert found is not None
    return found


def everything(key: Key) -> bool:
    """Every release and stratum."""
    return True


def test_counts_above_explicit_edge() -> None:
    """The last count is open above, and an edge belongs to the bucket below it."""
    assert explicit([10, 20], [5, 3, 1]).above([10, 20]) == [4, 1]


def test_unknown_edge_is_nan() -> None:
    """Between edges nothing is known exactly, so nothing is said."""
    assert math.isnan(explicit([10, 20], [5, 3, 1]).above([15])[0])
    assert math.isnan(exponential(0, 3, [1]).above([9.0])[0])


def test_exponential_scales_nest() -> None:
    """Edges of a coarse scale are edges of a fine one, with equal counts above."""
    fine, coarse = exponential(1, 6, [1, 2, 3, 4]), exponential(0, 3, [3, 7])
    assert fine.above([8.0, 16.0, 32.0]) == coarse.above([8.0, 16.0, 32.0])


def test_zero_lies_below_edges() -> None:
    """Durations of zero count as records but exceed nothing."""
    durations = Durations()
    durations.add(exponential(0, 3, [4], zero=6))
    above, known = durations.above([8.0])
    assert (above[0], known[0]) == (4, 10)


def test_single_duration_above_edges() -> None:
    """A duration exceeds the powers of two below it and not those from it on."""
    assert single(9.0).above([8.0, 16.0]) == [1, 0]
    assert single(8.0).above([4.0, 8.0]) == [1, 0]
    assert single(0.0).above([0.25]) == [0]


@pytest.mark.parametrize(
    "bad",
    [
        line([10, 20], [1, 2]),
        line([20, 10], [1, 2, 3]),
        line([10, 10], [1, 2, 3]),
        line([], [5]),
        line([10, math.inf], [1, 2, 3]),
    ],
)
def test_unreadable_line_is_none(bad: Latency) -> None:
    """Bounds that do not ascend or do not fit the counts are not guessed at."""
    assert histogram_of(bad) is None


def test_layouts_are_kept_apart() -> None:
    """Only records of layouts that know an edge are counted at that edge."""
    durations = Durations()
    durations.add(explicit([10, 20], [5, 3, 2]))
    durations.add(explicit([10, 50], [1, 1, 1]))
    above, known = durations.above([10, 20, 50])
    assert above.tolist() == [7, 2, 1]
    assert known.tolist() == [13, 10, 3]
    assert durations.well_known(known).tolist() == [True, False, False]


def test_order_of_lines_is_irrelevant() -> None:
    """Merging in any order gives the same counts above every edge."""
    several = [
        explicit([10, 20], [5, 3, 2]),
        single(30.0),
        explicit([10, 20], [1, 0, 4]),
    ]
    forth, back = Durations(), Durations()
    for one in several:
        forth.add(one)
    for one in reversed(several):
        back.add(one)
    edges = forth.edges_ms()
    assert edges == back.edges_ms()
    assert np.array_equal(forth.above(edges), back.above(edges))


def test_merging_leaves_sources_alone() -> None:
    """The parts of a sum are not changed by adding to it."""
    one = Durations()
    one.add(explicit([10], [5, 3]))
    together([one, one])
    assert one.total == 8


def test_surplus_layouts_are_counted() -> None:
    """Records of a layout too many are unread, and make edges less well known."""
    durations = Durations()
    for i in range(LAYOUTS_MAX + 2):
        durations.add(explicit([10.0 + i], [1, 1]))
    assert len(durations.parts) == LAYOUTS_MAX
    assert durations.unread == 4


def test_decay_forgets_old_layout() -> None:
    """A layout that is no longer sent disappears."""
    durations = Durations()
    durations.add(explicit([10], [5, 3]))
    for _ in range(300):
        durations.decay(29 / 30)
    assert not durations.parts


def test_edges_survive_json() -> None:
    """An edge computed by two senders to the last bits differently is one edge."""
    assert edge_id(0.1 + 0.2) == edge_id(0.3)


def test_durations_survive_snapshot() -> None:
    """State is read back equal to what was written."""
    durations = Durations()
    durations.add(explicit([10, 20], [5, 3, 2]))
    durations.add(exponential(3, -4, [1, 2], zero=1))
    raw = msgspec.msgpack.encode(durations)
    assert msgspec.msgpack.decode(raw, type=Durations) == durations


def filled_ledger(days: int = 1) -> DurationLedger:
    """Five-minute bins with 10 records, 4 above 10 ms and 1 above 20 ms each."""
    ledger = DurationLedger(kept_ms=16 * DAY_MS)
    ledger.set_bin(5 * MINUTE_MS)
    durations = Durations()
    durations.add(explicit([10, 20], [6, 3, 1]))
    for i in range(1, days * 288 + 1):
        ledger.add(i * 5 * MINUTE_MS, (1, 0), durations)
    return ledger


def test_ledger_gives_exceedances() -> None:
    """Each bin says how many records lay above an edge, of how many."""
    ledger = filled_ledger()
    above, records = ledger.exceedances(1, 0, 20 * MINUTE_MS, everything)
    assert above.tolist() == [1] * 4
    assert records.tolist() == [10] * 4


def test_missing_bin_is_nan() -> None:
    """Where nothing arrived nothing is known; it is not a bin without slow ones."""
    ledger = filled_ledger()
    start = 288 * 5 * MINUTE_MS
    above, records = ledger.exceedances(0, start, start + 600_000, everything)
    assert np.isnan(above).all()
    assert np.isnan(records).all()


def test_ledger_filters_releases() -> None:
    """Only the wanted releases count."""
    ledger = filled_ledger()
    above, _ = ledger.exceedances(0, 0, 600_000, lambda key: key[0] == 2)
    assert np.isnan(above).all()


def test_foreign_layout_is_not_mixed() -> None:
    """Records with other edges leave the bins as they were."""
    ledger = filled_ledger()
    other = Durations()
    other.add(explicit([7, 70], [1, 1, 1]))
    ledger.add(288 * 5 * MINUTE_MS, (1, 0), other)
    _, records = ledger.exceedances(0, 287 * 300_000, 288 * 300_000, everything)
    assert records.tolist() == [10]


def test_partly_known_edges_are_nan() -> None:
    """An edge that a bin's layout lacks is unknown there, the others are not."""
    ledger = filled_ledger()
    other = Durations()
    other.add(explicit([10, 70], [1, 1, 1]))
    ledger.add(289 * 300_000, (1, 0), other)
    first, _ = ledger.exceedances(0, 288 * 300_000, 289 * 300_000, everything)
    second, _ = ledger.exceedances(1, 288 * 300_000, 289 * 300_000, everything)
    assert first.tolist() == [2]
    assert np.isnan(second).all()


def test_ledger_chooses_near_edges() -> None:
    """The edges nearest to the quantiles of a time are found once each."""
    assert filled_ledger().edges_for(0, DAY_MS, everything, (0.5, 0.9, 0.99)) == [0, 1]


def test_fine_layout_is_thinned() -> None:
    """Of a fine layout at most 23 edges are kept, the median well inside."""
    ledger = DurationLedger(kept_ms=DAY_MS)
    ledger.set_bin(5 * MINUTE_MS)
    durations = Durations()
    durations.add(exponential(5, 100, [3] * 160))
    ledger.add(300_000, (1, 0), durations)
    assert 15 <= len(ledger.edges_ms) <= EDGES_MAX
    above, records = ledger.exceedances(6, 0, 300_000, everything)
    assert above[0] / records[0] == pytest.approx(0.5, abs=0.1)


def test_many_strata_share_one() -> None:
    """Strata beyond the limit are counted together, and the whole stays whole."""
    ledger = DurationLedger(kept_ms=DAY_MS)
    ledger.set_bin(5 * MINUTE_MS)
    durations = Durations()
    durations.add(explicit([10], [1, 1]))
    for stratum in range(STRATA_MAX + 5):
        ledger.add(300_000, (1, stratum), durations)
    _, records = ledger.exceedances(0, 0, 300_000, everything)
    assert records.tolist() == [2 * (STRATA_MAX + 5)]
    assert (1, OTHERS) in ledger.pages[0]


def test_old_days_are_forgotten() -> None:
    """Pages older than what is kept are dropped."""
    ledger = filled_ledger(days=18)
    assert min(ledger.pages) == 2
    assert max(ledger.pages) == 17
