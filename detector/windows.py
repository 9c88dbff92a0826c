"""Counts of one open window: per cell, a cell is one release in one stratum.

The unit of a comparison is chosen when the window closes, the best one that
both arms measured on every line (contracts, section 2); until then a cell keeps
all of them. Errors are counted once per unit: session and user ids are
de-duplicated over the UTC hour, requests by their trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct, field

from detector.catalogue import Hits
from detector.durations import Durations
from detector.events import Error, Outcome, Usage
from detector.funnel import Steps
from detector.identity import id64, sender_id
from detector.sketch import estimate, merge_sketches
from detector.sketchimage import sketch_image
from detector.voices import Voices

FAILED_OUTCOMES: tuple[Outcome, ...] = ("server_error", "timeout")
"""Outcomes that are the service's fault. A client_error or a cancellation is
the caller's: counting them would hand the verdict to scanners."""

COUNTED_SEVERITIES = ("error", "fatal")


class Tally(Struct, array_like=True):
    """One way of counting: units at risk, failed ones, and who measured them.

    A way is usable when every usage line and every error line carries it.
    """

    units: float = 0.0
    bad: float = 0.0
    usage_lines: int = 0
    error_lines: int = 0


class Cell(Struct, array_like=True):
    """One release in one stratum during one window.

    ``ok_lines`` are usage lines that count requests and the sessions started with
    them, ``weighted_ok`` what of their requests ended well.
    """

    usage_lines: int = 0
    error_lines: int = 0
    seen_units: float = 0.0
    weighted_units: float = 0.0
    seen_bad: float = 0.0
    weighted_bad: float = 0.0
    ok_lines: int = 0
    weighted_ok: float = 0.0
    requests: Tally = field(default_factory=Tally)
    outcome_failures: float = 0.0
    error_events: float = 0.0
    bad_traces: set[int] = field(default_factory=set)
    sessions: Tally = field(default_factory=Tally)
    session_ids: set[int] = field(default_factory=set)
    session_tally: Tally = field(default_factory=Tally)
    user_ids: set[int] = field(default_factory=set)
    user_tally: Tally = field(default_factory=Tally)
    sketch: bytes | None = None
    bad_sketch: bytes | None = None
    sketch_tally: Tally = field(default_factory=Tally)
    users: Tally = field(default_factory=Tally)
    usage_senders: set[int] = field(default_factory=set)
    error_senders: set[int] = field(default_factory=set)
    signatures: dict[int, Hits] = field(default_factory=dict)
    voices: Voices | None = None

    def absorb(self, other: Cell) -> None:
        """Add the counts of the same release and stratum in a narrower window."""
        for name in ADDITIVE:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in TALLIES:
            mine, theirs = getattr(self, name), getattr(other, name)
            mine.units += theirs.units
            mine.bad += theirs.bad
            mine.usage_lines += theirs.usage_lines
            mine.error_lines += theirs.error_lines
        for name in (
            "bad_traces",
            "session_ids",
            "user_ids",
            "usage_senders",
            "error_senders",
        ):
            getattr(self, name).update(getattr(other, name))
        if other.sketch is not None:
            self.sketch = merge_sketches(self.sketch, other.sketch)
        if other.bad_sketch is not None:
            self.bad_sketch = merge_sketches(self.bad_sketch, other.bad_sketch)
        for number, hits in other.signatures.items():
            self.signatures.setdefault(number, Hits()).absorb(hits)
        if other.voices is not None:
            self.voices = self.voices or Voices()
            self.voices.absorb(other.voices)


ADDITIVE = (
    "usage_lines",
    "error_lines",
    "seen_units",
    "weighted_units",
    "seen_bad",
    "weighted_bad",
    "ok_lines",
    "weighted_ok",
    "outcome_failures",
    "error_events",
)
TALLIES = (
    "requests",
    "sessions",
    "session_tally",
    "user_tally",
    "sketch_tally",
    "users",
)


class OpenWindow(Struct, array_like=True):
    """Everything counted for one scope in ``[end - width, end)``.

    ``durations`` and ``steps`` have keys of their own: their records often carry
    fewer attributes than usage does.
    """

    end_ms: int
    ids: set[int] = field(default_factory=set)
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    durations: dict[tuple[int, int], Durations] = field(default_factory=dict)
    steps: dict[tuple[int, int], Steps] = field(default_factory=dict)

    def cell(self, release: int, stratum: int) -> Cell:
        """The cell of a release and stratum, made on first use."""
        key = (release, stratum)
        found = self.cells.get(key)
        if found is None:
            found = self.cells[key] = Cell()
        return found


class SeenBad(Struct, array_like=True):
    """Units already counted as failed, per UTC hour.

    An hour and not the life of a release: over a life the old arm's susceptible
    users are used up and the new arm looks worse (statistics 3.3).
    """

    hours: dict[int, set[int]] = field(default_factory=dict)

    def first(self, hour: int, unit: int) -> bool:
        """Whether this unit fails for the first time in this hour."""
        seen = self.hours.setdefault(hour, set())
        if unit in seen:
            return False
        seen.add(unit)
        return True

    def forget_before(self, hour: int) -> None:
        """Drop hours that no open window can touch any more."""
        for old in [h for h in self.hours if h < hour]:
            del self.hours[old]


