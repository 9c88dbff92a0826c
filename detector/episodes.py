"""Episodes: one harm, one recommendation, whatever happens in between.

An episode starts at the window whose close made the verdict ``regressed`` and
ends when the release recovers, is taken back, or its hypercare window is over.
Its recommendation keeps its id; new facts raise the revision.
"""

from __future__ import annotations

from math import log

from detector.blame import with_rivals
from detector.decide import action_against, judge, leads_by_proof, strongest
from detector.evidence.rows import RateRatioRows
from detector.facts import Episode, Facts, Judgement, reason_of
from detector.findings import Finding
from detector.harm import harm_of, onset_of
from detector.history import History
from detector.reading import behind_second_lock, facts_of_all, release_rows
from detector.records import Outputs
from detector.releases import Release, Stage
from detector.report import recommendation_record, target_of, verdict_record
from detector.rulebook import InForce
from detector.scope import Published, Scope, Watch
from detector.verdicts import (
    Action,
    ReasonCode,
    RecommendationState,
    Verdict,
    recommendation_id,
)
from detector.verification import begin
from detector.wire import recommendation_output, verdict_output

DAY_MS = 86_400_000
REISSUE_MS = 300_000
"""An open recommendation is issued again this often, so that it does not expire
while the harm lasts."""

FINAL_STATES = (
    RecommendationState.EXECUTED,
    RecommendationState.WITHDRAWN,
    RecommendationState.EXPIRED,
)


def conclude(
    scope: Scope,
    watch: Watch,
    facts: Facts,
    inforce: InForce,
    rows: RateRatioRows,
    decided_at: int,
    offset: int,
    outputs: Outputs,
) -> None:
    """Judge one watch now and publish what changed."""
    release = scope.registry.releases[watch.release]
    facts = behind_second_lock(scope, watch, facts, rows)
    if watch.episode is None:
        now_ms = facts.now_ms
        facts = with_rivals(
            scope, watch, facts, lambda w: facts_of_all(w, [now_ms] * len(w), rows)
        )
    say = Voice(scope, watch, release, inforce, rows, facts, decided_at, offset)
    if release.stage is Stage.ENDED:
        _end(say, outputs)
        retire(scope, watch.release, rows)
        return
    if facts.now_ms - release.started_ms > inforce.rule.hypercare.max_days * DAY_MS:
        scope.registry.graduate(release, facts.now_ms)
        _end(say, outputs)
        retire(scope, watch.release, rows)
        return
    _follow(watch.episode, facts)
    judgement = judge(facts, release, inforce.rule, episode=watch.episode)
    if judgement.verdict is Verdict.REGRESSED:
        judgement = _in_episode(say, judgement, outputs)
    elif watch.episode is not None:
        recovered = ReasonCode.RECOVERED in judgement.reasons
        state = (
            RecommendationState.WITHDRAWN if recovered else RecommendationState.EXPIRED
        )
        _close_episode(say, judgement, state, outputs)
        say.verdict_if_changed(judgement, outputs)  # with the evidence it rests on
        _forget_evidence(watch, rows)
    say.verdict_if_changed(judgement, outputs)


def retire(scope: Scope, name: str, rows: RateRatioRows) -> None:
    """Stop watching a release and give its rows back."""
    watch = scope.watches.pop(name)
    release_rows(watch, rows)


def _in_episode(say: Voice, judgement: Judgement, outputs: Outputs) -> Judgement:
    watch, facts = say.watch, say.facts
    action = action_against(say.release, target_of(say.scope, say.release))
    episode = watch.episode
    finding = episode.finding if episode else _leading_finding(say)
    if finding is not None and _only_hold(finding, say.inforce):
        action = Action.HOLD
    judgement = Judgement(judgement.verdict, judgement.reasons, action)
    if episode is None:
        watch.episode = _open_episode(say, action, finding)
        say.rows.reset_recovery(watch.rows())
        say.recommendation(judgement, outputs)
    elif episode.state in FINAL_STATES:
        return judgement
    elif episode.action is not action:
        episode.action = action
        episode.revision += 1
        episode.issued_ms = facts.now_ms
        say.recommendation(judgement, outputs)
    elif facts.now_ms - episode.issued_ms >= REISSUE_MS:
        episode.issued_ms = facts.now_ms
        say.recommendation(judgement, outputs)
    return judgement


def _leading_finding(say: Voice) -> Finding | None:
    """The finding that calls for action; None where the proven evidence does."""
    facts = say.facts
    if facts.persistent and facts.log_e >= log(1.0 / say.inforce.rule.alpha):
        return None
    finding = strongest(facts.findings)
    if finding is not None and leads_by_proof(facts, finding, say.inforce.rule):
        return None
    return finding


