"""How long a client waits for one node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaConnectionError

from streams import patience
from streams.actuators.journal import Journal
from streams.bus import Bus
from streams.ingress.sink import LogSink
from streams.patience import wait_briefly
from streams.settings import Settings


async def test_frozen_node_is_left_soon() -> None:
    """A node that takes connections and says nothing is given up after a part of the
    time limit, not after what joining a group may take."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    client = AIOKafkaClient(
        bootstrap_servers=f"{host}:{port}", request_timeout_ms=600_000
    )
    wait_briefly(client, 0.2)
    async with asyncio.timeout(60):
        with pytest.raises(KafkaConnectionError):
            await client.bootstrap()
    await client.close()
    server.close()


def patient(connect: Any) -> Any:
    """A client whose connections are made by a function."""
    client = SimpleNamespace(_request_timeout_ms=23_000, _get_conn=connect, _conns={})
    wait_briefly(client, 10.0)
    return client


async def test_only_joining_waits_long() -> None:
    """Of a consumer's connections those to the coordinator keep the long limit."""

    async def connect(node_id: int, **_: object) -> SimpleNamespace:
        return SimpleNamespace(_request_timeout=None)

    client = patient(connect)
    groups = (ConnectionGroup.DEFAULT, ConnectionGroup.COORDINATION)
    limits_s = [(await client._get_conn(1, group=g))._request_timeout for g in groups]
    assert limits_s == [5.0, 23.0]


async def test_frozen_node_is_tried_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all who want a node that does not answer one waits, the others go on at once,
    to other nodes too; after a while it is tried again."""
    now_s = 100.0
    monkeypatch.setattr(patience, "monotonic_s", lambda: now_s)
    tried: list[int] = []

    async def connect(node_id: int, **_: object) -> SimpleNamespace | None:
        tried.append(node_id)
        await asyncio.sleep(0)
        return None if node_id == 1 else SimpleNamespace(_request_timeout=None)

    client = patient(connect)
    found = await asyncio.gather(*(client._get_conn(n) for n in (1, 1, 2, 1)))
    assert tried == [1, 2]
    assert [one is None for one in found] == [True, True, False, True]
    now_s += 2.5
    await client._get_conn(1)
    assert tried == [1, 2, 1]


@pytest.mark.parametrize(
    "begin",
    [
        lambda settings: Bus(settings).start(),
        lambda settings: LogSink(settings, Bus(settings))._connected(),
        lambda settings: Journal(settings).open(),
    ],
    ids=["bus", "ingress", "journal"],
)
async def test_writers_leave_a_frozen_node(
    monkeypatch: pytest.MonkeyPatch, begin: Callable[[Settings], Awaitable[object]]
) -> None:
    """Whoever writes gives a node a part of the limit, too: a batch on its way to a
    frozen one keeps its partition waiting until another leader can be asked."""
    started: list[Any] = []

    async def start(producer: Any) -> None:
        producer._closed = True  # never opened: it must not be missed
        started.append(producer)

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    await begin(Settings(io_timeout_s=10.0))
    (producer,) = started

    async def connected(node_id: int, **_: object) -> SimpleNamespace:
        return SimpleNamespace(_request_timeout=None)

    patience_of = producer.client._get_conn.__self__
    patience_of._connect = connected
    assert producer.client._request_timeout_ms == 2_500
    assert (await producer.client._get_conn(1))._request_timeout == 5.0
    await producer.client.close()
