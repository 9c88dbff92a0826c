"""After a release was taken back: watch what becomes of its harm, and say it."""

from __future__ import annotations

from collections.abc import Iterator

from detector.aftermath import AFTERMATHS_MAX, Aftermath, edge_of, follow
from detector.harm import release_harm_of
from detector.records import Outputs
from detector.releases import Release, Stage
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.spans import Books
from detector.verdicts import (
    Action,
    Arm,
    ReasonCode,
    SignalEvidence,
    Verdict,
    VerdictRecord,
)
from detector.version import CODE_VERSION
from detector.wire import verdict_output
from detector.wording import aftermath_sentence

JUDGED = ("errors", "new_signature", "latency", "usage")

SAID = {
    "helped": (Verdict.REGRESSED, ReasonCode.ROLLBACK_HELPED, Action.CONTINUE),
    "did_not_help": (
        Verdict.INCONCLUSIVE,
        ReasonCode.ROLLBACK_DID_NOT_HELP,
        Action.INVESTIGATE,
    ),
    "unverified": (Verdict.REGRESSED, ReasonCode.ROLLBACK_UNVERIFIED, Action.CONTINUE),
}
"""What a release is called once the way back from it has been judged."""


def begin(scope: Scope, watch: Watch, release: Release) -> None:
    """Start to watch what becomes of the harm of a release that was taken back.

    Only where the counts of everybody over time can show it: failures, latency, and
    usage beside its own past. A share of a plan can not fail without the release.
    """
    episode = watch.episode
    if episode is None:
        return
    harm = release_harm_of(
        scope, watch, episode.onset_ms, episode.segment, episode.signal
    )
    kind = harm.signal.partition(":")[0]
    if kind not in JUDGED or (kind == "usage" and harm.control != "history"):
        return
    edge = -1
    if kind == "latency":
        detail = episode.finding.detail if episode.finding else ""
        until_ms = release.ended_ms
        edge = edge_of(scope.latency, harm.signal, detail, release.number, until_ms)
        if edge < 0:
            return
    units = harm.counts[0]
    scope.aftermaths.pop(release.name, None)
    scope.aftermaths[release.name] = Aftermath(
        release=release.name,
        number=release.number,
        component=release.component,
        recommendation_id=episode.id,
        signal=harm.signal,
        segment=harm.segment,
        unit=harm.unit,
        onset_ms=harm.onset_ms,
        ended_ms=release.ended_ms,
        harm_ratio=harm.ratio[1],
        bad_control=harm.counts[3],
        added=harm.excess / units if kind == "new_signature" and units > 0 else 0.0,
        edge=edge,
    )
    while len(scope.aftermaths) > AFTERMATHS_MAX:
        del scope.aftermaths[next(iter(scope.aftermaths))]


def is_waiting(scope: Scope) -> bool:
    """Whether the way back from some release is still to be judged."""
    return any(a.outcome == "waiting" for a in scope.aftermaths.values())


def verify(
    scope: Scope,
    now_ms: int,
    inforce: InForce,
    decided_at: int,
    offset: int,
    outputs: Outputs,
) -> None:
    """Say what the ways back of a scope have done, each once it is clear.

    ``now_ms`` is the event time up to which the scope is closed.
    """
    if not is_waiting(scope):
        return
    for aftermath in _clear(scope, now_ms):
        record = _record(scope, aftermath, inforce, now_ms, decided_at, offset)
        outputs.records.append(verdict_output(record))


def _clear(scope: Scope, now_ms: int) -> Iterator[Aftermath]:
    """Ways back of a scope that became clear now."""
    books = Books(scope.ledger, scope.latency, scope.strata, scope.registry)
    for aftermath in list(scope.aftermaths.values()):
        release = scope.registry.releases.get(aftermath.release)
        gone = release is None or release.stage is Stage.CANDIDATE
        if gone and aftermath.outcome == "waiting":
            del scope.aftermaths[aftermath.release]  # it is back, or forgotten
        elif follow(aftermath, books, now_ms):
            yield aftermath


def _record(
    scope: Scope,
    aftermath: Aftermath,
    inforce: InForce,
    now_ms: int,
    decided_at: int,
    offset: int,
) -> VerdictRecord:
    verdict, reason, action = SAID[aftermath.outcome]
    release = scope.registry.releases[aftermath.release]
    evidence = _evidence(scope, aftermath)
    others = [r for r in scope.registry.candidates() if r is not release]
    return VerdictRecord(
        service=scope.service,
        environment=scope.environment,
        release=release.name,
        component=aftermath.component,
        verdict=verdict,
        reasons=(reason,),
        sentence=aftermath_sentence(
            service=scope.service,
            release=release.name,
            signal=aftermath.signal,
            reason=reason,
            unit=aftermath.unit,
            segment=aftermath.segment,
            before=evidence.candidate.rate,
            after=evidence.control_arm.rate,
            begin_ms=aftermath.begin_ms,
        ),
        action=action,
        condition="frozen" if scope.frozen else None,
        decided_at=decided_at,
        window_end=now_ms,
        log_e=evidence.log_e,
        evidence=(evidence,),
        affected_units=0.0,
        excess_bad_units=0.0,
        onset_ms=aftermath.onset_ms,
        top_signatures=(),
        ambient_ratio=None,
        competing_releases=tuple(r.name for r in others),
        competing_changes=dict(release.changes),
        change_needs="a new deploy of it, with evidence of its own",
        inferred=release.inferred,
        owner=release.owner or inforce.rule.owner or None,
        rule=inforce.rule.name,
        rules_hash=inforce.rules_hash,
        code_version=CODE_VERSION,
        offset=offset,
        recommendation_id=aftermath.recommendation_id,
    )


def _evidence(scope: Scope, aftermath: Aftermath) -> SignalEvidence:
    """Failures while the harm lasted beside those since the way back."""
    names = tuple(
        r.name
        for r in scope.registry.releases.values()
        if r.number != aftermath.number and r.last_usage_ms >= aftermath.begin_ms
    )
    return SignalEvidence(
        signal=aftermath.signal,
        segment=dict(aftermath.segment) or None,
        unit=aftermath.unit,
        candidate=_arm((aftermath.release,), aftermath.before),
        control_arm=_arm(names, aftermath.after),
        rate_ratio=aftermath.ratio(),
        log_e=_short(aftermath.z**2 / 2.0),
        margin=1.0,
        control="history",
        guarantee="empirical",
        onset_ms=aftermath.onset_ms,
        flagged=aftermath.outcome != "unverified",
    )


def _arm(releases: tuple[str, ...], counts: tuple[float, float]) -> Arm:
    units, bad = counts
    rate = _short(bad / units) if units > 0 else None
    return Arm(releases, _short(units), _short(bad), rate)


def _short(value: float) -> float:
    """Six significant digits, as everywhere in a record."""
    return float(f"{value:.6g}")
