"""How often a drawn world may do what it should not, and must do what it should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

FAIL_PROBABILITY = 1e-6
"""With which a correct program fails one test."""


def most(chance: float, runs: int) -> int:
    """The count that runs with this chance exceed with probability <= 1e-6."""
    return int(stats.binom.isf(FAIL_PROBABILITY, runs, chance))


def least(chance: float, runs: int) -> int:
    """The count that runs with this chance undercut with probability <= 1e-6."""
    return int(stats.binom.ppf(FAIL_PROBABILITY, runs, chance))


def count(fires: Callable[[np.random.Generator], bool], runs: int, seed: int) -> int:
    """In how many of the worlds drawn from this seed something fires."""
    return sum(fires(np.random.default_rng([seed, i])) for i in range(runs))
