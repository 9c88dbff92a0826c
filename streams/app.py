"""The Faust application: ``faust -A streams.app worker``.

Wiring only. :func:`create_app` builds an application from settings and a core
factory; the name ``app`` of this module is made from the environment when it is
first asked for, so importing the module needs no configuration.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError as AioKafkaError
from faust.app import BootStrategy
from faust.types.transports import TransportT

from detector.rulefile import RuleFileError
from streams import bounded, gzipped, leaders
from streams.bus import Bus
from streams.connection import faust_options
from streams.detecting import Detecting
from streams.errors import Refused
from streams.halt import BEAT_INTERVAL_S, Exit, Watchdog, end_process
from streams.heap import TRIM_REST, TRIM_S, collect_rarely, collect_young, trimmer
from streams.ingress.agents import raw_topic, register
from streams.ingress.door import Door
from streams.ingress.drained import Drained
from streams.ingress.intake import Intake
from streams.ingress.look import IngressLook
from streams.ingress.sink import LogSink
from streams.lanes import Lanes, Source
from streams.logclient import LogClient
from streams.membership import (
    FETCH_BYTES,
    FETCH_RECORDS,
    POLL_INTERVAL_S,
    heartbeat_s,
    join_s,
    release_s,
)
from streams.ownsource import IngressOnly, OwnSource
from streams.ports import BatchHandler, CoreFactory
from streams.pulse import Pulses
from streams.quiet import quieten
from streams.settings import Settings, SettingsError, SourceKind
from streams.signing import Signer
from streams.source import BatchTransport
from streams.startup import require_topics
from streams.tick import Clock, Ticker
from streams.topictable import LOG, PULSE
from streams.wallclock import monotonic_s

LOOP_STALL_LIMIT_S = 60.0

WATCH_S = 1.0
"""What the watchdog may be late: the whole end stays within its limit."""


class NoWeb(BootStrategy):
    """Faust's services without its web server.

    ``web_enabled=False`` alone is not enough: Faust's ``worker`` command switches
    it on again, on all interfaces and without any authentication.
    """

    enable_web = False


class HypercareApp(faust.App):
    """Faust's application with the batch source, lanes, ticks and a watchdog.

    Parameters
    ----------
    lanes : Lanes
        Who takes the log's batches.
    intake : Intake
        Who takes those of the ingress topics.
    bus : Bus
        The worker's own producer and readers.
    hypercare : Settings
        The worker's settings.
    detecting : Detecting or None
        Rules and what is shown; None with cores that are not the detector's.
    """

    BootStrategy = NoWeb

    def __init__(
        self,
        *args: Any,
        lanes: Lanes,
        intake: Intake,
        bus: Bus,
        hypercare: Settings,
        detecting: Detecting | None,
        **kwargs: Any,
    ) -> None:
        self.detecting = detecting
        self.lanes = lanes
        self.intake = intake
        self.bus = bus
        self.hypercare = hypercare
        self.look = IngressLook(bus)
        self.watchdog = Watchdog(stall_limit_s=LOOP_STALL_LIMIT_S)
        self.own_source: OwnSource | None = None
        if hypercare.source is SourceKind.OWN:
            client = LogClient(hypercare, lanes.topic)
            self.own_source = OwnSource(
                *(hypercare, lanes, client), halt=end_process, monotonic_s=monotonic_s
            )
        super().__init__(*args, **kwargs)

    def _new_transport(self) -> TransportT:
        batch: BatchHandler = self.lanes
        if self.own_source is not None:
            batch = IngressOnly(self.lanes)
        return BatchTransport(
            self.conf.broker_consumer,
            self,
            batch=batch,
            intake=self.intake,
            io_timeout_s=self.hypercare.io_timeout_s,
        )

    def _create_directories(self) -> None:
        """Make no directory: there are no tables, and Faust would use the cwd."""

    async def on_start(self) -> None:
        """Connect before the first partition can be assigned."""
        quieten()
        self.watchdog.start()
        if self.detecting is not None:
            await self._serve(self.detecting)
        if not await self._has_topics():
            end_process(Exit.STOPPED, "worker.stopped before Kafka answered")
        try:
            await self.bus.start()
        except (AioKafkaError, OSError) as error:
            end_process(Exit.UNREACHABLE, "kafka.gone: %r: start again", error)
        self.lanes.source = self.own_source or cast(Source, self.consumer)
        await super().on_start()

    async def _has_topics(self) -> bool:
        """Wait until the topics are there; False if told to end meanwhile."""
        return await require_topics(self.hypercare, self.pause_unless_told_to_end)

    def _time(self) -> Clock:
        """Until when what is read is complete."""
        return Drained(self.look, now_ms=self.bus.clock.now_ms)

    def pulses(self) -> Pulses | None:
        """Who says until when the log is read; None where it is not what is read."""
        if self.detecting is None:
            return None
        topic = self.hypercare.topic(PULSE)
        return Pulses(self.lanes, self.bus, self.bus.clock, topic)

    async def _serve(self, detecting: Detecting) -> None:
        """Show health while the worker still waits for Kafka."""
        try:
            await detecting.start(self.lanes)
        except Refused as error:
            end_process(Exit.REFUSED, "web.refused: %s", error)

    async def pause_unless_told_to_end(self, seconds: float) -> bool:
        """Wait, alive to the watchdog and to SIGTERM."""
        self.watchdog.beat()
        await self.sleep(seconds)
        return not self.should_stop

    async def on_started(self) -> None:
        """Begin to tick and to beat once Faust runs."""
        collect_rarely()
        self.add_future(self._beat())
        self.add_future(self._give_memory_back())
        for duty in self.duties():
            self.add_future(duty)
        if self.own_source is not None:
            await self.add_runtime_dependency(self.own_source)
        await super().on_started()

    def duties(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to be done beside reading, until the end: all of it writes."""
        ticker = Ticker(
            self.lanes,
            self.bus,
            self._time(),
            monotonic_s=monotonic_s,
            observe=self._observe_tick,
        )
        yield ticker.run(self.hypercare.tick_interval_s)
        if self.detecting is not None:
            yield self.detecting.watch_rules(self.lanes, self.bus)
        pulses = self.pulses()
        if pulses is not None:
            yield pulses.run()

    async def on_stop(self) -> None:
        """Write the last snapshots, let Faust commit and leave, disconnect."""
        limit_s = self.hypercare.shutdown_timeout_s
        self.watchdog.ending(limit_s=limit_s - min(WATCH_S, limit_s / 2))
        await asyncio.gather(
            self.lanes.release_all(), self.intake.close(release_s(self.hypercare))
        )
        if self.own_source is not None:
            await self.own_source.stop()
        await super().on_stop()
        await self.intake.stop()
        await self.look.stop()
        await self.bus.stop()
        if self.detecting is not None:
            await self.detecting.stop()

    def _observe_tick(self, seconds: float) -> None:
        if self.detecting is not None:
            self.detecting.observe_tick(seconds)

    async def _give_memory_back(self) -> None:
        """Ask for it now and then, beside the loop: a large heap takes its time."""
        trim, pause_s = trimmer(), TRIM_S
        while True:
            await asyncio.sleep(pause_s)
            collect_young()
            took_s = await asyncio.to_thread(trim) if trim else 0.0
            pause_s = max(TRIM_S, took_s * TRIM_REST)

    async def _beat(self) -> None:
        while True:
            self.watchdog.beat()
            await asyncio.sleep(BEAT_INTERVAL_S)


