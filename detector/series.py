"""Which series a release has: all of it, each attribute value, each pair.

A regression in one segment must not be diluted by the rest, so segments are
tested beside the whole, each with a weight fixed before its data. Weights of
the groups are 1/2 (all), 1/4 (values), 1/4 (pairs); inside a group the strata
known at the start share equally and later ones share a reserve, so that the
weights sum to at most 1 whatever appears (statistics 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

from msgspec import Struct, field

SERIES_MAX = 64
GROUP_WEIGHTS = (0.5, 0.25, 0.25)
RESERVE = 0.1
"""Share of a group's weight kept for values that appear after the start."""

STRATA_MAX = 512
"""Combinations of values kept apart; further ones are counted as ``other``."""

CHOSEN_MAX = 3
CHOSEN_VALUES_MAX = 48
"""Attributes and values taken up where the rule names none."""

PREFERRED = ("os", "region", "route", "app_version", "platform", "browser", "zone")
"""Whose difference most often hides a regression, or looks like one."""

MISSING = ""
OTHER_VALUE = "other"

Segment = tuple[tuple[str, str], ...]
WHOLE: Segment = ()
Allocate = Callable[[], int]


class Strata(Struct, array_like=True):
    """The strata of a scope: tuples of attribute values, numbered as they come."""

    attrs: tuple[str, ...] = ()
    values: list[list[str]] = field(default_factory=list)
    numbers: dict[tuple[str, ...], int] = field(default_factory=dict)
    next_number: int = 0
    overflow: int = 0
    unfit: list[str] = field(default_factory=list)

    def number(
        self, attrs: dict[str, str], limits: tuple[tuple[str, int], ...], release: str
    ) -> int:
        """The stratum of a record; values beyond the limit become ``other``.

        A value that repeats the release's own name (an app version, say) tells the
        arms apart instead of making them comparable: it counts as missing.
        """
        names = _names_of(limits)
        if self.attrs != names:
            self._restart(names)
        # For every record: what is known needs no second look, and lists are twice
        # as fast as generators.
        key = tuple([attrs.get(name, MISSING) for name in names])
        known = self.numbers.get(key)
        if known is not None and _is_plain(key, release):
            return known
        key = tuple(
            [
                self._value(i, _value_of(attrs, name, release), most)
                for i, (name, most) in enumerate(limits)
            ]
        )
        found = self.numbers.get(key)
        if found is None:
            if len(self.numbers) >= STRATA_MAX:
                self.overflow += 1
                key = tuple(OTHER_VALUE for _ in key)
                if key in self.numbers:
                    return self.numbers[key]
            found = self.numbers[key] = self.next_number
            self.next_number += 1
        return found

    def choose(self, attrs: dict[str, str], release: str) -> None:
        """Take up attributes that usage carries, three at most, first seen first.

        For a rule that names none. One with more values than segments can be made
        of (an id, a host) is dropped for good and makes room for the next.
        """
        for name, seen in zip(self.attrs, self.values, strict=True):
            if len(seen) >= CHOSEN_VALUES_MAX:
                self.unfit.append(name)
                self._restart(tuple(a for a in self.attrs if a != name))
        if len(self.attrs) >= CHOSEN_MAX or attrs.keys() <= set(self.attrs):
            return
        fresh = [
            name
            for name in attrs
            if name not in self.attrs
            and name not in self.unfit
            and _value_of(attrs, name, release) != MISSING
        ]
        fresh.sort(key=lambda name: (_rank(name), name))
        for name in fresh[: CHOSEN_MAX - len(self.attrs)]:
            self._extend(name)

    def chosen(self) -> tuple[tuple[str, int], ...]:
        """The attributes taken up, as the limits of a rule."""
        return _limits_of(self.attrs)

    def varied(self) -> set[str]:
        """Attributes with more than one value: only those make segments."""
        return {
            name
            for name, seen in zip(self.attrs, self.values, strict=True)
            if len(seen) > 1
        }

    def key_of(self) -> dict[int, tuple[str, ...]]:
        """Attribute values by stratum number."""
        return {number: key for key, number in self.numbers.items()}

    def segments(self) -> dict[int, list[Segment]]:
        """The segments that each stratum in use belongs to, the whole first."""
        return {n: segments_of(self.attrs, key) for key, n in self.numbers.items()}

    def within(self, segment: Segment) -> Callable[[int], bool]:
        """Says of the number of a stratum whether the segment holds it.

        What has no number any more is in the whole only.
        """
        if not segment:
            return lambda stratum: True
        inside = {n for n, found in self.segments().items() if segment in found}
        return inside.__contains__

    def _restart(self, names: tuple[str, ...]) -> None:
        """A rule with other attributes starts a new enumeration; old numbers are
        not used again, so an open window never mixes two meanings."""
        self.attrs = names
        self.values = [[] for _ in names]
        self.numbers = {}

    def _extend(self, name: str) -> None:
        """One attribute more: what was seen without it keeps its number."""
        self.attrs = (*self.attrs, name)
        self.values.append([])
        self.numbers = {(*key, MISSING): n for key, n in self.numbers.items()}

    def _value(self, index: int, value: str, most: int) -> str:
        if value == MISSING:
            return MISSING
        known = self.values[index]
        if value in known:
            return value
        if len(known) >= most:
            self.overflow += 1
            return OTHER_VALUE
        known.append(value)
        return value


