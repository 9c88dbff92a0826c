"""Trouble everywhere: the other releases beside their own past."""

from __future__ import annotations

import pytest

from detector.ambient import ambient_ratio
from detector.ledger import Values
from detector.releases import Release
from detector.scope import Scope

BIN_MS = 300_000
RELEASE = Release(name="2", number=2, first_ms=0)


def scope_of(hours: float, last_bad: float, release: int = 1) -> tuple[Scope, int]:
    """A past of 1 % failures, then half an hour of another rate."""
    scope = Scope("shop", "production", BIN_MS)
    scope.ledger.set_width(BIN_MS)
    bins = int(hours * 12)
    for i in range(bins):
        bad = last_bad if i >= bins - 6 else 10.0
        scope.ledger.add(
            (i + 1) * BIN_MS, (release, 0), Values(1000.0, bad, 1000.0, 1.0)
        )
    return scope, bins * BIN_MS


def test_ambient_trouble_is_measured() -> None:
    """Five times as many failures everywhere are shown as five."""
    scope, now_ms = scope_of(10, 50.0)
    assert ambient_ratio(scope, RELEASE, now_ms) == pytest.approx(5.0, rel=0.02)


def test_release_is_no_ambience() -> None:
    """What the release itself does says nothing about the others."""
    scope, now_ms = scope_of(10, 50.0, release=RELEASE.number)
    assert ambient_ratio(scope, RELEASE, now_ms) is None


def test_short_past_says_nothing() -> None:
    """Without an hour of past there is nothing to compare with."""
    scope, now_ms = scope_of(1, 50.0)
    assert ambient_ratio(scope, RELEASE, now_ms) is None
