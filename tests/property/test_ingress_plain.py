"""The quick way into the log gives the bytes of the long way, whatever comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.decode import decode
from detector.identity import IdentityHasher, hash_identity
from detector.records import Rejected
from streams.ingress import pack as packing
from streams.ingress.codecs import CODECS
from streams.ingress.pack import Packed, Packer, Raw

KEY = b"0123456789abcdef"
USAGE, DEPLOYS = "t.usage", "t.deploys"
INGRESS = {USAGE: CODECS["usage"], DEPLOYS: CODECS["deploys"]}

TEXTS = st.sampled_from(
    [
        "",
        "plain",
        "bob@example.org",
        "bob%40example.org",
        "call +49 171 1234567",
        "password=hunter22",
        "https://bob:pw@shop.example/cart/4?mail=bob@example.org#x",
        'quote " and \\ and \u2028 and é',
        "nul \0 inside",
        "h:0123456789abcdef",
        "h:0123456789abcdeX",
        "4111111111111111",
        "x" * 600,
    ]
)
NAMES = st.sampled_from(["shop", "shop@2.31", "pay", "bob@example.org", "bad name", ""])
LABELS = st.dictionaries(
    st.sampled_from(["os", "region", "bad key", "a@b.org"]), TEXTS, max_size=3
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "service": NAMES,
    "release": NAMES,
    "environment": st.sampled_from(["production", "staging", ""]),
    "attrs": LABELS,
    "id": TEXTS,
    "user": TEXTS,
    "session": TEXTS,
    "trace_id": TEXTS,
    "tenant": TEXTS,
    "url": TEXTS,
    "sender": TEXTS,
    "seq": st.integers(0, 3),
    "sent_at": st.sampled_from([5, "2024-01-15T10:20:30Z"]),
    "received_at": st.just(7),
    "component": NAMES,
    "window_s": st.sampled_from([0, 10]),
    "unheard_of": st.just({"a": [1]}),
}
KINDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "usage": {
        "unit": st.sampled_from(["request", "session", "nonsense"]),
        "outcome": st.sampled_from(["ok", "server_error", "bad"]),
        "duration_ms": st.sampled_from([0, 12.5, -1]),
        "count": st.just(3),
    },
    "error": {
        "severity": st.sampled_from(["error", "fatal", "bad"]),
        "signature": TEXTS,
        "type": TEXTS,
        "message": TEXTS,
        "frames": st.lists(TEXTS, max_size=2),
        "handled": st.booleans(),
    },
    "deploy": {"phase": st.just("started"), "actor": TEXTS},
}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event of some kind with some of its fields, sound or not."""
    kind = draw(st.sampled_from(["usage", "usage", "error", "deploy"]))
    event: dict[str, Any] = {
        "kind": kind,
        "ts": draw(st.sampled_from([1_700_000_000_000, "2024-01-15T10:20:30Z", -1])),
        "service": "shop",
        "release": "1.2",
    }
    event["ts"] = draw(st.sampled_from([event["ts"], 1_700_000_000_000]))
    fields = COMMON | KINDS[kind]
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=5)):
        event[name] = draw(fields[name])
    return event


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    """The value of a message: an event, an array of them, or nothing of the sort."""
    some = draw(st.lists(events(), min_size=1, max_size=3))
    whole: object = some[0] if draw(st.booleans()) else some
    text = json.dumps(whole, ensure_ascii=draw(st.booleans())).encode()
    broken = st.sampled_from([None, b"", b"\xff", b"[]", b"{", b"null", text[:-1]])
    return draw(st.one_of(st.just(text), st.just(text), broken))


MESSAGES = st.lists(
    st.tuples(st.sampled_from([USAGE, USAGE, DEPLOYS]), values()), max_size=8
).map(
    lambda some: [
        Raw(topic, 2, offset, 1_700_000_000_500 + offset, value)
        for offset, (topic, value) in enumerate(some)
    ]
)


def packed(messages: list[Raw], step: int) -> Packed:
    packer = Packer(INGRESS, KEY)
    for low in range(0, len(messages), step):
        packer.add(messages[low : low + step])
    return packer.take()


@settings(deadline=None, max_examples=150)
@given(MESSAGES, st.integers(1, 4))
def test_quick_way_gives_same_bytes(messages: list[Raw], step: int) -> None:
    """Records, dead letters and counts are those of decoding everything whole,
    however many messages are taken at a time."""
    quick = packed(messages, step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "read_many", lambda values: [None] * len(values))
        slow = packed(messages, 1)
    assert quick == slow


@settings(deadline=None, max_examples=100)
@given(MESSAGES)
def test_what_enters_decodes_again(messages: list[Raw]) -> None:
    """The core refuses nothing of what ingress has written."""
    for _, value in packed(messages, 3).records:
        assert not any(isinstance(found, Rejected) for found in decode(value))


@given(st.lists(st.text(max_size=200), max_size=20), st.integers(1, 3))
def test_remembered_hashes_are_the_same(texts: list[str], remembered: int) -> None:
    """A hash is the same from memory, after forgetting and for the first time."""
    hasher = IdentityHasher(KEY * 5, remembered)
    for text in texts + texts:
        assert hasher.hash(text) == hash_identity(text, KEY * 5)


def test_usual_event_takes_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event as most are is not decoded whole: without this, speed is lost unseen."""
    monkeypatch.setattr(packing, "DECODERS", {})
    event = {
        "kind": "usage",
        "ts": 1_700_000_000_000,
        "service": "shop",
        "release": "shop@1.2",
        "attrs": {"os": "ios"},
        "user": "ann",
        "session": "s-1",
        "url": "https://shop.example/cart",
    }
    error = {**event, "kind": "error", "message": "boom", "frames": ["a.py:3"]}
    messages = [
        Raw(USAGE, 0, n, 5, json.dumps(one).encode())
        for n, one in enumerate([event, error, [event, error]])
    ]
    assert sum(packed(messages, 9).counts.values()) == 4
