"""The telemetry of a case as rivals see it: closed windows, two arms, one unit.

Rivals get what the product gets: the same lines, repeats removed by id, a window
closed when its end and the grace have passed on the arrival clock, later lines left
out. They get two gifts: the best unit of counting is chosen from the whole case in
advance, and sampled counts are scaled up. Attributes are pooled, as these rivals do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

GRACE_MS = 20_000
MIN_CONTROL_SHARE = 0.03
"""With fewer units than this beside the new release, the past is the control."""

Event = dict[str, Any]
Unit = Literal["sessions", "users", "requests"]


@dataclass
class Arm:
    """Counts of one side in one window: units at risk, failed units, durations."""

    units: float = 0.0
    bad: float = 0.0
    bounds_ms: tuple[float, ...] = ()
    durations: list[float] = field(default_factory=list)

    def add(self, other: Arm) -> None:
        """Add the counts of another arm; a foreign bucket layout is left out."""
        self.units += other.units
        self.bad += other.bad
        if not self.durations:
            self.bounds_ms, self.durations = other.bounds_ms, list(other.durations)
        elif other.bounds_ms == self.bounds_ms:
            pairs = zip(self.durations, other.durations, strict=True)
            self.durations = [a + b for a, b in pairs]

    @property
    def error_rate(self) -> float:
        """Failed units per unit, NaN without units."""
        return self.bad / self.units if self.units > 0 else math.nan

    @property
    def p99_ms(self) -> float:
        """99th percentile of the durations, NaN without any.

        Interpolated on a logarithmic scale inside a bucket; the open bucket counts
        as one ratio wide.
        """
        total = sum(self.durations)
        if total <= 0 or len(self.bounds_ms) < 2:
            return math.nan
        need, seen = 0.99 * total, 0.0
        ratio = self.bounds_ms[-1] / self.bounds_ms[-2]
        uppers = [*self.bounds_ms, self.bounds_ms[-1] * ratio]
        for index, count in enumerate(self.durations):
            if count > 0 and seen + count >= need:
                upper = uppers[index]
                lower = uppers[index - 1] if index else upper / ratio
                part = (need - seen) / count
                return lower * math.pow(upper / lower, part)
            seen += count
        return uppers[-1]


@dataclass
class Window:
    """One closed window: the candidate and everything else, old."""

    start_ms: int
    end_ms: int
    new: Arm = field(default_factory=Arm)
    old: Arm = field(default_factory=Arm)


@dataclass
class History:
    """Closed windows of one release under judgement.

    Attributes
    ----------
    past : list of Arm
        The whole service in each window before the deploy.
    since : list of Window
        From the deploy on, as far as the new release had traffic.
    """

    release: str
    deploy_ms: int
    past: list[Arm] = field(default_factory=list)
    since: list[Window] = field(default_factory=list)
    new_units: float = 0.0
    old_units: float = 0.0
    has_old_durations: bool = False

    def add(self, window: Window) -> None:
        """Take the newest window since the deploy."""
        self.since.append(window)
        self.new_units += window.new.units
        self.old_units += window.old.units
        self.has_old_durations |= bool(window.old.durations)

    @property
    def is_beside(self) -> bool:
        """The old release still has traffic enough to be the control."""
        if self.new_units <= 0:
            return self.has_old_durations
        return self.old_units >= MIN_CONTROL_SHARE * self.new_units

    def control(self) -> list[Arm]:
        """The old release in the same windows, or as many of the past's last ones."""
        if self.is_beside:
            return [w.old for w in self.since]
        return self.past[-len(self.since) :]


def unit_of(events: Iterable[Event]) -> Unit:
    """The best unit that every usage and error line of a case can be counted in.

    Sessions add up over senders and windows; users only within one sender, and not
    after sampling; requests always can be had.
    """
    has_sessions = has_users = True
    senders: dict[str, str] = {}
    for event in events:
        if event["kind"] not in ("usage", "error"):
            continue
        has_sessions &= "sessions" in event
        sender = event.get("sender", "")
        is_only = senders.setdefault(event["release"], sender) == sender
        is_whole = event.get("sample_rate", 1) == 1
        has_users &= "users" in event and is_only and is_whole
    if has_sessions:
        return "sessions"
    return "users" if has_users else "requests"


def identity(event: Event) -> str | bytes:
    """What a repeated line has in common with the first: its id, else everything."""
    if "id" in event:
        return str(event["id"])
    return msgspec.json.encode({k: v for k, v in event.items() if k != "received_at"})


class Feed:
    """Sorts envelope lines into windows and yields the history when one closes."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.arrival_ms = 0
        self._seen: set[str | bytes] = set()
        self._open: dict[tuple[int, int], dict[str, Arm]] = {}
        self._releases: set[str] = set()
        self._past: list[tuple[int, dict[str, Arm]]] = []
        self.history: History | None = None

    def take(self, event: Event) -> Iterator[History]:
        """Read one line; yield the history once for every window that it closes."""
        self.arrival_ms = max(self.arrival_ms, event["received_at"])
        yield from self._close()
        known = identity(event)
        if known in self._seen:
            return
        self._seen.add(known)
        if event["kind"] == "deploy":
            self._deploy(event)
        else:
            self._count(event)

    def _deploy(self, event: Event) -> None:
        release = event["release"]
        if release in self._releases:
            return
        self._releases.add(release)
        self.history = History(release, event["ts"])
        for end_ms, arms in self._past:
            if end_ms <= event["ts"]:
                self.history.past.append(_whole(arms))

    def _count(self, event: Event) -> None:
        width_ms = event["window_s"] * 1000
        start_ms = event["ts"] // width_ms * width_ms
        end_ms = start_ms + width_ms
        if end_ms + GRACE_MS <= self.arrival_ms:
            return
        arms = self._open.setdefault((end_ms, start_ms), {})
        arm = arms.setdefault(event["release"], Arm())
        if event["kind"] == "usage":
            arm.units += self._amount(event)
        elif event["kind"] == "error":
            arm.bad += self._amount(event)
        elif event["kind"] == "latency":
            arm.add(Arm(0, 0, tuple(event["bounds_ms"]), list(event["counts"])))

    def _amount(self, event: Event) -> float:
        if self.unit == "requests":
            return float(event["count"] / event.get("sample_rate", 1))
        return float(event[self.unit])

    def _close(self) -> Iterator[History]:
        due = [key for key in self._open if key[0] + GRACE_MS <= self.arrival_ms]
        for key in sorted(due):
            arms = self._open.pop(key)
            end_ms, start_ms = key
            self._past.append((end_ms, dict(arms)))
            if self.history is None:
                continue
            if end_ms <= self.history.deploy_ms:
                self.history.past.append(_whole(arms))
            elif self.history.release in arms:
                new = arms.pop(self.history.release)
                self.history.add(Window(start_ms, end_ms, new, _whole(arms)))
                yield self.history


def _whole(arms: dict[str, Arm]) -> Arm:
    whole = Arm()
    for arm in arms.values():
        whole.add(arm)
    return whole
