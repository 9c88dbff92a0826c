"""What a partition looks like from outside: plain values, read from state alone.

Metrics, the status page and the command line show these views, never the state
itself. A view of a restored partition equals the view of the one that wrote the
snapshot, and what left the state is in no view: a series of a retired release or
of a revoked partition can not linger.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detector.combine import Floats
from detector.engine import Partition
from detector.evidence.rows import RateRatioRows
from detector.harmview import HarmView, harm_view
from detector.needs import Rates
from detector.needs import eta_s as eta_of
from detector.reading import CONFIDENCE_ALPHA, PLAIN_RATIO, unit_word
from detector.releases import Release, Stage
from detector.report import control_names
from detector.rollbackview import RollbackView, rollback_views
from detector.rulefile import Rule
from detector.scope import Scope, Track, Watch
from detector.target import mode_of, planned_action
from detector.verdicts import (
    STANDING_STATES,
    Action,
    ReasonCode,
    RecommendationState,
    Verdict,
)

PAGING = ("critical", "high")
"""Criticalities whose recommendations wake somebody."""


class RecommendationView(Struct, frozen=True):
    """The recommendation about a release, or the one that would be made.

    Without an open episode ``is_open`` is false, ``id`` is None and ``action`` is
    what harm would lead to, so that the series which turns 1 was 0 before.
    """

    is_open: bool
    action: Action
    mode: str
    severity: str
    id: str | None = None
    state: RecommendationState | None = None
    revision: int = 0
    segment: dict[str, str] | None = None
    start_ms: int | None = None
    onset_ms: int | None = None
    component: str | None = None


class SignalView(Struct, frozen=True):
    """What one signal says about the whole of a release.

    ``rate_ratio`` is candidate / control as (low, best, high) of its confidence
    sequence since the evidence began; ``units`` and ``bad`` count since the deploy.
    """

    signal: str
    unit: str
    units: float
    bad: float
    units_control: float
    bad_control: float
    rate_ratio: tuple[float, float, float]
    log_e: float


class ReleaseView(Struct, frozen=True):
    """One release under judgement.

    ``evaluated_ms`` is the event time up to which it has been judged and
    ``verdict`` what came out, both None before the first time. ``excess_units`` are
    failed units since the onset beyond what the control's rate predicts, 0 without
    an episode, and ``harm`` is what else is known of it. ``eta_s`` is the time until
    the evidence reaches the threshold if ratio and traffic stay as they are, None
    where it would never.
    """

    service: str
    environment: str
    release: str
    component: str | None
    baseline: str
    strategy: str
    owner: str
    criticality: str
    inferred: bool
    started_ms: int
    is_open: bool
    evaluated_ms: int | None
    verdict: Verdict | None
    reasons: tuple[ReasonCode, ...]
    condition: str | None
    action: Action | None
    recommendation: RecommendationView
    signals: tuple[SignalView, ...]
    excess_units: float
    eta_s: float | None
    harm: HarmView | None = None


class ScopeView(Struct, frozen=True):
    """One service in one environment: how recent it is, what was refused."""

    service: str
    environment: str
    watermark_ms: int
    closed_until_ms: int
    last_event_ms: dict[str, int]
    late: int
    duplicates: int
    future: int
    frozen: bool


class PartitionView(Struct, frozen=True):
    """One partition; ``watermark_ms`` is that of its furthest service."""

    partition: int
    topic: str
    next_offset: int
    arrival_ms: int
    watermark_ms: int
    rules_hash: str
    rules_count: int
    counts: dict[str, int]
    overflow: dict[str, int]
    scopes: tuple[ScopeView, ...]
    releases: tuple[ReleaseView, ...]
    rollbacks: tuple[RollbackView, ...] = ()


class Reading(NamedTuple):
    """What the evidence rows say about one watch."""

    log_e: float
    ratio: tuple[float, float, float]
    bad: float
    units: float
    bad_control: float
    units_control: float
    watched_ms: float


Ints = NDArray[np.int64]

NOTHING = Reading(0.0, PLAIN_RATIO, 0.0, 0.0, 0.0, 0.0, 0.0)


def partition_view(partition: Partition) -> PartitionView:
    """Everything a partition shows, as of now; nothing in it changes later."""
    scopes = partition.scopes.values()
    rules = partition.rulebook.default
    return PartitionView(
        partition=partition.number,
        topic=partition.topic,
        next_offset=partition.next_offset,
        arrival_ms=partition.arrival_ms,
        watermark_ms=max((s.watermark_ms for s in scopes), default=-1),
        rules_hash=rules.hash,
        rules_count=len(rules.rules),
        counts=dict(partition.counts),
        overflow={
            "releases": sum(s.registry.evicted for s in scopes),
            "strata": sum(s.strata.overflow for s in scopes),
            "scopes": partition.counts["overflow.scopes"],
        },
        scopes=tuple(_scope_view(s) for s in scopes),
        releases=tuple(release_views(partition)),
        rollbacks=tuple(rollback_views(scopes, partition.arrival_ms, PAGING)),
    )


def release_views(
    partition: Partition, service: str | None = None
) -> list[ReleaseView]:
    """Every release under judgement, or one service's, by environment and start."""
    watched = [
        (scope, watch)
        for scope in partition.scopes.values()
        if service in (None, scope.service)
        for watch in scope.watches.values()
    ]
    tracks = [t for _, w in watched for t in w.tracks.values()]
    readings = iter(_read(tracks, partition.rows))
    views = [
        _release_view(
            partition, scope, w, [(t, next(readings)) for t in w.tracks.values()]
        )
        for scope, w in watched
    ]
    return sorted(
        views, key=lambda v: (v.service, v.environment, v.started_ms, v.release)
    )


