"""The detector in a worker: its rules, its cores, and what is shown of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from detector.rulefile import RuleSet, load_rules
from detector.view import PartitionView, partition_view
from streams.core import Core, DetectorCores
from streams.errors import Refused
from streams.families import RulesStatus
from streams.lane import TRANSIENT, Lane
from streams.lanes import EVERY_SERVICE_KEY, Lanes
from streams.metrics import Metrics, Readings
from streams.readiness import Readiness
from streams.reload import RuleWatch, ruleset_command
from streams.rulesdata import DEFAULT_RULES, default_rules_text
from streams.serving import ListenError, Variables
from streams.settings import Settings
from streams.statelog import Write
from streams.tick import TickSink
from streams.topics import LOG
from streams.wallclock import monotonic_s, now_ms
from streams.web import Web

logger = logging.getLogger(__name__)

RULES_INTERVAL_S = 1.0


def read_rules(settings: Settings) -> RuleSet:
    """The rule set of this worker, its own file's or the shipped one.

    Raises
    ------
    RuleFileError, OSError
        If the file can not be used; a worker does not start on half a rule set.
    """
    if settings.rules is None:
        return load_rules(default_rules_text(), source=DEFAULT_RULES)
    return load_rules(settings.rules.read_bytes(), source=str(settings.rules))


class Detecting:
    """What a worker has beside Faust when it runs the detector.

    Parameters
    ----------
    settings : Settings
        Rule file, addresses, intervals.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        rules = read_rules(settings)
        self.watch = RuleWatch(settings.rules, rules)
        self.cores: DetectorCores = DetectorCores(rules, settings.topic(LOG))
        self._asked: dict[int, tuple[str, int]] = {}
        self._web: Web | None = None
        self._metrics: Metrics | None = None

    async def start(self, lanes: Lanes) -> None:
        """Serve metrics and health.

        Raises
        ------
        Refused
            The address is taken or not ours.
        """
        metrics = self.metrics_of(
            Readings(
                views=lambda: self.views(lanes),
                lanes=lanes.report,
                counters=lanes.counters,
                rules=self.rules_status,
                now_ms=now_ms,
                monotonic_s=monotonic_s,
            )
        )
        interval_s = self.settings.snapshot_interval_s
        web = Web(
            metrics,
            Readiness(snapshot_interval_s=interval_s),
            is_member=lambda: lanes.assigned_once,
            monotonic_s=monotonic_s,
            host=self.settings.web_host,
            port=self.settings.web_port,
            names=self.settings.web_names,
            variables=Variables(
                host="HYPERCARE_WEB_HOST",
                port="HYPERCARE_WEB_PORT",
                names="HYPERCARE_WEB_NAMES",
            ),
        )
        try:
            await web.start()
        except ListenError as error:
            raise Refused(str(error)) from error
        self._web, self._metrics = web, metrics
        logger.info("web.listening host=%s port=%d", web.host, web.port)

    def metrics_of(self, readings: Readings) -> Metrics:
        """The metrics that are served."""
        return Metrics(readings)

    async def stop(self) -> None:
        """Serve no longer."""
        web, self._web = self._web, None
        if web is not None:
            await web.stop()

    def observe_tick(self, seconds: float) -> None:
        """Note how long one round of ticks took."""
        if self._metrics is not None:
            self._metrics.observe_tick(seconds)

    def views(self, lanes: Lanes) -> Iterator[PartitionView]:
        """One view per partition that is restored, taken when it is asked for."""
        for number in sorted(lanes.lanes):
            lane = lanes.lanes.get(number)  # may have gone since
            if lane is not None and lane.is_ready and isinstance(lane.core, Core):
                yield partition_view(lane.core.partition)

    def rules_status(self) -> RulesStatus:
        """How many rules are in force, and whether the file as it is now is."""
        watch = self.watch
        return RulesStatus(len(watch.rules.rules), watch.successful, watch.problem)

    async def watch_rules(self, lanes: Lanes, sink: TickSink) -> None:
        """Bring every partition under the rules of this worker, until cancelled."""
        while True:
            self.watch.poll()
            self.cores.rules = self.watch.rules
            for lane in list(lanes.lanes.values()):
                try:
                    await self._align(lane, lanes.topic, sink)
                except TRANSIENT as error:
                    logger.warning(
                        "rules.put_off partition=%d %r", lane.partition, error
                    )
            await asyncio.sleep(RULES_INTERVAL_S)

    async def _align(self, lane: Lane, topic: str, sink: TickSink) -> None:
        """Ask a partition once to take the rules over, through the log."""
        rules = self.watch.rules
        if not lane.is_ready or not isinstance(lane.core, Core):
            return
        if lane.core.partition.rulebook.default.hash == rules.hash:
            self._asked.pop(lane.partition, None)
            return
        hash_asked, offset = self._asked.get(lane.partition, ("", -1))
        if hash_asked == rules.hash and lane.next_offset <= offset:
            return
        write: Write = (EVERY_SERVICE_KEY, ruleset_command(rules, now_ms()))
        (offset,) = await sink.produce(topic, [write], partition=lane.partition)
        self._asked[lane.partition] = (rules.hash, offset)
        logger.info(
            "rules.sent partition=%d hash=%s offset=%d",
            *(lane.partition, rules.hash[:12], offset),
        )
