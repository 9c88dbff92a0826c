"""Until when is everything that reached the ingress topics in the log?

A tick says what time it is, and what comes later with an older time is late. After
an outage of ours the ingress topics hold minutes of records that the log has not:
telling the log the wall clock then would make all of them late. So a tick tells the
time of an earlier look, and only once everything that look saw has been moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol


class Held(NamedTuple):
    """What one partition of an ingress topic holds, and what the group has moved.

    ``committed`` is None where the group has never committed.
    """

    start: int
    end: int
    committed: int | None


class IngressOffsets(Protocol):
    """Looks at the offsets of all ingress partitions, whoever holds them."""

    async def ingress_offsets(self) -> Mapping[tuple[str, int], Held]:
        """Return what every ingress partition holds now."""


class Drained:
    """Moves a mark of time behind the slowest ingress partition of the group.

    Parameters
    ----------
    offsets : IngressOffsets
        Where to look.
    now_ms : callable
        The time by the clock that stamps the log: the brokers'.
    """

    def __init__(self, offsets: IngressOffsets, *, now_ms: Callable[[], int]) -> None:
        self._offsets = offsets
        self._now_ms = now_ms
        self._mark_ms = -1
        self._ends: dict[tuple[str, int], int] | None = None

    async def until_ms(self) -> int | None:
        """Time up to which the log is complete; None: not known to have moved on."""
        now_ms = self._now_ms()
        held = await self._offsets.ingress_offsets()
        reached = self._ends is not None and all(
            part in held and _moved(held[part]) >= end
            for part, end in self._ends.items()
        )
        if self._ends is not None and not reached:
            return None
        until_ms = self._mark_ms if reached else None
        self._mark_ms = now_ms
        self._ends = {part: found.end for part, found in held.items()}
        return until_ms


def _moved(held: Held) -> int:
    """Records below this offset are in the log, or no longer anywhere."""
    return max(held.start, held.committed or 0)
