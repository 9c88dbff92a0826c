"""How much the arms of a candidate differ in other changes: decided by exposure alone.

From the units of each window, with weights that fade, it follows how closely a
candidate can be compared, and which other changes a looser comparison mixes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from detector.catalogue import Hits
from detector.windows import Cell

SIGNATURES_MAX = 64
"""Failure signatures counted by arm for a component."""

OVERLAP_MIN = 0.1
"""Least share of what could be compared at all that must remain where arms differ in
nothing but the candidate. Else they are compared whatever else they run."""

OVERLAP_LOST = 0.05
"""Once reached, the overlap must fall below this to be given up."""

KEPT_SHARE = 0.95
"""How much of the past exposures weighs beside a new window: about 20 windows."""

ALIKE = 0.1
"""Two arms run a change alike if its share of their units differs by less."""

Context = tuple[str, int, tuple[int, ...]]
"""What both arms have in common: component, main release (0: any), other changes."""


class Mix(Struct, array_like=True):
    """What else the units of a candidate and of its control run, as of late.

    ``joint`` are units that have others beside them in the same context, by level, the
    closest first; ``carried`` the units of (candidate, control) that carry another
    change, of ``base``, where arms are compared at the last level. ``level`` is the
    one in use. ``untold`` are failures expected of a candidate whose failures nothing
    tells apart; ``hits`` the failures of a component by signature, those of its
    control, and how many of its own that leads to expect.
    """

    joint: list[float] = field(default_factory=list)
    base: float = 0.0
    carried: dict[int, tuple[float, float]] = field(default_factory=dict)
    level: int = 0
    untold: float = 0.0
    hits: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def note_hits(self, own: Cell, other: Cell) -> None:
        """Add the failures of both arms in one stratum of a window."""
        if own.weighted_units <= 0 or other.weighted_units <= 0:
            return
        scale = own.weighted_units / other.weighted_units
        for number in sorted({*own.signatures, *other.signatures}):
            if number not in self.hits and len(self.hits) >= SIGNATURES_MAX:
                continue
            before = self.hits.get(number, (0.0, 0.0, 0.0))
            mine = own.signatures.get(number, Hits()).events
            theirs = other.signatures.get(number, Hits()).events
            self.hits[number] = (
                before[0] + mine,
                before[1] + theirs,
                before[2] + scale * theirs,
            )

    def note(self, exposures: Exposures) -> bool:
        """Add a window; whether evidence of a looser level is now of no use."""
        if exposures.own <= 0:
            return False
        levels = exposures.joint()
        joint = self.joint if len(self.joint) == len(levels) else [0.0] * len(levels)
        self.joint = [
            KEPT_SHARE * old + new for old, new in zip(joint, levels, strict=True)
        ]
        base, carried = exposures.carried()
        self.base = KEPT_SHARE * self.base + base
        self.carried = {
            number: (
                KEPT_SHARE * self.carried.get(number, (0.0, 0.0))[0] + own,
                KEPT_SHARE * self.carried.get(number, (0.0, 0.0))[1] + other,
            )
            for number, (own, other) in _filled(carried, self.carried).items()
        }
        before, mixed = self.level, bool(self.differing())
        self.level = self._closest()
        return self.level < before and mixed

    def differing(self) -> list[int]:
        """Numbers of changes that the candidate's units run more than its control's."""
        if self.base <= 0:
            return []
        return [
            number
            for number, (own, other) in sorted(self.carried.items())
            if own - other > ALIKE * self.base
        ]

    def _closest(self) -> int:
        """The closest level with enough overlap, else the last."""
        for level, joint in enumerate(self.joint):
            least = OVERLAP_LOST if level >= self.level else OVERLAP_MIN
            if joint > 0 and joint >= least * self.joint[-1]:
                return level
        return len(self.joint) - 1


def _filled(
    new: Mapping[int, tuple[float, float]], old: Iterable[int]
) -> dict[int, tuple[float, float]]:
    """The shares of this window for every change known so far."""
    return {number: new.get(number, (0.0, 0.0)) for number in sorted({*new, *old})}


class Exposures:
    """Units of one window by context and stratum, of a candidate and its control.

    Parameters
    ----------
    levels : int
        How many contexts each unit has, the closest first.
    """

    def __init__(self, levels: int) -> None:
        self.own = 0.0
        self.sums: list[dict[tuple[Context, int], list[float]]] = [
            {} for _ in range(levels)
        ]
        self.with_change: dict[int, dict[tuple[Context, int], list[float]]] = {}

    def add(
        self,
        side: int,
        contexts: list[Context],
        stratum: int,
        units: float,
        others: Iterable[int],
    ) -> None:
        """Count units of the candidate (side 0) or of its control (side 1)."""
        if side == 0:
            self.own += units
        for sums, context in zip(self.sums, contexts, strict=True):
            sums.setdefault((context, stratum), [0.0, 0.0])[side] += units
        for number in others:
            each = self.with_change.setdefault(number, {})
            each.setdefault((contexts[-1], stratum), [0.0, 0.0])[side] += units

    def joint(self) -> list[float]:
        """Units with as many beside them in the same context, by level."""
        return [sum(min(pair) for pair in sums.values()) for sums in self.sums]

    def carried(self) -> tuple[float, dict[int, tuple[float, float]]]:
        """Units compared at the last level; those with each change, by arm.

        The control's are scaled to the candidate's units of the same stratum.
        """
        pairs = {k: p for k, p in self.sums[-1].items() if min(p) > 0}
        base = sum(own for own, _ in pairs.values())
        found = {}
        for number, each in sorted(self.with_change.items()):
            own = other = 0.0
            for key, (all_own, all_other) in pairs.items():
                with_own, with_other = each.get(key, (0.0, 0.0))
                own += with_own
                other += all_own * with_other / all_other
            found[number] = (own, other)
        return base, found
