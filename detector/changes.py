"""Which units ran which change under watch: counts of open windows, kept apart.

A component, a flag or a mini-program changes beside the main release. While one is
under judgement, telemetry is counted a second time, apart for every combination of
watched components that it carries; nothing is kept when none is. What is compared
with what follows from these exposures alone (``detector.mix``), never from failures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct, field

from detector.durations import Durations
from detector.events import Error, Feedback, Latency, Telemetry, Usage
from detector.funnel import Steps
from detector.releases import Release
from detector.windows import OpenWindow

COMPONENTS_MAX = 8
"""Components under judgement that are kept apart: those that were deployed last."""

GROUPS_MAX = 64
"""Combinations of components kept apart; units of further ones are not compared."""

OTHER_COMPONENT = "?"
"""Stands for every component that is not watched, where a record names one: a record
of a component is about that component, not about the whole service."""

VERSIONS_MAX = 64
"""Main releases of which the version of a component is remembered."""

EVERY = ""
"""Under this name it is remembered that records carry ``changes`` at all."""

Group = tuple[str, tuple[int, ...]]
"""Component that the record is about, and numbers of the watched ones it carries."""

KINDS: dict[type, str] = {
    Usage: "usage",
    Error: "error",
    Latency: "latency",
    Feedback: "feedback",
}


class Component(Struct, array_like=True):
    """A component candidate: what its telemetry says, and since when it is counted."""

    name: str
    version: str
    number: int
    from_ms: int


class Changes(Struct, array_like=True):
    """Component candidates of a scope and what open windows counted for them.

    ``told_ms`` is when records of a kind first said what they run, by kind: their
    ``changes`` (under ""), or that they are of one component (under its name). Until
    then nothing can be said about failures under a change. ``parts`` are components
    that a release under judgement brings itself, ``versions`` those seen of them, by
    component and number of the main release.
    """

    watched: list[Component] = field(default_factory=list)
    groups: dict[Group, int] = field(default_factory=dict)
    next_group: int = 1
    open: dict[int, dict[int, OpenWindow]] = field(default_factory=dict)
    told_ms: dict[str, dict[str, int]] = field(default_factory=dict)
    overflow: int = 0
    parts: tuple[str, ...] = ()
    versions: dict[str, dict[int, str]] = field(default_factory=dict)

    @property
    def counts_apart(self) -> bool:
        """Whether records are counted a second time."""
        return bool(self.watched or self.parts)


class Counted(NamedTuple):
    """Where a record is counted a second time, and whose units it then has."""

    window: OpenWindow
    owner: int


def watch_components(
    changes: Changes, candidates: list[Release], open_until_ms: int
) -> None:
    """Keep the newest component candidates apart, from the next fresh window on.

    ``candidates`` come oldest deploy first, ``open_until_ms`` is the end of the
    newest window that has already begun: it saw only a part of its telemetry.
    """
    known = {c.number: c for c in changes.watched}
    newest = [r for r in candidates if r.component][-COMPONENTS_MAX:]
    changes.watched = [
        known.get(r.number)
        or Component(r.component or "", r.shown, r.number, open_until_ms)
        for r in newest
    ]
    names = {EVERY, *(c.name for c in changes.watched)}
    for name in [n for n in changes.told_ms if n not in names]:
        del changes.told_ms[name]


def count_apart(
    changes: Changes, event: Telemetry, number: int, end_ms: int
) -> Counted | None:
    """Where to count a record of a main release again; None while nothing is watched.

    Parameters
    ----------
    number : int
        Of the main release.
    end_ms : int
        End of the record's window.
    """
    if event.changes:
        _note_told(changes, EVERY, event, end_ms)
    if not changes.counts_apart:
        return None
    if event.component in changes.parts and event.component_version:
        known = changes.versions.setdefault(event.component, {})
        if number in known or len(known) < VERSIONS_MAX:
            known[number] = event.component_version
    named = _group_of(changes, event, end_ms)
    group = changes.groups.get(named) or _new_group(changes, named)
    if not group:
        changes.overflow += 1
        return None
    windows = changes.open.setdefault(end_ms, {})
    window = windows.setdefault(group, OpenWindow(end_ms))
    # Below zero: no release has it, so units failing here count here for the first
    # time as well.
    return Counted(window, -(group << 32 | number))


def _group_of(changes: Changes, event: Telemetry, end_ms: int) -> Group:
    about, carried = "", []
    if event.component is not None:
        known = event.component in changes.parts
        about = event.component if known else OTHER_COMPONENT
    for one in changes.watched:
        version = event.changes.get(one.name)
        if event.component == one.name:
            about = one.name
            version = event.component_version or version
            _note_told(changes, one.name, event, end_ms)
        if version == one.version:
            carried.append(one.number)
    return about, tuple(sorted(carried))


def _note_told(changes: Changes, name: str, event: Telemetry, end_ms: int) -> None:
    told = changes.told_ms.setdefault(name, {})
    told.setdefault(KINDS[type(event)], end_ms)


def _new_group(changes: Changes, group: Group) -> int:
    """A number for a new combination; 0 where there is no room."""
    if len(changes.groups) >= GROUPS_MAX:
        live = {c.number for c in changes.watched}
        used = {number for windows in changes.open.values() for number in windows}
        for old, number in list(changes.groups.items()):
            if number not in used and not live.issuperset(old[1]):
                del changes.groups[old]
    if len(changes.groups) >= GROUPS_MAX:
        return 0
    number = changes.groups[group] = changes.next_group
    changes.next_group += 1
    return number


def is_told(changes: Changes, name: str, kind: str, end_ms: int) -> bool:
    """Whether records of a kind said before a window if they run a component.

    The first window that does is left out: it would be chosen by its failures.
    """
    times = (changes.told_ms.get(key, {}).get(kind) for key in (EVERY, name))
    return any(at_ms is not None and at_ms < end_ms for at_ms in times)


def close_apart(changes: Changes, end_ms: int) -> dict[Group, OpenWindow]:
    """Take out what a closed window counted, by group."""
    windows = changes.open.pop(end_ms, {})
    group_of = {number: group for group, number in changes.groups.items()}
    found = {group_of[number]: window for number, window in windows.items()}
    return {group: found[group] for group in sorted(found)}


def widen_apart(changes: Changes, grid: Callable[[int], int]) -> None:
    """Move counts of open windows into the wider ones that cover them."""
    narrow, changes.open = changes.open, {}
    for end_ms in sorted(narrow):
        wide = grid(end_ms)
        windows = changes.open.setdefault(wide, {})
        for group, window in narrow[end_ms].items():
            target = windows.setdefault(group, OpenWindow(wide))
            fold(target, window)


def fold(target: OpenWindow, window: OpenWindow) -> None:
    """Add a window's counts to those of a wider one."""
    target.ids |= window.ids
    for key, cell in window.cells.items():
        target.cell(*key).absorb(cell)
    for key, durations in window.durations.items():
        target.durations.setdefault(key, Durations()).absorb(durations)
    for key, steps in window.steps.items():
        target.steps.setdefault(key, Steps()).absorb(steps)
