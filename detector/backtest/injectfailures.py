"""Failed units that are added: how many, which, and what they look like."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from datasketches import hll_sketch, tgt_hll_type

from detector.backtest.injectdrops import (
    FAILING,
    Cell,
    cell_of,
    is_aggregate,
    share_of,
    unit_of,
)
from detector.events import DEFAULT_ENVIRONMENT

Json = dict[str, Any]
HOUR_MS = 3_600_000
PRIOR_UNITS = 200.0
"""A rate of few units is drawn to that of the hour, and that to the whole history's,
as if so many units more had been seen."""
DETAIL = ("signature", "type", "message", "frames", "severity", "handled")
OWN = ("release", "component", "component_version", "changes", "attrs", "user")
COMMON = ("ts", "service", "environment", "received_at", "sent_at", *OWN)
SINGLE = ("session", "trace_id", "tenant", "url", "sample_rate", "sender")
LOUD = (None, "error", "fatal")
"""Severities that count as failures."""


class Past:
    """What failed units of a service look like, and how many there are.

    Parameters
    ----------
    members : iterable of dict
        All records of the history.
    service, environment : str
        Whose.
    """

    def __init__(self, members: Iterable[Json], service: str, environment: str) -> None:
        self.aggregates: list[Json] = []
        self.singles: list[Json] = []
        self.outcomes: Counter[str] = Counter()
        self.bad: Counter[tuple[Cell, str]] = Counter()
        """Bad units of a release's window, to keep them below its units."""
        self.failed_units: set[str] = set()
        self._units: defaultdict[object, float] = defaultdict(float)
        self._failed: defaultdict[object, float] = defaultdict(float)
        self._seen: set[str] = set()
        for member in members:
            own = member.get("environment", DEFAULT_ENVIRONMENT) == environment
            if own and member.get("service") == service and not member.get("synthetic"):
                self._learn(member)

    @property
    def has_failures(self) -> bool:
        """Whether there is a rate to multiply."""
        return self._failed[None] > 0 and self._units[None] > 0

    @property
    def lines_per_unit(self) -> float:
        """Error lines of one bad session, 1 or more."""
        lines = sum(m.get("count") or 0 for m in self.aggregates)
        units = sum(m.get("sessions") or 0 for m in self.aggregates)
        return max(1.0, lines / units) if units else 1.0

    def rate(self, member: Json) -> float:
        """Failed units per unit at risk, expected where and when a record is."""
        hour, attrs = _place(member)
        whole = self._failed[None] / self._units[None]
        near = self._drawn(hour, whole)
        return min(0.999, self._drawn((hour, attrs), near))

    def _drawn(self, key: object, to: float) -> float:
        of = self._units.get(key, 0.0) + PRIOR_UNITS
        return (self._failed.get(key, 0.0) + PRIOR_UNITS * to) / of

    def _learn(self, member: Json) -> None:
        if member.get("kind") == "usage" and member.get("step") is None:
            self._learn_usage(member)
        elif member.get("kind") == "error" and member.get("severity") in LOUD:
            self._learn_error(member)

    def _learn_usage(self, member: Json) -> None:
        if is_aggregate(member):
            self._note(self._units, member, units_of(member))
            told = member.get("outcomes") or {}
            failed = {name: told[name] for name in FAILING if told.get(name)}
            self.outcomes.update(failed)
            if not member.get("sessions"):
                self._note(self._failed, member, sum(failed.values()))
                self.bad[_key(member)] += sum(failed.values())
            return
        name = unit_of(member)
        if name is None or name not in self._seen:
            self._note(self._units, member, 1)
        if name is not None:
            self._seen.add(name)
        if member.get("outcome") in FAILING:
            self.outcomes[member["outcome"]] += 1
            self._fail(member, name)

    def _learn_error(self, member: Json) -> None:
        if not is_aggregate(member):
            self.singles.append(member)
            self._fail(member, unit_of(member))
            return
        self.aggregates.append(member)
        count = units_of(member)
        told = self.bad[_key(member)]
        self.bad[_key(member)] += count
        # Outcomes of the same requests may have been counted: the larger holds.
        more = count if member.get("sessions") or not self.outcomes else count - told
        self._note(self._failed, member, max(0, more))

    def _fail(self, member: Json, name: str | None) -> None:
        if name is None or name not in self.failed_units:
            self._note(self._failed, member, 1)
        if name is not None:
            self.failed_units.add(name)

    def _note(
        self, where: defaultdict[object, float], member: Json, count: float
    ) -> None:
        hour, attrs = _place(member)
        for key in (None, hour, (hour, attrs)):
            where[key] += count


