"""What may be compared when the arms' records were sampled at different rates.

A sampled count over its rate estimates the count without bias. A number of distinct
users does not: a user with ten requests is seen at a rate of a half as surely as at
one, a user with one request half the time. Distinct units are therefore compared
only between arms that were sampled alike; else counts take their place.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence.types import FloatArray

RATE_TOLERANCE = 1e-6
"""Rates nearer than this are the same rate, written with other digits."""


def sampled_alike(rate_candidate: float, rate_control: float) -> bool:
    """Whether distinct units of both arms are thinned by the same rate.

    Raises ``ValueError`` for rates outside (0, 1].
    """
    for rate in (rate_candidate, rate_control):
        if not 0.0 < rate <= 1.0 + RATE_TOLERANCE:
            raise ValueError(f"a share that survived sampling is in (0, 1], not {rate}")
    return math.isclose(rate_candidate, rate_control, rel_tol=RATE_TOLERANCE)


def hit_units(
    users_candidate: ArrayLike,
    events_candidate: ArrayLike,
    users_control: ArrayLike,
    events_control: ArrayLike,
) -> FloatArray:
    """Units hit in the candidate, on the footing of the control's sampling.

    Failures kept at unequal rates: events over their rates compare without bias, but
    a loop of one user makes many; users resist loops, but the arm with the lower
    rate shows more of them for each event. The smaller of the candidate's users and
    of its events at the control's users per event errs on neither side.

    Parameters
    ----------
    users_candidate, events_candidate, users_control, events_control : array (n,)
        Kept counts; the control's of the same and earlier windows together.

    Returns
    -------
    array of shape (n,)
        Units to count beside ``users_control``; the candidate's users where the
        control had no event.
    """
    users_t, events_t, users_c, events_c = (
        np.atleast_1d(np.asarray(values, dtype=np.float64))
        for values in (users_candidate, events_candidate, users_control, events_control)
    )
    known = events_c > 0
    each = np.where(known, users_c / np.where(known, events_c, 1.0), 1.0)
    found: FloatArray = np.minimum(users_t, events_t * each)
    return found
