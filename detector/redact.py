"""Personal data and secrets out of events, and out of what is set aside.

Masking is by pattern: it catches what has a form (addresses, phone and card
numbers, tokens), not a person's name in a sentence. ``scrub`` treats free text;
the identities and ids are ``detector.identity``'s, and both together leave no
e-mail address in any field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from detector import patterns
from detector.fields import SHAPES
from detector.identity import HASHED_WHEN_ADDRESS, IDENTITIES

ORIGINAL_CHARS_MAX = 2048
_WINDOW_BYTES = 4 * ORIGINAL_CHARS_MAX
_PARSED_BYTES_MAX = 1_048_576
_DEPTH_MAX = 24

_PLAIN = re.compile(r"[A-Za-z_-]{0,12}\d{0,4}\Z")
_SKIPPED = frozenset(IDENTITIES + HASHED_WHEN_ADDRESS)
_LABELS = frozenset({"attrs", "changes", "scope", "components"})
_REFERENCES = frozenset({"artifact", "depends_on", "rules_text", "rules_hash"})

AnyEvent = TypeVar("AnyEvent", bound=msgspec.Struct)
_Mask = Callable[[str], str]


def redact_text(text: str) -> str:
    """The text with addresses, phone and card numbers and tokens masked.

    Examples
    --------
    >>> redact_text("no mail for bob@example.com, call +49 171 1234567")
    'no mail for [email], call [number]'
    """
    if _PLAIN.match(text):
        return text
    text = patterns.mask_secrets(patterns.mask_addresses(text))
    return patterns.mask_numbers(text)


def redact_label(text: str) -> str:
    """A label or version without personal data; build numbers stay distinct."""
    if _PLAIN.match(text):
        return text
    text = patterns.mask_secrets(patterns.mask_addresses(text))
    return patterns.mask_cards(text)


def redact_reference(text: str) -> str:
    """A reference with addresses and tokens masked and its digits kept."""
    return patterns.mask_secrets(patterns.mask_addresses(text))


def redact_url(url: str) -> str:
    """A sample link without credentials, query, fragment and addresses.

    Examples
    --------
    >>> redact_url("https://bob:pw@shop.example/cart/4?mail=bob@example.com")
    'https://shop.example/cart/4'
    """
    return redact_text(patterns.drop_query(url))


def _redact_name(name: str) -> str:
    """A name; decoding refuses one with an address, this is the second lock."""
    return "address.masked" if patterns.name_holds_address(name) else name


_SPECIAL: dict[str, _Mask] = {
    "url": redact_url,
    "change_url": redact_reference,  # its query names the change: masked, not cut
    "users_sketch": patterns.mask_addresses,
    **dict.fromkeys(_LABELS, redact_label),
    **dict.fromkeys(_REFERENCES, redact_reference),
}


def scrub(event: AnyEvent) -> AnyEvent:
    """The event with every free text masked; ids are hashed by ``identity``.

    Frames keep their numbers, because a signature is made of them and its
    normalisation removes what varies. The ``rules_text`` of a command loses
    addresses too, and then no longer matches its hash: rule sets enter the log
    directly, not through an ingress that scrubs.
    """
    shape = SHAPES.get(type(event))
    if shape is None:
        return event
    changes: dict[str, Any] = {}
    for field in shape.names:
        _put(changes, event, field, _redact_name)
    for field in shape.texts:
        if field not in _SKIPPED:
            _put(changes, event, field, _SPECIAL.get(field, redact_text))
    for field in shape.lists:
        _put(changes, event, field, _for_list(_SPECIAL.get(field, redact_reference)))
    for field in shape.maps:
        _put(changes, event, field, _for_map(_SPECIAL.get(field, redact_text)))
    for field in shape.structs:
        _put(changes, event, field, scrub)
    return msgspec.structs.replace(event, **changes) if changes else event


def _put(
    changes: dict[str, Any],
    event: msgspec.Struct,
    field: str,
    mask: Callable[[Any], Any],
) -> None:
    """Note the masked value of a field where masking changes it."""
    value = getattr(event, field)
    if not value:
        return
    masked = mask(value)
    if masked != value:
        changes[field] = masked


def _for_list(mask: _Mask) -> Callable[[list[str]], list[str]]:
    """The mask applied to each text of a list."""
    return lambda texts: [mask(text) for text in texts]


def _for_map(mask: _Mask) -> Callable[[dict[str, str]], dict[str, str]]:
    """The mask applied to the values of an object, whose keys are names."""
    return lambda items: {_redact_name(k): mask(v) for k, v in items.items()}


_PERSONAL = re.compile(
    r"user|session|tenant|mail|phone|passw|secret|token|cookie|authoriz|^did$|^sid$"
    r"|(?:^|[._])ip(?:$|[._])|ip_?addr",
    re.IGNORECASE,
)
_COUNTED = frozenset({"users", "sessions", "previous_session", "user_agent"})
_PERSONAL_PAIR = re.compile(
    r'("[^"\\]{0,64}(?:user|session|tenant|mail|phone|passw|secret|token|cookie'
    r'|authoriz)(?!s"|s_)[^"\\]{0,64}"\s{0,9}:\s{0,9})'
    r'(?:"(?:[^"\\]|\\.)*"?|[^,{}\[\]\s"]+)',
    re.IGNORECASE | re.DOTALL,
)
_CUT_ADDRESS = re.compile(r"[\w.+-]{1,64}(?:@|%40)[\w.-]{0,256}\Z")
_CUT_WORD = re.compile(r"""[^\s",;]{1,256}\Z""")
_END_CHARS = 320
_MASKED = "[masked]"


