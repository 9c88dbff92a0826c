"""Alerts are pushed to every peer as Prometheus does, and end as they should."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from detector.verdicts import Action, RecommendationState
from streams.actuators.alertlane import AlertLane
from streams.actuators.alertmanager import Alertmanager
from streams.actuators.parcel import MINUTE
from tests.unit.streams.lanes import MB, World
from tests.unit.streams.receivers import (
    START_MS,
    Server,
    receiver,
    recommendation,
    serving,
    signed,
    silent,
    status,
)

OK = status("200 OK")


def lane_of(world: World, *servers: Server, more: str = "") -> AlertLane:
    """A lane whose peers are these servers."""
    urls = [f"http://127.0.0.1:{one.port}" for one in servers]
    text = (
        "name: one\nkind: alertmanager\nallow: [127.0.0.0/8]\ntimeout_s: 15\n"
        f"alertmanager:\n  urls: {json.dumps(urls)}\n  labels: {{team: pay}}\n"
    )
    made = receiver(text + more)
    return AlertLane(made, Alertmanager(made), world.tools, MB)


def heard(server: Server) -> list[list[dict[str, Any]]]:
    """What a peer was told, request by request."""
    return [json.loads(body) for _, body in server.heard]


async def test_alert_is_the_same_each_time() -> None:
    """Labels hold names only, the start is that of the episode, and the end lies four
    intervals ahead, anew with each push."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        await lane.take(signed(recommendation()))
        for _ in range(3):
            await lane.step()
            world.at_ms += 30_000
        lane.actuator.close()
    alerts = [body[0] for body in heard(server)]
    assert [one["labels"] for one in alerts] == 3 * [
        {
            "team": "pay",
            "alertname": "ReleaseRegression",
            "service": "shop",
            "environment": "production",
            "release": "2.4.0",
            "action": "rollback",
            "severity": "page",
        }
    ]
    assert {one["startsAt"] for one in alerts} == {"2026-11-22T13:59:00.000Z"}
    assert [one["endsAt"] for one in alerts] == [
        "2026-11-22T14:02:00.000Z",
        "2026-11-22T14:02:30.000Z",
        "2026-11-22T14:03:00.000Z",
    ]


async def test_end_is_told_for_a_while() -> None:
    """What is over is told for fifteen minutes with the time at which it ended, by a
    process that was started in between, too; then nobody hears of it again."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        await lane.take(signed(recommendation()))
        await lane.step()
        world.at_ms += MINUTE
        over = recommendation(revision=2, state=RecommendationState.EXECUTED)
        await lane.take(signed(over))
        again = lane_of(world, server)
        for parcel in world.kept():
            again.restore(parcel)
        for _ in range(20):
            await again.step()
            world.at_ms += MINUTE
        lane.actuator.close()
        again.actuator.close()
    told = heard(server)
    assert len(told) == 1 + 15
    assert {body[0]["endsAt"] for body in told[1:]} == {"2026-11-22T14:01:00.000Z"}
    assert not again.waiting


async def test_new_action_is_a_new_alert() -> None:
    """From hold to rollback the first alert ends and the second begins."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        await lane.take(signed(recommendation(action=Action.HOLD)))
        world.at_ms += MINUTE
        await lane.take(signed(recommendation(revision=2)))
        await lane.step()
        lane.actuator.close()
    (body,) = heard(server)
    ends = {one["labels"]["action"]: one["endsAt"] for one in body}
    assert ends == {
        "hold": "2026-11-22T14:01:00.000Z",
        "rollback": "2026-11-22T14:03:00.000Z",
    }


