"""Whether the cluster has our topics as the table wants them, and lets us use them.

``create`` makes what is missing and never changes what is there;
``check`` compares and says, for every difference, what it breaks and how to fix it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from kafka.admin import (
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    NewTopic,
)
from kafka.errors import (
    AuthorizationError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    InvalidConfigurationError,
    KafkaError,
    NoError,
    NotCoordinatorError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from streams.errors import Unreachable
from streams.greeting import explained_error, open_client
from streams.permissions import Role, group_of, permissions
from streams.settings import Settings
from streams.topictable import (
    DEADLETTER,
    EXECUTIONS,
    HOT,
    HOT_STATE,
    HOT_TOPICS,
    INGRESS,
    LOG,
    PULSE,
    STATE,
    TOPICS,
    Difference,
    TopicSpec,
    compare,
    partitions_of,
    topics_of,
)

__all__ = [
    "DEADLETTER",
    "EXECUTIONS",
    "HOT",
    "HOT_STATE",
    "HOT_TOPICS",
    "INGRESS",
    "LOG",
    "PULSE",
    "STATE",
    "TOPICS",
    "Created",
    "Difference",
    "TopicAdmin",
    "TopicSpec",
    "TopicsError",
    "check_or_explain",
    "compare",
    "create_missing",
    "create_topics",
    "partitions_of",
    "topics_of",
]

FINE, TAKEN, REFUSED = "fine", "taken", "refused"


class TopicsError(Unreachable):
    """Kafka could not be asked about topics, or refused to create one."""


@dataclass(frozen=True, slots=True)
class Created:
    """What ``create`` has made, and what Kafka refused to set on it."""

    names: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Existing:
    """A topic as the cluster tells: partitions, and what we may do.

    ``allowed`` is None where the broker does not say. ``partitions`` is 0 where we
    are not even allowed to see the topic.
    """

    partitions: int
    allowed: frozenset[str] | None


class TopicAdmin:
    """Asks one cluster about our topics.

    Parameters
    ----------
    settings : Settings
        Where the cluster is and how the topics are called.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        try:
            self._client: Any = open_client(settings, KafkaAdminClient, "topics")
        except Unreachable as error:
            raise TopicsError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def existing(self) -> dict[str, Existing]:
        """Return our topics that exist, or may exist, by their full names."""
        names = [self._settings.topic(spec.name) for spec in topics_of(self._settings)]
        found = {}
        for topic in self._client.describe_topics(names):
            error = for_code(topic["error_code"])
            if error is UnknownTopicOrPartitionError:
                continue
            allowed = topic.get("authorized_operations")
            if error is TopicAuthorizationFailedError:
                allowed = ()
            found[topic["name"]] = Existing(
                len(topic["partitions"]), None if allowed is None else _words(allowed)
            )
        return found

    def create(self) -> Created:
        """Create what is missing; settings Kafka refuses and we can spare are left."""
        have = self.existing()
        created, refused = [], []
        for spec in topics_of(self._settings):
            name = self._settings.topic(spec.name)
            if name in have and have[name].partitions > 0:
                continue
            config, spared = self._accepted(spec, name)
            if self._try(spec, name, config, validate_only=False) != TAKEN:
                created.append(name)
                refused += [f"{name}: {key}={spec.config[key]}" for key in spared]
        if created:
            self._client.wait_for_topics(created)
        return Created(tuple(created), tuple(refused))

    def _accepted(self, spec: TopicSpec, name: str) -> tuple[dict[str, str], list[str]]:
        """Find the settings Kafka takes: all of them, or all but those it refuses."""
        config = spec.configs()
        if self._try(spec, name, config, validate_only=True) in (FINE, TAKEN):
            return config, []
        vital = {key: value for key, value in config.items() if key in spec.vital}
        if self._try(spec, name, vital, validate_only=True) == REFUSED:
            words = ", ".join(f"{key}={value}" for key, value in vital.items())
            raise TopicsError(
                f"topic {name} could not be created: this Kafka refuses {words}, which "
                "counting stands on. Ask for these settings to be allowed"
            )
        spared = []
        for key in config.keys() - vital.keys():
            one = {**vital, key: config[key]}
            if self._try(spec, name, one, validate_only=True) == REFUSED:
                spared.append(key)
        return {k: v for k, v in config.items() if k not in spared}, sorted(spared)

    def _try(
        self,
        spec: TopicSpec,
        name: str,
        config: Mapping[str, str],
        *,
        validate_only: bool,
    ) -> str:
        """Ask for a topic; FINE, TAKEN (is there), REFUSED (the settings), or raise."""
        topic = NewTopic(
            name,
            num_partitions=partitions_of(spec, self._settings),
            replication_factor=self._settings.replication,
            topic_configs=dict(config),
        )
        answer = self._client.create_topics(
            [topic], validate_only=validate_only, raise_errors=False
        )
        (found,) = answer["topics"]
        error = for_code(found["error_code"])
        if error is TopicAlreadyExistsError:
            return TAKEN
        if error in (InvalidConfigurationError, PolicyViolationError):
            return REFUSED
        if issubclass(error, AuthorizationError):
            raise TopicsError(f"topic {name} could not be created: {self._rights()}")
        if error is not NoError:
            words = found.get("error_message") or error.__name__
            raise TopicsError(
                f"topic {name} could not be created: {words} Check "
                "HYPERCARE_REPLICATION (the number of brokers is the limit; managed "
                "offers want 3)"
            )
        return FINE

    def _rights(self) -> str:
        who = self._settings.connection.principal()
        commands = "; ".join(
            one.command(self._settings, who)
            for one in permissions(self._settings, Role.CREATOR)
        )
        return f"{who} lacks a permission. An administrator can grant it: {commands}"

    def check(self, role: Role = Role.WORKER) -> list[Difference]:
        """Return every difference between the cluster and the table.

        ``role`` is whose permissions are asked about.
        """
        have = self.existing()
        configs = self._configs(have)
        found: list[Difference] = []
        for spec in topics_of(self._settings):
            name = self._settings.topic(spec.name)
            if name not in have:
                fix = "Run `hypercare topics create`"
                wanted = f"{partitions_of(spec, self._settings)} partitions"
                found.append(
                    Difference(name, "topic", "missing", wanted, fix, fatal=True)
                )
            elif have[name].partitions > 0:
                config = configs.get(name, {})
                found += compare(spec, self._settings, have[name].partitions, config)
        return found + self._missing(role, have, {n for n in configs if configs[n]})

    def _missing(
        self, role: Role, have: Mapping[str, Existing], configured: Collection[str]
    ) -> list[Difference]:
        """Name every permission of the role that this user does not have.

        ``configured`` are the topics whose settings were told: of a topic we may not
        see, the list of what is allowed is empty and says nothing about those.
        """
        settings, group = self._settings, group_of(self._settings, role)
        allowed = {("topic", name): topic.allowed for name, topic in have.items()}
        for name in configured:
            if (held := allowed["topic", name]) is not None:
                allowed["topic", name] = held | {"DescribeConfigs"}
        allowed["group", group] = self._allowed_on_group(group)
        return [
            Difference(
                need.name,
                f"permission {need.operation}",
                "missing",
                f"to {need.why}",
                need.command(settings, settings.connection.principal()),
                fatal=True,
                kind=need.kind,
            )
            for need in permissions(settings, role)
            if (held := allowed.get((need.kind, need.name))) is not None
            and need.operation not in held
        ]

    def _allowed_on_group(self, group: str) -> frozenset[str] | None:
        try:
            found = self._client.describe_groups([group])[group]
        except GroupAuthorizationFailedError:
            return frozenset()
        except (
            CoordinatorLoadInProgressError,
            CoordinatorNotAvailableError,
            NotCoordinatorError,
        ):
            # A cluster whose first group we are: rights were checked before that.
            return None
        if "GroupAuthorizationFailedError" in (found["error"] or ""):
            return frozenset()
        allowed = found.get("authorized_operations")
        # A group nobody has joined yet has no list of operations on newer brokers.
        return None if found["error"] or allowed is None else _words(allowed)

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        answer = self._client.describe_configs(resources, config_filter="all")
        return _config_values(answer)


