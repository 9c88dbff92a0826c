"""Lines: events that stand for many, read with no more work than adding them needs.

Instances of a service and combiners send sums of a window: usage, errors, histograms,
and a combiner says up to when it has sent all. Many of them differ in their numbers,
their sender and its sequence only; everything else of one is its shape, checked once.
A single event is a line as well, so a run of records is read in one of two ways: as
single events (``detector.groups.light``), or as lines.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, Raw, Struct, field

from detector.checks import SEQ_MAX, problem_of
from detector.events import (
    DEFAULT_ENVIRONMENT,
    EVERY_SERVICE,
    WINDOW_MAX_S,
    EpochMs,
    Error,
    Latency,
    Outcome,
    Text,
    Tick,
    Unit,
    Usage,
)
from detector.events import ExponentialHistogram as Exponential
from detector.groups import light
from detector.groups.light import ATTRS, ERRORS, NO_ATTRS, SHAPES_MAX, Severity, Shape

COUNT_MAX = 1_000_000_000
"""A line with a larger sum goes the long way: the sums of a run stay exact."""

TOLD = ("count", "sessions", "users", "outcomes")
"""Sums that a line may carry; the bits of ``Shape.told``, lowest first."""

LATENCY, TICK = "latency", "tick"
"""In place of a unit or severity: what kind of line it is."""

_Sum = Annotated[int, Meta(ge=0, le=COUNT_MAX)]
_Window = Annotated[int, Meta(ge=0, le=WINDOW_MAX_S)]
_Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]


class _Line(light.Common, kw_only=True, tag_field="kind"):
    """What all lines about a release carry; ``None`` is what some of them never do."""

    window_s: _Window = 0
    seq: _Seq | None = None


class UsageLine(_Line, kw_only=True, tag="usage"):
    """Usage; one with any other field is not light."""

    word: Unit = field(default="request", name="unit")
    outcome: Outcome = "ok"
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    count: _Sum | None = None
    sessions: _Sum | None = None
    outcomes: dict[Outcome, _Sum] | None = None
    users: _Sum | None = None


class ErrorLine(_Line, kw_only=True, tag="error"):
    """Errors; one with any other field is not light."""

    outcome: ClassVar[None] = None
    outcomes: ClassVar[None] = None
    duration_ms: ClassVar[None] = None

    signature: Text | None = None
    type: Text | None = None
    message: Text | None = None
    frames: Annotated[list[Text], Meta(max_length=64)] = field(default_factory=list)
    word: Severity = field(default="error", name="severity")
    handled: bool = False
    count: _Sum | None = None
    sessions: _Sum | None = None
    users: _Sum | None = None


class LatencyLine(_Line, kw_only=True, tag=LATENCY):
    """A histogram of durations; one with any other field is not light."""

    word: ClassVar[str] = LATENCY
    outcome: ClassVar[None] = None
    outcomes: ClassVar[None] = None
    duration_ms: ClassVar[None] = None
    count: ClassVar[None] = None
    sessions: ClassVar[None] = None
    users: ClassVar[None] = None

    bounds_ms: Annotated[list[float], Meta(max_length=512)] = field(
        default_factory=list
    )
    counts: Annotated[list[_Sum], Meta(max_length=513)] = field(default_factory=list)
    exponential: Exponential | None = None


class TickLine(
    Struct,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag=TICK,
):
    """A combiner says up to when it has sent all it had of a service."""

    release: ClassVar[str] = ""
    attrs: ClassVar[Raw] = NO_ATTRS
    word: ClassVar[str] = TICK
    window_s: ClassVar[int] = 0
    id: ClassVar[None] = None
    outcome: ClassVar[None] = None
    outcomes: ClassVar[None] = None
    duration_ms: ClassVar[None] = None
    count: ClassVar[None] = None
    sessions: ClassVar[None] = None
    users: ClassVar[None] = None
    seq: ClassVar[None] = None
    user: ClassVar[None] = None
    session: ClassVar[None] = None
    trace_id: ClassVar[None] = None
    sent_at: ClassVar[None] = None
    received_at: ClassVar[None] = None

    ts: EpochMs
    service: str
    environment: str = DEFAULT_ENVIRONMENT
    sender: Annotated[str, Meta(min_length=1, max_length=4096)]


Line = UsageLine | ErrorLine | LatencyLine | TickLine
Whole = Usage | Error | Latency | Tick
LineKey = tuple[str, str, bytes, str, str, str | None, int]
"""Service, release, attributes as written, environment, unit, severity or kind,
outcome (None unless usage) and seconds covered."""

RECORD: msgspec.json.Decoder[list[Line] | Line] = msgspec.json.Decoder(
    list[Line] | Line
)
_shapes: dict[tuple[LineKey, int], Shape | None] = {}


def key_of(line: Line) -> LineKey:
    """By what lines of one shape are known, beside the sums they carry."""
    return (
        line.service,
        line.release,
        b"" + line.attrs,  # the quickest copy of its bytes
        line.environment,
        line.word,
        line.outcome,
        line.window_s,
    )


def told_by(line: Line) -> int:
    """Which sums a line carries."""
    sums = (line.count, line.sessions, line.users, line.outcomes)
    return sum(1 << bit for bit, value in enumerate(sums) if value is not None)


def shape_of(key: LineKey, told: int) -> Shape | None:
    """The shape of lines with these sums, None if it is not sound."""
    place = (key, told)
    try:
        return _shapes[place]
    except KeyError:
        pass
    if len(_shapes) >= SHAPES_MAX:
        _shapes.clear()
    found = _shapes[place] = _checked(key, told)
    return found


def _checked(key: LineKey, told: int) -> Shape | None:
    service, release, raw, environment, word, outcome, window_s = key
    try:
        attrs = ATTRS.decode(raw)
    except ERRORS:
        return None
    shape = Shape(
        service, release, attrs, environment, None, word, outcome, window_s, told
    )
    return shape if problem_of(_bare(shape)) is None and _is_named(shape) else None


def _is_named(shape: Shape) -> bool:
    """Whether a line is about one service; a tick may be about all."""
    return shape.word != TICK or shape.service != EVERY_SERVICE


def _bare(shape: Shape) -> Whole:
    """An event of that shape that says nothing else."""
    common: dict[str, Any] = {"ts": 0, "service": shape.service}
    if shape.word == TICK:
        return Tick(environment=shape.environment, **common)
    common |= {"release": shape.release, "window_s": shape.window_s}
    sums: dict[str, Any] = {
        name: {} if name == "outcomes" else 0
        for bit, name in enumerate(TOLD)
        if (shape.told or 0) & 1 << bit
    }
    if shape.is_usage:
        return full(UsageLine(**common, **sums), shape)
    if shape.word == LATENCY:
        return full(LatencyLine(counts=[0], **common), shape)
    return full(ErrorLine(**common, **sums), shape)


def full(line: Line, shape: Shape) -> Whole:
    """The event as the decoder of all events gives it."""
    common: dict[str, Any] = {
        "ts": line.ts,
        "service": shape.service,
        "environment": shape.environment,
        "sender": line.sender,
    }
    if isinstance(line, TickLine):
        return Tick(**common)
    common |= {
        "window_s": line.window_s,
        "release": shape.release,
        "attrs": dict(shape.attrs),
        "id": line.id,
        "seq": line.seq,
        "session": line.session,
        "user": line.user,
        "trace_id": line.trace_id,
        "sent_at": line.sent_at,
        "received_at": line.received_at,
        "tenant": line.tenant,
        "url": line.url,
    }
    if isinstance(line, LatencyLine):
        return Latency(
            bounds_ms=line.bounds_ms,
            counts=line.counts,
            exponential=line.exponential,
            **common,
        )
    common |= {"count": line.count, "sessions": line.sessions, "users": line.users}
    if isinstance(line, UsageLine):
        return Usage(
            unit=shape.word,
            outcome=shape.outcome,
            duration_ms=line.duration_ms,
            outcomes=line.outcomes,
            **common,
        )
    return Error(
        severity=shape.word,
        signature=line.signature,
        type=line.type,
        message=line.message,
        frames=line.frames,
        handled=line.handled,
        **common,
    )
