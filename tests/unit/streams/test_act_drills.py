"""Drills of receivers: told as a test, never executed, and what came of it is noted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from acting.answers import Answer, Ruling, Why
from acting.drilling import drill
from acting.records import Claim, Order
from acting.records import Word as Says
from detector.verdicts import RecommendationRecord
from streams.actuators.drilling import Drills
from streams.actuators.lane import Lane
from streams.actuators.parcel import Parcel, Result, State, Word, parcel_of
from streams.actuators.receiver import Receiver
from streams.actuators.table import KINDS
from tests.unit.streams.lanes import Acting, Told, World, lane_of
from tests.unit.streams.receivers import (
    OK,
    START_MS,
    receiver,
    says,
    serving,
    signed,
    status,
)

DRILL = drill("ada", START_MS)
EVENT = f"{DRILL.id}_1"


def drills_of(made: Acting, *more: Lane) -> Drills:
    """Drills of the one that acts, and of others."""
    lanes: dict[str, Lane] = {one.receiver.name: one for one in (made.lane, *more)}
    return Drills(lanes, made.world.tools)


def noted(world: World) -> dict[str, Parcel]:
    """What is noted of the drill, by receiver."""
    return {one.receiver: one for one in world.kept() if one.event == EVENT}


async def run(drills: Drills, made: Acting, record: RecommendationRecord) -> None:
    """Hand a drill out and wait for what comes of it."""
    await drills.begin(made.keyed.signed(record))
    await drills.settle()


async def test_actor_is_stopped_and_looked_at(tmp_path: Path) -> None:
    """Who acts claims, is refused as a drill, and holds no lease; all who were handed
    it are named first. Handed again, after a restart too, nothing more happens."""
    made = Acting(tmp_path, Told(Result(Word.DONE, "not sent")))
    drills = drills_of(made)
    for _ in range(2):
        await run(drills, made, DRILL)
    await run(drills_of(made), made, DRILL)
    found = noted(made.world)
    assert list(found) == ["", "one"]
    assert found[""].detail == "one"
    assert (found["one"].state, found["one"].detail) == (
        State.DONE,
        "24 drill: not sent",
    )
    (claim,) = made.claims.records
    assert isinstance(claim, Claim)
    known = made.claims.ledger.known
    assert (known.leases, known.done) == ({}, [])
    assert len(made.told.events) == 1


@pytest.mark.parametrize("case", ["killed", "frozen", "here", "broken", "defect"])
async def test_what_would_not_work_fails(tmp_path: Path, case: str) -> None:
    """A lock before the last one, a switch of the machine, a receiver that could not
    act and a defect are told as failed, with the reason."""
    made = Acting(tmp_path, Told())
    said = case
    if case == "killed":
        made.claims.append(Order(Says.STOP, "ada", "INC-17"))
    elif case == "frozen":
        made.claims.append(Order(Says.FREEZE, "ada", "frozen", service=DRILL.service))
    elif case == "here":
        made.stopped, said = Ruling(Answer.FROZEN, Why.KILLED, "here"), "killed"
    elif case == "broken":
        made.told.results, said = [Result(Word.FAILED, "no such program")], "no such"
    else:
        made.told.results, said = [], "defect"
        made.told.always = None  # type: ignore[assignment]
    await run(drills_of(made), made, DRILL)
    found = noted(made.world)["one"]
    assert found.state is State.FAILED
    assert said in found.detail


async def test_old_drill_is_passed_by(tmp_path: Path) -> None:
    """Read again after it expired it is nobody's."""
    made = Acting(tmp_path, Told())
    made.world.at_ms = DRILL.expires_at + 1
    await run(drills_of(made), made, DRILL)
    assert (made.world.journal, made.claims.records) == ({}, [])


async def test_disabled_receiver_fails(tmp_path: Path) -> None:
    """One that has answered 410 says so, and with which command it is told again."""
    made, told = Acting(tmp_path, Told()), Told()
    other = Lane(Receiver(name="two"), told, made.world.tools, 1_000_000)
    other.is_disabled = True
    await run(drills_of(made, other), made, DRILL)
    found = noted(made.world)["two"]
    assert found.state is State.FAILED
    assert "--enable two" in found.detail
    assert told.events == []


async def test_lanes_take_no_test(tmp_path: Path) -> None:
    """No lane queues a drill as something to be delivered or done."""
    made = Acting(tmp_path, Told())
    telling = lane_of(made.world, Told())
    for lane in (made.lane, telling):
        await lane.take(made.keyed.signed(DRILL))
        assert lane.waiting == {}
    assert made.world.journal == {}


def parcel() -> Parcel:
    """A drill on its way."""
    return parcel_of("one", signed(DRILL), START_MS)


