"""What lines stand for, as columns of numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detector.evidence.types import BoolArray, FloatArray, IntArray
from detector.groups.arrange import numbered
from detector.groups.light import Shape
from detector.groups.lines import TOLD, Line, LineKey, shape_of
from detector.identity import sender_id
from detector.windows import FAILED_OUTCOMES

TOLD_COUNT, TOLD_SESSIONS, TOLD_USERS, TOLD_OUTCOMES = (
    1 << bit for bit in range(len(TOLD))
)
COUNT, ENTERED, SESSIONS, USERS, GOOD = range(5)
"""Rows of ``Sums.amounts``."""


class Sums(NamedTuple):
    """What each line stands for, row by row.

    ``amounts`` are the records, the units that entered a funnel, sessions, users and
    records that ended well, 0 where they are not told; ``fails`` says which usage has
    failed outcomes. ``senders`` and ``sender`` are names and their numbers.
    """

    amounts: FloatArray
    fails: BoolArray
    seqs: list[int | None] | None
    senders: list[str | None]
    sender: IntArray


def told_of(lines: Sequence[Line]) -> FloatArray:
    """Records, sessions and users of each line, NaN where they are not told."""
    count = [e.count for e in lines]
    sessions = [e.sessions for e in lines]
    users = [e.users for e in lines]
    return np.array([count, sessions, users], dtype=np.float64)


def shapes_of(
    lines: Sequence[Line], told: FloatArray
) -> tuple[IntArray, list[Shape | None]]:
    """The shape of each line, and the shapes; None in place of an unsound one."""
    keys: defaultdict[LineKey, int] = defaultdict()
    keys.default_factory = keys.__len__
    rows = [
        keys[
            e.service,
            e.release,
            b"" + e.attrs,
            e.environment,
            e.word,
            e.outcome,
            e.window_s,
        ]
        for e in lines
    ]
    if not rows:
        return np.zeros(0, dtype=np.int64), []
    flags = np.array([e.outcomes is not None for e in lines]) * TOLD_OUTCOMES
    flags += np.array([TOLD_COUNT, TOLD_SESSIONS, TOLD_USERS]) @ ~np.isnan(told)
    codes, shape = numbered(np.array(rows, dtype=np.int64) << len(TOLD) | flags)
    of_number = list(keys)
    most = (1 << len(TOLD)) - 1
    shapes = [
        shape_of(of_number[code >> len(TOLD)], code & most) for code in codes.tolist()
    ]
    return shape, shapes


def sums_of(
    lines: Sequence[Line], told: FloatArray, shape: IntArray, shapes: Sequence[Shape]
) -> Sums:
    """The sums of lines of sound shapes; ``told`` is as `told_of` gives it."""
    flags = np.array([s.told or 0 for s in shapes], dtype=np.int64)[shape]
    window = np.array([s.window_s for s in shapes], dtype=np.int64)[shape]
    is_ok = np.array([s.outcome == "ok" for s in shapes], dtype=np.bool_)[shape]
    count, sessions, users = np.nan_to_num(told)
    has_count, has_sessions, has_users = (
        flags & flag != 0 for flag in (TOLD_COUNT, TOLD_SESSIONS, TOLD_USERS)
    )
    # As ``detector.windows`` and ``detector.funnel`` read one line.
    without = np.where(window == 0, 1.0, np.where(sessions > 0, sessions, users))
    count = np.where(has_count, count, without)
    entered = np.where(has_users, users, np.where(has_count, count, 1.0))
    entered = np.where(has_sessions, sessions, entered)
    good = np.where(is_ok, count, 0.0)
    is_failed = np.array([s.outcome in FAILED_OUTCOMES for s in shapes], np.bool_)
    fails: BoolArray = is_failed[shape] & (count > 0)
    for row in np.flatnonzero(flags & TOLD_OUTCOMES).tolist():
        outcomes = lines[row].outcomes or {}
        rest = sum(n for word, n in outcomes.items() if word != "ok")
        good[row] = max(0.0, float(count[row]) - rest)
        fails[row] = any(outcomes.get(word) for word in FAILED_OUTCOMES)
    seqs = [e.seq for e in lines]
    senders = [e.sender for e in lines]
    return Sums(
        amounts=np.stack([count, entered, sessions, users, good]),
        fails=fails,
        seqs=None if seqs.count(None) == len(seqs) else seqs,
        senders=senders,
        sender=np.array([sender_id(name) for name in senders], dtype=np.int64),
    )
