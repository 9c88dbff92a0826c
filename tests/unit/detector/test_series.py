"""Which series exist, and that their weights never exceed one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.series import (
    CHOSEN_VALUES_MAX,
    OTHER_VALUE,
    SERIES_MAX,
    STRATA_MAX,
    SeriesSet,
    Strata,
    initial_segments,
    initial_weights,
    late_weight,
    segments_of,
)

LIMITS = (("os", 3), ("region", 2))


def strata_of(*pairs: tuple[str, str]) -> Strata:
    """Strata that have seen these values of os and region."""
    strata = Strata()
    for os, region in pairs:
        strata.number({"os": os, "region": region}, LIMITS, "1")
    return strata


def test_same_values_same_stratum() -> None:
    """A stratum is its attribute values; attributes without a rule do not matter."""
    strata = Strata()
    one = strata.number({"os": "ios", "x": "1"}, LIMITS, "1")
    assert strata.number({"os": "ios", "x": "2"}, LIMITS, "2") == one
    assert strata.number({"os": "android"}, LIMITS, "1") != one


def test_excess_values_become_other() -> None:
    """Values beyond the limit share one stratum and are counted as overflow."""
    strata = strata_of(*((f"os{i}", "eu") for i in range(6)))
    assert strata.values[0] == ["os0", "os1", "os2"]
    assert strata.overflow == 3
    assert (OTHER_VALUE, "eu") in strata.numbers


@pytest.mark.parametrize("release", ["2.4.0", "shop@2.4.0"])
def test_version_attribute_is_no_stratum(release: str) -> None:
    """An attribute that repeats the release's name must not part the arms."""
    strata = Strata()
    own = strata.number({"os": "2.4.0"}, LIMITS, release)
    assert own == strata.number({}, LIMITS, "1")


def test_new_attributes_take_new_numbers() -> None:
    """After a reload no old number means something else."""
    strata = strata_of(("ios", "eu"), ("ios", "us"))
    before = set(strata.numbers.values())
    number = strata.number({"tier": "gold"}, (("tier", 4),), "1")
    assert number not in before
    assert strata.key_of() == {number: ("gold",)}


def test_single_values_make_no_segments() -> None:
    """An attribute that does not vary has no series of its own."""
    strata = strata_of(("ios", "eu"), ("android", "eu"))
    assert set(initial_segments(strata)) == {
        (),
        (("os", "ios"),),
        (("os", "android"),),
    }


def test_all_values_and_pairs() -> None:
    """Two attributes of two values give the whole, four values and four pairs."""
    strata = strata_of(*itertools.product(("ios", "android"), ("eu", "us")))
    sizes = [len(s) for s in initial_segments(strata)]
    assert (sizes.count(0), sizes.count(1), sizes.count(2)) == (1, 4, 4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200))
def test_weights_never_exceed_one(values: int, pairs: int, late: int) -> None:
    """Initial and any number of late weights together sum to at most 1."""
    segments = [
        (),
        *(((f"a{i}", "v"),) for i in range(values)),
        *(((f"a{i}", "v"), (f"b{i}", "v")) for i in range(pairs)),
    ]
    weights = initial_weights(segments)
    reserve = sum(late_weight(g, i) for g in (1, 2) for i in range(late))
    assert min(weights) > 0
    assert sum(weights) + reserve <= 1 + 1e-12


def test_series_are_bounded() -> None:
    """Beyond the limit nothing is opened, the overflow is counted, all is still fed."""
    rows = itertools.count()
    series = SeriesSet()
    for i in range(SERIES_MAX + 20):
        series.feed(i, [(), (("os", f"v{i}"),)], lambda: next(rows))
    assert len(series.series) == SERIES_MAX
    assert series.overflow == 21
    assert all(0 in fed for fed in series.of_stratum.values())


def test_old_stratum_feeds_the_whole() -> None:
    """A key of an earlier enumeration belongs to no value, only to all."""
    assert segments_of(("os", "region"), ()) == [()]


def test_attributes_are_taken_up_unasked() -> None:
    """Without a rule's word the first three attributes of usage are compared within."""
    strata = Strata()
    strata.choose({"zone": "a", "browser": "x", "os": "ios", "build": "7"}, "1")
    assert strata.attrs == ("os", "browser", "zone")
    strata.choose({"region": "eu"}, "1")
    assert strata.attrs == ("os", "browser", "zone")


def test_later_attribute_keeps_old_numbers() -> None:
    """Records without a new attribute stay in the stratum they were in."""
    strata = Strata()
    strata.choose({"os": "ios"}, "1")
    before = strata.number({"os": "ios"}, strata.chosen(), "1")
    strata.choose({"client": "bot", "os": "ios"}, "1")
    assert strata.number({"os": "ios"}, strata.chosen(), "1") == before
    assert strata.number({"os": "ios", "client": "bot"}, strata.chosen(), "1") > before


def test_identifiers_are_no_attributes() -> None:
    """An attribute with more values than make segments gives its place away."""
    strata = Strata()
    for number in range(CHOSEN_VALUES_MAX + 1):
        attrs = {"host": f"h{number}", "os": "ios"}
        strata.choose(attrs, "1")
        strata.number(attrs, strata.chosen(), "1")
    assert strata.attrs == ("os",)
    strata.choose({"host": "h0", "region": "eu"}, "1")
    assert strata.attrs == ("os", "region")


def test_version_is_never_taken_up() -> None:
    """An attribute that repeats the release's name gets no place."""
    strata = Strata()
    strata.choose({"app_version": "2.0", "os": "ios"}, "2.0")
    assert strata.attrs == ("os",)


def test_combinations_are_bounded() -> None:
    """However many combinations come, so many strata and one for the rest are kept."""
    strata = Strata()
    limits = (("a", 256), ("b", 256))
    for number in range(3 * STRATA_MAX):
        strata.number({"a": f"{number % 40}", "b": f"{number // 40}"}, limits, "1")
    assert len(strata.numbers) <= STRATA_MAX + 1
    assert strata.overflow > 0


def test_segment_holds_its_strata() -> None:
    """A stratum is within its values and the whole; an old number in the whole only."""
    strata = Strata()
    limits = (("os", 4), ("region", 4))
    for os in ("ios", "android"):
        strata.number({"os": os, "region": "eu"}, limits, "1")
    within = strata.within((("os", "android"),))
    assert [within(number) for number in (0, 1, 99)] == [False, True, False]
    assert all(map(strata.within(()), (0, 1, 99)))
    assert (("os", "ios"), ("region", "eu")) in strata.segments()[0]
