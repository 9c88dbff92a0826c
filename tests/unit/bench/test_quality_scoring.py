"""Scores are what their definitions say, on cases small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.quality.scoring import Decision, Outcome, Share, Truth, judge, summarise

BAD = Truth(
    case="c1",
    service="shop",
    suite="s",
    family="f",
    kind="bad",
    release="2",
    is_bad=True,
    is_decidable=True,
    has_exposure=True,
    onset_ms=1000,
    end_ms=9000,
    exposed_at_ms=(2000.0, 4000.0, 8000.0),
    exposed=(10.0, 30.0, 50.0),
    segment={"os": ("android",)},
    cells=(
        {"os": "android", "region": "eu"},
        {"os": "android", "region": "us"},
        {"os": "ios", "region": "eu"},
    ),
    cell_traffic=(0.5, 0.3, 0.2),
)
FINE = replace(BAD, kind="plain", is_bad=False, has_exposure=False, segment={})


def said(at_ms: int, release: str = "2", **segment: str) -> Decision:
    return Decision("shop", release, at_ms, segment or None)


def test_cost_is_exposure_before_decision() -> None:
    """Between two known times the affected sessions are interpolated."""
    found = judge(BAD, [said(3000)])
    assert (found.is_caught, found.delay_ms) == (True, 2000)
    assert found.cost == pytest.approx(20 / 50)


def test_missed_release_costs_everything() -> None:
    """No decision, or one after the end, loses all affected sessions."""
    for decisions in ([], [said(9001)]):
        found = judge(BAD, decisions)
        assert (found.is_caught, found.is_false, found.cost) == (False, False, 1.0)


def test_early_decision_is_false() -> None:
    """Naming the release before its onset catches nothing, whatever follows."""
    found = judge(BAD, [said(5000), said(999)])
    assert (found.is_caught, found.is_false, found.cost) == (False, True, 1.0)


def test_wrong_release_is_false() -> None:
    """A rollback of another release is an error beside the right one."""
    found = judge(BAD, [said(2000, release="1"), said(3000)])
    assert (found.is_caught, found.is_false) == (True, True)


def test_harmless_release_makes_it_false() -> None:
    """Whatever is rolled back in a harmless case is false, and has no cost."""
    assert judge(FINE, [said(3000)]) == Outcome(FINE, False, True)
    assert judge(FINE, []) == Outcome(FINE, False, False)


def test_other_services_do_not_count() -> None:
    """Decisions about another service are nobody's here."""
    assert not judge(FINE, [replace(said(3000), service="other")]).is_false


@pytest.mark.parametrize(
    ("segment", "is_exact"),
    [
        ({"os": "android"}, True),
        ({"os": "ios"}, False),
        ({"os": "android", "region": "eu"}, False),
        ({}, False),
    ],
)
def test_segment_compares_covered_cells(
    segment: dict[str, str], is_exact: bool
) -> None:
    """A segment is exact when it covers the affected cells and no other."""
    assert judge(BAD, [said(3000, **segment)]).is_exact is is_exact


def test_several_values_make_segment() -> None:
    """A truth may name several values of one attribute."""
    wide = replace(BAD, segment={"region": ("eu", "us")})
    assert judge(wide, [said(3000)]).is_exact is True


def test_harm_everywhere_has_no_segment() -> None:
    """Segments are only scored where there is one."""
    assert judge(replace(BAD, segment={}), [said(3000)]).is_exact is None


def test_wilson_interval_matches_tables() -> None:
    """Newcombe (1998), table I: 81 of 263 and 0 of 20."""
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Share(0, 20).interval == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert Share(0, 0).interval == (0.0, 1.0)


def test_summary_counts_by_hand() -> None:
    """Two of three bad ones caught, one of four harmless ones rolled back."""
    caught = judge(BAD, [said(3000, os="android")])
    trap = replace(FINE, kind="trap")
    outcomes = [
        caught,
        caught,
        judge(BAD, []),
        judge(FINE, []),
        judge(FINE, []),
        judge(trap, [said(1)]),
        judge(trap, []),
    ]
    score = summarise(outcomes, seed=1, resamples=200)
    assert (score.power.hits, score.power.total) == (2, 3)
    assert (score.false_plain.hits, score.false_plain.total) == (0, 2)
    assert (score.false_trap.hits, score.false_trap.total) == (1, 2)
    assert score.precision.value == pytest.approx(2 / 3)
    assert score.f1.value == pytest.approx(2 / 3)
    assert score.median_delay_min.value == pytest.approx(2 / 60)
    assert score.cost.value == pytest.approx((0.4 + 0.4 + 1.0) / 3)
    assert score.net.value == pytest.approx(1 - 0.6 - 2 * 0.25)
    assert (score.exact.hits, score.exact.total) == (2, 2)


def test_undecidable_case_costs_nothing() -> None:
    """A bad release that nobody can tell is no part of power, cost and delay."""
    hidden = judge(replace(BAD, is_decidable=False), [])
    score = summarise([hidden, judge(BAD, [said(2000)])], seed=1, resamples=10)
    assert (score.power.hits, score.power.total) == (1, 1)
    assert score.cost.value == pytest.approx(0.2)


def test_bootstrap_repeats_with_seed() -> None:
    """Equal seeds give equal intervals, and the interval holds the value."""
    outcomes = [judge(BAD, [said(1000 + 500 * i)]) for i in range(12)]
    outcomes += [judge(FINE, [])] * 5
    first = summarise(outcomes, seed=7, resamples=300)
    assert first == summarise(outcomes, seed=7, resamples=300)
    net = first.net
    low, value, high = net.low or 1.0, net.value or 0.0, net.high or 0.0
    assert low < value < high


def test_nothing_said_has_no_precision() -> None:
    """Who never rolls back has no precision, no delay, and a net of 0."""
    score = summarise([judge(BAD, []), judge(FINE, [])], seed=1, resamples=10)
    assert score.precision.value is None
    assert score.median_delay_min.value is None
    assert score.net.value == pytest.approx(0.0)
