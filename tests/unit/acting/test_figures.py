"""Figures about acting: what waits for people, what machines may still do."""

from __future__ import annotations

from typing import Any

import pytest

from acting.figures import budget_left, modes, waits_for_person
from acting.interlocks import DAILY_MAX
from acting.known import DAY_MS, Done, Known, Lease
from acting.records import EVERY, Mode, Order, Word
from detector.verdicts import Action, RecommendationRecord, RecommendationState
from tests.unit.acting.test_ledger import NOW, wish


def asking(**changes: Any) -> RecommendationRecord:
    """A rollback that a person has to agree to."""
    return wish(mode="approve", **changes)


def order(word: Word, **facts: Any) -> Order:
    """What a person says."""
    return Order(word=word, actor="ada", why="test", **facts)


def test_open_approval_waits() -> None:
    """In mode approve it waits, in mode auto it does not."""
    assert waits_for_person(Known(), asking(), NOW)
    assert not waits_for_person(Known(), wish(), NOW)


def test_ordered_mode_makes_it_wait() -> None:
    """What people allow a service counts as what its rule says."""
    known = Known(modes={EVERY: Mode.APPROVE})
    assert waits_for_person(known, wish(), NOW)


def test_decided_approval_waits_no_more() -> None:
    """Approved, rejected, begun, expired or closed: nobody is waited for."""
    wanted = asking()
    name = wanted.id, wanted.action
    lease = Lease("t" * 16, "job", wanted, NOW, NOW + 1)
    for known in (
        Known(approvals={name: {"ada": NOW}}),
        Known(rejected={wanted.id: order(Word.REJECT)}),
        Known(leases={name: lease}),
    ):
        assert not waits_for_person(known, wanted, NOW)
    assert not waits_for_person(Known(), wanted, wanted.expires_at + 1)
    closed = asking(state=RecommendationState.WITHDRAWN)
    assert not waits_for_person(Known(), closed, NOW)


@pytest.mark.parametrize("number", range(DAILY_MAX + 2))
def test_budget_counts_large_actions(number: int) -> None:
    """Rollbacks of a day are counted, never below none; small ones and old are not."""
    done = [Done(wish(), NOW - 1)] * number
    done += [Done(wish(action=Action.WITHDRAW), NOW), Done(wish(), NOW - DAY_MS)]
    left = budget_left(Known(done=done), NOW)
    place = "shop", "production"
    assert left == ({place: max(0, DAILY_MAX - number)} if number else {})


def test_modes_are_the_least() -> None:
    """By service the newest rule's mode, lowered by orders; orders alone as said."""
    known = Known(modes={"pay": Mode.RECOMMEND, "shop": Mode.APPROVE})
    old = wish(mode="shadow", issued_at=NOW - 1)
    assert modes(known, [wish(), old]) == {
        "pay": Mode.RECOMMEND,
        "shop": Mode.APPROVE,
    }
    assert modes(Known(), [old, wish()]) == {"shop": Mode.AUTO}
