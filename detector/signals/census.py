"""All failure signatures of a release beside those of the releases before it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.catalogue import Catalogue, Entry, Novelty
from detector.evidence.types import BoolArray, FloatArray

Aside = dict[int, frozenset[int]]
"""Numbers of the signatures set aside, by stratum."""

OLD_SHARE_MAX = 0.02
"""Share of a new signature's rate that older releases may have shown."""

STRATUM_MIN_UNITS = 20.0
"""Exposure of older releases that makes a stratum comparable: where they never
were (a route only the new release has, or only a scanner asks for), nothing is new."""

CONCURRENT_MIN = 0.03
"""Exposure of the control beside the release's from which it is the measure;
below it, the control's past is."""


class Census(NamedTuple):
    """Signatures in the strata where older releases had exposure.

    Arrays of shape (signatures,): ``own`` and ``old`` units hit in the release and
    in all others, ``expected`` what the control's rates predict for the release,
    ``fresh`` which are new. ``concurrent``: the rates come from beside the release,
    not from its past.
    """

    numbers: list[int]
    own: FloatArray
    old: FloatArray
    expected: FloatArray
    fresh: BoolArray
    exposure_own: float
    exposure_old: float
    concurrent: bool


class Basis(NamedTuple):
    """The control's exposure per stratum and from when on its hits count."""

    exposure: dict[int, float]
    units_before: dict[tuple[int, int, int], float]
    concurrent: bool


def take_census(
    catalogue: Catalogue,
    before: Novelty,
    release: int,
    control: frozenset[int],
    aside: Aside,
) -> Census:
    """Count the signatures of a release, without those set aside.

    ``before`` is `Catalogue.begin` at the start of the watch, ``control`` the numbers
    of the releases that were live then.
    """
    mine: dict[int, float] = {}
    older: dict[int, float] = {}
    for (owner, stratum), ground in sorted(catalogue.ground.items()):
        side = mine if owner == release else older
        side[stratum] = side.get(stratum, 0.0) + ground.exposure
    exposure = {
        s: mine[s] for s in sorted(mine) if older.get(s, 0.0) >= STRATUM_MIN_UNITS
    }
    basis = _basis(catalogue, before, control, exposure)
    numbers = sorted(catalogue.entries)
    rows = []
    for number in numbers:
        kept = {s: n for s, n in exposure.items() if number not in aside.get(s, ())}
        entry = catalogue.entries[number]
        own, old = _hits(entry, release, kept)
        rows.append((own, old, _due(number, entry, control, kept, basis)))
    own_hits, old_hits, due = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    all_own, all_old = sum(exposure.values()), sum(older[s] for s in exposure)
    known = np.array([catalogue.entries[n].known for n in numbers], dtype=np.bool_)
    rarer = old_hits * all_own <= OLD_SHARE_MAX * own_hits * all_old
    fresh = ~known & (own_hits > 0) & rarer
    return Census(
        numbers, own_hits, old_hits, due, fresh, all_own, all_old, basis.concurrent
    )


def _hits(entry: Entry, release: int, strata: dict[int, float]) -> tuple[float, float]:
    """Units hit in the release and in all others, in these strata."""
    own = old = 0.0
    for (owner, stratum), place in sorted(entry.places.items()):
        if stratum in strata:
            if owner == release:
                own += place.units
            else:
                old += place.units
    return own, old


def _basis(
    catalogue: Catalogue,
    before: Novelty,
    control: frozenset[int],
    exposure: dict[int, float],
) -> Basis:
    """The control beside the release where it has exposure, else its whole past."""
    whole = dict.fromkeys(exposure, 0.0)
    beside = dict.fromkeys(exposure, 0.0)
    for key, ground in sorted(catalogue.ground.items()):
        if key[0] in control and key[1] in whole:
            whole[key[1]] += ground.exposure
            beside[key[1]] += ground.exposure - before.exposure.get(key, 0.0)
    if sum(beside.values()) >= CONCURRENT_MIN * sum(exposure.values()):
        return Basis(beside, before.units, concurrent=True)
    return Basis(whole, {}, concurrent=False)


def _due(
    number: int,
    entry: Entry,
    control: frozenset[int],
    exposure: dict[int, float],
    basis: Basis,
) -> float:
    """Units that the control's rate predicts for the release."""
    hits = dict.fromkeys(exposure, 0.0)
    for key, place in sorted(entry.places.items()):
        if key[0] in control and key[1] in hits:
            hits[key[1]] += place.units - basis.units_before.get((number, *key), 0.0)
    return sum(
        units * hits[s] / basis.exposure[s]
        for s, units in exposure.items()
        if basis.exposure[s] > 0
    )