def severity_of(criticality: str, action: Action) -> str:
    """``page`` for critical and high releases, else ``ticket``.

    To ``investigate`` never wakes anybody.
    """
    pages = criticality in PAGING and action is not Action.INVESTIGATE
    return "page" if pages else "ticket"


def eta_s(
    reading: Reading, margin: float, alpha: float, share: float = 1.0
) -> float | None:
    """Seconds of event time until log(1/alpha), None if it is not on the way there.

    ``share`` is the part of the release's evidence that the signal may carry.

    """
    rates = Rates(
        log_e=reading.log_e,
        ratio=reading.ratio[1],
        units=reading.units,
        units_control=reading.units_control,
        failures=reading.bad + reading.bad_control,
        watched_s=reading.watched_ms / 1000,
    )
    return eta_of(rates, margin, log(1.0 / (alpha * share)))


def _read(tracks: list[Track], rows: RateRatioRows) -> list[Reading]:
    """Read the rows of all signals in one go: one numpy call per quantity."""
    judged = [t for t in tracks if t.series.series]
    if not judged:
        return [NOTHING] * len(tracks)
    every = [s.row for t in judged for s in t.series.series]
    whole = np.array([t.series.series[0].row for t in judged])
    sizes = np.array([len(t.series.series) for t in judged])
    weights = np.array([s.weight for t in judged for s in t.series.series])
    evidence = _release_log_e(rows.log_evidence(every), weights, sizes).tolist()
    ratios = rows.confidence(whole, CONFIDENCE_ALPHA).tolist()
    totals = rows.totals[whole][:, :4].tolist()
    begun = rows.first_ms[whole]
    spans = np.where(begun >= 0, rows.last_end_ms[whole] - begun, 0).tolist()
    found = iter(
        Reading._make((log_e, tuple(ratio), *total, span))
        for log_e, ratio, total, span in zip(
            evidence, ratios, totals, spans, strict=True
        )
    )
    return [next(found) if t.series.series else NOTHING for t in tracks]


def _release_log_e(log_e: Floats, weights: Floats, sizes: Ints) -> Floats:
    """``combine.release_log_e`` of many releases, ``sizes`` series each, at once."""
    starts = np.cumsum(sizes) - sizes
    spare = np.maximum(0.0, 1.0 - np.add.reduceat(weights, starts))
    bets = np.logaddexp.reduceat(np.log(weights) + log_e, starts)
    with np.errstate(divide="ignore"):
        return np.logaddexp(bets, np.log(spare))


def _release_view(
    partition: Partition,
    scope: Scope,
    watch: Watch,
    readings: list[tuple[Track, Reading]],
) -> ReleaseView:
    release = scope.registry.releases[watch.release]
    rule = partition.rulebook.find(scope.service, scope.environment).rule
    said = watch.published
    harm = harm_view(scope, watch)
    etas = [eta_s(each, t.margin, rule.alpha, t.share) for t, each in readings]
    return ReleaseView(
        service=scope.service,
        environment=scope.environment,
        release=release.shown,
        component=release.component,
        baseline=_baseline(scope, watch, release),
        strategy=release.strategy or "",
        owner=release.owner or rule.owner,
        criticality=release.criticality,
        inferred=release.inferred,
        started_ms=release.started_ms,
        is_open=release.stage is Stage.CANDIDATE,
        evaluated_ms=scope.closed_until_ms if said else None,
        verdict=said.verdict if said else None,
        reasons=said.reasons if said else (),
        condition="frozen" if scope.frozen else None,
        action=said.action if said else None,
        recommendation=_recommendation(scope, watch, release, rule),
        signals=tuple(_signal(track, reading) for track, reading in readings),
        excess_units=harm.excess_units if harm else 0.0,
        eta_s=_least(etas) if watch.control_lost_ms < 0 else None,
        harm=harm,
    )


def _least(etas: list[float | None]) -> float | None:
    return min((e for e in etas if e is not None), default=None)


def _signal(track: Track, reading: Reading) -> SignalView:
    return SignalView(
        signal=track.signal,
        unit=unit_word(track),
        units=track.units_candidate,
        bad=track.bad_candidate,
        units_control=track.units_control,
        bad_control=track.bad_control,
        rate_ratio=reading.ratio,
        log_e=reading.log_e,
    )


def _recommendation(
    scope: Scope, watch: Watch, release: Release, rule: Rule
) -> RecommendationView:
    episode = watch.episode
    if episode is None:
        action = planned_action(scope, release, rule)
        severity = severity_of(release.criticality, action)
        mode = mode_of(rule, release, action, scope.mode)
        return RecommendationView(False, action, mode, severity)
    return RecommendationView(
        is_open=episode.state in STANDING_STATES,
        action=episode.action,
        mode=mode_of(rule, release, episode.action, scope.mode),
        severity=severity_of(release.criticality, episode.action),
        id=episode.id,
        state=episode.state,
        revision=episode.revision,
        segment=dict(episode.segment) or None,
        start_ms=episode.start_ms,
        onset_ms=episode.onset_ms,
        component=episode.component,
    )


def _baseline(scope: Scope, watch: Watch, release: Release) -> str:
    """The predecessor while it is (or will be) the control, else who is."""
    names = control_names(scope, watch.errors)
    if release.predecessor and (not names or release.predecessor in names):
        return release.predecessor
    return ",".join(names)


def _scope_view(scope: Scope) -> ScopeView:
    return ScopeView(
        service=scope.service,
        environment=scope.environment,
        watermark_ms=scope.watermark_ms,
        closed_until_ms=scope.closed_until_ms,
        last_event_ms=dict(scope.last_event_ms),
        late=scope.late,
        duplicates=scope.duplicates,
        future=scope.future,
        frozen=scope.frozen,
    )