def create_app(settings: Settings, cores: CoreFactory | None = None) -> HypercareApp:
    """Build the application of one worker.

    Parameters
    ----------
    settings : Settings
        What can be set.
    cores : CoreFactory, optional
        Makes the core of a partition; the detector with the shipped rules where
        none is given.
    """
    bounded.install(bare=settings.topic(LOG))
    gzipped.install()
    leaders.install()
    identity_key = settings.require_identity_key()
    signer = Signer.load(settings.signing_keys) if settings.signing_keys else None
    bus = Bus(settings, signer=signer)
    detecting = None
    if cores is None:
        detecting = Detecting(settings)
        cores = detecting.cores
    lanes = Lanes(
        settings,
        cores,
        bus,
        halt=end_process,
        monotonic_s=monotonic_s,
    )
    door = Door(settings, identity_key, LogSink(settings, bus), lanes.counters)
    intake = Intake(door, halt=end_process, monotonic_s=monotonic_s)
    app = HypercareApp(
        settings.group,
        lanes=lanes,
        intake=intake,
        bus=bus,
        hypercare=settings,
        detecting=detecting,
        **faust_settings(settings),
    )
    # Subscribed without an agent: the batch source takes their records.
    log = {lanes.topic} if settings.source is SourceKind.FAUST else set()
    for topic in sorted(log | intake.topics):
        app.topics.add(raw_topic(app, topic))
    register(app, door, end_process)
    return app


def faust_settings(settings: Settings) -> dict[str, Any]:
    """Return the Faust settings this design stands on, each with its reason."""
    return {
        **faust_options(settings),
        # No tables: counters in tables are counted twice at every rebalance.
        "store": "memory://",
        "table_standby_replicas": 0,
        "datadir": Path(tempfile.gettempdir()) / f"hypercare-{os.getpid()}",
        "web_enabled": False,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        # False loses batches in flight of take() at every graceful stop.
        "stream_wait_empty": True,
        "consumer_auto_offset_reset": "earliest",
        "producer_acks": -1,
        "broker_max_poll_records": FETCH_RECORDS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "broker_session_timeout": settings.session_timeout_s,
        "broker_request_timeout": join_s(settings),
        "broker_heartbeat_interval": heartbeat_s(settings),
        "broker_max_poll_interval": POLL_INTERVAL_S,
        "broker_commit_interval": 1.0,
        "loghandlers": [],
    }


def __getattr__(name: str) -> HypercareApp:
    """Make ``app`` from the environment the first time it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        made = create_app(Settings.from_environment(os.environ))
    except (SettingsError, RuleFileError, Refused) as error:
        sys.stderr.write(f"hypercare: {error}\n")
        raise SystemExit(Exit.SETTINGS) from error
    globals()["app"] = made
    return made
