"""Which single events of a run are copies of what is counted already."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.types import BoolArray, IntArray
from detector.groups.rowtable import Rows
from detector.identity import event_id, id64


class Repeats(NamedTuple):
    """Which rows were known, numbers of the named errors, ids of fresh windows.

    The ids of a window are noted as rows are told apart; those of one that is yet to
    be opened are kept by its scope's number and its end.
    """

    known: BoolArray
    marks: dict[int, int]
    fresh: dict[tuple[int, int], set[int]]


def none_of(rows: IntArray) -> Repeats:
    """What is found where no row has a name."""
    return Repeats(np.zeros(len(rows), dtype=np.bool_), {}, {})


def find_repeats(table: Rows, rows: IntArray, grid_ms: IntArray) -> Repeats:
    """Recognise copies in the order of the log; ``grid_ms`` ends the window of each."""
    found = none_of(rows)
    if table.named is None:
        return found
    at = np.flatnonzero(table.named[rows])
    named = rows[at]
    shapes = table.columns.shape[named]
    ids, usage = table.columns.ids, table.usage.tolist()
    seqs = None if table.sums is None else table.sums.seqs
    for i, row, shape, number, end_ms, late in zip(
        at.tolist(),
        named.tolist(),
        shapes.tolist(),
        table.scope[shapes].tolist(),
        grid_ms[at].tolist(),
        table.late[named].tolist(),
        strict=True,
    ):
        place = table.places[shape]
        own = None if ids is None else ids[row]
        if place is None:
            continue
        if own is not None:
            mark = place.marker.mark(own)
        elif seqs is not None and (seq := seqs[row]) is not None:
            line = table.columns.line(row)
            mark = place.marker.mark_numbered(line.ts, seq, line.sender or "")
        else:
            mark = id64(event_id(table.event(row), "", 0, 0, 0))
        if not usage[shape]:
            found.marks[row] = mark
        window = place.scope.open.get(end_ms)
        if window is not None:
            known = window.ids
        elif late:
            continue
        else:
            known = found.fresh.setdefault((number, end_ms), set())
        if mark in known:
            found.known[i] = True
        elif not late:
            known.add(mark)
    return found
