"""Failed units per unit at risk, per stratum, candidate against control.

The best way of counting that both arms measured on every line is taken, per
window and stratum. Which way is usable follows from the shape of the lines,
never from their counts, so choosing it does not peek.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from detector.counting import CLUSTERED_WAYS, WAYS, Arm, read_cell, read_without
from detector.evidence.thinning import hit_units, sampled_alike
from detector.releases import Release
from detector.signals.telemetry import Health, is_whole
from detector.windows import Cell, OpenWindow

THINNED_WAYS = frozenset({"user_sketch", "session_hour", "user_hour", "user"})
"""Ways that count distinct units among the records that sampling kept."""

NAME = "errors"
GUARANTEE = "proven"
UNIT_WORDS = {
    "session": "session",
    "session_hour": "session",
    "user_sketch": "user",
    "user_hour": "user",
    "user": "user",
    "request": "request",
    "user_per_request": "request",
    "exceedance": "request",
    "step": "session",
    "reporter": "user",
    "score": "score",
}


class Comparison(NamedTuple):
    """One stratum of one window: units at risk and failed ones of both arms.

    ``units_*`` are exposures on the scale of the failures that were kept by
    sampling, so that counts stay Poisson.
    """

    stratum: int
    way: str
    units_candidate: float
    bad_candidate: float
    units_control: float
    bad_control: float
    control: tuple[int, ...]

    @property
    def clustered(self) -> bool:
        """Whether failures may come in bursts within the window."""
        return self.way in CLUSTERED_WAYS


class Hits(Struct, array_like=True):
    """Users hit and error records of the control, as kept, so far."""

    users: float = 0.0
    events: float = 0.0


class Known(NamedTuple):
    """What earlier windows say about the arms.

    ``error_rates`` is the last known share of error records that survived sampling
    and ``health`` the state of the telemetry, both by release number; ``hits`` is
    updated. ``aside`` are the signatures, by stratum, that are the doing of a few odd
    clients and count in neither arm.
    """

    error_rates: dict[int, float]
    health: dict[int, Health]
    hits: Hits
    aside: dict[int, frozenset[int]]


class WindowFacts(NamedTuple):
    """What the window says beside the comparisons: coverage and its gaps."""

    candidate_units: float
    candidate_bad_lines: int
    candidate_usage_lines: int
    control_units: float
    beside_units: float
    joint_strata: int
    mismatched_strata: int


def compare(
    window: OpenWindow,
    candidate: Release,
    groups: list[list[int]],
    known: Known,
) -> tuple[list[Comparison], WindowFacts]:
    """Line up the candidate with its control in every stratum of a window.

    ``groups`` are control release numbers, preferred group first; a stratum uses
    the first group with exposure there.
    """
    own = {s: c for (r, s), c in window.cells.items() if r == candidate.number}
    members = {number for group in groups for number in group}
    others = [(s, c) for (r, s), c in window.cells.items() if r in members]
    found: list[Comparison] = []
    mismatched = 0
    for stratum in sorted(own):
        control = _control_cells(window, stratum, groups)
        if not control or not _all_whole(window, stratum, candidate, control, known):
            continue
        one = _compare_stratum(stratum, own[stratum], candidate, control, known)
        if one is not None:
            found.append(one)
        elif any(read_cell(own[stratum]).units):  # all zero: idle, nothing is wrong
            mismatched += 1
    facts = WindowFacts(
        candidate_units=sum(c.weighted_units for c in own.values()),
        candidate_bad_lines=sum(c.error_lines for c in own.values()),
        candidate_usage_lines=sum(c.usage_lines for c in own.values()),
        control_units=sum(c.weighted_units for _, c in others),
        beside_units=sum(
            c.weighted_units for s, c in others if s in own and own[s].seen_units > 0
        ),
        joint_strata=sum(1 for c in found if c.units_candidate and c.units_control),
        mismatched_strata=mismatched,
    )
    return found, facts


def _control_cells(
    window: OpenWindow, stratum: int, groups: list[list[int]]
) -> list[tuple[int, Cell]]:
    for group in groups:
        cells = [
            (number, cell)
            for number in group
            if (cell := window.cells.get((number, stratum))) is not None
        ]
        if any(cell.usage_lines for _, cell in cells):
            return cells
    return []


def _all_whole(
    window: OpenWindow,
    stratum: int,
    candidate: Release,
    control: list[tuple[int, Cell]],
    known: Known,
) -> bool:
    """Whether no sender of either arm reports failures without the units they hit."""
    own = (candidate.number, window.cells[candidate.number, stratum])
    return all(
        is_whole(health, cell.usage_senders, cell.error_senders, window.end_ms)
        for number, cell in (own, *control)
        if (health := known.health.get(number)) is not None
    )


def _compare_stratum(
    stratum: int,
    own: Cell,
    candidate: Release,
    control: list[tuple[int, Cell]],
    known: Known,
) -> Comparison | None:
    aside = known.aside.get(stratum, frozenset())
    mine = _Arm(candidate.number, own, read_without(own, aside))
    others = [_Arm(number, cell, read_without(cell, aside)) for number, cell in control]
    for index, way in enumerate(WAYS):
        if not all(a.arm.usable[index] for a in (mine, *others)):
            continue
        if not mine.arm.units[index] and own.usage_lines:
            continue
        if way in THINNED_WAYS and not _alike(mine, others):
            return _compare_thinned(stratum, index, mine, others, known)
        return Comparison(
            stratum=stratum,
            way=way,
            units_candidate=_exposure(mine, mine.arm.units[index], known),
            bad_candidate=mine.arm.bad[index],
            units_control=sum(_exposure(a, a.arm.units[index], known) for a in others),
            bad_control=sum(a.arm.bad[index] for a in others),
            control=tuple(a.number for a in others),
        )
    return None


class _Arm(NamedTuple):
    number: int
    cell: Cell
    arm: Arm


def _alike(mine: _Arm, others: list[_Arm]) -> bool:
    """Whether distinct units of both arms went through the same sampling."""
    return all(
        sampled_alike(1 / mine.arm.usage_weight, 1 / other.arm.usage_weight)
        and sampled_alike(mine.arm.error_rate or 1.0, other.arm.error_rate or 1.0)
        for other in others
        if other.cell.usage_lines
    )


def _compare_thinned(
    stratum: int, index: int, mine: _Arm, others: list[_Arm], known: Known
) -> Comparison:
    """Arms that were sampled at different rates: units hit per request served.

    Distinct units over their rate are not the units before sampling
    (``evidence.thinning``); requests over theirs are.
    """
    users = sum(a.arm.bad[index] for a in others)
    hits = known.hits
    hits.users += users
    hits.events += sum(a.cell.seen_bad for a in others)
    bad = hit_units(mine.arm.bad[index], mine.cell.seen_bad, hits.users, hits.events)
    return Comparison(
        stratum=stratum,
        way="user_per_request",
        units_candidate=_exposure(mine, mine.cell.seen_units, known),
        bad_candidate=float(bad[0]),
        units_control=sum(_exposure(a, a.cell.seen_units, known) for a in others),
        bad_control=users,
        control=tuple(a.number for a in others),
    )


def _exposure(one: _Arm, units: float, known: Known) -> float:
    """Units before sampling, on the scale of the failures that were kept."""
    rate = one.arm.error_rate
    if rate is None:
        rate = known.error_rates.get(one.number, 1.0)
    return units * one.arm.usage_weight * rate
