"""Is the candidate worse by more than the arms wander on their own?

Evidence that accumulates for ever turns any small lasting difference into certainty.
Between two arms whose rates wander by themselves it must saturate: a difference of
once or twice what they usually wander proves nothing, however long it lasts. The
answer is measured, not proven, and stands beside an e-process as a second lock.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from msgspec import Struct, field
from numpy.typing import ArrayLike

from detector.evidence.exceedance import checked_cells
from detector.evidence.types import FloatArray

SUMS = ("more", "less", "spread_more", "spread_both", "spread_less", "joint", "units")
"""Columns of window sums: the two sides of the Mantel-Haenszel ratio, three terms of
its variance, and the cell's harmonic and plain exposure."""

MORE, LESS, SPREAD_MORE, SPREAD_BOTH, SPREAD_LESS, JOINT, UNITS = range(len(SUMS))

PRIOR_SPREAD = 0.1
"""Log-sd of an arm's own slow wander. Larger: small effects are never acted on."""

Z_MIN = 3.0
"""A z from which the second lock opens."""

EACH_SIZE = 4
"""Blocks kept of each size. More: finer choice of the beginning, more state."""

Sums = tuple[float, float, float, float, float, float, float]


def rate_sums(
    bad_candidate: ArrayLike,
    bad_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
) -> FloatArray:
    """Sums of each cell for a ratio of rates of rare events; shape (cells, 7).

    Add the rows of the strata of a window, and of windows: the ratio stays inside
    strata. Exposures may be fractions, and smaller than the failures.

    References
    ----------
    Greenland & Robins (1985), Biometrics 41, 55-68.
    """
    kt, kc, nt, nc = (
        np.asarray(values, dtype=np.float64)
        for values in (bad_candidate, bad_control, units_candidate, units_control)
    )
    both = (nt > 0) & (nc > 0)
    units = np.where(both, nt + nc, 1.0)
    own, other = nt / units, nc / units
    zero = np.zeros_like(kt)
    columns = (
        kt * other,
        kc * own,
        zero,
        2.0 * (kt + kc) * own * other,
        zero,
        units * own * other,
        units,
    )
    return np.where(both[:, None], np.column_stack(columns), 0.0)


def odds_sums(
    above_candidate: ArrayLike,
    above_control: ArrayLike,
    units_candidate: ArrayLike,
    units_control: ArrayLike,
) -> FloatArray:
    """The same for a ratio of odds, where events are common; shape (cells, 7).

    References
    ----------
    Robins, Breslow & Greenland (1986), Biometrics 42, 311-323.
    """
    kt, kc, nt, nc = checked_cells(
        above_candidate, above_control, units_candidate, units_control
    )
    units = np.where(nt > 0, nt + nc, 1.0)
    more, less = kt * (nc - kc) / units, kc * (nt - kt) / units
    agree = (kt + nc - kc) / units
    differ = (nt - kt + kc) / units
    columns = (
        more,
        less,
        agree * more,
        agree * less + differ * more,
        differ * less,
        nt * nc / units,
        np.where(nt > 0, units, 0.0),
    )
    return np.where((nt > 0)[:, None], np.column_stack(columns), 0.0)


class Block(Struct, array_like=True):
    """Sums of some neighbouring windows."""

    windows: int
    sums: Sums


class Trail(Struct, array_like=True):
    """Window sums of one series, newest last: recent ones single, older ones merged.

    Blocks double in size with age, so that the state grows with the logarithm of
    the number of windows only.
    """

    blocks: list[Block] = field(default_factory=list)

    def add(self, sums: ArrayLike) -> None:
        """Add one closed window."""
        row = np.asarray(sums, dtype=np.float64)
        if row.shape != (len(SUMS),):
            raise ValueError(f"sums have shape {row.shape}, expected ({len(SUMS)},)")
        self.blocks.append(Block(1, tuple(row.tolist())))
        self._merge()

    def rows(self) -> tuple[FloatArray, FloatArray]:
        """Windows (blocks,) and sums (blocks, 7), oldest first."""
        windows = np.array([float(b.windows) for b in self.blocks])
        sums = np.array([b.sums for b in self.blocks], dtype=np.float64)
        return windows, sums.reshape(-1, len(SUMS))

    def _merge(self) -> None:
        size, at = 1, len(self.blocks)
        while True:
            same = [i for i in range(at) if self.blocks[i].windows == size]
            if len(same) <= EACH_SIZE:
                return
            first = same[0]
            pair = self.blocks[first : first + 2]
            total = [a + b for a, b in zip(pair[0].sums, pair[1].sums, strict=True)]
            self.blocks[first : first + 2] = [Block(2 * size, cast(Sums, tuple(total)))]
            size, at = 2 * size, first + 1


class Saturating(NamedTuple):
    """The largest z over blocks that end now, and that block."""

    z: float
    windows: int
    log_ratio: float
    present: bool


NOTHING = Saturating(0.0, 0, 0.0, False)


def saturating_z(
    windows: FloatArray,
    sums: FloatArray,
    *,
    log_margin: float,
    spread: float = PRIOR_SPREAD,
    least_windows: int = 3,
) -> Saturating:
    r"""How far is the candidate beyond its margin, in units of noise and wander?

    Over the last m windows, for every m that the blocks allow,
    ``(log ratio - log margin) / sqrt(sampling variance + spread**2)``, and the
    largest of these (statistics-controls, section 4 of the project's study: beside
    an e-process, z >= 3 took false alarms of wandering arms from .3-.97 to 0-.10).
    ``spread`` does not shrink with m: more data do not make a wander harmless. The
    smallest effect that ever reaches z is ``margin * exp(z * spread)``.

    Parameters
    ----------
    windows : array of shape (blocks,)
        Windows in each block, oldest first.
    sums : array of shape (blocks, 7)
        From `rate_sums` or `odds_sums`, added up.
    least_windows : int, default=3
        Shortest stretch looked at.

    Returns
    -------
    Saturating
        ``present``: the newest ``least_windows`` alone show at least the margin and
        .4 of the block's log ratio.
    """
    if not len(windows):
        return NOTHING
    length = np.cumsum(windows[::-1])
    log_ratio, sampling = ratio_of(np.cumsum(sums[::-1], axis=0))
    enough = length >= least_windows
    if not enough.any():
        return NOTHING
    z = (log_ratio - log_margin) / np.sqrt(sampling + spread**2)
    best = int(np.argmax(np.where(enough, z, -np.inf)))
    newest = int(np.argmax(enough))
    wanted = max(log_margin, 0.4 * float(log_ratio[best]))
    return Saturating(
        float(z[best]),
        int(length[best]),
        float(log_ratio[best]),
        bool(log_ratio[newest] >= wanted),
    )


def ratio_of(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log ratio and sampling variance of each line of sums.

    Half an event of each arm is added, at the exposures' own shares: without any
    event the ratio is 1 with a variance of 4.
    """
    units = np.where(sums[:, UNITS] > 0, sums[:, UNITS], 1.0)
    share = np.where(sums[:, UNITS] > 0, sums[:, JOINT] / units, 0.25)
    more, less = sums[:, MORE] + share / 2.0, sums[:, LESS] + share / 2.0
    both = sums[:, SPREAD_BOTH] + 2.0 * share
    sampling = (
        sums[:, SPREAD_MORE] / (2.0 * more**2)
        + both / (2.0 * more * less)
        + sums[:, SPREAD_LESS] / (2.0 * less**2)
    )
    return np.log(more / less), sampling
