"""Decoding: what is read, what is refused, and with which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from detector.decode import MEMBERS_MAX, RECORD_BYTES_MAX, Reason, decode, decode_edge
from detector.events import Latency, Tick, Usage
from detector.records import Rejected
from tests.unit.detector.samples import SAMPLES, TS, encoded, sketch

TICK = b'{"kind":"tick","ts":5,"service":"all"}'


def refused(value: bytes | None) -> Rejected:
    """The one rejection that a record gives."""
    [result] = decode(value)
    assert isinstance(result, Rejected)
    return result


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_decodes_whole(name: str) -> None:
    """A full object of every kind keeps every value it was sent with."""
    [event] = decode(encoded(name))
    expected = {k: v for k, v in SAMPLES[name].items() if k != "kind"}
    for field, value in expected.items():
        found = getattr(event, field)
        if not isinstance(value, dict) or isinstance(found, dict):
            assert value == found


def test_array_keeps_its_order() -> None:
    """Members of an array come out in the order they were sent."""
    value = b"[" + b",".join(encoded(name) for name in SAMPLES) + b"]"
    kinds = [type(event).__name__.lower() for event in decode(value)]
    assert [name.split("-")[0] for name in SAMPLES] == kinds


def test_unknown_fields_are_skipped() -> None:
    """What a newer version adds is skipped, nested as it may be."""
    [event] = decode(encoded("usage", new={"deep": [{"x": [1, None]}]}))
    assert isinstance(event, Usage)


def test_good_members_are_kept() -> None:
    """Of an array with bad members every good one is kept, in its place."""
    bad = [b'{"kind":"tick"}', b"5", b'{"kind":"nope"}', b'"x"', b"[]", b"null"]
    members = [m for pair in zip([TICK] * 6, bad, strict=True) for m in pair]
    results = decode(b"[" + b", ".join(members) + b"]")
    assert [Tick, Rejected] * 6 == [type(result) for result in results]


@pytest.mark.parametrize(
    "broken",
    [b'{"kind":"tick","ts":NaN,"service":"a"}', b'{"a":"\\ud800"}', b"{", b"", b"1 2"],
)
def test_broken_member_costs_itself(broken: bytes) -> None:
    """A member that is no JSON does not take its neighbours with it."""
    results = decode(b"[" + TICK + b"," + broken + (b"" if broken == b"{" else b"]"))
    assert isinstance(results[0], Tick)
    last = results[-1]
    assert len(results) < 2 or (isinstance(last, Rejected) and last.reason)


def test_truncated_array_keeps_whole_members() -> None:
    """Of an array cut off in a member the whole ones before it are kept."""
    results = decode((b"[" + TICK + b"," + TICK + b"," + TICK)[:-4])
    assert [Tick, Tick, Rejected] == [type(result) for result in results]


def test_bytes_after_array_are_refused() -> None:
    """What follows an array is refused, the array is kept."""
    results = decode(b"[" + TICK + b"] x")
    assert [Tick, Rejected] == [type(result) for result in results]


CASES: list[tuple[bytes | None, Reason, str]] = [
    (None, Reason.EMPTY, ""),
    (b"", Reason.EMPTY, ""),
    (b" \n", Reason.EMPTY, ""),
    (b"[]", Reason.EMPTY, ""),
    (b"{", Reason.NOT_JSON, ""),
    (b"\xef\xbb\xbf" + TICK, Reason.NOT_JSON, ""),
    (TICK + b" x", Reason.NOT_JSON, ""),
    (TICK + TICK, Reason.NOT_JSON, ""),
    (b"\xff\xfe\x00", Reason.NOT_JSON, ""),
    (b"5", Reason.WRONG_TYPE, ""),
    (b"null", Reason.WRONG_TYPE, ""),
    (b"[[1]]", Reason.WRONG_TYPE, ""),
    (b"{}", Reason.MISSING_FIELD, "kind"),
    (TICK.replace(b"tick", b"tock"), Reason.UNKNOWN_KIND, "kind"),
    (b'{"kind":"tick","kind":"usage","ts":1}', Reason.UNKNOWN_KIND, "kind"),
    (b'{"kind":5,"ts":1}', Reason.WRONG_TYPE, "kind"),
    (encoded("usage", ts=...), Reason.MISSING_FIELD, "ts"),
    (encoded("usage", ts="1"), Reason.WRONG_TYPE, "ts"),
    (encoded("usage", ts=1.5), Reason.WRONG_TYPE, "ts"),
    (encoded("usage", ts=True), Reason.WRONG_TYPE, "ts"),
    (encoded("usage", ts=-1), Reason.OUT_OF_RANGE, "ts"),
    (encoded("usage", ts=10**20), Reason.OUT_OF_RANGE, "ts"),
    (TICK.replace(b"5", b"1" * 5000), Reason.OUT_OF_RANGE, "ts"),
    (TICK.replace(b"5", b"1e999"), Reason.OUT_OF_RANGE, "ts"),
    (TICK.replace(b"5", b"NaN"), Reason.NOT_JSON, ""),
    (encoded("usage", seq=2**63), Reason.OUT_OF_RANGE, "seq"),
    (encoded("usage", sample_rate=0), Reason.OUT_OF_RANGE, "sample_rate"),
    (encoded("usage", sample_rate=1e-9), Reason.OUT_OF_RANGE, "sample_rate"),
    (encoded("usage", window_s=3601), Reason.OUT_OF_RANGE, "window_s"),
    (encoded("usage", outcome="bad"), Reason.UNKNOWN_WORD, "outcome"),
    (encoded("usage", user="x" * 5000), Reason.TOO_LONG, "user"),
    (encoded("error", frames=["x"] * 65), Reason.TOO_LONG, "frames"),
    (encoded("error", frames=["x", 3]), Reason.WRONG_TYPE, "frames"),
    (encoded("usage", service="a b"), Reason.BAD_NAME, "service"),
    (encoded("usage", service="a\n"), Reason.BAD_NAME, "service"),
    (encoded("usage", service=""), Reason.BAD_NAME, "service"),
    (encoded("usage", release="bob@example.com"), Reason.IDENTITY_IN_NAME, "release"),
    (encoded("usage", step="a@163.com"), Reason.IDENTITY_IN_NAME, "step"),
    (
        encoded("usage", previous_session={"release": "x", "outcome": "ok"}),
        Reason.MISSING_FIELD,
        "previous_session.started_ts",
    ),
    (
        encoded(
            "usage",
            previous_session={"release": "a@b.de", "outcome": "ok", "started_ts": 1},
        ),
        Reason.IDENTITY_IN_NAME,
        "previous_session.release",
    ),
    (
        encoded("deploy", components={"a": "b@c.de"}),
        Reason.IDENTITY_IN_NAME,
        "components",
    ),
    (encoded("error", message="a\0b"), Reason.NUL_CHARACTER, "message"),
    (encoded("error", frames=["a\0b"]), Reason.NUL_CHARACTER, "frames"),
    (encoded("usage", attrs={"a b": "x"}), Reason.BAD_ATTRIBUTE, "attrs"),
    (encoded("usage", attrs={"a@b.de": "x"}), Reason.IDENTITY_IN_NAME, "attrs"),
    (
        encoded("usage", attrs={f"a{i}": "x" for i in range(17)}),
        Reason.BAD_ATTRIBUTE,
        "attrs",
    ),
    (encoded("usage", changes={"": "x"}), Reason.BAD_ATTRIBUTE, "changes"),
    (encoded("deploy", scope={"a b": "x"}), Reason.BAD_ATTRIBUTE, "scope"),
    (encoded("usage", count=3), Reason.NO_WINDOW, "count"),
    (encoded("error-aggregate", window_s=0), Reason.NO_WINDOW, "count"),
    (encoded("feedback-aggregate", window_s=0), Reason.NO_WINDOW, "count"),
    (encoded("usage-aggregate", outcomes={"ok": 121}), Reason.BAD_COUNTS, "outcomes"),
    (encoded("usage-aggregate", outcomes={"no": 1}), Reason.UNKNOWN_WORD, "outcomes"),
    (encoded("feedback-aggregate", score_sum=51), Reason.BAD_COUNTS, "score_sum"),
    (encoded("feedback-aggregate", count=...), Reason.BAD_COUNTS, "score_sum"),
    (encoded("latency", counts=[1, 2, 3]), Reason.BAD_HISTOGRAM, "counts"),
    (encoded("latency", counts=..., bounds_ms=...), Reason.BAD_HISTOGRAM, "counts"),
    (encoded("latency", bounds_ms=[1, 1, 2]), Reason.BAD_HISTOGRAM, "bounds_ms"),
    (encoded("latency", bounds_ms=[-1, 1, 2]), Reason.BAD_HISTOGRAM, "bounds_ms"),
    (
        encoded("latency", exponential={"scale": 1}),
        Reason.BAD_HISTOGRAM,
        "exponential",
    ),
    (
        encoded(
            "latency-exponential",
            exponential={"scale": 0, "positive": {"offset": 10**30, "counts": [1]}},
        ),
        Reason.BAD_HISTOGRAM,
        "exponential.positive.offset",
    ),
    (
        encoded("usage-aggregate", users_sketch="AAAA"),
        Reason.BAD_SKETCH,
        "users_sketch",
    ),
    (
        TICK[:-1] + b',"id":"\xff"}',
        Reason.NOT_UTF8,
        "",
    ),
    (b'{"kind":"tick","x":' + b"[" * 100_000, Reason.TOO_DEEP, ""),
    (b"[" * 100_000, Reason.TOO_DEEP, ""),
    (b" " * RECORD_BYTES_MAX + TICK, Reason.TOO_LARGE, ""),
    (b"[" + b",".join([TICK] * (MEMBERS_MAX + 1)) + b"]", Reason.TOO_MANY, ""),
    (b"[" + b",".join([b"1"] * (MEMBERS_MAX + 1)) + b"]", Reason.TOO_MANY, ""),
]


@pytest.mark.parametrize(("value", "reason", "field"), CASES)
def test_bad_input_names_its_reason(
    value: bytes | None, reason: Reason, field: str
) -> None:
    """Each kind of bad input is refused with its reason, path and words."""
    result = refused(value)
    assert (reason, field) == (result.reason, result.field)
    assert result.detail
    assert len(result.original) <= 2048


def test_every_reason_is_provoked() -> None:
    """No reason is dead: each is provoked by a case above."""
    provoked = {reason for _, reason, _ in CASES} | {Reason.BAD_TIME}
    assert set(Reason) == provoked


@pytest.mark.parametrize("depth", [126, 127, 128, 129, 130, 500])
def test_depth_limit_is_exact(depth: int) -> None:
    """A record is refused for depth beyond 128, whatever the caller's stack."""
    nested = b"[" * (depth - 1) + b"]" * (depth - 1)
    value = b'{"kind":"tick","ts":5,"service":"all","x":' + nested + b"}"
    [result] = decode(value)
    assert (depth <= 128) == isinstance(result, Tick)


