"""Steps of a funnel: how many units that entered a service passed each of them.

A release can lose users without an error: a button that does nothing leaves only
fewer checkouts behind. Records with a ``step`` count what reached it; records without
one count what could have.
"""

from __future__ import annotations

from msgspec import Struct, field

from detector.events import Usage
from detector.ledger import Key

STEPS_MAX = 8
"""Steps of a service that are judged, first seen first."""


class Steps(Struct, array_like=True):
    """One release in one stratum: units that entered, and that passed each step."""

    entered: float = 0.0
    passed: dict[str, float] = field(default_factory=dict)

    def add(self, event: Usage) -> None:
        """Count a usage record; only successes pass a step."""
        units = units_of(event)
        if event.step is None:
            self.entered += units
            return
        good = units if event.outcome == "ok" else 0.0
        if event.outcomes is not None:
            known = sum(event.outcomes.values())
            good = units * event.outcomes.get("ok", 0) / known if known else 0.0
        self.passed[event.step] = self.passed.get(event.step, 0.0) + good

    def absorb(self, other: Steps) -> None:
        """Add the steps of the same cell in a narrower window."""
        self.entered += other.entered
        for step, passed in other.passed.items():
            self.passed[step] = self.passed.get(step, 0.0) + passed

    def share_of(self, step: str) -> tuple[float, float] | None:
        """Units that passed, of those that entered; None where nothing entered.

        A unit may enter in one window and pass in the next: more than entered never
        count.
        """
        if self.entered <= 0:
            return None
        return min(self.passed.get(step, 0.0), self.entered), self.entered


OpenSteps = dict[Key, Steps]
"""Steps of an open window, by release and stratum."""


def units_of(event: Usage) -> float:
    """Units a usage record stands for: sessions, else users, else its count."""
    for value in (event.sessions, event.users, event.count):
        if value is not None:
            return float(value)
    return 1.0


def take_step(window: OpenSteps, key: Key, event: Usage) -> None:
    """Count a usage record into an open window."""
    window.setdefault(key, Steps()).add(event)


def note_steps(known: list[str], window: OpenSteps) -> None:
    """Remember the steps that a service sends, at most `STEPS_MAX` of them."""
    for key in sorted(window):
        for step in sorted(window[key].passed):
            if step not in known and len(known) < STEPS_MAX:
                known.append(step)
