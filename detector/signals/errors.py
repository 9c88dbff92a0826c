"""Failed units per unit at risk, per stratum, candidate against control.

The best way of counting that both arms measured on every line is taken, per
window and stratum. Which way is usable follows from the shape of the lines,
never from their counts, so choosing it does not peek.
"""

from __future__ import annotations

from typing import NamedTuple

from detector.releases import Release
from detector.windows import CLUSTERED_WAYS, WAYS, Arm, Cell, OpenWindow, read_cell

NAME = "errors"
GUARANTEE = "proven"
UNIT_WORDS = {
    "session": "session",
    "session_hour": "session",
    "user_sketch": "user",
    "user_hour": "user",
    "user": "user",
    "request": "request",
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


class WindowFacts(NamedTuple):
    """What the window says beside the comparisons: coverage and its gaps."""

    candidate_units: float
    candidate_bad_lines: int
    candidate_usage_lines: int
    control_units: float
    joint_strata: int
    mismatched_strata: int


def compare(
    window: OpenWindow,
    candidate: Release,
    groups: list[list[int]],
    error_rates: dict[int, float],
) -> tuple[list[Comparison], WindowFacts]:
    """Line up the candidate with its control in every stratum of a window.

    ``groups`` are control release numbers, preferred group first; a stratum uses
    the first group with exposure there. ``error_rates`` is the last known share
    of error records that survived sampling, by release number.
    """
    own = {s: c for (r, s), c in window.cells.items() if r == candidate.number}
    members = {number for group in groups for number in group}
    control_units = sum(
        c.requests.units for (r, _), c in window.cells.items() if r in members
    )
    found: list[Comparison] = []
    mismatched = 0
    for stratum in sorted(own):
        control = _control_cells(window, stratum, groups)
        if not control:
            continue
        one = _compare_stratum(stratum, own[stratum], candidate, control, error_rates)
        if one is not None:
            found.append(one)
        elif any(read_cell(own[stratum]).units):  # all zero: idle, nothing is wrong
            mismatched += 1
    facts = WindowFacts(
        candidate_units=sum(c.requests.units for c in own.values()),
        candidate_bad_lines=sum(c.error_lines for c in own.values()),
        candidate_usage_lines=sum(c.usage_lines for c in own.values()),
        control_units=control_units,
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


def _compare_stratum(
    stratum: int,
    own: Cell,
    candidate: Release,
    control: list[tuple[int, Cell]],
    error_rates: dict[int, float],
) -> Comparison | None:
    arm = read_cell(own)
    others = [(number, read_cell(cell)) for number, cell in control]
    for index, way in enumerate(WAYS):
        arms = [arm, *(a for _, a in others)]
        if not all(a.usable[index] for a in arms):
            continue
        if not arm.units[index] and own.usage_lines:
            continue
        return Comparison(
            stratum=stratum,
            way=way,
            units_candidate=_exposure(arm, index, candidate.number, error_rates),
            bad_candidate=arm.bad[index],
            units_control=sum(_exposure(a, index, n, error_rates) for n, a in others),
            bad_control=sum(a.bad[index] for _, a in others),
            control=tuple(number for number, _ in control),
        )
    return None


def _exposure(
    arm: Arm, index: int, number: int, error_rates: dict[int, float]
) -> float:
    rate = arm.error_rate
    if rate is None:
        rate = error_rates.get(number, 1.0)
    return arm.units[index] * arm.usage_weight * rate
