"""Where the events of one shape are counted, as long as nothing else happens.

Most of what an event asks of its scope has the same answer for every event of its
shape: which release, which stratum, which sender. A place holds these answers. It is
only found where counting changes nothing but sums and sets; whatever is new (a
release, a value, a sender) goes the long way once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from detector.events import Error, Latency, Usage
from detector.groups.light import Shape
from detector.groups.lines import LATENCY, TICK
from detector.identity import Marker, marker_of, sender_id
from detector.releases import (
    INFER_MIN_BASELINE_MS,
    INFER_MIN_SHARE,
    INFER_MIN_UNITS,
    LIVE_WITHIN_MS,
    OTHER_RELEASE,
    Registry,
    Release,
    Stage,
)
from detector.rulebook import InForce
from detector.scope import Scope
from detector.series import Strata
from detector.signals.telemetry import Health
from detector.windows import FAILED_OUTCOMES

EXACT_MAX = float(1 << 52)
"""Up to here whole numbers add up to the same bits in any order, run by run."""


class Place(Struct, eq=False):
    """Where a shape is counted; ``overflow`` is how often a value had no room.

    ``sender`` is that of single events, lines have one each.
    """

    scope: Scope
    inforce: InForce
    shape: Shape
    release: Release
    health: Health
    key: tuple[int, int]
    overflow: int
    sender: int
    rare: bool
    marker: Marker
    stream: str

    @property
    def is_usage(self) -> bool:
        """Whether usage is counted here."""
        return self.shape.is_usage


_KINDS = {"usage": Usage, "errors": Error, "latency": Latency}


def _stream_of(shape: Shape) -> str:
    if shape.word == LATENCY:
        return "latency"
    return "usage" if shape.is_usage else "errors"


class Finder:
    """Finds the places of one scope while its state stands still.

    Parameters
    ----------
    scope : Scope
    inforce : InForce
        The rule of the scope.

    Attributes
    ----------
    sums_alone : bool
        Whether counting changes sums and sets alone; else there are no places.
    """

    def __init__(self, scope: Scope, inforce: InForce) -> None:
        self.scope = scope
        self._inforce = inforce
        self._strata = _copy(scope.strata)
        self._found: dict[int, Place] = {}
        self.sums_alone = scope.first_ms >= 0 and not (
            scope.changes.counts_apart or "" in scope.combined or _has_estimates(scope)
        )
        self._is_whole: bool | None = None

    def find(self, shape: Shape) -> Place | None:
        """The place of a shape, None if its events must go the long way."""
        found = self._found.get(id(shape))
        if found is None or found.shape is not shape:
            found = self._find(shape)
            if found is not None:
                self._found[id(shape)] = found
        if shape.told is not None and not self._are_whole():
            return None
        return found

    def forget_sums(self) -> None:
        """Look at the sums anew before lines are added, as windows were closed."""
        self._is_whole = None

    def _find(self, shape: Shape) -> Place | None:
        scope = self.scope
        release = scope.registry.releases.get(shape.release)
        if release is None or not self.sums_alone:
            return None
        health = scope.health.get(release.number)
        sender = sender_id(shape.sender)
        stream = _stream_of(shape)
        if health is None or stream not in scope.last_event_ms:
            return None
        if shape.told is not None:
            if not self._takes_lines(shape):
                return None
        elif shape.is_usage and sender not in health.senders:
            return None
        found = self._stratum(shape)
        if found is None:
            return None
        number, overflow = found
        return Place(
            scope=scope,
            inforce=self._inforce,
            shape=shape,
            release=release,
            health=health,
            key=(release.number, number),
            overflow=overflow,
            sender=sender,
            rare=stream == "errors" or shape.outcome in FAILED_OUTCOMES,
            marker=marker_of(shape.service, _KINDS[stream], shape.release),
            stream=stream,
        )

    def _takes_lines(self, shape: Shape) -> bool:
        """Whether lines of a shape change nothing but sums and sets."""
        scope = self.scope
        if shape.word == TICK or shape.window_s * 1000 > scope.width_ms:
            return False
        return shape.word != LATENCY or "usage" in scope.last_event_ms

    def _are_whole(self) -> bool:
        """Whether lines can be added to what there is in any order."""
        if self._is_whole is None:
            self._is_whole = _adds_up(self.scope)
        return self._is_whole

    def _stratum(self, shape: Shape) -> tuple[int, int] | None:
        """Number and overflow, asked of a copy: it must not learn anything."""
        strata, limits = self._strata, self._inforce.limits
        before = strata.overflow
        if not limits and self._inforce.rule.auto_strata:
            if shape.is_usage:
                strata.choose(shape.attrs, shape.release)
            limits = strata.chosen()
        number = strata.number(shape.attrs, limits, shape.release)
        overflow, strata.overflow = strata.overflow - before, before
        if not _same(strata, self.scope.strata):
            self._strata = _copy(self.scope.strata)
            return None
        return number, overflow


def _copy(strata: Strata) -> Strata:
    return replace(
        strata,
        values=[list(seen) for seen in strata.values],
        numbers=dict(strata.numbers),
        unfit=list(strata.unfit),
    )


def _same(copy: Strata, strata: Strata) -> bool:
    """Whether nothing was learnt: what is learnt only ever makes these longer."""
    return (
        copy.attrs == strata.attrs
        and copy.next_number == strata.next_number
        and len(copy.numbers) == len(strata.numbers)
        and len(copy.unfit) == len(strata.unfit)
        and [len(v) for v in copy.values] == [len(v) for v in strata.values]
    )


def _has_estimates(scope: Scope) -> bool:
    """Whether a window holds counts that are no whole numbers."""
    return any(
        cell.sketch is not None or not cell.requests.units.is_integer()
        for window in scope.open.values()
        for cell in window.cells.values()
    )


def _adds_up(scope: Scope) -> bool:
    """Whether sums that come in another order give the same bits: all are whole."""
    sums = [scope.units_total, *(r.units for r in scope.registry.releases.values())]
    for window in scope.open.values():
        for cell in window.cells.values():
            sums += (cell.seen_units, cell.weighted_units, cell.weighted_ok)
            sums += (cell.sessions.units, cell.users.units, cell.requests.units)
        sums += [steps.entered for steps in window.steps.values()]
        for durations in window.durations.values():
            sums.append(durations.unread)
            for part in durations.parts:
                sums += part.counts.values()
    return max(sums) < EXACT_MAX and all(map(float.is_integer, sums))


def may_become_candidate(
    registry: Registry, more: Mapping[int, float], total_units: float
) -> set[int]:
    """Releases that no deploy named and that this much more usage may put on trial.

    Parameters
    ----------
    more : mapping of int to float
        By release number, units to come.
    total_units : float
        Units of the scope before them.
    """
    return {
        release.number
        for release in registry.releases.values()
        if release.number in more
        and release.stage is Stage.BASELINE
        and release.started_ms < 0
        and release.name != OTHER_RELEASE
        and release.units + more[release.number]
        >= max(INFER_MIN_UNITS, INFER_MIN_SHARE * total_units)
        and _may_follow(release, registry.releases.values(), more)
    }


def _may_follow(
    release: Release, others: Iterable[Release], more: Mapping[int, float]
) -> bool:
    """Whether some older release is live, or may be once more usage is counted."""
    return any(
        other is not release
        and other.first_ms <= release.first_ms - INFER_MIN_BASELINE_MS
        and (
            other.number in more
            or other.last_usage_ms >= release.first_ms - LIVE_WITHIN_MS
        )
        for other in others
    )
