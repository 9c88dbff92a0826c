"""When a regression may have begun: the prior over onset times.

A release can turn bad at the deploy or hours later. The prior spreads one unit of
wealth over five-minute slots; each slot's share is bet from its beginning on.
Slots, not windows: a window of 10 s must not pay more for patience than one of
5 min. Weights are fixed before the data and sum to 1, which is all validity needs.
"""

from __future__ import annotations

import math

import numpy as np

from detector.evidence.types import FloatArray, IntArray

SLOT_MS = 300_000
"""Length of a slot. Longer: fewer, later bets; shorter: more of them, each thinner."""

SLOT_LAST = 2016
"""Index of the last slot, seven days after the first joint exposure."""

MASS_AT_START = 0.25
"""Share bet at once. Larger finds a bad deploy earlier and a late onset later."""

NO_SLOT = -1
"""Slot of a row that has bet nothing yet."""


def _spent_by_slot() -> FloatArray:
    """Cumulative share, entry ``s + 1`` after slot ``s``; entry 0 is no slot."""
    harmonic = math.fsum(1 / (s + 1) for s in range(1, SLOT_LAST + 1))
    unit = (1 - MASS_AT_START) / harmonic
    weights = [MASS_AT_START] + [unit / (s + 1) for s in range(1, SLOT_LAST + 1)]
    spent = np.concatenate([[0.0], np.cumsum(weights)])
    spent[-1] = 1.0
    return spent


SPENT = _spent_by_slot()


def slot_at(first_ms: IntArray, now_ms: IntArray) -> IntArray:
    """Which slot has begun most recently at ``now_ms``, 0 .. ``SLOT_LAST``."""
    slot: IntArray = np.clip((now_ms - first_ms) // SLOT_MS, 0, SLOT_LAST)
    return slot


def spent(slot: IntArray) -> FloatArray:
    """How much of the unit of wealth is bet once ``slot`` has begun."""
    return SPENT[slot + 1]


def log_mass(slot_before: IntArray, slot: IntArray) -> FloatArray:
    """Log of the wealth to bet now: all slots after ``slot_before`` up to ``slot``.

    ``-inf`` where no new slot has begun.
    """
    with np.errstate(divide="ignore"):
        return np.log(SPENT[slot + 1] - SPENT[slot_before + 1])
