"""What people tell a service, and the record that keeps who did and why.

Commands stand in the log like everything else, so what they change is a matter of
offsets: live, replay and restore agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from msgspec import Struct

from detector.episodes import FINAL_STATES, Voice
from detector.events import Command
from detector.evidence.rows import RateRatioRows
from detector.facts import Judgement
from detector.modes import MODES, least_mode
from detector.reading import facts_of
from detector.records import Output, Outputs
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.verdicts import ReasonCode, RecommendationState, Verdict
from detector.version import CODE_VERSION
from detector.wire import COMMANDS

LABELS = ("right", "wrong", "late")
"""What a recommendation was, afterwards."""

LABELS_MAX = 1_000
"""Recommendations of a service whose labels are remembered, so that none counts twice;
the oldest make room."""

LABEL_COUNT = "label."
"""Begins the names of counts of labels: ``label.wrong.<rule>``."""

RULE = "rule"
"""In place of a mode: what the rule says."""

STATES = {
    "acknowledge": RecommendationState.ACKNOWLEDGED,
    "withdraw": RecommendationState.WITHDRAWN,
}


class CommandRecord(Struct, frozen=True):
    """What was told: who, why, when, and under which rule; in ``hypercare.audit``.

    ``changed`` is false where there was nothing to change: an unknown id, a copy.
    """

    command: str
    service: str
    environment: str
    release: str | None
    recommendation_id: str | None
    value: str | None
    actor: str | None
    why: str | None
    at: int
    changed: bool
    rule: str
    rules_hash: str
    code_version: str
    offset: int


class Told:
    """One command, at its place in the log.

    Parameters
    ----------
    command : Command
        What was told.
    decided_at, offset : int
        When it arrived, and where it stands.
    """

    def __init__(self, command: Command, decided_at: int, offset: int) -> None:
        self.command = command
        self.decided_at = decided_at
        self.offset = offset
        self.changed = False
        self.rule = ""

    def obey(
        self,
        scope: Scope,
        inforce: InForce,
        rows: RateRatioRows,
        counts: Counter[str],
        outputs: Outputs,
    ) -> None:
        """Do what a person said about the scope or one of its recommendations."""
        command, self.rule = self.command, inforce.rule.name
        say = _Speaker(scope, inforce, rows, self.decided_at, self.offset)
        match command.name:
            case "freeze":
                frozen = command.value != "off"
                self.changed |= scope.frozen is not frozen
                scope.frozen = frozen
            case "mode":
                self.changed |= _put_mode(say, command.value, outputs)
            case "label":
                self.changed |= _label(scope, command, inforce, counts)
            case "acknowledge" | "withdraw":
                self.changed |= _answer(say, command, outputs)

    def record(self, rules_hash: str, place: str) -> Output:
        """Who told what and why, for the audit."""
        told = self.command
        body = CommandRecord(
            command=told.name,
            service=told.service,
            environment=told.environment,
            release=told.release,
            recommendation_id=told.recommendation_id,
            value=told.value,
            actor=told.actor,
            why=told.reason,
            at=self.decided_at,
            changed=self.changed,
            rule=self.rule,
            rules_hash=rules_hash,
            code_version=CODE_VERSION,
            offset=self.offset,
        )
        when = f"{self.decided_at}.{self.offset}"
        name = f"{told.service}!{told.name}@{when}.{place}"
        return Output(COMMANDS, told.service, msgspec.json.encode(body), name)


def labels_of(counts: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    """Label, rule and number of the labels among what a partition has counted."""
    for name, count in sorted(counts.items()):
        if name.startswith(LABEL_COUNT):
            label, _, rule = name.removeprefix(LABEL_COUNT).partition(".")
            yield label, rule, count


class _Speaker(NamedTuple):
    """Revises recommendations of one scope at one moment."""

    scope: Scope
    inforce: InForce
    rows: RateRatioRows
    decided_at: int
    offset: int

    def revise(self, watch: Watch, reason: ReasonCode, outputs: Outputs) -> None:
        """Publish the recommendation of a watch as it is now, as a new revision."""
        scope, episode = self.scope, watch.episode
        assert episode is not None
        episode.revision += 1
        release = scope.registry.releases[watch.release]
        facts = facts_of(watch, self.rows, scope.closed_until_ms)
        place = (self.rows, facts, self.decided_at, self.offset)
        said = Judgement(Verdict.REGRESSED, (reason,), episode.action)
        Voice(scope, watch, release, self.inforce, *place).recommendation(said, outputs)


def _answer(say: _Speaker, command: Command, outputs: Outputs) -> bool:
    """Acknowledge or withdraw what a service recommends."""
    state, changed = STATES[command.name], False
    for watch in say.scope.watches.values():
        episode = watch.episode
        if episode is None or episode.id != command.recommendation_id:
            continue
        if episode.state in FINAL_STATES or episode.state is state:
            continue
        episode.state = state
        withdrawn = state is RecommendationState.WITHDRAWN
        reason = ReasonCode.WITHDRAWN_BY_COMMAND if withdrawn else episode.reason
        say.revise(watch, reason, outputs)
        changed = True
    return changed


def _put_mode(say: _Speaker, value: str | None, outputs: Outputs) -> bool:
    """Let machines go no further than a mode; open recommendations say so at once."""
    scope, ruled = say.scope, say.inforce.rule.mode
    if value not in (*MODES, RULE):
        return False
    told = None if value == RULE else value
    before, changed = least_mode(scope.mode, ruled), scope.mode != told
    scope.mode = told
    if least_mode(told, ruled) != before:
        for watch in scope.watches.values():
            if watch.episode and watch.episode.state not in FINAL_STATES:
                say.revise(watch, watch.episode.reason, outputs)
    return changed


def _label(
    scope: Scope, command: Command, inforce: InForce, counts: Counter[str]
) -> bool:
    """Count what a recommendation was, each label of it once."""
    name, label = command.recommendation_id, command.value
    if not name or label not in LABELS:
        return False
    known = scope.labels.pop(name, ())
    scope.labels[name] = known if label in known else (*known, label)
    while len(scope.labels) > LABELS_MAX:
        del scope.labels[next(iter(scope.labels))]
    if label in known:
        return False
    counts[f"{LABEL_COUNT}{label}.{inforce.rule.name}"] += 1
    return True
