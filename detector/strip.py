"""Rows of numbers by bin of time, without gaps, in as few bytes as can be.

What is counted over days is kept by release and stratum in fixed rows of 32-bit
floats: a snapshot writes them as they are, a question reads them as one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Packing
from typing import ClassVar

import numpy as np
from msgspec import Struct, field

from detector.evidence.types import FloatArray

_NUMBER = Packing("<f")
_WHOLE_MAX = float(1 << 24)


def row_of(width: int) -> Packing:
    """How a row of that many numbers is packed."""
    return Packing(f"<{width}f")


class Strip(Struct, array_like=True):
    """Bins without gaps: row i is bin ``first + i``. Subclasses say how wide a row is.

    The width is no part of the state: whoever reads a strip knows what it counts.
    """

    ROW: ClassVar[Packing] = row_of(1)

    first: int
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        """The bin after the last one held."""
        return self.first + len(self.data) // self.ROW.size

    def add(self, number: int, values: Sequence[float]) -> None:
        """Add a row to a bin, making room for it."""
        place = self._place(number)
        old = self.ROW.unpack_from(self.data, place)
        new = [a + b for a, b in zip(old, values, strict=True)]
        self.ROW.pack_into(self.data, place, *new)

    def add_at(self, number: int, column: int, amount: float) -> None:
        """Add to one column of a bin, making room for it."""
        place = self._place(number) + column * _NUMBER.size
        (old,) = _NUMBER.unpack_from(self.data, place)
        _NUMBER.pack_into(self.data, place, old + amount)

    def add_ones(self, number: int, column: int, count: int) -> None:
        """Add 1 ``count`` times: one by one, single precision stops at 2**24."""
        place = self._place(number) + column * _NUMBER.size
        (old,) = _NUMBER.unpack_from(self.data, place)
        if old.is_integer():
            total = min(old + count, max(old, _WHOLE_MAX))
            _NUMBER.pack_into(self.data, place, total)
            return
        for _ in range(count):
            self.add_at(number, column, 1.0)

    def absorb(self, other: Strip) -> None:
        """Add all rows of another strip of the same width."""
        for number in range(other.first, other.end):
            place = (number - other.first) * self.ROW.size
            self.add(number, other.ROW.unpack_from(other.data, place))

    def rows(self, low: int, high: int) -> FloatArray:
        """Bins ``[low, high)``, all of them held, of shape (bins, width)."""
        width = self.ROW.size // _NUMBER.size
        place = (low - self.first) * self.ROW.size
        flat = np.frombuffer(self.data, "<f4", (high - low) * width, place)
        return flat.astype(np.float64).reshape(-1, width)

    def drop_before(self, number: int) -> None:
        """Forget bins older than ``number``."""
        gone = number - self.first
        if gone > 0:
            del self.data[: gone * self.ROW.size]
            self.first = number

    def _place(self, number: int) -> int:
        """Where the row of a bin begins, after making room for it on either side."""
        if number < self.first:
            self.data[:0] = bytes((self.first - number) * self.ROW.size)
            self.first = number
        place = (number - self.first) * self.ROW.size
        missing = place + self.ROW.size - len(self.data)
        if missing > 0:
            self.data.extend(bytes(missing))
        return place
