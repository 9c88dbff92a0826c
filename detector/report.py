"""What is published: verdict and recommendation records, with their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf, isnan

from msgspec import UNSET

from detector.ambient import ambient_ratio
from detector.blame import title
from detector.combine import flagged
from detector.effects import effect_text, effects_of
from detector.evidence.rows import RateRatioRows
from detector.facts import Episode, Facts, Judgement
from detector.findings import Finding
from detector.harm import Harm, harm_of, onset_of
from detector.hotfix import fixed_of, shown
from detector.needs import change_needs, watch_eta_s
from detector.reading import CONFIDENCE_ALPHA, series_log_e, unit_word
from detector.releases import Release
from detector.rulebook import InForce
from detector.scope import Scope, Track, Watch
from detector.signals import errors
from detector.target import Way, mode_of
from detector.verdicts import (
    STANDING_STATES,
    Arm,
    ReasonCode,
    RecommendationRecord,
    SignalEvidence,
    TopSignature,
    VerdictRecord,
)
from detector.version import CODE_VERSION
from detector.wording import (
    RATIO_LIMIT,
    closing_sentence,
    fixes_text,
    harm_sentence,
    rivals_text,
    verdict_sentence,
)

CONTROL_WORDS = {
    "history": ("its own past",),
    "regions": ("the other regions, each beside its own past",),
    "plan": ("the plan of the rollout",),
    "cohort": ("sessions of the same age on the other releases",),
}
EVIDENCE_MOST = 5
TOP_SIGNATURES = 3
EXPIRES_AFTER_MS = 600_000
"""A recommendation is good for ten minutes; an open one is issued anew in time."""


def verdict_record(
    scope: Scope,
    watch: Watch,
    release: Release,
    rows: RateRatioRows,
    inforce: InForce,
    facts: Facts,
    judgement: Judgement,
    *,
    decided_at: int,
    offset: int,
) -> VerdictRecord:
    """Everything a reader needs to believe or doubt the verdict."""
    if watch.episode:
        signal, onset = watch.episode.signal, watch.episode.onset_ms
    else:
        signal, onset = onset_of(watch, rows, release)
    harm = harm_of(scope, watch, onset, None, signal)
    regressed = watch.episode is not None
    sentence = (
        _sentence_of_harm(scope, watch, release, harm, judgement)
        if regressed
        else verdict_sentence(
            scope.service,
            title(release),
            judgement.verdict,
            judgement.reasons,
            judgement.action,
        )
    )
    if ReasonCode.BLAME_UNCLEAR in judgement.reasons:
        sentence += rivals_text(facts.rivals)
    others = [r for r in scope.registry.candidates() if r is not release]
    fixed = fixed_of(scope, release)
    unit = unit_word(watch.errors)
    return VerdictRecord(
        service=scope.service,
        environment=scope.environment,
        release=release.shown,
        component=release.component,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        sentence=sentence + fixes_text(tuple((f.signature, f.fate) for f in fixed)),
        action=judgement.action,
        condition="frozen" if scope.frozen else None,
        decided_at=decided_at,
        window_end=facts.now_ms,
        log_e=_short(facts.log_e),
        evidence=_evidence(scope, watch, release, rows, inforce.rule.alpha),
        affected_units=_short(harm.counts[0]) if regressed else 0.0,
        excess_bad_units=_short(max(0.0, harm.excess)) if regressed else 0.0,
        onset_ms=onset if regressed else None,
        top_signatures=_top_signatures(scope, watch, release),
        ambient_ratio=ambient_ratio(scope, release, facts.now_ms),
        competing_releases=tuple(r.shown for r in others if r.component is None),
        competing_changes=dict(release.changes)
        | {r.component: r.shown for r in others if r.component is not None},
        change_needs=change_needs(facts, judgement, release, inforce.rule, unit, fixed),
        inferred=release.inferred,
        owner=release.owner or inforce.rule.owner or None,
        rule=inforce.rule.name,
        rules_hash=inforce.rules_hash,
        code_version=CODE_VERSION,
        offset=offset,
        recommendation_id=watch.episode.id if watch.episode else None,
        decision_eta_s=watch_eta_s(watch, rows, inforce.rule.alpha),
        fixed_signatures=shown(fixed),
    )


def recommendation_record(
    scope: Scope,
    watch: Watch,
    release: Release,
    inforce: InForce,
    facts: Facts,
    judgement: Judgement,
    episode: Episode,
    *,
    decided_at: int,
    offset: int,
) -> RecommendationRecord:
    """One revision of the episode's recommendation."""
    harm = harm_of(scope, watch, episode.onset_ms, episode.segment, episode.signal)
    shown = Judgement(judgement.verdict, judgement.reasons, episode.action)
    way = Way(episode.action, episode.target, episode.component)
    effects = effects_of(scope, watch, release, way, harm, facts.now_ms)
    return RecommendationRecord(
        id=episode.id,
        revision=episode.revision,
        action=episode.action,
        state=episode.state,
        service=scope.service,
        environment=scope.environment,
        release=release.shown,
        component=episode.component or release.component,
        target=episode.target,
        mode=mode_of(inforce.rule, release, episode.action, scope.mode),
        decided_at=decided_at,
        issued_at=decided_at,
        expires_at=decided_at + EXPIRES_AFTER_MS,
        episode_start_ms=episode.start_ms,
        segment=dict(episode.segment) or None,
        log_e=_short(facts.log_e),
        rate_ratio=_finite(harm.ratio),
        expected_effect=effect_text(harm, effects[0]),
        sentence=(
            _sentence_of_harm(scope, watch, release, harm, shown)
            if episode.state in STANDING_STATES
            else closing_sentence(
                scope.service,
                part_title(release, episode),
                episode.state,
                judgement.reasons,
            )
        ),
        reasons=judgement.reasons,
        evidence_offset=offset,
        rule=inforce.rule.name,
        rules_hash=inforce.rules_hash,
        effects=effects,
        approvals=inforce.rule.approvals,
        deployed_by=release.actors,
        hooks=inforce.rule.hooks or UNSET,
    )


