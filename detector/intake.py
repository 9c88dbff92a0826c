"""One event into its scope: repeats, lateness, skew, releases, counting."""

from __future__ import annotations

from enum import Enum

from detector import newcomers
from detector.arrival import grid_end_ms, skew_ms, wider_ms
from detector.changes import (
    count_apart,
    fold,
    watch_components,
    widen_apart,
)
from detector.clocks import note_clock
from detector.combined import advance_watermark, is_combined
from detector.durations import histogram_of, single
from detector.events import (
    Deploy,
    Envelope,
    Error,
    Feedback,
    Latency,
    Telemetry,
    Usage,
)
from detector.funnel import take_step
from detector.identity import id64, sender_id
from detector.latencystate import take as take_durations
from detector.partcounts import watch_parts
from detector.releases import Release, Stage
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.signals.telemetry import (
    Health,
    corrected_end_ms,
    note_line,
    note_sender,
)
from detector.signature import signature_of
from detector.tracks import open_tracks
from detector.voices import Voices
from detector.windows import (
    COUNTED_SEVERITIES,
    OpenWindow,
    add_error,
    add_usage,
    failed_outcomes,
)

HOUR_MS = 3_600_000
STREAM_OF: dict[type, str] = {
    Usage: "usage",
    Error: "errors",
    Latency: "latency",
    Feedback: "feedback",
}


class Intake(Enum):
    """What became of an event."""

    COUNTED = "counted"
    AGED = "aged"
    """Counted by its age alone, as its window is closed: shown as counted."""

    LATE = "late"
    FUTURE = "future"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


def take_telemetry(
    scope: Scope,
    event: Usage | Error | Latency | Feedback,
    event_id: str | None,
    arrival_ms: int,
    inforce: InForce,
) -> Intake:
    """Count a telemetry event, or say why it is not counted."""
    rule = inforce.rule
    sent_end_ms = event.end_ms + skew_ms(event, arrival_ms)
    release = newcomers.admit(scope, event.release, min(sent_end_ms, arrival_ms))
    health = scope.health.get(release.number)
    if health is None:
        health = scope.health[release.number] = Health()
    usage = isinstance(event, Usage) and not event.synthetic
    # A combiner's times are right, and late at most by an outage of its own.
    is_exact = is_combined(scope, event.sender)
    due_ms = sent_end_ms if is_exact else arrival_ms
    end_ms = corrected_end_ms(health, sent_end_ms, due_ms, scope.width_ms)
    mark = id64(event_id) if event_id is not None else None
    if _is_known(scope, end_ms, mark):
        scope.duplicates += 1
        if usage:
            note_line(health, sent_end_ms, arrival_ms, late=False, duplicate=True)
        return Intake.DUPLICATE
    if usage and not is_exact:
        note_clock(
            scope,
            release.number,
            sent_end_ms,
            arrival_ms,
            window_ms=event.window_s * 1000,
            grace_ms=rule.grace_ms,
        )
        end_ms = corrected_end_ms(health, sent_end_ms, arrival_ms, scope.width_ms)
    future = end_ms > arrival_ms + rule.skew_ms
    late = end_ms <= scope.closed_until_ms
    if usage:
        told_ms = arrival_ms if is_exact else sent_end_ms
        note_line(health, told_ms, arrival_ms, late=late or future, duplicate=False)
    if future:
        scope.future += 1
        return Intake.FUTURE
    if event.synthetic:
        if isinstance(event, Usage):
            advance_watermark(scope, end_ms, arrival_ms)
        return Intake.IGNORED
    key = None
    matured = False
    slow = _slow_line(event, inforce)
    if slow is not None:
        key = release.number, _stratum(scope, slow, inforce)
        matured = _note_maturity(scope, slow, key, late, arrival_ms, mark, inforce)
    if late and matured and (scope.named_slow or scope.maturity.is_slow):
        return Intake.AGED
    if late:
        scope.late += 1
        return Intake.LATE
    _widen(scope, event)
    window = _window_of(scope, end_ms)
    if mark is not None:
        window.ids.add(mark)
    if key is None:
        key = release.number, _stratum(scope, event, inforce)
    _count(scope, window, event, release, key, end_ms, inforce)
    if isinstance(event, Latency) and "usage" not in scope.last_event_ms:
        advance_watermark(scope, end_ms, arrival_ms)  # a service of durations alone
    if isinstance(event, Usage):
        note_sender(health, sender_id(event.sender), end_ms)
        scope.sampled |= event.sample_rate < 1.0
        advance_watermark(scope, end_ms, arrival_ms)
    return Intake.COUNTED


def _slow_line(event: Telemetry, inforce: InForce) -> Usage | Error | None:
    """The line if it could be one of a slow source."""
    if not inforce.slow_delay_max_ms:
        return None
    if isinstance(event, Error):
        return event if event.severity in COUNTED_SEVERITIES else None
    return event if isinstance(event, Usage) else None


def _note_maturity(
    scope: Scope,
    event: Usage | Error,
    key: tuple[int, int],
    late: bool,
    arrival_ms: int,
    mark: int | None,
    inforce: InForce,
) -> bool:
    """Whether a slow source's line is counted by its age, however late it comes."""
    return scope.maturity.note(
        event,
        key,
        arrival_ms,
        named=scope.named_slow,
        late=late,
        mark=mark,
        delay_max_ms=inforce.slow_delay_max_ms,
    )


