"""Where one scope stands in a run of records."""

from __future__ import annotations

from detector.evidence.types import IntArray
from detector.scope import ScopeKey

TURNS_FREE = 8
TURN_ROWS = 64
"""A scope that is interrupted more often than every so many rows goes the long way."""

NOWHERE = -1
"""In place of a record whose end is yet to come."""


class Lane:
    """Where one scope stands in a run.

    Attributes
    ----------
    own : array
        Rows of the scope, ascending.
    shapes : list of int
        Their shapes.
    cursor, stop : int
        Places in ``own``: the first row not counted, and the first one that comes
        after the next record that is taken as a whole.
    begun : int
        A record of which a row was taken by itself: its end is yet to come.
    """

    def __init__(self, key: ScopeKey, own: IntArray) -> None:
        self.key = key
        self.own = own
        self.shapes: list[int] = []
        self.cursor, self.stop = 0, len(own)
        self.begun = NOWHERE
        self.turns = 0

    @property
    def rest(self) -> IntArray:
        """Rows that are yet to be counted."""
        return self.own[self.cursor : self.stop]

    @property
    def is_restless(self) -> bool:
        """Whether it is interrupted too often to be counted in groups."""
        return self.turns > TURNS_FREE + len(self.own) // TURN_ROWS
