"""Bins of counts in rows of a fixed width."""

from __future__ import annotations

import msgspec
import numpy as np

from detector.strip import Strip, row_of


class Pairs(Strip):
    """Two numbers a bin."""

    ROW = row_of(2)


def test_a_strip_grows_both_ways() -> None:
    """Bins before the first and after the last are made, those between are 0."""
    strip = Pairs(10)
    strip.add(12, (1.0, 2.0))
    strip.add_at(9, 1, 4.0)
    assert (strip.first, strip.end) == (9, 13)
    expected = [[0.0, 4.0], [0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]
    np.testing.assert_array_equal(strip.rows(9, 13), expected)


def test_old_bins_are_dropped() -> None:
    """What is before a bin goes, what is after it keeps its place."""
    strip = Pairs(0)
    for number in range(5):
        strip.add(number, (number, 0.0))
    strip.drop_before(3)
    assert (strip.first, strip.end) == (3, 5)
    assert strip.rows(3, 5)[:, 0].tolist() == [3.0, 4.0]
    strip.drop_before(9)
    assert not strip.data


def test_width_stays_out_of_state() -> None:
    """A strip is written as its first bin and its bytes, and read by its class."""
    strip = Pairs(7)
    strip.add(7, (1.5, 2.5))
    written = msgspec.msgpack.encode(strip)
    assert msgspec.msgpack.decode(written) == [7, bytes(strip.data)]
    read = msgspec.msgpack.decode(written, type=Pairs)
    assert read.rows(7, 8).tolist() == [[1.5, 2.5]]
