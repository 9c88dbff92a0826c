"""One event into its scope: repeats, lateness, skew, releases, counting."""

from __future__ import annotations

from enum import Enum

from detector.arrival import grid_end_ms, skew_ms, wider_ms
from detector.events import Deploy, Envelope, Error, Feedback, Latency, Usage
from detector.identity import id64
from detector.releases import Stage
from detector.rulebook import InForce
from detector.scope import Scope, Watch
from detector.signature import signature_of
from detector.windows import OpenWindow, add_error, add_usage, note_signature

HOUR_MS = 3_600_000


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
    shift_ms = skew_ms(event, arrival_ms)
    end_ms = event.end_ms + shift_ms
    if end_ms > arrival_ms + rule.skew_ms:
        scope.future += 1
        return Intake.FUTURE
    if event.synthetic:
        if isinstance(event, Usage):
            advance_watermark(scope, end_ms, arrival_ms)
        return Intake.IGNORED
    if end_ms <= scope.closed_until_ms:
        scope.late += 1
        return Intake.LATE
    _widen(scope, event)
    window = _window_of(scope, end_ms)
    if event_id is not None:
        mark = id64(event_id)
        if mark in window.ids:
            scope.duplicates += 1
            return Intake.DUPLICATE
        window.ids.add(mark)
    _count(scope, window, event, end_ms, inforce)
    if isinstance(event, Usage):
        advance_watermark(scope, end_ms, arrival_ms)
    return Intake.COUNTED


def take_deploy(
    scope: Scope, event: Deploy, arrival_ms: int, inforce: InForce
) -> Intake:
    """Apply a deploy event. It is never late: what is live is a fact."""
    if event.end_ms > arrival_ms + inforce.rule.skew_ms:
        scope.future += 1
        return Intake.FUTURE
    note_stream(scope, "deploys", event.end_ms)
    scope.registry.on_deploy(event)
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
                margin=inforce.rule.signals["errors"].margin,
                signatures_before={
                    name: dict(entry.counts) for name, entry in scope.signatures.items()
                },
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
    stratum = scope.strata.number(event.attrs, inforce.limits, event.release)
    hour = (end_ms - 1) // HOUR_MS
    if isinstance(event, Usage):
        note_stream(scope, "usage", end_ms)
        cell = window.cell(release.number, stratum)
        before = cell.requests.units
        add_usage(cell, event, release.number, scope.seen_bad, hour)
        units = cell.requests.units - before
        release.units += units
        release.last_usage_ms = max(release.last_usage_ms, end_ms)
        scope.units_total += units
        if release.stage is Stage.BASELINE and scope.registry.infer(
            release, end_ms, scope.units_total
        ):
            open_watches(scope, inforce)
    elif isinstance(event, Error):
        note_stream(scope, "errors", end_ms)
        cell = window.cell(release.number, stratum)
        add_error(cell, event, release.number, scope.seen_bad, hour)
        count = float(event.sessions or event.users or event.count or 1)
        note_signature(
            scope.signatures, signature_of(event), release.number, count, event.url
        )
    else:
        note_stream(
            scope, "latency" if isinstance(event, Latency) else "feedback", end_ms
        )
