"""The simulated shop: valid, seeded, and as bad as its fields say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detector.decode import decode
from detector.records import Rejected
from detector.simulate import Shop, burst, constant, daily, product, ramp

START_MS = 1_795_356_000_000
ANDROID = (("os", "android"),)


def count(records: list[dict[str, object]], kind: str, release: str) -> int:
    """Sessions of a kind and release."""
    return sum(
        int(str(r["sessions"]))
        for r in records
        if r["kind"] == kind and r["release"] == release
    )


def whole(shop: Shop, seed: int, windows: int) -> list[dict[str, object]]:
    """All records of a run."""
    rng = np.random.default_rng(seed)
    return [r for w in shop.windows(rng, START_MS, windows) for r in w]


def test_same_seed_same_records() -> None:
    """Everything is drawn from the generator that was given."""
    assert whole(Shop(), 5, 40) == whole(Shop(), 5, 40)
    assert whole(Shop(), 5, 40) != whole(Shop(), 6, 40)


def test_records_are_valid_events() -> None:
    """Aggregates and single events pass the decoder of the log."""
    shop, rng = Shop(sessions_per_window=50.0), np.random.default_rng(1)
    records = whole(shop, 1, 40) + list(shop.events(rng, START_MS, 31))
    found = decode(json.dumps(records).encode())
    assert len(found) == len(records)
    assert not [f for f in found if isinstance(f, Rejected)]


def test_harm_is_as_large_as_asked() -> None:
    """The candidate fails more often by the factor asked for, in its segment.

    About 1,500 failures expected in the arm: a correct program is off by a quarter
    (10 standard errors) with a probability below 1e-12.
    """
    shop = Shop(harm=constant(5.0), weight=constant(0.5), sessions_per_window=2000.0)
    records = whole(shop, 7, 30)
    rates = {
        name: count(records, "error", name) / count(records, "usage", name)
        for name in ("2.3.1", "2.4.0")
    }
    assert rates["2.4.0"] / rates["2.3.1"] == pytest.approx(5.0, rel=0.3)


def test_harm_stays_in_its_segment() -> None:
    """Outside the segment both releases have the same rate."""
    shop = Shop(harm=constant(5.0), harm_segment=ANDROID)
    assert shop.rates(40, (("os", "ios"), ("region", "eu"))) == (0.01, 0.01)
    assert shop.rates(40, (("os", "android"), ("region", "eu")))[1] == 0.05


def test_deploys_mark_the_ramp() -> None:
    """The first positive weight is the start, each change a step."""
    shop = Shop(weight=ramp([(3, 0.1), (6, 0.5)]))
    steps = [r for r in whole(shop, 1, 10) if r["kind"] == "deploy"]
    assert [(s["phase"], s["weight"]) for s in steps] == [
        ("started", 0.1),
        ("progressed", 0.5),
    ]


def test_curves_have_their_shapes() -> None:
    """Ramp, burst, day and product are what their names say."""
    assert [ramp([(1, 0.2)])(i) for i in range(3)] == [0.0, 0.2, 0.2]
    assert [burst(1, 2, 9.0)(i) for i in range(3)] == [1.0, 9.0, 1.0]
    day = daily(0.4, 3600)
    assert [round(day(i), 6) for i in (0, 6, 18)] == [1.0, 1.4, 0.6]
    assert product(constant(2.0), constant(3.0))(0) == 6.0


def test_rates_stay_below_one() -> None:
    """Whatever the factors, a share of failed sessions is a share."""
    shop = Shop(error_rate=0.9, harm=constant(1e9), ambient=constant(1e9))
    assert max(shop.rates(0, ())) <= 0.9
