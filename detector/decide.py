"""From evidence to a verdict, an action and the life of a recommendation.

Two locks must open before harm is called: the evidence reaches 1/alpha against
"at most the margin", and the harm is still there, shown by evidence collected
anew after its first minutes (a deploy blip is over by then). Absence of evidence
is never healthy: that needs exposure, time and an upper limit below the margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from detector.facts import Episode, Facts, Judgement, reason_of
from detector.findings import Finding
from detector.releases import Release
from detector.rulefile import Rule
from detector.verdicts import Action, ReasonCode, Verdict

SILENT_MS = 300_000
"""A release without usage for this long has gone silent."""

LEAD_MIN_NATS = 2.0
"""How far ahead of those it can not be told from the blamed one must be. Larger:
fewer wrong names, more holds."""

BROKEN_WINDOWS = 3
BROKEN_ERROR_LINES = 10


CALM_MS = 1_800_000
"""A harm that was found without concurrent control has gone when it was not seen
for this long: half a threshold of it would have been."""


def judge(
    facts: Facts, release: Release, rule: Rule, *, episode: Episode | None
) -> Judgement:
    """Say what is known about a release now.

    Parameters
    ----------
    episode : Episode, optional
        An open one: the verdict stays ``regressed`` until the harm is shown to have
        gone, whatever single windows look like.

    Examples
    --------
    The order of the questions is the order of trust: is there an open episode,
    can the telemetry be believed, is there data, is there harm, a control, enough
    of both.
    """
    if episode is not None:
        return _harmed(facts, release, rule, episode)
    for look in LOOKS:
        found = look(facts, release, rule)
        if found is not None:
            return found
    return Judgement(
        Verdict.INCONCLUSIVE, (_what_is_missing(facts, release, rule),), _wait(rule)
    )


def _harmed(facts: Facts, release: Release, rule: Rule, episode: Episode) -> Judgement:
    gone = _nothing_seen(facts, release, rule)
    if gone is not None and not facts.errors_only_windows:
        return gone  # nobody uses it any more: taken back without telling us
    recovered = facts.recovered
    if episode.finding is not None:
        recovered = facts.now_ms - episode.seen_ms >= CALM_MS
    if recovered:
        return Judgement(Verdict.INCONCLUSIVE, (ReasonCode.RECOVERED,), Action.WATCH)
    reasons = (episode.reason, *_inferred(release))
    return Judgement(Verdict.REGRESSED, reasons, Action.HOLD)


def _broken(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    if (
        facts.errors_only_windows >= BROKEN_WINDOWS
        and facts.errors_only_lines >= BROKEN_ERROR_LINES
    ):
        return Judgement(
            Verdict.UNRELIABLE, (ReasonCode.ERRORS_WITHOUT_USAGE,), Action.HOLD
        )
    if facts.mismatched:
        return Judgement(Verdict.UNRELIABLE, (ReasonCode.UNIT_MISMATCH,), Action.HOLD)
    return None


def _is_beyond(facts: Facts, rule: Rule) -> bool:
    """Whether the proven evidence has reached its threshold, on enough exposure."""
    least = min(facts.units_candidate, facts.units_control)
    return facts.log_e >= log(1.0 / rule.alpha) and least >= rule.min_exposure


def _explained(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Another change in the same units is blamed: this one can not be judged."""
    if not facts.explained:
        return None
    return Judgement(
        Verdict.INCONCLUSIVE,
        (ReasonCode.BLAME_UNCLEAR, *_inferred(release)),
        Action.WATCH,
    )