async def test_unrenewed_alert_ends() -> None:
    """Not issued anew for five minutes after it expired, an alert is over; issued anew
    it stays."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        for release in ("1", "2"):
            await lane.take(signed(recommendation(release=release)))
        world.at_ms += 14 * MINUTE
        times = {"issued_at": world.at_ms, "expires_at": world.at_ms + 10 * MINUTE}
        await lane.take(signed(recommendation(release="2", **times)))
        world.at_ms += 2 * MINUTE
        await lane.step()
        lane.actuator.close()
    (body,) = heard(server)
    ends = {one["labels"]["release"]: one["endsAt"] for one in body}
    assert ends["1"] == "2026-11-22T14:16:00.000Z"
    assert ends["2"] == "2026-11-22T14:18:00.000Z"


async def test_dead_peer_delays_no_other() -> None:
    """One peer that never answers: the other hears every push."""
    world = World()
    async with serving(silent) as dead, serving(OK) as good:
        lane = lane_of(world, dead, good)
        await lane.take(signed(recommendation()))
        for number in range(1, 4):
            lane.push()
            while len(good.heard) < number or not lane_done(lane):
                await asyncio.sleep(0.005)
        assert len(dead.heard) == 1
        for task in lane._pushing.values():
            task.cancel()
        await asyncio.gather(*lane._pushing.values(), return_exceptions=True)
        lane.actuator.close()


def lane_done(lane: AlertLane) -> bool:
    """Whether the last peer has been told."""
    return list(lane._pushing.values())[-1].done()


async def test_batches_are_small() -> None:
    """A hundred and fifty alerts leave in batches of at most 64."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        for number in range(150):
            await lane.take(signed(recommendation(release=f"1.{number}")))
        await lane.step()
        lane.actuator.close()
    assert [len(body) for body in heard(server)] == [64, 64, 22]


@pytest.mark.parametrize(
    "changes", [{"mode": "shadow"}, {"test": True}, {"release": "1\x00"}]
)
async def test_some_are_no_alerts(changes: dict[str, Any]) -> None:
    """A rehearsal pages nobody; a name that would break labels is left out."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        await lane.take(signed(recommendation(**changes)))
        await lane.step()
        lane.actuator.close()
    assert server.heard == []


async def test_blocked_goes_on_as_an_alert() -> None:
    """Where nothing is safe to go back to a person is wanted: it is no end."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        await lane.take(signed(recommendation()))
        await lane.step()
        blocked = recommendation(
            revision=2, state=RecommendationState.BLOCKED, target=None
        )
        await lane.take(signed(blocked))
        world.at_ms += MINUTE
        await lane.step()
        lane.actuator.close()
    ends = [body[0]["endsAt"] for body in heard(server)]
    assert ends[-1] == "2026-11-22T14:03:00.000Z"


async def test_away_peer_is_seen_as_stuck() -> None:
    """Since when a peer takes nothing is known, until it takes something."""
    world = World()
    async with serving(status("500 No")) as server:
        lane = lane_of(world, server)
        await lane.take(signed(recommendation()))
        await lane.step()
        world.at_ms += MINUTE
        await lane.step()
        assert lane.oldest_ms() == START_MS
        server._behave = OK
        await lane.step()
        assert lane.oldest_ms() is None
        lane.actuator.close()


def test_bad_labels_are_refused() -> None:
    """A label name that an Alertmanager would not take is refused in the file."""
    more = "  severity: page\n"
    for name in ("bad-name", "__meta", "1a"):
        text = (
            "name: one\nkind: alertmanager\nalertmanager:\n  urls: ['https://a.x']\n"
            f"  labels: {{'{name}': x}}\n{more}"
        )
        with pytest.raises(Exception, match="no name that fits"):
            receiver(text)


async def test_alert_ends_when_hooks_name_others() -> None:
    """Who is not named pushes nothing; an alert that stands ends when it is issued
    again under rules that name others."""
    world = World()
    async with serving(OK) as server:
        lane = lane_of(world, server)
        for hooks in (("two",), (), ("one", "two"), ("two",)):
            await lane.take(signed(recommendation(hooks=hooks)))
            await lane.step()
            world.at_ms += 30_000
        lane.actuator.close()
    ends = [body[0]["endsAt"] for body in heard(server)]
    assert ends == [
        "2026-11-22T14:02:30.000Z",
        "2026-11-22T14:03:00.000Z",
        "2026-11-22T14:01:30.000Z",
    ]