def _words(operations: Iterable[str]) -> frozenset[str]:
    """Operations in the words of ``kafka-acls``: DESCRIBE_CONFIGS, DescribeConfigs."""
    return frozenset(name.title().replace("_", "") for name in operations)


def _config_values(answer: Any) -> dict[str, dict[str, str]]:
    topics = answer.get("topic", {}) if isinstance(answer, dict) else {}
    return {
        name: {
            key: str(entry["value"] if isinstance(entry, dict) else entry)
            for key, entry in entries.items()
        }
        for name, entries in topics.items()
    }


@contextmanager
def _admin(settings: Settings) -> Iterator[TopicAdmin]:
    """Connect, explain what the client raises, disconnect."""
    with closing(TopicAdmin(settings)) as admin:
        try:
            yield admin
        except KafkaError as error:
            explained = explained_error(settings, error)
            if isinstance(explained, Unreachable):
                raise TopicsError(str(explained)) from error
            raise explained from error


def check_or_explain(settings: Settings, role: Role = Role.WORKER) -> list[Difference]:
    """Return the differences of a cluster, closing the connection afterwards."""
    with _admin(settings) as admin:
        return admin.check(role)


def create_topics(settings: Settings) -> Created:
    """Create the missing topics of a cluster and say what it refused to set."""
    with _admin(settings) as admin:
        return admin.create()


def create_missing(settings: Settings) -> list[str]:
    """Create the missing topics of a cluster and return their names."""
    return list(create_topics(settings).names)
