"""Since when is a release alone: next to nothing runs beside it any more."""

from __future__ import annotations

from typing import NamedTuple

CONTROL_SHARE_MIN = 0.03
"""Below this share of the candidate's exposure a control says nothing."""

ALONE_UNITS_MIN = 100.0
"""Units of the candidate without control before it counts as lost."""

LOST_AFTER_MS = 300_000
LOST_AFTER_WINDOWS = 3


class Joint(NamedTuple):
    """Exposure of a window, of a candidate and of what runs beside it."""

    candidate: float
    control: float


class Alone(NamedTuple):
    """How long a release has been alone, all -1 and 0 while others run beside it.

    ``lost_ms`` is since when its control counts as lost, ``since_ms`` the same from
    its first window alone on, ``units`` are those it had since.
    """

    since_ms: int = -1
    units: float = 0.0
    lost_ms: int = -1


def after_window(
    before: Alone, joint: Joint, end_ms: int, width_ms: int, *, at_once: bool
) -> Alone:
    """Whether a release is alone after one more window.

    The control is lost when over five minutes, at least three windows, it had next
    to no exposure; without that wait (``at_once``) where the plan leaves it none or
    there never was one. It is back at once, too. With a few units a window the arms
    miss each other by chance, so that enough of the candidate's must have been alone.
    """
    if joint.candidate <= 0:
        return before
    if joint.control >= CONTROL_SHARE_MIN * joint.candidate:
        return Alone()
    since_ms = end_ms - width_ms if before.since_ms < 0 else before.since_ms
    units = before.units + joint.candidate
    long_ms = max(LOST_AFTER_MS, LOST_AFTER_WINDOWS * width_ms)
    waited = at_once or end_ms - since_ms >= long_ms
    lost = waited and units >= ALONE_UNITS_MIN
    return Alone(since_ms, units, since_ms if lost else before.lost_ms)


def leaves_none(weight: float | None) -> bool:
    """Whether a rollout at this weight means that no control is left."""
    return weight is not None and weight > 1 - CONTROL_SHARE_MIN
