"""Power from counts: the kernel's own evidence, judged as the rules say."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import msgspec
import numpy as np
import pytest

from detector.combine import release_log_e, release_log_es
from detector.power import (
    Begun,
    Cell,
    begun_of,
    errors_share,
    learn,
    plain_traffic,
    plan,
    simulate,
    smallest,
)
from detector.power.simulate import steps_s
from detector.replay import Replay
from detector.rulefile import Rule, load_rules
from detector.simulate import Shop, ramp
from detector.simulate_trials import START_MS

RULE = Rule(name="all")
SHOP = plain_traffic(2000, 0.01)


def test_windows_tile_the_time_and_grow_with_age() -> None:
    """Every window begins where the last one ended, whole multiples of 10 s."""
    steps = list(steps_s(10, 86_400))
    assert steps[0] == (0, 10)
    assert all(a[1] == b[0] for a, b in pairwise(steps))
    assert all((end - start) % 10 == 0 for start, end in steps)
    assert steps[-1][1] >= 86_400
    assert len(steps) < 300


def test_a_large_harm_waits_for_persistence_and_grace_only() -> None:
    """Ten times the failures of half the traffic: 180 s, two windows, 20.5 s.

    Of 50 releases more than 25 are later than 240 s with probability below 1e-6:
    in 4,000 other draws none was.
    """
    (found,) = simulate(
        [Cell(10.0, 0.5)], SHOP, RULE, releases=50, horizon_s=900, seed=1
    )
    assert (found.evidence_s <= 60).sum() > 25
    assert 180 <= np.median(found.locked_s) <= 220
    assert np.allclose(found.decided_s - found.locked_s, 20.5)


def test_nobody_decides_below_the_least_exposure() -> None:
    """A release of five sessions a minute has 100 after 20 minutes."""
    traffic = plain_traffic(100, 0.2)
    (found,) = simulate(
        [Cell(4.0, 0.05)], traffic, RULE, releases=50, horizon_s=600, seed=2
    )
    assert np.isinf(found.evidence_s).all()


def test_a_release_at_the_margin_is_not_taken_back() -> None:
    """Of 100 releases 1.25 times as bad at most 6 are, P <= .0025 each: P < 1e-6."""
    (found,) = simulate(
        [Cell(1.25, 0.5)], SHOP, RULE, releases=100, horizon_s=7200, seed=3
    )
    assert (found.decided_s < inf).sum() <= 6


def test_same_seed_same_answer() -> None:
    """Nothing but the seed chooses."""
    first, again = (
        plan(SHOP, RULE, ratios=(4.0,), shares=(0.05,), releases=20, seed=4)
        for _ in range(2)
    )
    assert first == again


def test_a_release_under_way_is_known_sooner() -> None:
    """One that has served an hour with twice the failures is over the line already."""
    hour = Begun(3600, 60_000 * 0.25, 300, 60_000 * 0.75, 450)
    cell = Cell(2.0, 0.25)
    fresh, running = (
        simulate([cell], SHOP, RULE, releases=40, horizon_s=600, seed=5, begun=begun)[0]
        for begun in (None, hour)
    )
    assert (running.decided_s <= 120).sum() > 30
    assert (fresh.decided_s <= 120).sum() == 0


def test_smallest_effect_lies_between_its_neighbours() -> None:
    """More is found where more of the traffic is the release's."""
    times = (900, 3600)
    answers = plan(
        SHOP,
        RULE,
        ratios=(1.5, 2.0, 4.0),
        shares=(0.05, 0.5),
        times_s=times,
        releases=60,
        seed=6,
    )
    found = smallest(SHOP, RULE, answers, place=1, releases=60, seed=6)
    ratio = {(one.share, one.level): one.ratio or inf for one in found}
    assert 1.25 < ratio[0.5, 0.8] < ratio[0.05, 0.8] <= ratio[0.05, 0.95] < 4.0


def test_errors_share_follows_the_weights_of_the_rule() -> None:
    """Latency has half the weight of errors by default."""
    assert errors_share(RULE, ["errors"]) == 1.0
    assert errors_share(RULE, ["errors", "latency"]) == pytest.approx(2 / 3)


def test_many_releases_combine_as_one_does() -> None:
    """Row by row the same number, with and without spare weight."""
    log_e = np.array([[3.0, -1.0, 0.5], [-4.0, -2.0, -9.0]])
    for weights in (np.array([0.5, 0.25, 0.25]), np.array([0.5, 0.2, 0.1])):
        each = [release_log_e(row, weights) for row in log_e]
        assert np.allclose(release_log_es(log_e, weights), each)


@pytest.fixture(scope="module")
def replayed() -> Replay:
    """Forty minutes of a shop, half of them with a release."""
    shop = Shop(weight=ramp([(120, 0.2)]), arrival_lag_ms=0)
    rules = load_rules(
        "version: 1\nrules:\n  - name: all\nend_of_rules: true\n", source="all"
    )
    run = Replay(rules)
    windows = shop.windows(np.random.default_rng(7), START_MS, 240)
    lines = [msgspec.json.encode(each) for each in windows if each]
    run.partition.apply(run.records(lines))
    return run


def test_traffic_is_learnt_from_what_the_core_counted(replayed: Replay) -> None:
    """4,800 sessions a minute, 1 % fail, four strata with the shares of the shop.

    Failures: 1,900 expected in 190,000; five standard deviations are .115 %.
    """
    traffic = learn(replayed.partition, "shop")
    assert traffic.sessions_per_min == pytest.approx(4800, rel=0.05)
    assert traffic.error_rate == pytest.approx(0.01, abs=0.00115)
    assert len(traffic.parts) == 4
    assert len(traffic.series()[0]) == 9
    found = {dict(p.attrs)["os"] + dict(p.attrs)["region"]: p for p in traffic.parts}
    assert found["androideu"].share == pytest.approx(0.35, abs=0.02)


def test_what_a_release_has_so_far(replayed: Replay) -> None:
    """Twenty minutes at a fifth of the traffic."""
    begun = begun_of(replayed.partition, "shop", "2.4.0")
    assert begun.age_s == pytest.approx(1200, abs=60)
    assert begun.share == pytest.approx(0.2, abs=0.02)


def test_unknown_names_are_answered_with_the_known_ones(replayed: Replay) -> None:
    """The message names what there is."""
    with pytest.raises(LookupError, match="it has shop"):
        learn(replayed.partition, "shoop")
    with pytest.raises(LookupError, match=r"2\.4\.0"):
        begun_of(replayed.partition, "shop", "9.9")


@pytest.mark.parametrize("windows", [100, 119])
def test_half_filled_bins_do_not_thin_the_traffic(windows: int) -> None:
    """A history that ends (or begins) within a bin tells the same sessions a minute."""
    text = "version: 1\nrules:\n  - name: all\nend_of_rules: true\n"
    run, sent = Replay(load_rules(text, source="all")), 0
    shop = Shop(service="shop", weight=ramp([(5, 0.3)]))
    steps = list(shop.windows(np.random.default_rng(3), START_MS + 200_000, windows))
    for records in steps:
        sent += sum(r["sessions"] for r in records if r["kind"] == "usage")
        run.partition.apply(run.records([msgspec.json.encode(records)]))
    found = learn(run.partition, "shop").sessions_per_min
    # Hundreds of sessions a window: 5 % is beyond seven of its standard deviations.
    assert found == pytest.approx(sent / windows * 6, rel=0.05)