def part_title(release: Release, episode: Episode | None) -> str:
    """A release, with the component of it that a recommendation is about."""
    part = episode.component if episode is not None else None
    return title(release) if part is None else f"{title(release)}, component {part}"


def control_names(scope: Scope, track: Track) -> tuple[str, ...]:
    """Names of the releases that the candidate was last compared with."""
    names = scope.registry.names_of
    return tuple(names[n] for n in track.control if n in names)


def _sentence_of_harm(
    scope: Scope, watch: Watch, release: Release, harm: Harm, judgement: Judgement
) -> str:
    units, bad = harm.counts[0], harm.counts[1]
    track = watch.tracks.get(harm.signal, watch.errors)
    return harm_sentence(
        service=scope.service,
        release=part_title(release, watch.episode),
        signal=harm.signal,
        controls=CONTROL_WORDS.get(harm.control)
        or control_names(scope, track)
        or (("units without it",) if release.component else ("its control",)),
        unit=harm.unit,
        segment=harm.segment,
        ratio=harm.ratio,
        onset_ms=harm.onset_ms,
        bad=bad,
        units=units,
        excess=max(0.0, harm.excess),
        action=judgement.action,
        target=watch.episode.target if watch.episode else None,
    )


def _evidence(
    scope: Scope, watch: Watch, release: Release, rows: RateRatioRows, alpha: float
) -> tuple[SignalEvidence, ...]:
    """Each signal beside its control, then what other procedures have found."""
    found: list[SignalEvidence] = []
    for track in watch.tracks.values():
        found += _track_evidence(scope, track, release, rows, alpha)
    strongest = sorted(watch.findings, key=lambda f: (-f.z / f.threshold, f.segment))
    found += [_finding_evidence(f, release) for f in strongest[:EVIDENCE_MOST]]
    return tuple(found)


