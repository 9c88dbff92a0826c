"""Back and forth: the second return freezes the service until a person thaws it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acting.answers import Answer, Why
from acting.figures import ping_pong
from acting.records import End, Order, Outcome, Word
from detector.verdicts import Action
from tests.unit.acting.test_ledger import DAY, HOUR, NOW, Story, agree, later, order

AGAIN = NOW + 2 * HOUR


def again(at_ms: int = AGAIN, **changes: Any) -> Any:
    """A rollback of shop from 2 to 1 whose harm began after the first return."""
    facts = {"episode_start_ms": at_ms - HOUR} | changes
    return later(at_ms, **facts)


def returned(**changes: Any) -> Story:
    """Release 2 was rolled back to 1, or what the changes say."""
    story = Story()
    assert story.ask(later(NOW, **changes)).answer is Answer.ACT
    story.end(End.EXECUTED)
    return story


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target": "0"},
        {"release": "1", "target": "2", "episode_start_ms": NOW - HOUR},
    ],
    ids=["same release", "elsewhere", "to what was left"],
)
def test_second_return_freezes(changes: dict[str, Any]) -> None:
    """The claim is refused and freezes the service, whatever is asked of it then: who
    reads the same log agrees. The order names who asked, and both releases."""
    story, wanted = returned(), again(**changes)
    found = story.ask(wanted, AGAIN)
    assert (found.answer, found.why) == (Answer.FROZEN, Why.PING_PONG)
    frozen = story.ledger.known.ping_pong["shop"]
    assert frozen.actor == "hypercare"
    for words in (wanted.id, "job-2", "hypercare order thaw --service shop"):
        assert words in frozen.why
    assert ping_pong(story.ledger.known) == {"shop": True}
    at = AGAIN + 2 * DAY
    other = later(at, service="shop", release="9", target="8")
    agree(story, other, "ada", "bob")
    assert story.ask(other, at).why is Why.FROZEN
    assert story.ask(later(at, service="pay"), at).answer is Answer.ACT


@pytest.mark.parametrize(
    ("changes", "at_ms"),
    [
        ({"episode_start_ms": NOW - HOUR}, AGAIN),
        ({"release": "3", "episode_start_ms": NOW - HOUR}, AGAIN),
        ({"release": "3"}, AGAIN),
        ({"release": "3", "target": "2.9"}, AGAIN),
        ({"component": "cart"}, AGAIN),
        ({"service": "pay"}, AGAIN),
        ({}, NOW + DAY + HOUR),
    ],
    ids=[
        "same harm",
        "side by side",
        "a bad mend",
        "other target",
        "component",
        "service",
        "a day",
    ],
)
def test_what_is_no_return_goes_on(changes: dict[str, Any], at_ms: int) -> None:
    """Two that were bad side by side, a mend that is bad too, other targets, parts
    and services, and what was left more than a day ago are not back and forth."""
    story = returned()
    facts = {"episode_start_ms": at_ms - HOUR} | changes
    assert story.ask(later(at_ms, **facts), at_ms).answer is Answer.ACT
    assert story.ledger.known.ping_pong == {}


def test_replaced_twice_freezes() -> None:
    """A component that is put back twice to one version goes back and forth, too."""
    facts = {"component": "cart", "action": Action.REPLACE, "target": "7"}
    story = returned(**facts)
    assert story.ask(again(**facts), AGAIN).why is Why.PING_PONG


def test_only_its_own_thaw_lifts_it() -> None:
    """A thaw of all, an approval and the end of a storm leave it; a thaw by name lifts
    it and begins anew: the next return within a day freezes it again."""
    story, wanted = returned(), again()
    story.ask(wanted, AGAIN)
    agree(story, wanted, "ada")
    for said in (order(Word.THAW), order(Word.CALM), order(Word.THAW, service="pay")):
        story.tell(said, AGAIN + 1)
    assert story.ask(wanted, AGAIN + 2).why is Why.FROZEN
    story.tell(Order(Word.THAW, "ada", "mended", "shop"), AGAIN + 3)
    assert ping_pong(story.ledger.known) == {"shop": False}
    assert story.ask(wanted, AGAIN + 4).answer is Answer.ACT
    at = AGAIN + 2 * HOUR
    assert story.ask(again(at), at).why is Why.PING_PONG


def test_freeze_of_people_is_no_ping_pong() -> None:
    """Taking a person's freeze back forgets nothing that was done before."""
    story = returned()
    story.tell(order(Word.FREEZE, service="shop"), NOW + 1)
    story.tell(order(Word.THAW, service="shop"), NOW + 2)
    assert story.ask(again(), AGAIN).why is Why.PING_PONG


def test_released_lease_was_no_return() -> None:
    """What was given back without having been done is not counted."""
    story = Story()
    story.ask(later(NOW))
    story.tell(Outcome("token-0000000000000001", End.RELEASED))
    assert story.ask(again(), AGAIN).answer is Answer.ACT


def test_test_freezes_nothing() -> None:
    """A drill never freezes a service, even one that is named like it."""
    story = returned()
    wanted = msgspec.structs.replace(again(), test=True)
    wanted = msgspec.structs.replace(wanted, id=wanted.id.replace("rec_", "drill_"))
    assert story.ask(wanted, AGAIN).why is Why.PING_PONG
    assert story.ledger.known.ping_pong == {}
