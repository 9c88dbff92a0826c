"""Services whose events reach the log through combiners: whose time it then is.

A hot service is shared by several combiners, each with a part of its sessions. Time
has passed for the service when it has passed for all of them: a window that closed
while one was being restarted would lack its sessions, and count them late afterwards.
"""

from __future__ import annotations

from detector.scope import Scope, Told

FORGOTTEN_MS = 900_000
"""A combiner that has said nothing for this long is waited for no more."""


UNHEARD_MS = 120_000
"""How long one is waited for that was never heard, from the first of them on: it may
be starting, or have no session of the service."""


def note_told(
    scope: Scope, sender: str, until_ms: int, arrival_ms: int, senders: int = 0
) -> None:
    """Remember up to when a combiner, one of ``senders``, has written what it had.

    The first one that is heard tells of the others. They may be reading a backlog that
    it has read already, and what they find there must not be late.
    """
    if not scope.combined:
        # In their place, with an age at which they are forgotten in time.
        awaited = Told(scope.watermark_ms, arrival_ms - FORGOTTEN_MS + UNHEARD_MS)
        scope.combined.update({sender_name(n): awaited for n in range(senders)})
    before = scope.combined.get(sender)
    if before is not None:
        until_ms = max(until_ms, before.until_ms)
    scope.combined[sender] = Told(until_ms, arrival_ms)


def sender_name(number: int) -> str:
    """What the combiner of a partition of the hot topic calls itself."""
    return f"combiner/{number}"


def advance_watermark(scope: Scope, end_ms: int, arrival_ms: int) -> None:
    """Watermark = maximum over accepted usage and ticks of min(end, arrival).

    It never passes the slowest of the combiners that share a service.

    Only these say that time has passed. Errors and deploys are sparse, so after an
    outage of ours they come out of their ingress topics minutes ahead of the usage
    of the same time, which must not be late because of them.
    """
    reached = _reached_ms(scope, end_ms, arrival_ms)
    scope.watermark_ms = max(scope.watermark_ms, reached)


def is_combined(scope: Scope, sender: str | None) -> bool:
    """Whether a record comes from a combiner, which has set the clocks right."""
    return sender is not None and sender in scope.combined


def _reached_ms(scope: Scope, end_ms: int, arrival_ms: int) -> int:
    """How far time has come by one record, at most to where the slowest combiner is."""
    reached = min(end_ms, arrival_ms)
    if not scope.combined:
        return reached
    since_ms = arrival_ms - FORGOTTEN_MS
    silent = [s for s, told in scope.combined.items() if told.arrival_ms < since_ms]
    for sender in silent:
        del scope.combined[sender]
    return min([reached, *(told.until_ms for told in scope.combined.values())])
