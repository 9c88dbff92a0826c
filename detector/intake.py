"""One event into its scope: repeats, lateness, skew, releases, counting."""

from __future__ import annotations

from enum import Enum

from detector.arrival import grid_end_ms, skew_ms, wider_ms
from detector.durations import Durations, histogram_of, single
from detector.events import (
    Deploy,
    Envelope,
    Error,
    Feedback,
    Latency,
    Telemetry,
    Usage,
)
from detector.funnel import Steps, take_step
from detector.identity import id64
from detector.latencystate import take as take_durations
from detector.releases import Release, Stage
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.signals.telemetry import (
    Health,
    corrected_end_ms,
    hold_ms,
    note_line,
    note_sender,
    note_usage_time,
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
HOLD_FORGOTTEN_MS = 900_000
"""A release without usage for this long is not waited for."""


class Intake(Enum):
    """What became of an event."""

    COUNTED = "counted"
    LATE = "late"
    FUTURE = "future"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


def advance_watermark(scope: Scope, end_ms: int, arrival_ms: int) -> None:
    """Watermark = maximum over accepted usage and ticks of min(end, arrival).

    Only these say that time has passed. Errors and deploys are sparse, so after an
    outage of ours they come out of their ingress topics minutes ahead of the usage
    of the same time, which must not be late because of them.
    """
    scope.watermark_ms = max(scope.watermark_ms, min(end_ms, arrival_ms))


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
    release = scope.registry.admit(event.release, min(sent_end_ms, arrival_ms))
    health = scope.health.setdefault(release.number, Health())
    usage = isinstance(event, Usage) and not event.synthetic
    end_ms = corrected_end_ms(health, sent_end_ms, arrival_ms, scope.width_ms)
    mark = id64(event_id) if event_id is not None else None
    if _is_known(scope, end_ms, mark):
        scope.duplicates += 1
        if usage:
            note_line(health, sent_end_ms, arrival_ms, late=False, duplicate=True)
        return Intake.DUPLICATE
    if usage:
        note_usage_time(health, sent_end_ms, arrival_ms, event.window_s * 1000)
        _note_hold(scope, release.number, health, arrival_ms, rule.grace_ms)
        end_ms = corrected_end_ms(health, sent_end_ms, arrival_ms, scope.width_ms)
    future = end_ms > arrival_ms + rule.skew_ms
    late = end_ms <= scope.closed_until_ms
    if usage:
        note_line(health, sent_end_ms, arrival_ms, late=late or future, duplicate=False)
    if future:
        scope.future += 1
        return Intake.FUTURE
    if event.synthetic:
        if isinstance(event, Usage):
            advance_watermark(scope, end_ms, arrival_ms)
        return Intake.IGNORED
    matured = _note_maturity(scope, event, release, end_ms, arrival_ms, mark, inforce)
    if late and matured and (scope.named_slow or scope.maturity.is_slow):
        return Intake.COUNTED
    if late:
        scope.late += 1
        return Intake.LATE
    _widen(scope, event)
    window = _window_of(scope, end_ms)
    if mark is not None:
        window.ids.add(mark)
    _count(scope, window, event, end_ms, inforce)
    if isinstance(event, Latency) and "usage" not in scope.last_event_ms:
        advance_watermark(scope, end_ms, arrival_ms)  # a service of durations alone
    if isinstance(event, Usage):
        note_sender(health, id64(event.sender or ""), end_ms)
        scope.sampled |= event.sample_rate < 1.0
        advance_watermark(scope, end_ms, arrival_ms)
    return Intake.COUNTED


def _note_maturity(
    scope: Scope,
    event: Telemetry,
    release: Release,
    end_ms: int,
    arrival_ms: int,
    mark: int | None,
    inforce: InForce,
) -> bool:
    """Whether a slow source's line is counted by its age, however late it comes."""
    rule = inforce.rule
    if not rule.slow_delay_max_h or not isinstance(event, Usage | Error):
        return False
    if isinstance(event, Error) and event.severity not in COUNTED_SEVERITIES:
        return False
    return scope.maturity.note(
        event,
        (release.number, _stratum(scope, event, inforce)),
        arrival_ms,
        named=scope.named_slow,
        late=end_ms <= scope.closed_until_ms,
        mark=mark,
        delay_max_ms=rule.slow_delay_max_h * HOUR_MS,
    )


def _note_hold(
    scope: Scope, number: int, health: Health, arrival_ms: int, grace_ms: int
) -> None:
    """Windows wait for the release whose usage typically comes last."""
    if health.sampled_arrival_ms != arrival_ms:
        return
    live = {
        known: wait_ms
        for known, wait_ms in scope.holds_ms.items()
        if known in scope.health
        and scope.health[known].sampled_arrival_ms >= arrival_ms - HOLD_FORGOTTEN_MS
    }
    live[number] = hold_ms(health, grace_ms)
    scope.holds_ms = live


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
    scope.registry.on_deploy(event)
    scope.named_slow = any(
        inforce.rule.slow_delay_h(scope.service, known.strategy)
        for known in scope.registry.releases.values()
    )
    open_watches(scope, inforce)
    return Intake.COUNTED


def open_watches(scope: Scope, inforce: InForce) -> None:
    """Every candidate of the registry has a watch."""
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
        _merge(scope, narrow[end_ms], grid_end_ms(end_ms, wider))


def _merge(scope: Scope, window: OpenWindow, end_ms: int) -> None:
    """Move an open window into the wider one that covers it."""
    target = scope.open.get(end_ms)
    if target is None:
        window.end_ms = end_ms
        scope.open[end_ms] = window
        return
    target.ids |= window.ids
    for key, cell in window.cells.items():
        if key in target.cells:
            target.cells[key].absorb(cell)
        else:
            target.cells[key] = cell
    for key, durations in window.durations.items():
        target.durations.setdefault(key, Durations()).absorb(durations)
    for key, steps in window.steps.items():
        target.steps.setdefault(key, Steps()).absorb(steps)


def _stratum(scope: Scope, event: Telemetry, inforce: InForce) -> int:
    limits = inforce.limits
    if not limits and inforce.rule.auto_strata:
        if isinstance(event, Usage):
            scope.strata.choose(event.attrs, event.release)
        limits = scope.strata.chosen()
    return scope.strata.number(event.attrs, limits, event.release)


def _window_of(scope: Scope, end_ms: int) -> OpenWindow:
    grid_end = grid_end_ms(end_ms, scope.width_ms)
    return scope.open.setdefault(grid_end, OpenWindow(grid_end))


def _count(
    scope: Scope,
    window: OpenWindow,
    event: Usage | Error | Latency | Feedback,
    end_ms: int,
    inforce: InForce,
) -> None:
    if scope.first_ms < 0:
        scope.first_ms = end_ms
    release = scope.registry.admit(event.release, end_ms)
    stratum = _stratum(scope, event, inforce)
    key = (release.number, stratum)
    hour = (end_ms - 1) // HOUR_MS
    if isinstance(event, Usage):
        note_stream(scope, "usage", end_ms)
        _count_usage(scope, window, event, key, hour, end_ms)
        release.last_usage_ms = max(release.last_usage_ms, end_ms)
        if release.stage is Stage.BASELINE and scope.registry.infer(
            release, end_ms, scope.units_total
        ):
            open_watches(scope, inforce)
    elif isinstance(event, Error):
        note_stream(scope, "errors", end_ms)
        signature = scope.catalogue.number(signature_of(event), end_ms, event.url)
        cell = window.cell(*key)
        add_error(cell, event, release.number, scope.seen_bad, hour, signature)
    elif isinstance(event, Latency):
        note_stream(scope, "latency", end_ms)
        take_durations(window.durations, key, histogram_of(event))
    else:
        note_stream(scope, "feedback", end_ms)
        cell = window.cell(*key)
        cell.voices = cell.voices or Voices()
        cell.voices.take(event)


def _count_usage(
    scope: Scope,
    window: OpenWindow,
    event: Usage,
    key: tuple[int, int],
    hour: int,
    end_ms: int,
) -> None:
    """Count usage; a step of a funnel is reached by units, it brings no new ones."""
    take_step(window.steps, key, event)
    if event.step is not None:
        return
    catalogue = scope.catalogue
    failures = [
        (catalogue.number(f"outcome:{outcome}", end_ms, event.url), count)
        for outcome, count in failed_outcomes(event).items()
    ]
    cell = window.cell(*key)
    before = cell.requests.units
    add_usage(cell, event, key[0], scope.seen_bad, hour, failures)
    units = cell.requests.units - before
    release = scope.registry.names_of[key[0]]
    scope.registry.releases[release].units += units
    scope.units_total += units
    if event.duration_ms is not None:
        count = float(event.count or 1)
        take_durations(window.durations, key, single(event.duration_ms, count))
