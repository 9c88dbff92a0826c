"""What the types can not say about an event, each with its own reason.

Codecs of foreign formats call ``problem_of`` on the events they build, so that
one gate stands before the log whatever the input was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter
from typing import Any

import msgspec

from detector.events import (
    Deploy,
    Error,
    Event,
    Feedback,
    Latency,
    Usage,
)
from detector.fields import KINDS, SHAPES
from detector.patterns import name_holds_address
from detector.reasons import NAME_HELP, Problem, Reason
from detector.sketchimage import sketch_image

ATTRIBUTES_MAX = 16
VERSIONS_MAX = 64
SAMPLE_RATE_MIN = 1e-6
SEQ_MAX = 2**63 - 1
EXPONENT_MAX = 64.0
"""Durations in exponential histograms lie between 2**-64 and 2**64 ms."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/@:-]{0,127}\Z")


@lru_cache(maxsize=4096)
def _name_reason(name: str) -> Reason | None:
    """Why a text is no name, if it is none."""
    if _NAME.match(name) is None:
        return Reason.BAD_NAME
    return Reason.IDENTITY_IN_NAME if name_holds_address(name) else None


_NAME_WORDS = {
    Reason.BAD_NAME: NAME_HELP,
    Reason.IDENTITY_IN_NAME: "a name holds an e-mail address; name the thing, "
    "not a person",
}


def _name_problem(name: str, field: str) -> Problem | None:
    """The problem of a name at a place."""
    reason = _name_reason(name)
    if reason is None:
        return None
    return Problem(reason, field, f"{field}: {_NAME_WORDS[reason]}")


def problem_of(event: Event, *, names: bool = True, nul: bool = True) -> Problem | None:
    """What makes a well-typed event unusable, or None.

    Parameters
    ----------
    event : Event
        Decoded or built by a codec.
    names : bool
        False skips the second look at names: only a backslash or an @ in the
        record can have brought in what the types let pass.
    nul : bool
        False skips the search for NUL, which JSON can only spell as an escape.
    """
    check = _CHECKS.get(type(event))
    problem = check(event) if check is not None else None
    if problem is None and names and not _names_sound(event):
        problem = _names(event)
    if problem is None and nul:
        problem = _nul(event)
    return problem


def all_sound(events: Iterable[Any], *, names: bool, nul: bool) -> bool:
    """Whether no event has a problem; quick for the shape that most events have."""
    for event in events:
        get, usual = _USUAL.get(type(event), _UNUSUAL)
        if get(event) != usual:
            if problem_of(event, names=names, nul=nul) is not None:
                return False
            continue
        keys = tuple(event.attrs)
        if not _keys_sound(keys) or (names and not _names_sound(event)):
            return False
        if nul and _nul(event) is not None:
            return False
    return True


@lru_cache(maxsize=4096)
def _keys_sound(keys: tuple[str, ...]) -> bool:
    """Whether attributes are few and their keys names: the same ones come again."""
    return len(keys) <= ATTRIBUTES_MAX and not any(map(_name_reason, keys))


@lru_cache(maxsize=4096)
def _all_names(names: tuple[str | None, ...]) -> bool:
    """Whether these are names or absent: the same ones come again and again."""
    return not any(_name_reason(name) for name in names if name is not None)


def _names_sound(event: Event) -> bool:
    """Whether the names of an event are sound; False for nested ones to look at."""
    nested = getattr(event, "previous_session", None)
    return nested is None and _all_names(_NAMES[type(event)](event))


def _names(event: msgspec.Struct, prefix: str = "") -> Problem | None:
    """Names with a line break at the end, which ``$`` lets pass, or an address."""
    shape = SHAPES[type(event)]
    for field in shape.names:
        name = getattr(event, field)
        problem = _name_problem(name, prefix + field) if name is not None else None
        if problem is not None:
            return problem
    for field in shape.structs:
        nested = getattr(event, field)
        problem = _names(nested, f"{field}.") if nested else None
        if problem is not None:
            return problem
    return None


