"""Sampled arms: which counts compare without bias, and which do not."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evidence.thinning import hit_units, sampled_alike

SERVICES = 200_000


def kept(rng: np.random.Generator, users: int, mean: float, rate: float):
    """Distinct users and events that survive, of users with 1 + Poisson events."""
    events = rng.binomial(1 + rng.poisson(mean - 1, users), rate)
    return float((events > 0).sum()), float(events.sum())


@pytest.mark.parametrize(
    ("candidate", "control", "alike"),
    [(1.0, 1.0, True), (0.1, 0.1 + 1e-9, True), (0.1, 0.11, False), (0.05, 1.0, False)],
)
def test_unequal_rates_are_told(candidate: float, control: float, alike: bool) -> None:
    """Only the same rate thins distinct units alike."""
    assert sampled_alike(candidate, control) is alike


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    """A share that survived lies above 0 and at most at 1."""
    with pytest.raises(ValueError, match="survived"):
        sampled_alike(rate, 1.0)


@pytest.mark.parametrize(("rate_t", "rate_c"), [(0.1, 1.0), (1.0, 0.1), (0.5, 0.5)])
def test_equal_arms_never_look_worse(rate_t: float, rate_c: float) -> None:
    """Without a difference the candidate's hits do not exceed their exposure.

    The ratio's standard deviation is below .01; a correct program is 5 of them
    above 1.05 with probability below 1e-6.
    """
    rng = np.random.default_rng(8)
    users_t, events_t = kept(rng, SERVICES, 3.0, rate_t)
    users_c, events_c = kept(rng, SERVICES, 3.0, rate_c)
    hits = float(hit_units(users_t, events_t, users_c, events_c)[0])
    assert (hits / rate_t) / (users_c / rate_c) <= 1.05


def test_plain_user_counts_would_err() -> None:
    """Users over their rate double in the arm that is sampled more thinly."""
    rng = np.random.default_rng(8)
    thin, _ = kept(rng, SERVICES, 3.0, 0.1)
    whole, _ = kept(rng, SERVICES, 3.0, 1.0)
    assert thin / 0.1 > 2 * whole


def test_doubled_harm_stays_visible() -> None:
    """Twice the failing users at a lower rate count as nearly twice the hits."""
    rng = np.random.default_rng(9)
    users_t, events_t = kept(rng, 2 * SERVICES, 2.0, 0.2)
    users_c, events_c = kept(rng, SERVICES, 2.0, 1.0)
    hits = float(hit_units(users_t, events_t, users_c, events_c)[0])
    assert (hits / 0.2) / users_c == pytest.approx(2.0, rel=0.03)


def test_loops_do_not_count_twice() -> None:
    """A thousand events of three users are three users."""
    assert hit_units(3, 1000, 50, 60).tolist() == [3.0]


def test_no_control_events_leave_users() -> None:
    """Without the control's footing the candidate's users stand."""
    assert hit_units([3, 0], [7, 0], [0, 0], [0, 0]).tolist() == [3.0, 0.0]
