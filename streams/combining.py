"""The combiner of hot services as a process: the worker's machinery, another core.

Lanes, fence, snapshots and outbox are those of a worker; only the topics differ. What
leaves the outbox are records of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from detector.combiner import Combiner, blocks
from detector.records import LogRecord, Outputs
from detector.state import StateError
from streams import bounded, gzipped, leaders
from streams.app import HypercareApp, faust_settings
from streams.bus import Bus
from streams.detecting import Detecting
from streams.halt import end_process
from streams.history import DamagedState
from streams.ingress.agents import raw_topic
from streams.ingress.door import Door
from streams.ingress.intake import Intake
from streams.ingress.sink import LogSink
from streams.lanes import Lanes
from streams.permissions import Role, group_of
from streams.progress import Counted
from streams.settings import Settings, SettingsError, SourceKind
from streams.startup import require_topics
from streams.tick import Clock
from streams.topics import HOT, HOT_STATE
from streams.wallclock import monotonic_s

Count = Callable[[Counted, int], None]


class CombinerCore:
    """A combiner behind the interface of ``streams.lane``."""

    def __init__(self, combiner: Combiner, count: Count) -> None:
        self.combiner = combiner
        self._count = count

    @property
    def next_offset(self) -> int:
        """Next offset of the hot topic to apply."""
        return self.combiner.next_offset

    @next_offset.setter
    def next_offset(self, offset: int) -> None:
        self.combiner.next_offset = offset

    def apply(self, records: Sequence[LogRecord]) -> Outputs:
        """Apply records in offset order, and count what became of them."""
        before = self.combiner.counts.copy()
        outputs = self.combiner.apply(records)
        for word, count in (self.combiner.counts - before).items():
            result, _, reason = word.partition(".")
            key = Counted(self.combiner.topic, "envelope", result, reason)
            self._count(key, count)
        return outputs

    @property
    def resume_offset(self) -> int:
        """Where a restore reads on: a snapshot always holds everything."""
        return self.next_offset

    def dirty_shards(
        self, also: Collection[str] = (), *, everything: bool = False
    ) -> dict[str, bytes | None]:
        """What changed since ``mark_clean``, and what is named."""
        return blocks.dirty_blocks(self.combiner, also)

    def all_shards(self) -> dict[str, bytes]:
        """The whole state."""
        return blocks.all_blocks(self.combiner)

    def mark_clean(self) -> None:
        """Remember the state as written."""
        blocks.mark_clean(self.combiner)

    def wants_tick(self, now_ms: int) -> bool:
        """Whether a window could be sent once time is known."""
        return self.combiner.wants_tick(now_ms)


class CombinerCores:
    """Makes combiners: empty ones or restored ones.

    Parameters
    ----------
    identity_key : bytes
        With what sessions are remembered.
    topic : str
        Full name of the hot topic.
    partitions : int
        Of that topic; as many combiners share its services.
    count : callable
        Is told what became of events.
    """

    def __init__(
        self, identity_key: bytes, topic: str, partitions: int, count: Count
    ) -> None:
        self._identity_key = identity_key
        self._topic = topic
        self._partitions = partitions
        self.count = count

    def new(self, partition: int) -> CombinerCore:
        """A combiner that has seen nothing."""
        return CombinerCore(self._empty(partition), self.count)

    def restore(
        self, partition: int, shards: Mapping[str, bytes], next_offset: int
    ) -> CombinerCore:
        """The combiner that wrote the shards.

        Raises
        ------
        DamagedState
            If this code can not read them: too new, or damaged.
        """
        combiner = self._empty(partition)
        try:
            blocks.restore(combiner, shards, next_offset)
        except StateError as error:
            raise DamagedState(str(error)) from error
        return CombinerCore(combiner, self.count)

    def _empty(self, partition: int) -> Combiner:
        return Combiner(
            partition, self._identity_key, self._topic, senders=self._partitions
        )


class BrokerTime:
    """The brokers' time: what a hot partition got before stands before a tick."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    async def until_ms(self) -> int | None:
        """What time it is."""
        return self._now_ms()


class CombinerApp(HypercareApp):
    """The application of one combiner: no ingress, and topics of its own."""

    installation: Settings

    async def _has_topics(self) -> bool:
        return await require_topics(
            self.installation, self.pause_unless_told_to_end, Role.COMBINER
        )

    def _time(self) -> Clock:
        return BrokerTime(self.bus.clock.now_ms)

    def pulses(self) -> None:
        """None: partitions of the hot topic are not those of the log."""


def create_combiner(settings: Settings) -> CombinerApp:
    """Build the application of one combiner.

    Raises
    ------
    SettingsError
        There is no hot topic in these settings, or no lasting identity key.
    """
    if not settings.hot_partitions:
        raise SettingsError(
            [
                "HYPERCARE_HOT_PARTITIONS is 0: set it to the partitions that the hot "
                "topic is to have, the same for all, and run `hypercare topics create`"
            ]
        )
    bounded.install(bare=settings.topic(HOT))
    gzipped.install()
    leaders.install()
    group = group_of(settings, Role.COMBINER)
    own = replace(
        settings,
        group=group,
        partitions=settings.hot_partitions,
        source=SourceKind.FAUST,
    )
    # A random key, as a demonstration has, would forget all sessions at a restart.
    identity_key = replace(settings, demo=False).require_identity_key()
    topic = settings.topic(HOT)
    cores = CombinerCores(
        identity_key, topic, settings.hot_partitions, lambda key, count: None
    )
    bus = Bus(own, HOT_STATE)
    lanes = Lanes(own, cores, bus, halt=end_process, monotonic_s=monotonic_s, log=HOT)
    cores.count = lanes.counters.count_ingress
    door = Door(own, identity_key, LogSink(own, bus), lanes.counters)
    app = CombinerApp(
        group,
        lanes=lanes,
        intake=Intake(door, halt=end_process, monotonic_s=monotonic_s, reads=False),
        bus=bus,
        hypercare=own,
        detecting=Detecting(own),
        **faust_settings(own),
    )
    app.installation = settings
    # Subscribed without an agent: the batch source takes its records.
    app.topics.add(raw_topic(app, lanes.topic))
    return app
