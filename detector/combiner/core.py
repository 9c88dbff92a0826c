"""One partition of ``hypercare.hot``: single events in, aggregates of windows out.

Like the detector's core a function of its log alone: the same records give the same
aggregates with the same ids, whatever the batch sizes. So what is sent twice after a
crash is the same twice, and the detector counts it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, cast

from detector.arrival import grid_end_ms, skew_ms
from detector.combined import sender_name
from detector.combiner.cells import Cell, CellKey, key_of
from detector.combiner.memory import Memory
from detector.combiner.scopes import WIDTH_MS, Scope
from detector.combiner.sending import Author, passed_on, sent
from detector.combiner.singles import Single, is_single, whole_of
from detector.decode import decode
from detector.durations import single_bucket
from detector.events import EVERY_SERVICE, Error, Event, Tick, Usage
from detector.groups import light
from detector.identity import Marker, event_id, id64
from detector.records import LogRecord, Outputs, Rejected
from detector.scope import ScopeKey
from detector.signals.telemetry import Health, corrected_end_ms, note_usage_time
from detector.signature import signature_of
from detector.windows import COUNTED_SEVERITIES, FAILED_OUTCOMES
from detector.wire import dead_letter

SCOPES_MAX = 1_000
"""Services and environments combined; events of further ones are passed on."""

SCOPE_KEPT_MS = 86_400_000
SKEW_MS = 60_000
IDS_KEPT_MS = 300_000
IDS_MAX = 2_000_000
SESSIONS_KEPT_MS = 3_600_000
SESSIONS_MAX = 1_000_000
"""Marks of sessions remembered, one of each that began and one of each that failed."""

PLACES_MAX = 32_768
_FAILED = 1 << 62
"""Turns the mark of a session into that of its failure."""


class Place(NamedTuple):
    """Where the events of one shape are counted; errors have one per signature."""

    name: ScopeKey
    scope: Scope
    key: CellKey
    health: Health
    marker: Marker
    persons: blake2b


class Combiner:
    """State of one partition of the hot topic, and the next offset it expects.

    Parameters
    ----------
    number : int
        Partition; part of the sender and of the ids of what it sends.
    identity_key : bytes
        With what sessions are remembered, and hashed in what is passed on.
    topic : str
        Name of the hot topic, part of dead letters.
    senders : int
        How many combiners share the services: partitions of the hot topic.
    """

    def __init__(
        self,
        number: int,
        identity_key: bytes,
        topic: str = "hypercare.hot",
        senders: int = 1,
    ) -> None:
        self.number = number
        self.topic = topic
        self.identity_key = identity_key
        self.sender = sender_name(number)
        self.senders = senders
        self.next_offset = 0
        self.arrival_ms = -1
        self.counts: Counter[str] = Counter()
        self.scopes: dict[ScopeKey, Scope] = {}
        self.ids = Memory("ids", kept_ms=IDS_KEPT_MS, most=IDS_MAX)
        self.sessions = Memory("sessions", kept_ms=SESSIONS_KEPT_MS, most=SESSIONS_MAX)
        self.dirty: set[ScopeKey] = set()
        self.gone: set[ScopeKey] = set()
        self._places: dict[light.ShapeKey, Place] = {}

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Apply records in offset order; those below ``next_offset`` are dropped."""
        outputs = Outputs()
        for record in records:
            if record.offset >= self.next_offset:
                self._apply_one(record, outputs)
        return outputs

    def wants_tick(self, now_ms: int) -> bool:
        """Whether a window could be sent, or others be told that there is none."""
        return any(s.limit_ms(now_ms) > s.sent_ms for s in self.scopes.values())

    def _apply_one(self, record: LogRecord, outputs: Outputs) -> None:
        self.arrival_ms = max(self.arrival_ms, record.timestamp_ms)
        touched: dict[ScopeKey, None] = {}
        singles = light.read(record.value) if record.value else None
        if singles is None or not self._take_singles(singles, record, touched, outputs):
            for index, item in enumerate(decode(record.value)):
                if isinstance(item, Rejected):
                    self.counts[f"rejected.{item.reason}"] += 1
                    place = (self.topic, self.number, record.offset, index)
                    outputs.records.append(dead_letter(item, *place))
                else:
                    self._take(item, record, index, touched, outputs)
        self.next_offset = record.offset + 1
        for key in touched:
            self._send_due(key, outputs)

    # Events.

    def _take_singles(
        self,
        singles: list[light.Light],
        record: LogRecord,
        touched: dict[ScopeKey, None],
        outputs: Outputs,
    ) -> bool:
        """Count light events; False, and nothing is counted, if a shape is unsound."""
        places: list[Place | None] = []
        for event in singles:
            key = light.key_of(event)
            place = self._places.get(key)
            if place is None:
                if light.shape_of(key) is None:
                    return False
                place = self._find_place(event, key)
            places.append(place)
        for index, (event, place) in enumerate(zip(singles, places, strict=True)):
            if place is None or not self._count(event, place, record, index, touched):
                self._pass_on(whole_of(event), record, index, touched, outputs)
        return True

    def _find_place(self, event: light.Light, key: light.ShapeKey) -> Place | None:
        place = self._place_of(whole_of(event))
        if place is not None:
            if len(self._places) >= PLACES_MAX:
                self._places.clear()
            self._places[key] = place
        return place

    def _take(
        self,
        event: Event,
        record: LogRecord,
        index: int,
        touched: dict[ScopeKey, None],
        outputs: Outputs,
    ) -> None:
        if isinstance(event, Tick):
            self._tick(event, touched)
            return
        if isinstance(event, (Usage, Error)) and is_single(event):
            place = self._place_of(event)
            if place is not None and self._count(event, place, record, index, touched):
                return
        self._pass_on(event, record, index, touched, outputs)

    def _tick(self, event: Tick, touched: dict[ScopeKey, None]) -> None:
        self.counts["ticks"] += 1
        self.ids.forget(self.arrival_ms)
        self.sessions.forget(self.arrival_ms)
        for key, scope in sorted(self.scopes.items()):
            if event.service in (EVERY_SERVICE, key.service):
                self._advance(scope, event.end_ms)
                touched[key] = None

    def _place_of(self, event: Usage | Error) -> Place | None:
        key = ScopeKey(event.service, event.environment)
        scope = self.scopes.get(key)
        if scope is None:
            if len(self.scopes) >= SCOPES_MAX:
                return None
            scope = self.scopes[key] = Scope(*key)
            self.gone.discard(key)
            self.dirty.add(key)
        person = f"{event.service}\0{event.environment}\0{event.release}\0".encode()
        return Place(
            key,
            scope,
            key_of(event, ""),
            scope.health_of(event.release),
            Marker(event.service, type(event), event.release),
            blake2b(person, digest_size=8, key=self.identity_key[:64]),
        )

    def _count(
        self,
        event: Single,
        place: Place,
        record: LogRecord,
        index: int,
        touched: dict[ScopeKey, None],
    ) -> bool:
        """Count an event, or leave it alone as a copy; False if it is not for us."""
        name, scope, key, health, _, _ = place
        arrival_ms = self.arrival_ms
        mark = self._mark_of(event, place, record.offset, index)
        if mark is not None and mark in self.ids:
            self.counts["duplicate"] += 1
            return True
        end_ms = self._end_of(event, key, health)
        if end_ms > arrival_ms + SKEW_MS:
            return False
        window = scope.window(grid_end_ms(end_ms, WIDTH_MS) - WIDTH_MS)
        if window is None:
            return False
        if mark is not None:
            self.ids.add(mark, arrival_ms)
        if not key.is_usage:
            key = key._replace(signature=signature_of(cast(Error, event)))
        cell, was_cut = scope.admit(window, key)
        self.counts["combined"] += 1
        if was_cut:
            self.counts["overflow.cells"] += 1
        if end_ms <= scope.sent_ms:
            self.counts["late"] += 1
        self._add(cell, event, key, place)
        scope.last_ms = arrival_ms
        if key.is_usage:
            self._advance(scope, end_ms)
        touched[name] = None
        return True

    def _mark_of(
        self, event: Single, place: Place, offset: int, index: int
    ) -> int | None:
        """By what a second copy is recognised; None where nothing tells."""
        if event.id is not None:
            return place.marker.mark(event.id)
        if event.trace_id is None and getattr(event, "seq", None) is None:
            return None
        return id64(event_id(whole_of(event), self.topic, self.number, offset, index))

    def _end_of(self, event: Single, key: CellKey, health: Health) -> int:
        """When the event was, by our clock."""
        sent_ms, arrival_ms = event.ts, self.arrival_ms
        if event.sent_at is not None:
            sent_ms += skew_ms(whole_of(event), arrival_ms)
        if key.is_usage and not key.synthetic:
            note_usage_time(health, sent_ms, arrival_ms, WIDTH_MS)
        return corrected_end_ms(health, sent_ms, arrival_ms, WIDTH_MS)

    def _add(self, cell: Cell, event: Single, key: CellKey, place: Place) -> None:
        """Count an event into its cell."""
        if cell.url is None:
            cell.url = event.url
        outcome = "ok"
        if key.is_usage:
            outcome = cast(Usage, event).outcome
            cell.count += 1
            cell.outcomes[outcome] = cell.outcomes.get(outcome, 0) + 1
            duration_ms = cast(Usage, event).duration_ms
            if duration_ms is not None and not key.step:
                bucket = single_bucket(duration_ms)
                cell.durations[bucket] = cell.durations.get(bucket, 0) + 1
        else:
            cell.count += self._is_new_trace(cell, event)
        if event.session is None:
            cell.unknown += 1
        elif not key.synthetic and not key.step:
            self._add_session(cell, event.session, outcome, key, place)

    def _is_new_trace(self, cell: Cell, event: Single) -> bool:
        """Whether a line of an error is the first of its request."""
        if event.trace_id is None:
            return True
        trace = id64(event.trace_id)
        is_new = trace not in cell.traces
        cell.traces.add(trace)
        return is_new

    def _add_session(
        self, cell: Cell, session: str, outcome: str, key: CellKey, place: Place
    ) -> None:
        """Count a session where it begins, and where it first fails by any means."""
        person = place.persons.copy()
        person.update(session.encode("utf-8", "surrogatepass"))
        mark = int.from_bytes(person.digest(), "big", signed=True)
        now_ms = self.arrival_ms
        if key.is_usage:
            cell.sessions += self.sessions.add(mark, now_ms)
            if outcome not in FAILED_OUTCOMES:
                return
            if self.sessions.add(mark ^ _FAILED, now_ms):
                cell.failed[outcome] = cell.failed.get(outcome, 0) + 1
        elif key.word in COUNTED_SEVERITIES:
            cell.sessions += self.sessions.add(mark ^ _FAILED, now_ms)

    def _pass_on(
        self,
        event: Event,
        record: LogRecord,
        index: int,
        touched: dict[ScopeKey, None],
        outputs: Outputs,
    ) -> None:
        """Send an event into the log as it is, but for identities."""
        self.counts["passed_on"] += 1
        place = (self.topic, self.number, record.offset, index)
        outputs.records.append(
            passed_on(event, place, record.timestamp_ms, self.identity_key)
        )
        key = ScopeKey(event.service, event.environment)
        scope = self.scopes.get(key)
        if scope is not None and isinstance(event, Usage):
            self._advance(scope, event.end_ms)
            touched[key] = None

    # Time.

    def _advance(self, scope: Scope, end_ms: int) -> None:
        scope.watermark_ms = max(scope.watermark_ms, min(end_ms, self.arrival_ms))

    def _send_due(self, key: ScopeKey, outputs: Outputs) -> None:
        """Send the windows of a scope that are over, and say up to when that is."""
        scope = self.scopes[key]
        self.dirty.add(key)
        limit_ms = scope.limit_ms(scope.watermark_ms)
        if limit_ms <= scope.sent_ms:
            return
        due = sorted(t for t in scope.windows if t + WIDTH_MS <= limit_ms)
        windows = [(start_ms, scope.close(start_ms)) for start_ms in due]
        is_first = scope.sent_ms < 0
        scope.sent_ms = limit_ms
        self.counts["windows_sent"] += len(windows)
        outputs.records += sent(
            scope, windows, Author(self.sender, self.senders), is_first=is_first
        )
        scope.forget(self.arrival_ms)
        self._places.clear()
        if not scope.windows and scope.last_ms < self.arrival_ms - SCOPE_KEPT_MS:
            del self.scopes[key]
            self.dirty.discard(key)
            self.gone.add(key)
