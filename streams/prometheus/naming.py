"""Whose a series is: service, environment, release and segments by its labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streams.prometheus.counters import Series
from streams.prometheus.mapping import NAME, Deploys, Part, Source

ATTRS_CHARS_MAX = 4096


class Whose(NamedTuple):
    """Who a count belongs to."""

    service: str
    environment: str
    release: str
    component: str | None = None
    attrs: tuple[tuple[str, str], ...] = ()


class Lookup:
    """Labels of an info metric for series that share other labels with it."""

    def __init__(self, part: Part) -> None:
        self.changes = 0
        self._part = part
        self._first_at: dict[tuple[tuple[str, ...], str], int] = {}
        self._word: dict[tuple[str, ...], str] = {}

    def note(self, at: int, present: Iterable[Series]) -> None:
        """Take in the info metric at a boundary.

        Of two that share the labels, as in the window of a deploy, the one seen first
        later is what runs now.
        """
        newest: dict[tuple[str, ...], tuple[int, str]] = {}
        for series in present:
            key, word = self._key(series), series.labels.get(self._part.label or "")
            if word is not None:
                first_at = self._first_at.setdefault((key, word), at)
                newest[key] = max(newest.get(key, (-2, "")), (first_at, word))
        for key, (_, word) in newest.items():
            if self._word.get(key) != word:
                self._word[key] = word
                self.changes += 1

    def word(self, series: Series) -> str | None:
        """What the info metric says now, or said last."""
        return self._word.get(self._key(series))

    def words(self, series: Series) -> list[str]:
        """Everything that it said so far."""
        key = self._key(series)
        return sorted(word for one, word in self._first_at if one == key)

    def _key(self, series: Series) -> tuple[str, ...]:
        return tuple(series.labels.get(name, "") for name in self._part.by)


Lookups = Mapping[Part, Lookup]


class Namer:
    """Says whose a series is, by the parts of a source.

    ``unnamed`` are series that are left out, with the reason.
    """

    def __init__(self, source: Source | Deploys, lookups: Lookups) -> None:
        self.unnamed: dict[Series, str] = {}
        self._source = source
        self._lookups = lookups
        self._used = [lookups[part] for part in source.parts if part.info is not None]
        self._changes = -1
        self._known: dict[Series, Whose | None] = {}

    def whose(self, series: Series) -> Whose | None:
        """Whose it is now; None where its labels do not say so."""
        changes = sum(one.changes for one in self._used)
        if changes != self._changes:
            self._changes, self._known = changes, {}
        if series not in self._known:
            self._known[series] = self._resolved(series)
        return self._known[series]

    def ever(self, series: Series) -> Iterator[tuple[str, str, str]]:
        """Service, environment and releases that it had so far."""
        source = self._source
        named = (source.service, source.environment, source.release)
        for one in itertools.product(*(self._words(part, series) for part in named)):
            service, environment, release = one
            if all(NAME.fullmatch(word) for word in one):
                yield service, environment, release

    def _words(self, part: Part, series: Series) -> Sequence[str]:
        if part.info is not None:
            return self._lookups[part].words(series) or [part.const or ""]
        return [self._word(part, series) or ""]

    def _word(self, part: Part, series: Series) -> str | None:
        if part.info is not None:
            found = self._lookups[part].word(series)
        else:
            found = series.labels.get(part.label or "")
        # An empty label is none, as in Prometheus.
        return found or part.const

    def _resolved(self, series: Series) -> Whose | None:
        source = self._source
        words = {
            "service": self._word(source.service, series),
            "environment": self._word(source.environment, series),
            "release": self._word(source.release, series),
        }
        if isinstance(source, Source) and source.component is not None:
            words["component"] = self._word(source.component, series)
            if words["component"] is None:
                del words["component"]
        for name, word in words.items():
            if word is None or not NAME.fullmatch(word):
                said = "missing" if word is None else f"{word[:40]!r} is no name"
                self.unnamed.setdefault(series, f"{name}: {said}")
                return None
        self.unnamed.pop(series, None)
        return Whose(
            words["service"] or "",
            words["environment"] or "",
            words["release"] or "",
            words.get("component"),
            self._attrs(series),
        )

    def _attrs(self, series: Series) -> tuple[tuple[str, str], ...]:
        if not isinstance(self._source, Source):
            return ()
        found = ((k, self._word(part, series)) for k, part in self._source.attrs)
        return tuple((k, word[:ATTRS_CHARS_MAX]) for k, word in found if word)
