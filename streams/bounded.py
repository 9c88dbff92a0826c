"""Decompression with a limit: a small batch must not become gigabytes.

Whoever may write to an ingress topic may send a batch of less than a megabyte that
decompresses to 400 MB and more, again at every start of a worker. The client
library has no limit, so this module puts one below it: the library's four decoding
functions are replaced by bounded ones, and a batch beyond the limit is stepped over,
as the library steps over batches that compaction emptied. What was stepped over is
kept in ``REFUSED`` for the consumer to report; nothing of it is silent.

Every name of aiokafka that is replaced stands here. A batch in the formats before
Kafka 0.11, which no broker since 4.0 holds, is bounded too, but ends the worker.
"""

from __future__ import annotations

import logging
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cramjam
import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from kafka.record import default_records as reader

logger = logging.getLogger(__name__)

LIMIT_BYTES = 16 * 1024 * 1024
"""Largest batch once decompressed: sixteen times Kafka's default largest record."""

REFUSED_MAX = 1000
XERIAL_MAGIC = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16

Decode = Callable[[Any], bytes]


class TooLargeError(Exception):
    """A batch is larger than the limit, or is no compressed data at all."""


class Refused(NamedTuple):
    """A batch that was stepped over: ``[first, next)`` of a partition, and why."""

    topic: str
    partition: int
    first: int
    next: int
    why: str


REFUSED: deque[Refused] = deque(maxlen=REFUSED_MAX)
"""What no consumer has reported yet."""


def gunzip(payload: Any, limit: int = LIMIT_BYTES) -> bytes:
    """Return what gzip data holds.

    Raises
    ------
    TooLargeError
        If that is more than the limit, or the data is damaged.
    """
    parts: list[bytes] = []
    size, rest = 0, bytes(payload)
    try:
        while rest:
            # 31: with the header of gzip. Members may follow each other.
            member = zlib.decompressobj(wbits=31)
            part = member.decompress(rest, limit - size + 1)
            size += len(part)
            if size > limit:
                raise TooLargeError(_beyond(limit))
            if not member.eof:
                raise TooLargeError("the gzip data is cut off")
            parts.append(part)
            rest = member.unused_data
    except zlib.error as error:
        raise TooLargeError(f"no gzip data: {error}") from error
    return b"".join(parts)


def unsnappy(payload: Any, limit: int = LIMIT_BYTES) -> bytes:
    """Return what snappy data holds, raw or in the blocks of Java clients.

    Raises
    ------
    TooLargeError
        If the lengths the data declares are beyond the limit, or it is damaged.
    """
    data = bytes(payload)
    blocks = [data]
    if data.startswith(XERIAL_MAGIC):
        blocks = list(_xerial_blocks(data))
    try:
        size = sum(cramjam.snappy.decompress_raw_len(block) for block in blocks)
        if size > limit:
            raise TooLargeError(_beyond(limit))
        return b"".join(bytes(cramjam.snappy.decompress_raw(b)) for b in blocks)
    except cramjam.DecompressionError as error:
        raise TooLargeError(f"no snappy data: {error}") from error


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    at = XERIAL_HEADER_BYTES
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if at + size > len(data):
            raise TooLargeError("the snappy data is cut off")
        yield data[at : at + size]
        at += size


def unlz4(payload: Any, limit: int = LIMIT_BYTES) -> bytes:
    """Return what an LZ4 frame holds; raises ``TooLargeError`` beyond the limit."""
    return _into_buffer(cramjam.lz4.decompress_into, payload, limit)


def unzstd(payload: Any, limit: int = LIMIT_BYTES) -> bytes:
    """Return what a Zstandard frame holds; raises ``TooLargeError`` beyond it."""
    return _into_buffer(cramjam.zstd.decompress_into, payload, limit)


class _Room(threading.local):
    """A buffer of the limit's size per thread; pages cost memory once written."""

    def __init__(self) -> None:
        self.bytes = np.empty(LIMIT_BYTES, dtype=np.uint8)


_room = _Room()


