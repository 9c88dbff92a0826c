"""What a deploy event says of a release, and what later ones may not undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from detector.events import Deploy

if TYPE_CHECKING:
    from detector.releases import Release

STEPS_MAX, ACTORS_MAX = 128, 8
"""Steps of a ramp, parts of a fleet, and deployers that are remembered of a release."""

CAUTION = ("unsaid", "auto", "manual", "forbidden")
"""What a deploy may say of going back, least cautious first."""


def describe(release: Release, event: Deploy, *, fresh: bool) -> None:
    """Take over what is said; a ramp step that leaves something out undoes nothing.

    ``fresh``: the release is not under judgement yet.
    """
    if event.predecessor != release.shown:  # a redeploy; nobody is his own control
        release.predecessor = event.predecessor or release.predecessor
    release.strategy = event.strategy or release.strategy
    release.weight = event.weight if event.weight is not None else release.weight
    said = event.rollback or "unsaid"
    if fresh or CAUTION.index(said) > CAUTION.index(release.rollback):
        release.rollback = said
    if fresh or event.criticality != "medium":
        release.criticality = event.criticality
    release.owner = event.owner or release.owner
    if event.actor and (fresh or event.actor not in release.actors):
        before = () if fresh else release.actors
        release.actors = (*before, event.actor)[-ACTORS_MAX:]
    release.component = event.component or release.component
    release.change_url = event.change_url or release.change_url
    release.changes = dict(event.components) or release.changes
    release.fixes = tuple(event.fixes) or release.fixes


def of_component(event: Deploy) -> Deploy:
    """A deploy of a component under the component's own version.

    Examples
    --------
    >>> told = Deploy(ts=0, service="s", release="2", component="cart")
    >>> of_component(told).release
    '2'
    >>> of_component(replace(told, component_version="7")).release
    '7'
    """
    if event.component is None or event.component_version is None:
        return event
    return replace(event, release=event.component_version, component_version=None)


def note_step(release: Release, event: Deploy) -> None:
    """Remember a step of the ramp, or the part of the fleet that was taken over."""
    scope = tuple(sorted(event.scope.items()))
    if scope:
        if scope not in [known for _, known in release.flips]:
            release.flips = sorted([*release.flips, (event.ts, scope)])[:STEPS_MAX]
    elif event.weight is not None:
        release.ramp = sorted({*release.ramp, (event.ts, event.weight)})[-STEPS_MAX:]
