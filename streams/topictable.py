"""Which topics there are, how each is set up, and what a difference means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.settings import Settings

DAY_MS = 86_400_000
LOG = "events"
STATE = "state"
DEADLETTER = "deadletter"
PULSE = "pulse"
EXECUTIONS = "executions"
DELIVERIES = "deliveries"
HOT = "hot"
HOT_STATE = "hot-state"
INGRESS = ("usage", "errors", "deploys", "feedback")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: the last part of its name and what it needs.

    ``own_partitions`` is ``None`` where the topic has as many partitions as the log,
    or, of the topics of combiners, as the settings say.
    ``vital`` configuration decides correctness, the rest is economy.
    """

    name: str
    purpose: str
    cleanup: str
    config: Mapping[str, str] = field(default_factory=dict)
    vital: frozenset[str] = frozenset({"cleanup.policy"})
    own_partitions: int | None = None

    def configs(self) -> dict[str, str]:
        """Return the whole configuration that is asked of Kafka."""
        return {"cleanup.policy": self.cleanup, **self.config}


def _kept(days: int) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS)}


BY_BROKER = {"message.timestamp.type": "LogAppendTime"}
"""A worker whose clock is wrong must still be able to write: brokers refuse records
that claim to be an hour ahead, and retention deletes those that claim to be old."""

SMALL_SEGMENTS = {
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    **BY_BROKER,
}
"""The active segment is never compacted: small segments bound recovery."""

TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(
        LOG,
        "the one input log, keyed by service",
        "delete",
        # The arrival clock must not be a sender's clock.
        {**_kept(7), **BY_BROKER},
        frozenset({"cleanup.policy", "message.timestamp.type"}),
    ),
    TopicSpec(
        STATE,
        "claims, snapshot shards and manifests, one partition per log partition",
        "compact",
        SMALL_SEGMENTS,
    ),
    *(
        TopicSpec(name, f"ingress: {name} in any known format", "delete", _kept(3))
        for name in INGRESS
    ),
    TopicSpec("verdicts", "newest verdict per release", "compact", BY_BROKER),
    TopicSpec(
        "recommendations",
        "recommendations by id",
        "delete",
        {**_kept(30), **BY_BROKER},
    ),
    TopicSpec(
        "audit",
        "every verdict, recommendation and command",
        "delete",
        {**_kept(90), **BY_BROKER},
    ),
    TopicSpec(
        PULSE,
        "until when each partition is read, said by its owner",
        "compact",
        SMALL_SEGMENTS,
        own_partitions=1,
    ),
    TopicSpec(
        EXECUTIONS,
        "claims to act, their outcomes, people's orders",
        "delete",
        # An order stands until it is taken back: nothing here may grow old.
        {"retention.ms": "-1", "retention.bytes": "-1", **BY_BROKER},
        frozenset({"cleanup.policy", "message.timestamp.type", "retention.ms"}),
        own_partitions=1,
    ),
    TopicSpec(
        DELIVERIES,
        "what receivers were told, and what they are still to be told",
        "compact",
        SMALL_SEGMENTS,
        own_partitions=1,
    ),
    TopicSpec(
        DEADLETTER,
        "records that could not be used",
        "delete",
        {**_kept(14), **BY_BROKER},
        own_partitions=1,
    ),
)


HOT_TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(
        HOT,
        "single events of hot services, keyed by session",
        "delete",
        {**_kept(3), **BY_BROKER},
        frozenset({"cleanup.policy", "message.timestamp.type"}),
    ),
    TopicSpec(HOT_STATE, "the combiners' state", "compact", SMALL_SEGMENTS),
)
"""What combiners need, where there are any."""


SHADOW_PREFIX = "shadow."
"""Begins the names of all topics of candidates."""


class ShadowTopics(NamedTuple):
    """Names of the topics of one candidate rule set, without the prefix."""

    state: str
    verdicts: str
    recommendations: str

    @classmethod
    def of(cls, name: str) -> ShadowTopics:
        """Those of a candidate by its name."""
        said = ("state", "verdicts", "recommendations")
        return cls(*(f"{SHADOW_PREFIX}{name}.{topic}" for topic in said))


def shadow_specs(name: str) -> tuple[TopicSpec, ...]:
    """What a candidate rule set needs; nothing that acts reads any of it."""
    topics = ShadowTopics.of(name)
    return (
        TopicSpec(topics.state, "the candidate's snapshots", "compact", SMALL_SEGMENTS),
        *(
            # Not compacted: `hypercare pilot` wants to know when it was said first.
            TopicSpec(said, "what it would say", "delete", {**_kept(90), **BY_BROKER})
            for said in (topics.verdicts, topics.recommendations)
        ),
    )


def topics_of(settings: Settings) -> tuple[TopicSpec, ...]:
    """Return the topics that these settings ask for."""
    found = TOPICS + HOT_TOPICS if settings.hot_partitions else TOPICS
    return found + shadow_specs(settings.shadow) if settings.shadow else found


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the cluster differs from the table, and the fix.

    ``topic`` is the name of a topic, or of a group where ``kind`` says so.
    """

    topic: str
    what: str
    found: str
    wanted: str
    fix: str
    fatal: bool
    kind: str = "topic"

    def __str__(self) -> str:
        word = "error" if self.fatal else "warning"
        return (
            f"{word}: {self.kind} {self.topic}: {self.what} is {self.found}, "
            f"wanted {self.wanted}. {self.fix}"
        )


def partitions_of(spec: TopicSpec, settings: Settings) -> int:
    """Return how many partitions a topic is to have."""
    if spec in HOT_TOPICS:
        return settings.hot_partitions
    return spec.own_partitions or settings.partitions


def compare(
    spec: TopicSpec, settings: Settings, partitions: int, config: Mapping[str, str]
) -> list[Difference]:
    """Return how an existing topic differs from its row of the table."""
    name = settings.topic(spec.name)
    wanted = partitions_of(spec, settings)
    found: list[Difference] = []
    if partitions != wanted:
        if spec.name == EXECUTIONS:
            fix = "Create it anew with one partition: the order of claims decides"
            what = "partitions", str(partitions), str(wanted), fix
            return [Difference(name, *what, fatal=True)]
        states = (STATE, HOT_STATE, ShadowTopics.of(settings.shadow).state)
        fatal = spec.name in (LOG, HOT, *states)
        variable = "HOT_PARTITIONS" if spec in HOT_TOPICS else "PARTITIONS"
        found.append(_partition_difference(name, partitions, wanted, fatal, variable))
    for key, value in spec.configs().items():
        have = config.get(key)
        if have is None or have == value:
            continue
        fix = f"kafka-configs --alter --topic {name} --add-config {key}={value}"
        if key not in spec.vital:
            fix += (
                ". Leave it where a managed Kafka refuses: it costs space or time only"
                if key not in BY_BROKER
                else ". Without it a worker whose clock is an hour ahead is refused"
            )
        found.append(Difference(name, key, have, value, fix, key in spec.vital))
    return found


def _partition_difference(
    name: str, partitions: int, wanted: int, fatal: bool, variable: str
) -> Difference:
    fix = (
        f"Set HYPERCARE_{variable}={partitions} if the topic is right. The number can "
        "not change while there is state: a service would move to a partition that "
        "does not know it. To change it: stop the workers, create new topics under "
        "another HYPERCARE_PREFIX and rebuild"
        if fatal
        else "Nothing breaks by it; leave it or create the topic anew"
    )
    return Difference(name, "partitions", str(partitions), str(wanted), fix, fatal)