class Failures:
    """Adds failed units to records of a release.

    Parameters
    ----------
    past : Past
        What the service's failures are like.
    ratio : float
        Factor on the rate, 1 or more.
    seed : list of int
        Begins the draws; ids are made of it.
    rng : Generator
        For the draws of aggregates.
    """

    def __init__(
        self, past: Past, ratio: float, seed: list[int], rng: np.random.Generator
    ) -> None:
        self._past, self._ratio, self._seed, self._rng = past, ratio, seed, rng
        self._decided: dict[str, bool] = {}
        self._tag = f"injected-{share_of(str(seed), seed):.12f}"[:21]
        self._made = 0

    def change(self, member: Json) -> list[Json]:
        """The record, and the failures that come with it."""
        if member["kind"] != "usage" or member.get("step") is not None:
            return [member]
        rate = self._past.rate(member)
        added = min(1.0, (self._ratio - 1.0) * rate / (1.0 - rate))
        if is_aggregate(member):
            return self._more_failed(member, added)
        return self._failed(member) if self._fails(member, added) else [member]

    def _fails(self, member: Json, added: float) -> bool:
        name = unit_of(member)
        if name is None:
            ok = member.get("outcome") not in FAILING
            return ok and bool(self._rng.random() < added)
        if name in self._decided:
            return False  # It failed at its first record, or not at all.
        ok = name not in self._past.failed_units
        self._decided[name] = ok and share_of(name, self._seed) < added
        return self._decided[name]

    def _failed(self, member: Json) -> list[Json]:
        """A single unit that fails, in the way of the service's others."""
        made = member
        if self._past.outcomes:
            made = {**member, "outcome": self._outcome()}
        if not (self._past.singles or self._past.aggregates):
            return [made]
        return [made, self._single(member, {})]

    def _outcome(self) -> str:
        names = sorted(self._past.outcomes)
        weights = np.array([self._past.outcomes[n] for n in names], dtype=float)
        return str(self._rng.choice(names, p=weights / weights.sum()))

    def _single(self, member: Json, own: Json) -> Json:
        donors = self._past.singles or self._past.aggregates
        donor = donors[int(self._rng.integers(len(donors)))]
        kept = {k: member[k] for k in (*COMMON, *SINGLE) if k in member}
        detail = {k: donor[k] for k in DETAIL if k in donor}
        return {"kind": "error", "id": self._id(), **kept, **detail, **own}

    def _id(self) -> str:
        self._made += 1
        return f"{self._tag}-{self._made}"

    def _more_failed(self, member: Json, added: float) -> list[Json]:
        past = self._past
        healthy = units_of(member) - past.bad[_key(member)]
        extra = int(self._rng.binomial(max(0, healthy), added))
        if not extra:
            return [member]
        past.bad[_key(member)] += extra
        lines = extra + int(self._rng.poisson(extra * (past.lines_per_unit - 1.0)))
        made = member
        if told := member.get("outcomes"):
            moved = min(told.get("ok", 0), lines)
            name = self._outcome() if past.outcomes else "server_error"
            counts = {**told, name: told.get(name, 0) + moved}
            made = {**member, "outcomes": {**counts, "ok": told.get("ok", 0) - moved}}
        if past.aggregates:
            return [made, *self._by_signature(member, extra, lines)]
        if past.singles:
            return [made, *(self._apart(member) for _ in range(extra))]
        return [made]

    def _by_signature(self, member: Json, extra: int, lines: int) -> list[Json]:
        """Aggregates of the added failures, shared out as the service's own are."""
        past = self._past
        weights = np.array([max(1, m.get("count") or 1) for m in past.aggregates])
        picked = self._rng.choice(
            len(weights), size=extra, p=weights / weights.sum()
        ).tolist()
        by_name: dict[str, Json] = {}
        counts: Counter[str] = Counter()
        for index in picked:
            donor = past.aggregates[index]
            detail = {k: donor[k] for k in DETAIL if k in donor}
            name = str(sorted(detail.items()))
            by_name.setdefault(name, detail)
            counts[name] += 1
        spare = lines - extra
        found = []
        for name, count in counts.items():
            kept = {
                k: member[k] for k in (*COMMON, "window_s", "sender") if k in member
            }
            record = {"kind": "error", "id": self._id(), **kept, **by_name[name]}
            record["count"] = count + spare
            spare = 0
            for unit in ("sessions", "users"):
                if member.get(unit) is not None and any(
                    m.get(unit) is not None for m in past.aggregates
                ):
                    record[unit] = min(count, member[unit])
            if any(m.get("users_sketch") for m in past.aggregates):
                record["users_sketch"] = _sketch(record["id"], count)
            found.append(record)
        return found

    def _apart(self, member: Json) -> Json:
        """A single failure somewhere in the window of an aggregate."""
        width_ms = max(1, member.get("window_s", 0) * 1000)
        ident = self._id()
        own: Json = {"ts": member["ts"] + int(self._rng.integers(width_ms))}
        for name in ("session", "user", "trace_id"):
            if any(name in donor for donor in self._past.singles[:100]):
                own[name] = ident
        return {**self._single(member, own), "id": ident}


def units_of(member: Json) -> int:
    """Units of an aggregate in the best way it can be counted."""
    for name in ("sessions", "count", "users"):
        if member.get(name) is not None:
            return int(member[name])
    return 0


def _key(member: Json) -> tuple[Cell, str]:
    return cell_of(member), str(member.get("release"))


def _place(member: Json) -> tuple[int, tuple[tuple[str, str], ...]]:
    ts, _, attrs = cell_of(member)
    return ts // HOUR_MS, attrs


def _sketch(name: str, count: int) -> str:
    made = hll_sketch(12, tgt_hll_type.HLL_8)
    for number in range(count):
        made.update(f"{name}-{number}")
    return base64.b64encode(bytes(made.serialize_compact())).decode()
