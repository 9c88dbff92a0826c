"""What workers produce is gzip data that anybody reads."""

from __future__ import annotations

import gzip

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


def test_producers_use_the_fast_library() -> None:
    """The builder of batches compresses with it, and a batch can be read again."""
    gzipped.install()
    bounded.install()
    builder = DefaultRecordBatchBuilder(
        *(2, 1, 0),
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=100_000,
    )
    for n in range(9):
        builder.append(n, timestamp=1, key=None, value=b"x" * 100, headers=[])
    built = bytes(builder.build())
    begin = built.index(b"\x1f\x8b")
    assert built[begin:] == gzipped.encode(gzip.decompress(built[begin:]))
    assert [r.value for r in DefaultRecordBatch(built)] == [b"x" * 100] * 9