def redact_bytes(value: bytes) -> str:
    """What may be kept of a record that was refused, for the dead-letter topic.

    JSON is parsed, values under keys that name a person or a secret are masked
    whole and every other string is masked by pattern. Anything else, or JSON
    that is broken, is masked by pattern as text. At most 2048 characters.
    """
    if len(value) <= _PARSED_BYTES_MAX:
        try:
            parsed = msgspec.json.decode(value)
            text = msgspec.json.encode(_mask_json(parsed, 0)).decode()
        except (ValueError, RecursionError, msgspec.MsgspecError):
            # Broken JSON is what this function is for: it is text from here on.
            text = _mask_broken(value)
    else:
        text = _mask_broken(value)
    if len(text) <= ORIGINAL_CHARS_MAX:
        return text
    return text[: ORIGINAL_CHARS_MAX - 1] + "…"


def _mask_json(value: Any, depth: int) -> Any:
    """A parsed value with personal keys masked whole and strings by pattern."""
    if depth > _DEPTH_MAX:
        return "[too deep]"
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return [_mask_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return _mask_object(value, depth)
    return value


def _mask_object(value: dict[str, Any], depth: int) -> dict[str, Any]:
    """One JSON object, OpenTelemetry's ``{"key": ..., "value": ...}`` included."""
    named = value.get("key")
    pair = isinstance(named, str) and _is_personal(named)
    masked = {}
    for key, item in value.items():
        hide = _is_personal(key) or (pair and key == "value")
        text = redact_text(key)
        masked[text] = _MASKED if hide and item else _mask_json(item, depth + 1)
    return masked


def _is_personal(key: str) -> bool:
    """Whether a key names a person or a secret, and not a count of them."""
    return key not in _COUNTED and _PERSONAL.search(key) is not None


def _mask_broken(value: bytes) -> str:
    """Text that is not JSON, masked by pattern; only its beginning is kept."""
    head = value[:_WINDOW_BYTES]
    text = head.decode("utf-8", "replace").replace("\0", "\ufffd")
    # A cut may fall into an address, which then no longer looks like one. Only
    # the end can be cut, and expressions tied to the end are slow elsewhere.
    text, end = text[:-_END_CHARS], text[-_END_CHARS:]
    if len(head) < len(value):
        end = _CUT_WORD.sub("", end)
    text = _PERSONAL_PAIR.sub(
        rf'\1"{_MASKED}"', text + _CUT_ADDRESS.sub("[email]", end)
    )
    return redact_text(text)
