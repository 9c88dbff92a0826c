"""Since when is there no concurrent control, and who is asked then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detector.alone import Joint
from detector.ledger import Values
from detector.looking import look_around, note_control
from detector.releases import Release, Stage
from detector.rulebook import InForce
from detector.rulefile.model import BUILT_IN_RULE
from detector.rulefile.parts import Signal
from detector.scope import Scope, Watch
from detector.tracks import open_tracks
from detector.windows import OpenWindow

WIDTH_MS = 60_000
BESIDE, ALONE = Joint(100.0, 100.0), Joint(100.0, 2.0)


def watched(*joints: Joint, weight: float | None = None) -> Watch:
    """A watch after one window a minute with these exposures."""
    watch = Watch(release="2")
    release = Release(name="2", number=2, first_ms=0, weight=weight)
    for i, joint in enumerate(joints):
        watch.control_windows += joint.control > 50
        window = OpenWindow((i + 1) * WIDTH_MS)
        note_control(watch, release, window, WIDTH_MS, joint)
    return watch


def test_control_is_lost_after_a_while() -> None:
    """Next to no control for five minutes: it is lost, from the first of them on."""
    watch = watched(BESIDE, *[ALONE] * 4)
    assert watch.control_lost_ms == -1
    watch = watched(BESIDE, *[ALONE] * 5)
    assert watch.control_lost_ms == WIDTH_MS


def test_full_rollout_loses_control_at_once() -> None:
    """Where the plan leaves the control nothing, one window says that it has gone."""
    assert watched(BESIDE, ALONE, weight=1.0).control_lost_ms == WIDTH_MS
    assert watched(BESIDE, ALONE, weight=0.5).control_lost_ms == -1


def test_release_without_control_never_had_one() -> None:
    """A release that flipped at once is alone from its first window on."""
    assert watched(ALONE).control_lost_ms == 0


def test_control_is_back_at_once() -> None:
    """One window beside a control ends the time without."""
    watch = watched(BESIDE, *[ALONE] * 9, BESIDE)
    assert (watch.control_lost_ms, watch.alone_since_ms) == (-1, -1)


def test_idle_candidate_loses_nothing() -> None:
    """Windows in which the candidate serves nobody say nothing about its control."""
    assert watched(BESIDE, *[Joint(0.0, 0.0)] * 20).control_lost_ms == -1


def test_few_units_lose_no_control() -> None:
    """Arms with a few units a window miss each other by chance, for minutes on end."""
    assert watched(BESIDE, *[Joint(3.0, 0.0)] * 30).control_lost_ms == -1
    assert watched(BESIDE, *[Joint(3.0, 0.0)] * 40).control_lost_ms == WIDTH_MS


@pytest.mark.parametrize("off", ["usage", "sample_ratio"])
def test_signal_without_weight_is_silent(off: str) -> None:
    """Weight 0 takes the findings of one signal away and leaves the others."""
    scope = Scope("shop", "production", WIDTH_MS)
    old, new = (scope.registry.admit(name, 0) for name in ("1", "2"))
    new.stage, new.strategy, new.ramp = Stage.CANDIDATE, "ab", [(0, 0.1)]
    watch = scope.watches["2"] = Watch("2", open_tracks(scope, BUILT_IN_RULE))
    scope.ledger.set_width(WIDTH_MS)
    for end_ms in range(WIDTH_MS, 31 * WIDTH_MS, WIDTH_MS):
        for release, units in ((old, 700.0), (new, 300.0)):
            values = Values(units, 0.0, units, 1.0)
            scope.ledger.add(end_ms, (release.number, 0), values)
    signals = {**BUILT_IN_RULE.signals, off: Signal(weight=0.0)}
    inforce = InForce(replace(BUILT_IN_RULE, signals=signals), (), "")
    look_around(scope, OpenWindow(30 * WIDTH_MS), {new.number: {}}, inforce, {})
    assert {f.signal for f in watch.findings} == {"usage", "sample_ratio"} - {off}
