"""Shares with exact intervals."""

from __future__ import annotations

from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Share(NamedTuple):
    """So many of so many, and between which limits the true share lies.

    ``value`` is None where there was nothing to count.
    """

    hits: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share itself."""
        return self.hits / self.of if self.of else None


def share(hits: int, of: int, confidence: float = CONFIDENCE) -> Share:
    """A share with its two-sided exact interval (Clopper and Pearson 1934).

    Examples
    --------
    >>> share(0, 100).high < 0.037, share(0, 0)
    (True, Share(hits=0, of=0, low=0.0, high=1.0))
    """
    if not of:
        return Share(0, 0, 0.0, 1.0)
    found = stats.binomtest(hits, of).proportion_ci(confidence, method="exact")
    return Share(hits, of, float(found.low), float(found.high))
