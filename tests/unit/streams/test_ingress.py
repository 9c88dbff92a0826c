"""Ingress: what enters the log, what is refused, and when offsets may be done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from detector.decode import decode
from detector.edge import BYTES_MAX, EVENT_BYTES_MAX, EVENTS_MAX
from detector.events import Usage
from detector.records import Output
from streams.halt import Exit
from streams.ingress.agents import unharmed
from streams.ingress.codecs import CODECS, DECODERS
from streams.ingress.door import Door
from streams.ingress.pack import Raw, pack
from streams.ingress.sink import TooLargeError
from streams.progress import Counted, Counters
from streams.settings import Settings
from streams.topics import INGRESS
from tests.unit.streams.rig import Halted, halt

KEY = b"0123456789abcdef"
USAGE = "hypercare.usage"
NATIVE = {"t": CODECS["usage"]}


def usage(service: str = "shop", **more: object) -> dict[str, object]:
    return {
        "kind": "usage",
        "ts": 1_700_000_000_000,
        "service": service,
        "release": "1.2.3",
        **more,
    }


def raw(*events: dict[str, object], offset: int = 0, topic: str = "t") -> Raw:
    value = json.dumps(events[0] if len(events) == 1 else events).encode()
    return Raw(topic, 2, offset, 1_700_000_000_500, value)


def members(value: bytes) -> list[dict[str, Any]]:
    found = json.loads(value)
    assert isinstance(found, list)
    return found


def test_every_ingress_topic_has_a_codec() -> None:
    """Topics, codecs and decoders name the same things."""
    assert set(CODECS) == set(INGRESS)
    assert {ingress.codec for ingress in CODECS.values()} <= set(DECODERS)


def test_events_are_packed_per_service() -> None:
    """Events of one service share an array, in their order, keyed by service."""
    messages = [raw(usage("a", id="1"), usage("b", id="2")), raw(usage("a", id="3"))]
    packed = pack(messages, NATIVE, KEY)
    assert [key for key, _ in packed.records] == [b"a", b"b"]
    assert [e["id"] for e in members(packed.records[0][1])] == ["1", "3"]


def test_packed_records_decode_again() -> None:
    """What ingress writes is what the core reads: nothing of it is refused."""
    message = raw(usage(), usage(user="u"), usage(sender="s", seq=1))
    packed = pack([message], NATIVE, KEY)
    for _, value in packed.records:
        assert all(isinstance(event, Usage) for event in decode(value))


def test_arrays_keep_the_limits() -> None:
    """No array has more events or bytes than allowed, and none is lost."""
    many = [raw(*(usage(id=str(n)) for n in range(1_201)))]
    wide = [raw(*(usage(attrs={"a": "x" * 4_000}) for _ in range(200)))]
    for messages, count in ((many, 1_201), (wide, 200)):
        arrays = [value for _, value in pack(messages, NATIVE, KEY).records]
        assert max(len(members(value)) for value in arrays) <= EVENTS_MAX
        assert max(len(value) for value in arrays) <= BYTES_MAX
        assert sum(len(members(value)) for value in arrays) == count


def test_identities_never_reach_the_log() -> None:
    """User, session and addresses in texts are hashed or masked, also in letters."""
    secret = usage(user="ann@example.org", session="s-1", url="http://x/?m=bob@x.org")
    broken = usage(user="ann@example.org", ts="yesterday")
    packed = pack([raw(secret), raw(broken, offset=1)], NATIVE, KEY)
    everything = b"".join(value for _, value in packed.records)
    everything += b"".join(letter.value for letter in packed.dead)
    for word in (b"ann", b"bob@", b'"s-1"'):
        assert word not in everything


def test_same_message_same_bytes() -> None:
    """A message read again gives the same records, ids and times included."""
    message = raw(usage(), usage(), offset=7)
    assert pack([message], NATIVE, KEY) == pack([message], NATIVE, KEY)
    events = members(pack([message], NATIVE, KEY).records[0][1])
    assert [e["id"] for e in events] == ["at:t:2:7:0", "at:t:2:7:1"]
    assert {e["received_at"] for e in events} == {1_700_000_000_500}


def test_sender_ids_are_kept() -> None:
    """An id, a sender's sequence or a trace is what the core recognises copies by."""
    packed = pack(
        [raw(usage(id="x"), usage(sender="s", seq=4), usage(trace_id="t"))], NATIVE, KEY
    )
    assert [e.get("id") for e in members(packed.records[0][1])] == ["x", None, None]


def test_good_members_are_kept() -> None:
    """Of an array with bad members the good ones enter the log."""
    packed = pack([raw(usage(), usage(release=5), usage(), offset=9)], NATIVE, KEY)
    results = {key.result: count for key, count in packed.counts.items()}
    assert results == {"accepted": 2, "rejected": 1}
    letter = json.loads(packed.dead[0].value)
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("t", 2, 9)
    assert (letter["index"], letter["field"]) == (1, "release")


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"{", b"null", b"[]" * 9])
def test_unreadable_messages_get_letters(value: bytes | None) -> None:
    """Bytes that are no events give dead letters, not an exception."""
    packed = pack([Raw("t", 0, 1, 2, value)], NATIVE, KEY)
    assert (packed.records, len(packed.dead)) == ([], 1)


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        ("usage", {"kind": "deploy", "ts": 1, "service": "a", "release": "1"}),
        ("usage", {"kind": "tick", "ts": 1, "service": "all"}),
        ("usage", {"kind": "command", "ts": 1, "service": "a", "name": "freeze"}),
        ("deploys", {"kind": "command", "ts": 1, "service": "a", "name": "freeze"}),
        ("deploys", {"kind": "usage", "ts": 1, "service": "a", "release": "1"}),
    ],
)
def test_topics_take_their_own_kinds(topic: str, event: dict[str, object]) -> None:
    """Who may write usage may neither announce deploys nor steer."""
    packed = pack([raw(event)], {"t": CODECS[topic]}, KEY)
    assert packed.records == []
    assert packed.counts == {Counted("t", "native", "rejected", "not_accepted"): 1}