@lru_cache(maxsize=1024)
def _names_of(limits: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in limits)


@lru_cache(maxsize=1024)
def _limits_of(attrs: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    return tuple((name, CHOSEN_VALUES_MAX) for name in attrs)


def _is_plain(key: tuple[str, ...], release: str) -> bool:
    """Whether these values, all seen before, stand for themselves.

    The release's own name does not; ``other`` may have been refused a place.
    """
    for value in key:
        if value == OTHER_VALUE or (value != MISSING and release.endswith(value)):
            return False
    return True


def _rank(name: str) -> int:
    return PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)


def _value_of(attrs: dict[str, str], name: str, release: str) -> str:
    value = attrs.get(name, MISSING)
    return MISSING if value == release or release.endswith(f"@{value}") else value


class Series(Struct, array_like=True):
    """One tested segment: its row in the evidence arrays and its weight."""

    segment: Segment
    row: int
    weight: float


class SeriesSet(Struct, array_like=True):
    """The series of one candidate and which of them each stratum feeds."""

    series: list[Series] = field(default_factory=list)
    of_stratum: dict[int, list[int]] = field(default_factory=dict)
    late: list[int] = field(default_factory=lambda: [0, 0, 0])
    known_strata: int = 0
    overflow: int = 0

    def segments(self) -> set[Segment]:
        """The segments tested so far."""
        return {s.segment for s in self.series}

    def feed(self, stratum: int, segments: list[Segment], allocate: Allocate) -> None:
        """Note which series a stratum feeds; new segments become late series.

        ``allocate`` gives the row of a new series; beyond ``SERIES_MAX`` nothing
        more is opened and the overflow is counted.
        """
        index = {s.segment: i for i, s in enumerate(self.series)}
        fed = []
        for segment in segments:
            place = index.get(segment)
            if place is None:
                place = self._late(segment, allocate)
            if place is not None:
                fed.append(place)
        self.of_stratum[stratum] = fed

    def _late(self, segment: Segment, allocate: Allocate) -> int | None:
        if len(self.series) >= SERIES_MAX:
            self.overflow += 1
            return None
        group = len(segment)
        weight = late_weight(group, self.late[group])
        self.late[group] += 1
        self.series.append(Series(segment, allocate(), weight))
        return len(self.series) - 1


def segments_of(attrs: tuple[str, ...], key: tuple[str, ...]) -> list[Segment]:
    """All segments one stratum belongs to: (), each value, each pair.

    Examples
    --------
    >>> segments_of(("os", "region"), ("ios", "eu"))[:2]
    [(), (('os', 'ios'),)]
    """
    if len(key) != len(attrs):  # a stratum of an earlier enumeration
        return [()]
    named = [(a, v) for a, v in zip(attrs, key, strict=True) if v != MISSING]
    found: list[Segment] = [()]
    found += [(pair,) for pair in named]
    found += list(combinations(named, 2))
    return found


def initial_segments(strata: Strata) -> list[Segment]:
    """Segments to test from the start, from the strata seen before the release.

    Attributes with a single value are left out: their segment is the whole.
    """
    varied = strata.varied()
    found: dict[Segment, None] = {(): None}
    for size in (1, 2):
        for key in strata.numbers:
            for segment in segments_of(strata.attrs, key):
                if len(segment) == size and all(a in varied for a, _ in segment):
                    found[segment] = None
    return list(found)[:SERIES_MAX]


def initial_weights(segments: list[Segment]) -> list[float]:
    """Weights of the initial segments; with all late ones they sum to at most 1.

    A group that is empty at the start keeps only its reserve; what it does not
    use goes to ``all``.

    Examples
    --------
    >>> initial_weights([()])
    [0.95]
    """
    counts = [0, 0, 0]
    for segment in segments:
        counts[len(segment)] += 1
    shares = [
        w if n else w * RESERVE for w, n in zip(GROUP_WEIGHTS, counts, strict=True)
    ]
    whole = 1.0 - shares[1] - shares[2]
    return [
        whole if not s else shares[len(s)] * (1.0 - RESERVE) / counts[len(s)]
        for s in segments
    ]


def late_weight(group: int, already_late: int) -> float:
    """Weight of the next late segment of a group: reserve / ((i+1)(i+2)).

    The sum over all i is the reserve, so the total never exceeds 1.
    """
    return GROUP_WEIGHTS[group] * RESERVE / ((already_late + 1) * (already_late + 2))
