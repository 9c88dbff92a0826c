"""Bytes of a record to events: total, so that no input can stop a partition.

Every record gives at least one result, in the order of the array's members:
an ``Event``, or a ``Rejected`` with reason, path and redacted original.

Known and meant: a key that occurs twice counts with its last value (of a single
event an unsound earlier one is not even looked at), the first ``kind`` decides the
structure (refusing them would cost a second parse, and every reader of the log
decodes with this module); fields that are not known are skipped, so version N reads
what N + 1 writes; NUL inside skipped fields is not looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import Raw

from detector.checks import all_sound, problem_of
from detector.edgetime import epoch_ms
from detector.events import Event
from detector.groups import linereading
from detector.groups.light import MEMBERS_MAX, RECORD_BYTES_MAX, read_sound
from detector.jsonscan import is_too_deep, split_array
from detector.reasons import Problem, Reason, problem_of_error
from detector.records import Rejected
from detector.redact import redact_bytes

__all__ = ["MEMBERS_MAX", "RECORD_BYTES_MAX", "Reason", "decode", "decode_edge"]

EDGE_TIMES = ("ts", "sent_at", "received_at")

_BACKSLASH, _AT = b"\\@"  # as numbers: a search for one byte is quickest so
# msgspec promises DecodeError; bad UTF-8 and deep nesting come as these two.
_DECODER_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_RECORD: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[Event] | Event)
_OBJECT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(cast(Any, Event))
_MEMBERS = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()

Result = Event | Rejected
_DecodeOne = Callable[[bytes], Event | Problem]


def decode(value: bytes | None) -> list[Result]:
    """The events of one record of the log, and what of it was refused.

    Parameters
    ----------
    value : bytes or None
        One JSON object or an array of at most 10,000, up to 1 MiB; None is a
        Kafka tombstone, which the log does not use.

    Returns
    -------
    list of Event or Rejected
        Never empty; one for each member of an array, in order.

    Examples
    --------
    >>> decode(b'{"kind":"tick","ts":5,"service":"all"}')[0].ts
    5
    >>> decode(b'{"kind":"tick","service":"all"}')[0].field
    'ts'
    """
    if not value:
        return _decode(value, _typed)
    events = read_sound(value)
    if events is not None:
        return [*events]
    sums = linereading.read_sound(value)
    return [*sums] if sums is not None else _decode(value, _typed)


def decode_edge(value: bytes | None) -> list[Result]:
    """The same for edge formats: ``ts`` and its like may be RFC 3339 texts.

    Identities are as the sender wrote them: hash them
    (``detector.identity.hash_identities``) before anything is stored.
    """
    return _decode(value, _typed_edge)


def _decode(value: bytes | None, decode_one: _DecodeOne) -> list[Result]:
    """Decode whole, the fast way; member by member when anything is wrong."""
    value = value or b""
    problem = _unreadable(value)
    if problem is not None:
        return _refuse(problem, value)
    try:
        decoded = _RECORD.decode(value)
    except _DECODER_ERRORS:
        return _decode_apart(value, decode_one)
    events: list[Result] = decoded if type(decoded) is list else [decoded]
    if not 0 < len(events) <= MEMBERS_MAX:
        return _refuse(_size_problem(len(events)), value)
    escapes = _BACKSLASH in value
    nul = escapes and b"\\u0000" in value
    if all_sound(events, names=escapes or _AT in value, nul=nul):
        return events
    return _decode_apart(value, decode_one)


def _unreadable(value: bytes) -> Problem | None:
    """What forbids reading a record at all."""
    if not value or value.isspace():
        detail = "the record has no value; send one JSON object or an array of them"
        return Problem(Reason.EMPTY, "", detail)
    if len(value) > RECORD_BYTES_MAX:
        detail = f"{len(value)} bytes, at most {RECORD_BYTES_MAX}; send smaller arrays"
        return Problem(Reason.TOO_LARGE, "", detail)
    if is_too_deep(value):
        detail = "objects and arrays nest deeper than 128; flatten them"
        return Problem(Reason.TOO_DEEP, "", detail)
    return None


def _size_problem(members: int) -> Problem:
    """An array without members, or with too many."""
    if members == 0:
        return Problem(Reason.EMPTY, "", "an empty array; send at least one object")
    detail = f"{members} members, at most {MEMBERS_MAX}; send smaller arrays"
    return Problem(Reason.TOO_MANY, "", detail)


def _refuse(problem: Problem, value: bytes) -> list[Result]:
    """One rejection for a whole record."""
    return [Rejected(*problem, original=redact_bytes(value))]


def _decode_apart(value: bytes, decode_one: _DecodeOne) -> list[Result]:
    """Decode member by member, so that good ones beside a bad one are kept."""
    if not value.lstrip(b" \t\r\n").startswith(b"["):
        return _each([value], decode_one)
    try:
        return _each([bytes(raw) for raw in _MEMBERS.decode(value)], decode_one)
    except _DECODER_ERRORS as error:
        results = _each(split_array(value), decode_one)
        if any(not isinstance(result, Rejected) for result in results):
            return results
        # Nothing to save: one rejection says more than one for every fragment.
        return _refuse(problem_of_error(error), value)


def _each(members: list[bytes], decode_one: _DecodeOne) -> list[Result]:
    """Results of members one by one."""
    if not 0 < len(members) <= MEMBERS_MAX:
        return _refuse(_size_problem(len(members)), b",".join(members))
    results: list[Result] = []
    for member in members:
        found = decode_one(member)
        if isinstance(found, Problem):
            results += _refuse(found, member)
        else:
            results.append(found)
    return results


def _typed(member: bytes) -> Event | Problem:
    """One member as the log spells it."""
    try:
        event = _OBJECT.decode(member)
    except _DECODER_ERRORS as error:
        return problem_of_error(error)
    return problem_of(event) or event


def _typed_edge(member: bytes) -> Event | Problem:
    """One member with times as numbers or texts."""
    found = _typed(member)
    if not isinstance(found, Problem):
        return found
    try:
        parsed = _ANY.decode(member)
        if not isinstance(parsed, dict):
            return found
        changed = _convert_times(parsed)
        if isinstance(changed, Problem):
            return changed
        if not changed:
            return found
        event = cast(Event, msgspec.convert(parsed, cast(Any, Event)))
    except _DECODER_ERRORS as error:
        return problem_of_error(error)
    return problem_of(event) or event


def _convert_times(parsed: dict[str, Any]) -> Problem | bool:
    """Replace texts in time fields by milliseconds; says whether there were any."""
    previous = parsed.get("previous_session")
    places = [(parsed, field, field) for field in EDGE_TIMES]
    if isinstance(previous, dict):
        places.append((previous, "started_ts", "previous_session.started_ts"))
    changed = False
    for holder, field, path in places:
        if isinstance(holder.get(field), str):
            at_ms = epoch_ms(holder[field])
            if at_ms is None:
                detail = f"{path}: write RFC 3339 with Z or an offset, or integer ms"
                return Problem(Reason.BAD_TIME, path, detail)
            holder[field], changed = at_ms, True
    return changed
