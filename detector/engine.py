"""One partition of the log: records in, verdicts and recommendations out.

``Partition.apply`` is the whole core. It is a function of the log and the rule
set alone: the same records give the same outputs, whatever the batch sizes, so
live, replay, backtest and simulation are this one class behind four doors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from detector.closing import Due, close_due
from detector.combined import advance_watermark, note_told
from detector.decode import Result, decode
from detector.episodes import conclude
from detector.events import EVERY_SERVICE, Command, Deploy, Event, Telemetry, Tick
from detector.evidence.rows import RateRatioRows
from detector.forgetting import forget_silent, open_ids
from detector.groups.places import Finder
from detector.groups.runs import apply_together, fresh_of
from detector.identity import event_id
from detector.intake import (
    Intake,
    take_deploy,
    take_telemetry,
)
from detector.looking import Caches
from detector.people import Told
from detector.reading import facts_of_all
from detector.records import LogRecord, Output, Outputs, Rejected
from detector.releases import Stage
from detector.rulebook import InForce, Rulebook
from detector.rulefile import RuleFileError, RuleSet
from detector.scope import Scope, ScopeKey, Watch
from detector.steps import Draft, Journal, RowsWritten
from detector.turns import Turns, catch_up
from detector.verification import is_waiting, verify
from detector.wire import ahead_of_time, dead_letter

SCOPES_MAX = 20_000
"""Services and environments remembered per partition; beyond it the one that has
been silent longest, and has no release under judgement, makes room."""

REMEMBERED_MAX = 2_000_000
"""Ids of open windows remembered per partition, as 64-bit hashes; beyond it copies
are no longer recognised, and the overflow is counted."""


class Partition:
    """State of one partition of the log, and the next offset it expects.

    Parameters
    ----------
    number : int
        Partition number, part of dead letters.
    rules : RuleSet
        In force until a ``ruleset`` command of the log replaces it.
    topic : str
        Name of the log, part of dead letters.

    Attributes
    ----------
    keeps_rules : bool
        Rule sets of the log are let pass: who tries a set of its own keeps that.

    Examples
    --------
    >>> from detector.rulefile import load_rules
    >>> from detector.records import LogRecord
    >>> rules = load_rules("version: 1\\nrules: [{name: all}]\\nend_of_rules: true\\n",
    ...                    source="example")
    >>> partition = Partition(0, rules)
    >>> outputs = partition.apply([LogRecord(0, 1_000, b"shop", b"not json")])
    >>> [o.topic for o in outputs.records], partition.next_offset
    (['deadletter'], 1)
    """

    def __init__(
        self, number: int, rules: RuleSet, topic: str = "hypercare.events"
    ) -> None:
        self.number = number
        self.topic = topic
        self.rulebook = Rulebook(rules)
        self.rows = RateRatioRows()
        self.scopes: dict[ScopeKey, Scope] = {}
        self.by_service: dict[str, list[ScopeKey]] = {}
        self.next_offset = 0
        self.arrival_ms = -1
        self.counts: Counter[str] = Counter()
        self.dirty: set[ScopeKey] = set()
        self.gone: set[ScopeKey] = set()
        self.days_written: dict[ScopeKey, tuple[int, ...]] = {}
        self.rows_written: dict[ScopeKey, RowsWritten] = {}
        self.steps: Journal = {}
        self.drafted: Draft | None = None
        self.forms_written = False
        self.turns = Turns()
        self.ids_held = 0
        self.caches: Caches = {}
        self.finders: dict[ScopeKey, Finder] = {}
        self.in_groups = True
        self.keeps_rules = False

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Apply records in offset order; those below ``next_offset`` are dropped.

        Windows are closed after each record, never per batch: batch sizes can not
        change what is decided.
        """
        outputs = Outputs()
        fresh = fresh_of(records, self.next_offset)
        if self.turns.bounds:
            fresh = catch_up(self, fresh)
        self.apply_fresh(fresh, outputs)
        return outputs

    def apply_fresh(self, records: Sequence[LogRecord], outputs: Outputs) -> None:
        """Apply records none of which was applied before."""
        if self.in_groups:
            apply_together(self, records, outputs)
            return
        for record in records:
            self.apply_one(record, outputs)

    def apply_one(self, record: LogRecord, outputs: Outputs) -> None:
        """Apply one record event by event."""
        self.arrival_ms = max(self.arrival_ms, record.timestamp_ms)
        self.apply_items(record, decode(record.value), outputs)

    def apply_items(
        self, record: LogRecord, items: Sequence[Result], outputs: Outputs
    ) -> None:
        """Apply what one record holds, the arrival clock being set."""
        touched: dict[ScopeKey, None] = {}
        for index, item in enumerate(items):
            if isinstance(item, Rejected):
                self.counts[f"rejected.{item.reason}"] += 1
                self._return(item, record.offset, index, outputs)
            else:
                self.take(item, record.offset, index, touched, outputs)
        self.next_offset = record.offset + 1
        moments = [
            Due(self.scopes[key], record.offset, self.arrival_ms, Outputs())
            for key in touched
            if key in self.scopes
        ]
        close_due(self, moments)
        for due in moments:  # scope by scope, in whatever rounds they close
            outputs.records += due.outputs.records

    def wants_tick(self, now_ms: int) -> bool:
        """Whether something is open that only the passing of time can close."""
        return any(
            now_ms > scope.watermark_ms
            and (scope.open or scope.registry.candidates() or is_waiting(scope))
            for scope in self.scopes.values()
        )

    def _return(
        self, item: Rejected, offset: int, index: int, outputs: Outputs
    ) -> None:
        """Say which record was not taken, and why."""
        letter = dead_letter(item, self.topic, self.number, offset, index)
        outputs.records.append(letter)

    def take(
        self,
        event: Event,
        offset: int,
        index: int,
        touched: dict[ScopeKey, None],
        outputs: Outputs,
    ) -> None:
        """Apply one event; scopes whose windows it may make due become touched."""
        if isinstance(event, Tick):
            self._tick(event, touched)
            return
        if isinstance(event, Command):
            self._command(Told(event, self.arrival_ms, offset), index, touched, outputs)
            return
        key = ScopeKey(event.service, event.environment)
        if key in self.turns.skipped:
            return
        scope, inforce = self._scope(key)
        self.finders.pop(key, None)
        if isinstance(event, Deploy):
            intake = take_deploy(scope, event, self.arrival_ms, inforce)
            self._conclude_ended(scope, offset, outputs)
        else:
            name = self._name_of(event, offset, index)
            width_ms = scope.width_ms
            intake = take_telemetry(scope, event, name, self.arrival_ms, inforce)
            if scope.width_ms != width_ms:  # windows were folded, their ids with them
                self.ids_held = sum(map(open_ids, self.scopes.values()))
            else:
                self.ids_held += name is not None and intake is Intake.COUNTED
        shown = Intake.COUNTED if intake is Intake.AGED else intake
        self.counts[shown.value] += 1
        if intake is Intake.FUTURE:
            ahead_ms = event.end_ms - self.arrival_ms
            self._return(ahead_of_time(ahead_ms), offset, index, outputs)
        self.dirty.add(key)
        touched[key] = None

    def _name_of(self, event: Telemetry, offset: int, index: int) -> str | None:
        """By what a second copy is recognised; None where there is no need or room.

        A place in the log is no name: the log is read once.
        """
        if event.id is None and event.seq is None and event.trace_id is None:
            return None
        if self.ids_held >= REMEMBERED_MAX and not self.turns.bounds:
            self.counts["overflow.ids"] += 1
            self.turns.together = True
            return None
        return event_id(event, self.topic, self.number, offset, index)

    def _tick(self, event: Tick, touched: dict[ScopeKey, None]) -> None:
        self.counts["ticks"] += 1
        for key in self._addressed(event.service):
            if event.sender is not None and key.environment != event.environment:
                continue
            scope = self.scopes[key]
            before_ms = scope.watermark_ms
            if event.sender is not None:
                told = (event.sender, event.end_ms, self.arrival_ms)
                note_told(scope, *told, event.senders or 0)
                self.finders.pop(key, None)
                self.dirty.add(key)
            advance_watermark(scope, event.end_ms, self.arrival_ms)
            if scope.watermark_ms != before_ms:
                self.dirty.add(key)
            touched[key] = None

    def _command(
        self,
        told: Told,
        index: int,
        touched: dict[ScopeKey, None],
        outputs: Outputs,
    ) -> None:
        event = told.command
        self.counts[f"command.{event.name}"] += 1
        self.finders.clear()
        keys: Iterable[ScopeKey] = self._addressed(event.service)
        if event.name == "ruleset":
            keys = ()
            if not self.keeps_rules:
                told.changed = self._put_rules(event, told.offset, outputs)
        for key in keys:
            if event.service != EVERY_SERVICE and key.environment != event.environment:
                continue
            inforce = self.rulebook.find(*key)
            told.obey(self.scopes[key], inforce, self.rows, self.counts, outputs)
            self.turns.said.add(key)
            self.dirty.add(key)
            touched[key] = None
        rules = self.rulebook.of_service.get(event.service, self.rulebook.default)
        outputs.records.append(told.record(rules.hash, f"{self.number}.{index}"))

    def _put_rules(self, event: Command, offset: int, outputs: Outputs) -> bool:
        """Put a set in force, or leave the old one where it does not load."""
        try:
            rules = RuleSet.from_canonical_json((event.rules_text or "").encode())
        except RuleFileError as error:
            item = Rejected("ruleset", "rules_text", str(error)[:500], "")
            self._return(item, offset, 0, outputs)
            self.counts["rejected.ruleset"] += 1
            return False
        self.put_rules(rules, event.service)
        return True

    def put_rules(self, rules: RuleSet, service: str = EVERY_SERVICE) -> None:
        """Put a set in force, for every service or for one."""
        self.rulebook.put(rules, None if service == EVERY_SERVICE else service)
        self.turns.together = True
        self.dirty.update(self._addressed(service))

    def _addressed(self, service: str) -> Iterable[ScopeKey]:
        keys: Iterable[ScopeKey] = self.by_service.get(service, ())
        if service == EVERY_SERVICE:
            keys = self.scopes
        # The same order after a restore.
        return sorted(key for key in keys if key not in self.turns.skipped)

    def _scope(self, key: ScopeKey) -> tuple[Scope, InForce]:
        inforce = self.rulebook.find(*key)
        scope = self.scopes.get(key)
        if scope is None:
            if len(self.scopes) >= SCOPES_MAX:
                forget_silent(self)
            scope = Scope(*key, inforce.rule.window_ms)
            self.adopt(scope)
        return scope, inforce

    def adopt(self, scope: Scope) -> None:
        """Take a scope into the partition, new or restored."""
        self.scopes[scope.key] = scope
        self.by_service.setdefault(scope.service, []).append(scope.key)
        self.gone.discard(scope.key)
        self.ids_held += open_ids(scope)

    def limit_ms(self, scope: Scope) -> int:
        """End of the last grid window whose grace is over for the slowest release."""
        over_ms = scope.watermark_ms - self.wait_ms(scope)
        return over_ms // scope.width_ms * scope.width_ms

    def wait_ms(self, scope: Scope) -> int:
        """How far the watermark must be past the end of a window to close it."""
        grace_ms = self.rulebook.find(*scope.key).rule.grace_ms
        return grace_ms + max(scope.holds_ms.values(), default=0)

    def has_room(self, ids: int, scopes: int) -> bool:
        """Whether nothing has to be forgotten for so much more."""
        return (
            self.ids_held + ids <= REMEMBERED_MAX
            and len(self.scopes) + scopes <= SCOPES_MAX
        )

    def conclude_all(self, moments: Sequence[tuple[Due, int]]) -> None:
        """Judge every watch of the scopes as of the moment beside each scope."""
        for (scope, offset, at_ms, outputs), now_ms in moments:
            inforce = self.rulebook.find(*scope.key)
            before = len(outputs.records)
            verify(scope, now_ms, inforce, at_ms, offset, outputs)
            if len(outputs.records) > before:
                self.turns.said.add(scope.key)
        self._judge([(d, w, ms) for d, ms in moments for w in d.scope.watches.values()])

    def _conclude_ended(self, scope: Scope, offset: int, outputs: Outputs) -> None:
        """Close the books on a release as soon as the log says it was taken back.

        Waiting for the next window would let a redeploy in between inherit the old
        episode.
        """
        known = scope.registry.releases
        now_ms = max(scope.closed_until_ms, 0)
        due = Due(scope, offset, self.arrival_ms, outputs)
        ended = [
            (due, watch, now_ms)
            for name, watch in scope.watches.items()
            if known[name].stage is Stage.ENDED
        ]
        self._judge(ended)

    def _judge(self, looks: Sequence[tuple[Due, Watch, int]]) -> None:
        """Draw the conclusions from what each watch shows as of its moment."""
        watches, times_ms = [w for _, w, _ in looks], [ms for _, _, ms in looks]
        every = facts_of_all(watches, times_ms, self.rows)
        for (due, watch, _), facts in zip(looks, every, strict=True):
            scope, offset, at_ms, outputs = due
            inforce = self.rulebook.find(*scope.key)
            before = len(outputs.records)
            conclude(scope, watch, facts, inforce, self.rows, at_ms, offset, outputs)
            if len(outputs.records) > before:
                self.turns.said.add(scope.key)


__all__ = ["LogRecord", "Output", "Partition"]
