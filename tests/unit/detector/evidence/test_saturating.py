"""The second lock: what arms wander on their own proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detector.evidence.saturating import (
    NOTHING,
    Trail,
    odds_sums,
    rate_sums,
    ratio_of,
    saturating_z,
)
from detector.evidence.types import FloatArray

MARGIN = float(np.log(1.25))


def same_windows(count: int, kt: float, kc: float, n: float) -> Trail:
    """Trail of equal windows of rates."""
    blocks = Trail()
    for _ in range(count):
        blocks.add(rate_sums([kt], [kc], [n], [n])[0])
    return blocks


@pytest.mark.parametrize("sums", [rate_sums, odds_sums])
def test_pooled_variance_is_right(sums: Callable[..., FloatArray]) -> None:
    """Variance of 4,000 simulated ratios is the stated one; fails below 1e-6."""
    rng = np.random.default_rng(3)
    low, nt, nc, runs = 0.02, 300, 2000, 4000
    kt, kc = rng.binomial(nt, low, (runs, 10)), rng.binomial(nc, low, (runs, 10))
    cells = sums(kt.ravel(), kc.ravel(), np.full(kt.size, nt), np.full(kc.size, nc))
    ratio, sampling = ratio_of(cells.reshape(runs, 10, -1).sum(axis=1))
    assert ratio.mean() == pytest.approx(0.0, abs=0.03)
    assert ratio.var() == pytest.approx(sampling.mean(), rel=0.15)


def test_mix_of_strata_cancels() -> None:
    """Arms of equal rates in every stratum have a ratio of 1 whatever the mix."""
    sums = rate_sums([90, 1], [10, 9], [900, 1000], [100, 9000]).sum(axis=0)
    assert ratio_of(sums[None])[0][0] == pytest.approx(0.0, abs=1e-9)


def test_z_saturates_with_time() -> None:
    """A ratio of 1.5 for ever stays below its limit, log(1.5 / 1.25) / spread."""
    short = saturating_z(*same_windows(50, 150, 100, 1e4).rows(), log_margin=MARGIN)
    long = saturating_z(*same_windows(5000, 150, 100, 1e4).rows(), log_margin=MARGIN)
    assert short.z < long.z < np.log(1.5 / 1.25) / 0.1
    assert long.present


def test_doubling_opens_lock_soon() -> None:
    """At twenty failures a window a threefold rate reaches z = 3 in five windows."""
    z = saturating_z(*same_windows(5, 60, 20, 1e3).rows(), log_margin=MARGIN)
    assert z.z >= 3.0


def test_improvement_stays_below_zero() -> None:
    """A better candidate never has a positive z."""
    z = saturating_z(*same_windows(40, 50, 100, 1e4).rows(), log_margin=MARGIN)
    assert z.z < 0
    assert not z.present


def test_harm_that_ended_is_absent() -> None:
    """After the harm the largest block may still show it, the newest does not."""
    blocks = same_windows(30, 400, 100, 1e4)
    for _ in range(5):
        blocks.add(rate_sums([100], [100], [1e4], [1e4])[0])
    z = saturating_z(*blocks.rows(), log_margin=MARGIN)
    assert z.z > 3.0
    assert not z.present


def test_blocks_forget_no_window() -> None:
    """Merging keeps the sum of all windows, and the state grows like a logarithm."""
    blocks = Trail()
    for i in range(3000):
        blocks.add(np.full(7, float(i)))
    windows, sums = blocks.rows()
    assert windows.sum() == 3000
    assert sums[:, 0].sum() == 3000 * 2999 / 2
    assert len(windows) < 60
    assert (np.diff(windows) <= 0).all()


def test_no_window_no_z() -> None:
    """Before enough windows the lock is shut."""
    assert saturating_z(*Trail().rows(), log_margin=MARGIN) == NOTHING
    early = same_windows(2, 90, 1, 100)
    assert saturating_z(*early.rows(), log_margin=MARGIN) == NOTHING


def test_silent_arms_say_nothing() -> None:
    """Windows without an event of either arm have a ratio of 1."""
    z = saturating_z(*same_windows(10, 0, 0, 1e3).rows(), log_margin=MARGIN)
    assert z.z < 0


def test_wrong_shape_is_refused() -> None:
    """Sums of another width are an error of the caller."""
    with pytest.raises(ValueError, match="shape"):
        Trail().add(np.zeros(3))
