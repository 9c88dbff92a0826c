"""Increases of counters from their values at the boundaries of windows.

A counter only rises; where it falls the process was started again and what it shows
was counted since. What can not be placed in one window is left out, never poured into
the next: a gap says that somebody did not look, not that nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Labels = tuple[tuple[str, str], ...]
Target = tuple[str, ...]


class Series:
    """One time series; the same labels are the same object (see ``SeriesTable``).

    ``target`` is the process that was scraped: its job and instance, or the series
    alone where it has no instance, as those of recording rules.
    """

    __slots__ = ("labels", "target")

    def __init__(self, labels: Labels) -> None:
        self.labels = dict(labels)
        instance = self.labels.get("instance")
        self.target: Target = (
            (self.labels.get("job", ""), instance)
            if instance is not None
            else ("", *(f"{name}={value}" for name, value in labels))
        )


class SeriesTable:
    """Series by their labels."""

    def __init__(self) -> None:
        self._series: dict[Labels, Series] = {}

    def of(self, labels: Mapping[str, str]) -> Series:
        """The series with these labels."""
        key = tuple(sorted(labels.items()))
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = Series(key)
        return found


Values = Mapping[Series, float]


class Targets:
    """At which boundary each process was last read, and any of them.

    Parameters
    ----------
    known : iterable of Series
        Series that were there before the range.
    """

    def __init__(self, known: Iterable[Series] = ()) -> None:
        self._read_at: dict[Target, int] = {one.target: -1 for one in known}
        self._any_at = -1

    def note(self, at: int, present: Iterable[Series]) -> None:
        """Take in who was read at a boundary."""
        for series in present:
            self._read_at[series.target] = self._any_at = at

    def unread_since(self, series: Series, at: int) -> int | None:
        """Since which boundary nobody looked at a series that is new at ``at``.

        None where somebody did at the boundary before: then it counts from zero.
        """
        read_at = self._read_at.get(series.target, self._any_at)
        return None if read_at == at - 1 else read_at


class _Last(NamedTuple):
    at: int
    value: float


class Increases:
    """Increases of the counters of one selector, one boundary after the other.

    Attributes
    ----------
    resets, gaps : int
        Falls of a counter; first values after a time in which nobody looked.
    differences : int
        Increases that were told.
    dropped : set of int
        Boundaries of the windows whose counts are left out because of gaps.
    """

    def __init__(self) -> None:
        self.resets = 0
        self.gaps = 0
        self.differences = 0
        self.dropped: set[int] = set()
        self._last: dict[Series, _Last] = {}

    def step(self, at: int, present: Values, targets: Targets) -> dict[Series, float]:
        """Increase in the window that ends at a boundary, of each series that has one.

        Parameters
        ----------
        at : int
            Number of the boundary; 0 is the start of the range, where all are bases.
        present : mapping
            Values at the boundary, of samples of that very window.
        targets : Targets
            Who was read up to the boundary before.
        """
        found: dict[Series, float] = {}
        for series, value in present.items():
            last = self._last.get(series)
            if last is not None and last.at == at - 1:
                fell = value < last.value
                self.resets += fell
                found[series] = value if fell else value - last.value
            elif at > 0:
                since = targets.unread_since(series, at)
                if since is None:
                    found[series] = value
                else:
                    self.gaps += 1
                    first = since if last is None else last.at
                    self.dropped.update(range(max(first, 0) + 1, at + 1))
            self._last[series] = _Last(at, value)
        self.differences += len(found)
        return found
