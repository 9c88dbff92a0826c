"""Compression of what a worker produces, in a tenth of the time aiokafka takes.

aiokafka compresses with Python's gzip at its highest level: 6 us an event of the
log, more than reading and checking it costs. The lowest level of a faster library
makes records that are a few percent larger, and any reader of gzip reads them. What is
compressed already, as packs of state are, is only framed: it would take longer to write
and to read, and be no smaller.
"""

from __future__ import annotations

import sys
import zlib

import cramjam
from aiokafka.record.default_records import DefaultRecordBatchBuilder

LEVEL = 1
GZIP = 31

SAMPLE_BYTES = 16_384
SAVED_MIN = 1 / 16
"""A long batch whose middle gzip shortens by less is taken for compressed."""


def encode(payload: bytes | bytearray | memoryview) -> bytes:
    """The payload as gzip data.

    Examples
    --------
    >>> import gzip
    >>> gzip.decompress(encode(b"to be or not to be"))
    b'to be or not to be'
    """
    if _is_dense(payload):
        frame = zlib.compressobj(0, zlib.DEFLATED, GZIP)
        return frame.compress(payload) + frame.flush()
    return bytes(cramjam.gzip.compress(payload, LEVEL))


def _is_dense(payload: bytes | bytearray | memoryview) -> bool:
    """Whether a long payload seems to be compressed already."""
    size = len(payload)
    if size <= 4 * SAMPLE_BYTES:
        return False
    begin = (size - SAMPLE_BYTES) // 2
    sample = cramjam.gzip.compress(payload[begin : begin + SAMPLE_BYTES], LEVEL)
    return len(sample) > (1 - SAVED_MIN) * SAMPLE_BYTES


def install() -> None:
    """Let every aiokafka producer of this process use it; again is no harm."""
    module = sys.modules[DefaultRecordBatchBuilder.__module__]
    vars(module)["gzip_encode"] = encode
