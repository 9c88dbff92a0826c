"""Do users report more, or score worse, than beside the old release?

Two tracks. Reports: reporters per unit at risk. Score: the harm of the scores per
scored report, ``(5 - score) / 4``. The test for rates of failures holds for sums of
values between 0 and 1 as well: ``a**x <= 1 + x (a - 1)``, so that the mean of its
factors can only be smaller than for failures of the same mean.
"""

from __future__ import annotations

from detector.counting import WAYS, read_cell
from detector.releases import Release
from detector.scope import Scope
from detector.series import MISSING
from detector.signals.errors import Comparison
from detector.voices import Voices
from detector.windows import Cell, OpenWindow

NAME = "feedback"
GUARANTEE = "proven"
REASON = "feedback_worse"
REPORTS, SCORE = f"{NAME}:reports", f"{NAME}:score"
WAY_REPORTS, WAY_SCORE = "reporter", "score"


def tracks(scope: Scope) -> list[str]:
    """Names of the tracks: none for a service that never sent feedback."""
    return [REPORTS, SCORE] if "feedback" in scope.last_event_ms else []


def compare(
    scope: Scope, window: OpenWindow, candidate: Release, groups: list[list[int]]
) -> list[tuple[str, list[Comparison]]]:
    """Line up what users said about the candidate and about its control.

    ``groups`` are control release numbers, preferred group first; a stratum uses the
    first group that has reports, or exposure, there. The strata are those of the
    feedback records, which often carry fewer attributes than usage does: exposure is
    taken from all strata of usage that fit.
    """
    spoken = _strata(window, candidate, groups)
    if not spoken:
        return [(REPORTS, []), (SCORE, [])]
    exposure = _exposure(window)
    keys = scope.strata.key_of()
    reports: list[Comparison] = []
    scores: list[Comparison] = []
    for stratum in sorted(spoken):
        fits = [s for s in sorted(keys) if _fits(keys.get(stratum, ()), keys[s])]
        for group in groups:
            own = _units(exposure, [candidate.number], fits)
            other = _units(exposure, group, fits)
            if not (own and other):
                continue
            mine = _voices(window, [candidate.number], stratum)
            theirs = _voices(window, group, stratum)
            reports.append(
                Comparison(
                    stratum=stratum,
                    way=WAY_REPORTS,
                    units_candidate=own,
                    bad_candidate=mine.persons,
                    units_control=other,
                    bad_control=theirs.persons,
                    control=tuple(group),
                )
            )
            scores.append(
                Comparison(
                    stratum=stratum,
                    way=WAY_SCORE,
                    units_candidate=mine.scored,
                    bad_candidate=mine.harm,
                    units_control=theirs.scored,
                    bad_control=theirs.harm,
                    control=tuple(group),
                )
            )
            break
    return [(REPORTS, reports), (SCORE, scores)]


def _strata(
    window: OpenWindow, candidate: Release, groups: list[list[int]]
) -> set[int]:
    """Strata in which anybody of either arm said anything."""
    members = {candidate.number, *(n for group in groups for n in group)}
    return {
        stratum
        for (number, stratum), cell in window.cells.items()
        if number in members and cell.voices is not None
    }


def _fits(wanted: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """Whether a stratum of usage lies in a stratum of feedback."""
    return len(wanted) == len(key) and all(
        w in (MISSING, k) for w, k in zip(wanted, key, strict=True)
    )


def _exposure(window: OpenWindow) -> dict[tuple[int, int], float]:
    return {key: _at_risk(cell) for key, cell in window.cells.items()}


def _at_risk(cell: Cell) -> float:
    """Units at risk in the best way that both arms can have: users, else requests."""
    arm = read_cell(cell)
    for way in ("user_sketch", "user_hour", "user", "session", "session_hour"):
        index = WAYS.index(way)
        if arm.usable[index] and arm.units[index] > 0:
            return arm.units[index] * arm.usage_weight
    return arm.units[-1] * arm.usage_weight


def _units(
    exposure: dict[tuple[int, int], float], group: list[int], strata: list[int]
) -> float:
    return sum(exposure.get((number, s), 0.0) for number in group for s in strata)


def _voices(window: OpenWindow, group: list[int], stratum: int) -> Voices:
    total = Voices()
    for number in group:
        cell = window.cells.get((number, stratum))
        if cell is not None and cell.voices is not None:
            total.absorb(cell.voices)
    return total