class Shelf:
    """A sink that keeps what it takes, after losing some attempts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.limit = BYTES_MAX
        self.records: list[tuple[bytes, bytes]] = []
        self.letters: list[Output] = []

    async def write(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Take records."""
        if self.failures:
            self.failures -= 1
            raise ConnectionError("connection lost")
        for record in records:
            if len(record[1]) > self.limit:
                raise TooLargeError(f"{len(record[1])} bytes")
            self.records.append(record)

    async def dead(self, outputs: Sequence[Output]) -> None:
        """Take dead letters."""
        self.letters += outputs

    async def stop(self) -> None:
        """Nothing is connected."""


def door(shelf: Shelf, counters: Counters) -> Door:
    return Door(Settings(), KEY, shelf, counters)


async def test_door_counts_and_writes() -> None:
    """A batch is written to the log, letters apart, and counted by reason."""
    shelf, counters = Shelf(), Counters()
    await door(shelf, counters).move(
        [raw(usage(), topic=USAGE), Raw(USAGE, 0, 1, 2, b"{")]
    )
    assert [key for key, _ in shelf.records] == [b"shop"]
    assert len(shelf.letters) == 1
    assert counters.ingress[Counted(USAGE, "native", "accepted", "")] == 1
    assert sum(counters.ingress.values()) == 2


async def test_door_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that comes back gets the batch, and gets it counted once."""
    monkeypatch.setattr("streams.ingress.door.RETRY_S", 0.0)
    shelf, counters = Shelf(failures=2), Counters()
    await door(shelf, counters).move([raw(usage(), topic=USAGE)])
    assert len(shelf.records) == 1
    assert counters.ingress[Counted(USAGE, "native", "accepted", "")] == 1


def huge(**more: object) -> dict[str, object]:
    """An error that fits into a message and not into the log."""
    event = usage(**more) | {"kind": "error", "signature": "KeyError: price"}
    return event | {"frames": ["\N{GRINNING FACE}" * 4_096] * 62}


def test_oversize_event_is_refused_alone() -> None:
    """An event that fits into no record is a dead letter that names its largest field
    and its place, carries no more of it than others do, and costs nothing else."""
    events = [usage(id="1"), huge(id="2"), usage(id="3")]
    value = json.dumps(events, ensure_ascii=False).encode()
    wide = Raw("t", 2, 7, 1_700_000_000_500, value)
    packed = pack([wide, raw(usage(id="4"), offset=8)], NATIVE, KEY)
    found = [event["id"] for _, value in packed.records for event in members(value)]
    assert found == ["1", "3", "4"]
    (letter,) = (json.loads(one.value) for one in packed.dead)
    assert (letter["reason"], letter["field"]) == ("too_large", "frames")
    assert (letter["offset"], letter["index"]) == (7, 1)
    assert f"at most {EVENT_BYTES_MAX:,}" in letter["detail"]
    assert len(letter["original"]) <= 2_048
    assert packed.counts[Counted("t", "native", "rejected", "too_large")] == 1


@pytest.mark.parametrize("limit", [2_000, 20_000, 200_000])
async def test_small_log_takes_what_fits(limit: int) -> None:
    """A log that takes small records only gets all events that fit, in their order;
    the ones that do not are told of once each, and counted."""
    shelf, counters = Shelf(), Counters()
    shelf.limit = limit
    events = [usage(id=f"{n:03}") for n in range(600)]
    for number in (0, 300, 599):
        events[number] = {**events[number], "kind": "error", "message": "x" * 4_000}
        events[number] |= {"frames": ["y" * 4_000] * 60}
    await door(shelf, counters).move([raw(*events, topic=USAGE)])
    found = [e["id"] for _, value in shelf.records for e in members(value)]
    first = list(dict.fromkeys(found))
    assert first == [e["id"] for n, e in enumerate(events) if n not in (0, 300, 599)]
    assert len({letter.id for letter in shelf.letters}) == 3
    assert all(b"max.message.bytes" in letter.value for letter in shelf.letters)
    refused = Counted("hypercare.events", "kafka", "rejected", "too_large")
    assert counters.ingress[refused] == 3


async def test_failing_batch_ends_the_process() -> None:
    """An error in a batch ends the process before Faust acknowledges it."""

    async def fail() -> None:
        raise ValueError("impossible")

    with pytest.raises(Halted, match=r"usage\[0\]@5.*impossible") as end:
        await unharmed(fail(), lambda: "usage[0]@5", halt)
    assert end.value.code is Exit.HANDLER


async def test_cancelled_batch_is_finished() -> None:
    """A cancellation waits until the batch is written: Faust acknowledges it."""
    go_on, done = asyncio.Event(), []

    async def work() -> None:
        await go_on.wait()
        done.append(True)

    task = asyncio.ensure_future(unharmed(work(), lambda: "here", halt))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


def test_rejections_carry_no_raw_identity() -> None:
    """Even an event refused for its kind is redacted in its letter."""
    event = {"kind": "deploy", "ts": 1, "service": "a", "release": "1"}
    packed = pack([raw({**event, "actor": "ann@example.org"})], NATIVE, KEY)
    assert b"ann@" not in packed.dead[0].value
