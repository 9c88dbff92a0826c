"""Which single events of a run are copies of what is counted already."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.types import BoolArray, IntArray
from detector.groups.arrange import numbered, split_by
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
    if not len(named):
        return found
    marks = _marks(table, named)
    shapes = table.columns.shape[named]
    errors = np.flatnonzero(~(table.usage | table.latency)[shapes])
    for i in errors.tolist():
        found.marks[int(named[i])] = marks[i]
    ends, end_of = numbered(grid_ms[at])
    codes, code_of = numbered(table.scope[shapes] * len(ends) + end_of)
    for code, own in zip(codes.tolist(), split_by(code_of, len(codes)), strict=True):
        number, end = divmod(code, len(ends))
        place = (number, int(ends[end]))
        known = _find_in_window(
            table, named[own], [marks[i] for i in own.tolist()], place, found.fresh
        )
        found.known[at[own[known]]] = True
    return found


def _find_in_window(
    table: Rows,
    rows: IntArray,
    marks: list[int],
    place: tuple[int, int],
    fresh: dict[tuple[int, int], set[int]],
) -> list[int]:
    """Which rows of a window are copies; the ids of the others are noted."""
    window = table.place(int(rows[0])).scope.open.get(place[1])
    late = table.late[rows]
    if window is not None:
        known = window.ids
    elif late.all():
        return []
    else:
        known = fresh.setdefault(place, set())
    is_new = len(set(marks)) == len(marks) and known.isdisjoint(marks)
    if is_new and not late.any():
        known.update(marks)  # one after the other: snapshots show the order
        return []
    copies = []
    for i, (mark, is_late) in enumerate(zip(marks, late.tolist(), strict=True)):
        if is_late and window is None:
            continue
        if mark in known:
            copies.append(i)
        elif not is_late:
            known.add(mark)
    return copies


def _marks(table: Rows, rows: IntArray) -> list[int]:
    """Numbers of the ids of rows that have one."""
    columns, sums = table.columns, table.sums
    ids, lines, places = columns.ids, columns.lines, table.places
    seqs = None if sums is None else sums.seqs
    found = [0] * len(rows)
    for i, (row, shape) in enumerate(
        zip(rows.tolist(), columns.shape[rows].tolist(), strict=True)
    ):
        place = places[shape]
        if place is None:
            continue
        if ids is not None and (own_id := ids[row]) is not None:
            found[i] = place.marker.mark(own_id)
        elif seqs is not None and (seq := seqs[row]) is not None:
            line = lines[row]
            found[i] = place.marker.mark_numbered(f"{line.ts}\0{seq}\0{line.sender}")
        else:
            found[i] = id64(event_id(table.event(row), "", 0, 0, 0))
    return found
