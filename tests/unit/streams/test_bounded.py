"""Bounded decompression: as the library decodes, and never more than the limit."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import cramjam
import numpy as np
import pytest
from aiokafka import TopicPartition, codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from streams import bounded
from streams.bounded import TooLargeError, gunzip, unlz4, unsnappy, unzstd
from tests.faults.bombs import MEGABYTES, bomb

Decode = Callable[..., bytes]

DECODERS: dict[str, Decode] = {
    "gzip": gunzip,
    "snappy": unsnappy,
    "lz4": unlz4,
    "zstd": unzstd,
}
LIMIT = 10_000


def encoded(name: str, plain: bytes) -> bytes:
    """What the client library makes of it."""
    made: bytes = getattr(codec, f"{name}_encode")(plain)
    return made


@pytest.mark.parametrize("name", DECODERS)
def test_decodes_like_the_library(name: str, rng: np.random.Generator) -> None:
    """What fits comes out as it went in, up to the last byte of the limit."""
    for size in (0, 1, 999, LIMIT):
        plain = rng.bytes(size // 2) + b"a" * (size - size // 2)
        assert DECODERS[name](memoryview(encoded(name, plain)), LIMIT) == plain


@pytest.mark.parametrize("name", DECODERS)
def test_one_byte_more_is_refused(name: str) -> None:
    """A byte beyond the limit is refused, and so is the first half of the data."""
    with pytest.raises(TooLargeError):
        DECODERS[name](encoded(name, b"a" * (LIMIT + 1)), LIMIT)
    whole = encoded(name, bytes(range(256)) * 30)
    with pytest.raises(TooLargeError):
        DECODERS[name](whole[: len(whole) // 2], LIMIT)


@pytest.mark.parametrize("name", DECODERS)
def test_bombs_are_refused(name: str) -> None:
    """Less than a megabyte that would become hundreds never does."""
    payload = bomb(name, MEGABYTES[name])
    assert len(payload) < 1_000_000
    with pytest.raises(TooLargeError):
        DECODERS[name](payload)


def test_further_gzip_members_count() -> None:
    """Members that follow each other are one text, and one sum."""
    two = gzip.compress(b"a" * 6_000) + gzip.compress(b"b" * 3_000)
    assert gunzip(two, LIMIT) == b"a" * 6_000 + b"b" * 3_000
    with pytest.raises(TooLargeError):
        gunzip(two + gzip.compress(b"c" * 2_000), LIMIT)


def test_raw_snappy_is_read() -> None:
    """librdkafka sends snappy without the blocks of Java clients."""
    assert unsnappy(bytes(cramjam.snappy.compress_raw(b"abc" * 99))) == b"abc" * 99


def test_library_keeps_its_names() -> None:
    """Each function that is replaced exists in the installed client library, in the
    module that calls it; installing is seen there."""
    bounded.install()
    for kind in (bounded.DefaultRecordBatch, bounded.LegacyRecordBatch):
        module = bounded.sys.modules[kind.__module__]
        present = [name for name in bounded.DECODERS if hasattr(module, name)]
        assert len(present) >= 3
        for name in present:
            assert getattr(module, name) is bounded.DECODERS[name]
    assert bounded.fetcher.PartitionRecords is bounded.BoundedRecords


def records_of(topic: str) -> list[Any]:
    """Three records of a fetch, as a consumer of that topic is given them."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for offset in range(3):
        builder.append(offset, 1_000 + offset, b"key", b"value %d" % offset, [])
    memory = MemoryRecords(bytes(builder.build()))
    place = TopicPartition(topic, 0)
    return list(bounded.BoundedRecords(place, memory, None, 1, None, None, True, 0))


def test_bare_records_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is not copied has the offset, time, key and value of the copy,
    and records before the wanted offset are left out of both."""
    monkeypatch.setattr(bounded, "_bare_topics", {"bare"})
    bare, copied = (
        [(r.offset, r.timestamp, r.key, r.value) for r in records_of(topic)]
        for topic in ("bare", "other")
    )
    expected = [(n, 1_000 + n, b"key", b"value %d" % n) for n in (1, 2)]
    assert bare == copied == expected


def test_other_topics_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the log's records are bare: agents need the topic of theirs."""
    monkeypatch.setattr(bounded, "_bare_topics", {"bare"})
    assert {r.topic for r in records_of("other")} == {"other"}
    assert not any(hasattr(r, "topic") for r in records_of("bare"))
