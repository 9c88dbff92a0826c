"""The questions about one signature, on totals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector.evidence.novelty import (
    added_hits,
    addition_log_ratio,
    dose_log_ratio,
    new_rate_log_e,
    spread_log_ratio,
)


def evidence(hits: float, old: float, share: float = 0.5) -> float:
    """Log evidence at 100,000 units of both releases together."""
    return float(
        new_rate_log_e(
            [hits], [1e5 * share], [old], [1e5 * (1 - share)], usual_rate=0.01
        )[0]
    )


def test_more_hits_more_evidence() -> None:
    """Evidence rises with the hits of the new release."""
    found = [evidence(k, 0) for k in (5, 10, 20, 40, 80)]
    assert found == sorted(found)


def test_old_hits_lower_evidence() -> None:
    """Evidence falls with the hits of older releases."""
    found = [evidence(60, k) for k in (0, 1, 5, 20, 60)]
    assert found == sorted(found, reverse=True)


def test_small_share_needs_few_hits() -> None:
    """A dozen hits at a share of one percent are proof, at a half they are not."""
    assert evidence(12, 0, share=0.01) > math.log(1000) > evidence(12, 0)


@pytest.mark.parametrize("counts", [(0, 10, 0, 10), (5, 10, 5, 10), (5, 0, 0, 10)])
def test_nothing_higher_is_no_evidence(counts: tuple[float, ...]) -> None:
    """No hits, equal rates, or an arm without exposure: exactly zero."""
    k1, n1, k0, n0 = counts
    assert new_rate_log_e([k1], [n1], [k0], [n0], usual_rate=0.01)[0] == 0.0


def test_rate_without_failures_refused() -> None:
    """The usual rate has to be positive."""
    with pytest.raises(ValueError, match="usual_rate"):
        new_rate_log_e([1], [1], [1], [1], usual_rate=0.0)


def test_rename_leaves_nothing() -> None:
    """Several renamed signatures take up all their heirs."""
    own, expected = [0, 1, 101, 48, 5], [100, 50, 0, 0, 5]
    left = added_hits(own, expected, [False, False, True, True, False])
    assert left.max() <= 2


def test_partial_rename_takes_its_part() -> None:
    """A signature that sank by a half gives what it lacks to the new one."""
    assert added_hits([50, 50], [100, 0], [False, True])[1] == 0
    assert 0 < added_hits([50, 90], [100, 0], [False, True])[1] < 40
    assert added_hits([85, 80], [100, 0], [False, True])[1] == 65


def test_chance_renames_nothing() -> None:
    """A signature below its prediction by what chance explains lacks nothing."""
    assert added_hits([91, 50], [100, 0], [False, True])[1] == 50


def test_likest_name_inherits() -> None:
    """Of two new signatures the one with the likest name is the renamed one."""
    likeness = np.array([[0, 0.9, 0.1], [0, 0, 0], [0, 0, 0]])
    left = added_hits([0, 90, 100], [100, 0, 0], [False, True, True], likeness)
    assert left.tolist() == [0, 0, 90]


def dose(hits: list[float], exposure: list[float]) -> float:
    """The ratio from windows, as the catalogue sums them."""
    logs = sum(k * math.log(n) for k, n in zip(hits, exposure, strict=True))
    return dose_log_ratio(sum(hits), logs, sum(exposure), len(exposure))


def test_growth_with_exposure_is_dose() -> None:
    """Hits that follow a ramp speak for a fault, even ones for a client."""
    ramp = [50.0] * 10 + [250.0] * 10
    assert dose([n / 25 for n in ramp], ramp) > 3
    assert dose([6.0] * 20, ramp) < -3


def test_flat_exposure_tells_no_dose() -> None:
    """Without a change of exposure nothing can be said."""
    assert dose([3.0, 9.0, 1.0], [100.0] * 3) == pytest.approx(0)
    assert dose_log_ratio(0, 0, 0, 0) == 0


def test_few_hits_are_no_addition() -> None:
    """Hits within the play of the split say nothing either way."""
    assert abs(addition_log_ratio(1050, 1000, 20)) < 0.1
    assert addition_log_ratio(100, 0, 20) == 0


def test_one_stratum_is_no_spread() -> None:
    """A single stratum can not show a spread."""
    assert spread_log_ratio([50], [1000]) == 0
    assert spread_log_ratio([50, 0], [1000, 0]) == 0
