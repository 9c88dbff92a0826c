"""Batches of records as they come from a broker."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecordBatchBuilder


def batch_of(value: bytes, codec: int, offset: int = 0) -> bytes:
    """Return the bytes of a batch with one record, compressed by Kafka's codec."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2 * len(value) + 1_000,
    )
    builder.append(offset, timestamp=1, key=None, value=value, headers=[])
    return bytes(builder.build())
