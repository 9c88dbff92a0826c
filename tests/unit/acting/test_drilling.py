"""Drills take the whole way and are never granted; what the claims say in numbers."""

from __future__ import annotations

import msgspec
import pytest

from acting.answers import Answer, Why
from acting.drilling import drill
from acting.figures import drills
from acting.records import Drill, Order, Word, decode, encode
from detector.verdicts import RecommendationRecord
from streams.gate.asking import Reply, may_act
from tests.unit.acting.test_ledger import NOW, Story, order, wish

WENT_WELL = "token-0000000000000001"


def success(token: str = WENT_WELL) -> Drill:
    """The record of a drill that went well."""
    made = Drill(token, "gate", "ada", {"write": 3})
    found = decode(encode(made))
    assert found == made
    return made


def test_drill_is_never_granted() -> None:
    """All locks are open and the last one stops it: no lease, and nothing counts."""
    story = Story()
    for _ in range(3):
        found = story.ask(drill("ada", NOW))
        assert (found.answer, found.why) == (Answer.MODE_TOO_LOW, Why.DRILL)
    assert (story.ledger.known.leases, story.ledger.known.done) == ({}, [])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (order(Word.STOP), Why.KILLED),
        (order(Word.FREEZE), Why.FROZEN),
        (order(Word.MODE, value="recommend"), Why.MODE),
        (order(Word.REJECT, recommendation_id=drill("ada", NOW).id), Why.WITHDRAWN),
    ],
)
def test_drill_meets_every_lock(said: Order, why: Why) -> None:
    """What holds others holds a drill, which then did not go well."""
    story = Story()
    story.tell(said)
    assert story.ask(drill("ada", NOW)).why is why
    story.tell(success())
    assert story.ledger.known.drills == {}


@pytest.mark.parametrize(
    "wanted",
    [
        msgspec.structs.replace(drill("ada", NOW), test=False),
        wish(test=True),
        msgspec.structs.replace(drill("ada", NOW), service="shop"),
    ],
)
def test_changed_drill_is_forged(wanted: RecommendationRecord) -> None:
    """A drill can not be made real, nor a recommendation a drill, by a word in it."""
    found = Story().ask(wanted)
    assert (found.answer, found.why) == (Answer.STALE, Why.FORGED_ID)


def test_success_needs_a_stopped_claim() -> None:
    """A drill counts if its own claim was stopped as one."""
    story = Story()
    story.tell(success())
    assert drills(story.ledger.known) == {"gate": 0}
    story.ask(drill("ada", NOW))
    story.tell(success("token-0000000000000009"))
    assert drills(story.ledger.known) == {"gate": 0}
    story.tell(success(), NOW + 1)
    assert drills(story.ledger.known) == {"gate": NOW + 1}


def test_granted_drill_would_not_act() -> None:
    """Even a reply that grants it lets nobody carry a drill out."""
    granted = Story().ask(wish())
    assert may_act(Reply(granted, None, wish()))
    assert not may_act(Reply(granted, None, wish(test=True)))
    assert not may_act(Reply(granted))
