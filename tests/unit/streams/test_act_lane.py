"""Queues of receivers: nothing is lost, forgotten or told twice, and none delays
another."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from detector.verdicts import Action
from detector.verdicts import RecommendationState as State_
from streams.actuators.lane import PARALLEL, Lane
from streams.actuators.parcel import HOUR, MINUTE, RETRIES_MS, Result, State, Word
from streams.actuators.receiver import Receiver
from streams.actuators.table import KINDS
from streams.wallclock import monotonic_s
from tests.unit.streams.lanes import Told, World, lane_of
from tests.unit.streams.receivers import (
    Behave,
    dripping,
    flooding,
    recommendation,
    serving,
    signed,
    silent,
    slamming,
    status,
    webhook,
)

AGAIN = Result(Word.AGAIN, "answered 500")

TIMEOUT_S = 15.0


async def give(lane: Lane, *releases: str) -> None:
    """Hand a recommendation about each release to a lane."""
    for release in releases:
        await lane.take(signed(recommendation(release=release)))


async def test_each_revision_is_told_once() -> None:
    """A revision that is issued again is known, the next one is not."""
    world, told = World(), Told()
    lane = lane_of(world, told)
    for revision, later_ms in ((1, 0), (1, 300_000), (2, 300_000)):
        record = recommendation(revision=revision, issued_at=world.at_ms + later_ms)
        await lane.take(signed(record))
        await lane.step()
    assert [event[-2:] for event, _ in told.events] == ["_1", "_2"]
    assert world.counted("deliveries_total", receiver="one", state="done") == 2


@pytest.mark.fault("19")
async def test_day_without_receiver_ends_well() -> None:
    """Down for a day: each id is tried as the schedule says, and told once when the
    receiver is back; the first success lets all the others go at once."""
    world, told = World(), Told()
    told.always = AGAIN
    lane = lane_of(world, told)
    releases = [f"1.{n}" for n in range(20)]
    await give(lane, *releases)
    end_ms = world.at_ms + 24 * HOUR
    while world.at_ms < end_ms:
        await lane.step()
        world.at_ms += MINUTE
    tries = Counter(event for event, _ in told.events)
    assert set(tries.values()) == {7}
    assert len(lane.waiting) == 20
    told.events.clear()
    told.always = Result(Word.DONE)
    world.at_ms += 10 * HOUR
    await lane.step()
    assert sorted(Counter(e for e, _ in told.events).values()) == [1] * 20
    assert not lane.waiting
    assert lane.size == 0


async def test_attempts_end_some_day() -> None:
    """After the last attempt of the schedule it has failed, and stays told as such."""
    world, told = World(), Told()
    told.always = AGAIN
    lane = lane_of(world, told)
    await give(lane, "1.0")
    for _ in range(len(RETRIES_MS) + 1):
        await lane.step()
        world.at_ms += 27 * HOUR
    assert len(told.events) == len(RETRIES_MS) + 1
    assert [one.state for one in world.kept()] == [State.FAILED]


async def test_restart_neither_forgets_nor_repeats() -> None:
    """What waits goes on with its attempts and at its time; what is done stays so."""
    world, told = World(), Told(Result(Word.DONE), AGAIN, AGAIN)
    lane = lane_of(world, told)
    await give(lane, "1.0")
    await lane.step()
    await give(lane, "1.1")
    await lane.step()
    world.at_ms += 6_000
    await lane.step()
    again, told = lane_of(world, Told()), Told()
    again.actuator = told
    for one in world.kept():
        again.restore(one)
    await give(again, "1.0", "1.1")
    await again.step()
    assert told.events == []
    (waiting,) = again.waiting.values()
    assert waiting.attempts == 2
    world.at_ms = waiting.next_ms
    await again.step()
    assert [event for event, _ in told.events] == [waiting.event]


async def test_throttled_receiver_is_left_alone() -> None:
    """After Retry-After nothing is sent to it before that time, new things neither."""
    world, told = World(), Told(Result(Word.AGAIN, "answered 429", 10 * MINUTE))
    lane = lane_of(world, told)
    await give(lane, "1.0")
    await lane.step()
    await give(lane, "1.1", "1.2")
    for _ in range(9):
        world.at_ms += MINUTE
        await lane.step()
    assert len(told.events) == 1
    world.at_ms += MINUTE
    await lane.step()
    assert len(told.events) == 4


async def test_gone_receiver_is_disabled() -> None:
    """After 410 nothing is sent any more, after a restart neither."""
    world, told = World(), Told(Result(Word.GONE, "answered 410"))
    lane = lane_of(world, told)
    await give(lane, "1.0")
    await lane.step()
    await give(lane, "1.1")
    await lane.step()
    again = lane_of(world, told)
    for one in world.kept():
        again.restore(one)
    await give(again, "1.2")
    await again.step()
    assert len(told.events) == 1
    assert again.is_disabled


async def test_queue_is_bounded_by_bytes() -> None:
    """Beyond its size the oldest goes, is counted and noted; the newest stay."""
    world, told = World(), Told()
    told.always = AGAIN
    lane = lane_of(world, told, bytes_max=20_000)
    for number in range(100):
        await give(lane, f"1.{number}")
        assert lane.size <= 20_000
    dropped = world.counted("deliveries_total", receiver="one", state="dropped")
    assert dropped == 100 - len(lane.waiting) > 0
    newest = [one.record().release for one in lane.waiting.values()]
    assert newest == [f"1.{n}" for n in range(100 - len(newest), 100)]


async def test_kafka_away_loses_nothing() -> None:
    """What can not be noted is not called done: it is told again under the same id."""
    world, told = World(), Told()
    lane = lane_of(world, told)
    await give(lane, "1.0")
    world.is_away = True
    await lane.step()
    assert len(lane.waiting) == 1
    world.is_away = False
    world.at_ms += MINUTE
    await lane.step()
    assert not lane.waiting
    assert len({event for event, _ in told.events}) == 1


async def test_defect_of_actuator_ends_nothing() -> None:
    """An actuator that raises is tried again later; the lane goes on."""
    world, told = World(), Told()
    lane = lane_of(world, told)
    original = told.deliver

    async def broken(*_: object) -> Result:
        raise ZeroDivisionError

    told.deliver = broken  # type: ignore[assignment, method-assign]
    await give(lane, "1.0")
    await lane.step()
    told.deliver = original  # type: ignore[method-assign]
    world.at_ms += 2 * MINUTE
    await lane.step()
    assert len(told.events) == 1
    assert not lane.waiting


DEAD: dict[str, Behave] = {
    "silent": silent,
    "500": status("500 No"),
    "flooding": flooding,
    "redirecting": status("301 Moved", "Location: http://169.254.169.254/"),
    "dripping": dripping,
    "slamming": slamming,
    "429": status("429 Slow", "Retry-After: 60"),
}


async def ended(running: list[asyncio.Task[None]]) -> None:
    """End lanes, as a shift does."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.fault("19")