async def tried(text: str) -> Result:
    """What the receiver of this entry makes of a drill."""
    made = receiver(text)
    actuator = KINDS[made.kind].make(made)
    try:
        return await actuator.drill(parcel(), START_MS)
    finally:
        actuator.close()


WEBHOOK = "name: one\nkind: webhook\nallow: [127.0.0.0/8]\ntimeout_s: 2\n"
ALERTS = "name: one\nkind: alertmanager\nallow: [127.0.0.0/8]\ntimeout_s: 2\n"
HTTP = (
    "name: one\nkind: http\nservices: [shop]\nactions: [withdraw]\n"
    "allow: [127.0.0.0/8]\ntables: {project: {shop/cart: x}}\n"
)


async def test_webhook_is_told_it_is_a_test() -> None:
    """The message has a type of its own and says `test`; its error is the result."""
    async with serving(says(OK)) as server:
        entry = f"{WEBHOOK}webhook: {{url: '{server.url}', secrets: [{{env: SECRET}}]}}"
        found = await tried(entry)
        ((_, body),) = server.heard
    assert found == Result(Word.DONE, "told, marked as a test")
    said = json.loads(body)
    assert said["type"] == "hypercare.recommendation.drill"
    assert (said["data"]["test"], said["data"]["id"]) == (True, DRILL.id)
    async with serving(status("500 No")) as server:
        entry = f"{WEBHOOK}webhook: {{url: '{server.url}', secrets: [{{env: SECRET}}]}}"
        assert await tried(entry) == Result(Word.FAILED, "answered 500")


async def test_alertmanager_gets_a_test() -> None:
    """Every peer gets one alert of its own name that ends within a minute; one that
    does not take it fails the drill and is named."""
    async with serving(says(OK)) as one, serving(status("500 No")) as other:
        urls = [s.url.removesuffix("/in") for s in (one, other)]
        first = await tried(f"{ALERTS}alertmanager: {{urls: ['{urls[0]}']}}")
        both = await tried(
            f"{ALERTS}alertmanager: {{urls: ['{urls[0]}', '{urls[1]}']}}"
        )
        ((alert,), _) = (json.loads(body) for _, body in one.heard)
    assert first.word is Word.DONE
    assert (both.word, "answered 500" in both.detail) == (Word.FAILED, True)
    labels = alert["labels"]
    names = (labels["alertname"], labels["test"], labels["severity"])
    assert names == ("HypercareDrill", "true", "ticket")
    assert alert["endsAt"] == "2026-11-22T14:01:00.000Z"


async def test_http_sends_nothing() -> None:
    """Nothing is sent; a place without a value for the drill does not matter, a secret
    that is gone and an address that may not be reached do."""
    async with serving(says(OK)) as server:
        entry = f"{HTTP}http: {{url: '{server.url}/{{{{project}}}}', json: '{{}}'}}"
        found = await tried(entry)
        assert server.heard == []
    assert (found.word, found.detail) == (Word.DONE, "not sent: POST to 127.0.0.1")
    found = await tried(
        f"{HTTP}http: {{url: 'https://169.254.169.254/x', json: '{{}}'}}"
    )
    assert (found.word, "169.254.169.254" in found.detail) == (Word.FAILED, True)


async def test_lost_secret_fails_a_drill(tmp_path: Path) -> None:
    """A file that is gone is found before anybody needs it."""
    secret = tmp_path / "token"
    secret.write_text("Canary7token")
    entry = (
        f"{HTTP}http: {{url: 'http://127.0.0.1:1/x', json: '{{}}', "
        f"headers: {{Authorization: {{file: '{secret}'}}}}}}"
    )
    made = receiver(entry)
    actuator = KINDS[made.kind].make(made)
    assert (await actuator.drill(parcel(), START_MS)).word is Word.DONE
    secret.unlink()
    found = await actuator.drill(parcel(), START_MS)
    actuator.close()
    assert (found.word, str(secret) in found.detail) == (Word.FAILED, True)


async def test_command_is_not_run(tmp_path: Path) -> None:
    """The program is looked for and stays where it is."""
    proof = tmp_path / "proof"
    run_ = json.dumps([sys.executable, "-c", f"open({str(proof)!r}, 'w')"])
    entry = f"name: one\nkind: command\nactions: [rollback]\ncommand: {{run: {run_}}}"
    found = await tried(entry)
    assert (found.word, proof.exists()) == (Word.DONE, False)
    found = await tried(entry.replace(sys.executable, "/nowhere/rollback.sh"))
    assert (found.word, "/nowhere/rollback.sh" in found.detail) == (Word.FAILED, True)
