"""What closed windows did to rows since these were last written whole.

A row is large and changes in every window, but what changed it is small: a handful
of counts. So a snapshot writes the counts of the windows since the last one, and a
restore takes the same steps again with the same code, which gives the same bytes.
After `STEPS_MAX` windows, and whenever rows changed in another way, they are
written whole again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from detector.evidence.rows import RateRatioRows
from detector.feeding import Prepared, add_evidence
from detector.scope import Scope, ScopeKey
from detector.signals.errors import Comparison

STEPS_MAX = 6
"""Windows after which rows are written whole. More: smaller snapshots, and more to
do again at a restore."""

SCOPES_TOGETHER = 512
"""Scopes that are restored in one call: a bound on the memory this needs."""

Journal = dict[ScopeKey, list[list[Prepared]]]
"""Windows by scope, at most one more than are ever written."""


class Step(Struct, array_like=True):
    """One signal of one release in one closed window: what its rows were fed."""

    release: str
    track: str
    start_ms: int
    end_ms: int
    silent: bool
    comparisons: list[Comparison]


Window = list[Step]


class RowsWritten(NamedTuple):
    """What a snapshot topic holds of a scope's rows.

    ``positions`` are the rows of the whole image, ``blocks`` how many blocks of steps
    came since, ``windows`` how many windows they hold.
    """

    positions: tuple[int, ...]
    blocks: int = 0
    windows: int = 0


class Draft(NamedTuple):
    """What the snapshot topic will hold once what was encoded last is there.

    Only scopes that changed are in it; ``next_offset`` says of when it is.
    """

    next_offset: int
    rows: dict[ScopeKey, RowsWritten]
    days: dict[ScopeKey, tuple[int, ...]]


def note(journal: Journal, key: ScopeKey, prepared: Sequence[Prepared]) -> None:
    """Keep what a closed window feeds the rows of a scope.

    One that is never written keeps no more than it takes to see that there were too
    many: a replay makes no snapshots.
    """
    if prepared:
        kept = journal.setdefault(key, [])
        if len(kept) <= STEPS_MAX:
            kept.append(list(prepared))


def windows_of(scope: Scope, kept: Sequence[Sequence[Prepared]]) -> list[Window]:
    """The kept windows with names in place of tracks; releases that ended drop out."""
    names = {
        id(track): (watch.release, track.signal)
        for watch in scope.watches.values()
        for track in watch.tracks.values()
    }
    return [
        [
            Step(*name, p.start_ms, p.end_ms, p.silent, p.comparisons)
            for p in window
            if (name := names.get(id(p.track))) is not None
        ]
        for window in kept
    ]


def take_again(
    taken: Sequence[tuple[Scope, list[Window]]], rows: RateRatioRows
) -> None:
    """Do to the rows what the windows did, each scope's oldest window first."""
    longest = max((len(windows) for _, windows in taken), default=0)
    for place in range(longest):
        batch: list[Prepared] = []
        for scope, windows in taken:
            if place < len(windows):
                batch += _prepared(scope, windows[place])
        add_evidence(rows, batch)


def _prepared(scope: Scope, window: Window) -> Iterator[Prepared]:
    for step in window:
        watch = scope.watches.get(step.release)
        track = watch.tracks.get(step.track) if watch else None
        if track is not None:
            yield Prepared(
                track, step.start_ms, step.end_ms, step.comparisons, step.silent
            )
