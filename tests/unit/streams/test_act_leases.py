"""Who acts holds the lease first, acts once, and says how it ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from acting.answers import Answer, Ruling, Why
from acting.records import Claim, Order
from acting.records import Word as Says
from detector.verdicts import Action, RecommendationState, Verdict
from streams.actuators.parcel import HOUR, MINUTE, Result, State, Word
from tests.unit.streams.lanes import KILLED, Acting, Told
from tests.unit.streams.receivers import START_MS, recommendation

FAILED = Result(Word.FAILED, "sent, and no answer came")
UNSENT = Result(Word.AGAIN, "connection refused")


async def test_granted_is_carried_out_once(tmp_path: Path) -> None:
    """Claimed, done, told; nobody does it again, however often it is read."""
    made = Acting(tmp_path, Told())
    for _ in range(3):
        await made.lane.take(made.signed)
        await made.go(20)
    assert len(made.told.events) == 1
    assert made.ended() == ["claim", "executed"]
    count = made.world.counted(
        "receiver_actions_total", receiver="one", outcome="executed"
    )
    assert count == 1


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({"mode": "approve"}, None),
        ({"mode": "recommend"}, None),
        ({"target": None}, None),
        ({}, Order(Says.STOP, "ada", "drill")),
        ({}, Order(Says.FREEZE, "ada", "drill", service="shop")),
        ({}, Order(Says.REJECT, "ada", "no", recommendation_id=recommendation().id)),
        ({"action": Action.HOTFIX}, None),
    ],
)
async def test_interlocks_hold_without_claims(
    tmp_path: Path, changes: dict[str, Any], order: Order | None
) -> None:
    """What may not be done is not done, and asking writes nothing at all."""
    made = Acting(tmp_path, Told(), **changes)
    if order is not None:
        made.claims.append(order)
    await made.lane.take(made.signed)
    for _ in range(70):
        await made.go(10)
    assert made.told.events == []
    assert "claim" not in made.ended()
    assert not made.lane.waiting


async def test_ping_pong_is_claimed_once(tmp_path: Path) -> None:
    """What goes back and forth is not done; one claim, refused, freezes the service for
    all who read the log, and however often it is asked then nothing more is written."""
    made = Acting(tmp_path, Told(), episode_start_ms=START_MS - 60_000)
    before = recommendation(episode_start_ms=START_MS - HOUR)
    signed = made.keyed.signed(before)
    record = Claim("t" * 16, "job", *signed[:4])
    made.claims.append(record)
    known = made.claims.ledger.known
    known.done[0] = known.done[0]._replace(at_ms=START_MS - 2 * MINUTE)
    await made.lane.take(made.signed)
    for _ in range(5):
        await made.go(10)
    assert made.told.events == []
    assert made.ended() == ["claim", "claim"]
    assert list(known.ping_pong) == ["shop"]


async def test_objection_claims_nothing(tmp_path: Path) -> None:
    """What is not safe to return to is left, until whoever objects is content."""
    made = Acting(tmp_path, Told())
    made.objection = Ruling(Answer.NEEDS_APPROVAL, Why.NOT_SAFE, "schema 7")
    await made.lane.take(made.signed)
    for _ in range(5):
        await made.go(10)
    assert (made.told.events, made.ended()) == ([], [])
    made.objection = None
    await made.go(60)
    assert made.ended() == ["claim", "executed"]


async def test_approval_lets_it_go(tmp_path: Path) -> None:
    """It waits for a person, and acts within seconds of the approval."""
    made = Acting(tmp_path, Told(), mode="approve")
    await made.lane.take(made.signed)
    await made.go(60)
    assert made.told.events == []
    what = {"value": "rollback", "recommendation_id": made.signed.key}
    made.claims.append(Order(Says.APPROVE, "ada", "seen", **what))
    await made.go(10)
    assert made.ended() == ["order", "claim", "executed"]


async def test_unsent_is_given_back(tmp_path: Path) -> None:
    """Connection refused: the lease is released, and taken again until it works."""
    made = Acting(tmp_path, Told(UNSENT, UNSENT))
    await made.lane.take(made.signed)
    for _ in range(4):
        await made.go(15)
    assert made.ended() == [
        "claim",
        "released",
        "claim",
        "released",
        "claim",
        "executed",
    ]


async def test_unanswered_needs_a_person(tmp_path: Path) -> None:
    """Sent and not answered has failed: it is not tried again before a person has
    approved it anew."""
    made = Acting(tmp_path, Told(FAILED))
    await made.lane.take(made.signed)
    for _ in range(10):
        await made.go(15)
    assert made.ended() == ["claim", "failed"]
    what = {"value": "rollback", "recommendation_id": made.signed.key}
    made.claims.append(Order(Says.APPROVE, "ada", "it was not done", **what))
    await made.go(60)
    assert made.ended()[2:] == ["order", "claim", "executed"]


async def test_expired_is_not_acted_on(tmp_path: Path) -> None:
    """Ten minutes later nothing happens; issued again it is acted on, by a process
    that was started in between, too."""
    made = Acting(tmp_path, Told())
    made.stopped = KILLED
    await made.lane.take(made.signed)
    await made.go()
    made.stopped = None
    made.world.at_ms = made.signed.record.expires_at + 1
    await made.go()
    assert (made.told.events, made.lane.waiting) == ([], {})
    made.lane = made.anew()
    at_ms = made.world.at_ms
    anew = recommendation(issued_at=at_ms, expires_at=at_ms + 10 * MINUTE)
    made.seen.signed = made.keyed.signed(anew)
    await made.lane.take(made.seen.signed)
    await made.go()
    assert made.ended() == ["claim", "executed"]


async def test_newer_revision_replaces_older(tmp_path: Path) -> None:
    """From hold to rollback: who held back the hold does not do it afterwards."""
    made = Acting(tmp_path, Told(), action=Action.HOLD)
    made.stopped = KILLED
    await made.lane.take(made.signed)
    await made.go()
    made.stopped = None
    made.seen.signed = made.keyed.signed(recommendation(revision=2))
    await made.lane.take(made.seen.signed)
    await made.go(20)
    assert [event[-2:] for event, _ in made.told.events] == ["_2"]
    assert not made.lane.waiting


@pytest.mark.parametrize("verdict", [Verdict.HEALTHY, Verdict.INCONCLUSIVE])
async def test_verdict_that_changed_stops_it(tmp_path: Path, verdict: Verdict) -> None:
    """What workers say now counts: no longer regressed, nothing is done."""
    made = Acting(tmp_path, Told())
    made.seen.verdict = verdict
    await made.lane.take(made.signed)
    await made.go(60)
    assert (made.told.events, made.ended()) == ([], [])


async def test_stranger_is_not_obeyed(tmp_path: Path) -> None:
    """A recommendation that no known key has signed claims nothing."""
    (tmp_path / "other").mkdir()
    made, other = Acting(tmp_path, Told()), Acting(tmp_path / "other", Told())
    made.seen.signed = other.signed
    await made.lane.take(other.signed)
    await made.go()
    assert (made.told.events, made.ended(), made.lane.waiting) == ([], [], {})


async def test_closed_ones_are_not_queued(tmp_path: Path) -> None:
    """Only what is open can be carried out."""
    made = Acting(tmp_path, Told(), state=RecommendationState.WITHDRAWN)
    await made.lane.take(made.signed)
    assert not made.lane.waiting


async def test_crash_in_the_middle_is_told(tmp_path: Path) -> None:
    """Ended while it acted, it does not act again after a restart: it has failed."""
    made = Acting(tmp_path, Told())
    made.told.hold = asyncio.Event()
    await made.lane.take(made.signed)
    running = asyncio.create_task(made.lane.run())
    while not made.told.events:
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    (kept,) = made.world.kept()
    assert kept.state is State.SENDING
    made.told.hold = None
    made.lane = made.anew()
    await made.go(30)
    assert len(made.told.events) == 1
    assert made.ended() == ["claim", "failed"]


async def test_crash_after_claim_goes_on(tmp_path: Path) -> None:
    """Ended between claim and action, it acts after a restart under the same claim,
    unless the lease has nearly run out. The claim is written twice and counts once."""
    for later_s, ends in ((30, ["executed"]), (100, [])):
        made = Acting(tmp_path, Told())
        await made.lane.take(made.signed)
        (parcel,) = made.lane.waiting.values()
        parcel.token, parcel.state = "t" * 16, State.CLAIMING
        await made.world.keep(parcel)
        await made.lane._leases.claim(parcel, "act one", 120)
        made.lane = made.anew()
        await made.go(later_s)
        assert made.ended() == ["claim", "claim", *ends]


async def test_outcome_is_told_however_late(tmp_path: Path) -> None:
    """While Kafka is away the end of an action is told until somebody hears it."""
    made = Acting(tmp_path, Told())
    deliver = made.told.deliver

    async def and_away(*words: Any) -> Result:
        made.world.is_away = True
        return await deliver(*words)

    made.told.deliver = and_away  # type: ignore[method-assign]
    await made.lane.take(made.signed)
    await made.go()
    assert made.ended() == ["claim", "executed"]


async def test_obstacle_is_no_claim(tmp_path: Path) -> None:
    """A place that can not be filled holds it back before anything is claimed."""
    told = Told()
    told.problem = "nothing is known to put into {{app}}"
    made = Acting(tmp_path, told)
    await made.lane.take(made.signed)
    await made.go(30)
    assert (made.ended(), told.events) == ([], [])


async def test_hooks_hold_what_waits(tmp_path: Path) -> None:
    """What waits for a person is let go when it is issued again under rules that name
    others; when they name this one again it is new, and is carried out."""
    made = Acting(tmp_path, Told(), mode="approve")
    for hooks, waiting, mode in (((), 1, "approve"), (("b",), 0, "auto")):
        record = recommendation(hooks=hooks, mode=mode)
        made.signed = made.seen.signed = made.keyed.signed(record)
        await made.lane.take(made.signed)
        await made.go(20)
        assert (len(made.lane.waiting), made.told.events) == (waiting, [])
    record = recommendation(hooks=("b", "one"))
    made.seen.signed = made.keyed.signed(record)
    await made.lane.take(made.seen.signed)
    await made.go()
    assert len(made.told.events) == 1
