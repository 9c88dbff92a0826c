"""Do fewer units pass a step of the funnel than in the control?

The odds of not passing, by the exact test that latency uses too: passing is common,
so failing is no rare event. One track for each step.
"""

from __future__ import annotations

import numpy as np

from detector.evidence.exceedance import PRIOR_SPREAD, effective_cells
from detector.funnel import OpenSteps, Steps
from detector.releases import Release
from detector.scope import Scope
from detector.signals.errors import Comparison
from detector.windows import OpenWindow

NAME = "steps"
GUARANTEE = "proven"
REASON = "steps_down"
WAY = "step"
UNIT = "session"


def track_name(step: str) -> str:
    """Name of the track of one step.

    Examples
    --------
    >>> track_name("checkout")
    'steps:checkout'
    """
    return f"{NAME}:{step}"


def tracks(scope: Scope) -> list[str]:
    """Tracks that a release of this service has: one for each step ever sent."""
    return [track_name(step) for step in scope.steps]


def compare(
    scope: Scope, window: OpenWindow, release: Release, groups: list[list[int]]
) -> list[tuple[str, list[Comparison]]]:
    """Line up a release's steps with its control's; counts are effective ones."""
    found = []
    watch = scope.watches[release.name]
    for step in scope.steps:
        track = watch.tracks.get(track_name(step))
        if track is None:
            continue
        each = step_cells(window.steps, step, release.number, groups, track.margin)
        if each:
            found.append((track_name(step), each))
    return found


def step_cells(
    window: OpenSteps, step: str, release: int, groups: list[list[int]], margin: float
) -> list[Comparison]:
    """Comparisons of one step, in every stratum where both arms have entered units.

    A step that neither arm's window knows says nothing.
    """
    found = []
    for stratum in sorted(s for r, s in window if r == release):
        own = window[release, stratum]
        control = _control(window, stratum, groups)
        if not control:
            continue
        other = Steps()
        for number in control:
            cell = window[number, stratum]
            other.entered += cell.entered
            passed = other.passed.get(step, 0.0) + cell.passed.get(step, 0.0)
            other.passed[step] = passed
        if other.passed.get(step, 0.0) > 0 or own.passed.get(step, 0.0) > 0:
            found.append(_comparison(stratum, step, own, other, control, margin))
    return [one for one in found if one is not None]


def _control(
    window: OpenSteps, stratum: int, groups: list[list[int]]
) -> tuple[int, ...]:
    for group in groups:
        numbers = tuple(n for n in group if (n, stratum) in window)
        if any(window[n, stratum].entered > 0 for n in numbers):
            return numbers
    return ()


def _comparison(
    stratum: int,
    step: str,
    own: Steps,
    other: Steps,
    control: tuple[int, ...],
    margin: float,
) -> Comparison | None:
    candidate, reference = own.share_of(step), other.share_of(step)
    if candidate is None or reference is None:
        return None
    counts = (
        candidate[1] - candidate[0],
        reference[1] - reference[0],
        candidate[1],
        reference[1],
    )
    cells = effective_cells(
        *np.array(counts)[:, None], margin=margin, spread=PRIOR_SPREAD
    )
    bad_candidate, bad_control, units_candidate, units_control = (
        float(values[0]) for values in cells
    )
    return Comparison(
        stratum=stratum,
        way=WAY,
        units_candidate=units_candidate,
        bad_candidate=bad_candidate,
        units_control=units_control,
        bad_control=bad_control,
        control=control,
    )
