"""What is published: verdict and recommendation records, with their evidence."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf, isnan, log

import numpy as np

from detector.assess import (
    CONFIDENCE_ALPHA,
    leading_series,
    series_log_e,
    unit_word,
)
from detector.decide import Episode, Facts, Judgement
from detector.evidence.confidence import ratio_interval, ratio_log_likelihood
from detector.evidence.rows import RateRatioRows
from detector.localise import smallest_cut
from detector.outlook import gain_per_failure
from detector.releases import Release
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.series import Segment, segments_of
from detector.signals import errors
from detector.verdicts import (
    Arm,
    RecommendationRecord,
    RecommendationState,
    SignalEvidence,
    TopSignature,
    VerdictRecord,
)
from detector.version import CODE_VERSION
from detector.wording import (
    RATIO_LIMIT,
    closing_sentence,
    harm_sentence,
    verdict_sentence,
)

LIVE_STATES = (RecommendationState.OPEN, RecommendationState.ACKNOWLEDGED)
EVIDENCE_MOST = 5
TOP_SIGNATURES = 3
EXPIRES_AFTER_MS = 600_000
"""A recommendation is good for ten minutes; an open one is issued anew in time."""


class Harm:
    """Size and place of a harm since its onset, read from the history.

    Attributes
    ----------
    segment : Segment
        Smallest cut with a clean complement, () for everywhere.
    counts : tuple of float
        (units candidate, bad candidate, units control, bad control) inside it.
    ratio : tuple of float
        Low, best and high rate ratio inside it.
    excess : float
        Bad units of the candidate beyond what the control's rate predicts.
    """

    def __init__(
        self, scope: Scope, watch: Watch, onset_ms: int, segment: Segment | None = None
    ) -> None:
        counts = watch.history.since(onset_ms)
        keys = scope.strata.key_of()
        attrs = scope.strata.attrs
        self.onset_ms = onset_ms
        self.segment = smallest_cut(attrs, keys, counts) if segment is None else segment
        inside = [
            c
            for s, c in sorted(counts.items())
            if self.segment in segments_of(attrs, keys.get(s, ()))
        ]
        if not inside:  # other strata are in force than when the episode began
            self.segment = ()
            inside = [c for _, c in sorted(counts.items())]
        columns = np.array(inside).reshape(-1, 4).T
        total = columns.sum(axis=1)
        self.counts = (
            float(total[0]),
            float(total[1]),
            float(total[2]),
            float(total[3]),
        )
        likelihood = ratio_log_likelihood(
            columns[1], columns[3], columns[0], columns[2]
        ).sum(axis=0, keepdims=True)
        low, point, high = ratio_interval(likelihood, CONFIDENCE_ALPHA)[0].tolist()
        self.ratio = (low, point, high)
        both = (columns[0] > 0) & (columns[2] > 0)
        expected = columns[0] * columns[3] / np.where(both, columns[2], 1.0)
        self.excess = float(np.where(both, columns[1] - expected, 0.0).sum())


def onset_of(watch: Watch, rows: RateRatioRows, release: Release) -> int:
    """Estimated start of the harm: of the run of the leading series."""
    if not watch.series.series:
        return release.started_ms
    lead = leading_series(watch, series_log_e(watch, rows))
    onset = int(rows.onset_ms([watch.series.series[lead].row])[0])
    return onset if onset >= 0 else release.started_ms


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
    onset = watch.episode.onset_ms if watch.episode else onset_of(watch, rows, release)
    harm = Harm(scope, watch, onset)
    names = control_names(scope, watch)
    regressed = watch.episode is not None
    sentence = (
        _sentence_of_harm(scope, watch, release, harm, judgement)
        if regressed
        else verdict_sentence(
            scope.service,
            release.name,
            judgement.verdict,
            judgement.reasons,
            judgement.action,
        )
    )
    others = [r for r in scope.registry.candidates() if r is not release]
    return VerdictRecord(
        service=scope.service,
        environment=scope.environment,
        release=release.name,
        component=release.component,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        sentence=sentence,
        action=judgement.action,
        condition="frozen" if scope.frozen else None,
        decided_at=decided_at,
        window_end=facts.now_ms,
        log_e=_short(facts.log_e),
        evidence=_evidence(watch, release, rows, names),
        affected_units=_short(harm.counts[0]) if regressed else 0.0,
        excess_bad_units=_short(max(0.0, harm.excess)) if regressed else 0.0,
        onset_ms=onset if regressed else None,
        top_signatures=_top_signatures(scope, watch, release),
        competing_releases=tuple(r.name for r in others),
        competing_changes=dict(release.changes),
        change_needs=_change_needs(facts, inforce),
        inferred=release.inferred,
        owner=release.owner or inforce.rule.owner or None,
        rule=inforce.rule.name,
        rules_hash=inforce.rules_hash,
        code_version=CODE_VERSION,
        offset=offset,
        recommendation_id=watch.episode.id if watch.episode else None,
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
    harm = Harm(scope, watch, episode.onset_ms, episode.segment)
    shown = Judgement(judgement.verdict, judgement.reasons, episode.action)
    return RecommendationRecord(
        id=episode.id,
        revision=episode.revision,
        action=episode.action,
        state=episode.state,
        service=scope.service,
        environment=scope.environment,
        release=release.name,
        component=release.component,
        target=target_of(scope, release),
        mode=inforce.rule.mode,
        decided_at=decided_at,
        issued_at=decided_at,
        expires_at=decided_at + EXPIRES_AFTER_MS,
        episode_start_ms=episode.start_ms,
        segment=dict(episode.segment) or None,
        log_e=_short(facts.log_e),
        rate_ratio=_finite(harm.ratio),
        expected_effect=_expected_effect(watch, harm),
        sentence=(
            _sentence_of_harm(scope, watch, release, harm, shown)
            if episode.state in LIVE_STATES
            else closing_sentence(
                scope.service, release.name, episode.state, judgement.reasons
            )
        ),
        reasons=judgement.reasons,
        evidence_offset=offset,
        rule=inforce.rule.name,
        rules_hash=inforce.rules_hash,
    )


def target_of(scope: Scope, release: Release) -> str | None:
    """The release to go back to: the predecessor unless it is blamed itself."""
    name = release.predecessor
    if name is None or name not in scope.registry.releases:
        return name
    watch = scope.watches.get(name)
    return None if watch is not None and watch.episode is not None else name


def control_names(scope: Scope, watch: Watch) -> tuple[str, ...]:
    """Names of the releases that the candidate was last compared with."""
    names = scope.registry.names_of
    return tuple(names[n] for n in watch.control if n in names)


def _sentence_of_harm(
    scope: Scope, watch: Watch, release: Release, harm: Harm, judgement: Judgement
) -> str:
    units, bad = harm.counts[0], harm.counts[1]
    return harm_sentence(
        service=scope.service,
        release=release.name,
        controls=control_names(scope, watch) or ("its control",),
        unit=unit_word(watch),
        segment=harm.segment,
        ratio=harm.ratio,
        onset_ms=harm.onset_ms,
        bad=bad,
        units=units,
        excess=max(0.0, harm.excess),
        action=judgement.action,
        target=target_of(scope, release),
    )


def _evidence(
    watch: Watch, release: Release, rows: RateRatioRows, names: tuple[str, ...]
) -> tuple[SignalEvidence, ...]:
    """The whole first, then the segments with the most evidence."""
    if not watch.series.series:
        return ()
    log_e = series_log_e(watch, rows)
    order = [0, *(int(i) for i in np.argsort(-log_e, kind="stable") if i != 0)]
    chosen = [watch.series.series[i] for i in order[:EVIDENCE_MOST]]
    positions = [s.row for s in chosen]
    ratios = rows.confidence(positions, CONFIDENCE_ALPHA).tolist()
    onsets = rows.onset_ms(positions).tolist()
    totals = rows.totals[positions].tolist()
    return tuple(
        SignalEvidence(
            signal=errors.NAME,
            segment=dict(series.segment) or None,
            unit=unit_word(watch),
            candidate=_arm((release.name,), total[1], total[0]),
            control_arm=_arm(names, total[3], total[2]),
            rate_ratio=_finite(ratio),
            log_e=_short(float(log_e[i])),
            margin=watch.margin,
            control="concurrent",
            guarantee=errors.GUARANTEE,
            onset_ms=onset if onset >= 0 else None,
        )
        for i, series, ratio, onset, total in zip(
            order, chosen, ratios, onsets, totals, strict=False
        )
    )


def _arm(releases: tuple[str, ...], units: float, bad: float) -> Arm:
    rate = _short(bad / units) if units > 0 else None
    return Arm(releases, _short(units), _short(bad), rate)


def _top_signatures(
    scope: Scope, watch: Watch, release: Release
) -> tuple[TopSignature, ...]:
    """Signatures with the largest excess over the control since the deploy."""
    exposure = watch.units_control or 1.0
    share = watch.units_candidate / exposure
    found = []
    for name, entry in scope.signatures.items():
        before = watch.signatures_before.get(name, {})
        own = entry.counts.get(release.number, 0.0) - before.get(release.number, 0.0)
        other = sum(
            entry.counts.get(n, 0.0) - before.get(n, 0.0) for n in watch.control
        )
        if own > 0:
            found.append((own - share * other, name, own, other, entry.url))
    found.sort(key=lambda f: (-f[0], f[1]))
    return tuple(
        TopSignature(name, _short(own), _short(other), url)
        for _, name, own, other, url in found[:TOP_SIGNATURES]
    )


def _expected_effect(watch: Watch, harm: Harm) -> str:
    if harm.counts[1] <= 0:
        return "none known"
    share = max(0.0, harm.excess) / harm.counts[1]
    return f"about {share:.0%} of its failed {unit_word(watch)}s would not have failed"


def _change_needs(facts: Facts, inforce: InForce) -> str:
    """What would change the verdict: failed units still needed at this ratio."""
    need = log(1.0 / inforce.rule.alpha) - facts.log_e
    share = facts.units_candidate / max(
        1.0, facts.units_candidate + facts.units_control
    )
    ratio = facts.ratio[1]
    if need <= 0 or not 0.0 < share < 1.0 or isnan(facts.ratio[1]):
        return ""
    if ratio <= facts.margin:
        return f"a rate ratio above the margin {facts.margin:g} that lasts"
    gain = gain_per_failure(share, facts.margin, ratio)
    return (
        f"about {need / gain:,.0f} more failed units of both releases together "
        f"at the present ratio of {ratio:.2g} would reach the threshold"
    )


def _finite(ratio: Sequence[float]) -> tuple[float, float, float]:
    """A ratio interval as JSON can carry it: no upper limit is a huge number."""
    low, point, high = (_short(RATIO_LIMIT if isinf(r) else r) for r in ratio)
    if isnan(point):  # no failed unit in either arm: nothing speaks for any ratio
        point = 1.0
    return low, point, high


def _short(value: float) -> float:
    """Six significant digits: enough to decide by, few enough to read."""
    return value if value in (0.0, inf, -inf) else float(f"{value:.6g}")
