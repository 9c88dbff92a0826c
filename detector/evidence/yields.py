"""Do the sessions of a release get as much done as those beside it?

A broken button fails without an error: sessions go on to begin, and fewer requests
end well in each. Both arms are asked at the same time in the same strata, so no plan
is needed, and what everybody does differently today cancels:

``D = log(sum k_T n_C / n / sum k_C n_T / n)``, ``n = n_T + n_C``,

over strata and bins (Mantel & Haenszel 1959, "Statistical aspects of the analysis of
data from retrospective studies of disease"; for rates, Rothman & Greenland 1998,
"Modern Epidemiology", ch. 15): ``k`` requests that ended well, ``n`` sessions that
began. Nearly empty cells bias it no more than full ones, which ratios of single bins
would not survive.

Why not an e-process per window: successes come in sessions, sessions last for many
windows, and how much users do differs between arms for reasons that are nobody's
fault. The noise is measured, in sessions and not in requests, and the evidence
saturates at the spread between arms; the guarantee is empirical.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence.plan import (
    DISPERSION_MIN,
    SHORTEST_SPAN_BINS,
    SHORTEST_SPAN_MS,
    rise,
    spans,
)
from detector.evidence.types import FloatArray, IntArray

DIFFERENCES_MIN = 6
"""Bins, or blocks of them, below which their differences tell of no noise."""

SETTLE_MS = 1_200_000
"""Time since the split last changed below which nothing is said. Until about half of
the mean time a session lasts its slow growth looks like standing still: this is for
sessions of 40 minutes on average, and shorter ones."""


GOT, DUE, OWN, OTHERS = range(4)
"""Rows of a pairing: the two sums of the ratio, the sessions they rest on."""


class Decline(NamedTuple):
    """How much less is done in a session, over the worst span that ends now.

    ``log_ratio`` is negative where the candidate's sessions get less done, ``z``
    what lies beyond the margin in standard deviations ``sd``. ``first`` is the span's
    first bin; ``own`` and ``others`` are its sessions, ``due`` what they should have
    done on the scale of ``got``.
    """

    z: float
    log_ratio: float
    sd: float
    first: int
    own: float
    others: float
    due: float
    present: bool


def pair(
    done: tuple[FloatArray, FloatArray], begun: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Pair the cells of candidate and control; arrays of any one shape.

    Cells in which neither arm began a session say nothing. Sums over strata of what
    is returned, shape (4, ...), are pairings again.
    """
    n = begun[0] + begun[1]
    live = n > 0
    share = begun[0] / np.where(live, n, 1.0)
    return np.stack([done[0] * (live - share), done[1] * share, *begun])


def dispersion(pairs: FloatArray, bin_ms: int) -> float:
    """Variance of the log ratio over that of as many sessions of Poisson's kind.

    From squared differences of neighbours (von Neumann et al. 1941, "The mean square
    successive difference"), bin by bin and in blocks of the shortest span: a session
    acts for minutes, so single bins alone would look too smooth. Means, not medians:
    a few sessions that do very much are noise as well. At least `DISPERSION_MIN`,
    the squared variation of what sessions do that a median service has.
    """
    found, bins = DISPERSION_MIN, pairs.shape[1]
    for width in (1, shortest_span(bin_ms)):
        count = bins // width
        if count < DIFFERENCES_MIN:
            continue
        sums = pairs
        if width > 1:
            sums = pairs[:, bins - count * width :].reshape(4, count, width).sum(axis=2)
        kept = sums.min(axis=0) > 0
        if np.count_nonzero(kept) < DIFFERENCES_MIN:
            continue
        got, due, own, others = sums if kept.all() else sums[:, kept]
        logs = np.log(got / due)
        noise = 1.0 / own + 1.0 / others
        steps = (logs[1:] - logs[:-1]) ** 2 / (noise[1:] + noise[:-1])
        found = max(found, float(steps.mean()))
    return found