def add_usage(
    cell: Cell,
    event: Usage,
    release: int,
    seen: SeenBad,
    hour: int,
    failures: Sequence[tuple[int, float]] = (),
) -> None:
    """Count a usage record, single or aggregated, into its cell.

    ``failures`` are its failed outcomes, as (signature number, count).
    """
    count = _count(event)
    failed = math.fsum(n for _, n in failures)
    cell.usage_lines += 1
    cell.seen_units += count
    cell.weighted_units += count / event.sample_rate
    cell.requests.units += count
    if event.sessions is not None:
        cell.sessions.units += event.sessions
        cell.sessions.usage_lines += 1
        if event.unit == "session":
            cell.sessions.bad += failed
        elif event.count is not None and event.unit == "request":
            cell.ok_lines += 1
            cell.weighted_ok += _ended_well(event, count) / event.sample_rate
    if event.session is not None:
        cell.session_ids.add(id64(event.session))
        cell.session_tally.usage_lines += 1
    if event.user is not None:
        cell.user_ids.add(id64(event.user))
        cell.user_tally.usage_lines += 1
    cell.usage_senders.add(sender_id(event.sender))
    if event.users is not None:
        cell.users.units += event.users
        cell.users.usage_lines += 1
    if event.users_sketch is not None:
        raw = sketch_image(event.users_sketch)
        if raw is not None:
            cell.sketch = merge_sketches(cell.sketch, raw)
            cell.sketch_tally.usage_lines += 1
    if failed:
        add_failures(cell, event, release, seen, hour, failures)


def add_failures(
    cell: Cell,
    event: Usage,
    release: int,
    seen: SeenBad,
    hour: int,
    failures: Sequence[tuple[int, float]],
) -> None:
    """Count the failed outcomes of a usage record that is counted otherwise."""
    failed = math.fsum(n for _, n in failures)
    before = (cell.session_tally.bad, cell.user_tally.bad)
    _add_outcome(cell, event, failed)
    if event.session is not None:
        _bad_unit(cell.session_tally, f"s{event.session}", release, seen, hour)
    if event.user is not None:
        _bad_unit(cell.user_tally, f"u{event.user}", release, seen, hour)
    if event.trace_id is None:  # else its error event brings a better signature
        for number, times in failures:
            cell.signatures.setdefault(number, Hits()).take(
                times,
                sessions=times if event.unit == "session" else 0.0,
                session_first=cell.session_tally.bad - before[0],
                user_first=cell.user_tally.bad - before[1],
            )


def add_error(
    cell: Cell, event: Error, release: int, seen: SeenBad, hour: int, signature: int
) -> None:
    """Count an error record, single or aggregated, into its cell."""
    if event.severity not in COUNTED_SEVERITIES:
        return
    count = _count(event)
    before = (cell.session_tally.bad, cell.user_tally.bad)
    sketch = None
    cell.error_lines += 1
    cell.seen_bad += count
    cell.weighted_bad += count / event.sample_rate
    if event.trace_id is None:
        cell.error_events += count
    else:
        cell.bad_traces.add(id64(event.trace_id))
    if event.sessions is not None:
        cell.sessions.bad += event.sessions
        cell.sessions.error_lines += 1
    if event.session is not None:
        _bad_unit(cell.session_tally, f"s{event.session}", release, seen, hour)
        cell.session_tally.error_lines += 1
    if event.user is not None:
        _bad_unit(cell.user_tally, f"u{event.user}", release, seen, hour)
        cell.user_tally.error_lines += 1
    cell.error_senders.add(sender_id(event.sender))
    if event.users is not None:
        cell.users.bad += event.users
        cell.users.error_lines += 1
    if event.users_sketch is not None:
        sketch = sketch_image(event.users_sketch)
        if sketch is not None:
            cell.bad_sketch = merge_sketches(cell.bad_sketch, sketch)
            cell.sketch_tally.error_lines += 1
    cell.signatures.setdefault(signature, Hits()).take(
        count,
        sessions=float(event.sessions or 0),
        users=float(event.users or 0),
        session_first=cell.session_tally.bad - before[0],
        user_first=cell.user_tally.bad - before[1],
        sketch=sketch,
    )


def _count(event: Usage | Error) -> float:
    """Records this line stands for; an aggregate without a count has its units."""
    if event.count is not None:
        return float(event.count)
    if event.window_s == 0:
        return 1.0
    if event.sessions is None and event.users is None and event.users_sketch:
        return estimate(sketch_image(event.users_sketch))
    return float(event.sessions or event.users or 0)


def failed_outcomes(event: Usage) -> dict[Outcome, float]:
    """How often the service failed, by outcome."""
    if event.outcomes is not None:
        found = {word: float(event.outcomes.get(word, 0)) for word in FAILED_OUTCOMES}
    elif event.outcome in FAILED_OUTCOMES:
        found = {event.outcome: _count(event)}
    else:
        return {}
    return {word: count for word, count in found.items() if count}


def _ended_well(event: Usage, count: float) -> float:
    """Requests that neither failed nor were refused or given up, as far as told."""
    if event.outcomes is not None:
        rest = sum(n for word, n in event.outcomes.items() if word != "ok")
        return max(0.0, count - rest)
    return count if event.outcome == "ok" else 0.0


def _add_outcome(cell: Cell, event: Usage, failed: float) -> None:
    """A failed outcome and an error event of one trace are one failed unit."""
    if event.trace_id is None:
        cell.outcome_failures += failed
    else:
        cell.bad_traces.add(id64(event.trace_id))


def _bad_unit(tally: Tally, unit: str, release: int, seen: SeenBad, hour: int) -> None:
    if seen.first(hour, id64(f"{release}\x1f{unit}")):
        tally.bad += 1.0
