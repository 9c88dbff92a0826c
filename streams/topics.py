"""Which topics there are, how each is set up, and whether the cluster agrees.

One table. ``create`` makes what is missing and never changes what is there;
``check`` compares and says, for every difference, what it breaks and how to fix it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kafka.admin import (
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    NewTopic,
)
from kafka.errors import KafkaError, TopicAlreadyExistsError

from streams.settings import Settings

DAY_MS = 86_400_000
LOG = "events"
STATE = "state"
DEADLETTER = "deadletter"
INGRESS = ("usage", "errors", "deploys", "feedback")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic: the last part of its name and what it needs.

    ``own_partitions`` is ``None`` where the topic has as many partitions as the log.
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


TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(
        LOG,
        "the one input log, keyed by service",
        "delete",
        # The arrival clock must not be a sender's clock.
        {**_kept(7), "message.timestamp.type": "LogAppendTime"},
        frozenset({"cleanup.policy", "message.timestamp.type"}),
    ),
    TopicSpec(
        STATE,
        "claims, snapshot shards and manifests, one partition per log partition",
        "compact",
        # The active segment is never compacted: small segments bound recovery.
        {
            "segment.bytes": str(16 * 1024 * 1024),
            "segment.ms": "600000",
            "min.cleanable.dirty.ratio": "0.1",
        },
    ),
    *(
        TopicSpec(name, f"ingress: {name} in any known format", "delete", _kept(3))
        for name in INGRESS
    ),
    TopicSpec("verdicts", "newest verdict per release", "compact"),
    TopicSpec("recommendations", "recommendations by id", "delete", _kept(30)),
    TopicSpec("audit", "every verdict and recommendation", "delete", _kept(90)),
    TopicSpec(
        DEADLETTER,
        "records that could not be used",
        "delete",
        _kept(14),
        own_partitions=1,
    ),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the cluster differs from the table, and the fix."""

    topic: str
    what: str
    found: str
    wanted: str
    fix: str
    fatal: bool

    def __str__(self) -> str:
        word = "error" if self.fatal else "warning"
        return (
            f"{word}: topic {self.topic}: {self.what} is {self.found}, "
            f"wanted {self.wanted}. {self.fix}"
        )


class TopicsError(Exception):
    """Kafka could not be asked about topics, or refused to create one."""


def _unreachable(settings: Settings, error: Exception) -> TopicsError:
    return TopicsError(
        f"Kafka at {settings.kafka} does not answer ({error}): start it "
        "(`hypercare kafka start`) or set HYPERCARE_KAFKA=host:port"
    )


def _require_listener(settings: Settings) -> None:
    """Fail at once where nothing listens.

    The admin client would try for long, and leaves sockets open when it gives up.
    """
    problem: OSError | None = None
    for server in settings.kafka.split(","):
        host, _, port = server.rpartition(":")
        address = (host.strip("[]"), int(port))
        try:
            socket.create_connection(address, timeout=settings.io_timeout_s).close()
        except OSError as error:
            problem = error
        else:
            return
    if problem is not None:
        raise _unreachable(settings, problem) from problem


def partitions_of(spec: TopicSpec, settings: Settings) -> int:
    """Return how many partitions a topic is to have."""
    return spec.own_partitions or settings.partitions


def compare(
    spec: TopicSpec, settings: Settings, partitions: int, config: Mapping[str, str]
) -> list[Difference]:
    """Return how an existing topic differs from its row of the table."""
    name = settings.topic(spec.name)
    wanted = partitions_of(spec, settings)
    found: list[Difference] = []
    if partitions != wanted and spec.name in (LOG, STATE):
        found.append(_partition_difference(name, partitions, wanted))
    for key, value in spec.configs().items():
        have = config.get(key)
        if have is None or have == value:
            continue
        fix = f"kafka-configs --alter --topic {name} --add-config {key}={value}"
        found.append(Difference(name, key, have, value, fix, key in spec.vital))
    return found


def _partition_difference(name: str, partitions: int, wanted: int) -> Difference:
    fix = (
        f"Set HYPERCARE_PARTITIONS={partitions} if the topic is right. The number can "
        "not change while there is state: a service would move to a partition that "
        "does not know it. To change it: stop the workers, create new topics under "
        "another HYPERCARE_PREFIX and rebuild"
    )
    return Difference(name, "partitions", str(partitions), str(wanted), fix, True)


class TopicAdmin:
    """Asks one cluster about our topics.

    Parameters
    ----------
    settings : Settings
        Where the cluster is and how the topics are called.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        _require_listener(settings)
        limit_ms = int(settings.io_timeout_s * 1000)
        try:
            self._client: Any = KafkaAdminClient(
                bootstrap_servers=settings.kafka.split(","),
                client_id="hypercare-topics",
                request_timeout_ms=limit_ms,
                bootstrap_timeout_ms=limit_ms,
            )
        except (KafkaError, ValueError) as error:
            raise _unreachable(settings, error) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def existing(self) -> dict[str, int]:
        """Return our topics that exist, with their numbers of partitions."""
        ours = {self._settings.topic(spec.name) for spec in TOPICS}
        names = [name for name in self._client.list_topics() if name in ours]
        if not names:
            return {}
        described = self._client.describe_topics(names)
        return {topic["name"]: len(topic["partitions"]) for topic in described}

    def create(self) -> list[str]:
        """Create what is missing and return the names of what was created."""
        have = self.existing()
        created = []
        for spec in TOPICS:
            name = self._settings.topic(spec.name)
            if name in have:
                continue
            topic = NewTopic(
                name,
                num_partitions=partitions_of(spec, self._settings),
                replication_factor=self._settings.replication,
                topic_configs=spec.configs(),
            )
            try:
                self._client.create_topics([topic], wait_for_metadata=True)
            except TopicAlreadyExistsError:
                continue
            except KafkaError as error:
                raise TopicsError(
                    f"topic {name} could not be created: {error}. Check the rights "
                    "of this user and HYPERCARE_REPLICATION (the number of brokers "
                    "is the limit)"
                ) from error
            created.append(name)
        return created

    def check(self) -> list[Difference]:
        """Return every difference between the cluster and the table."""
        have = self.existing()
        configs = self._configs(have)
        found: list[Difference] = []
        for spec in TOPICS:
            name = self._settings.topic(spec.name)
            if name not in have:
                fix = "Run `hypercare topics create`"
                wanted = f"{partitions_of(spec, self._settings)} partitions"
                found.append(
                    Difference(name, "topic", "missing", wanted, fix, fatal=True)
                )
                continue
            found += compare(spec, self._settings, have[name], configs[name])
        return found

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        answer = self._client.describe_configs(resources, config_filter="all")
        return _config_values(answer)


def _config_values(answer: Any) -> dict[str, dict[str, str]]:
    topics = answer.get("topic", {}) if isinstance(answer, dict) else {}
    return {
        name: {
            key: str(entry["value"] if isinstance(entry, dict) else entry)
            for key, entry in entries.items()
        }
        for name, entries in topics.items()
    }


def check_or_explain(settings: Settings) -> list[Difference]:
    """Return the differences of a cluster, closing the connection afterwards."""
    admin = TopicAdmin(settings)
    try:
        return admin.check()
    finally:
        admin.close()


def create_missing(settings: Settings) -> list[str]:
    """Create the missing topics of a cluster and return their names."""
    admin = TopicAdmin(settings)
    try:
        return admin.create()
    finally:
        admin.close()
