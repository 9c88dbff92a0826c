"""A block against what the past predicts: direction, references, incidents, gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.blocks import Recent, cut
from detector.evidence.forecast import (
    DAY_MS,
    HOUR_MS,
    RATES,
    VOLUME,
    Forecaster,
    Terms,
    robust_spread,
)
from detector.evidence.past import Outcome, Past
from detector.evidence.types import FloatArray

BIN_MS = 300_000
PER_DAY = DAY_MS // BIN_MS
PER_HOUR = HOUR_MS // BIN_MS


def daily(days: float, level: float = 50.0, swing: float = 0.4) -> FloatArray:
    """Expected counts with a daily rhythm, from midnight on."""
    at = np.arange(round(days * PER_DAY)) / PER_DAY * 2 * np.pi
    expected: FloatArray = level * np.exp(swing * np.sin(at))
    return expected


def judged(
    past: FloatArray,
    after: FloatArray,
    *,
    units: float = 5000.0,
    terms: Terms = RATES,
    seed: int = 7,
) -> Outcome | None:
    """The newest blocks of ``after`` against ``past``, with Poisson noise."""
    rng = np.random.default_rng(seed)
    bad = rng.poisson(np.nan_to_num(past)).astype(float)
    there = np.isfinite(past)
    unit = 1.0 if terms.volume else units
    history = Past(
        np.where(there, bad, np.nan),
        np.where(there, unit, np.nan),
        BIN_MS,
        terms,
    )
    now = rng.poisson(after).astype(float)
    at_risk = np.full(len(after), unit)
    over_ms = history.over_after_ms(now, at_risk, BIN_MS)
    recent = Recent(np.arange(len(after) + 1) * BIN_MS, now, at_risk)
    blocks = cut(recent, max(0, over_ms), 3 * BIN_MS, HOUR_MS, BIN_MS)
    return history.look(len(after) * BIN_MS, blocks, over_ms >= 0)


def test_doubled_rate_fires() -> None:
    """Twice the predicted failures for an hour are beyond the threshold."""
    days = daily(3.5)
    found = judged(days[: 3 * PER_DAY], 2 * days[3 * PER_DAY :][:PER_HOUR])
    assert found is not None
    assert found.fires
    assert found.ratio[0] < 2.0 < found.ratio[2]


def test_unchanged_rate_stays_silent() -> None:
    """The daily swing alone does not look like harm at any age."""
    days = daily(4.0)
    for hours in range(1, 24, 4):
        after = days[3 * PER_DAY :][: hours * PER_HOUR]
        found = judged(days[: 3 * PER_DAY], after)
        assert found is None or not found.fires


def test_improvement_never_fires() -> None:
    """Half of the failures are not harm."""
    days = daily(3.5)
    found = judged(days[: 3 * PER_DAY], 0.5 * days[3 * PER_DAY :][:PER_HOUR])
    assert found is None or found.z < 0


def test_volume_fires_on_drops() -> None:
    """Half of the volume is harm where less is worse, twice of it is none."""
    days = daily(3.5, level=2000.0)
    after = days[3 * PER_DAY :][:PER_HOUR]
    low = judged(days[: 3 * PER_DAY], 0.5 * after, terms=VOLUME)
    high = judged(days[: 3 * PER_DAY], 2 * after, terms=VOLUME)
    assert low is not None
    assert low.fires
    assert low.ratio[1] == pytest.approx(0.5, abs=0.05)
    assert high is None or not high.fires


def test_unseen_weekday_mutes_volume() -> None:
    """Without the same weekday in the past nothing is said after six hours."""
    days = daily(4.0, level=2000.0)
    after = 0.5 * days[3 * PER_DAY :][: 7 * PER_HOUR]
    assert judged(days[: 3 * PER_DAY], after, terms=VOLUME) is None


def test_running_incident_is_excused() -> None:
    """What was as bad before the flip is not blamed on the release."""
    days = daily(3.0, swing=0.1)
    days[-4:] *= 10
    found = judged(days, np.full(6, 500.0))
    assert found is None or not found.fires


def test_harm_after_incident_fires() -> None:
    """Once a running incident is over, a new rise counts again."""
    days = daily(3.0, swing=0.1)
    days[-4:] *= 10
    after = np.concatenate([np.full(3, 500.0), np.full(3, 50.0), np.full(6, 250.0)])
    found = judged(days, after)
    assert found is not None
    assert found.fires


def test_finished_blip_is_not_present() -> None:
    """A strong first bin leaves the block high but not its newer half."""
    days = daily(3.0, swing=0.1)
    after = np.concatenate([[1000.0], np.full(5, 50.0)])
    found = judged(days, after)
    assert found is not None
    assert not found.present
    assert found.z > 0


def test_late_onset_is_dated() -> None:
    """A rise hours after the flip is found in a block that begins near it."""
    days = daily(4.0, swing=0.1)
    after = days[3 * PER_DAY :][: 8 * PER_HOUR].copy()
    after[-6:] *= 4
    found = judged(days[: 3 * PER_DAY], after)
    assert found is not None
    assert found.fires
    assert found.length_ms <= 6 * BIN_MS


def test_short_past_asks_for_more() -> None:
    """Less than two days have not shown a daily swing: the threshold is higher."""
    short = Past(daily(0.5), np.ones(PER_DAY // 2), BIN_MS, RATES)
    long = Past(daily(2.0), np.ones(2 * PER_DAY), BIN_MS, RATES)
    assert long.threshold < short.threshold


def test_wandering_past_lowers_evidence() -> None:
    """The same doubling stands out less where the past wanders by itself."""
    rng = np.random.default_rng(3)
    calm = np.full(3 * PER_DAY, 50.0)
    steps = np.repeat(rng.normal(0, 0.5, 3 * PER_DAY // 24), 24)
    after = np.full(PER_HOUR, 100.0)
    still = judged(calm, after)
    wild = judged(calm * np.exp(steps), after)
    assert still is not None
    assert wild is None or wild.z < still.z / 2


def test_gaps_are_not_zeros() -> None:
    """Bins in which nothing arrived change the prediction by noise only."""
    past = daily(3.0, swing=0.0)
    past[::4] = np.nan
    found = judged(past, np.full(PER_HOUR, 100.0))
    assert found is not None
    assert found.expected / found.units == pytest.approx(0.01, rel=0.1)


def test_predictions_never_peek() -> None:
    """Bins at and after a start do not change what is predicted from it."""
    series = np.arange(1.0, 3 * PER_DAY + 1)
    changed = series.copy()
    start = 2 * PER_DAY + 5
    changed[start:] = 1e6
    at = np.array([start])
    one, other = (
        Forecaster(x, np.ones(len(x)), BIN_MS, RATES).predict(at, 40, 9)
        for x in (series, changed)
    )
    for name in one:
        np.testing.assert_array_equal(one[name].rate, other[name].rate)


def test_spread_ignores_rare_incidents() -> None:
    """A few huge errors do not widen the spread, Poisson noise is taken off."""
    errors = np.random.default_rng(1).normal(0, 0.2, 2000)
    quiet = robust_spread(errors, np.full(2000, 0.01))
    errors[::50] = 5.0
    assert quiet == pytest.approx(0.03, abs=0.01)
    assert robust_spread(errors, np.full(2000, 0.01)) < 2 * quiet
    assert robust_spread(np.full(3, math.nan), np.ones(3)) == 0.0


def test_blocks_leave_partial_bins() -> None:
    """A bin that is only partly inside a block or before its start is left out."""
    recent = Recent(np.array([0, 600, 700, 800]), np.array([6.0, 1.0, 2.0]), np.ones(3))
    blocks = cut(recent, 100, 200, 300, 100)
    assert blocks.lengths_ms.tolist() == [200, 400, 700]
    assert blocks.bad.tolist() == [3.0, 3.0, 3.0]
    assert blocks.last_bad == 2.0


def test_too_young_has_no_blocks() -> None:
    """Before the shortest block fits there is nothing to judge."""
    recent = Recent(np.array([0, 100]), np.ones(1), np.ones(1))
    assert len(cut(recent, 0, 200, 300, 100).lengths_ms) == 0
