"""Which component of a release holds its harm?

A deploy may say which components a release brings, and telemetry which component a
record is about. They all change with the release, so no comparison tells their causes
apart; but where the records about one component alone are worse than the control's,
taking that component away is the smallest thing that helps.
"""

from __future__ import annotations

from math import sqrt

from msgspec import Struct, field

from detector.history import Counts, History
from detector.localise import OUTSIDE_RATIO_MAX, expected_bad, smallest_cut

PARTS_MAX = 8
"""Components of a release that are counted apart: the first ones by name."""

PLACES = 1 << 32
"""Strata of one part have numbers of their own below this."""

SPREAD_SD = 4.0
"""How far the rest must be beyond its limit before a harm that was one component's
counts as everybody's: the question is asked again with every window."""

ATTRS = ("component",)


class Parts(Struct, array_like=True):
    """What the parts of a release showed beside its control, since its deploy.

    ``names`` of its components; the first has part 1, part 0 is everything else.
    ``errors`` holds counts by part and stratum; ``beside`` are the parts that the
    control was seen with.
    """

    names: tuple[str, ...] = ()
    errors: History = field(default_factory=History)
    beside: list[int] = field(default_factory=list)

    def number(self, about: str) -> int:
        """The part of records about a component."""
        return self.names.index(about) + 1 if about in self.names else 0

    def harmed(self, onset_ms: int) -> str | None:
        """The component that holds the harm since then; None for all, or unclear.

        Examples
        --------
        Of two components one fails ten times as often as before:

        >>> parts = Parts(("cart", "search"))
        >>> counts = {PLACES: (800., 80., 800., 8.), 2 * PLACES: (800., 8., 800., 8.)}
        >>> parts.errors.add(0, 10_000, counts)
        >>> parts.harmed(0)
        'cart'
        """
        counts = self.errors.since(onset_ms)
        keys: dict[int, tuple[str, ...]] = {
            place: (self._name_at(place),) for place in counts
        }
        cut = smallest_cut(ATTRS, keys, counts)
        return cut[0][1] or None if cut else None

    def is_spread(self, name: str, onset_ms: int) -> bool:
        """Whether the harm is certainly not in this component alone."""
        counts = self.errors.since(onset_ms)
        expected = expected_bad(counts)
        rest = [place for place in counts if self._name_at(place) != name]
        bad = sum(counts[place][1] for place in rest)
        limit = OUTSIDE_RATIO_MAX * sum(expected[place] for place in rest)
        return bad > limit + SPREAD_SD * sqrt(limit) if limit > 0 else False

    def inside(self, name: str, onset_ms: int) -> list[Counts]:
        """Counts of a component since then, by stratum."""
        counts = self.errors.since(onset_ms)
        return [c for p, c in sorted(counts.items()) if self._name_at(p) == name]

    def _name_at(self, place: int) -> str:
        part = place // PLACES
        return self.names[part - 1] if 0 < part <= len(self.names) else ""
