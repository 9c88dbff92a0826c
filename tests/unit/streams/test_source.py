"""The batch source: races of fetch and seek, commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams import seeking
from streams.app import create_app
from streams.connection import Connection, Security
from streams.halt import Exit
from streams.logclient import log_options
from streams.ownsource import IngressOnly
from streams.settings import Settings
from streams.source import BatchConsumer, BatchTransport
from tests.integration.workers import CountingCores
from tests.unit.streams.rig import LOG, Halted, MemoryBus, OwnRig, Rig

P0, P1, AGENT = TP(LOG, 0), TP(LOG, 1), TP("hypercare.foreign", 0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig([P0, P1, AGENT])
    await made.own()
    yield made
    await made.close()


async def test_app_uses_the_batch_consumer(rig: Rig) -> None:
    """The application's transport and consumer are ours."""
    assert isinstance(rig.app.transport, BatchTransport)
    assert isinstance(rig.app.consumer, BatchConsumer)


async def test_nothing_fetchable_fetches_nothing() -> None:
    """With no fetchable partition no fetch is made: empty would mean all."""
    rig = Rig([P0])
    await rig.fetch()
    assert rig.thread.fetched == []


async def test_seek_during_restore_keeps_position() -> None:
    """Faust's seek in the middle of a restore does not lead to the commit."""
    bus = MemoryBus()
    first = Rig([P0], bus)
    await first.own()
    first.thread.produce(P0, 30)
    for _ in range(3):
        await first.fetch()
    await first.lane().snapshot()
    await first.close()
    heir = Rig([P0], bus)
    heir.thread.produce(P0, 50)
    heir.thread.commits[P0] = 20

    async def faust_seeks(writes: object) -> None:
        await heir.consumer.perform_seek()
        assert heir.thread.positions[P0] == 0

    task = asyncio.ensure_future(heir.own())
    while 0 not in bus.logs or heir.lanes.lanes == {}:
        await asyncio.sleep(0)
    bus.logs[0].before = faust_seeks
    await task
    await heir.consumer.perform_seek()
    for _ in range(3):
        await heir.fetch()
    assert heir.counted() == (50, sum(range(50)))
    await heir.close()


async def test_agents_lose_no_first_fetch(rig: Rig) -> None:
    """A thrown-away fetch of a topic without any commit is read again."""
    rig.thread.produce(AGENT, 10)
    rig.thread.before_return = rig.consumer.perform_seek
    await rig.fetch()
    assert rig.messages == []
    await rig.fetch()
    assert rig.messages == [(AGENT, n) for n in range(10)]