def _nul(event: Event) -> Problem | None:
    """NUL separates the parts of ids and ends strings in C: refused everywhere."""
    for field in event.__struct_fields__:
        if _holds_nul(getattr(event, field)):
            detail = f"{field}: contains the character NUL; remove it"
            return Problem(Reason.NUL_CHARACTER, field, detail)
    return None


def _holds_nul(value: Any) -> bool:
    """Whether a text, or a text inside a container, contains NUL."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_holds_nul, value)) or any(map(_holds_nul, value.values()))
    return isinstance(value, list) and any(map(_holds_nul, value))


def _keys(items: dict[str, str], field: str, most: int) -> Problem | None:
    """Keys are names, and few: each can become a series."""
    if len(items) > most:
        detail = f"{field}: {len(items)} entries, at most {most}; send fewer"
        return Problem(Reason.BAD_ATTRIBUTE, field, detail)
    for key in items:
        reason = _name_reason(key)
        if reason is not None:
            shown = Reason.BAD_ATTRIBUTE if reason is Reason.BAD_NAME else reason
            return Problem(shown, field, f"{field}: a key: {_NAME_WORDS[reason]}")
    return None


def _release(event: Usage | Error | Latency | Feedback) -> Problem | None:
    """What all telemetry shares: attributes, versions, sampling, sequence."""
    if event.attrs:
        problem = _keys(event.attrs, "attrs", ATTRIBUTES_MAX)
        if problem:
            return problem
    if event.changes:
        problem = _keys(event.changes, "changes", VERSIONS_MAX)
        if problem:
            return problem
    if event.sample_rate < SAMPLE_RATE_MIN:
        detail = f"sample_rate: below {SAMPLE_RATE_MIN}, one record would outweigh all"
        return Problem(Reason.OUT_OF_RANGE, "sample_rate", detail)
    if event.seq is not None and event.seq > SEQ_MAX:
        detail = "seq: above 2**63 - 1; count from 0 after a restart"
        return Problem(Reason.OUT_OF_RANGE, "seq", detail)
    return None


def _window(event: Event, fields: Iterable[str]) -> Problem | None:
    """Aggregates cover a window: without one their time and place are unknown."""
    for field in fields:
        if getattr(event, field) is not None:
            detail = f"{field}: an aggregate needs window_s of 1 to 3600; add it"
            return Problem(Reason.NO_WINDOW, field, detail)
    return None


def _sketch(text: str) -> Problem | None:
    """A sketch is read by native code later, so it is checked once, here."""
    if sketch_image(text) is not None:
        return None
    detail = (
        "users_sketch: not a whole Apache DataSketches HLL sketch of lg_k 4 to 16 "
        "in padded base64"
    )
    return Problem(Reason.BAD_SKETCH, "users_sketch", detail)


_USAGE_SUMS = ("count", "sessions", "outcomes", "users", "users_sketch")


def _usage(event: Usage) -> Problem | None:
    """Usage: a window for sums, no more outcomes than requests, a sound sketch."""
    problem = _release(event)
    if problem is None and event.window_s == 0:
        return _window(event, _USAGE_SUMS)
    if problem is None and event.outcomes is not None and event.count is not None:
        total = sum(event.outcomes.values())
        if total > event.count:
            detail = f"outcomes: they sum to {total}, above count {event.count}"
            return Problem(Reason.BAD_COUNTS, "outcomes", detail)
    if problem is None and event.users_sketch is not None:
        return _sketch(event.users_sketch)
    return problem


_ERROR_SUMS = ("count", "sessions", "users", "users_sketch")


def _error(event: Error) -> Problem | None:
    """Errors: a window for sums and a sound sketch."""
    problem = _release(event)
    if problem is None and event.window_s == 0:
        return _window(event, _ERROR_SUMS)
    if problem is None and event.users_sketch is not None:
        return _sketch(event.users_sketch)
    return problem


_FEEDBACK_SUMS = ("count", "score_sum")


def _feedback(event: Feedback) -> Problem | None:
    """Feedback: a window for sums, and a sum of scores that ``count`` allows."""
    problem = _release(event)
    if problem is None and event.window_s == 0:
        return _window(event, _FEEDBACK_SUMS)
    if problem is not None or event.score_sum is None:
        return problem
    if event.count is None or event.score_sum > 5 * event.count:
        detail = "score_sum: needs count, and is at most 5 for each"
        return Problem(Reason.BAD_COUNTS, "score_sum", detail)
    return None


def _latency(event: Latency) -> Problem | None:
    """Latency: exactly one histogram, with rising bounds and an open last bucket.

    ``window_s`` may be 0: a histogram of one instant is a batch, not a contradiction.
    """
    problem = _release(event)
    if problem is not None:
        return problem
    if event.exponential is not None:
        return _exponential(event)
    if len(event.counts) != len(event.bounds_ms) + 1:
        detail = (
            f"counts: {len(event.counts)} for {len(event.bounds_ms)} bounds_ms; one "
            "more than bounds is needed, the last is open (or send exponential)"
        )
        return Problem(Reason.BAD_HISTOGRAM, "counts", detail)
    if any(low >= high for low, high in pairwise([-1e-9, *event.bounds_ms])):
        detail = "bounds_ms: must rise strictly, from 0 or more"
        return Problem(Reason.BAD_HISTOGRAM, "bounds_ms", detail)
    return None


def _exponential(event: Latency) -> Problem | None:
    """An exponential histogram alone, over durations that exist."""
    histogram = event.exponential
    if histogram is None or event.counts or event.bounds_ms:
        detail = "exponential: send it or bounds_ms with counts, not both"
        return Problem(Reason.BAD_HISTOGRAM, "exponential", detail)
    buckets = histogram.positive
    limit = EXPONENT_MAX * 2.0**histogram.scale
    if buckets.offset < -limit or buckets.offset + len(buckets.counts) > limit:
        detail = "exponential.positive.offset: durations beyond 2**-64 to 2**64 ms"
        return Problem(Reason.BAD_HISTOGRAM, "exponential.positive.offset", detail)
    return None


def _deploy(event: Deploy) -> Problem | None:
    """Deploys: keys of the scope and of the components are names, and few."""
    problem = _keys(event.scope, "scope", ATTRIBUTES_MAX)
    problem = problem or _keys(event.components, "components", VERSIONS_MAX)
    for name in event.components.values():
        problem = problem or _name_problem(name, "components")
    return problem


_NAMES: dict[type, Callable[[Any], tuple[str | None, ...]]] = {
    kind: attrgetter(*SHAPES[kind].names) for kind in KINDS
}
_SHARED: dict[str, Any] = {"seq": None, "sample_rate": 1.0, "changes": {}}
_NO_AGGREGATE: dict[type, dict[str, Any]] = {
    Usage: {**_SHARED, **dict.fromkeys(_USAGE_SUMS)},
    Error: {**_SHARED, **dict.fromkeys(_ERROR_SUMS)},
    Feedback: {**_SHARED, **dict.fromkeys(_FEEDBACK_SUMS)},
}
# For each kind what a single event leaves at its default: one comparison of
# tuples then stands for all checks but those of names and keys.
_USUAL: dict[type, tuple[Callable[[Any], Any], Any]] = {
    kind: (attrgetter(*fields), tuple(fields.values()))
    for kind, fields in _NO_AGGREGATE.items()
}
_UNUSUAL: tuple[Callable[[Any], Any], Any] = (lambda _event: False, True)
_CHECKS: dict[type, Callable[[Any], Problem | None]] = {
    Usage: _usage,
    Error: _error,
    Latency: _latency,
    Feedback: _feedback,
    Deploy: _deploy,
}
