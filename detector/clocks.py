"""What usage lines teach of clocks, and how long windows wait for them."""

from __future__ import annotations

from detector.scope import Scope
from detector.signals.telemetry import hold_ms, note_usage_time

HOLD_FORGOTTEN_MS = 900_000
"""A release without usage for this long is not waited for."""


def note_clock(
    scope: Scope,
    number: int,
    sent_end_ms: int,
    arrival_ms: int,
    *,
    window_ms: int,
    grace_ms: int,
) -> None:
    """Learn from a usage line how its clock is, and how long windows wait for it.

    They wait for the release whose usage typically comes last.
    """
    health = scope.health[number]
    before_ms = health.sampled_end_ms
    note_usage_time(health, sent_end_ms, arrival_ms, window_ms)
    if health.sampled_end_ms == before_ms:  # nothing was learnt from it
        return
    live = {
        known: wait_ms
        for known, wait_ms in scope.holds_ms.items()
        if known in scope.health
        and scope.health[known].sampled_arrival_ms >= arrival_ms - HOLD_FORGOTTEN_MS
    }
    live[number] = hold_ms(health, grace_ms)
    scope.holds_ms = live
