"""What a closed window adds to the rows, and the checks that keep rows clean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.confidence import RATIOS
from detector.evidence.rate_ratio import EFFECTS, RECOVERY_RATIOS
from detector.evidence.types import BoolArray, FloatArray, IntArray

TOTALS = (
    "bad_candidate", "units_candidate", "bad_control", "units_control", "excess"
)  # fmt: skip
"""Columns of ``totals`` and ``run_totals``."""


class Increments(NamedTuple):
    """What one closed window adds to its rows: arrays with one line a row.

    ``evidence`` (rows, EFFECTS) is the sum over the row's cells of log evidence,
    ``likelihood`` (rows, RATIOS) of log-likelihoods, or None for rows that are not
    displayed, ``recovery`` (rows, 2) of recovery increments, or None. ``totals``
    (rows, 5) are the sums over comparable cells in the order of `TOTALS`.
    """

    evidence: FloatArray
    likelihood: FloatArray | None
    recovery: FloatArray | None
    totals: FloatArray

    def part(self, lines: Any) -> Increments:
        """The same for some of the lines (a slice or an array of positions)."""
        return Increments(
            self.evidence[lines],
            None if self.likelihood is None else self.likelihood[lines],
            None if self.recovery is None else self.recovery[lines],
            self.totals[lines],
        )


def checked_times(name: str, values: ArrayLike, count: int) -> IntArray:
    """Times of a call, one a row."""
    times = np.asarray(values, dtype=np.int64)
    if times.shape != (count,):
        raise ValueError(f"{name} has shape {times.shape}, expected ({count},)")
    return times


def check(new: Increments, count: int) -> None:
    """Refuse increments that would spoil a row for ever."""
    widths = {
        "evidence": EFFECTS,
        "likelihood": RATIOS,
        "recovery": len(RECOVERY_RATIOS),
        "totals": len(TOTALS),
    }
    for (name, width), values in zip(widths.items(), new, strict=True):
        if values is None:
            continue
        if values.shape != (count, width):
            raise ValueError(
                f"{name} has shape {values.shape}, expected ({count}, {width})"
            )
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values).all(axis=1)))
            raise ValueError(f"{name}[{row}] holds a value that is not finite")


def both_exposed(totals: FloatArray, count: int) -> BoolArray:
    """Which lines of ``totals`` hold units of both arms."""
    if totals.shape != (count, len(TOTALS)):
        raise ValueError(
            f"totals has shape {totals.shape}, expected ({count}, {len(TOTALS)}): "
            f"the columns are {', '.join(TOTALS)}"
        )
    both: BoolArray = (totals[:, 1] > 0) & (totals[:, 3] > 0)
    return both
