"""Medians and quantiles of short arrays, to the last bit those of numpy.

Windows ask for hundreds of them over a few hundred values, where most of the time
of `numpy.quantile` goes into its many options.
"""

from __future__ import annotations

import math

import numpy as np

from detector.evidence.types import FloatArray


def median(values: FloatArray) -> float:
    """Middle of at least one finite value.

    Examples
    --------
    >>> median(np.array([3.0, 1.0, 2.0, 10.0]))
    2.5
    """
    return median_of_sorted(np.sort(values))


def median_of_sorted(ordered: FloatArray) -> float:
    """The same where the values are in order already."""
    half = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[half])
    return (float(ordered[half - 1]) + float(ordered[half])) / 2


def quantile(values: FloatArray, share: float) -> float:
    """Value below which a share of at least one finite value lies, interpolated.

    Examples
    --------
    >>> quantile(np.array([4.0, 0.0, 2.0]), 0.75)
    3.0
    """
    return quantile_of_sorted(np.sort(values), share)


def quantile_of_sorted(ordered: FloatArray, share: float) -> float:
    """The same where the values are in order already."""
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    part = place - low
    below = float(ordered[low])
    above = float(ordered[min(low + 1, len(ordered) - 1)])
    if part >= 0.5:  # from the nearer end, as numpy does it
        return above - (above - below) * (1 - part)
    return below + (above - below) * part
