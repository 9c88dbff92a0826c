"""Where to go back to: an earlier release that is known to be good, or nowhere.

A rollback to a release that is as bad, or that was itself left an hour ago, does harm
twice. A target has run here, is not under suspicion, was not taken back, and lies few
revisions back; if there is none, a person has to choose (``docs/gate.md``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from detector.modes import least_mode
from detector.releases import PROVEN_MIN_UNITS, Release, Stage
from detector.rulefile import Rule
from detector.scope import Scope
from detector.verdicts import LARGE, Action, ReasonCode, Verdict

DOUBTS = frozenset(
    {
        ReasonCode.HARM_SUSPECTED,
        ReasonCode.HARM_NOT_PERSISTENT,
        ReasonCode.BLAME_UNCLEAR,
    }
)
"""What is said of a release under suspicion."""


class Way(NamedTuple):
    """The smallest action that stops a harm, and where it leads.

    ``component`` is the part of the release that it is about, None for all of it.
    """

    action: Action
    target: str | None
    component: str | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether going back is called for and there is nothing to go back to."""
        return self.action is Action.ROLLBACK and self.target is None


def way_out(
    scope: Scope,
    release: Release,
    rule: Rule,
    component: str | None = None,
    kept: str | None = None,
) -> Way:
    """What is to be done against a release that does harm.

    Parameters
    ----------
    component : str, optional
        The part of the release that holds all of its harm.
    kept : str, optional
        The target chosen before: it stays as long as it is not known to be bad.
    """
    if component is not None and not release.inferred:
        version = last_good_version(scope, release, rule, component)
        action = Action.REPLACE if version is not None else Action.WITHDRAW
        return Way(action, version, component)
    target = target_of(scope, release, rule, kept)
    return Way(action_against(release, target), target)


def planned_action(scope: Scope, release: Release, rule: Rule) -> Action:
    """What harm of the whole release would lead to, as `way_out` says.

    Without seeking a target where none changes the answer: every scrape asks this of
    every release.
    """
    wanted = release.component is not None
    target = target_of(scope, release, rule) if wanted else None
    return action_against(release, target)


def action_against(release: Release, target: str | None) -> Action:
    """The smallest action that stops the harm of a whole release.

    An inferred release is capped at ``watch``: nobody told us what it is. Where
    going back is forbidden or impossible the answer is forward or a halt. To hold a
    ramp helps nobody who is on it, so what is proven is never only held.
    """
    if release.inferred:
        return Action.WATCH
    if release.strategy == "flag":
        return Action.WITHDRAW
    if release.component is not None:
        return Action.WITHDRAW if target is None else Action.REPLACE
    if release.rollback == "forbidden":
        return Action.HOTFIX
    if release.strategy == "mobile":
        return Action.HALT if is_ramping(release) else Action.HOTFIX
    return Action.ROLLBACK


def is_ramping(release: Release) -> bool:
    """Whether a part of the traffic is still to come."""
    return release.weight is not None and release.weight < 1.0


def mode_of(
    rule: Rule, release: Release, action: Action, told: str | None = None
) -> str:
    """How far machines may go: the rule's mode, lowered by what deploy and people said.

    Examples
    --------
    >>> rule, release = Rule(name="r", mode="auto"), Release("2", 1, 0)
    >>> mode_of(rule, release, Action.ROLLBACK)
    'auto'
    >>> release.rollback = "manual"
    >>> mode_of(rule, release, Action.ROLLBACK), mode_of(rule, release, Action.WITHDRAW)
    ('approve', 'auto')
    """
    asks = release.rollback in ("manual", "forbidden") and action in LARGE
    mode = least_mode(told, rule.mode)
    return "approve" if asks and mode == "auto" else mode


def target_of(
    scope: Scope, release: Release, rule: Rule, kept: str | None = None
) -> str | None:
    """The release, or the component's version, that is safe to go back to.

    Nearest first: the predecessor, what was live beside it, then those before them.
    """
    safe = [
        (name, known)
        for name, known in _lineage(scope, release, rule.rollback_window)
        if not _is_barred(scope, release, known)
    ]
    if kept is not None and kept in [name for name, _ in safe]:
        return kept
    return next((name for name, known in safe if not _is_doubted(scope, known)), None)


def last_good_version(
    scope: Scope, release: Release, rule: Rule, component: str
) -> str | None:
    """The version of a component that an earlier release ran without harm."""
    own = release.changes.get(component)
    seen = scope.changes.versions.get(component, {})
    own = own or seen.get(release.number)
    for _, known in _lineage(scope, release, rule.rollback_window):
        if known is None or _is_barred(scope, release, known):
            continue
        if _is_doubted(scope, known):
            continue
        version = known.changes.get(component) or seen.get(known.number)
        if version is not None and version != own:
            return version
    return None


def _lineage(
    scope: Scope, release: Release, revisions: int
) -> Iterator[tuple[str, Release | None]]:
    """Earlier releases of the same thing by revisions back, each once.

    A name that nobody has seen stands for itself, without a release.
    """
    seen = {release.shown}
    row = [release]
    for _ in range(revisions):
        earlier: list[Release] = []
        for one in row:
            live = [scope.registry.releases.get(name) for name in one.live_before]
            beside = [r for r in live if r and r.component == release.component]
            beside.sort(key=lambda r: (-r.started_ms, -r.number))
            first = _find(scope, one.predecessor, release.component)
            unseen = first is None and one.predecessor not in seen
            if one.predecessor is not None and unseen:
                seen.add(one.predecessor)
                yield one.predecessor, None
            for known in [first, *beside] if first else beside:
                if known.shown not in seen:
                    seen.add(known.shown)
                    earlier.append(known)
                    yield known.shown, known
        row = earlier


def _find(scope: Scope, name: str | None, component: str | None) -> Release | None:
    for known in scope.registry.releases.values():
        if (known.shown, known.component) == (name, component):
            return known
    return None


def _is_barred(scope: Scope, release: Release, known: Release | None) -> bool:
    """Whether a release is no target, whatever comes.

    One that was taken back stays barred while it is remembered, also if the harm went
    on without it: whoever goes back to it goes back and forth. Of a component telemetry
    does not show that it ran; that a deploy named it is all that can be known.
    """
    if known is None:
        return release.component is None
    watch = scope.watches.get(known.name)
    if known.stage is Stage.ENDED or (watch is not None and watch.episode is not None):
        return True
    return release.component is None and not _has_run(scope, release, known)


def _has_run(scope: Scope, release: Release, known: Release) -> bool:
    """Whether it served here: its usage was seen, or it is what was compared with."""
    watch = scope.watches.get(release.name)
    tracks = watch.tracks.values() if watch is not None else ()
    beside = any(known.number in track.control for track in tracks)
    return beside or known.units >= PROVEN_MIN_UNITS


def _is_doubted(scope: Scope, known: Release | None) -> bool:
    """Whether something speaks against a release now."""
    watch = scope.watches.get(known.name) if known is not None else None
    said = watch.published if watch is not None else None
    if said is None:
        return False
    bad = said.verdict in (Verdict.REGRESSED, Verdict.UNRELIABLE)
    return bad or not DOUBTS.isdisjoint(said.reasons)
