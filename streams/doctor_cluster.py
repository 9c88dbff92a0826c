"""What ``hypercare doctor`` asks Kafka: reach, clock, topics, group, state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.bus import Bus
from streams.doctor import Finding, error, ok, warning
from streams.errors import Refused, Unreachable
from streams.groups import Group
from streams.lanes import EVERY_SERVICE_KEY
from streams.settings import Settings
from streams.stateadmin import PartitionState, open_admin
from streams.topics import INGRESS, LOG, Difference, TopicsError, check_or_explain

CLOCK_OFF_MS = 2_000
CLOCK_WRONG_MS = 60_000
"""Beyond this, events of this machine would count as sent by a wrong clock."""

LAG_MANY = 10_000
PROBE_SERVICE = "hypercare-doctor"


async def cluster_findings(
    settings: Settings, now_ms: Callable[[], int]
) -> AsyncIterator[Finding]:
    """Everything Kafka can tell, in order; ends early where it does not answer.

    Raises
    ------
    Unreachable
        Kafka does not answer.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(None, check_or_explain, settings)
    except TopicsError as problem:
        raise Unreachable(str(problem)) from problem
    except Refused as problem:
        yield error("kafka", *_split(str(problem)))
        return
    yield ok("kafka", f"{settings.kafka} answers")
    for one in topic_findings(found):
        yield one
    if any(one.fatal and one.found == "missing" for one in found):
        return
    try:
        yield await clock_finding(settings, now_ms)
        async with open_admin(settings) as admin:
            for one in state_findings(await admin.survey()):
                yield one
            group = await admin.group()
            ends = await _ends(settings, admin.partitions)
        for one in group_findings(group, ends, settings):
            yield one
    except Refused as problem:
        yield error("state", *_split(str(problem)))
    except (KafkaError, OSError) as problem:
        yield error(
            "kafka",
            f"a question was not answered: {problem}",
            "see topics above for permissions; else look at the broker's log",
        )


def topic_findings(found: Sequence[Difference]) -> Iterator[Finding]:
    """Topics, their settings and our rights, as ``hypercare topics check`` says."""
    if not found:
        yield ok("topics", "all are there, set up as they should be, and permitted")
    for one in found:
        what = f"{one.topic}: {one.what} is {one.found}, wanted {one.wanted}"
        yield (error if one.fatal else warning)("topics", what, one.fix)


async def clock_finding(settings: Settings, now_ms: Callable[[], int]) -> Finding:
    """How far is the clock of this machine from the broker's?

    The one honest question is a record: the broker stamps it on arrival. It is a
    tick of time 0 for a service nobody has, which moves no window.
    """
    topic = settings.topic(LOG)
    probe = msgspec.json.encode({"kind": "tick", "ts": 0, "service": PROBE_SERVICE})
    bus = Bus(settings)
    try:
        await bus.start()
        before_ms = now_ms()
        (offset,) = await bus.produce(topic, [(EVERY_SERVICE_KEY, probe)], partition=0)
        after_ms = now_ms()
        stamp_ms, by_broker = await _stamp(bus, topic, offset)
    finally:
        await bus.stop()
    if not by_broker:
        what = f"{topic} keeps the sender's time: the clocks can not be compared"
        return warning("clock", what, "see topics: message.timestamp.type")
    return judge_clock(stamp_ms - (before_ms + after_ms) // 2, after_ms - before_ms)


def judge_clock(ahead_ms: int, round_trip_ms: int) -> Finding:
    """Judge by how much the broker is ahead of us, known up to half a round trip."""
    margin_ms = round_trip_ms // 2 + 1
    off_ms = max(0, abs(ahead_ms) - margin_ms)
    word = "behind" if ahead_ms > 0 else "ahead of"
    what = (
        f"this machine is {abs(ahead_ms) / 1000:.1f} s {word} the broker "
        f"(+-{margin_ms / 1000:.1f} s)"
    )
    fix = "set the clocks by NTP (`timedatectl status`), on both machines"
    if off_ms > CLOCK_WRONG_MS:
        return error("clock", what, fix)
    if off_ms > CLOCK_OFF_MS:
        return warning("clock", what, fix)
    return ok("clock", f"agrees with the broker's to {abs(ahead_ms) + margin_ms} ms")


def state_findings(partitions: Sequence[PartitionState]) -> Iterator[Finding]:
    """Would a worker start on what the state topic holds?"""
    blind = [one for one in partitions if one.blind]
    for one in blind:
        yield error("state", f"partition {one.partition}: blind", one.blind)
    if not blind:
        kept = sum(one.next_offset is not None for one in partitions)
        total = len(partitions)
        yield ok(
            "state", f"{kept} of {total} partitions have a snapshot, none is blind"
        )


def group_findings(
    group: Group, ends: Mapping[tuple[str, int], int], settings: Settings
) -> Iterator[Finding]:
    """Who works, and how much waits for them?"""
    if not group.members:
        fix = "start one: `hypercare worker`"
        yield warning("group", f"no worker of group {settings.group} is alive", fix)
    else:
        members = f"{len(group.members)} alive in {settings.group}, {group.state}"
        yield ok("group", members)
    for names, words in ((INGRESS, "ingress topics"), ((LOG,), "log")):
        topics = {settings.topic(name) for name in names}
        waiting = sum(
            end - min(end, group.committed.get(part, 0))
            for part, end in ends.items()
            if part[0] in topics
        )
        if waiting > LAG_MANY:
            fix = "start more workers, or wait; `hypercare status` shows progress"
            yield warning("lag", f"{waiting} records wait in the {words}", fix)
        else:
            yield ok("lag", f"{waiting} records wait in the {words}")


async def _ends(settings: Settings, partitions: int) -> dict[tuple[str, int], int]:
    bus = Bus(settings)
    parts = [
        TopicPartition(settings.topic(name), number)
        for name in (LOG, *INGRESS)
        for number in range(partitions)
    ]
    async with bus.reader() as consumer, bus.limited("offsets"):
        ends = await consumer.end_offsets(parts)
    return {(part.topic, part.partition): end for part, end in ends.items()}


async def _stamp(bus: Bus, topic: str, offset: int) -> tuple[int, bool]:
    """Return the time of a record and whether the broker gave it."""
    part = TopicPartition(topic, 0)
    async with bus.reader() as consumer, bus.limited(topic):
        consumer.assign([part])
        consumer.seek(part, offset)
        while True:
            record = await consumer.getone(part)
            if record.offset == offset:
                return int(record.timestamp), record.timestamp_type == 1


def no_answer(problem: Unreachable) -> Finding:
    """Return the answer of a broker that gives none."""
    return error("kafka", *_split(str(problem)))


def _split(text: str) -> tuple[str, str]:
    what, colon, fix = text.rpartition(": ")
    return (what, fix) if colon else (text, "see the message")