def _unclear(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Harm in units that run several changes, none of them ahead."""
    beyond = _is_beyond(facts, rule)
    harmed = (beyond and facts.persistent) or strongest(facts.findings) is not None
    if not facts.rivals or not harmed:
        return None
    if beyond and facts.lead_log_e >= LEAD_MIN_NATS:
        return None
    reasons = (ReasonCode.BLAME_UNCLEAR, *_inferred(release))
    return Judgement(Verdict.INCONCLUSIVE, reasons, Action.HOLD)


def _proven(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Harm beside a concurrent control that goes on."""
    if not (_is_beyond(facts, rule) and facts.persistent):
        return None
    reasons = (reason_of(facts.signal), *_inferred(release))
    return Judgement(Verdict.REGRESSED, reasons, Action.ROLLBACK)


def _passing(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Harm that may have been a blip."""
    if not _is_beyond(facts, rule):
        return None
    return Judgement(
        Verdict.INCONCLUSIVE, (ReasonCode.HARM_NOT_PERSISTENT,), Action.HOLD
    )


def strongest(findings: Sequence[Finding]) -> Finding | None:
    """The finding furthest beyond its threshold of those that may lead to action."""
    firing = [f for f in findings if f.fires and f.acts]
    return max(firing, key=lambda f: f.z / f.threshold, default=None)


def _found(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Harm that was seen without a concurrent control."""
    finding = strongest(facts.findings)
    if finding is None:
        return None
    if leads_by_proof(facts, finding, rule):
        reason = reason_of(facts.signal)
    else:
        reason = ReasonCode(finding.reason)
    return Judgement(Verdict.REGRESSED, (reason, *_inferred(release)), Action.ROLLBACK)


def leads_by_proof(facts: Facts, finding: Finding, rule: Rule) -> bool:
    """Whether the proven evidence tells the story that a finding completes.

    A new signature shows that a harm goes on; how large it is the failures of both
    arms say better.
    """
    return finding.control == "concurrent" and _is_beyond(facts, rule)


def _to_look_at(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Something that no rollback would mend, or that may be nobody's fault."""
    for finding in facts.findings:
        if finding.fires and not finding.acts:
            reasons = (ReasonCode(finding.reason), *_inferred(release))
            if facts.exonerated:
                reasons = (*reasons, ReasonCode.EXONERATED)
            return Judgement(Verdict.INCONCLUSIVE, reasons, Action.INVESTIGATE)
    return None


def _nothing_seen(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    hold = Action.HOLD if rule.on_no_data == "hold" else Action.WATCH
    if facts.last_usage_ms < 0:
        return Judgement(Verdict.NO_DATA, (ReasonCode.NO_USAGE,), hold)
    if facts.now_ms - facts.last_usage_ms > SILENT_MS:
        return Judgement(Verdict.NO_DATA, (ReasonCode.WENT_SILENT,), hold)
    return None


def _lost(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Usage is missing while failures keep the plan: lines were lost, not users."""
    for finding in facts.findings:
        lost = finding.reason == ReasonCode.ERRORS_WITHOUT_USAGE
        if lost and finding.z >= finding.threshold:
            reasons = (ReasonCode.ERRORS_WITHOUT_USAGE,)
            return Judgement(Verdict.UNRELIABLE, reasons, Action.HOLD)
    return None


def _troubled(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """Telemetry that is not good enough to call a release healthy by."""
    if not facts.troubles or _healthy(facts, release, rule) is None:
        return None
    reasons = tuple(ReasonCode(trouble) for trouble in facts.troubles)
    return Judgement(Verdict.INCONCLUSIVE, reasons, _wait(rule))


def _no_control(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    if facts.joint_windows:
        return None
    reason = ReasonCode.NO_CONTROL
    if facts.slow:
        reason = ReasonCode.COHORTS_ONLY
    elif facts.has_past:
        reason = ReasonCode.PAST_ONLY
    elif facts.control_windows:
        reason = ReasonCode.NO_COMMON_STRATUM
    elif facts.past_ms >= 0:
        reason = ReasonCode.NO_HISTORY
    return Judgement(Verdict.INCONCLUSIVE, (reason, *_inferred(release)), _wait(rule))


def _suspected(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """A finding on its way to its threshold."""
    if not any(f.acts and f.z >= f.threshold for f in facts.findings):
        return None
    action = Action.WATCH if release.inferred else Action.HOLD
    return Judgement(
        Verdict.INCONCLUSIVE, (ReasonCode.HARM_SUSPECTED, *_inferred(release)), action
    )


def _suspicion(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    if facts.log_e >= log(rule.ladder.hold_e):
        action = Action.HOLD
    elif facts.log_e >= log(rule.ladder.watch_e):
        action = Action.WATCH
    else:
        return None
    if release.inferred:
        action = Action.WATCH
    return Judgement(
        Verdict.INCONCLUSIVE, (ReasonCode.HARM_SUSPECTED, *_inferred(release)), action
    )


def _unfixed(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    """A hotfix that did not fix what it names is not healthy, however calm."""
    if not facts.unfixed:
        return None
    reasons = (ReasonCode.FIX_INCOMPLETE, *_inferred(release))
    return Judgement(Verdict.INCONCLUSIVE, reasons, _wait(rule))


def _healthy(facts: Facts, release: Release, rule: Rule) -> Judgement | None:
    if facts.ratio[2] >= facts.margin or _thin(facts, rule):
        return None
    if _young(facts, release, rule):
        return None
    return Judgement(
        Verdict.HEALTHY,
        (ReasonCode.UPPER_LIMIT_BELOW_MARGIN, *_inferred(release)),
        Action.CONTINUE,
    )


def _what_is_missing(facts: Facts, release: Release, rule: Rule) -> ReasonCode:
    if facts.past_ms >= 0:  # what was compared beside a control can not grow any more
        return ReasonCode.PAST_ONLY if facts.has_past else ReasonCode.NO_HISTORY
    if _thin(facts, rule):
        return ReasonCode.THIN_TRAFFIC
    if _young(facts, release, rule):
        return ReasonCode.WARMING_UP
    return ReasonCode.UNDECIDED


def _thin(facts: Facts, rule: Rule) -> bool:
    least = min(facts.units_candidate, facts.units_control)
    return least < rule.hypercare.min_exposure


def _young(facts: Facts, release: Release, rule: Rule) -> bool:
    age_ms = facts.now_ms - release.started_ms
    return age_ms < rule.hypercare.min_hours * 3_600_000


LOOKS = (
    _broken,
    _lost,
    _nothing_seen,
    _explained,
    _unclear,
    _proven,
    _found,
    _passing,
    _suspected,
    _to_look_at,
    _no_control,
    _suspicion,
    _unfixed,
    _troubled,
    _healthy,
)


def _wait(rule: Rule) -> Action:
    return Action.HOLD if rule.on_inconclusive == "hold" else Action.WATCH


def _inferred(release: Release) -> tuple[ReasonCode, ...]:
    return (ReasonCode.INFERRED_RELEASE,) if release.inferred else ()
