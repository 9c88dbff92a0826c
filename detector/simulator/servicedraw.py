"""Services of random size, error rate and shape, for populations of releases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from detector.simulator.service import Noise, Service, Stratum

MOBILE_OLDS = (("2.3.1", 0.6), ("2.3.0", 0.3), ("2.2.4", 0.1))
REGIONS = ("eu", "us", "ap", "sa", "me")


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def plain_service(rng: np.random.Generator, **changes: Any) -> Service:
    """A service of some size and error rate with a mild wander that all share."""
    drawn = Service(
        sessions_per_min=log_uniform(rng, 200, 3000),
        error_rate=log_uniform(rng, 0.003, 0.03),
        daily_traffic=rng.uniform(0.1, 0.5),
        wander_traffic=Noise(0.05, 30),
        wander_errors=Noise(rng.uniform(0.02, 0.1), 45),
        clock_h=rng.uniform(0, 168),
    )
    return replace(drawn, **changes)


def lasting_service(rng: np.random.Generator, **changes: Any) -> Service:
    """A service whose sessions last for minutes, some with very many requests."""
    lasting = {
        "requests_per_session": log_uniform(rng, 4, 40),
        "session_min": log_uniform(rng, 1, 40),
        "session_spread": rng.uniform(0.5, 2.0),
    }
    return plain_service(rng, **(lasting | changes))


def regional_service(rng: np.random.Generator, **changes: Any) -> Service:
    """A service of five regions, each with its size, frailty and time of day."""
    strata = tuple(
        Stratum(
            (("region", region),),
            share=rng.uniform(0.5, 2.0),
            frailty=log_uniform(rng, 0.6, 1.7),
            peak_shift_h=rng.uniform(0, 24),
        )
        for region in REGIONS
    )
    return plain_service(rng, strata=strata, window_s=300, **changes)


def routed_service(rng: np.random.Generator) -> Service:
    """A service of twelve routes, the last with a hundredth of the traffic."""
    shares = [*rng.uniform(0.5, 2.0, 11), 0.15]
    strata = tuple(
        Stratum((("route", f"/r{i}"),), share, frailty=log_uniform(rng, 0.5, 2.0))
        for i, share in enumerate(shares)
    )
    return plain_service(rng, strata=strata, sessions_per_min=rng.uniform(2000, 6000))
