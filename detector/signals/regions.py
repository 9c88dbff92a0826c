"""Errors of the regions a wave has reached against those it has not, over time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence.panel import Panel, Spreads
from detector.evidence.regions import NEVER, THRESHOLD, Excess, wave_excess
from detector.evidence.types import BoolArray, FloatArray, IntArray
from detector.findings import Finding
from detector.ledger import BAD, DAY_MS, UNITS, Table
from detector.releases import Release
from detector.scope import Scope
from detector.sight import Sight
from detector.signals.errors import UNIT_WORDS

NAME = "regions"
HOUR_MS = 3_600_000
PAST_MIN_MS = HOUR_MS
"""Shorter pasts say nothing about how regions differ."""

Z95 = 1.959963984540054
Region = tuple[str, ...]


class Wave(NamedTuple):
    """Which regions a release has reached, and when each turned."""

    attrs: tuple[str, ...]
    flipped_ms: dict[Region, int]

    @property
    def first_ms(self) -> int:
        """When the first region turned."""
        return min(self.flipped_ms.values())


def look(sight: Sight) -> list[Finding]:
    """What the regions say after this window: nothing, unless this is a wave."""
    wave = wave_of(sight.release)
    ledger = sight.scope.ledger
    if wave is None or not ledger.coarse_ms:
        return []
    end_ms = sight.now_ms // ledger.coarse_ms * ledger.coarse_ms
    # Nothing changes before the next bin is full.
    flips = wave.attrs, tuple(sorted(wave.flipped_ms.items()))
    at = end_ms, flips, sight.scope.strata.attrs, sight.scope.strata.next_number
    known: tuple[object, list[Finding]] | None = sight.cache.get(NAME)
    if known is None or known[0] != at:
        known = at, _look_at(sight, wave, end_ms)
        sight.cache[NAME] = known
    return known[1]


def wave_of(release: Release) -> Wave | None:
    """The parts of the fleet that flips named, if all name the same attributes."""
    attrs = {tuple(name for name, _ in part) for _, part in release.flips}
    if len(attrs) != 1:
        return None
    flipped: dict[Region, int] = {}
    for at_ms, part in release.flips:
        region = tuple(value for _, value in part)
        flipped[region] = min(at_ms, flipped.get(region, at_ms))
    return Wave(attrs.pop(), flipped)


def region_of(scope: Scope, attrs: tuple[str, ...]) -> dict[int, Region]:
    """Region of each stratum; empty where strata do not know the attributes."""
    if not set(attrs) <= set(scope.strata.attrs):
        return {}
    places = [scope.strata.attrs.index(name) for name in attrs]
    return {
        number: tuple(key[place] for place in places)
        for number, key in scope.strata.key_of().items()
    }


def flip_bins(regions: list[Region], wave: Wave, end_ms: int, bin_ms: int) -> IntArray:
    """First bin of each region that is mostly the release's, counted from time 0.

    A flip after ``end_ms`` has not been seen yet.
    """
    bins = [
        (at_ms + bin_ms // 2) // bin_ms
        if (at_ms := wave.flipped_ms.get(region, end_ms)) < end_ms
        else NEVER
        for region in regions
    ]
    return np.array(bins, dtype=np.int64)


def by_region(
    table: Table,
    region_of_stratum: dict[int, Region],
    regions: list[Region],
    own: int,
    turned: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """Failures and units of each region and bin, each of shape (regions, bins).

    From its flip on (``turned``) a region is the release's own traffic, before it
    whatever else there was.
    """
    place = {region: i for i, region in enumerate(regions)}
    bad, units = np.zeros(turned.shape), np.zeros(turned.shape)
    for row, (release, stratum) in enumerate(table.keys):
        region = region_of_stratum.get(stratum)
        if region is None or region not in place:
            continue
        i = place[region]
        counted = turned[i] if release == own else ~turned[i]
        bad[i] += np.where(counted, table.values[row, :, BAD], 0.0)
        units[i] += np.where(counted, table.values[row, :, UNITS], 0.0)
    return bad, units


def _look_at(sight: Sight, wave: Wave, end_ms: int) -> list[Finding]:
    bin_ms = sight.scope.ledger.coarse_ms
    start_ms = sight.scope.ledger.oldest_ms()
    if start_ms < 0 or wave.first_ms - start_ms < max(PAST_MIN_MS, 2 * bin_ms):
        return []
    region_of_stratum = region_of(sight.scope, wave.attrs)
    regions = sorted(set(region_of_stratum.values()))
    if len(regions) < 2 or not wave.flipped_ms.keys() & set(regions):
        return []
    flips = flip_bins(regions, wave, end_ms, bin_ms)
    table = sight.scope.ledger.table(start_ms, end_ms)
    numbers = (table.ends_ms - 1) // bin_ms
    turned = numbers[None, :] >= flips[:, None]
    bad, units = by_region(
        table, region_of_stratum, regions, sight.release.number, turned
    )
    panel = Panel.of(bad, units, DAY_MS // bin_ms, max(1, HOUR_MS // bin_ms))
    since = np.where(flips == NEVER, NEVER, flips - start_ms // bin_ms)
    margin = sight.rule.signals["errors"].margin
    found = wave_excess(
        panel, since, len(numbers), math.log(margin), _spreads(sight, wave, start_ms)
    )
    if found is None:
        return []
    onset_ms = min(wave.flipped_ms[regions[i]] for i in found.treated)
    return [_finding(sight, found, onset_ms, margin)]


def _spreads(sight: Sight, wave: Wave, start_ms: int) -> Spreads:
    """Spreads learnt from this very past; another past has others."""
    key = f"{NAME}.spreads"
    strata = sight.scope.strata
    past = start_ms, wave.first_ms, strata.attrs, strata.next_number
    known: tuple[object, Spreads] | None = sight.cache.get(key)
    if known is None or known[0] != past:
        known = past, {}
        sight.cache[key] = known
    return known[1]


def _finding(sight: Sight, found: Excess, onset_ms: int, margin: float) -> Finding:
    reach = Z95 * found.error
    limits = (found.log_ratio - reach, found.log_ratio, found.log_ratio + reach)
    return Finding(
        signal="errors",
        control="regions",
        guarantee="empirical",
        reason="error_rate_up",
        z=found.z,
        threshold=THRESHOLD,
        fires=found.z >= THRESHOLD and found.present,
        segment=(),
        ratio=(math.exp(limits[0]), math.exp(limits[1]), math.exp(limits[2])),
        counts=(found.units, found.bad, found.units, found.expected),
        onset_ms=onset_ms,
        unit=UNIT_WORDS[sight.watch.errors.way],
        margin=margin,
        detail=f"{len(found.treated)} regions, {found.predictor}",
    )
