"""The units of a window, sorted into the arms of a candidate by what else they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from msgspec import structs

from detector.changes import Component, Group
from detector.durations import Durations, together
from detector.funnel import Steps
from detector.ledger import Key
from detector.mix import Context, Exposures
from detector.releases import Registry, Release, Stage
from detector.scope import Scope
from detector.signals.telemetry import is_whole
from detector.windows import Cell, OpenWindow

Kind = TypeVar("Kind", Cell, Durations, Steps)


class Layout(NamedTuple):
    """One pair of arms: a window, the control's numbers in it, and what is known."""

    scope: Scope
    window: OpenWindow
    groups: list[list[int]]


class Place(NamedTuple):
    """Where units belong: 0 the candidate, 1 its control; contexts, closest first.

    ``others`` are the numbers of other changes under watch that they run.
    """

    side: int
    contexts: list[Context]
    others: list[int]


class Sorter:
    """Sorts the units of a window into the arms of one candidate.

    Parameters
    ----------
    own : Component or None
        The candidate, where it is a component; else ``release`` is, and ``groups``
        are its control.
    live : list of Component
        Components whose units are known in this window.
    """

    def __init__(
        self,
        scope: Scope,
        release: Release,
        own: Component | None,
        live: list[Component],
        groups: list[list[int]],
    ) -> None:
        self.scope = scope
        self.release = release
        self.own = own
        self.live = frozenset(c.number for c in live)
        self.groups = groups
        self.members = {n for group in groups for n in group}
        self.placed: list[tuple[Place, int, OpenWindow]] = []
        self.broken: set[Key] = set()

    def take(self, window: OpenWindow, apart: dict[Group, OpenWindow]) -> None:
        """Take up a window: as it is, and counted by group."""
        self.broken = {key for key in window.cells if not self._is_whole(window, key)}
        for group, part in apart.items():
            several = (part.cells, part.durations, part.steps)
            for number in sorted({n for cells in several for n, _ in cells}):
                place = self._place(group, number)
                if place is not None:
                    self.placed.append((place, number, part))

    def exposures(self) -> Exposures:
        """Units of the window by context."""
        found = Exposures(2 if self.own is None else 3)
        for place, number, part in self.placed:
            for key, cell in part.cells.items():
                if key[0] == number and key not in self.broken:
                    units = cell.weighted_units
                    found.add(place.side, place.contexts, key[1], units, place.others)
        return found

    def layouts(self, end_ms: int, level: int) -> list[Layout]:
        """One pair of arms for each context of a level."""
        found: dict[Context, list[tuple[Place, int, OpenWindow]]] = {}
        for item in self.placed:
            found.setdefault(item[0].contexts[level], []).append(item)
        return [self._layout(found[context], end_ms) for context in sorted(found)]

    def _place(self, group: Group, number: int) -> Place | None:
        about, carried = group
        bits = tuple(n for n in carried if n in self.live)
        if self.own is None:
            if number != self.release.number and number not in self.members:
                return None
            side = int(number != self.release.number)
            return Place(side, [("", 0, bits), ("", 0, ())], list(bits))
        if number == self.own.number:
            return None
        others = tuple(n for n in bits if n != self.own.number)
        side = int(self.own.number not in bits)
        main = release_of(self.scope.registry, number)
        young = main is not None and main.stage is Stage.CANDIDATE
        contexts = [(about, number, others), (about, number, ()), (about, 0, ())]
        return Place(side, contexts, [*others, number] if young else list(others))

    def _is_whole(self, window: OpenWindow, key: Key) -> bool:
        """Whether a cell has the usage of all senders, as all changes together show.

        A part alone may well hold a failure of a sender and none of its usage.
        """
        health, cell = self.scope.health.get(key[0]), window.cells[key]
        return health is None or is_whole(
            health, cell.usage_senders, cell.error_senders, window.end_ms
        )

    def _layout(
        self, items: list[tuple[Place, int, OpenWindow]], end_ms: int
    ) -> Layout:
        window = OpenWindow(
            end_ms,
            cells=self._merged(items, lambda part: part.cells, Cell),
            durations=self._merged(items, lambda part: part.durations, Durations),
            steps=self._merged(items, lambda part: part.steps, Steps),
        )
        if self.own is None:
            return Layout(structs.replace(self.scope, health={}), window, self.groups)
        mains = sorted({number for _, number, _ in items})
        return Layout(self._scope_of(mains), window, [[-self.own.number]])

    def _merged(
        self,
        items: list[tuple[Place, int, OpenWindow]],
        cells_of: Callable[[OpenWindow], dict[Key, Kind]],
        empty: Callable[[], Kind],
    ) -> dict[Key, Kind]:
        """What the arms counted; cells are shared where nothing is to be added."""
        several: dict[Key, list[Kind]] = {}
        for place, number, part in items:
            arm = number
            if self.own is not None:
                arm = -self.own.number if place.side else self.own.number
            for key, cell in cells_of(part).items():
                if key[0] == number and key not in self.broken:
                    several.setdefault((arm, key[1]), []).append(cell)
        merged = {}
        for key, each in several.items():
            merged[key] = each[0]
            if len(each) > 1:
                merged[key] = empty()
                for cell in each:
                    merged[key].absorb(cell)
        return merged

    def _scope_of(self, mains: list[int]) -> Scope:
        """What is known of main releases, under the numbers of a component's arms."""
        assert self.own is not None
        number, latency = self.own.number, self.scope.latency
        rates = self.scope.error_rates
        rate = next((rates[main] for main in mains if main in rates), 1.0)
        strata = sorted({s for r, s in latency.recent if r in mains})
        recent = {
            (-number, s): together(
                latency.recent[main, s] for main in mains if (main, s) in latency.recent
            )
            for s in strata
        }
        return structs.replace(
            self.scope,
            health={},
            error_rates={number: rate, -number: rate},
            latency=structs.replace(latency, recent=recent),
        )


def release_of(registry: Registry, number: int) -> Release | None:
    """The release of a number, None once it has made room for others."""
    return registry.releases.get(registry.names_of.get(number, ""))
