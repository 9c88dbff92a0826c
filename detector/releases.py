"""Which releases a service has, which of them are judged, and against whom.

Order comes from deploy events and their ``predecessor``, never from sorting
version strings. A candidate is a release inside its hypercare window; its
control is the predecessor while that has exposure in the stratum, else the
releases that were live before the deploy and are not recommended against.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct, field

from detector.describing import describe, note_step, of_component
from detector.events import Deploy

RELEASES_MAX = 64
"""Release names remembered per service and environment; beyond it the one with
the least traffic that no deploy named makes room, else the one silent longest."""

UNPROVEN_MAX = 4
"""Of these, names that no deploy told and that brought next to no usage: what a
scanner or a broken build makes up must not cost a service the memory of 64."""

PROVEN_MIN_UNITS = 20.0
"""Usage from which on a name is more than somebody's invention."""

OTHER_RELEASE = "other"
INFER_MIN_UNITS = 100.0
INFER_MIN_SHARE = 0.01
INFER_MIN_BASELINE_MS = 600_000
APART = "#"
"""Sets a component's name apart in the name of a release; no record can hold it."""

LIVE_WITHIN_MS = 900_000
"""A release counts as live before a deploy if it had usage this shortly before."""


class Stage(StrEnum):
    """Where a release stands in its life."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"
    ENDED = "ended"


class Release(Struct, array_like=True):
    """What is known about one release of a scope.

    ``ramp`` holds its planned weights and ``flips`` the parts of the fleet it took
    over, each with the time from which on it holds. ``withdrawn`` are components that
    were taken out of it, and when, ``returned_ms`` is when it was last gone back to;
    ``actors`` deployed it.
    """

    name: str
    number: int
    first_ms: int
    last_usage_ms: int = -1
    units: float = 0.0
    stage: Stage = Stage.BASELINE
    inferred: bool = False
    ended_by: str | None = None
    ended_ms: int = -1
    started_ms: int = -1
    predecessor: str | None = None
    live_before: tuple[str, ...] = ()
    strategy: str | None = None
    weight: float | None = None
    rollback: str = "unsaid"
    criticality: str = "medium"
    owner: str | None = None
    component: str | None = None
    change_url: str | None = None
    changes: dict[str, str] = field(default_factory=dict)
    ramp: list[tuple[int, float]] = field(default_factory=list)
    flips: list[tuple[int, tuple[tuple[str, str], ...]]] = field(default_factory=list)
    fixes: tuple[str, ...] = ()
    version: str | None = None
    withdrawn: dict[str, int] = field(default_factory=dict)
    returned_ms: int = -1
    actors: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """What the release is called outside: a component's version, else its name."""
        return self.name if self.version is None else self.version

    @property
    def has_deploy(self) -> bool:
        """Whether a deploy event named this release."""
        return self.started_ms >= 0 and not self.inferred


