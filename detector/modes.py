"""How far a recommendation may lead: what the rule says, or less if people told so."""

from __future__ import annotations

from typing import get_args

from detector.rulefile.model import Mode

MODES: tuple[str, ...] = get_args(Mode)
"""The least first."""


def least_mode(told: str | None, ruled: str) -> str:
    """The lower of what people told a service and what its rule says.

    Examples
    --------
    >>> least_mode("shadow", "auto"), least_mode("auto", "recommend")
    ('shadow', 'recommend')
    >>> least_mode(None, "approve")
    'approve'
    """
    return ruled if told is None else min(told, ruled, key=MODES.index)
