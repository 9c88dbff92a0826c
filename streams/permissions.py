"""Who needs which permission of Kafka, and no more: the list, and how it is granted.

Describe is not listed: Kafka gives it with Read and with Write. An idempotent
producer needs nothing beyond Write since Kafka 3.0.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from streams.settings import Settings
from streams.topictable import (
    DEADLETTER,
    DELIVERIES,
    EXECUTIONS,
    HOT,
    HOT_STATE,
    INGRESS,
    LOG,
    PULSE,
    STATE,
    ShadowTopics,
)

OUTPUTS = ("verdicts", "recommendations", "audit", PULSE, DEADLETTER)


class Role(StrEnum):
    """Who connects to Kafka."""

    WORKER = "worker"
    COMBINER = "combiner"
    PRODUCER = "producer"
    READER = "reader"
    ACTOR = "actor"
    PERSON = "person"
    DRILL = "drill"
    SHADOW = "shadow"
    PILOT = "pilot"
    CREATOR = "creator"


EXAMPLE = "candidate"
"""The name of a candidate where none was said."""

SUFFIXES = {Role.COMBINER: "-combiner", Role.ACTOR: "-act"}


@dataclass(frozen=True, slots=True)
class Permission:
    """One operation on one resource, in the words of ``kafka-acls``.

    ``kind`` is ``topic`` or ``group``; ``why`` completes "it is needed to ...".
    """

    kind: str
    name: str
    operation: str
    why: str
    is_prefix: bool = False

    def command(self, settings: Settings, principal: str) -> str:
        """The command with which an administrator grants it."""
        parts = [
            *("kafka-acls", "--bootstrap-server", settings.kafka, "--add"),
            *("--allow-principal", principal, "--operation", self.operation),
            *(f"--{self.kind}", self.name),
        ]
        if self.is_prefix:
            parts += ["--resource-pattern-type", "prefixed"]
        return shlex.join(parts)


def permissions(settings: Settings, role: Role) -> tuple[Permission, ...]:
    """What a role needs, with the names of these settings."""
    if role is Role.WORKER:
        return _of_worker(settings)
    if role is Role.COMBINER:
        return _of_combiner(settings)
    if role is Role.PRODUCER:
        why = "send events"
        return tuple(_topic(settings, name, "Write", why) for name in INGRESS)
    if role is Role.READER:
        return tuple(
            _topic(settings, name, "Read", f"read {name}")
            for name in ("verdicts", "recommendations")
        )
    if role is Role.PERSON:
        tells = _topic(settings, LOG, "Write", "tell workers: tell, label, wrong")
        return _of_claimants(settings, tells)
    if role is Role.DRILL:
        return (
            _topic(settings, "recommendations", "Read", "read the drill as gates do"),
            _topic(settings, "recommendations", "Write", "write it as workers do"),
            _topic(settings, EXECUTIONS, "Read", "see that it was stopped"),
            _topic(settings, EXECUTIONS, "Write", "claim it, and note its success"),
            _topic(settings, DELIVERIES, "Read", "hear what receivers did (--act)"),
        )
    if role in (Role.SHADOW, Role.PILOT):
        name = settings.shadow or EXAMPLE
        is_pilot = role is Role.PILOT
        return (_of_pilot if is_pilot else _of_shadow)(settings, name)
    if role is Role.ACTOR:
        counts = _topic(settings, LOG, "Describe", "count its partitions")
        return (
            *_of_claimants(settings, counts),
            _topic(settings, DELIVERIES, "Read", "know what was delivered"),
            _topic(settings, DELIVERIES, "Write", "note what was delivered"),
            Permission(
                "group",
                group_of(settings, Role.ACTOR),
                "Read",
                "agree on the one `hypercare act` that delivers",
            ),
        )
    names = f"{settings.prefix}."
    return (
        Permission("topic", names, "Create", "create topics", is_prefix=True),
        Permission("topic", names, "Describe", "see which exist", is_prefix=True),
    )


def _of_claimants(settings: Settings, on_log: Permission) -> tuple[Permission, ...]:
    seen = ("verdicts", "recommendations", PULSE)
    return (
        *(_topic(settings, name, "Read", f"read {name}") for name in seen),
        on_log,
        _topic(settings, EXECUTIONS, "Read", "see what was claimed"),
        _topic(settings, EXECUTIONS, "Write", "claim, report and order"),
    )


def _of_worker(settings: Settings) -> tuple[Permission, ...]:
    needs = [
        _topic(settings, LOG, "Read", "read the log"),
        _topic(settings, LOG, "Write", "write ticks and what came by ingress"),
        _topic(settings, STATE, "Read", "restore its state"),
        _topic(settings, STATE, "Write", "keep its state"),
        *(_topic(settings, name, "Read", "read what is sent") for name in INGRESS),
        *(_topic(settings, name, "Write", f"write {name}") for name in OUTPUTS),
    ]
    needs += [
        _topic(settings, name, "DescribeConfigs", "check the topic's settings")
        for name in (LOG, STATE, *INGRESS, *OUTPUTS)
    ]
    needs.append(
        Permission("group", settings.group, "Read", "join the group and commit")
    )
    return tuple(needs)


def _of_combiner(settings: Settings) -> tuple[Permission, ...]:
    checked = (HOT, HOT_STATE, LOG, DEADLETTER)
    return (
        _topic(settings, HOT, "Read", "read single events"),
        _topic(settings, HOT, "Write", "write ticks"),
        _topic(settings, HOT_STATE, "Read", "restore its state"),
        _topic(settings, HOT_STATE, "Write", "keep its state"),
        _topic(settings, LOG, "Write", "write aggregates"),
        _topic(settings, DEADLETTER, "Write", f"write {DEADLETTER}"),
        *(
            _topic(settings, name, "DescribeConfigs", "check the topic's settings")
            for name in checked
        ),
        Permission(
            "group", group_of(settings, Role.COMBINER), "Read", "join and commit"
        ),
    )


def _of_shadow(settings: Settings, name: str) -> tuple[Permission, ...]:
    """It writes where nobody who acts reads: not one right to write is a worker's."""
    topics = ShadowTopics.of(name)
    said = (topics.verdicts, topics.recommendations)
    return (
        _topic(settings, LOG, "Read", "read the log"),
        _topic(settings, topics.state, "Read", "restore its state"),
        _topic(settings, topics.state, "Write", "keep its state"),
        *(_topic(settings, one, "Write", "say what it would do") for one in said),
        *(
            _topic(settings, one, "DescribeConfigs", "check the topic's settings")
            for one in (LOG, *topics)
        ),
        Permission("group", shadow_group(settings, name), "Read", "join and commit"),
    )


def _of_pilot(settings: Settings, name: str) -> tuple[Permission, ...]:
    topics = ShadowTopics.of(name)
    return (
        _topic(settings, "audit", "Read", "read what was said and told"),
        _topic(settings, topics.verdicts, "Read", "read what it would have said"),
        _topic(settings, topics.recommendations, "Read", "and recommended"),
        _topic(settings, EXECUTIONS, "Read", "see what was executed"),
    )


def group_of(settings: Settings, role: Role) -> str:
    """The consumer group of a role; combiners and actors have one of their own."""
    if role is Role.SHADOW:
        return shadow_group(settings, settings.shadow or EXAMPLE)
    return settings.group + SUFFIXES.get(role, "")


def shadow_group(settings: Settings, name: str) -> str:
    """The consumer group of a candidate."""
    return f"{settings.group}-shadow-{name}"


def _topic(settings: Settings, name: str, operation: str, why: str) -> Permission:
    return Permission("topic", settings.topic(name), operation, why)
