"""Episodes: one harm, one recommendation, whatever happens in between.

An episode starts at the window whose close made the verdict ``regressed`` and
ends when the release recovers, is taken back, or its hypercare window is over.
Its recommendation keeps its id; new facts raise the revision.
"""

from __future__ import annotations

from math import log

from detector.aftermath import SETTLE_MS
from detector.blame import with_rivals
from detector.course import (
    course_of,
    harmed_part,
    is_everywhere,
    said_of,
    state_of,
    steer,
)
from detector.decide import judge, leads_by_proof, strongest
from detector.evidence.rows import RateRatioRows
from detector.facts import Episode, Facts, Judgement, reason_of
from detector.findings import Finding
from detector.harm import harm_of, onset_of
from detector.history import History
from detector.reading import behind_second_lock, facts_of_all, release_rows
from detector.records import Outputs
from detector.releases import Release, Stage
from detector.report import recommendation_record, verdict_record
from detector.rulebook import InForce
from detector.rulefile import Rule
from detector.scope import Published, Scope, Watch
from detector.target import Way
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
    RecommendationState.SUPERSEDED,
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
    if _component_is_off(say, outputs):
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
        _forget_evidence(say)
    say.verdict_if_changed(judgement, outputs)


def retire(scope: Scope, name: str, rows: RateRatioRows) -> None:
    """Stop watching a release and give its rows back."""
    watch = scope.watches.pop(name)
    release_rows(watch, rows)


def _in_episode(say: Voice, judgement: Judgement, outputs: Outputs) -> Judgement:
    watch = say.watch
    if is_everywhere(watch):
        _supersede(say, judgement, outputs)
    episode = watch.episode
    if episode is None:
        episode, way = _open_episode(say)
        watch.episode = episode
        say.rows.reset_recovery(watch.rows())
    else:
        finding, part = episode.finding, episode.component
        way = course_of(*say.about, finding, part, episode.target)
    judgement = said_of(judgement, way)
    if episode.state in FINAL_STATES:
        return judgement
    now_ms = say.facts.now_ms
    fresh = episode.issued_ms < 0 or steer(episode, way)
    if fresh or now_ms - episode.issued_ms >= REISSUE_MS:
        episode.issued_ms = now_ms
        say.recommendation(judgement, outputs)
    return judgement


def _supersede(say: Voice, judgement: Judgement, outputs: Outputs) -> None:
    """One component is not all of it: this recommendation is over, another begins."""
    told = Judgement(judgement.verdict, (ReasonCode.HARM_SPREAD,), Action.HOLD)
    _close_episode(say, told, RecommendationState.SUPERSEDED, outputs)


def _leading_finding(say: Voice) -> Finding | None:
    """The finding that calls for action; None where the proven evidence does."""
    facts = say.facts
    if facts.persistent and facts.log_e >= log(1.0 / say.inforce.rule.alpha):
        return None
    finding = strongest(facts.findings)
    if finding is not None and leads_by_proof(facts, finding, say.inforce.rule):
        return None
    return finding


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


def _open_episode(say: Voice) -> tuple[Episode, Way]:
    """A new episode, with nothing issued yet, and what is to be done about it."""
    scope, watch, release = say.scope, say.watch, say.release
    start_ms, finding = say.facts.now_ms, _leading_finding(say)
    signal, onset_ms = onset_of(watch, say.rows, release)
    segment = harm_of(scope, watch, onset_ms, None, signal).segment
    reason = reason_of(signal)
    if finding is not None:
        signal, onset_ms = finding.signal, finding.onset_ms
        segment, reason = finding.segment, ReasonCode(finding.reason)
    part = harmed_part(watch, release, signal, onset_ms)
    way = course_of(*say.about, finding, part)
    name = recommendation_id(
        scope.service,
        scope.environment,
        release.shown,
        part or release.component,
        start_ms,
    )
    episode = Episode(
        start_ms=start_ms,
        segment=() if part else segment,
        id=name,
        revision=1,
        action=way.action,
        state=state_of(way),
        issued_ms=-1,
        onset_ms=onset_ms,
        signal=signal,
        reason=reason,
        finding=finding,
        seen_ms=start_ms,
        component=part,
        target=way.target,
    )
    return episode, way


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


def _component_is_off(say: Voice, outputs: Outputs) -> bool:
    """Whether the component that did harm is gone; then the rest is judged anew.

    What was told is done at once; what its last sessions do is waited for.
    """
    episode = say.watch.episode
    if episode is None or episode.component is None:
        return False
    off_ms = say.release.withdrawn.get(episode.component)
    if off_ms is None:
        return False
    off = (ReasonCode.COMPONENT_OFF,)
    judgement = Judgement(Verdict.INCONCLUSIVE, off, Action.WATCH)
    if episode.state not in FINAL_STATES:
        episode.state = RecommendationState.EXECUTED
        episode.revision += 1
        say.recommendation(judgement, outputs)
    if say.facts.now_ms < off_ms + SETTLE_MS:
        return False
    say.watch.episode = None
    say.verdict_if_changed(judgement, outputs)
    _forget_evidence(say)
    return True


def _forget_evidence(say: Voice) -> None:
    """After a recovery evidence starts anew: the old harm must not fire again."""
    watch = say.watch
    say.rows.reset(watch.rows())
    for track in watch.tracks.values():
        track.history = History()
    watch.parts.errors = History()
    watch.novelty = say.scope.catalogue.begin(say.release.number)


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

    @property
    def about(self) -> tuple[Scope, Release, Rule]:
        """What is judged, and by which rule."""
        return self.scope, self.release, self.inforce.rule

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
