"""A test as lines of the log, in order of arrival.

Time of the tests begins at a full hour of a Monday. Without noise a fraction is kept
until it makes a whole: 0.25 is one unit in every fourth interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from detector.ruletest.model import Deployed, Input, Test
from detector.ruletest.notation import Values

START_MS = 1_794_787_200_000
"""2026-11-16, a Monday, at midnight UTC."""

Record = dict[str, Any]
Timed = tuple[int, Record]


def lines_of(test: Test, interval_s: int) -> list[bytes]:
    """The lines of a test, each with its time of arrival.

    Where nothing arrives for an interval, a tick tells the time, as the owner of a
    silent partition does.
    """
    step_ms = interval_s * 1000
    timed = [deployed(test, one) for one in test.deploys]
    for index, one in enumerate(test.input):
        timed += _heard(test, one, interval_s, index)
    end_ms = _end_ms(test, timed, step_ms)
    covered = {(at - START_MS) // step_ms for at, _ in timed}
    services = dict.fromkeys(r["service"] for _, r in timed)
    for tick in range(math.ceil((end_ms - START_MS) / step_ms)):
        if tick + 1 not in covered:
            at_ms = START_MS + (tick + 1) * step_ms
            body = {"kind": "tick", "ts": at_ms}
            timed += [(at_ms, {**body, "service": s}) for s in services]
    timed.sort(key=lambda pair: pair[0])  # stable: deploys before what they brought
    return [msgspec.json.encode({**record, "received_at": at}) for at, record in timed]


def _end_ms(test: Test, timed: list[Timed], step_ms: int) -> int:
    last = max(at for at, _ in timed)
    asked = [t for e in test.expect for t in (e.at, e.by) if t is not None]
    return max(last, START_MS + 1000 * max(asked, default=0)) + step_ms


def deployed(test: Test, one: Deployed) -> Timed:
    """A step of a release as a record, with its time of arrival."""
    at_ms = START_MS + one.event.at_s * 1000
    said = {
        "predecessor": one.predecessor,
        "component": one.component,
        "weight": one.event.weight,
    }
    record = {
        "kind": "deploy",
        "ts": at_ms,
        "service": one.service or test.service,
        "environment": one.environment or test.environment,
        "release": one.release,
        "phase": one.event.phase,
        "strategy": one.strategy,
        "change": one.change,
        "criticality": one.criticality,
        **{name: value for name, value in said.items() if value is not None},
    }
    return at_ms, record


def _heard(test: Test, one: Input, interval_s: int, index: int) -> Iterator[Timed]:
    drawing = _Drawing(test, index)
    base = {
        "window_s": interval_s,
        "service": one.service or test.service,
        "environment": one.environment or test.environment,
        "release": one.release,
        **({"attrs": dict(one.attrs)} if one.attrs else {}),
        **({"component": one.component} if one.component else {}),
    }

    def timed(at: int, record: Record) -> Timed:
        ts = START_MS + at * interval_s * 1000
        arrival = ts + interval_s * 1000 + one.delay * 1000
        return arrival, {**record, "ts": ts, **base}

    sessions = drawing.counts(one.usage or ())
    requests = drawing.counts(one.requests) if one.requests else sessions
    for at, units in enumerate(sessions):
        if units is not None:
            count = (requests[at] if at < len(requests) else None) or 0
            body = {"kind": "usage", "unit": "session", "sessions": units}
            if one.requests:
                body["unit"] = "request"
            yield timed(at, {**body, "count": max(count, units)})
    for at, bad in enumerate(drawing.counts(one.errors or ())):
        if bad:
            most = sessions[at] if at < len(sessions) else None
            bad = bad if most is None else min(bad, most)
            body = {"kind": "error", "signature": one.signature}
            yield timed(at, {**body, "count": bad, "sessions": bad})
    for name, series in one.steps.items():
        for at, passed in enumerate(drawing.counts(series)):
            if passed is not None:
                body = {"kind": "usage", "unit": "session", "step": name}
                yield timed(at, {**body, "count": passed, "sessions": passed})
    yield from (timed(*pair) for pair in _durations(one, drawing))
    yield from (timed(*pair) for pair in _reports(one, drawing))


def _durations(one: Input, drawing: _Drawing) -> Iterator[tuple[int, Record]]:
    bounds = sorted(float(name) for name in one.latency if name != "over")
    drawn = {
        math.inf if name == "over" else float(name): drawing.counts(series)
        for name, series in one.latency.items()
    }
    for at in range(max(map(len, drawn.values()), default=0)):
        columns = (drawn.get(bound, []) for bound in (*bounds, math.inf))
        counts = [c[at] if at < len(c) else None for c in columns]
        if any(count is not None for count in counts):
            whole = [count or 0 for count in counts]
            yield at, {"kind": "latency", "bounds_ms": bounds, "counts": whole}


def _reports(one: Input, drawing: _Drawing) -> Iterator[tuple[int, Record]]:
    drawn = {int(s): drawing.counts(series) for s, series in one.feedback.items()}
    for at in range(max(map(len, drawn.values()), default=0)):
        said = {s: (c[at] or 0) if at < len(c) else 0 for s, c in drawn.items()}
        if count := sum(said.values()):
            total = sum(score * number for score, number in said.items())
            yield at, {"kind": "feedback", "count": count, "score_sum": total}


class _Drawing:
    """Whole counts of series: exact, or drawn with the series as means."""

    def __init__(self, test: Test, index: int) -> None:
        self._rng = None
        if test.seed is not None:
            # A generator for each input: another input changes none of this one.
            self._rng = np.random.default_rng([test.seed, index])

    def counts(self, series: Values) -> list[int | None]:
        """One whole number, or nothing, for each interval."""
        if self._rng is not None:
            means = [0.0 if value is None else value for value in series]
            drawn = self._rng.poisson(means).tolist()
            pairs = zip(series, drawn, strict=True)
            return [None if value is None else int(one) for value, one in pairs]
        found: list[int | None] = []
        owed = 0.0
        for value in series:
            if value is None:
                found.append(None)
                continue
            owed += value
            whole = math.floor(owed + 1e-9)
            owed -= whole
            found.append(whole)
        return found