def _only_hold(finding: Finding, inforce: InForce) -> bool:
    """Whether the rule lets a comparison with the past do no more than hold."""
    return finding.control == "history" and inforce.rule.without_baseline == "hold"


def _follow(episode: Episode | None, facts: Facts) -> None:
    """Note whether the harm of an episode without concurrent control is still seen."""
    if episode is None or episode.finding is None:
        return
    kind = (episode.finding.signal, episode.finding.control)
    for finding in facts.findings:
        if (finding.signal, finding.control) != kind:
            continue
        if finding.z >= finding.threshold / 2:
            episode.seen_ms = facts.now_ms
        if finding.fires and finding.segment == episode.segment:
            episode.finding = finding


def _open_episode(say: Voice, action: Action, finding: Finding | None) -> Episode:
    scope, watch, release = say.scope, say.watch, say.release
    start_ms = say.facts.now_ms
    signal, onset_ms = onset_of(watch, say.rows, release)
    segment = harm_of(scope, watch, onset_ms, None, signal).segment
    reason = reason_of(signal)
    if finding is not None:
        signal, onset_ms = finding.signal, finding.onset_ms
        segment, reason = finding.segment, ReasonCode(finding.reason)
    return Episode(
        start_ms=start_ms,
        segment=segment,
        id=recommendation_id(
            scope.service,
            scope.environment,
            release.shown,
            release.component,
            start_ms,
        ),
        revision=1,
        action=action,
        state=RecommendationState.OPEN,
        issued_ms=start_ms,
        onset_ms=onset_ms,
        signal=signal,
        reason=reason,
        finding=finding,
        seen_ms=start_ms,
    )


def _end(say: Voice, outputs: Outputs) -> None:
    """The release was taken back, withdrawn, or is no longer young."""
    taken_back = say.release.ended_by != "hypercare_over"
    previous = say.watch.published
    verdict = previous.verdict if previous else Verdict.NO_DATA
    reasons = (ReasonCode.ROLLED_BACK,) if taken_back else ()
    kept = previous.reasons if previous else (ReasonCode.NO_USAGE,)
    judgement = Judgement(verdict, reasons or kept, Action.CONTINUE)
    if taken_back:
        begin(say.scope, say.watch, say.release)
    if say.watch.episode is not None:
        state = (
            RecommendationState.EXECUTED if taken_back else RecommendationState.EXPIRED
        )
        _close_episode(say, judgement, state, outputs)
    if taken_back:
        say.verdict_if_changed(judgement, outputs)


def _close_episode(
    say: Voice, judgement: Judgement, state: RecommendationState, outputs: Outputs
) -> None:
    episode = say.watch.episode
    assert episode is not None
    if episode.state not in FINAL_STATES:
        episode.state = state
        episode.revision += 1
        say.recommendation(judgement, outputs)
    say.watch.episode = None


def _forget_evidence(watch: Watch, rows: RateRatioRows) -> None:
    """After a recovery evidence starts anew: the old harm must not fire again."""
    rows.reset(watch.rows())
    for track in watch.tracks.values():
        track.history = History()


class Voice:
    """Publishes records about one watch at one moment."""

    def __init__(
        self,
        scope: Scope,
        watch: Watch,
        release: Release,
        inforce: InForce,
        rows: RateRatioRows,
        facts: Facts,
        decided_at: int,
        offset: int,
    ) -> None:
        self.scope = scope
        self.watch = watch
        self.release = release
        self.inforce = inforce
        self.rows = rows
        self.facts = facts
        self.decided_at = decided_at
        self.offset = offset

    def verdict_if_changed(self, judgement: Judgement, outputs: Outputs) -> None:
        """One record per change of verdict, reasons or action."""
        now = Published(judgement.verdict, judgement.reasons, judgement.action)
        if now == self.watch.published:
            return
        self.watch.published = now
        record = verdict_record(
            self.scope,
            self.watch,
            self.release,
            self.rows,
            self.inforce,
            self.facts,
            judgement,
            decided_at=self.decided_at,
            offset=self.offset,
        )
        outputs.records.append(verdict_output(record))

    def recommendation(self, judgement: Judgement, outputs: Outputs) -> None:
        """One revision of the open episode's recommendation."""
        assert self.watch.episode is not None
        record = recommendation_record(
            self.scope,
            self.watch,
            self.release,
            self.inforce,
            self.facts,
            judgement,
            self.watch.episode,
            decided_at=self.decided_at,
            offset=self.offset,
        )
        outputs.records.append(recommendation_output(record))
