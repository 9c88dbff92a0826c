"""Did a hotfix fix what it names, and did it bring anything new?

A deploy may name the failure signatures it fixes. Each is compared with the releases
that had it: gone, still there, or too early to say and how much exposure that needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from detector.catalogue import Catalogue
from detector.evidence.confidence import ratio_interval, ratio_log_likelihood

Fate = Literal["gone", "still_there", "too_early", "unknown_signature"]

CONFIDENCE_ALPHA = 0.05
GONE_BELOW = 0.5
"""A fixed signature is gone once its rate is surely below this share of before."""


class Fixed(Struct, frozen=True):
    """What became of one signature that a release was to fix.

    Attributes
    ----------
    signature : str
    fate : str
        ``unknown_signature``: no earlier release has shown it.
    before, after : float
        Failed units per unit at risk, in the releases before and in this one.
    ratio : tuple of float
        Low, best and high of after / before.
    units_needed : float
        Exposure that still has to pass without a failure before it counts as gone;
        0 once the fate is clear.
    """

    signature: str
    fate: Fate
    before: float
    after: float
    ratio: tuple[float, float, float]
    units_needed: float


def fates(
    catalogue: Catalogue,
    release: int,
    predecessors: frozenset[int],
    fixes: Sequence[str],
) -> tuple[Fixed, ...]:
    """What became of every signature that a release claims to fix, in its order.

    ``predecessors`` are the numbers of the releases it is to be better than. What
    else is new in it, the ``new_signature`` findings say.
    """
    own = _exposure(catalogue, frozenset({release}))
    past = _exposure(catalogue, predecessors)
    return tuple(
        _fate(catalogue, name, release, predecessors, own, past) for name in fixes
    )


def _exposure(catalogue: Catalogue, releases: frozenset[int]) -> float:
    grounds = sorted(catalogue.ground.items())
    return sum(g.exposure for (owner, _), g in grounds if owner in releases)


def _fate(
    catalogue: Catalogue,
    name: str,
    release: int,
    predecessors: frozenset[int],
    own: float,
    past: float,
) -> Fixed:
    entry = catalogue.entries.get(catalogue.numbers.get(name, -1))
    counts = {} if entry is None else entry.counts
    hits = counts.get(release, 0.0)
    had = sum(counts.get(number, 0.0) for number in sorted(predecessors))
    if had <= 0 or past <= 0:
        after = hits / own if own > 0 else 0.0
        return Fixed(
            name, "unknown_signature", 0.0, after, (0.0, math.nan, math.inf), 0.0
        )
    if own <= 0:
        low, best, high = 0.0, math.nan, math.inf
    else:
        low, best, high = _interval(hits, had, own, past)
    fate: Fate = "too_early"
    if high < GONE_BELOW:
        fate = "gone"
    elif low > GONE_BELOW:
        fate = "still_there"
    needed = _needed(hits, had, own, past) if fate == "too_early" else 0.0
    return Fixed(
        name,
        fate,
        had / past,
        hits / own if own > 0 else 0.0,
        (low, best, high),
        needed,
    )


def _interval(
    hits: float, had: float, own: float, past: float
) -> tuple[float, float, float]:
    seen = ratio_log_likelihood([hits], [had], [own], [past])
    low, best, high = ratio_interval(seen, CONFIDENCE_ALPHA)[0].tolist()
    return low, best, high


def _needed(hits: float, had: float, own: float, past: float) -> float:
    """Exposure without a further failure until the fate is ``gone``."""
    most = 2.0 * max(own, past, 1.0)
    while _interval(hits, had, most, past)[2] >= GONE_BELOW:
        if most > 1e15:
            return math.inf
        most *= 2.0
    least = own
    while most - least > 0.01 * most:
        middle = (least + most) / 2.0
        if _interval(hits, had, middle, past)[2] >= GONE_BELOW:
            least = middle
        else:
            most = middle
    return most - own
