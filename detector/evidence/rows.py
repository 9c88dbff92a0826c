"""The wealth of many series in one place: a row is one series of one release.

Structure of arrays, one numpy kernel call per closed window for every touched row.
Each row's bytes depend on its own windows alone: the same windows give the same
bytes whatever other rows are updated in the same call. Log-evidence of cells comes
from ``detector.evidence.rate_ratio`` or a sister procedure of the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from detector.evidence import onset
from detector.evidence.confidence import RATIOS, ratio_interval
from detector.evidence.rate_ratio import EFFECTS, LOG_EFFECTS, RECOVERY_RATIOS
from detector.evidence.rowstore import Column, Index, RowStore, index_of, take
from detector.evidence.types import BoolArray, FloatArray, IntArray, log_mean_exp
from detector.evidence.window import (
    TOTALS,
    Increments,
    both_exposed,
    check,
    checked_times,
)

NEVER_MS = -1
"""Time of what has not happened yet."""

PERSISTENCE_MS = 180_000
"""Deploy blips last one to three minutes. Longer: fewer blips act, all act later."""

PERSISTENT_LOG_E = math.log(100)
"""What evidence from after the blip must reach. Higher: surer and later."""

SEARCH_COST = math.log(EFFECTS) / 2
"""Taken off that evidence for having picked the best of the effects."""

DISPLAY_EFFECT = int(np.argmin(np.abs(LOG_EFFECTS - math.log(1.76))))
"""The effect whose run bounds "since the onset" on displays: a ratio of 1.8 to 2.3
for margins from 1 to 1.3."""

_CHUNK = 4096
"""Rows per step: the step's temporaries stay in the processor's cache."""


COLUMNS: Mapping[str, Column] = {
    "log_wealth": Column(np.float64, EFFECTS, -math.inf),
    "page": Column(np.float64, EFFECTS, 0.0),
    "run_start_ms": Column(np.int64, EFFECTS, NEVER_MS),
    "restarted": Column(np.float64, EFFECTS, 0.0),
    "recovery": Column(np.float64, len(RECOVERY_RATIOS), 0.0),
    "likelihood": Column(np.float64, RATIOS, 0.0),
    "likelihood_run": Column(np.float64, RATIOS, 0.0),
    "totals": Column(np.float64, len(TOTALS), 0.0),
    "run_totals": Column(np.float64, len(TOTALS), 0.0),
    "last_increment": Column(np.float64, 0, 0.0),
    "prior_slot": Column(np.int64, 0, onset.NO_SLOT),
    "first_ms": Column(np.int64, 0, NEVER_MS),
    "last_end_ms": Column(np.int64, 0, NEVER_MS),
    "windows": Column(np.int64, 0, 0),
    "persistence_ms": Column(np.int64, 0, PERSISTENCE_MS),
}
"""Every column of a row, in the order of snapshots. Width 0 is one number a row."""

BYTES_PER_ROW = sum(8 * max(1, column.width) for column in COLUMNS.values())


class RateRatioRows(RowStore):
    """How strong is the evidence against each series, and since when?

    Per effect size a row keeps its wealth ``log_wealth`` (bets of all onsets so
    far), a Page sum ``page`` with the start of its current run (the onset
    estimate) and the evidence ``restarted`` some time after that start. The
    e-value of a row is the mean wealth plus the share of the prior not bet yet:
    a nonnegative supermartingale starting at 1 whenever the increments' means of
    ``exp`` are at most 1, so it reaches ``1/alpha`` with probability at most
    alpha in the life of the release (Ville's inequality), however often read.

    Windows without any bad unit carry no evidence: skip them, or report them with
    `expose`; the wealth is the same to the last bit.

    Parameters
    ----------
    capacity : int, default=64
        Rows to reserve; grows by doubling.

    Examples
    --------
    >>> from detector.evidence.rate_ratio import increments
    >>> series = RateRatioRows()
    >>> rows = series.allocate(1)
    >>> for minute in range(8):
    ...     series.update(
    ...         rows,
    ...         increments([20], [10], [1000], [1000], margin=1.0),
    ...         window_start_ms=[minute * 60_000],
    ...         window_end_ms=[minute * 60_000 + 60_000],
    ...     )
    >>> series.log_evidence(rows).round(1)
    array([10.2])
    >>> series.persistent(rows), series.onset_ms(rows)
    (array([ True]), array([0]))
    """

    COLUMNS = COLUMNS

    log_wealth: FloatArray
    page: FloatArray
    run_start_ms: IntArray
    restarted: FloatArray
    recovery: FloatArray
    likelihood: FloatArray
    likelihood_run: FloatArray
    totals: FloatArray
    run_totals: FloatArray
    last_increment: FloatArray
    prior_slot: IntArray
    first_ms: IntArray
    last_end_ms: IntArray
    windows: IntArray
    persistence_ms: IntArray

    def allocate(self, count: int, *, persistence_ms: int = PERSISTENCE_MS) -> IntArray:
        """Take fresh rows; ``persistence_ms`` is how long harm must last to act."""
        rows = super().allocate(count)
        self.persistence_ms[rows] = persistence_ms
        return rows

    def reset(self, rows: ArrayLike) -> None:
        """Forget everything but ``persistence_ms``: as on the first day."""
        positions = self._positions(rows)
        kept = self.persistence_ms[positions]
        super().reset(positions)
        self.persistence_ms[positions] = kept

    def reset_recovery(self, rows: ArrayLike) -> None:
        """Start asking anew whether the rows have recovered: at an episode's start."""
        self.recovery[self._rewriting(rows)] = 0.0

    def update(
        self,
        rows: ArrayLike,
        evidence: FloatArray,
        likelihood: FloatArray | None = None,
        *,
        window_start_ms: ArrayLike,
        window_end_ms: ArrayLike,
        recovery: FloatArray | None = None,
        totals: FloatArray | None = None,
    ) -> None:
        """Add one closed window to each row. Windows of a row come in time order.

        Parameters
        ----------
        rows : array of shape (rows,)
            Positions, each at most once.
        evidence, likelihood, recovery, totals
            See `Increments`. Without ``totals`` the rows count as exposed.
        window_start_ms, window_end_ms : array of shape (rows,)
            Half-open event time of the window.
        """
        positions = self._positions(rows)
        start = checked_times("window_start_ms", window_start_ms, positions.size)
        end = checked_times("window_end_ms", window_end_ms, positions.size)
        exposed = np.ones(positions.size, dtype=np.bool_)
        if totals is None:
            totals = np.zeros((positions.size, len(TOTALS)))
        else:
            exposed = both_exposed(totals, positions.size)
        new = Increments(evidence, likelihood, recovery, totals)
        check(new, positions.size)
        self._expose(positions, exposed, start, end)
        for low in range(0, positions.size, _CHUNK):
            part = slice(low, low + _CHUNK)
            self._apply(positions[part], new.part(part), start[part])

    def expose(
        self,
        rows: ArrayLike,
        totals: FloatArray,
        *,
        window_start_ms: ArrayLike,
        window_end_ms: ArrayLike,
    ) -> None:
        """Add windows without a bad unit: exposure and time, no evidence.

        Cheap. What skipping it would change is only displays (exposure so far),
        `persistent` (which wants harm in the newest window) and, before the first
        bad unit, when the onset prior begins to be spent.
        """
        positions = self._positions(rows)
        start = checked_times("window_start_ms", window_start_ms, positions.size)
        end = checked_times("window_end_ms", window_end_ms, positions.size)
        self._expose(positions, both_exposed(totals, positions.size), start, end)
        self.totals[positions] += totals
        running = self.page[positions, DISPLAY_EFFECT] > 0
        self.run_totals[positions] += np.where(running[:, None], totals, 0.0)

    def log_evidence(self, rows: ArrayLike) -> FloatArray:
        """Natural log of each row's e-value; 0 before anything was seen."""
        positions = self._positions(rows)
        unspent = 1.0 - onset.spent(self.prior_slot[positions])
        with np.errstate(divide="ignore"):
            reserve = np.log(unspent)
        return np.logaddexp(log_mean_exp(self.log_wealth[positions]), reserve)

    def confidence(
        self,
        rows: ArrayLike,
        alpha: float,
        since: Literal["start", "onset"] = "start",
    ) -> FloatArray:
        """Low, best and high rate ratio of each row; shape (rows, 3).

        From the start it is a confidence sequence. From the estimated onset it is
        a display: the data chose where it begins, so coverage is not guaranteed.
        """
        if since not in ("start", "onset"):
            raise ValueError(f"since={since!r} is not known: use 'start' or 'onset'")
        chosen = self.likelihood if since == "start" else self.likelihood_run
        return ratio_interval(chosen[self._positions(rows)], alpha)

    def onset_ms(self, rows: ArrayLike) -> IntArray:
        """Start of the window in which the harm seems to have begun, -1 if none.

        The run of the effect with the largest Page sum: the most likely change
        point for that effect (Page 1954, Biometrika 41, 100-115).
        """
        positions = self._positions(rows)
        best = np.argmax(self.page[positions], axis=1)
        onsets: IntArray = self.run_start_ms[positions, best]
        return onsets

    def persistent(
        self, rows: ArrayLike, persistence_ms: int | None = None
    ) -> BoolArray:
        """Is the harm still there, some time after its onset?

        Evidence gathered later than ``persistence_ms`` after the onset estimate,
        the best effect less `SEARCH_COST`, reaches `PERSISTENT_LOG_E`, and the
        newest window speaks for that effect too. Measured, not proven: it picks
        onset and effect. A longer time asked for here than the row was allocated
        with also wants a run of that length.
        """
        positions = self._positions(rows)
        restarted = self.restarted[positions]
        best = np.argmax(restarted, axis=1)
        lines = np.arange(positions.size)
        reached = restarted[lines, best] - SEARCH_COST >= PERSISTENT_LOG_E
        holds: BoolArray = reached & (self.last_increment[positions] > 0)
        if persistence_ms is not None:
            begun = self.run_start_ms[positions, best]
            holds &= self.last_end_ms[positions] - begun >= persistence_ms
        return holds

    def recovered(self, rows: ArrayLike, log_threshold: float) -> BoolArray:
        """Is the ratio back below the margin, since `reset_recovery`?

        An e-CUSUM on the mean over the recovery ratios: while the ratio stays at
        or beyond the margin, the mean number of windows until it says so wrongly
        is at least ``exp(log_threshold) - 1`` (Shin, Ramdas & Rinaldo 2024, New
        England Journal of Statistics in Data Science).
        """
        wealth = log_mean_exp(self.recovery[self._positions(rows)])
        reached: BoolArray = wealth >= log_threshold
        return reached

    def _apply(self, rows: IntArray, new: Increments, start: IntArray) -> None:
        """One window of at most `_CHUNK` rows, without the exposure's clock."""
        at = index_of(rows)
        self.totals[at] += new.totals
        if new.likelihood is not None:
            self.likelihood[at] += new.likelihood
        spoke = new.evidence.any(axis=1)
        if not spoke.all():
            # Silent rows keep their pages, so their displays add the exposure.
            running = ~spoke & (self.page[at, DISPLAY_EFFECT] > 0)
            self.run_totals[rows[running]] += new.totals[running]
            lines = np.flatnonzero(spoke)
            new, start, at = new.part(lines), start[lines], index_of(rows[lines])
        if start.size:
            self._bet(at, new.evidence, start)
            self._run(at, new, start)
            if new.recovery is not None:
                self.recovery[at] = np.maximum(self.recovery[at] + new.recovery, 0.0)

    def _bet(self, at: Index, evidence: FloatArray, start: IntArray) -> None:
        """Stake the prior's slots that have begun, then take the window's result.

        Only windows that speak stake: staking without a result moves wealth from
        the reserve to the effects and leaves the e-value unchanged, so it can wait.
        That is what makes skipping silent windows exact to the last bit.
        """
        first = self.first_ms[at]
        first = np.where(first == NEVER_MS, start, first)
        self.first_ms[at] = first
        before = self.prior_slot[at]
        slot = np.maximum(onset.slot_at(first, start), before)
        wealth = take(self.log_wealth, at)
        due = np.flatnonzero(slot > before)
        if due.size:
            mass = onset.log_mass(before[due], slot[due])
            wealth[due] = np.logaddexp(wealth[due], mass[:, None])
            self.prior_slot[at] = slot
        self.log_wealth[at] = wealth + evidence

    def _run(self, at: Index, new: Increments, start: IntArray) -> None:
        """Carry on, begin or end the run of each effect."""
        was = take(self.page, at)
        page = np.maximum(was + new.evidence, 0.0)
        dead = page == 0
        carries = (was > 0) > dead
        # Equal shapes, since numpy's `where` is several times slower otherwise.
        starts = start.repeat(EFFECTS).reshape(page.shape)
        begun = np.where(carries, take(self.run_start_ms, at), starts)
        late = carries & ((start - self.persistence_ms[at])[:, None] >= begun)
        restarted = take(self.restarted, at) + np.where(late, new.evidence, 0.0)
        restarted = np.where(dead, 0.0, restarted)
        begun = np.where(dead, NEVER_MS, begun)
        self.page[at] = page
        self.run_start_ms[at] = begun
        self.restarted[at] = restarted
        best = np.argmax(restarted, axis=1)
        self.last_increment[at] = new.evidence[np.arange(start.size), best]
        self._display(at, new, ~dead[:, DISPLAY_EFFECT, None])

    def _display(self, at: Index, new: Increments, shown: BoolArray) -> None:
        """What is shown "since the onset": sums over the display effect's run."""
        self.run_totals[at] = np.where(
            shown, take(self.run_totals, at) + new.totals, 0.0
        )
        if new.likelihood is not None:
            run = take(self.likelihood_run, at) + new.likelihood
            self.likelihood_run[at] = np.where(shown, run, 0.0)

    def _expose(
        self, rows: IntArray, both: BoolArray, start: IntArray, end: IntArray
    ) -> None:
        """Move the rows' clocks; silent until `_run` says otherwise."""
        first = self.first_ms[rows]
        self.first_ms[rows] = np.where(both & (first == NEVER_MS), start, first)
        self.last_end_ms[rows] = end
        self.windows[rows] += 1
        self.last_increment[rows] = 0.0