def _track_evidence(
    scope: Scope, track: Track, release: Release, rows: RateRatioRows, alpha: float
) -> list[SignalEvidence]:
    """The whole first, then the segments with the most evidence."""
    if not track.series.series:
        return []
    names = control_names(scope, track)
    log_e = series_log_e(track, rows)
    found = flagged(log_e, alpha)
    every = track.series.series
    # Equals by name: numbers of series depend on the order within a window.
    rest = sorted(range(1, len(every)), key=lambda i: (-log_e[i], every[i].segment))
    order = [0, *rest]
    chosen = [every[i] for i in order[:EVIDENCE_MOST]]
    positions = [s.row for s in chosen]
    ratios = rows.confidence(positions, CONFIDENCE_ALPHA).tolist()
    onsets = rows.onset_ms(positions).tolist()
    totals = rows.totals[positions].tolist()
    return [
        SignalEvidence(
            signal=track.signal,
            segment=dict(series.segment) or None,
            unit=unit_word(track),
            candidate=_arm((release.shown,), total[1], total[0]),
            control_arm=_arm(names, total[3], total[2]),
            rate_ratio=_finite(ratio),
            log_e=_short(float(log_e[i])),
            margin=track.margin,
            control="concurrent",
            guarantee=errors.GUARANTEE,
            onset_ms=onset if onset >= 0 else None,
            flagged=bool(found[i]),
        )
        for i, series, ratio, onset, total in zip(
            order, chosen, ratios, onsets, totals, strict=False
        )
    ]


def _finding_evidence(finding: Finding, release: Release) -> SignalEvidence:
    units, bad, units_control, bad_control = finding.counts
    return SignalEvidence(
        signal=finding.signal,
        segment=dict(finding.segment) or None,
        unit=finding.unit,
        candidate=_arm((release.shown,), units, bad),
        control_arm=_arm((), units_control, bad_control),
        rate_ratio=_finite(finding.ratio),
        log_e=_short(finding.log_e),
        margin=finding.margin,
        control=finding.control,
        guarantee=finding.guarantee,
        onset_ms=finding.onset_ms,
        flagged=finding.fires,
    )


def _arm(releases: tuple[str, ...], units: float, bad: float) -> Arm:
    rate = _short(bad / units) if units > 0 else None
    return Arm(releases, _short(units), _short(bad), rate)


def _top_signatures(
    scope: Scope, watch: Watch, release: Release
) -> tuple[TopSignature, ...]:
    """Signatures with the largest excess over the control since the deploy."""
    track = watch.errors
    exposure = track.units_control or 1.0
    share = track.units_candidate / exposure
    found = []
    before = _units_before(watch)
    for number, entry in scope.catalogue.entries.items():
        own = entry.counts.get(release.number, 0.0)
        other = sum(
            entry.counts.get(n, 0.0) - before.get((number, n), 0.0)
            for n in track.control
        )
        expected = share * other
        if number in watch.mix.hits:
            own, other, expected = watch.mix.hits[number]
        if own > 0:
            found.append((own - expected, entry.name, own, other, entry.url))
    found.sort(key=lambda f: (-f[0], f[1]))
    return tuple(
        TopSignature(name, _short(own), _short(other), url)
        for _, name, own, other, url in found[:TOP_SIGNATURES]
    )


def _units_before(watch: Watch) -> dict[tuple[int, int], float]:
    """Units hit before the watch, by signature and release."""
    total: dict[tuple[int, int], float] = {}
    for (number, release, _), units in watch.novelty.units.items():
        total[number, release] = total.get((number, release), 0.0) + units
    return total


def _finite(ratio: Sequence[float]) -> tuple[float, float, float]:
    """A ratio interval as JSON can carry it: no upper limit is a huge number."""
    low, point, high = (_short(RATIO_LIMIT if isinf(r) else r) for r in ratio)
    if isnan(point):  # no failed unit in either arm: nothing speaks for any ratio
        point = 1.0
    return low, point, high


def _short(value: float) -> float:
    """Six significant digits: enough to decide by, few enough to read."""
    return value if value in (0.0, inf, -inf) else float(f"{value:.6g}")
