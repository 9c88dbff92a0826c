"""What the claims say, as metrics: for the page of whoever serves gates."""

from __future__ import annotations

from acting.figures import budgets, drills
from acting.known import Known
from streams.families import Families


def gate_families(known: Known, now_ms: int) -> Families:
    """Drills and budgets as of now.

    Parameters
    ----------
    known : Known
        Of the ledger, read up to the present end of its topic.
    now_ms : int
        The time of who asks.
    """
    made = Families()
    for kind, at_ms in drills(known).items():
        made.put("drill_last_success_timestamp_seconds", (kind,), at_ms / 1000)
    for one in budgets(known, now_ms):
        place = (one.service, one.environment, one.span)
        made.put("action_budget_remaining_ratio", place, one.left)
    return made
