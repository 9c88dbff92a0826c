"""Why input was refused: one word per cause, and where the cause lies."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from detector.redact import redact_text

DETAIL_CHARS_MAX = 300


class Reason(StrEnum):
    """Why a record was refused; the word is a label of metrics, so few of them."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    NOT_UTF8 = "not_utf8"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_WORD = "unknown_word"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    BAD_NAME = "bad_name"
    BAD_TIME = "bad_time"
    IDENTITY_IN_NAME = "identity_in_name"
    NUL_CHARACTER = "nul_character"
    BAD_ATTRIBUTE = "bad_attribute"
    NO_WINDOW = "no_window"
    BAD_COUNTS = "bad_counts"
    BAD_HISTOGRAM = "bad_histogram"
    BAD_SKETCH = "bad_sketch"


class Problem(NamedTuple):
    """What is wrong with one object: reason, dotted path, words with the fix."""

    reason: Reason
    field: str
    detail: str


_PLACE = re.compile(r" - at (?:`key` in )?`\$([^`]*)`\Z")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")

# Beginning of msgspec's message -> reason. The first that fits decides; a test
# provokes each of them, so a changed wording in a new version is noticed.
_WORDINGS: tuple[tuple[re.Pattern[str], Reason], ...] = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"Object missing required field", Reason.MISSING_FIELD),
        (r"Invalid value .* - at `\$\.kind`\Z", Reason.UNKNOWN_KIND),
        (r"Invalid enum value", Reason.UNKNOWN_WORD),
        (r"Expected `str` matching regex", Reason.BAD_NAME),
        (r"Expected `(?:str|array|object)` of length", Reason.TOO_LONG),
        (r"Expected `(?:int|float)` [<>]", Reason.OUT_OF_RANGE),
        (r"(?:Number|Integer value) out of range", Reason.OUT_OF_RANGE),
        (r"Expected `", Reason.WRONG_TYPE),
    )
)
_JSON_HELP = "send JSON in UTF-8, without byte order mark, NaN or trailing bytes"
NAME_HELP = (
    "a name has 1 to 128 of the characters A-Z a-z 0-9 . _ + / @ : -, "
    "a letter or digit first"
)


def problem_of_error(error: Exception) -> Problem:
    """The problem behind an exception of the JSON decoder."""
    if isinstance(error, RecursionError):
        return Problem(Reason.TOO_DEEP, "", "nested too deeply; flatten the object")
    if isinstance(error, UnicodeDecodeError):
        return Problem(Reason.NOT_UTF8, "", "a string is not UTF-8; encode it as such")
    text = str(error)
    place = _PLACE.search(text)
    field = _dotted(place.group(1)) if place else ""
    missing = _MISSING.match(text)
    if missing:
        field = f"{field}.{missing.group(1)}".lstrip(".")
    for pattern, reason in _WORDINGS:
        if pattern.match(text):
            return Problem(reason, field, _detail(reason, text, field))
    return Problem(Reason.NOT_JSON, field, _clip(f"{text}; {_JSON_HELP}"))


def _dotted(place: str) -> str:
    """``$.attrs[...].x`` of msgspec as the dotted path ``attrs.x``."""
    return re.sub(r"\[[^\]]*\]", "", place).lstrip(".")


def _detail(reason: Reason, text: str, field: str) -> str:
    """The decoder's words with the fix, and nothing personal of the input."""
    where = f"{field}: " if field else ""
    words = _PLACE.sub("", text)
    if reason is Reason.BAD_NAME:
        return where + NAME_HELP
    if reason is Reason.MISSING_FIELD:
        return f"{where}the field is required; add it"
    if reason in (Reason.UNKNOWN_KIND, Reason.UNKNOWN_WORD):
        words += "; docs/events.md lists the words"
    return _clip(where + words)


def _clip(text: str) -> str:
    """Masked and bounded: the decoder quotes the input in some messages."""
    return redact_text(text[: 4 * DETAIL_CHARS_MAX])[:DETAIL_CHARS_MAX]