@pytest.fixture
def impatient(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A worker that waits for nothing long."""
    monkeypatch.setattr(rig.consumer, "io_timeout_s", 0.01)
    monkeypatch.setattr(seeking, "RETRY_S", 0.0)
    return rig


async def never() -> None:
    """Stand for an answer that does not come."""
    await asyncio.Event().wait()


async def test_frozen_leader_delays_no_seek(
    impatient: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that does not say where a partition begins ends no worker; its records
    come once it does."""
    rig = impatient
    rig.thread.produce(AGENT, 10)
    rig.thread.produce(P0, 10)
    rig.thread.is_frozen = True
    monkeypatch.setattr(
        rig.thread, "seek_to_beginning", lambda *tps: never(), raising=False
    )
    await rig.consumer.perform_seek()
    await rig.fetch()
    assert (rig.messages, rig.counted()) == ([], (10, 45))
    rig.thread.positions[AGENT] = rig.thread.starts[AGENT]
    await rig.fetch()
    assert rig.messages == [(AGENT, n) for n in range(10)]


async def test_silent_coordinator_is_asked_again(impatient: Rig) -> None:
    """Commits that are not told in time are asked for again; until then those
    partitions are not read, the others are, and the worker lives."""
    rig = impatient
    rig.thread.produce(AGENT, 10)
    rig.thread.produce(P0, 10)
    rig.thread.commits[AGENT] = 4
    rig.thread.before_commits = never
    await rig.consumer.perform_seek()
    await rig.fetch()
    assert rig.consumer.unsought == {AGENT}
    assert (rig.messages, rig.counted()) == ([], (10, 45))
    rig.thread.before_commits = None
    while rig.consumer.unsought:
        await asyncio.sleep(0)
    await rig.fetch()
    assert rig.messages == [(AGENT, n) for n in range(4, 10)]


async def test_new_seek_ends_the_old(impatient: Rig) -> None:
    """Of two seeks that Kafka does not answer, only the newer is tried again."""
    rig = impatient
    rig.thread.before_commits = never
    await rig.consumer.perform_seek()
    first = rig.consumer._again
    await rig.consumer.perform_seek()
    assert first is not None
    assert first.done()
    assert rig.consumer._again is not first
    rig.thread.before_commits = None
    while rig.consumer.unsought:
        await asyncio.sleep(0)


async def test_refused_seek_is_an_error(impatient: Rig) -> None:
    """What asking again can not mend is not put off."""

    async def refuse() -> None:
        raise GroupAuthorizationFailedError(rig.settings.group)

    rig = impatient
    rig.thread.before_commits = refuse
    with pytest.raises(GroupAuthorizationFailedError):
        await rig.consumer.perform_seek()


async def test_seek_stops_the_rest_of_a_fetch(rig: Rig) -> None:
    """Messages of a fetch that are yielded one by one end at a seek."""
    rig.thread.produce(AGENT, 6)
    seen = []
    async for _, message in rig.consumer.getmany(timeout=0.01):
        seen.append(message.offset)
        if message.offset == 2:
            await rig.consumer.perform_seek()
    assert seen == [0, 1, 2]


async def test_stopped_flow_hands_nothing_over(rig: Rig) -> None:
    """A fetch that returns after the flow was stopped is undone."""
    rig.thread.produce(P0, 10)

    async def stop() -> None:
        rig.consumer.stop_flow()

    rig.thread.before_return = stop
    await rig.fetch()
    assert (rig.counted(), rig.thread.positions[P0]) == ((0, 0), 0)


async def test_revoke_commits_what_agents_did(rig: Rig) -> None:
    """What agents have acknowledged is committed before Faust forgets it."""
    rig.app.topics._acking_topics.add(AGENT.topic)  # type: ignore[attr-defined]
    rig.thread.produce(AGENT, 4)
    async for _, message in rig.consumer.getmany(timeout=0.01):
        rig.consumer.ack(message)
    await rig.revoke({AGENT})
    assert rig.thread.commits[AGENT] == 4


async def test_batch_topics_are_not_called_stuck(rig: Rig) -> None:
    """Faust's detector of stuck streams leaves batch partitions alone."""
    rig.consumer.verify_event_path(0.0, P0)


async def test_sought_leader_does_not_end_a_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition without a position, as after the loss of a broker, is no error:
    Faust's detector asserts that there is one, and would end the worker."""

    def unknown(now: float, tp: TP) -> None:
        raise AssertionError

    monkeypatch.setattr(rig.thread, "verify_event_path", unknown, raising=False)
    rig.consumer.verify_event_path(0.0, AGENT)


async def waiting_coordinator() -> tuple[GroupCoordinator, asyncio.Task[object]]:
    """Return the library's coordinator with an error that nobody has asked for."""
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    subscription = SubscriptionState()
    subscription.register_fetch_waiters(set())
    coordinator = GroupCoordinator(client, subscription)
    error = NotCoordinatorForGroupError("moved")
    return coordinator, asyncio.ensure_future(coordinator._push_error_to_user(error))


async def test_errors_of_the_group_are_heard(rig: Rig) -> None:
    """The group's coordinator, which waits until its error is asked for, goes on:
    Faust never asks, and the member would neither beat nor join again."""
    coordinator, waits = await waiting_coordinator()
    rig.thread._coordinator = coordinator
    rig.thread.produce(P0, 5)
    await asyncio.sleep(0)
    assert not waits.done()
    await rig.fetch()
    assert rig.counted() == (5, 10)
    await asyncio.wait([waits], timeout=10)
    assert waits.done()
    await coordinator.close()


async def test_standby_member_hears_errors() -> None:
    """Also a worker that has no partitions, and so never fetches, asks."""
    rig = Rig([])
    rig.consumer.sleep = no_sleep  # type: ignore[method-assign,assignment]
    rig.thread._coordinator._pending_exception = NotCoordinatorForGroupError("moved")
    await rig.fetch()
    assert (rig.thread._coordinator._pending_exception, rig.thread.fetched) == (
        None,
        [],
    )


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def test_dead_coordinator_ends_the_process(rig: Rig) -> None:
    """A coordinator that has ended for good ends the worker: it would keep the
    partitions and never hear of a rebalance."""
    ended = rig.thread._coordinator._coordination_task
    ended.set_exception(KafkaError("Unexpected error during coordination"))
    rig.thread._coordinator.check_errors = ended.result
    with pytest.raises(Halted, match="Unexpected error") as end:
        await rig.fetch()
    assert end.value.code is Exit.HANDLER


async def test_log_of_another_consumer_is_left_to_it() -> None:
    """With the log read elsewhere Faust's consumer owns, commits and reports only
    what is its own, and its rebalances leave the lanes alone."""
    rig = OwnRig([P0])
    await rig.own()
    assert isinstance(cast(BatchTransport, rig.app.transport).batch, IngressOnly)
    elsewhere = IngressOnly(rig.lanes)
    await elsewhere.on_assigned([])
    await elsewhere.on_revoked([P0])
    assert rig.lane().is_ready
    assert (elsewhere.wants(P0), elsewhere.committable(P0)) == (False, None)
    assert elsewhere.reports(AGENT.topic)
    assert not elsewhere.reports(LOG)
    assert LOG not in {name for one in rig.app.topics for name in one.topics}
    await rig.close()


def test_both_consumers_are_set_up_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log's own consumer has the limits, the sharing and the login of Faust's."""
    given: dict[str, object] = {}
    connection = Connection(
        security=Security.SASL_PLAINTEXT,
        mechanism="PLAIN",
        username="ann",
        password="x",
    )
    settings = Settings(demo=True, connection=connection, session_timeout_s=9.0)
    app = create_app(settings, CountingCores())
    thread = cast(Any, app.consumer)._thread
    thread.thread_loop.close()

    def keep(**options: object) -> SimpleNamespace:
        given.update(options)
        client = SimpleNamespace(_request_timeout_ms=1, _get_conn=None, _conns={})
        return SimpleNamespace(_client=client)

    monkeypatch.setattr(driver.aiokafka, "AIOKafkaConsumer", keep)
    made = thread._create_worker_consumer(app.transport)
    given["fetch_max_wait_ms"] = made._fetch_max_wait_ms
    own = log_options(settings)
    names = {
        *("group_id", "bootstrap_servers", "session_timeout_ms", "max_poll_records"),
        *("heartbeat_interval_ms", "request_timeout_ms", "rebalance_timeout_ms"),
        *("max_partition_fetch_bytes", "fetch_max_wait_ms", "enable_auto_commit"),
        *("auto_offset_reset", "partition_assignment_strategy", "security_protocol"),
        *("max_poll_interval_ms", "sasl_mechanism", "sasl_plain_username"),
        "sasl_plain_password",
    }
    assert {n: own[n] for n in names} == {n: given[n] for n in names}
    assert set(own) - names == {"client_id"}
