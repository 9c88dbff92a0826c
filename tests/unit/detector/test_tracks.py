"""Which signals take part in the evidence of a release, with which share."""

from __future__ import annotations

import pytest

from detector.durations import Durations
from detector.scope import Scope
from detector.tracks import open_tracks
from tests.unit.detector.traffic import rules

RULE = rules().rules[0]


def test_errors_alone_carry_everything() -> None:
    """A service that never sent anything else is judged by errors alone."""
    tracks = open_tracks(Scope("shop", "production", 10_000), RULE)
    assert {name: track.share for name, track in tracks.items()} == {"errors": 1.0}


def test_shares_sum_to_one() -> None:
    """Every signal that the service has sent takes part, with shares that sum to 1."""
    scope = Scope("shop", "production", 10_000, steps=["pay", "ship"])
    scope.last_event_ms["feedback"] = 0
    scope.latency.recent[1, 0] = Durations()
    tracks = open_tracks(scope, RULE)
    assert sum(track.share for track in tracks.values()) == pytest.approx(1.0)
    assert {name.partition(":")[0] for name in tracks} == {
        "errors",
        "latency",
        "steps",
        "feedback",
    }
    assert tracks["steps:pay"].margin == RULE.signals["steps"].margin


def test_signal_can_be_switched_off() -> None:
    """A weight of 0 takes a signal out; errors stay for display."""
    scope = Scope("shop", "production", 10_000, steps=["pay"])
    rule = rules("signals: {errors: {weight: 0}}").rules[0]
    tracks = open_tracks(scope, rule)
    assert tracks["errors"].share == 0.0
    assert tracks["steps:pay"].share == pytest.approx(1.0)