def test_brackets_in_text_are_no_depth() -> None:
    """Brackets inside strings do not count as nesting."""
    [event] = decode(encoded("error", message='[{\\"' * 400))
    assert not isinstance(event, Rejected)


def test_latency_may_be_instant() -> None:
    """A histogram without a window is a batch of one instant."""
    [event] = decode(encoded("latency", window_s=...))
    assert isinstance(event, Latency)


@pytest.mark.parametrize(
    "release", ["pkg@1.2.3", "pkg@1.2.3-rc.beta", "com.app@3.0.1+455", "a@v1.2.rc"]
)
def test_versioned_release_is_legal(release: str) -> None:
    """An @ before a version is a release name and no address."""
    [event] = decode(encoded("usage", release=release))
    assert isinstance(event, Usage)


def test_edge_times_become_milliseconds() -> None:
    """Edge formats may write times as RFC 3339 in every time field."""
    previous = {"release": "a", "outcome": "ok", "started_ts": "2023-11-14T22:13:20Z"}
    value = encoded(
        "usage",
        ts="2023-11-14T22:13:20Z",
        sent_at="2023-11-15T00:13:20.0079+02:00",
        received_at="2023-11-14T21:43:20.009-00:30",
        previous_session=previous,
    )
    [event] = decode_edge(value)
    assert isinstance(event, Usage)
    assert event.previous_session is not None
    assert (TS, TS + 7, TS + 9, TS) == (
        event.ts,
        event.sent_at,
        event.received_at,
        event.previous_session.started_ts,
    )


