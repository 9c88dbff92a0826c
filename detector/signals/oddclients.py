"""Which signatures of a release are the doing of a few odd clients, in which stratum.

A scanner or a client in a loop makes many events per user, in one place, whatever
the release's share of the traffic. Its failures would weigh like those of ordinary
users, so they are set aside until something shows that they grow with the exposure.
What is set aside is reported for people to look at, never dropped silently.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from detector.catalogue import Catalogue, CellReading, Ground, Key, Place
from detector.counting import WAYS, read_cell
from detector.evidence.novelty import (
    addition_log_ratio,
    dose_log_ratio,
    spread_log_ratio,
)
from detector.releases import Release
from detector.signals.census import Aside
from detector.windows import Cell, OpenWindow

EVENTS_PER_USER_MIN = 2.5
OVER_USUAL_MIN = 2.0
"""Events per user from which a signature is odd: so many, and so many times what
the service's own failures have (statistics-controls 6)."""

USUAL_PRIOR_USERS = 3.0
"""Users with one event each that the usual number is shrunk towards."""

ORDINARY_NATS = math.log(20.0)
"""Evidence from which hits count as those of ordinary users after all."""

ELSEWHERE_MIN_UNITS = 20.0
"""Exposure of each arm outside the stratum from which its split says something."""


def read_window(
    window: OpenWindow, releases: Iterable[Release]
) -> dict[Key, CellReading]:
    """Every cell of a closed window in its best way of counting."""
    ways = {key: _way_of(cell) for key, cell in window.cells.items()}
    exposure = {key: units for key, (_, units) in ways.items()}
    expected: dict[Key, float] = {}
    for release in releases:
        expected |= _expected(exposure, release)
    return {
        key: CellReading(units, expected.get(key), way, window.cells[key].signatures)
        for key, (way, units) in ways.items()
    }


def _way_of(cell: Cell) -> tuple[str, float]:
    arm = read_cell(cell)
    for way, usable, units in zip(WAYS, arm.usable, arm.units, strict=True):
        if usable and units > 0:
            return way, units * arm.usage_weight
    return WAYS[-1], 0.0


def _expected(exposure: dict[Key, float], release: Release) -> dict[Key, float]:
    """The release's exposure per stratum, were traffic split there as elsewhere."""
    own: dict[int, float] = {}
    rest: dict[int, float] = {}
    for (number, stratum), units in sorted(exposure.items()):
        side = own if number == release.number else rest
        side[stratum] = side.get(stratum, 0.0) + units
    joint = [s for s in own if own[s] > 0 and rest.get(s, 0.0) > 0]
    all_own, all_rest = sum(own[s] for s in joint), sum(rest[s] for s in joint)
    found: dict[Key, float] = {}
    for stratum in joint:
        mine, theirs = all_own - own[stratum], all_rest - rest[stratum]
        odds = _planned_odds(release)
        if min(mine, theirs) >= ELSEWHERE_MIN_UNITS:
            odds = mine / theirs
        if odds is not None:
            found[(release.number, stratum)] = rest[stratum] * odds
    return found


def _planned_odds(release: Release) -> float | None:
    share = release.weight
    return share / (1.0 - share) if share is not None and 0 < share < 1 else None


def set_aside(catalogue: Catalogue, release: int) -> Aside:
    """Signatures that are not counted as failures of a release, by stratum.

    A signature is set aside where its excess over the other releases has many
    events per user, and neither its spread over strata, nor its growth with the
    exposure, nor the exposure itself shows that ordinary users are hit. Looks at
    closed windows only; call it after ``Catalogue.close`` of the newest one.
    """
    suspects = [
        (number, stratum, place)
        for number, stratum, place in catalogue.places(release)
        if place.events >= EVENTS_PER_USER_MIN * place.persons
    ]
    if not suspects:
        return {}
    usual = _usual(catalogue, release)
    found: dict[int, set[int]] = {}
    for number, stratum, place in suspects:
        if _is_odd(catalogue, release, number, stratum, usual) and not _is_ordinary(
            catalogue, release, number, stratum, place
        ):
            found.setdefault(stratum, set()).add(number)
    return {stratum: frozenset(numbers) for stratum, numbers in found.items()}


def _usual(catalogue: Catalogue, release: int) -> float:
    """Events per user of the service's own failures, in all other releases."""
    events = persons = USUAL_PRIOR_USERS
    for entry in catalogue.entries.values():
        for (owner, _), place in entry.places.items():
            if owner != release:
                events += place.events
                persons += place.persons
    return events / persons


def _is_odd(
    catalogue: Catalogue, release: int, number: int, stratum: int, usual: float
) -> bool:
    """Whether the excess of a signature has far more events per user than usual."""
    entry = catalogue.entries[number]
    mine = entry.places[(release, stratum)]
    ground = catalogue.ground.get((release, stratum), Ground())
    events = persons = exposure = 0.0
    for (owner, where), other in sorted(catalogue.ground.items()):
        if owner == release or where != stratum:
            continue
        exposure += other.exposure
        place = entry.places.get((owner, where))
        if place is not None:
            events += place.events
            persons += place.persons
    scale = ground.exposure / exposure if exposure > 0 else 0.0
    more_events = mine.events - events * scale
    more_persons = mine.persons - persons * scale
    if more_persons < 0.5 * mine.persons:
        return False
    own = (events + USUAL_PRIOR_USERS) / (persons + USUAL_PRIOR_USERS)
    bar = max(EVENTS_PER_USER_MIN, OVER_USUAL_MIN * max(usual, own))
    return more_events >= bar * more_persons


def _is_ordinary(
    catalogue: Catalogue, release: int, number: int, stratum: int, place: Place
) -> bool:
    """Whether the hits behave like those of the release's ordinary users."""
    ground = catalogue.ground.get((release, stratum), Ground())
    since = place.since
    strata = sorted(s for r, s in catalogue.ground if r == release)
    places = catalogue.entries[number].places
    hits = [
        places[(release, s)].units if (release, s) in places else 0.0 for s in strata
    ]
    exposure = [catalogue.ground[(release, s)].exposure for s in strata]
    nats = (
        spread_log_ratio(hits, exposure)
        + dose_log_ratio(
            place.units,
            place.dose,
            ground.ordinary - since.ordinary,
            ground.windows - since.windows,
        )
        + addition_log_ratio(
            ground.paired - since.paired,
            ground.expected - since.expected,
            place.paired_units,
        )
    )
    return nats >= ORDINARY_NATS