@pytest.mark.slow
async def test_dead_receivers_delay_no_other() -> None:
    """Beside receivers of every bad kind fifty deliveries reach the good one, most of
    them within a second, none after the time that the silent one is given."""
    world = World()
    arrived: dict[bytes, float] = {}

    async def good(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived[server.heard[-1][0]] = monotonic_s()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(good))
        servers = [
            await stack.enter_async_context(serving(one)) for one in DEAD.values()
        ]
        urls = [*(s.url for s in servers), "http://nobody.invalid/", server.url]
        lanes = []
        for url in urls:
            actuator = KINDS["webhook"].make(webhook(url, timeout_s=TIMEOUT_S))
            lanes.append(Lane(webhook(url), actuator, world.tools, 1 << 20))
            stack.callback(actuator.close)
        running = [asyncio.create_task(lane.run()) for lane in lanes]
        stack.push_async_callback(ended, running)
        delays = []
        for number in range(50):
            begun_s = monotonic_s()
            for lane in lanes:
                await give(lane, f"2.{number}")
            while len(arrived) <= number:
                await asyncio.sleep(0.005)
                assert monotonic_s() < begun_s + 20, lanes[-1].waiting
            delays.append(monotonic_s() - begun_s)
    assert sorted(delays)[40] < 1.0, delays  # a crowded machine may hold up a few
    assert max(delays) < TIMEOUT_S, sorted(delays)[-5:]
    assert len(lanes[0].waiting) == 50
    assert len(lanes[-1].waiting) == 0
    assert len(servers[0].heard) == PARALLEL


async def test_receiver_takes_what_is_its() -> None:
    """Services, environments and actions are globs of what a receiver hears."""
    world, told = World(), Told()
    lane = lane_of(world, told)
    object.__setattr__(lane.receiver, "services", ("sho*",))
    object.__setattr__(lane.receiver, "actions", ("rollback",))
    for changes in ({}, {"service": "pay"}, {"action": Action.HOLD}):
        await lane.take(signed(recommendation(**changes)))
    await lane.step()
    assert len(told.events) == 1


async def test_hooks_narrow_whom_it_reaches() -> None:
    """Hooks leave a recommendation to those they name, never to more than those whose
    own filters take it; none are as if nothing was said."""
    for hooks, services, heard in (
        ((), ["*"], 1),
        (("two", "one"), ["*"], 1),
        (("two",), ["*"], 0),
        (("one",), ["pay"], 0),
    ):
        told = Told()
        made = Receiver(name="one", services=tuple(services))
        lane = Lane(made, told, World().tools, 1_000_000)
        await lane.take(signed(recommendation(hooks=hooks)))
        await lane.step()
        assert len(told.events) == heard, (hooks, services)


async def test_end_reaches_who_was_told_before_hooks() -> None:
    """Rules that are reloaded name others: who was told hears how it ends, also after
    a restart, and nothing new; who was not told hears nothing."""
    world, told = World(), Told()
    lane = lane_of(world, told)
    begun = recommendation()
    await lane.take(signed(begun))
    await lane.step()
    lane = lane_of(world, told)
    for one in world.kept():
        lane.restore(one)
    more = recommendation(revision=2, action=Action.HALT, hooks=("two",))
    over = recommendation(revision=3, state=State_.WITHDRAWN, hooks=("two",))
    other = recommendation(
        revision=3, release="9", state=State_.WITHDRAWN, hooks=("two",)
    )
    for record in (begun, more, over, other):
        await lane.take(signed(record))
        await lane.step()
    assert [event for event, _ in told.events] == [f"{begun.id}_1", f"{begun.id}_3"]