class Registry(Struct, array_like=True):
    """The releases of one service in one environment, in order of first sight."""

    releases: dict[str, Release] = field(default_factory=dict)
    next_number: int = 1
    evicted: int = 0
    names_of: dict[int, str] = field(default_factory=dict)
    last_evicted: int = 0

    def admit(self, name: str, now_ms: int) -> Release:
        """The release of that name; a new one may push out the least used.

        ``evicted`` then counts one more, ``last_evicted`` is whose number it was.
        """
        found = self.releases.get(name)
        if found is not None:
            return found
        if not self._has_room():
            return self.releases.get(OTHER_RELEASE) or self._add(OTHER_RELEASE, now_ms)
        return self._add(name, now_ms)

    def _has_room(self) -> bool:
        """Whether a new name may stay, after making room where that can be."""
        unproven = [r for r in self.releases.values() if _is_unproven(r)]
        if len(unproven) >= UNPROVEN_MAX and self._evict(unproven):
            return True
        return len(self.releases) < RELEASES_MAX or self._evict(self.releases.values())

    def candidates(self) -> list[Release]:
        """Releases under judgement, oldest deploy first."""
        found = [r for r in self.releases.values() if r.stage is Stage.CANDIDATE]
        return sorted(found, key=lambda r: (r.started_ms, r.number))

    def on_deploy(self, event: Deploy) -> Release:
        """Apply one deploy event: start, ramp step, end, or the way back."""
        if self._takes_out(event):
            return self.releases[event.release]
        event = of_component(event)
        release = self._of_deploy(event)
        if release.shown != event.release:  # no room left: traffic, never judged
            return release
        describe(release, event, fresh=release.stage is not Stage.CANDIDATE)
        if event.phase in ("aborted", "rolled_back", "withdrawn"):
            self.end(release, event.phase, event.ts)
        elif self._returns(release, event) or self._goes_back(release, event):
            self._end_newer(release, event)
            release.returned_ms = event.ts
        elif release.stage is Stage.CANDIDATE:
            release.inferred = False
        elif event.ts > release.ended_ms:  # else a late copy of its first start
            self._start(release, event)
        if release.stage is Stage.CANDIDATE:
            note_step(release, event)
        return release

    def infer(self, release: Release, now_ms: int, total_units: float) -> bool:
        """Whether a release that no deploy named has become a candidate.

        It needs real traffic beside a baseline that was there before: a
        scanner's ``999.9.9`` opens nothing, and neither does the first sight of
        a service with two releases already live.
        """
        if release.stage is not Stage.BASELINE or release.started_ms >= 0:
            return False
        if release.name == OTHER_RELEASE:
            return False
        enough = release.units >= max(INFER_MIN_UNITS, INFER_MIN_SHARE * total_units)
        if not enough:
            return False
        older = [
            r
            for r in self.releases.values()
            if r is not release
            and r.first_ms <= release.first_ms - INFER_MIN_BASELINE_MS
            and r.last_usage_ms >= release.first_ms - LIVE_WITHIN_MS
        ]
        if not older:
            return False
        release.stage = Stage.CANDIDATE
        release.inferred = True
        release.started_ms = release.first_ms
        release.live_before = tuple(r.name for r in older)
        release.predecessor = max(older, key=lambda r: (r.units, r.name)).name
        return True

    def end(self, release: Release, reason: str, at_ms: int) -> None:
        """Close the hypercare window of a release that was taken back."""
        release.stage = Stage.ENDED
        release.ended_by = reason
        release.ended_ms = max(release.ended_ms, at_ms)

    def graduate(self, release: Release, at_ms: int) -> None:
        """Make a release that stood its time the baseline of those to come."""
        self.end(release, "hypercare_over", at_ms)
        release.stage = Stage.BASELINE

    def control_of(self, release: Release, blamed: frozenset[str]) -> list[list[int]]:
        """Groups of control release numbers, the preferred group first."""
        groups = []
        first = self.releases.get(release.predecessor or "")
        if first is not None and first.name not in blamed:
            groups.append([first.number])
        rest = [
            r.number
            for name in release.live_before
            if (r := self.releases.get(name)) is not None and name not in blamed
        ]
        if rest and rest not in groups:
            groups.append(rest)
        return groups

    def _start(self, release: Release, event: Deploy) -> None:
        live = [
            r
            for r in self.releases.values()
            if r is not release
            and r.last_usage_ms >= event.ts - LIVE_WITHIN_MS
            and r.stage is not Stage.ENDED
        ]
        release.stage = Stage.CANDIDATE
        release.inferred = False
        release.ended_by = None
        release.withdrawn, release.returned_ms = {}, -1
        release.started_ms = event.ts
        release.ramp, release.flips = [], []
        release.live_before = tuple(r.name for r in live)
        if release.component is not None:
            release.predecessor = release.predecessor or self._last_good(release)
        elif release.predecessor is None and live:
            release.predecessor = max(live, key=lambda r: (r.units, r.name)).name

    def _returns(self, release: Release, event: Deploy) -> bool:
        """A deploy of an older live release over a newer one is a rollback.

        While the older one is itself under judgement only the name of the newer one
        as its predecessor says so: without it the event is a ramp step.
        """
        unnamed = () if release.stage is Stage.CANDIDATE else (None,)
        return any(
            r.stage is Stage.CANDIDATE
            and r is not release
            and _is_before(release, r)
            and event.predecessor in (*unnamed, r.shown)
            for r in self.releases.values()
        )

    def _goes_back(self, release: Release, event: Deploy) -> bool:
        """A deploy of what ran here before the present release did is a rollback.

        Also where that one is no longer young, or its end was told apart: what is
        known to be good is not judged as if it were new.
        """
        newest = self._newest(release)
        return (
            newest is not None
            and event.phase == "started"
            and release.stage is Stage.BASELINE
            and release.component is None
            and release.units >= PROVEN_MIN_UNITS
            and max(release.first_ms, release.started_ms) < newest.started_ms
            and newest.started_ms < event.ts
        )

    def _newest(self, release: Release) -> Release | None:
        """What was deployed last beside a release, of the same thing."""
        others = [
            r
            for r in self.releases.values()
            if r is not release and r.component == release.component and r.has_deploy
        ]
        return max(others, key=lambda r: (r.started_ms, r.number), default=None)

    def _takes_out(self, event: Deploy) -> bool:
        """Note that a component was taken out of the release that brought it."""
        held = self.releases.get(event.release)
        if event.phase != "withdrawn" or event.component is None or held is None:
            return False
        if held.component is not None or event.component not in held.changes:
            return False
        held.withdrawn[event.component] = event.ts
        return True

    def _end_newer(self, release: Release, event: Deploy) -> None:
        for other in self.candidates():
            if _is_before(release, other):
                self.end(other, "rolled_back", event.ts)
        newest = self._newest(release)
        left = newest is not None and newest.started_ms > release.started_ms
        if newest is not None and left and newest.stage is Stage.BASELINE:
            self.end(newest, "rolled_back", event.ts)

    def _of_deploy(self, event: Deploy) -> Release:
        """The release that a deploy event is about.

        Two components may have the same version, and so may the service itself: a
        component takes the plain name only if no other release has it, or one that
        has just appeared in telemetry and that nothing else has named.
        """
        name, component = event.release, event.component
        if component is None:
            return self.admit(name, event.ts)
        for release in self.releases.values():
            if release.component == component and release.shown == name:
                return release
        held = self.releases.get(name)
        if held is None:
            return self.admit(name, event.ts)
        unclaimed = held.component is None and not held.has_deploy
        if unclaimed and held.first_ms > event.ts - LIVE_WITHIN_MS:
            return held
        release = self.admit(f"{name}{APART}{component}", event.ts)
        if release.name != OTHER_RELEASE:
            release.version = name
        return release

    def _last_good(self, release: Release) -> str | None:
        """The newest other version of a component that was not taken back."""
        others = [
            r
            for r in self.releases.values()
            if r.component == release.component
            and r is not release
            and r.stage is not Stage.ENDED
        ]
        newest = max(others, key=lambda r: (r.started_ms, r.number), default=None)
        return newest.shown if newest is not None else None

    def _add(self, name: str, now_ms: int) -> Release:
        release = Release(name=name, number=self.next_number, first_ms=now_ms)
        self.next_number += 1
        self.releases[name] = release
        self.names_of[release.number] = name
        return release

    def _evict(self, known: Iterable[Release]) -> bool:
        needed = {r.predecessor for r in self.candidates()}
        idle = [
            r for r in known if r.stage is not Stage.CANDIDATE and r.name not in needed
        ]
        if not idle:
            return False
        victim = min(idle, key=_dispensable)
        del self.releases[victim.name]
        del self.names_of[victim.number]
        self.evicted += 1
        self.last_evicted = victim.number
        return True


def _is_unproven(release: Release) -> bool:
    """Whether nothing but a few records speaks for a release."""
    return (
        release.units < PROVEN_MIN_UNITS
        and release.stage is Stage.BASELINE
        and not release.has_deploy
        and release.name != OTHER_RELEASE
    )


def _is_before(older: Release, release: Release) -> bool:
    """Whether a release follows another one of the same service or component."""
    if older.component != release.component:
        return False
    return older.shown in (release.predecessor, *release.live_before)


def _dispensable(release: Release) -> tuple[bool, float, int, int]:
    """Sorts by how little is lost with a release: scanners' names come first."""
    named = release.has_deploy
    weight = max(release.last_usage_ms, release.started_ms) if named else release.units
    return named, weight, release.last_usage_ms, release.number
