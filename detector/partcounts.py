"""Counts of the components that a release brings, window by window.

``detector.changes`` counts records apart by the component that they are about; here
each such part of a release is laid beside the same part of its control. A component
that the control does not have is laid beside the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from detector.changes import Changes, Group
from detector.comparing import Apart
from detector.history import Counts
from detector.parts import PARTS_MAX, PLACES, Parts
from detector.releases import Release
from detector.scope import Scope, Watch
from detector.signals.census import Aside
from detector.signals.errors import Hits, Known
from detector.signals.table import ERRORS
from detector.windows import Cell, OpenWindow

Groups = list[list[int]]


def parts_of(release: Release) -> tuple[str, ...]:
    """Components of a release that its records are told apart by."""
    if release.component is not None:
        return ()
    return tuple(sorted(release.changes)[:PARTS_MAX])


def watch_parts(changes: Changes, candidates: Iterable[Release]) -> None:
    """Count records about the components of these releases apart."""
    named = {name for release in candidates for name in parts_of(release)}
    changes.parts = tuple(sorted(named)[:PARTS_MAX])
    for name in [n for n in changes.versions if n not in named]:
        del changes.versions[name]


def note_parts(
    scope: Scope,
    watch: Watch,
    release: Release,
    window: OpenWindow,
    apart: Apart,
    groups: Groups,
    aside: Aside,
) -> None:
    """Lay the parts of a release beside those of its control in a closed window."""
    names = parts_of(release)
    if watch.parts.names != names:
        watch.parts = Parts(names)
    parts = watch.parts
    if not names or watch.slow:
        return
    members = {number for group in groups for number in group}
    found: dict[int, Counts] = {}
    for part, cells in _cells_by_part(parts, apart).items():
        if any(number in members for number, _ in cells):
            if part not in parts.beside:
                parts.beside.append(part)
        elif part not in parts.beside:
            whole = {k: c for k, c in window.cells.items() if k[0] in members}
            cells = {**whole, **cells}
        # A part alone may well hold a failure of a sender and none of its usage.
        known = Known(scope.error_rates, {}, Hits(), aside)
        lone = OpenWindow(window.end_ms, cells=cells)
        for one in ERRORS.compare(lone, release, groups, known)[0]:
            found[part * PLACES + one.stratum] = (
                one.units_candidate,
                one.bad_candidate,
                one.units_control,
                one.bad_control,
            )
    if found:
        parts.errors.add(window.end_ms - scope.width_ms, window.end_ms, found)


def _cells_by_part(
    parts: Parts, apart: dict[Group, OpenWindow]
) -> dict[int, dict[tuple[int, int], Cell]]:
    """Cells of each part, whatever watched components its units run beside."""
    found: dict[int, dict[tuple[int, int], Cell]] = {}
    for (about, _), window in apart.items():
        cells = found.setdefault(parts.number(about), {})
        for key, cell in window.cells.items():
            if key not in cells:
                cells[key] = cell
                continue
            both = Cell()
            both.absorb(cells[key])
            both.absorb(cell)
            cells[key] = both
    return dict(sorted(found.items()))
