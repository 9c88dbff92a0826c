"""Leaders of partitions are asked for anew when a node refuses."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import consumer
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.structs import TopicPartition

from streams import leaders
from streams.app import create_app
from streams.settings import Settings

IDLE = TopicPartition("idle", 0)


class Client(AIOKafkaClient):  # type: ignore[misc]
    """Two nodes; the first led the partition until just now, the second does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.leader, self.told = 1, 1
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: self.told)

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Learn who leads now."""
        self.told = self.leader
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def send(self, node_id: int, _: Any) -> Any:
        """Answer a question about offsets; who does not lead refuses."""
        self.asked.append(node_id)
        code = 0 if node_id == self.leader else NotLeaderForPartitionError.errno
        part = (IDLE.partition, code, -1, 7)
        return SimpleNamespace(API_VERSION=1, topics=[(IDLE.topic, [part])])


async def test_refused_lookup_learns_the_leader() -> None:
    """A node that leads a partition no more is asked once, and the position is found
    at the one that does."""
    client, subscriptions = Client(), SubscriptionState()
    subscriptions.assign_from_user([IDLE])
    assignment = subscriptions.subscription.assignment
    assignment.state_value(IDLE).await_reset(-1)
    made = leaders.LearningFetcher(client, subscriptions, retry_backoff_ms=0)
    try:
        client.leader = 2
        for _ in range(2):
            if not assignment.state_value(IDLE).has_valid_position:
                node = client.cluster.leader_for_partition(IDLE)
                await made._update_fetch_positions(assignment, node, [IDLE])
    finally:
        await made.close()
    assert assignment.state_value(IDLE).position == 7
    assert client.asked[-2:] == [1, 2]


def test_consumers_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's consumers have such a fetcher."""
    monkeypatch.setattr(consumer, "Fetcher", object)
    create_app(Settings(demo=True))
    assert consumer.Fetcher is leaders.LearningFetcher
