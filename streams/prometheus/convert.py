"""Values of counters to lines of the log: what a window brought, and what went out."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streams.prometheus.counters import Increases, Series, Targets, Values
from streams.prometheus.mapping import Source
from streams.prometheus.naming import Namer, Whose

Json = dict[str, Any]
Scope = tuple[str, str]
"""Service and environment."""

SENDER = "prometheus"
COUNT_MAX = 10**12
ROUNDING = 1e-6


class SourceLines:
    """The usage of one source, window by window.

    Attributes
    ----------
    asked, failed : int
        Increases of the counters.
    requests, failures : int
        What the lines say of them, all together.
    clipped : int
        Failures beyond the requests of their window, which no line says.
    nameless : float
        Counts of series whose labels do not say whose they are.
    """

    def __init__(self, source: Source, namer: Namer, known: Iterable[Series]) -> None:
        self.namer = namer
        self.asked, self.failed = Increases(), Increases()
        self.requests = self.failures = self.clipped = 0
        self.nameless = 0.0
        self._source = source
        self._targets = Targets(known)
        self._left: dict[tuple[Whose, bool], float] = {}
        self._digests: dict[Whose, str] = {}

    def window(
        self, at: int, start_ms: int, window_s: int, asked: Values, failed: Values
    ) -> list[Json]:
        """Lines of the window that ends at a boundary, in the order of their names.

        Parameters
        ----------
        at : int
            Number of the boundary at the window's end.
        start_ms, window_s : int
            The window.
        asked, failed : mapping
            Values of the counters at the boundary.
        """
        requests = self._summed(self.asked.step(at, asked, self._targets), False)
        failures = self._summed(self.failed.step(at, failed, self._targets), True)
        self._targets.note(at, asked)
        self._targets.note(at, failed)
        lines = []
        for whose in sorted({*requests, *failures}, key=_order):
            count, bad = requests.get(whose, 0), failures.get(whose, 0)
            told = min(count, bad)
            self.clipped += bad - told
            self.requests += count
            self.failures += told
            if count:
                lines.append(self._line(whose, start_ms, window_s, count, told))
        return lines

    def _summed(self, found: Mapping[Series, float], is_bad: bool) -> dict[Whose, int]:
        """Whole numbers by owner; fractions wait for the next window."""
        parts: defaultdict[Whose, list[float]] = defaultdict(list)
        for series, increase in found.items():
            whose = self.namer.whose(series)
            if whose is None:
                self.nameless += increase
            elif increase:
                parts[whose].append(increase)
        whole = {}
        for whose, increases in parts.items():
            exact = math.fsum([*increases, self._left.get((whose, is_bad), 0.0)])
            count = min(COUNT_MAX, math.floor(exact + ROUNDING))
            self._left[whose, is_bad] = max(0.0, exact - count)
            whole[whose] = count
        return whole

    def _line(
        self, whose: Whose, start_ms: int, window_s: int, count: int, bad: int
    ) -> Json:
        line: Json = {
            "kind": "usage",
            "ts": start_ms,
            "window_s": window_s,
            "received_at": start_ms + window_s * 1000,
            "id": f"{SENDER}-{start_ms}-{window_s}-{self._digest(whose)}",
            "service": whose.service,
            "environment": whose.environment,
            "release": whose.release,
        }
        if whose.component is not None:
            line["component"] = whose.component
        if whose.attrs:
            line["attrs"] = dict(whose.attrs)
        line |= {"sender": SENDER, "unit": self._source.unit, "count": count}
        if self._source.unit == "session":
            line["sessions"] = count
        line["outcomes"] = {"ok": count - bad, self._source.outcome: bad}
        return line

    def _digest(self, whose: Whose) -> str:
        found = self._digests.get(whose)
        if found is None:
            named = [self._source.requests, self._source.failures, *whose]
            found = hashlib.sha256(msgspec.json.encode(named)).hexdigest()[:16]
            self._digests[whose] = found
        return found


def _order(whose: Whose) -> tuple[str, ...]:
    rest = [word for pair in whose.attrs for word in pair]
    named = (whose.service, whose.environment, whose.release, whose.component or "")
    return (*named, *rest)


class Seen(msgspec.Struct):
    """A release in the range: when it was there, and the deploy that it stands for."""

    first_ms: int
    last_ms: int
    first_at: int
    deploy_ms: int | None = None
    predecessor: str | None = None


class Releases:
    """Which releases are there, and which of them went out within the range."""

    def __init__(self) -> None:
        self.seen: dict[Scope, dict[str, Seen]] = {}
        self._before: set[tuple[str, str, str]] = set()
        self._live: dict[Scope, dict[str, int]] = {}

    def know(self, named: Iterable[tuple[str, str, str]]) -> None:
        """Take in releases that were there before the range: they are no deploys."""
        self._before.update(named)

    def window(
        self,
        at: int,
        start_ms: int,
        window_s: int,
        present: Iterable[tuple[Whose, Any]],
    ) -> list[Json]:
        """Deploys of the window that ends at a boundary.

        ``present`` are releases with the processes that serve them. The predecessor is
        what most processes served before; without one nothing was replaced.
        """
        end_ms = start_ms + window_s * 1000
        serving: defaultdict[Scope, defaultdict[str, set[Any]]]
        serving = defaultdict(lambda: defaultdict(set))
        for whose, target in present:
            serving[whose.service, whose.environment][whose.release].add(target)
        lines = []
        for scope in sorted(serving):
            seen = self.seen.setdefault(scope, {})
            for release in sorted(serving[scope]):
                if release in seen:
                    seen[release].last_ms = end_ms
                    continue
                seen[release] = Seen(end_ms, end_ms, at)
                live = self._live.get(scope, {})
                if at > 0 and live and (*scope, release) not in self._before:
                    lines.append(self._deploy(scope, release, start_ms, end_ms))
            self._live[scope] = {k: len(v) for k, v in serving[scope].items()}
        return lines

    def _deploy(self, scope: Scope, release: str, start_ms: int, end_ms: int) -> Json:
        live, seen = self._live[scope], self.seen[scope]
        before = max(live, key=lambda name: (live[name], seen[name].first_at, name))
        seen[release].deploy_ms, seen[release].predecessor = start_ms, before
        return {
            "kind": "deploy",
            "ts": start_ms,
            "received_at": end_ms,
            "id": f"{SENDER}-deploy-{start_ms}",
            "service": scope[0],
            "environment": scope[1],
            "release": release,
            "phase": "started",
            "predecessor": before,
        }
