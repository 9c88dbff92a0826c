"""A candidate rule set beside the live one: the worker's machinery, and no way out.

It reads the same log as the workers, in a group of its own, and writes nothing there:
no tick, no rule set, no ingress, no pulse. So what workers read, and with it every byte
they say, is the same whether it runs or not. What it says goes to topics that nobody
who acts reads, unsigned and in mode shadow, whatever the file says.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics_core import Metric as Family

from detector.rulefile import RuleSet
from detector.wire import RECOMMENDATIONS, VERDICTS
from streams import bounded, gzipped, leaders
from streams.app import HypercareApp, faust_settings
from streams.bus import Bus
from streams.core import Core, DetectorCores
from streams.detecting import RULES_INTERVAL_S, Detecting
from streams.halt import end_process
from streams.ingress.agents import raw_topic
from streams.ingress.door import Door
from streams.ingress.intake import Intake
from streams.ingress.sink import LogSink
from streams.lanes import Lanes
from streams.metrics import Metrics, Readings
from streams.metrictable import PREFIX
from streams.outbox import DESTINATIONS, Ways
from streams.permissions import Role, shadow_group
from streams.settings import Settings, SourceKind
from streams.startup import require_topics
from streams.tick import TickSink
from streams.topics import LOG
from streams.topictable import ShadowTopics
from streams.wallclock import monotonic_s

logger = logging.getLogger(__name__)

MODE: Final = "shadow"
METRIC_PREFIX = f"{PREFIX}shadow_"
"""No alert and no dashboard of the live rules may take these series for theirs."""


def in_shadow(rules: RuleSet) -> RuleSet:
    """The rules, each in mode shadow; what follows from the mode it had stays.

    Examples
    --------
    >>> from detector.rulefile import Rule
    >>> tried = in_shadow(RuleSet(1, (Rule(name="all", mode="auto"),)))
    >>> tried.rules[0].mode, tried.rules[0].without_baseline
    ('shadow', 'hold')
    """
    return RuleSet(rules.version, tuple(replace(r, mode=MODE) for r in rules.rules))


def shadow_ways(name: str) -> Ways:
    """Where outputs of a candidate go: verdicts and recommendations, to its own topics.

    Dead letters and what people told are the workers' to say.
    """
    topics = ShadowTopics.of(name)
    own = {VERDICTS: (topics.verdicts,), RECOMMENDATIONS: (topics.recommendations,)}
    return Ways(
        {word: own.get(word, ()) for word in DESTINATIONS},
        f"/hypercare/shadow/{name}".encode(),
    )


class ShadowCores(DetectorCores):
    """Cores under the candidate's rules, whatever the log puts in force."""

    def new(self, partition: int) -> Core:
        """An empty partition."""
        return self._kept(super().new(partition))

    def restore(
        self, partition: int, shards: Mapping[str, bytes], next_offset: int
    ) -> Core:
        """The partition that wrote the shards, under the rules as they are now."""
        return self._kept(super().restore(partition, shards, next_offset))

    def put(self, core: Core) -> bool:
        """Bring a partition under the rules as they are now; False: it is."""
        if core.partition.rulebook.default.hash == self.rules.hash:
            return False
        core.partition.put_rules(self.rules)
        return True

    def _kept(self, core: Core) -> Core:
        core.partition.keeps_rules = True
        self.put(core)
        return core


class ShadowMetrics(Metrics):
    """The metrics of a worker under names of their own, with the candidate's name."""

    def __init__(self, readings: Readings, name: str) -> None:
        super().__init__(readings)
        self._name = name

    def collect(self) -> Iterator[Family]:
        """Families with the prefix ``hypercare_shadow_`` and a label ``shadow``."""
        for family in super().collect():
            yield self._renamed(family)

    def _renamed(self, family: Family) -> Family:
        made = Family(_shadowed(family.name), family.documentation, family.type)
        made.samples = [
            one._replace(
                name=_shadowed(one.name), labels={**one.labels, MODE: self._name}
            )
            for one in family.samples
        ]
        return made


def _shadowed(name: str) -> str:
    return METRIC_PREFIX + name.removeprefix(PREFIX)


class Shadowing(Detecting):
    """What a shadow has beside Faust: the candidate's file and what is shown of it."""

    cores: ShadowCores

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        tried = in_shadow(self.watch.rules)
        self.cores = ShadowCores(tried, settings.topic(LOG))
        self._say()

    def metrics_of(self, readings: Readings) -> Metrics:
        """Metrics that nobody takes for a worker's."""
        return ShadowMetrics(readings, self.settings.shadow)

    async def watch_rules(self, lanes: Lanes, sink: TickSink) -> None:
        """Put the file in force when it changes, straight in the cores.

        Nothing is written: a command in the log would be the workers' rule set.
        """
        while True:
            if self.watch.poll() is not None:
                self.cores.rules = in_shadow(self.watch.rules)
                self._say()
            for lane in list(lanes.lanes.values()):
                if lane.is_ready and isinstance(lane.core, Core):
                    self.cores.put(lane.core)
            await asyncio.sleep(RULES_INTERVAL_S)

    def _say(self) -> None:
        logger.info(
            "shadow.rules name=%s file=%s hash=%s as_shadow=%s",
            *(self.settings.shadow, self.settings.rules),
            *(self.watch.rules.hash[:12], self.cores.rules.hash[:12]),
        )


class ShadowApp(HypercareApp):
    """The application of one candidate: it reads the log and writes its own topics."""

    installation: Settings

    async def _has_topics(self) -> bool:
        return await require_topics(
            self.installation, self.pause_unless_told_to_end, Role.SHADOW
        )

    def duties(self) -> Iterator[Coroutine[Any, Any, None]]:
        """The rule file alone: time is told by the workers' ticks."""
        assert self.detecting is not None
        yield self.detecting.watch_rules(self.lanes, self.bus)

    def pulses(self) -> None:
        """None: a pulse says to gates until when the log was judged."""


def create_shadow(settings: Settings, name: str, rules: Path, port: int) -> ShadowApp:
    """Build the application of one candidate.

    Parameters
    ----------
    settings : Settings
        Of the installation, with the live rules or without.
    name : str
        Of the candidate; its topics, group and metrics have it.
    rules : Path
        The candidate's rule file.
    port : int
        Where its metrics and health are served.

    Raises
    ------
    RuleFileError, OSError
        The file can not be used.
    """
    bounded.install(bare=settings.topic(LOG))
    gzipped.install()
    leaders.install()
    group = shadow_group(settings, name)
    own = replace(
        settings,
        group=group,
        shadow=name,
        rules=rules,
        web_port=port,
        source=SourceKind.FAUST,
        # It must not sign: what is not signed is taken by nobody who acts.
        signing_keys=(),
    )
    bus = Bus(own, ShadowTopics.of(name).state, ways=shadow_ways(name))
    detecting = Shadowing(own)
    lanes = Lanes(own, detecting.cores, bus, halt=end_process, monotonic_s=monotonic_s)
    # No ingress comes through this door, so nothing is hashed with its key.
    door = Door(own, os.urandom(32), LogSink(own, bus), lanes.counters)
    app = ShadowApp(
        group,
        lanes=lanes,
        intake=Intake(door, halt=end_process, monotonic_s=monotonic_s, reads=False),
        bus=bus,
        hypercare=own,
        detecting=detecting,
        **faust_settings(own),
    )
    app.installation = own
    # Subscribed without an agent: the batch source takes its records.
    app.topics.add(raw_topic(app, lanes.topic))
    return app
