"""Rows of columns with where and when each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detector.evidence.types import BoolArray, IntArray
from detector.groups.columns import Columns
from detector.groups.lines import LATENCY, Whole
from detector.groups.places import Place
from detector.windows import COUNTED_SEVERITIES


class Rows:
    """Rows of columns with where and when they count.

    Parameters
    ----------
    columns : Columns
    scope : array of shape (shapes,)
        Number of the scope of each shape.

    Attributes
    ----------
    places : list of Place or None
        By shape; to be filled, None only where no row is counted.
    end, late : arrays of shape (rows,)
        End of each event on our clock, and whether its window is closed.
    named : array of shape (rows,) or None
        Whether a copy of it can be recognised; None if of none.
    exact : array of shape (rows,)
        Whether it comes from a combiner, which has set the clocks right.
    """

    def __init__(self, columns: Columns, scope: IntArray) -> None:
        self.columns = columns
        self.places: list[Place | None] = [None] * len(columns.shapes)
        self.scope = scope
        self.sums = columns.sums
        self.end: IntArray = columns.end.copy()
        self.late: BoolArray = np.zeros(len(columns), dtype=np.bool_)
        self.exact: BoolArray = np.zeros(len(columns), dtype=np.bool_)
        self.usage: BoolArray = np.array([s.is_usage for s in columns.shapes], np.bool_)
        self.ripens: BoolArray = np.array(
            [s.is_usage or s.word in COUNTED_SEVERITIES for s in columns.shapes]
        )
        self.latency: BoolArray = np.array(
            [s.word == LATENCY for s in columns.shapes], np.bool_
        )
        self._whole: dict[int, Whole] = {}
        seqs = None if self.sums is None else self.sums.seqs
        texts = (columns.ids, columns.traces, seqs)
        named = [_there(column) for column in texts if column is not None]
        self.named: BoolArray | None = np.logical_or.reduce(named) if named else None

    @property
    def has_people(self) -> bool:
        """Whether some row says who was served or how long it took."""
        own = self.columns
        columns = (own.sessions, own.users, own.durations)
        return any(column is not None for column in columns)

    def place(self, row: int) -> Place:
        """The place of a row that has one."""
        found = self.places[int(self.columns.shape[row])]
        assert found is not None
        return found

    def event(self, row: int) -> Whole:
        """The event of a row, as the long way takes it."""
        found = self._whole.get(row)
        if found is None:
            found = self._whole[row] = self.columns.event(row)
        return found

    def of_places(self, rows: IntArray, value: Callable[[Place], int]) -> IntArray:
        """A number of the place of each row; asked once for each shape."""
        shapes = self.columns.shape[rows]
        found: IntArray = np.zeros(len(self.places), dtype=np.int64)
        for shape in np.flatnonzero(np.bincount(shapes)).tolist():
            place = self.places[shape]
            if place is not None:
                found[shape] = value(place)
        return found[shapes]

    def grid_ms(self, rows: IntArray) -> IntArray:
        """End of the window of each row."""
        width = self.of_places(rows, lambda place: place.scope.width_ms)
        grid: IntArray = ((self.end[rows] - 1) // width + 1) * width
        return grid


def _there(column: Sequence[str | int | None]) -> BoolArray:
    return np.array([value is not None for value in column])
