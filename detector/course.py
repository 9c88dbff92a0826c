"""The course of an episode: what is to be done about its harm, and what changes it."""

from __future__ import annotations

from detector.facts import Episode, Judgement
from detector.findings import Finding
from detector.releases import Release
from detector.rulefile import Rule
from detector.scope import Scope, Watch
from detector.target import Way, way_out
from detector.verdicts import NEEDS_TARGET, Action, ReasonCode, RecommendationState


def course_of(
    scope: Scope,
    release: Release,
    rule: Rule,
    finding: Finding | None,
    component: str | None,
    kept: str | None = None,
) -> Way:
    """The smallest action that helps, as far as the rule lets it go.

    A comparison with the past does no more than hold where the rule says so.
    """
    way = way_out(scope, release, rule, component, kept)
    only_hold = finding is not None and finding.control == "history"
    if only_hold and rule.without_baseline == "hold":
        return Way(Action.HOLD, way.target, component)
    return way


def harmed_part(
    watch: Watch, release: Release, signal: str, onset_ms: int
) -> str | None:
    """The component of a release that alone does harm, as failures show it."""
    if release.component is not None or release.inferred:
        return None
    if signal not in ("errors", "new_signature"):
        return None
    return watch.parts.harmed(onset_ms)


def is_everywhere(watch: Watch) -> bool:
    """Whether a harm that was one component's is certainly not so any more."""
    episode = watch.episode
    if episode is None or episode.component is None:
        return False
    return watch.parts.is_spread(episode.component, episode.onset_ms)


def state_of(way: Way) -> RecommendationState:
    """The state in which a recommendation begins."""
    if way.is_blocked:
        return RecommendationState.BLOCKED
    return RecommendationState.OPEN


def steer(episode: Episode, way: Way) -> bool:
    """Note what is to be done now; whether that is news for whoever acts.

    Nowhere to go, or somewhere again, is; an acknowledgement is kept otherwise.
    """
    had = episode.target
    moved = way.action in NEEDS_TARGET and had is not None and way.target != had
    freed = episode.state is RecommendationState.BLOCKED and not way.is_blocked
    news = way.action is not episode.action or moved or freed
    if news:
        if freed or way.is_blocked:
            episode.state = state_of(way)
        episode.action = way.action
        episode.revision += 1
    episode.target = way.target
    return news


def said_of(judgement: Judgement, way: Way) -> Judgement:
    """The judgement with what is to be done about it."""
    reasons = judgement.reasons
    if way.is_blocked:
        reasons = (*reasons, ReasonCode.NO_SAFE_TARGET)
    return Judgement(judgement.verdict, reasons, way.action)
