"""How fast evidence grows: what "when will we know" and "what is missing" rest on."""

from __future__ import annotations

from math import log


def gain_per_failure(share: float, margin: float, ratio: float) -> float:
    """Expected growth of log evidence per failed unit of both arms together.

    A failed unit is the candidate's with probability ``p = share * r / (1 - share +
    share * r)``; the growth is the Kullback-Leibler divergence between p at the
    present ratio and p at the margin (Wald 1945, "Sequential tests of statistical
    hypotheses"). The stakes on the wrong effect and onset cost some of it.

    Parameters
    ----------
    share : float
        The candidate's share of the exposure, strictly between 0 and 1.
    margin, ratio : float
        Rate ratios, positive.

    Examples
    --------
    A doubling at equal shares, no margin:

    >>> round(gain_per_failure(0.5, 1.0, 2.0), 4)
    0.0566
    """
    null = share * margin / (1 - share + share * margin)
    true = share * ratio / (1 - share + share * ratio)
    return true * log(true / null) + (1 - true) * log((1 - true) / (1 - null))
