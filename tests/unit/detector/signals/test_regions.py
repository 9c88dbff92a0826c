"""Waves in a scope: which regions count, from when on, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

from detector.evidence.regions import NEVER
from detector.ledger import DAY_MS, Values
from detector.releases import Release
from detector.rulefile.model import BUILT_IN_RULE
from detector.scope import Scope, Watch
from detector.sight import Sight
from detector.signals.regions import (
    HOUR_MS,
    Wave,
    by_region,
    flip_bins,
    look,
    region_of,
    wave_of,
)
from detector.tracks import open_tracks
from detector.windows import OpenWindow

WIDTH_MS = 300_000
START_MS = 1_795_356_000_000 // DAY_MS * DAY_MS
FLIP_MS = START_MS + DAY_MS + 6 * HOUR_MS
REGIONS = ("ap", "eu", "sa", "us")
OLD, NEW = 1, 2


def world(
    factor: float,
    *,
    hours: float = 1.0,
    reached: tuple[str, ...] = ("eu",),
    attrs: tuple[str, ...] = ("region",),
) -> Sight:
    """A wave whose first regions turned that long ago, with that rate ratio there."""
    rng = np.random.default_rng(11)
    scope = Scope("shop", "production", WIDTH_MS)
    for name in ("1.0", "2.0"):
        scope.registry.admit(name, START_MS)
    release = scope.registry.releases["2.0"]
    release.started_ms = FLIP_MS
    release.flips = [(FLIP_MS, (("region", name),)) for name in reached]
    scope.ledger.set_width(WIDTH_MS)
    end_ms = FLIP_MS + int(hours * HOUR_MS)
    limits = tuple((name, 9) for name in attrs)
    for at_ms in range(START_MS + WIDTH_MS, end_ms + 1, WIDTH_MS):
        for name in REGIONS:
            stratum = scope.strata.number({"region": name}, limits, "2.0")
            turned = name in reached and at_ms > FLIP_MS
            bad = float(rng.poisson(100 * (factor if turned else 1.0)))
            key = (NEW if turned else OLD, stratum)
            scope.ledger.add(at_ms, key, Values(10_000.0, bad, 10_000.0, 1.0))
    rule = BUILT_IN_RULE
    watch = scope.watches["2.0"] = watching(scope)
    return Sight(scope, watch, release, rule, end_ms, OpenWindow(end_ms), {}, {})


def watching(scope: Scope) -> Watch:
    """A watch with the signals of the built-in rule."""
    return Watch(release="2.0", tracks=open_tracks(scope, BUILT_IN_RULE))


def test_bad_wave_is_found() -> None:
    """A release that triples the failures of the region it took is reported."""
    (found,) = look(world(3.0))
    assert found.fires
    assert (found.control, found.guarantee) == ("regions", "empirical")
    assert found.ratio[0] < 3 < found.ratio[2]
    assert found.onset_ms == FLIP_MS
    assert found.counts[1] > 2 * found.counts[3]


def test_good_wave_is_left_alone() -> None:
    """A release that changes nothing does not fire."""
    assert not any(found.fires for found in look(world(1.0)))


def test_strategy_without_parts_says_nothing() -> None:
    """A release that names no part of the fleet is not compared by regions."""
    sight = world(3.0)
    sight.release.flips = []
    assert look(sight) == []


def test_unknown_attribute_says_nothing() -> None:
    """Where strata do not tell regions apart there are none to compare."""
    assert look(world(3.0, attrs=("os",))) == []


def test_mixed_attributes_make_no_wave() -> None:
    """Parts named by different attributes cannot be lined up."""
    release = Release("2.0", NEW, START_MS)
    release.flips = [(1, (("region", "eu"),)), (2, (("ring", "1"),))]
    assert wave_of(release) is None


def test_earliest_flip_of_region_counts() -> None:
    """A region named twice turned the first time."""
    release = Release("2.0", NEW, START_MS)
    release.flips = [(5, (("region", "eu"),)), (9, (("region", "eu"),))]
    assert wave_of(release) == Wave(("region",), {("eu",): 5})


@pytest.mark.parametrize(("at_ms", "first"), [(1000, 10), (1040, 10), (1060, 11)])
def test_bin_belongs_to_most_of_it(at_ms: int, first: int) -> None:
    """A bin is the release's when most of it lies behind the flip."""
    wave = Wave(("region",), {("eu",): at_ms})
    assert flip_bins([("eu",), ("us",)], wave, 5000, 100).tolist() == [first, NEVER]


def test_future_flip_is_not_known() -> None:
    """A flip after the newest bin has not been seen."""
    wave = Wave(("region",), {("eu",): 900})
    assert flip_bins([("eu",)], wave, 900, 100).tolist() == [NEVER]


def test_turned_regions_are_the_release() -> None:
    """Before a flip a region is the old releases, after it the new one alone."""
    sight = world(1.0)
    ledger, regions = sight.scope.ledger, [(name,) for name in REGIONS]
    ledger.add(sight.now_ms, (OLD, 1), Values(500.0, 5.0, 500.0, 1.0))
    table = ledger.table(START_MS, sight.now_ms)
    turned = np.zeros((len(regions), len(table.ends_ms)), dtype=bool)
    turned[1] = table.ends_ms > FLIP_MS
    places = region_of(sight.scope, ("region",))
    _, units = by_region(table, places, regions, NEW, turned)
    assert (units == 10_000).all()


def test_look_waits_for_whole_bin() -> None:
    """Between two bins the same is said without looking again."""
    sight = world(3.0)
    first = look(sight)
    assert look(sight._replace(now_ms=sight.now_ms + 1000)) is first


def test_look_survives_lost_cache() -> None:
    """Without the cache the same is said."""
    sight = world(2.0)
    assert look(sight) == look(sight._replace(cache={}))
