"""From range queries to lines, in order of time: what is asked, and in which pieces."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from streams.backtest.outcome import clock
from streams.errors import Refused
from streams.prometheus.client import Found, Prometheus
from streams.prometheus.convert import Json, Releases, SourceLines
from streams.prometheus.counters import Series, SeriesTable, Values
from streams.prometheus.mapping import Deploys, MetricMap, Part, Source
from streams.prometheus.naming import Lookup, Namer

POINTS_MAX = 10_000
"""Steps of one query; Prometheus refuses more than 11,000."""

SAMPLES_MAX = 500_000
"""Values held at once, about; Prometheus loads at most 50 million for a query."""

LINE_OBJECTS_MAX = 1_000
SPAN_S = 600
"""Over which the scrape interval is estimated."""

SPAN_POINTS = 20
USUAL_INTERVALS_S = (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300)
STEP_S_LEAST = 10


class Span(NamedTuple):
    """What is imported: windows of ``step_s`` from ``start_ms`` to ``end_ms``.

    Both ends lie on the grid of windows. A series or release that was there within
    ``lookback_s`` before is not new; no selector may match more than ``series_max``.
    """

    start_ms: int
    end_ms: int
    step_s: int
    lookback_s: int = 3600
    series_max: int = 20_000

    @property
    def windows(self) -> int:
        """How many windows it has."""
        return (self.end_ms - self.start_ms) // (self.step_s * 1000)

    @property
    def name(self) -> str:
        """Both ends, for messages."""
        return f"{clock(self.start_ms)} to {clock(self.end_ms)}"


def on_grid(start_ms: int, end_ms: int, step_s: int) -> tuple[int, int]:
    """A range on the grid of windows: within what was asked for."""
    step_ms = step_s * 1000
    return -(-start_ms // step_ms) * step_ms, end_ms // step_ms * step_ms


async def scrape_interval_s(
    api: Prometheus, mapping: MetricMap, start_ms: int, end_ms: int
) -> int:
    """Seconds between two samples of most series, of the source with the slowest."""
    found = 0
    first_ms = min(start_ms + SPAN_S * 1000, end_ms)
    step_s = max(SPAN_S, (end_ms - first_ms) // SPAN_POINTS // 1000)
    for source in mapping.sources:
        query = f"quantile(0.5, count_over_time({source.requests}[{SPAN_S}s]))"
        series = await api.range(query, first_ms, end_ms, step_s)
        counts = [float(v) for one in series for _, v in one.values]
        if counts:
            found = max(found, interval_of(max(counts)))
    return found


def interval_of(count: float) -> int:
    """The interval in seconds that gives so many samples in ``SPAN_S``.

    Examples
    --------
    >>> interval_of(60), interval_of(61), interval_of(40), interval_of(20)
    (10, 10, 15, 30)
    """
    # n samples: n - 1 intervals fit into the span, n + 1 do not.
    shortest = SPAN_S / (count + 1)
    longest = SPAN_S / max(1.0, count - 1)
    usual = [s for s in USUAL_INTERVALS_S if shortest < s <= longest]
    middle = SPAN_S / max(1.0, count)
    return min(usual, key=lambda s: abs(s - middle)) if usual else math.ceil(middle)


class Import:
    """One import; what it found is in its attributes when its lines are over.

    Attributes
    ----------
    series : dict
        Number of series of each selector.
    silent : int
        Windows without any sample of any source.
    lines : int
        Usage and deploys written.
    """

    def __init__(self, api: Prometheus, mapping: MetricMap, span: Span) -> None:
        self.span = span
        self.series: dict[str, int] = {}
        self.silent = self.lines = 0
        self.releases = Releases()
        self.sources: list[SourceLines] = []
        self.lookups: dict[Part, Lookup] = {
            part: Lookup(part) for parts in mapping.infos.values() for part in parts
        }
        self._api = api
        self._mapping = mapping
        self._table = SeriesTable()
        self._deploys = [(d.info, Namer(d, self.lookups)) for d in mapping.deploys]

    async def read(self) -> AsyncIterator[list[bytes]]:
        """The lines of each window, in order of time.

        Raises
        ------
        Refused
            A selector matches nothing or too much, labels are missing, or Prometheus
            refuses a query.
        Unreachable
            Prometheus does not answer.
        """
        await self._check()
        await self._look_back()
        whole = max(1, sum(self.series.values()))
        points = min(POINTS_MAX, max(1, SAMPLES_MAX // whole))
        last = self.span.windows
        for first in range(0, last + 1, points):
            until = min(first + points - 1, last)
            rows = {one: await self._rows(one, first, until) for one in self.series}
            for at in range(first, until + 1):
                yield self._window(at, {one: rows[one][at - first] for one in rows})

    async def _check(self) -> None:
        """Every selector matches something, not too much, and has its labels."""
        span = self.span
        begin_ms = span.start_ms - span.lookback_s * 1000
        labels: dict[str, list[dict[str, str]]] = {}
        for selector, why_empty in _selectors(self._mapping).items():
            found = await self._api.series(
                selector, begin_ms, span.end_ms, span.series_max + 1
            )
            if len(found) > span.series_max:
                raise Refused(
                    f"{selector} matches more than {span.series_max:,} series: narrow "
                    "it, or raise --series-max"
                )
            if not found and why_empty:
                raise Refused(
                    f"{selector} matches nothing from {span.name}: {why_empty}"
                )
            labels[selector] = found
            self.series[selector] = len(found)
        for source in self._mapping.sources:
            _check_labels(source.requests, source, labels)
        for deploys in self._mapping.deploys:
            _check_labels(deploys.info, deploys, labels)

    async def _look_back(self) -> None:
        """Which series and releases were there before the range."""
        known: dict[str, list[Series]] = {}
        for selector in self.series:
            found = await self._api.instant(
                f"last_over_time({selector}[{self.span.lookback_s}s])",
                self.span.start_ms,
            )
            known[selector] = [self._table.of(one.metric) for one in found]
        for selector, parts in self._mapping.infos.items():
            for part in parts:
                self.lookups[part].note(-1, known[selector])
        for source in self._mapping.sources:
            namer = Namer(source, self.lookups)
            both = [*known[source.requests], *known[source.failures]]
            self.sources.append(SourceLines(source, namer, both))
            if not self._mapping.deploys:
                self._deploys.append((source.requests, namer))
        for selector, namer in self._deploys:
            before = known[selector]
            self.releases.know(x for one in before for x in namer.ever(one))

    async def _rows(self, selector: str, first: int, until: int) -> list[Values]:
        """Values of a selector at each boundary from the first to the last."""
        span, step_ms = self.span, self.span.step_s * 1000
        begin_ms = span.start_ms + first * step_ms
        # A millisecond less than a step: the sample of the boundary before is not of
        # this window, also where ranges include their left end (Prometheus 2).
        found = await self._api.range(
            f"last_over_time({selector}[{step_ms - 1}ms])",
            begin_ms,
            span.start_ms + until * step_ms,
            span.step_s,
        )
        rows: list[dict[Series, float]] = [{} for _ in range(first, until + 1)]
        for one in found:
            self._place(one, rows, begin_ms)
        return list(rows)

    def _place(
        self, one: Found, rows: Sequence[dict[Series, float]], begin_ms: int
    ) -> None:
        series = self._table.of(one.metric)
        for at_s, text in one.values:
            value = float(text)
            index = round((at_s * 1000 - begin_ms) / (self.span.step_s * 1000))
            if math.isfinite(value) and 0 <= index < len(rows):
                rows[index][series] = value

    def _window(self, at: int, values: Mapping[str, Values]) -> list[bytes]:
        span = self.span
        start_ms = span.start_ms + (at - 1) * span.step_s * 1000
        for selector, parts in self._mapping.infos.items():
            for part in parts:
                self.lookups[part].note(at, values[selector])
        usage: list[Json] = []
        for source, lines in zip(self._mapping.sources, self.sources, strict=True):
            asked, failed = values[source.requests], values[source.failures]
            usage += lines.window(at, start_ms, span.step_s, asked, failed)
        present = [
            (whose, series.target)
            for selector, namer in self._deploys
            for series in values[selector]
            if (whose := namer.whose(series)) is not None
        ]
        deploys = self.releases.window(at, start_ms, span.step_s, present)
        self.silent += at > 0 and not any(
            values[one.requests] for one in self._mapping.sources
        )
        self.lines += len(deploys) + len(usage)
        return _by_service([*deploys, *usage])


def _selectors(mapping: MetricMap) -> dict[str, str]:
    """Every selector, with the fix where it must match something."""
    fix = "check its name and labels, and --start and --end"
    found = dict.fromkeys((one.requests for one in mapping.sources), fix)
    found |= dict.fromkeys((*mapping.infos, *(d.info for d in mapping.deploys)), fix)
    # A service may be without failures all the time.
    return dict.fromkeys((one.failures for one in mapping.sources), "") | found


def _check_labels(
    selector: str, source: Source | Deploys, labels: Mapping[str, list[dict[str, str]]]
) -> None:
    """Refuse a label that no series has: a slip of the pen, not a missing value."""
    for part in source.parts:
        wanted = [(selector, name) for name in part.by]
        if part.info is not None:
            wanted += [(part.info, name) for name in part.by]
        if part.label is not None and part.const is None:
            wanted.append((part.info or selector, part.label))
        for where, name in wanted:
            names = sorted({key for one in labels[where] for key in one})
            if name not in names:
                listed = ", ".join(one for one in names if one != "__name__")
                raise Refused(
                    f"no series of {where} has the label {name}: it has {listed}; "
                    "change the mapping"
                )


def _by_service(members: list[Json]) -> list[bytes]:
    """One line for each service, deploys first; long ones in pieces."""
    shared: defaultdict[str, list[Json]] = defaultdict(list)
    for member in members:
        shared[member["service"]].append(member)
    return [
        msgspec.json.encode(whole[start : start + LINE_OBJECTS_MAX])
        for _, whole in sorted(shared.items())
        for start in range(0, len(whole), LINE_OBJECTS_MAX)
    ]
