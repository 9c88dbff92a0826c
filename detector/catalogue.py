"""Which failure signatures a scope has shown: where, since when, in which release.

A bounded catalogue with a number for each signature. Per signature, release and
stratum it keeps totals, and of the exposure what the questions of
``detector.evidence.novelty`` need. Old signatures make room for new ones, but a
name that was once there is never taken for new again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import copy
from typing import NamedTuple

from msgspec import Struct, field

from detector.identity import id64
from detector.sketch import estimate, merge_sketches

SIGNATURES_MAX = 200
"""Signatures kept apart; further ones count as ``other``."""

FORGOTTEN_MAX = 10_000
"""Names remembered as known after they made room."""

IDLE_MS = 3_600_000
"""A signature makes room only if it was silent for this long."""

OTHER = "other"
OTHER_NUMBER = 0

Key = tuple[int, int]
"""Release number and stratum number."""


class Hits(Struct, array_like=True):
    """What one signature did in one cell of a window, by each way of counting.

    ``sessions`` and ``users`` are what aggregated lines said, ``session_first`` and
    ``user_first`` how many single ids failed for the first time in the hour.
    """

    lines: int = 0
    events: float = 0.0
    sessions: float = 0.0
    users: float = 0.0
    session_first: float = 0.0
    user_first: float = 0.0
    sketch: bytes | None = None

    def take(
        self,
        events: float,
        *,
        sessions: float = 0.0,
        users: float = 0.0,
        session_first: float = 0.0,
        user_first: float = 0.0,
        sketch: bytes | None = None,
    ) -> None:
        """Count one line: what it added to its cell, in each way of counting."""
        self.absorb(Hits(1, events, sessions, users, session_first, user_first, sketch))

    def absorb(self, other: Hits) -> None:
        """Add the hits of the same signature in a narrower window or other part."""
        self.lines += other.lines
        self.events += other.events
        self.sessions += other.sessions
        self.users += other.users
        self.session_first += other.session_first
        self.user_first += other.user_first
        if other.sketch is not None:
            self.sketch = merge_sketches(self.sketch, other.sketch)

    def units(self, way: str) -> float:
        """Failed units by the way of counting that is in use."""
        if way == "user_sketch":
            return estimate(self.sketch)
        counted: float = getattr(self, COUNTED_IN.get(way, "events"))
        return counted

    @property
    def persons(self) -> float:
        """Who was behind the events, as well as it can be told; at least 1."""
        told = max(self.users, estimate(self.sketch), self.user_first)
        return max(1.0, told or max(self.sessions, self.session_first) or self.events)


COUNTED_IN = {
    "session": "sessions",
    "session_hour": "session_first",
    "user_hour": "user_first",
    "user": "users",
}
"""Field of `Hits` by way of counting; the others count events."""


class Ground(Struct, array_like=True):
    """Exposure of one release in one stratum, over closed windows.

    ``expected`` is what the split of traffic elsewhere predicted, ``paired`` the
    exposure of the windows in which it did; ``ordinary`` the exposure without what
    odd clients may have brought along.
    """

    exposure: float = 0.0
    windows: float = 0.0
    ordinary: float = 0.0
    paired: float = 0.0
    expected: float = 0.0


class Place(Struct, array_like=True):
    """One signature in one release and stratum, over closed windows.

    ``dose`` is the sum over windows of units hit times the log of the ordinary
    exposure; ``since`` the state of the ground just before the first hit.
    """

    since: Ground
    events: float = 0.0
    persons: float = 0.0
    units: float = 0.0
    paired_units: float = 0.0
    dose: float = 0.0
    windows: int = 0
    first_ms: int = -1
    last_ms: int = -1


class Entry(Struct, array_like=True):
    """One signature: units hit per release, places, and a sample to look at."""

    name: str
    last_ms: int
    known: bool = False
    url: str | None = None
    counts: dict[int, float] = field(default_factory=dict)
    places: dict[Key, Place] = field(default_factory=dict)


class Novelty(Struct, array_like=True):
    """Where the other releases stood when a release came under watch.

    ``exposure`` by release and stratum, ``units`` by signature, release and stratum.
    """

    exposure: dict[Key, float] = field(default_factory=dict)
    units: dict[tuple[int, int, int], float] = field(default_factory=dict)


class CellReading(NamedTuple):
    """One cell of a closed window, read in the way of counting that is in use.

    ``expected`` is the exposure that the split elsewhere predicts, None if nothing
    does.
    """

    exposure: float
    expected: float | None
    way: str
    hits: Mapping[int, Hits]

    @property
    def ordinary(self) -> float:
        """Exposure to measure hits against, independent of whoever was hit.

        A client that fails again and again is part of the exposure it fails in:
        against that, hits at a constant pace would seem to follow it.
        """
        if self.expected is not None:
            return max(1.0, self.expected)
        hit = sum(self.hits[n].units(self.way) for n in sorted(self.hits))
        return max(1.0, self.exposure - hit)


class Catalogue(Struct, array_like=True):
    """The signatures of a scope and the exposure they had."""

    numbers: dict[str, int] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)
    ground: dict[Key, Ground] = field(default_factory=dict)
    forgotten: dict[int, int] = field(default_factory=dict)
    next_number: int = OTHER_NUMBER + 1
    overflow: int = 0

    def number(self, name: str, now_ms: int, url: str | None = None) -> int:
        """The number of a signature; a full catalogue forgets the idlest one."""
        found = self.numbers.get(name)
        if found is None:
            found = self._add(name, now_ms)
        entry = self.entries.get(found)
        if entry is None:
            return found
        entry.last_ms = max(entry.last_ms, now_ms)
        if entry.url is None:
            entry.url = url
        return found

    def name(self, number: int) -> str:
        """The signature of that number."""
        entry = self.entries.get(number)
        return OTHER if entry is None else entry.name

    def close(self, cells: Mapping[Key, CellReading], end_ms: int) -> None:
        """Add a closed window. Each window once, in any order of its cells."""
        for key in sorted(cells):
            cell = cells[key]
            ordinary = cell.ordinary
            before = self._tread(key, cell, ordinary)
            dose = math.log(ordinary)
            for number in sorted(cell.hits):
                entry = self.entries.get(number)
                if entry is not None:
                    _hit(entry, key, cell, number, before, dose, end_ms)

    def begin(self, release: int) -> Novelty:
        """Where the other releases stand; keep it with a watch that opens."""
        return Novelty(
            exposure={
                key: ground.exposure
                for key, ground in self.ground.items()
                if key[0] != release
            },
            units={
                (number, *key): place.units
                for number, entry in self.entries.items()
                for key, place in entry.places.items()
                if key[0] != release
            },
        )

    def places(self, release: int) -> Iterator[tuple[int, int, Place]]:
        """Signature, stratum and place of everything a release has shown."""
        for number in sorted(self.entries):
            for (owner, stratum), place in sorted(self.entries[number].places.items()):
                if owner == release:
                    yield number, stratum, place

    def forget(self, alive: set[int]) -> None:
        """Drop releases that the registry does not know any more.

        What they showed counts as known.
        """
        for key in [k for k in self.ground if k[0] not in alive]:
            del self.ground[key]
        for entry in self.entries.values():
            for key in [k for k in entry.places if k[0] not in alive]:
                del entry.places[key]
                entry.known = True
            for release in [r for r in entry.counts if r not in alive]:
                del entry.counts[release]

    def _tread(self, key: Key, cell: CellReading, ordinary: float) -> Ground:
        """Count the exposure of a cell; gives the state before it."""
        ground = self.ground.setdefault(key, Ground())
        before = copy(ground)
        ground.exposure += cell.exposure
        ground.windows += 1.0
        ground.ordinary += ordinary
        if cell.expected is not None:
            ground.paired += cell.exposure
            ground.expected += cell.expected
        return before

    def _add(self, name: str, now_ms: int) -> int:
        if len(self.entries) >= SIGNATURES_MAX and not self._make_room(now_ms):
            self.overflow += 1
            return OTHER_NUMBER
        number = self.next_number
        self.next_number += 1
        self.numbers[name] = number
        self.entries[number] = Entry(name, now_ms, known=id64(name) in self.forgotten)
        return number

    def _make_room(self, now_ms: int) -> bool:
        idlest = min(self.entries, key=lambda n: (self.entries[n].last_ms, n))
        entry = self.entries[idlest]
        if entry.last_ms > now_ms - IDLE_MS:
            return False
        del self.entries[idlest]
        del self.numbers[entry.name]
        self.forgotten[id64(entry.name)] = entry.last_ms
        if len(self.forgotten) > FORGOTTEN_MAX:
            oldest = min(self.forgotten, key=lambda m: (self.forgotten[m], m))
            del self.forgotten[oldest]
        return True


def _hit(
    entry: Entry,
    key: Key,
    cell: CellReading,
    number: int,
    before: Ground,
    dose: float,
    end_ms: int,
) -> None:
    place = entry.places.get(key)
    if place is None:
        place = entry.places[key] = Place(since=before, first_ms=end_ms)
    hits = cell.hits[number]
    units = hits.units(cell.way)
    place.events += hits.events
    place.persons += hits.persons
    place.units += units
    place.windows += 1
    place.last_ms = max(place.last_ms, end_ms)
    place.dose += units * dose
    if cell.expected is not None:
        place.paired_units += units
    entry.last_ms = max(entry.last_ms, end_ms)
    entry.counts[key[0]] = entry.counts.get(key[0], 0.0) + units


def aside_counts(
    hits: Mapping[int, Hits], aside: frozenset[int], way: str
) -> tuple[float, float]:
    """Units at risk and failed ones that signatures set aside bring into a cell.

    Both arms of a comparison lose what the odd clients are and do: a unit that was
    hit by a set-aside signature is neither at risk nor failed.

    Examples
    --------
    >>> aside_counts({3: Hits(users=2.0), 5: Hits(users=9.0)}, frozenset({3}), "user")
    (2.0, 2.0)
    """
    gone = sum(hits[n].units(way) for n in sorted(aside) if n in hits)
    return gone, gone
