"""Steps of a funnel: what enters, what passes, and what is compared."""

from __future__ import annotations

import numpy as np

from detector.events import Outcome, Usage
from detector.evidence.rate_ratio import increments
from detector.funnel import STEPS_MAX, OpenSteps, Steps, note_steps, take_step
from detector.signals.steps import step_cells

OLD, NEW = 1, 2


def usage(
    sessions: int, step: str | None = None, outcomes: dict[Outcome, int] | None = None
) -> Usage:
    """A usage record of a minute."""
    return Usage(
        ts=0,
        service="s",
        release="1",
        window_s=60,
        sessions=sessions,
        step=step,
        outcomes=outcomes,
    )


def window(old_passed: int, new_passed: int) -> OpenSteps:
    """A thousand sessions of each arm, some of which pass the checkout."""
    opened: OpenSteps = {}
    for release, passed in ((OLD, old_passed), (NEW, new_passed)):
        take_step(opened, (release, 0), usage(1000))
        take_step(opened, (release, 0), usage(passed, "checkout"))
    return opened


def evidence(opened: OpenSteps) -> float:
    """Largest log evidence of the checkout's only comparison."""
    (one,) = step_cells(opened, "checkout", NEW, [[OLD]], 1.1)
    counts = one.bad_candidate, one.bad_control, one.units_candidate, one.units_control
    return float(increments(*np.array(counts)[:, None], margin=1.1).max())


def test_lost_checkouts_are_evidence() -> None:
    """Half as many checkouts speak against the release, more or equal ones for it."""
    assert evidence(window(300, 150)) > 3
    assert evidence(window(300, 300)) < 0
    assert evidence(window(300, 400)) < 0


def test_only_successes_pass() -> None:
    """Failed outcomes at a step do not pass it."""
    steps = Steps()
    steps.add(usage(100))
    steps.add(usage(50, "pay", {"ok": 30, "timeout": 20}))
    assert steps.share_of("pay") == (30, 100)


def test_passing_never_exceeds_entering() -> None:
    """Units that entered a window earlier do not make a share above one."""
    steps = Steps()
    steps.add(usage(10))
    steps.add(usage(50, "pay"))
    assert steps.share_of("pay") == (10, 10)


def test_nothing_entered_nothing_said() -> None:
    """Without entered units a step is not compared."""
    opened: OpenSteps = {}
    for release in (OLD, NEW):
        take_step(opened, (release, 0), usage(50, "pay"))
    assert step_cells(opened, "pay", NEW, [[OLD]], 1.1) == []


def test_unknown_step_is_silent() -> None:
    """A step of which neither arm's window has a record says nothing."""
    assert step_cells(window(300, 300), "pay", NEW, [[OLD]], 1.1) == []


def test_known_steps_are_bounded() -> None:
    """Steps beyond the limit are not judged, and names are kept once."""
    opened: OpenSteps = {}
    for i in range(STEPS_MAX + 3):
        take_step(opened, (OLD, 0), usage(5, f"step{i:02}"))
    known: list[str] = []
    note_steps(known, opened)
    note_steps(known, opened)
    assert known == [f"step{i:02}" for i in range(STEPS_MAX)]
