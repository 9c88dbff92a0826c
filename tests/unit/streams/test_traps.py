"""Traps of Faust and aiokafka that are closed by how the application is put together.

Each has its row in docs/traps.md.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from streams.app import HypercareApp, create_app
from streams.bus import Bus
from streams.connection import aiokafka_reader_options
from streams.halt import Exit
from streams.ingress.codecs import CODECS
from streams.lanes import SLICE_S
from streams.logclient import log_options
from streams.membership import POLL_INTERVAL_S
from streams.quiet import LOUD, quieten
from streams.settings import Settings
from streams.wallclock import monotonic_s
from tests.integration.workers import CountingCores, CountingPartition
from tests.unit.streams.rig import LOG, Halted, OwnRig, Rig

ROOT = Path(__file__).resolve().parents[3]

SET: dict[str, tuple[str, Any]] = {
    "2 stream_wait_empty": ("stream_wait_empty", True),
    "4 exactly_once": ("processing_guarantee", "at_least_once"),
    "7 publish_on_commit": ("stream_publish_on_commit", False),
    "13 session": ("broker_session_timeout", 6.0),
    "13 heartbeat": ("broker_heartbeat_interval", 2.0),
    "17 standby": ("table_standby_replicas", 0),
    "18 store": ("store", "memory:"),
    "22 records": ("broker_max_poll_records", 5000),
    "22 bytes": ("consumer_max_fetch_size", 4 * 1024 * 1024),
    "24 web": ("web_enabled", False),
    "24 tables": ("topic_allow_declare", False),
    "26 leader": ("topic_disable_leader", True),
    "acks": ("producer_acks", -1),
    "reset": ("consumer_auto_offset_reset", "earliest"),
    "720 idle": ("broker_max_poll_interval", float(POLL_INTERVAL_S)),
}
"""Number in docs/traps.md and a word: setting of Faust and what it has to be."""


@pytest.fixture
def app() -> Iterator[HypercareApp]:
    """The application of a worker that has not started."""
    settings = Settings(demo=True, session_timeout_s=6.0)
    made = create_app(settings, CountingCores())
    yield made
    cast(Any, made.consumer)._thread.thread_loop.close()


@pytest.mark.parametrize("trap", SET)
def test_setting_closes_the_trap(app: HypercareApp, trap: str) -> None:
    """Faust is set up so that the trap can not spring."""
    name, wanted = SET[trap]
    found = getattr(app.conf, name)
    found = found.value if name == "processing_guarantee" else found
    assert (str(found) if name == "store" else found) == wanted


def test_no_topic_has_two_readers(app: HypercareApp) -> None:
    """Faust commits past what a second agent still works on: ingress has none, and a
    format that would have one has it alone, once."""
    app.finalize()
    taken = [name for a in app.agents.values() for name in cast(Any, a.channel).topics]
    assert all(agent.concurrency == 1 for agent in app.agents.values())
    assert len(taken) == len(set(taken))
    assert app.intake.topics == {app.hypercare.topic(name) for name in CODECS}
    assert not app.intake.topics & set(taken)


async def test_commit_still_passes_what_is_in_flight() -> None:
    """A canary: 2585 is in flight, 2586 to 2588 are done, and Faust would commit
    2589. When this fails Faust was mended, and a topic may have several agents."""
    tp = TP("hypercare.foreign", 0)
    rig = Rig([tp])
    rig.consumer._committed_offset[tp] = 2585
    rig.consumer._acked[tp] = [2586, 2587, 2588]
    assert rig.consumer._new_offset(tp) == 2589


def test_no_table_keeps_any_count(app: HypercareApp) -> None:
    """There is no table: one counts twice at every rebalance, leaks windows, and
    has to be recovered."""
    app.finalize()
    assert dict(app.tables) == {}
    assert not app.tables.changelog_topics


def test_all_topics_are_known_at_start(app: HypercareApp) -> None:
    """Nothing is subscribed later, which would wait 45 s: log and ingress are there."""
    app.finalize()
    for agent in app.agents.values():
        app.topics.add(cast(Any, agent.channel))
    names = {name for topic in app.topics for name in cast(Any, topic).topics}
    assert names == {LOG, *(app.hypercare.topic(name) for name in CODECS)}


def test_web_server_of_faust_stays_off(app: HypercareApp) -> None:
    """The worker command switches the web server on; the boot strategy does not."""
    app.conf.web_enabled = True
    assert not cast(Any, app.boot_strategy)._should_enable_web()


async def test_start_makes_no_directory(app: HypercareApp) -> None:
    """Faust's data folder is not made, so that its parent need not exist."""
    await app.on_first_start()
    assert not app.conf.datadir.exists()