def _is_known(scope: Scope, end_ms: int, mark: int | None) -> bool:
    """Whether a record with this mark is in the window already."""
    if mark is None:
        return False
    window = scope.open.get(grid_end_ms(end_ms, scope.width_ms))
    return window is not None and mark in window.ids


def take_deploy(
    scope: Scope, event: Deploy, arrival_ms: int, inforce: InForce
) -> Intake:
    """Apply a deploy event. It is never late: what is live is a fact."""
    if event.end_ms > arrival_ms + inforce.rule.skew_ms:
        scope.future += 1
        return Intake.FUTURE
    note_stream(scope, "deploys", event.end_ms)
    newcomers.deploy(scope, event)
    scope.named_slow = any(
        inforce.rule.slow_delay_h(scope.service, known.strategy)
        for known in scope.registry.releases.values()
    )
    open_watches(scope, inforce)
    return Intake.COUNTED


def open_watches(scope: Scope, inforce: InForce) -> None:
    """Every candidate of the registry has a watch."""
    began_ms = max(scope.open, default=scope.closed_until_ms)
    watch_components(scope.changes, scope.registry.candidates(), began_ms)
    watch_parts(scope.changes, scope.registry.candidates())
    for release in scope.registry.candidates():
        if release.name in scope.watches:
            continue
        if inforce.rule.excludes(release.name):
            release.stage = Stage.BASELINE
        else:
            scope.watches[release.name] = Watch(
                release=release.name,
                tracks=open_tracks(scope, inforce.rule),
                novelty=scope.catalogue.begin(release.number),
            )


def note_stream(scope: Scope, stream: str, end_ms: int) -> None:
    """Remember how recent each stream of a scope is."""
    scope.last_event_ms[stream] = max(scope.last_event_ms.get(stream, -1), end_ms)


def _widen(scope: Scope, event: Envelope) -> None:
    """A comparison is as wide as the longest window of either arm."""
    wider = wider_ms(scope.width_ms, event.window_s * 1000)
    if wider == scope.width_ms:
        return
    scope.width_ms = wider
    narrow = scope.open
    scope.open = {}
    for end_ms in sorted(narrow):
        wide = grid_end_ms(end_ms, wider)
        fold(scope.open.setdefault(wide, OpenWindow(wide)), narrow[end_ms])
    widen_apart(scope.changes, lambda end_ms: grid_end_ms(end_ms, wider))


def _stratum(scope: Scope, event: Telemetry, inforce: InForce) -> int:
    limits = inforce.limits
    if not limits and inforce.rule.auto_strata:
        if isinstance(event, Usage):
            scope.strata.choose(event.attrs, event.release)
        limits = scope.strata.chosen()
    return scope.strata.number(event.attrs, limits, event.release)


def _window_of(scope: Scope, end_ms: int) -> OpenWindow:
    grid_end = grid_end_ms(end_ms, scope.width_ms)
    found = scope.open.get(grid_end)
    if found is None:
        found = scope.open[grid_end] = OpenWindow(grid_end)
    return found


def _count(
    scope: Scope,
    window: OpenWindow,
    event: Telemetry,
    release: Release,
    key: tuple[int, int],
    end_ms: int,
    inforce: InForce,
) -> None:
    if scope.first_ms < 0:
        scope.first_ms = end_ms
    units = _count_into(scope, window, event, key, release.number, end_ms)
    apart = count_apart(scope.changes, event, release.number, window.end_ms)
    if apart is not None:
        _count_into(scope, apart.window, event, key, apart.owner, end_ms)
    note_stream(scope, STREAM_OF[type(event)], end_ms)
    if not isinstance(event, Usage):
        return
    release.units += units
    scope.units_total += units
    release.last_usage_ms = max(release.last_usage_ms, end_ms)
    if release.stage is Stage.BASELINE and scope.registry.infer(
        release, end_ms, scope.units_total
    ):
        open_watches(scope, inforce)


def _count_into(
    scope: Scope,
    window: OpenWindow,
    event: Telemetry,
    key: tuple[int, int],
    owner: int,
    end_ms: int,
) -> float:
    """Count a record into a window; returns the requests that it stands for.

    ``owner`` is among whose units one fails for the first time.
    """
    hour = (end_ms - 1) // HOUR_MS
    if isinstance(event, Usage):
        return _count_usage(scope, window, event, key, owner, hour, end_ms)
    if isinstance(event, Error):
        signature = scope.catalogue.number(signature_of(event), end_ms, event.url)
        cell = window.cell(*key)
        add_error(cell, event, owner, scope.seen_bad, hour, signature)
    elif isinstance(event, Latency):
        take_durations(window.durations, key, histogram_of(event))
    else:
        cell = window.cell(*key)
        cell.voices = cell.voices or Voices()
        cell.voices.take(event)
    return 0.0


def _count_usage(
    scope: Scope,
    window: OpenWindow,
    event: Usage,
    key: tuple[int, int],
    owner: int,
    hour: int,
    end_ms: int,
) -> float:
    """Count usage; a step of a funnel is reached by units, it brings no new ones."""
    take_step(window.steps, key, event)
    if event.step is not None:
        return 0.0
    catalogue = scope.catalogue
    failures = [
        (catalogue.number(f"outcome:{outcome}", end_ms, event.url), count)
        for outcome, count in failed_outcomes(event).items()
    ]
    cell = window.cell(*key)
    before = cell.requests.units
    add_usage(cell, event, owner, scope.seen_bad, hour, failures)
    if event.duration_ms is not None:
        count = float(event.count or 1)
        take_durations(window.durations, key, single(event.duration_ms, count))
    return cell.requests.units - before