def _into_buffer(
    decompress_into: Callable[[Any, Any], int], payload: Any, limit: int
) -> bytes:
    room = _room.bytes[:limit]
    try:
        size = decompress_into(bytes(payload), room)
    except cramjam.DecompressionError as error:
        # A full buffer and damaged data are told apart by their words alone.
        raise TooLargeError(f"{_beyond(limit)}, or it is damaged: {error}") from error
    return room[:size].tobytes()


def _beyond(limit: int) -> str:
    return f"the batch decompresses to more than {limit:,} bytes"


DECODERS: dict[str, Decode] = {
    "gzip_decode": gunzip,
    "snappy_decode": unsnappy,
    "lz4_decode": unlz4,
    "zstd_decode": unzstd,
}


class _BoundedBatch:
    """A batch that is empty when it is larger than the limit."""

    def __init__(self, batch: Any, part: Any) -> None:
        self._batch, self._part = batch, part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """The batch's own iterator; decompression happens here."""
        try:
            return iter(self._batch)
        except TooLargeError as error:
            batch, part = self._batch, self._part
            place = (part.topic, part.partition, batch.base_offset, batch.next_offset)
            REFUSED.append(Refused(*place, str(error)))
            logger.error("source.batch_refused %s[%d]@%d..%d: %s", *place, error)
            return iter(())


class _BoundedBatches:
    """The batches of one fetch, each bounded."""

    def __init__(self, batches: Any, part: Any) -> None:
        self._batches, self._part = batches, part
        self.has_next = batches.has_next

    def next_batch(self) -> Any:
        """The next batch; legacy ones as they are."""
        batch = self._batches.next_batch()
        if isinstance(batch, DefaultRecordBatch):
            return _BoundedBatch(batch, self._part)
        return batch


class BoundedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of one fetch and partition, over bounded batches."""

    def __init__(self, tp: Any, records: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tp, _BoundedBatches(records, tp), *args, **kwargs)
        if tp.topic in _bare_topics:
            self._consumer_record = _as_it_is


_bare_topics: set[str] = set()


def _as_it_is(tp: Any, record: Any) -> Any:
    """A record of the batch itself: the copy costs more than reading it does."""
    return record


def install(*, bare: str | None = None) -> None:
    """Put the limit below every consumer of this process; again is no harm.

    Parameters
    ----------
    bare : str, optional
        A topic whose records are given as they stand in their batch: offset,
        timestamp, key, value and headers, without topic and partition.
    """
    if bare is not None:
        _bare_topics.add(bare)
    for kind in (DefaultRecordBatch, LegacyRecordBatch):
        module = sys.modules[kind.__module__]
        for name, decode in DECODERS.items():
            if not hasattr(module, name):
                continue  # there is no zstd in the old formats
            setattr(module, name, decode)
    fetcher.PartitionRecords = BoundedRecords


def install_in_reader() -> None:
    """The same for kafka-python, with which the commands read topics.

    By itself it knows gzip only, and other codecs where further libraries are
    installed; here it gets those of the worker.
    """
    for name, decode in DECODERS.items():
        setattr(reader, name, decode)
    for name in ("has_snappy", "has_lz4", "has_zstd"):
        setattr(reader.codecs, name, lambda: True)
    reader.DefaultRecordBatch._maybe_uncompress = _uncompress_or_skip


_uncompress = reader.DefaultRecordBatch._maybe_uncompress


def _uncompress_or_skip(batch: Any) -> None:
    """Open a batch of kafka-python; one beyond the limit becomes empty."""
    try:
        _uncompress(batch)
    except TooLargeError as error:
        batch._buffer, batch._pos, batch._num_records = bytearray(), 0, 0
        batch._decompressed = True
        place = (batch.base_offset, batch.base_offset + batch.records_count)
        logger.error("reader.batch_refused %d..%d: %s", *place, error)


def take_refused(wanted: Callable[[str], bool]) -> list[Refused]:
    """Return what was stepped over of the topics wanted since the last call.

    A process may have two consumers. What one has stepped over, the other must not
    report: the first would read on before the report is acknowledged.
    """
    found = [REFUSED.popleft() for _ in range(len(REFUSED))]
    REFUSED.extend(one for one in found if not wanted(one.topic))
    return [one for one in found if wanted(one.topic)]
