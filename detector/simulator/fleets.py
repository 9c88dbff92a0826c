"""The releases of a company: all families mixed, in random order."""

from __future__ import annotations

import numpy as np

from detector.simulator.families import BAD, HARMLESS, Family
from detector.simulator.scenario import Scenario


def fleet(
    rng: np.random.Generator, count: int, bad_share: float = 0.12
) -> list[Scenario]:
    """Releases of a company: families in equal parts, harmless and bad ones mixed.

    Parameters
    ----------
    count : int
        How many releases.
    bad_share : float
        Share of bad ones among them, exact but for rounding.
    """
    bad = round(count * bad_share)
    chosen = [
        *_in_turn(rng, HARMLESS, count - bad),
        *_in_turn(rng, BAD, bad),
    ]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _in_turn(
    rng: np.random.Generator, families: dict[str, Family], count: int
) -> list[Scenario]:
    makers = list(families.values())
    return [makers[i % len(makers)](rng) for i in range(count)]
