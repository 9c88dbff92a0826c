"""What workers produce is gzip data that anybody reads."""

from __future__ import annotations

import gzip
import random

from aiokafka.record.default_records import (
    DefaultRecordBatch,
    DefaultRecordBatchBuilder,
)
from hypothesis import given
from hypothesis import strategies as st

from streams import bounded, gzipped


@given(st.binary(max_size=5_000))
def test_any_gzip_reads_it(payload: bytes) -> None:
    """Python's own gzip gets the payload back, from every kind of buffer."""
    for kind in (bytes, bytearray, memoryview):
        assert gzip.decompress(gzipped.encode(kind(payload))) == payload


def batch_of(values: list[bytes]) -> bytes:
    """A batch as a producer sends it."""
    builder = DefaultRecordBatchBuilder(
        *(2, 1, 0),
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for n, value in enumerate(values):
        builder.append(n, timestamp=1, key=None, value=value, headers=[])
    return bytes(builder.build())


def test_dense_batches_are_only_framed() -> None:
    """What is compressed already is not compressed again, and reads the same."""
    gzipped.install()
    bounded.install()
    dense = random.Random(1).randbytes(200_000)
    built = batch_of([dense])
    assert dense[:1_000] in built
    assert len(dense) < len(built) < len(dense) + 500
    assert [r.value for r in DefaultRecordBatch(built)] == [dense]
    text = b"to be or not to be " * 10_000
    assert len(batch_of([text])) < len(text) / 10


def test_producers_use_the_fast_library() -> None:
    """The builder of batches compresses with it, and a batch can be read again."""
    gzipped.install()
    bounded.install()
    built = batch_of([b"x" * 100] * 9)
    begin = built.index(b"\x1f\x8b")
    assert built[begin:] == gzipped.encode(gzip.decompress(built[begin:]))
    assert [r.value for r in DefaultRecordBatch(built)] == [b"x" * 100] * 9
