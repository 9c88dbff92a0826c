"""Asking who leads a partition anew when a node says that it is not the leader.

aiokafka looks up where a partition without a position begins at the node that led it
when metadata came last. If that node refuses, the same node is asked every tenth of a
second until the metadata is five minutes old, and fetches nothing from it meanwhile:
one idle topic whose leader changed while all nodes were away keeps the whole log from
being read. The Java client asks for metadata then, too (KAFKA-9535).
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import KafkaError


class LearningFetcher(fetcher.Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher; a refused look-up of offsets asks for metadata."""

    async def _proc_offset_request(self, node_id: Any, topic_data: Any) -> Any:
        try:
            return await super()._proc_offset_request(node_id, topic_data)
        except KafkaError:
            self._client.force_metadata_update()
            raise


def install() -> None:
    """Give every consumer of this process such a fetcher; again is no harm."""
    consumer.Fetcher = LearningFetcher
