"""What happened in one fault run, fact by fact: the only thing the checker trusts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from streams.wallclock import monotonic_s

Fact = dict[str, Any]


class History:
    """A file of JSON lines, one per fact, in order of time.

    Facts: ``sent`` and ``acked`` (an event with its id and units), ``memory`` of a
    worker, ``fault`` and ``heal``, ``fresh`` after a heal, ``exit`` of a worker.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts: list[Fact] = []
        self._lock = threading.Lock()
        self._begun_s = monotonic_s()

    def note(self, what: str, **details: Any) -> None:
        """Add a fact with the seconds since the run began."""
        fact = {"t": round(monotonic_s() - self._begun_s, 3), "what": what, **details}
        with self._lock:
            self._facts.append(fact)

    def all(self, what: str) -> Iterator[Fact]:
        """Every fact of one sort, oldest first."""
        with self._lock:
            facts = list(self._facts)
        return (fact for fact in facts if fact["what"] == what)

    def write(self) -> None:
        """Keep the facts for people; the path is part of what a run prints."""
        with self._lock, self.path.open("wb") as file:
            for fact in self._facts:
                file.write(msgspec.json.encode(fact) + b"\n")
