"""Order statistics: the same bits as those of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evidence.order import median, quantile


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 100, 499, 500])
def test_medians_are_those_of_numpy(size: int) -> None:
    """Of any number of values, odd or even, to the last bit."""
    values = np.random.default_rng(size).lognormal(size=size)
    assert median(values) == np.median(values)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 0.8, 0.85, 1.0])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 77, 500])
def test_quantiles_are_those_of_numpy(size: int, share: float) -> None:
    """Interpolated like numpy does it, to the last bit."""
    values = np.random.default_rng(size).normal(size=size)
    assert quantile(values, share) == np.quantile(values, share)
