"""Who is in the consumer group, and what it has committed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, for_code

from streams.bus import Bus
from streams.connection import aiokafka_options

RETRY_S = 0.5
MEMBER_FIELDS = ("client_id", "client_host")


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group at one moment.

    Attributes
    ----------
    state : str
        Kafka's word: Stable, Empty, Dead, PreparingRebalance, CompletingRebalance.
    members : tuple of str
        Client and host of each member that Kafka believes alive.
    committed : mapping
        Offset by topic and partition.
    """

    state: str
    members: tuple[str, ...]
    committed: Mapping[tuple[str, int], int] = field(default_factory=dict)


async def look_at_group(bus: Bus) -> Group:
    """Ask the group's coordinator about the group of these settings.

    Raises
    ------
    ConnectionError, TimeoutError
        Kafka does not answer or refuses.
    """
    settings = bus.settings
    admin = AIOKafkaAdminClient(**aiokafka_options(settings, "group"))
    try:
        async with bus.limited(f"group {settings.group}"):
            await admin.start()
            await _coordinated(admin, settings.group)
            described = await admin.describe_consumer_groups([settings.group])
            offsets = await admin.list_consumer_group_offsets(settings.group)
    finally:
        with suppress(TimeoutError, ConnectionError):
            async with bus.limited("group"):
                await admin.close()
    state, members = _described(described[0].to_object()["groups"][0])
    return Group(state, members, _committed(offsets))


async def _coordinated(admin: AIOKafkaAdminClient, group: str) -> None:
    """Wait until the group has a coordinator: a fresh cluster makes one when asked."""
    while True:
        try:
            await admin.find_coordinator(group)
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(RETRY_S)
        else:
            return


def _described(group: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if group["error_code"]:
        error = for_code(group["error_code"])()
        raise ConnectionError(f"group {group['group']}: {error!r}")
    members = tuple(
        " on ".join(str(member[name]).lstrip("/") for name in MEMBER_FIELDS)
        for member in group["members"]
    )
    return str(group["state"]), members


def _committed(offsets: Mapping[TopicPartition, Any]) -> dict[tuple[str, int], int]:
    return {
        (part.topic, part.partition): found.offset
        for part, found in offsets.items()
        if found.offset >= 0
    }