def shortest_span(bin_ms: int) -> int:
    """The shortest span that is looked at, in bins."""
    return max(SHORTEST_SPAN_BINS, -(-SHORTEST_SPAN_MS // bin_ms))


def settled_after(bin_ms: int) -> int:
    """Bins since the last change of the split before anything is said."""
    return max(2 * shortest_span(bin_ms), -(-SETTLE_MS // bin_ms))


def over_spans(pairs: FloatArray, bin_ms: int) -> FloatArray:
    """Sums over the spans looked at; (4, rows, bins) to (4, rows, spans)."""
    bins = pairs.shape[2]
    if bins < settled_after(bin_ms):
        return pairs[:, :, :0]
    lengths = np.array(spans(bins, bin_ms)) - 1
    found: FloatArray = np.cumsum(pairs[:, :, ::-1], axis=2)[:, :, lengths]
    return found


def could_decline(
    sums: FloatArray, *, margin: float, spread: float, at_least: float
) -> IntArray:
    """Rows in which `decline` may find ``at_least``, from their `over_spans`.

    No row is quieter than its sessions at `DISPERSION_MIN` would be, and most are
    dismissed by that alone.
    """
    got, due, own, others = sums + 0.5
    beyond = np.log(due / got) - math.log(margin)
    variance = DISPERSION_MIN / own + DISPERSION_MIN / others + spread**2
    reached = (beyond > 0) & (beyond**2 >= at_least**2 * variance * (1 - 1e-9))
    return np.flatnonzero(reached.any(axis=1))


def decline(
    pairs: FloatArray,
    *,
    margin: float,
    spread: float,
    bin_ms: int,
    inverse_rates: tuple[float, float] = (1.0, 1.0),
    phi: float | None = None,
) -> Decline | None:
    """How much less the candidate's sessions get done than those beside them.

    ``z = (-D - log margin) / sqrt(phi_T / n_T + phi_C / n_C + spread^2)``.

    Three things look like harm and are none. Sessions that have just begun have not
    done much yet: right after a change of the split the candidate's are younger.
    Their deficit shrinks as they age, so the latest half of the time since the change
    is laid beside the quarter before, and a harm must stand even if the ratio went on
    to `rise` like that. While the split itself still moves, what it moved by may be in
    the ratio, and is taken off. A restart of one to three minutes leaves a part of
    every span as it was: the oldest and newest third of a span must show the harm.

    Parameters
    ----------
    pairs : FloatArray
        Since the split last changed, oldest first, shape (4, bins).
    margin
        Factor that is nobody's fault.
    spread
        Standard deviation between the log ratios of arms without harm.
    inverse_rates
        One over the share of usage that sampling kept, candidate and control.
    phi
        Their `dispersion`, where it is known already.

    Returns
    -------
    Decline or None
        The span with the largest ``z``, of those that show it throughout if any do;
        None before the split is old enough, and where an arm has no sessions.
    """
    least, bins = shortest_span(bin_ms), pairs.shape[1]
    if bins < settled_after(bin_ms):
        return None
    if phi is None:
        phi = dispersion(pairs, bin_ms)
    noise = [max(phi, DISPERSION_MIN * inverse) for inverse in inverse_rates]
    sums = np.zeros((bins + 1, 4))
    np.cumsum(pairs.T, axis=0, out=sums[1:])
    excuse = _excuse(sums)
    best: Decline | None = None
    for length in spans(bins, bin_ms):
        got, due, own, others = _between(sums, bins - length, bins)
        if min(own, others) <= 0:
            continue
        ratio = math.log((got + 0.5) / (due + 0.5))
        sd = math.sqrt(noise[0] / (own + 0.5) + noise[1] / (others + 0.5) + spread**2)
        z = (-ratio - math.log(margin)) / sd
        third = max(1, min(length // 3, least))
        newest = _log_ratio(sums, bins - third, bins)
        oldest = _log_ratio(sums, bins - length, bins - length + third)
        present = (
            newest < ratio / 2
            and oldest < ratio / 2
            and newest + excuse < -math.log(margin)
        )
        if best is None or (present, z) > (best.present, best.z):
            best = Decline(z, ratio, sd, bins - length, own, others, due, present)
    return best


def _excuse(sums: FloatArray) -> float:
    """By how much the ratio may yet rise as sessions age, and the split moved."""
    bins = len(sums) - 1
    early, late = (bins // 4, bins // 2), (bins // 2, bins)
    moved = _log_split(sums, *late) - _log_split(sums, *early)
    grows = rise(_log_ratio(sums, *early), _log_ratio(sums, *late))
    return grows + max(0.0, moved)


def _log_ratio(sums: FloatArray, first: int, last: int) -> float:
    got, due, _, _ = _between(sums, first, last)
    return math.log((got + 0.5) / (due + 0.5))


def _log_split(sums: FloatArray, first: int, last: int) -> float:
    _, _, own, others = _between(sums, first, last)
    return math.log((own + 0.5) / (others + 0.5))


def _between(
    sums: FloatArray, first: int, last: int
) -> tuple[float, float, float, float]:
    got, due, own, others = (sums[last] - sums[first]).tolist()
    return got, due, own, others
