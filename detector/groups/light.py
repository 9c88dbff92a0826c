"""Single usage and error events, read with no more work than counting them needs.

Most records of a busy log are single events that differ in time and identity only.
Everything else of one is its shape: service, release, attributes and the like. An
event is read into a small structure, and whether its shape is sound (names,
attributes) is asked once for all events that share it.

A record is light when all its members are, and that is decided by the record alone:
reading many at once gives what reading each gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from detector.checks import problem_of
from detector.events import (
    DEFAULT_ENVIRONMENT,
    EpochMs,
    Error,
    Outcome,
    Text,
    Unit,
    Usage,
)

RECORD_BYTES_MAX = 1_048_576
MEMBERS_MAX = 10_000
SHAPES_MAX = 32_768
"""Shapes remembered; beyond, all are forgotten and learnt again."""

ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NUL = b"\\u0000"
_BACKSLASH, _NEWLINE = b"\\\n"  # as numbers: a search for one byte is quickest so
_ENDS = np.zeros((256, 256), dtype=np.bool_)
_ENDS[ord("}"), ord("{")] = _ENDS[ord("]"), ord("[")] = True
_ENDS[ord("}"), ord("[")] = _ENDS[ord("]"), ord("{")] = True
NO_ATTRS = Raw(b"{}")
Id = Annotated[str, Meta(min_length=1, max_length=256)]
Severity = Literal["debug", "info", "warning", "error", "fatal"]


class Common(
    Struct,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="kind",
):
    """What both kinds carry, in the order of the whole events: both encode alike."""

    ts: EpochMs
    service: str
    id: Id | None = None
    environment: str = DEFAULT_ENVIRONMENT
    sent_at: EpochMs | None = None
    received_at: EpochMs | None = None
    release: str
    attrs: Raw = NO_ATTRS
    user: Text | None = None
    session: Text | None = None
    trace_id: Text | None = None
    url: Text | None = None
    tenant: Text | None = None
    sender: Text | None = None


class LightUsage(Common, kw_only=True, tag="usage"):
    """A single usage event; one with any other field is not light."""

    word: Unit = msgspec.field(default="request", name="unit")
    outcome: Outcome = "ok"
    duration_ms: Annotated[float, Meta(ge=0)] | None = None


class LightError(Common, kw_only=True, tag="error"):
    """A single error event; one with any other field is not light."""

    outcome: ClassVar[None] = None
    duration_ms: ClassVar[None] = None

    signature: Text | None = None
    type: Text | None = None
    message: Text | None = None
    frames: Annotated[list[Text], Meta(max_length=64)] = []
    word: Severity = msgspec.field(default="error", name="severity")
    handled: bool = False


Light = LightUsage | LightError
Member = TypeVar("Member")
ShapeKey = tuple[str, str, bytes, str, str | None, str, str | None]
"""Service, release, attributes as written, environment, sender, unit or severity,
and outcome; None for an error."""

RECORD: msgspec.json.Decoder[list[Light] | Light] = msgspec.json.Decoder(
    list[Light] | Light
)
ATTRS = msgspec.json.Decoder(dict[str, Text])


class Shape(Struct, frozen=True):
    """What events have in common that differ in time, identity and detail only.

    ``told`` says which sums lines carry (``detector.groups.lines``), None for single
    events. The sender of lines is no part of their shape.
    """

    service: str
    release: str
    attrs: dict[str, str]
    environment: str
    sender: str | None
    word: Any
    outcome: Any
    window_s: int = 0
    told: int | None = None

    @property
    def is_usage(self) -> bool:
        """Whether these are usage events."""
        return self.outcome is not None


_shapes: dict[ShapeKey, Shape | None] = {}


def key_of(event: Light) -> ShapeKey:
    """By what events of one shape are known."""
    return (
        event.service,
        event.release,
        bytes(event.attrs),
        event.environment,
        event.sender,
        event.word,
        event.outcome,
    )


def shape_of(key: ShapeKey) -> Shape | None:
    """The shape of that key, None if its names or attributes are not sound."""
    try:
        return _shapes[key]
    except KeyError:
        pass
    if len(_shapes) >= SHAPES_MAX:
        _shapes.clear()
    found = _shapes[key] = _checked(key)
    return found


def _checked(key: ShapeKey) -> Shape | None:
    service, release, raw, environment, sender, word, outcome = key
    try:
        attrs = ATTRS.decode(raw)
    except ERRORS:
        return None
    shape = Shape(service, release, attrs, environment, sender, word, outcome)
    kind = LightUsage if shape.is_usage else LightError
    bare = full(kind(ts=0, service=service, release=release), shape)
    return shape if problem_of(bare) is None else None


def full(event: Light, shape: Shape) -> Usage | Error:
    """The event as the decoder of all events gives it."""
    common: dict[str, Any] = {
        "ts": event.ts,
        "service": shape.service,
        "release": shape.release,
        "attrs": dict(shape.attrs),
        "environment": shape.environment,
        "sender": shape.sender,
        "id": event.id,
        "session": event.session,
        "user": event.user,
        "trace_id": event.trace_id,
        "sent_at": event.sent_at,
        "received_at": event.received_at,
        "tenant": event.tenant,
        "url": event.url,
    }
    if isinstance(event, LightUsage):
        return Usage(
            unit=shape.word,
            outcome=shape.outcome,
            duration_ms=event.duration_ms,
            **common,
        )
    return Error(
        severity=shape.word,
        signature=event.signature,
        type=event.type,
        message=event.message,
        frames=event.frames,
        handled=event.handled,
        **common,
    )


def read(value: bytes) -> list[Light] | None:
    """The members of one record if all are light; their shapes may be unsound."""
    return members_of(value, RECORD)


def members_of(
    value: bytes, decoder: msgspec.json.Decoder[list[Member] | Member]
) -> list[Member] | None:
    """The members of one record if the decoder knows them all."""
    if len(value) > RECORD_BYTES_MAX or _holds_nul(value):
        return None
    try:
        decoded = decoder.decode(value)
    except ERRORS:
        return None
    if type(decoded) is not list:
        return [decoded]  # type: ignore[list-item]
    return decoded if 0 < len(decoded) <= MEMBERS_MAX else None


def read_sound(value: bytes) -> list[Usage | Error] | None:
    """The events of one record if it is light and every shape sound."""
    events = read(value)
    if events is None:
        return None
    found = []
    for event in events:
        shape = shape_of(key_of(event))
        if shape is None:
            return None
        found.append(full(event, shape))
    return found


def read_many(values: Sequence[bytes | None]) -> list[Light | list[Light] | None]:
    """One result a record, as `read` gives it but for an object, which stands alone."""
    together = read_together(values, RECORD)
    return each_of(values, RECORD) if together is None else together


def each_of(
    values: Sequence[bytes | None],
    decoder: msgspec.json.Decoder[list[Member] | Member],
) -> list[Member | list[Member] | None]:
    """The members of each record by itself."""
    found: list[Member | list[Member] | None] = []
    for value in values:
        several = None if value is None else members_of(value, decoder)
        single = several is not None and len(several) == 1
        found.append(several[0] if several is not None and single else several)
    return found


def read_together(
    values: Sequence[bytes | None],
    decoder: msgspec.json.Decoder[list[Member] | Member],
) -> list[Member | list[Member] | None] | None:
    """Read all records as lines; None unless each is whole and known by itself.

    Between lines there is no comma, and a line can not end inside a text: so no
    record can borrow from its neighbour what it lacks.
    """
    try:
        joined = b"\n".join(values)  # type: ignore[arg-type]
    except TypeError:
        return None
    if not _are_lines(joined, len(values)) or _holds_nul(joined):
        return None
    if len(joined) > RECORD_BYTES_MAX and max(map(len, values)) > RECORD_BYTES_MAX:  # type: ignore[arg-type]
        return None
    try:
        decoded: list[Any] = decoder.decode_lines(joined)
    except ERRORS:
        return None
    if len(decoded) != len(values):
        return None
    for one in decoded:
        if type(one) is list and not 0 < len(one) <= MEMBERS_MAX:
            return None
    return decoded


def _are_lines(joined: bytes, count: int) -> bool:
    """Whether every line begins and ends as an object or array does."""
    if joined[:1] not in (b"{", b"[") or joined[-1:] not in (b"}", b"]"):
        return False
    text = np.frombuffer(joined, dtype=np.uint8)
    at = np.flatnonzero(text == _NEWLINE)
    return len(at) == count - 1 and bool(_ENDS[text[at - 1], text[at + 1]].all())


def _holds_nul(value: bytes) -> bool:
    """Whether a text may hold NUL, which JSON can only spell as an escape."""
    return _BACKSLASH in value and _NUL in value
