"""Durations of both arms lined up at the control's own earlier quantiles."""

from __future__ import annotations

import numpy as np
import pytest

from detector.alone import Joint
from detector.durations import EXPLICIT, Durations, Histogram
from detector.evidence.blocks import cut
from detector.evidence.exceedance import QUANTILES
from detector.evidence.saturating import Trail, odds_sums, saturating_z
from detector.latencystate import Beside, LatencyState, Open, take
from detector.signals.latency import TRACKS, cross
from detector.signals.latencypast import past_of, recent_of

OLD, NEW = 1, 2
BOUNDS_MS = tuple(2.0 * 1.6**k for k in range(23))
COUNTS = (0, 0, 0, 0, 0, 10, 60, 240, 320, 220, 90, 35, 14, 6, 3, 1, 1)
MINUTE_MS = 60_000


def durations(shift: int = 0, bounds_ms: tuple[float, ...] = BOUNDS_MS) -> Durations:
    """A thousand requests, slower by ``shift`` buckets."""
    found = Durations()
    counts = {i + shift: float(n) for i, n in enumerate(COUNTS) if n}
    found.add(Histogram(EXPLICIT, bounds_ms, counts))
    return found


def window(shift: int = 0) -> Open:
    """Both arms in one stratum, the candidate slower by ``shift`` buckets."""
    return {(OLD, 0): durations(), (NEW, 0): durations(shift)}


def state(minutes: int) -> LatencyState:
    """After some minutes of the old release alone."""
    found = LatencyState()
    for i in range(1, minutes + 1):
        found.close(i * MINUTE_MS, MINUTE_MS, {(OLD, 0): durations()}, {})
    return found


def test_every_quantile_has_track() -> None:
    """Tracks are named after the quantiles, one each."""
    assert len(set(TRACKS)) == len(QUANTILES)
    assert TRACKS[0] == "latency:p50"


def test_equal_arms_cross_equally() -> None:
    """Counts above each threshold agree, and fall from body to tail."""
    found = cross(state(10).recent, window(), NEW, [[OLD]])[0]
    assert all(c.above_candidate == c.above_control for c in found)
    above = [c.above_control for c in found]
    assert above == sorted(above, reverse=True)


def test_slower_arm_crosses_more() -> None:
    """One bucket slower crosses every threshold more often."""
    found = cross(state(10).recent, window(1), NEW, [[OLD]])[0]
    assert all(c.above_candidate > c.above_control for c in found)


def test_no_earlier_window_no_threshold() -> None:
    """Thresholds never come from the window that is judged."""
    assert cross({}, window(1), NEW, [[OLD]]) == []


def test_preferred_group_is_used() -> None:
    """A stratum uses the first group of controls with durations there."""
    found = cross(state(10).recent, window(), NEW, [[7], [OLD]])
    assert found[0][0].control == (OLD,)


def test_foreign_layouts_never_meet() -> None:
    """Arms without an edge in common are not compared."""
    odd = {
        (OLD, 0): durations(),
        (NEW, 0): durations(bounds_ms=tuple(3.1 * 1.6**k for k in range(23))),
    }
    assert cross(state(10).recent, odd, NEW, [[OLD]]) == []


def test_unreadable_histogram_is_ignored() -> None:
    """A record that can not be read opens no cell."""
    opened: Open = {}
    take(opened, (OLD, 0), None)
    assert not opened


def test_old_releases_are_forgotten() -> None:
    """Recent durations of releases that are no longer known are dropped."""
    remembered = state(3)
    remembered.forget_releases({NEW})
    assert not remembered.recent


def company(*joints: Joint, planned: bool = False) -> Beside:
    """A release after one window a minute in which these records came."""
    beside = Beside()
    for i, joint in enumerate(joints):
        beside.note_company((i + 1) * MINUTE_MS, MINUTE_MS, joint, planned=planned)
    return beside


BOTH, ALONE = Joint(100.0, 100.0), Joint(100.0, 0.0)


def test_control_counts_as_lost() -> None:
    """Alone from its first window on, a release has lost its control at its start."""
    assert company(ALONE).lost_ms == 0


def test_short_gap_loses_nothing() -> None:
    """A control that is silent for less than five minutes is not lost."""
    assert company(BOTH, *[ALONE] * 4).lost_ms == -1
    assert company(BOTH, *[ALONE] * 5).lost_ms == MINUTE_MS


def test_few_records_lose_no_control() -> None:
    """Arms with a few records a window miss each other by chance."""
    assert company(BOTH, *[Joint(3.0, 0.0)] * 30).lost_ms == -1
    assert company(BOTH, *[Joint(3.0, 0.0)] * 40).lost_ms == MINUTE_MS


def test_planned_end_loses_control_at_once() -> None:
    """A rollout that leaves the others nothing needs no five minutes of silence."""
    assert company(BOTH, ALONE, planned=True).lost_ms == MINUTE_MS


@pytest.mark.parametrize(("shift", "fires"), [(0, False), (1, True)])
def test_past_judges_slower_release(shift: int, fires: bool) -> None:
    """One bucket slower than a day before fires within the hour, no slower never."""
    remembered = state(24 * 60)
    lost_ms = 24 * 60 * MINUTE_MS
    past = past_of(remembered, 8, lost_ms, lambda key: key[0] == OLD, 1.25)
    assert past is not None
    fired = False
    for i in range(1, 61):
        now_ms = lost_ms + i * MINUTE_MS
        remembered.close(now_ms, MINUTE_MS, {(NEW, 0): durations(shift)}, {NEW: False})
        recent = recent_of(remembered, 8, lost_ms, now_ms, lambda key: key[0] == NEW)
        blocks = cut(recent, lost_ms, 300_000, 3_600_000, 120_000)
        found = past.look(now_ms - lost_ms, blocks)
        fired |= found is not None and found.fires
    assert fired is fires


def test_recent_bins_join_seamlessly() -> None:
    """Ten hours are read coarse first, then fine, and every record once."""
    remembered = state(600)
    recent = recent_of(remembered, 8, 0, 600 * MINUTE_MS, lambda key: key[0] == OLD)
    assert recent.units.sum() == 600_000
    assert set(np.diff(recent.edges_ms).tolist()) == {MINUTE_MS, 5 * MINUTE_MS}
    assert recent.edges_ms[0] == 0
    assert recent.edges_ms[-1] == 600 * MINUTE_MS


def test_partial_bin_is_left_out() -> None:
    """A loss of control inside a bin does not bring in what came before it."""
    remembered = state(10)
    lost_ms = 90_000
    recent = recent_of(
        remembered, 8, lost_ms, 10 * MINUTE_MS, lambda key: key[0] == OLD
    )
    assert recent.edges_ms[0] == 2 * MINUTE_MS


def test_lock_sees_crossings() -> None:
    """Twenty minutes one bucket slower open the second lock."""
    blocks = Trail()
    found = cross(state(10).recent, window(1), NEW, [[OLD]])[0][1]
    for _ in range(20):
        blocks.add(odds_sums(*found.counts)[0])
    assert saturating_z(*blocks.rows(), log_margin=float(np.log(1.25))).z >= 3
