"""Is most of what a topic brings refused? Then nobody may take silence for health."""

from __future__ import annotations

from collections import deque

LAST = 1000
"""Records looked back on; fewer say nothing yet."""

SHARE_MAX = 0.5


class Breaker:
    """Looks at the last records of one topic, in the batches they came in.

    Examples
    --------
    >>> breaker = Breaker()
    >>> breaker.note(accepted=600, rejected=400)
    >>> breaker.is_tripped
    False
    >>> breaker.note(accepted=0, rejected=300)
    >>> breaker.is_tripped
    True
    >>> breaker.note(accepted=900, rejected=0)
    >>> breaker.is_tripped
    False
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[int, int]] = deque()
        self._accepted = 0
        self._rejected = 0

    def note(self, *, accepted: int, rejected: int) -> None:
        """Add the results of one batch, and forget what is older than the last."""
        self._batches.append((accepted, rejected))
        self._accepted += accepted
        self._rejected += rejected
        while self._accepted + self._rejected - sum(self._batches[0]) >= LAST:
            oldest = self._batches.popleft()
            self._accepted -= oldest[0]
            self._rejected -= oldest[1]

    @property
    def is_tripped(self) -> bool:
        """Whether more than half of the last records were refused."""
        total = self._accepted + self._rejected
        return total >= LAST and self._rejected > SHARE_MAX * total
