"""What ``hypercare doctor --shadow NAME`` asks about a candidate rule set.

Has it its topics, does it keep up with the log, and could anybody who acts take what it
says for a worker's word?
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
from aiokafka.errors import KafkaError as AioKafkaError
from kafka import TopicPartition
from kafka.errors import KafkaError

from streams.bus import Bus
from streams.doctor import Finding, error, ok, warning
from streams.doctor_cluster import LAG_MANY
from streams.errors import Refused
from streams.greeting import explained_error
from streams.groups import Group, look_at_group
from streams.logreader import POLL_MS, consumer_of, partitions_of
from streams.permissions import Role, shadow_group
from streams.settings import Settings
from streams.signing import HEADER
from streams.topics import LOG, Difference, check_or_explain
from streams.topictable import SHADOW_PREFIX, ShadowTopics

CHECK = "shadow"
MODE = "shadow"
NEWEST = 20
"""Recommendations of each partition that are looked at."""


class Said(NamedTuple):
    """What matters of a recommendation to those who act; mode "" if unreadable."""

    is_signed: bool
    mode: str


class Look(NamedTuple):
    """All topics of the cluster, ends of the log, the candidate's newest words."""

    topics: frozenset[str]
    ends: Mapping[tuple[str, int], int]
    said: tuple[Said, ...]


async def shadow_findings(settings: Settings, name: str) -> AsyncIterator[Finding]:
    """Everything about one candidate, in order; ends early without its topics.

    Raises
    ------
    Unreachable
        Kafka does not answer.
    """
    run = asyncio.get_running_loop().run_in_executor
    own = replace(settings, shadow=name)
    try:
        found = await run(None, check_or_explain, own, Role.SHADOW)
        for one in topic_findings(settings, name, found):
            yield one
        if any(_lacks(one) for one in _of_it(settings, name, found)):
            return
        group = replace(own, group=shadow_group(settings, name))
        members = await look_at_group(Bus(group))
        look = await run(None, look_at, settings, name)
    except Refused as problem:
        yield error(CHECK, str(problem), "see the message")
        return
    except (AioKafkaError, OSError) as problem:
        fix = "look at the broker's log"
        yield error(CHECK, f"a question was not answered: {problem}", fix)
        return
    for one in group_findings(settings, name, members, look.ends):
        yield one
    for one in apart_findings(settings, name, look):
        yield one


def topic_findings(
    settings: Settings, name: str, found: Sequence[Difference]
) -> Iterator[Finding]:
    """Its topics and our rights on them, among all differences."""
    mine = _of_it(settings, name, found)
    if not mine:
        yield ok(CHECK, f"the topics of {name} are there, set up as they should be")
    for one in mine:
        what = f"{one.topic}: {one.what} is {one.found}, wanted {one.wanted}"
        fix = f"`hypercare topics create --shadow {name}`" if _lacks(one) else one.fix
        yield (error if one.fatal else warning)(CHECK, what, fix)


def group_findings(
    settings: Settings, name: str, group: Group, ends: Mapping[tuple[str, int], int]
) -> Iterator[Finding]:
    """Does it run, and how much of the log waits for it?"""
    named = shadow_group(settings, name)
    if group.members:
        yield ok(CHECK, f"{len(group.members)} alive in {named}, {group.state}")
    else:
        fix = f"start it: `hypercare shadow --rules FILE --name {name}`"
        yield warning(CHECK, f"no process of group {named} is alive", fix)
    waiting = sum(
        end - min(end, group.committed.get(part, 0)) for part, end in ends.items()
    )
    what = f"{waiting} records of the log wait for it"
    if waiting > LAG_MANY:
        fix = "let it catch up: until then `hypercare pilot` compares less"
        yield warning(CHECK, what, fix)
    else:
        yield ok(CHECK, what)


def apart_findings(settings: Settings, name: str, look: Look) -> Iterator[Finding]:
    """Could gates or ``hypercare act`` take what it says for a worker's word?"""
    prefix = settings.topic(f"{SHADOW_PREFIX}{name}")
    strange = sorted(t for t in look.topics - _own(settings, name) if _in(t, prefix))
    if strange:
        what = f"{', '.join(strange[:3])}: an installation lives under its names"
        fix = f"use no HYPERCARE_PREFIX={prefix}: its gates would read the candidate"
        yield error(CHECK, what, fix)
    foreign = sum(one.is_signed or one.mode != MODE for one in look.said)
    count = len(look.said)
    if foreign:
        topic = settings.topic(ShadowTopics.of(name).recommendations)
        what = (
            f"{foreign} of the newest {count} recommendations in {topic} are signed or "
            "not in mode shadow: it did not write them"
        )
        fix = "leave Write there to it alone (`hypercare topics acls --role shadow`)"
        yield error(CHECK, what, fix)
    if not strange and not foreign:
        yield ok(CHECK, f"nobody acts on it: {count} looked at, unsigned, mode shadow")


def look_at(settings: Settings, name: str) -> Look:
    """Ask Kafka what ``apart_findings`` and ``group_findings`` judge.

    Raises
    ------
    Unreachable
        Kafka does not answer, or has no such topic.
    """
    topic = settings.topic(ShadowTopics.of(name).recommendations)
    try:
        with closing(consumer_of(settings, "doctor")) as consumer:
            log = partitions_of(settings, consumer, settings.topic(LOG))
            ends = consumer.end_offsets(log)
            said = partitions_of(settings, consumer, topic)
            newest = tuple(
                _said(record) for part in said for record in _newest(consumer, part)
            )
            topics = frozenset(consumer.topics())
    except KafkaError as problem:
        raise explained_error(settings, problem) from problem
    named = {(part.topic, part.partition): end for part, end in ends.items()}
    return Look(topics, named, newest)


def _newest(consumer: Any, part: TopicPartition) -> Iterator[Any]:
    begin = consumer.beginning_offsets([part])[part]
    end = consumer.end_offsets([part])[part]
    consumer.assign([part])
    consumer.seek(part, max(begin, end - NEWEST))
    while consumer.position(part) < end:
        for records in consumer.poll(POLL_MS).values():
            yield from (record for record in records if record.offset < end)


class _Mode(msgspec.Struct):
    mode: str


def _said(record: Any) -> Said:
    is_signed = any(key == HEADER for key, _ in record.headers)
    try:
        mode = msgspec.json.decode(record.value or b"", type=_Mode).mode
    except msgspec.DecodeError:
        mode = ""
    return Said(is_signed, mode)


def _own(settings: Settings, name: str) -> frozenset[str]:
    return frozenset(settings.topic(topic) for topic in ShadowTopics.of(name))


def _of_it(
    settings: Settings, name: str, found: Sequence[Difference]
) -> list[Difference]:
    own = {*_own(settings, name), shadow_group(settings, name)}
    return [one for one in found if one.topic in own]


def _lacks(one: Difference) -> bool:
    return (one.what, one.found) == ("topic", "missing")


def _in(topic: str, prefix: str) -> bool:
    return topic.startswith(f"{prefix}.")