def test_edge_equals_log_elsewhere() -> None:
    """Without texts for times the edge decoder gives what the log's gives."""
    for value, _, _ in CASES:
        edge, log = decode_edge(value), decode(value)
        if not (isinstance(log[0], Rejected) and log[0].field == "ts"):
            assert log == edge


@pytest.mark.parametrize(
    "text",
    [
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-13-14T22:13:20Z",
        "now",
        "1700000000",
        "2023-11-14T22:13:20+24:00",
        "2023-11-14T24:00:00Z",
    ],
)
def test_bad_edge_time_is_named(text: str) -> None:
    """A time without offset, or none at all, is refused with its field."""
    [result] = decode_edge(encoded("usage", sent_at=text))
    assert isinstance(result, Rejected)
    assert (Reason.BAD_TIME, "sent_at") == (result.reason, result.field)


def test_leap_second_is_next_minute() -> None:
    """A leap second, which epoch time has none of, is the next second."""
    [event] = decode_edge(TICK.replace(b"5", b'"2016-12-31T23:59:60Z"'))
    assert isinstance(event, Tick)
    assert 1_483_228_800_000 == event.ts


def _damaged_sketches() -> list[str]:
    """Sketches whose counts do not fit: some ended the process when merged."""
    whole = base64.b64decode(sketch(3))
    list_overrun = whole[:6] + b"\xff" + whole[7:]
    four_bits = bytearray(base64.b64decode(sketch(5000, lg_k=6)))
    four_bits[41] = 0xFF
    huge = b"\x02\x01\x07\x15\x03\x08\x03\x08" + whole[8:]
    images = [list_overrun, bytes(four_bits), huge, whole[:-1], whole + b"\0"]
    return [base64.b64encode(image).decode() for image in images] + ["é", "A", " "]


@pytest.mark.parametrize("text", _damaged_sketches())
def test_damaged_sketch_is_refused(text: str) -> None:
    """A sketch that native code would misread never reaches it."""
    value = encoded("usage-aggregate", users_sketch=text)
    assert Reason.BAD_SKETCH == refused(value).reason


@pytest.mark.parametrize("users", [0, 1, 7, 8, 40, 1000, 100_000])
@pytest.mark.parametrize("lg_k", [4, 8, 12, 14, 16])
def test_whole_sketch_is_accepted(users: int, lg_k: int) -> None:
    """Sketches of every size and mode are accepted."""
    value = encoded("usage-aggregate", users_sketch=sketch(users, lg_k))
    assert isinstance(decode(value)[0], Usage)


def test_rejection_shows_no_address() -> None:
    """Neither the words nor the original of a rejection hold an address."""
    record: dict[str, Any] = {**SAMPLES["error"], "user": "bob"}
    for field in ("kind", "severity", "service", "ts", "message", "extra"):
        value = json.dumps({**record, "x": 0, field: "bob@example.com", "seq": -1})
        shown = refused(value.encode())
        assert "example.com" not in shown.original + shown.detail + shown.field
        assert '"bob"' not in shown.original
