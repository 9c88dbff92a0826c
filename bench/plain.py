"""The least that must be done: decode with msgspec, count by series and window.

What every plain loop of the benchmarks does with the records it is given, so that all
of them do the same work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

WINDOW_MS = 10_000


class Bare(msgspec.Struct, gc=False):
    """What a loop that only counts has to read of an event or an aggregate."""

    ts: int
    kind: str
    service: str
    release: str = ""
    environment: str = "production"
    outcome: str = "ok"
    attrs: dict[str, str] = {}
    id: str | None = None
    session: str | None = None
    seq: int | None = None
    sender: str | None = None
    window_s: int = 0
    count: int | None = None
    sessions: int | None = None


class PlainCount:
    """Counts events by series and window, each copy once.

    Parameters
    ----------
    ids, sessions : bool
        Whether events with a known id, sessions known in their window and series, are
        left out.
    """

    def __init__(self, *, ids: bool = False, sessions: bool = False) -> None:
        self.events = 0
        self.counts: defaultdict[tuple[object, ...], int] = defaultdict(int)
        self._ids, self._sessions = ids, sessions
        self._seen: defaultdict[tuple[object, ...], set[object]] = defaultdict(set)
        self._decode = msgspec.json.Decoder(list[Bare] | Bare).decode

    def add(self, values: Iterable[bytes | None]) -> None:
        """Count what these records hold."""
        decode, counts = self._decode, self.counts
        for value in values:
            decoded = decode(value or b"")
            events = decoded if type(decoded) is list else (decoded,)
            self.events += len(events)
            for event in events:
                window = (event.ts + event.window_s * 1000) // WINDOW_MS
                key = (
                    *(event.service, event.environment, event.release, event.kind),
                    *(event.outcome, window, *event.attrs.values()),
                )
                if (self._ids or self._sessions) and self._is_copy(event, window, key):
                    continue
                if event.window_s:
                    counts[key] += event.sessions or event.count or 0
                else:
                    counts[key] += 1

    def _is_copy(self, event: Bare, window: int, key: tuple[object, ...]) -> bool:
        if self._ids:
            name: object = event.id
            if name is None and event.seq is not None:
                name = (event.kind, event.sender, event.seq)
            known = self._seen[event.service, window]
            if name is not None and name in known:
                return True
            known.add(name)
        if self._sessions and event.session is not None:
            known = self._seen[key]
            if event.session in known:
                return True
            known.add(event.session)
        return False
