"""Array types of the evidence package and reductions that keep their bytes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


FEW_ROWS = 64
"""Up to here one call costs less than one for each column."""


def sum_columns(values: FloatArray) -> FloatArray:
    """Sum of each row, always added from the first column to the last.

    ``values.sum(axis=1)`` chooses its order by shape and memory layout, so a row
    could get another last bit alone than among others. Replay must not.
    """
    if len(values) <= FEW_ROWS:  # the same additions in the same order
        ordered: FloatArray = np.add.accumulate(values, axis=1)[:, -1]
        return ordered
    total = values[:, 0].copy()
    for column in range(1, values.shape[1]):
        total += values[:, column]
    return total


def log_mean_exp(values: FloatArray) -> FloatArray:
    """Log of the mean of ``exp(values)`` of each row; ``-inf`` for a row of them."""
    peak = values.max(axis=1)
    shift = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        mean = sum_columns(np.exp(values - shift[:, None])) / values.shape[1]
        result: FloatArray = shift + np.log(mean)
    return result
