"""Where the harm sits: the smallest cut with a clean complement."""

from __future__ import annotations

import itertools

import pytest

from detector.history import Counts
from detector.localise import smallest_cut
from detector.series import Segment

ATTRS = ("os", "region")
KEYS = dict(enumerate(itertools.product(("android", "ios"), ("eu", "us"))))


def counts(*factors: float) -> dict[int, Counts]:
    """Strata of equal size; the candidate's failures are multiplied."""
    return {s: (2000.0, 20.0 * f, 8000.0, 80.0) for s, f in enumerate(factors)}


@pytest.mark.parametrize(
    ("factors", "segment"),
    [
        ((1, 1, 1, 1), ()),
        ((4, 4, 4, 4), ()),
        ((5, 5, 1, 1), (("os", "android"),)),
        ((1, 5, 1, 5), (("region", "us"),)),
        ((1, 6, 1, 1), (("os", "android"), ("region", "us"))),
        ((0, 0, 0, 0), ()),
    ],
)
def test_smallest_cut_is_found(factors: tuple[float, ...], segment: Segment) -> None:
    """A value, a pair or everything, as the harm is spread."""
    assert smallest_cut(ATTRS, KEYS, counts(*factors)) == segment


def test_order_of_strata_is_irrelevant() -> None:
    """The same counts in another order give the same cut."""
    given = counts(1, 6, 1, 1)
    assert smallest_cut(ATTRS, KEYS, dict(reversed(given.items()))) == smallest_cut(
        ATTRS, KEYS, given
    )


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {0: (0.0, 0.0, 0.0, 0.0)},
        {0: (100.0, 50.0, 0.0, 0.0)},
        {0: (0.0, 50.0, 100.0, 1.0)},
        {0: (1e15, 1e12, 1e15, 1.0), 1: (1.0, 0.0, 1.0, 0.0)},
    ],
)
def test_degenerate_counts_name_everything(cells: dict[int, Counts]) -> None:
    """Missing exposure in an arm gives no segment, no error and no NaN."""
    assert smallest_cut(ATTRS, KEYS, cells) in {
        (),
        *((p,) for p in zip(ATTRS, KEYS[0], strict=True)),
        tuple(zip(ATTRS, KEYS[0], strict=True)),
    }


def test_unknown_strata_name_everything() -> None:
    """Strata of an earlier enumeration belong to no segment but the whole."""
    assert smallest_cut(("tier",), {}, counts(9, 1, 1, 1)) == ()