async def test_end_is_watched_before_it_begins(
    app: HypercareApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog knows of the end before the first step of it can hang."""
    watched: list[bool] = []

    async def release_all() -> None:
        late_s = monotonic_s() + app.hypercare.shutdown_timeout_s
        watched.append(app.watchdog.expired(late_s))
        raise asyncio.CancelledError

    monkeypatch.setattr(app.lanes, "release_all", release_all)
    with pytest.raises(asyncio.CancelledError):
        await app.on_stop()
    assert watched == [True]


def test_libraries_log_from_info_on() -> None:
    """Their loggers build no debug records, which cost a tenth of the CPU."""
    levels = {name: logging.getLogger(name).level for name in LOUD}
    filters = {one: list(one.filters) for one in logging.getLogger().handlers}
    try:
        for name in LOUD:
            logging.getLogger(name).setLevel(logging.DEBUG)
        quieten()
        for name in LOUD:
            assert not logging.getLogger(f"{name}.any").isEnabledFor(logging.DEBUG)
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for handler, kept in filters.items():
            handler.filters[:] = kept


async def test_slow_records_give_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of slow records is cut so that the loop is not blocked for long: no
    slice takes more than a few times the limit once the pace is known."""
    rig = Rig([TP(LOG, 0)])
    await rig.own()
    now_s, slices = 0.0, []
    apply = CountingPartition.apply

    def slow(core: CountingPartition, records: Any) -> Any:
        nonlocal now_s
        now_s += 0.02 * len(records)
        slices.append(len(records))
        return apply(core, records)

    monkeypatch.setattr(CountingPartition, "apply", slow)
    rig.lanes._monotonic_s = lambda: now_s
    rig.thread.max_records = 100
    rig.thread.produce(TP(LOG, 0), 100)
    await rig.fetch()
    assert sum(slices) == 100
    assert max(slices[1:]) * 0.02 <= SLICE_S
    await rig.close()


def test_both_consumers_never_leave_when_idle() -> None:
    """A member that has nothing to fetch stays a member: having left it would never
    join again, and a worker that stands by would not take over."""
    assert log_options(Settings())["max_poll_interval_ms"] > 300 * 86_400 * 1000


async def test_idle_member_of_ours_still_asks() -> None:
    """Our own member asks the group for errors also when it wants no records."""
    rig = OwnRig([])
    await rig.fetch()
    assert rig.thread.fetched == [set()]


def test_read_release_is_the_installed_one() -> None:
    """Faust is pinned to the release that was read, and that one is installed."""
    wanted = (ROOT / "requirements" / "runtime.in").read_text("utf-8")
    (pinned,) = re.findall(r"^faust-streaming==(\S+)", wanted, flags=re.M)
    assert version("faust-streaming") == pinned
    locked = (ROOT / "requirements" / "runtime.txt").read_text("utf-8")
    (aiokafka,) = re.findall(r"^aiokafka==(\S+)", locked, flags=re.M)
    assert version("aiokafka") == aiokafka


@pytest.mark.parametrize("step", ["on_partitions_revoked", "on_assigned"])
async def test_failing_rebalance_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What goes wrong in a rebalance ends the process: the client would log it and
    go on as if the partitions had been given back or taken."""
    rig = OwnRig([TP(LOG, 0)])

    async def fail(tps: object) -> None:
        raise ValueError("impossible")

    for name in ("on_revoked", "on_assigned"):
        monkeypatch.setattr(rig.lanes, name, fail)
    with pytest.raises(Halted, match="impossible") as end:
        await getattr(rig.source, step)({TP(LOG, 0)})
    assert end.value.code is Exit.HANDLER


async def test_own_producer_keeps_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """State and outputs leave through an idempotent producer that waits for all
    replicas: retries neither double a record nor change its place."""
    given: dict[str, object] = {}

    class Producer:
        def __init__(self, **options: object) -> None:
            given.update(options)
            self.client = SimpleNamespace(_get_conn=None, _request_timeout_ms=1)

        async def start(self) -> None:
            """Be connected."""

    monkeypatch.setattr("streams.bus.AIOKafkaProducer", Producer)
    await Bus(Settings()).start()
    assert (given["enable_idempotence"], given["acks"]) == (True, "all")


async def test_unconnected_producer_sends_nothing() -> None:
    """Without a producer that is connected sending is refused, not waited for."""
    with pytest.raises(ConnectionError, match="not connected"):
        await Bus(Settings()).produce("t", [(b"k", b"v")])


def test_readers_can_ask_four_servers() -> None:
    """A frozen server takes a quarter of the time limit, so others can be asked."""
    options = aiokafka_reader_options(Settings(io_timeout_s=8.0), "test")
    assert options["request_timeout_ms"] == 2_000
