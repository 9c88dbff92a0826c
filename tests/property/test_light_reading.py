"""Reading events quickly: what is read together is what each record says alone."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector import decode as decoding
from detector.decode import decode
from detector.events import Event
from detector.groups import linereading
from detector.groups.columns import Columns
from detector.groups.frames import Frames
from detector.groups.light import key_of, read, read_many, read_sound, shape_of
from detector.groups.ones import plus_ones
from detector.records import LogRecord, Rejected
from tests.unit.detector.samples import SAMPLES

TS = 1_767_225_600_000
NEEDED = ("kind", "ts", "service", "release")
PIECES = [
    b'{"kind":"usage","ts":1767225600000,"service":"a","release":"1"}',
    b'{"kind":"error","ts":1767225600001,"service":"a","release":"1","type":"E"}',
    b'[{"kind":"usage","ts":1767225600000,"service":"a","release":"1"},'
    b'{"kind":"usage","ts":1767225600009,"service":"b","release":"1"}]',
    b'{"kind":"usage","ts":1767225600000,\n"service":"a","release":"1"}',
    b'{"kind":"usage","ts":1,"service":"a","release":"1","id":"x\\u0000"}',
    b'{"kind":"usage","ts":1,"service":"a","release":"1","message":"},{"}',
    b'{"kind":"usage","ts":1767225600000,"service":"a","attrs":{"ts":"},{"},'
    b'"release":"1"}',
    b'{"kind":"usage","attrs":[{}',
    b'{"b":1}]}',
    b'{"kind":"usage","service":"a","attrs":{',
    b'},"release":"1","ts":1767225600000}',
    b'{"kind":"tick","ts":1767225600000,"service":"all"}',
    b'{"kind":"tick","ts":1767225600000,"service":"a","sender":"c"}',
    b'{"kind":"usage","ts":1,"window_s":9,"count":5,"service":"a","release":"1"}',
    b'{"kind":"usage","ts":1,"count":5,"service":"a","release":"1"}',
    b'[{"kind":"usage","ts":1,"window_s":9,"count":5,"service":"a","release":"1"},'
    b'{"kind":"error","ts":1,"window_s":9,"users":5,"service":"a","release":"1"}]',
    b'{"kind":"latency","ts":1,"service":"a","release":"1","counts":[1,2],'
    b'"bounds_ms":[5]}',
    b'{"kind":"latency","ts":1,"service":"a","release":"1","counts":[1,2]}',
    b'{"kind":"latency","ts":1,"service":"a","release":"1","counts":[1,2,3],'
    b'"bounds_ms":[5,1e999]}',
    b"[]",
    b"{}",
    b"",
    b"\n",
    b"}\n{",
]


def alone(value: bytes | None) -> list[Event] | None:
    """What one record says by itself."""
    if value is None:
        return None
    return [*(read_sound(value) or linereading.read_sound(value) or [])] or None


def columns_of(values: list[bytes | None]) -> Columns:
    """The records as columns."""
    return Columns([LogRecord(i, TS, None, v) for i, v in enumerate(values)], 0)


def together(values: list[bytes | None]) -> list[list[Event] | None]:
    """What the columns say that each record holds."""
    columns = columns_of(values)
    found: list[list[Event] | None] = []
    for begin, end in zip(columns.start, columns.start[1:], strict=False):
        rows = [columns.event(row) for row in range(begin, end)]
        assert [event.end_ms for event in rows] == columns.end[begin:end].tolist()
        found.append([*rows] or None)
    return found


@settings(max_examples=400, deadline=None)
@given(st.lists(st.none() | st.sampled_from(PIECES), min_size=1, max_size=8))
def test_records_do_not_lean_on_neighbours(values: list[bytes | None]) -> None:
    """Halves of records, doubled ones and odd line breaks stay what they are."""
    assert together(values) == [alone(value) for value in values]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        b'{"kind":"usage","ts":%d,"service":"a","release":"1"}',
                        b'{"ts":%d,"kind":"error","service":"a","release":"1"}',
                        b'{"service":"a","release":"2","kind":"usage","ts":%d}',
                        b'{"service":"a","release":"2","kind":"usage", "ts":%d}',
                        b'{"kind":"usage","service":"ts","release":"1","ts":%d,'
                        b'"attrs":{"a":"}"}}',
                        b'{"kind":"usage","ts":%d.5,"service":"a","release":"1"}',
                        b'{"kind":"usage","ts":%d,"ts":1767225600000,"service":"a",'
                        b'"release":"1"}',
                    ]
                ),
                st.integers(TS, TS + 5) | st.sampled_from([1, 10**13, 10**12 - 1]),
            ),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_frames_agree_with_the_parser(
    drawn: list[list[tuple[bytes, int]]], has_arrays: bool
) -> None:
    """What is put together from known texts is what parsing gives."""
    values: list[bytes | None] = []
    for one in drawn:
        members = [text % ts for text, ts in one]
        values.append(b"[" + b",".join(members) + b"]" if has_arrays else members[0])
    for _ in range(2):
        found = Frames().read(values)
        if found is not None:
            read_apart = [e for part in read_many(values) for e in _members(part)]
            assert found.ts.tolist() == [e.ts for e in read_apart]
            shapes = [found.shapes[i] for i in found.shape.tolist()]
            assert shapes == [shape_of(key_of(e)) for e in read_apart]
            assert [found.event(i) for i in range(len(read_apart))] == read_apart
    assert together(values) == [alone(value) for value in values]


def _members(part: object) -> list:  # type: ignore[type-arg]
    return part if isinstance(part, list) else [part]


def test_alike_events_are_framed() -> None:
    """Events that differ in time alone are read from known texts."""
    text = b'{"kind":"usage","ts":%d,"service":"a","release":"1"}'
    values = [b"[" + b",".join([text % (TS + i)] * 3) + b"]" for i in range(5)]
    found = Frames().read(values)
    assert found is not None
    assert found.counts.tolist() == [3] * 5


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_light_events_equal_whole_ones(name: str) -> None:
    """Whatever is read the light way equals what the decoder of all events gives."""
    sample = SAMPLES[name]
    rng = random.Random(7)
    light = summed = 0
    for _ in range(200):
        drawn = [*rng.sample(sorted(sample), min(3, len(sample))), *NEEDED]
        kept = {field: sample[field] for field in drawn if field in sample}
        value = msgspec.json.encode(kept)
        events = read_sound(value)
        if events is not None:
            light += 1
            assert events == decoding._decode(value, decoding._typed)
        found = linereading.read_sound(value)
        if found is not None:
            summed += 1
            assert found == decoding._decode(value, decoding._typed)
    kind = name.split("-")[0]
    assert bool(light) == (kind in ("usage", "error"))
    assert bool(summed) == (kind in ("usage", "error", "latency"))


@pytest.mark.parametrize(
    "fault",
    [
        {"service": "bad name"},
        {"service": "name\n"},
        {"release": "x@y.example"},
        {"service": ""},
        {"release": ""},
        {"environment": ""},
        {"attrs": {"bad key": "1"}},
        {"attrs": {f"a{i}": "1" for i in range(17)}},
        {"attrs": {"a": 1}},
        {"id": ""},
        {"session": "s" * 4097},
        {"outcome": "fine"},
        {"ts": -1},
        {"count": 5},
    ],
)
def test_unsound_events_are_refused_alike(fault: dict[str, object]) -> None:
    """A fault is found and named as the decoder of all events does."""
    good = {"kind": "usage", "ts": TS, "service": "a", "release": "1"}
    value = msgspec.json.encode([good, {**good, **fault}])
    found = decode(value)
    assert found == decoding._decode(value, decoding._typed)
    assert isinstance(found[1], Rejected)
    assert together([value]) == [None]


GOOD_LINE = {"kind": "usage", "ts": TS, "service": "a", "release": "1", "window_s": 10}
HISTOGRAM = {"kind": "latency", "bounds_ms": [1, 5], "counts": [1, 2, 3]}


@pytest.mark.parametrize(
    "fault",
    [
        {"service": "bad name"},
        {"service": "name\n"},
        {"attrs": {"bad key": "1"}},
        {"window_s": 0, "count": 5},
        {"window_s": 0, "users": 5},
        {"window_s": 3601},
        {"count": -1},
        {"count": 5, "outcomes": {"ok": 6}},
        {"outcomes": {"fine": 6}},
        {"seq": 2**63},
        {**HISTOGRAM, "counts": [1, 2]},
        {**HISTOGRAM, "bounds_ms": [5, 1]},
        {**HISTOGRAM, "exponential": {"scale": 3}},
        {"kind": "latency", "exponential": {"scale": 0, "positive": {"offset": 99}}},
    ],
)
def test_unsound_lines_are_refused_alike(fault: dict[str, object]) -> None:
    """A fault of a line is found and named as the decoder of all events does."""
    value = msgspec.json.encode([GOOD_LINE, {**GOOD_LINE, **fault}])
    found = decode(value)
    assert found == decoding._decode(value, decoding._typed)
    assert isinstance(found[1], Rejected)
    assert together([value]) == [None]


@pytest.mark.parametrize(
    "more",
    [
        {"sample_rate": 0.5},
        {"count": 2_000_000_000},
        {"seq": 5},
        {"duration_ms": 3.5},
        {"changes": {"flag": "on"}},
        {"step": "pay"},
        {"synthetic": True},
    ],
)
def test_uncommon_lines_go_the_long_way(more: dict[str, object]) -> None:
    """What sums alone do not say is left to the decoder of all events."""
    value = msgspec.json.encode([GOOD_LINE, {**GOOD_LINE, **more}])
    assert together([value]) == [None]
    assert decode(value) == decoding._decode(value, decoding._typed)


def test_escaped_nul_is_not_light() -> None:
    """A text that may hold NUL goes to the decoder that looks for it."""
    value = b'{"kind":"usage","ts":1,"service":"a","release":"1","id":"x\\u0000"}'
    assert read(value) is None
    assert isinstance(decode(value)[0], Rejected)


@given(st.floats(0, 1e6), st.integers(0, 3_000))
def test_ones_add_up_exactly(value: float, count: int) -> None:
    """Many ones in one step give the bits of one after the other."""
    expected = value
    for _ in range(count):
        expected += 1.0
    assert plus_ones(value, count) == expected
