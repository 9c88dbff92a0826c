"""Redaction: nothing personal survives, what decides survives."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from detector.decode import decode
from detector.events import Error, Event
from detector.fields import KINDS, SHAPES
from detector.identity import hash_identities
from detector.records import Rejected
from detector.redact import redact_bytes, redact_label, redact_text, redact_url, scrub
from tests.unit.detector.samples import SAMPLES, encoded

KEY = b"0123456789abcdef"
ADDRESS = "bob.o'neil+x@mail.example.com"
LEAKS = ("bob", "neil", "example.com")


def filled(kind: type[msgspec.Struct], text: str) -> msgspec.Struct:
    """An event with a text in every place that can hold text, checks aside."""
    shape = SHAPES[kind]
    values: dict[str, Any] = {
        f.name: 1 for f in msgspec.structs.fields(kind) if f.required
    }
    values |= dict.fromkeys(shape.names + shape.texts, text)
    values |= {field: [text, text] for field in shape.lists}
    values |= {field: {text: text} for field in shape.maps}
    for field in shape.structs:
        nested = next(s for s in SHAPES if s.__name__ == "PreviousSession")
        values[field] = filled(nested, text)
    return kind(**values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("around", ["{}", "call <{}>, now", "https://x.io/{}/y?m={}"])
def test_no_address_survives(kind: type[msgspec.Struct], around: str) -> None:
    """An address in any field is gone after scrubbing and hashing, in any order."""
    event = filled(kind, around.replace("{}", ADDRESS))
    for result in (
        hash_identities(scrub(event), KEY),
        scrub(hash_identities(event, KEY)),
    ):
        shown = msgspec.json.encode(result).decode()
        assert not [leak for leak in LEAKS if leak in shown]


@pytest.mark.parametrize("name", SAMPLES)
def test_clean_event_is_unchanged(name: str) -> None:
    """Scrubbing leaves an event without personal data as it is."""
    [event] = decode(encoded(name))
    assert not isinstance(event, Rejected)
    assert event == scrub(event)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call +49 171 1234567 now", "call [number] now"),
        ("4111 1111 1111 1111", "[number]"),
        ("card 4111111111111111.", "card [number]."),
        ("on 2024-01-15 10:20:30 it broke", "on 2024-01-15 10:20:30 it broke"),
        ("order 4711 of 12", "order 4711 of 12"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [token]"),
        ("x eyJhbGciOi.eyJzdWIi.abc_def y", "x [token] y"),
        ("password=hunter2&x=1", "password=[secret]&x=1"),
        ("bob%40example.com", "[email]"),
        ("jürgen@müller.example", "[email]"),
        ("render@main.chunk.js:1:2", "render@main.chunk.js:1:2"),
        ("https://u:p@h.io/x", "https://h.io/x"),
    ],
)
def test_personal_text_is_masked(text: str, expected: str) -> None:
    """Addresses, numbers and tokens are masked, the words around them stay."""
    assert expected == redact_text(text)
    assert expected == redact_text(expected)


def test_build_numbers_stay_distinct() -> None:
    """Labels keep build numbers and time stamps; cards and phones go."""
    assert "20240115103000" == redact_label("20240115103000")
    assert "12345678" == redact_label("12345678")
    assert "[number]" == redact_label("4111111111111111")
    assert "[number]" == redact_label("+49 171 1234567")


def test_url_loses_query_and_user() -> None:
    """A sample link keeps host and path alone."""
    url = "https://u:pw@shop.example/cart/4?mail=bob@example.com#frag"
    assert "https://shop.example/cart/4" == redact_url(url)


def test_digits_of_frames_are_kept() -> None:
    """A frame keeps its numbers: normalising it is the signature's task."""
    error = Error(ts=0, service="a", release="1", frames=["f (a.c:12345678)"])
    assert error == scrub(error)


@pytest.mark.parametrize(
    "value",
    [
        b'{"user":"alice","session":"s1","tenant":"acme","message":"bob@example.com"}',
        b'{"user":"alice","session":"s1","tenant":"acme","message":"bob@exam',
        b'{"user":"alice","session":12345,"tenant":"acme"} trailing',
        b'{"user": "ali\\"ce", "session" :"s1","t\xff":1',
        b'{"a":[{"key":"user.id","value":{"stringValue":"alice"}}]}',
        b'{"user_id":"alice","contexts":{"session":{"id":"s1"}}}',
        b'{"user":"alice',
        b"\xff\x00 bob@example.com",
    ],
)
def test_original_hides_the_person(value: bytes) -> None:
    """Whole, broken or foreign: identities are gone from the kept original."""
    shown = redact_bytes(value)
    for leak in ("alice", "ali", "acme", "s1", "bob", "12345", "example"):
        assert leak not in shown


def test_original_keeps_what_helps() -> None:
    """Numbers, counts and names that explain a rejection stay readable."""
    value = {"kind": "usage", "ts": -1, "sessions": 40, "users": 3, "service": "shop"}
    assert value == json.loads(redact_bytes(json.dumps(value).encode()))


def test_original_is_bounded() -> None:
    """Huge and deep input gives at most 2048 characters, none half an address."""
    address = b"bob@example.com "
    for value in (
        address * 200_000,
        b"[" * 100_000,
        b'["' + b"x" * 9000 + b'"]',
        b"x" * 8180 + b" bob@example.com" + b"y" * 2_000_000,
    ):
        shown = redact_bytes(value)
        assert len(shown) <= 2048
        assert "bob" not in shown


def test_decoded_event_can_be_scrubbed() -> None:
    """A decoded event passes both steps and is still a valid event."""
    [event] = decode(encoded("error", message="bob@example.com", user="alice"))
    assert not isinstance(event, Rejected)
    safe: Event = hash_identities(scrub(event), KEY)
    assert [safe] == decode(msgspec.json.encode(safe))
