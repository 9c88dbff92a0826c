"""What became of the signatures a hotfix names."""

from __future__ import annotations

import math

import pytest

from detector.catalogue import Catalogue, CellReading, Hits
from detector.lineage import fates

BROKEN, HOTFIX = 1, 2
NAME = "KeyError in cart"


def catalogue(had: float, hits: float, exposure: float) -> Catalogue:
    """A signature before and after, the release before with 10,000 units."""
    built = Catalogue()
    number = built.number(NAME, 0)
    for release, units, users in ((BROKEN, 10_000.0, had), (HOTFIX, exposure, hits)):
        shown = {number: Hits(users=users)} if users else {}
        built.close({(release, 0): CellReading(units, None, "user", shown)}, 10)
    return built


@pytest.mark.parametrize(
    ("had", "hits", "exposure", "fate"),
    [
        (100, 0, 5000, "gone"),
        (100, 50, 5000, "still_there"),
        (100, 0, 50, "too_early"),
        (100, 0, 0, "too_early"),
        (0, 0, 5000, "unknown_signature"),
    ],
)
def test_fate_follows_counts(
    had: float, hits: float, exposure: float, fate: str
) -> None:
    """Silence over enough exposure is gone; too little says nothing."""
    (found,) = fates(
        catalogue(had, hits, exposure), HOTFIX, frozenset({BROKEN}), [NAME]
    )
    assert found.fate == fate


def test_needed_exposure_is_enough() -> None:
    """After the exposure that was asked for, without a failure, it is gone."""
    before = frozenset({BROKEN})
    (early,) = fates(catalogue(100, 0, 50), HOTFIX, before, [NAME])
    assert 0 < early.units_needed < 2000
    later = catalogue(100, 0, 50 + early.units_needed * 1.001)
    (found,) = fates(later, HOTFIX, before, [NAME])
    assert found.fate == "gone"
    assert found.units_needed == 0


def test_names_nobody_knows() -> None:
    """A name that never occurred is said to be unknown, not gone."""
    (found,) = fates(catalogue(5, 0, 10), HOTFIX, frozenset({BROKEN}), ["typo"])
    assert found.fate == "unknown_signature"
    assert math.isnan(found.ratio[1])
