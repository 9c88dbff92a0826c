"""Decoding is total: whatever the bytes, results, and good members are kept."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.decode import Reason, Result, decode, decode_edge
from detector.events import Event
from detector.jsonscan import is_too_deep
from detector.records import Rejected
from detector.redact import redact_bytes, redact_text
from tests.unit.detector.samples import SAMPLES, encoded

MUTATIONS = 10_000
SEED = 20_260_101
WHOLE = {name: encoded(name) for name in SAMPLES}
PLAIN: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Event)
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "x" * 100_000,
    "\ud800",
    "\0",
    [],
    {},
    [[[]]],
    {"a": {"a": 1}},
    float("nan"),
    "bob@example.com",
    "2024-01-01T00:00:00Z",
]


def flip(rng: random.Random, value: bytes) -> bytes:
    """Some bytes replaced."""
    data = bytearray(value)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cut(rng: random.Random, value: bytes) -> bytes:
    """The end, or a piece of the middle, missing."""
    start, end = sorted(rng.randrange(len(value)) for _ in range(2))
    return value[:start] if rng.random() < 0.5 else value[:start] + value[end:]


def swap(rng: random.Random, value: bytes) -> bytes:
    """One field with a value of another type, or a huge or odd one."""
    parsed = json.loads(value)
    parsed[rng.choice(list(parsed))] = rng.choice(ODD)
    return json.dumps(parsed).encode()


def wrong_kind(rng: random.Random, value: bytes) -> bytes:
    """The fields of one kind under the name of another, or of none."""
    kinds = ["usage", "error", "latency", "feedback", "deploy", "command", "tick"]
    kind = rng.choice([*kinds, "Usage", "", "x" * 300])
    return json.dumps({**json.loads(value), "kind": kind}).encode()


def nest(rng: random.Random, value: bytes) -> bytes:
    """One field nested up to 100,000 deep, closed or not."""
    depth = rng.choice([2, 64, 100, 127, 128, 129, 500, 1000, 3000, 100_000])
    opened, closed = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    tail = closed * depth if rng.random() < 0.7 else b""
    deep = b',"zz":' + opened * depth + b"1" + tail
    return value[:-1] + deep + b"}"


def join(rng: random.Random, value: bytes) -> bytes:
    """Stray bytes before, behind or between two records."""
    stray = rng.choice([b"", b" ", b"\xef\xbb\xbf", b"\0", b",", b"]", b"NaN"])
    return rng.choice([stray + value, value + stray, value + stray + value])


MUTATORS: list[Callable[[random.Random, bytes], bytes]] = [
    flip,
    cut,
    swap,
    wrong_kind,
    nest,
    join,
]


def mutated(count: int) -> list[tuple[str, bytes]]:
    """Seeded mutations over all kinds and mutators, in turn."""
    rng = random.Random(SEED)
    names = list(WHOLE)
    found = []
    for i in range(count):
        name = names[i % len(names)]
        mutator = MUTATORS[i // len(names) % len(MUTATORS)]
        found.append((mutator.__name__, mutator(rng, WHOLE[name])))
    return found


def acceptable(value: bytes) -> bool:
    """Whether bare msgspec, without our checks, accepts the bytes."""
    try:
        PLAIN.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def check(value: bytes, results: list[Result]) -> int:
    """Hold results against the rules of all results; count the events."""
    assert results
    rejected = [result for result in results if isinstance(result, Rejected)]
    for result in rejected:
        assert Reason(result.reason)
        assert result.detail
        assert "bob@example.com" not in result.original + result.detail
        assert len(result.original) <= 2048
    return len(results) - len(rejected)


@pytest.mark.slow
def test_mutated_records_never_crash() -> None:
    """10,000 mutations: each is an event or a rejection with its reason."""
    seen = {"events": 0, "rejected": 0}
    for _, value in mutated(MUTATIONS):
        events = check(value, decode(value))
        check(value, decode_edge(value))
        if not value.lstrip().startswith(b"["):
            assert not events or acceptable(value)
        seen["events" if events else "rejected"] += 1
    # The mutations must exercise both answers, else the test shows nothing.
    assert seen["events"] > MUTATIONS // 20
    assert seen["rejected"] > MUTATIONS // 4


def test_good_members_survive_mutants() -> None:
    """Good members around 10,000 mutants are kept, as long as brackets match."""
    good = b'{"kind":"tick","ts":%d,"service":"all"}'
    batch: list[bytes] = []
    expected: list[int] = []
    for i, (kind, value) in enumerate(mutated(MUTATIONS)):
        if kind in ("flip", "cut", "join", "nest") or len(value) > 5_000:
            continue  # these can move the borders between members themselves
        batch += [good % i, value]
        expected.append(i)
        if len(batch) == 40:
            record = b"[" + b",".join(batch) + b"]"
            ticks = [
                r.ts
                for r in decode(record)
                if not isinstance(r, Rejected) and r.service == "all" and r.ts < 10_000
            ]
            assert [t for t in ticks if t in set(expected)] == expected
            batch, expected = [], []


def test_members_before_damage_are_kept() -> None:
    """However the rest of an array is damaged, whole members before it stay."""
    tick = b'{"kind":"tick","ts":5,"service":"all"}'
    for kind, value in mutated(2_000):
        record = b"[" + tick + b"," + tick + b"," + value + b"]"
        results = decode(record)
        if kind != "nest" and len(record) < 1_000_000:
            assert not isinstance(results[0], Rejected)
            assert not isinstance(results[1], Rejected)


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_results(value: bytes) -> None:
    """Any bytes give results, alone and as the member of an array."""
    check(value, decode(value))
    check(value, decode(b"[" + value + b"]"))
    check(value, decode_edge(value))
    redact_bytes(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.dictionaries(
        st.sampled_from(sorted({f for s in SAMPLES.values() for f in s})),
        JSON,
        max_size=3,
    ),
)
@settings(max_examples=500, deadline=None)
def test_accepted_events_read_back(name: str, changes: dict[str, Any]) -> None:
    """What is accepted, written again, is read as the same event."""
    value = json.dumps({**SAMPLES[name], **changes}).encode()
    for result in decode(value):
        if not isinstance(result, Rejected):
            assert [result] == decode(msgspec.json.encode(result))


@given(st.lists(st.sampled_from(["[", "]", "{", "}", '"', "\\", "a", ","])))
@settings(max_examples=300, deadline=None)
def test_shallow_text_is_never_deep(parts: list[str]) -> None:
    """A string full of brackets is no nesting, however it is escaped."""
    value = json.dumps({"a": "".join(parts) * 40}).encode()
    assert not is_too_deep(value)


@given(st.text(max_size=200))
@settings(max_examples=500, deadline=None)
def test_redaction_keeps_length_bounded(text: str) -> None:
    """Masking terminates and does not blow text up."""
    assert len(redact_text(text)) <= 4 * len(text) + 10


@pytest.mark.parametrize("size", [100_000])
@pytest.mark.parametrize("unit", ["a@", "@a.", "1 ", "a.", "+1(", "://", "x=", "eyJ."])
def test_hostile_text_is_linear(size: int, unit: str) -> None:
    """Texts made against regular expressions are masked without a blow-up.

    Quadratic time would take minutes here; the suite's own limit would end it.
    """
    assert isinstance(redact_text(unit * (size // len(unit))), str)
