"""Usage or actions that are gone: thinned, so that whole counts stay whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from detector.identity import id64

Json = dict[str, Any]
Cell = tuple[int, int, tuple[tuple[str, str], ...]]
FAILING = ("server_error", "timeout")


def cell_of(member: Json) -> Cell:
    """Time and attributes that usage and errors of the same units share."""
    attrs = tuple(sorted((member.get("attrs") or {}).items()))
    return member["ts"], member.get("window_s", 0), attrs


def is_aggregate(member: Json) -> bool:
    """Whether a record counts units instead of being one."""
    return any(member.get(name) is not None for name in ("count", "sessions", "users"))


def unit_of(member: Json) -> str | None:
    """Name of the unit of a single record: session, user of an hour, trace."""
    if session := member.get("session"):
        return f"s{session}"
    if user := member.get("user"):
        return f"u{user}/{member['ts'] // 3_600_000}"
    trace = member.get("trace_id")
    return f"t{trace}" if trace else None


class Drop:
    """Thins the records of a release.

    Parameters
    ----------
    what : str
        ``usage``: units are gone with all they did. ``actions``: requests only.
    size : float
        Share that is gone, 0..1.
    reached : iterable of dict
        All records that are to be thinned, to know how many units each window keeps.
    seed : list of int
        Begins the draws.
    """

    def __init__(
        self, what: str, size: float, reached: Iterable[Json], seed: list[int]
    ) -> None:
        self._what, self._size, self._seed = what, size, seed
        self._rng = np.random.default_rng(seed)
        self._left: dict[tuple[Cell, str], tuple[int, int]] = {}
        for member in reached:
            if member["kind"] == "usage" and is_aggregate(member):
                self._draw(member)
        self._rng = np.random.default_rng([*seed, 1])
        self._seen: set[str] = set()

    def change(self, member: Json) -> list[Json]:
        """What is left of a record."""
        if self._what == "actions":
            return self._fewer_actions(member)
        if member["kind"] == "latency":
            return [self._fewer_durations(member)]
        if not is_aggregate(member):
            return [] if self._is_gone(member) else [member]
        if member["kind"] == "error":
            return self._fewer_errors(member)
        return [self._fewer_units(member)]

    def _is_gone(self, member: Json) -> bool:
        name = unit_of(member) or str(member.get("id"))
        return share_of(name, self._seed) < self._size

    def _kept(self, count: int) -> int:
        return int(self._rng.binomial(count, 1.0 - self._size))

    def _draw(self, member: Json) -> None:
        """How many of a window's units are kept, before its errors are thinned."""
        for name in ("count", "sessions", "users"):
            if (count := member.get(name)) is not None:
                key = cell_of(member), name
                of, kept = self._left.get(key, (0, 0))
                # One draw of both: requests go with their sessions.
                self._left[key] = of + count, kept + self._own(member, name)

    def _own(self, member: Json, name: str) -> int:
        place = f"{member.get('sender')}/{member.get('seq')}/{member.get('id')}"
        own = [*self._seed, id64(f"{cell_of(member)}/{place}/{name}") % 2**63]
        count = member[name]
        return int(np.random.default_rng(own).binomial(count, 1.0 - self._size))

    def _fewer_units(self, member: Json) -> Json:
        # A sketch can not be thinned: it goes, and other counts of units remain.
        made = {k: v for k, v in member.items() if k != "users_sketch"}
        for name in ("count", "sessions", "users"):
            if made.get(name) is not None:
                made[name] = self._own(member, name)
        if made.get("count") is not None and made.get("sessions") is not None:
            made["count"] = max(made["count"], min(made["sessions"], member["count"]))
        if outcomes := made.get("outcomes"):
            kept = _sample(list(outcomes.values()), made.get("count", 0), self._rng)
            made["outcomes"] = dict(zip(outcomes, kept, strict=True))
        return made

    def _fewer_errors(self, member: Json) -> list[Json]:
        made = {k: v for k, v in member.items() if k != "users_sketch"}
        for name in ("count", "sessions", "users"):
            count = made.get(name)
            if count is None:
                continue
            key = cell_of(member), name
            of, kept = self._left.get(key, (0, 0))
            if of < count:
                # Errors without their usage, or more lines than requests.
                made[name] = self._kept(count)
                continue
            hit = int(self._rng.hypergeometric(count, of - count, kept))
            made[name] = hit
            self._left[key] = of - count, kept - hit
        if made.get("sessions") is not None and made.get("count") is not None:
            made["count"] = max(made["count"], made["sessions"])
        return [made] if made.get("sessions", 1) and made.get("count", 1) else []

    def _fewer_durations(self, member: Json) -> Json:
        if counts := member.get("counts"):
            return {**member, "counts": [self._kept(n) for n in counts]}
        whole = member.get("exponential")
        positive = whole.get("positive") if isinstance(whole, dict) else None
        if not whole or not positive:
            return member
        kept = [self._kept(n) for n in positive.get("counts", [])]
        return {
            **member,
            "exponential": {**whole, "positive": {**positive, "counts": kept}},
        }

    def _fewer_actions(self, member: Json) -> list[Json]:
        if member["kind"] != "usage":
            return [member]
        if is_aggregate(member):
            return [self._fewer_requests(member)]
        name = unit_of(member)
        # The first record of a unit says that it is there at all.
        if name is None or name not in self._seen:
            if name is not None:
                self._seen.add(name)
                return [member]
            return [member]
        failed = member.get("outcome") in FAILING
        gone = not failed and share_of(str(member.get("id")), self._seed) < self._size
        return [] if gone else [member]

    def _fewer_requests(self, member: Json) -> Json:
        count = member.get("count")
        if count is None:
            return member
        outcomes = member.get("outcomes") or {}
        failed = sum(n for name, n in outcomes.items() if name != "ok")
        least = min(count, max(failed, member.get("sessions") or 0))
        made = max(least, failed + self._kept(count - failed))
        changed = {**member, "count": made}
        if "ok" in outcomes:
            others = sum(outcomes.values()) - outcomes["ok"]
            changed["outcomes"] = {**outcomes, "ok": min(outcomes["ok"], made - others)}
        return changed


def share_of(name: str, seed: list[int]) -> float:
    """The same number in [0, 1) for the same name and seed."""
    return (id64(f"{seed}/{name}") % 2**53) / 2.0**53


def _sample(counts: list[int], kept: int, rng: np.random.Generator) -> list[int]:
    """Which of the counted things are among those kept."""
    total = sum(counts)
    if kept >= total:
        return counts
    return [int(n) for n in rng.multivariate_hypergeometric(counts, kept)]
