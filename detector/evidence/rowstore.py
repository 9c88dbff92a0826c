"""Many small states in one structure of arrays, one position a row.

What all evidence of this kind shares: rows are taken and given back, arrays grow,
and rows go to snapshots and come back bit for bit. The procedures themselves are
subclasses that name their columns.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.evidence.types import IntArray

Index: TypeAlias = IntArray | slice
"""Distinct rows: positions, or a slice where they are consecutive."""

_MANY = 1024
"""From so many rows on sorting the free ones is faster than a heap."""

Number = TypeVar("Number", np.float64, np.int64)


class Column(NamedTuple):
    """How a column of the structure of arrays looks when a row is new."""

    kind: type[np.float64] | type[np.int64]
    width: int
    fresh: float


class RowStore:
    """Rows of the columns that a subclass names in ``COLUMNS``.

    Each column becomes an attribute, an array with one line per position.

    Parameters
    ----------
    capacity : int, default=64
        Rows to reserve; grows by doubling.

    Attributes
    ----------
    rewritten : set of int
        Positions that were made new, reset or given back; whoever saves rows clears it.
    """

    COLUMNS: ClassVar[Mapping[str, Column]] = {}

    def __init__(self, capacity: int = 64) -> None:
        self._live = np.zeros(0, dtype=np.bool_)
        self._free: list[int] = []
        self.rewritten: set[int] = set()
        for name, column in self.COLUMNS.items():
            setattr(self, name, np.zeros(_shape(0, column), dtype=column.kind))
        self._grow(max(1, capacity))

    def __len__(self) -> int:
        """How many rows are in use."""
        return int(self._live.size) - len(self._free)

    def allocate(self, count: int) -> IntArray:
        """Take ``count`` fresh rows into use: the lowest free positions."""
        rows = self._take(count)
        self.reset(rows)
        return rows

    def reserve(self, count: int) -> None:
        """Make room for ``count`` more rows at once."""
        missing = count - len(self._free)
        if missing > 0:
            self._grow(self._live.size + missing)

    def free(self, rows: ArrayLike) -> None:
        """Give rows back; their positions may be handed out again."""
        positions = self._rewriting(rows)
        self._live[positions] = False
        for row in positions.tolist():
            heapq.heappush(self._free, row)

    def reset(self, rows: ArrayLike) -> None:
        """Make rows as they were when allocated."""
        positions = self._rewriting(rows)
        for name, column in self.COLUMNS.items():
            getattr(self, name)[positions] = column.fresh

    def extract(self, rows: ArrayLike) -> dict[str, NDArray[Any]]:
        """Copy rows out, for a snapshot: every column of ``COLUMNS`` by name."""
        positions = self._positions(rows)
        return {name: getattr(self, name)[positions] for name in self.COLUMNS}

    def insert(self, block: Mapping[str, NDArray[Any]]) -> IntArray:
        """Put extracted rows back, bit for bit, and say at which positions."""
        if block.keys() != self.COLUMNS.keys():
            wrong = sorted(block.keys() ^ self.COLUMNS.keys())
            raise ValueError(
                f"columns {wrong} are missing or unknown: the block was not written "
                "by this version of extract; migrate it or rebuild the state"
            )
        count = next(iter(block.values())).shape[0]
        for name, column in self.COLUMNS.items():
            got, want = block[name], _shape(count, column)
            if got.shape != want or got.dtype != column.kind:
                raise ValueError(
                    f"column {name} is {got.dtype}{got.shape}, expected "
                    f"{np.dtype(column.kind)}{want}: migrate or rebuild the state"
                )
        rows = self._rewriting(self._take(count))
        at = index_of(rows)
        for name in self.COLUMNS:
            getattr(self, name)[at] = block[name]
        return rows

    def _take(self, count: int) -> IntArray:
        """Take the lowest free positions into use, whatever stands in them."""
        if count > len(self._free):
            self._grow(max(2 * self._live.size, self._live.size + count))
        if count > _MANY:
            self._free.sort()  # still a heap
            taken = self._free[:count]
            del self._free[:count]
        else:
            taken = [heapq.heappop(self._free) for _ in range(count)]
        rows = np.array(taken, np.int64)
        self._live[rows] = True
        return rows

    def _rewriting(self, rows: ArrayLike) -> IntArray:
        """Positions that change by other means than windows."""
        positions = self._positions(rows)
        self.rewritten.update(positions.tolist())
        return positions

    def _positions(self, rows: ArrayLike) -> IntArray:
        """Rows as positions in use, each once."""
        positions = np.asarray(rows, dtype=np.int64)
        if positions.ndim != 1:
            raise ValueError(f"rows has shape {positions.shape}: pass a vector")
        inside = (positions >= 0) & (positions < self._live.size)
        if not (inside.all() and self._live[positions].all()):
            raise ValueError("rows holds a position that is not allocated (or freed)")
        rising = bool((np.diff(positions) > 0).all())
        if not rising and np.unique(positions).size != positions.size:
            raise ValueError("rows holds a position twice: sum its cells beforehand")
        return positions

    def _grow(self, capacity: int) -> None:
        """Make room for ``capacity`` rows."""
        size = self._live.size
        for name, column in self.COLUMNS.items():
            grown = np.zeros(_shape(capacity, column), dtype=column.kind)
            grown[:size] = getattr(self, name)
            setattr(self, name, grown)
        live = np.zeros(capacity, dtype=np.bool_)
        live[:size] = self._live
        self._live = live
        self._free.extend(range(size, capacity))


def _shape(count: int, column: Column) -> tuple[int, ...]:
    """Shape of a column of ``count`` rows."""
    return (count, column.width) if column.width else (count,)


def index_of(rows: IntArray) -> Index:
    """Rows as a slice where they are consecutive: a view instead of two copies."""
    if rows.size and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def take(column: NDArray[Number], at: Index) -> NDArray[Number]:
    """Lines of a column: a view of a slice, else a copy (`take` is the fast one)."""
    return column[at] if isinstance(at, slice) else column.take(at, axis=0)
