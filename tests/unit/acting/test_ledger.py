"""Claims, orders and outcomes in one log: who may act, and why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from acting.answers import Answer, Ruling, Why
from acting.ledger import Ledger
from acting.records import (
    Claim,
    Damaged,
    End,
    Mode,
    Order,
    Outcome,
    Record,
    Word,
    decode,
    encode,
)
from detector.verdicts import (
    Action,
    ReasonCode,
    RecommendationRecord,
    RecommendationState,
    recommendation_id,
)

NOW = 1_795_356_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TOPIC = "hypercare.recommendations"


def wish(**changes: Any) -> RecommendationRecord:
    """A rollback of shop from 2 to 1 in mode auto, issued just now."""
    known: dict[str, Any] = {
        "service": "shop",
        "environment": "production",
        "release": "2",
        "component": None,
        "episode_start_ms": NOW - MINUTE,
    } | {k: v for k, v in changes.items() if k in ("service", "release", "component")}
    episode = changes.get("episode_start_ms", known["episode_start_ms"])
    facts = known | {"episode_start_ms": episode}
    made: dict[str, Any] = {
        "id": recommendation_id(**facts),
        "revision": 1,
        "action": Action.ROLLBACK,
        "state": RecommendationState.OPEN,
        "target": "1",
        "mode": "auto",
        "decided_at": NOW,
        "issued_at": NOW,
        "expires_at": NOW + 10 * MINUTE,
        "segment": None,
        "log_e": 9.0,
        "rate_ratio": (1.5, 2.0, 2.5),
        "expected_effect": "",
        "sentence": "",
        "reasons": (ReasonCode.ERROR_RATE_UP,),
        "evidence_offset": 1,
        "rule": "r",
        "rules_hash": "h",
    }
    return RecommendationRecord(**(facts | made | changes))


def claim(wanted: RecommendationRecord, number: int = 0, **changes: Any) -> Claim:
    """A claim of a recommendation as it would have been read."""
    made: dict[str, Any] = {
        "token": f"token-{number:016d}",
        "holder": f"job-{number}",
        "topic": TOPIC,
        "key": wanted.id,
        "value": msgspec.json.encode(wanted),
        "signature": "",
    }
    return Claim(**(made | changes))


def order(word: Word, **changes: str) -> Order:
    """An order of somebody."""
    said = {"type": "order", "word": word, "actor": "ada", "why": "because"}
    return msgspec.convert(said | changes, Order)


class Story:
    """A ledger and the number of claims so far."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.claims = 0

    def ask(
        self, wanted: RecommendationRecord, at_ms: int = NOW, **changes: Any
    ) -> Ruling:
        """Claim a recommendation."""
        self.claims += 1
        made = claim(wanted, self.claims, **changes)
        found = self.ledger.take(decode(encode(made)), at_ms)
        assert found is not None
        return found

    def tell(self, record: Record, at_ms: int = NOW) -> None:
        """Append an order or an outcome."""
        assert self.ledger.take(decode(encode(record)), at_ms) is None

    def end(self, end: End, at_ms: int = NOW) -> None:
        """End the newest claim."""
        self.tell(Outcome(f"token-{self.claims:016d}", end), at_ms)


def test_first_claim_gets_it() -> None:
    """Of twenty claims of one recommendation exactly the first is granted."""
    story = Story()
    rulings = [story.ask(wish()) for _ in range(20)]
    assert [r.answer for r in rulings] == [Answer.ACT] + [Answer.HANDLED] * 19


def test_copy_of_a_claim_gets_its_answer() -> None:
    """A claim that its client wrote twice is one claim."""
    story, made = Story(), claim(wish(), 1)
    first = story.ledger.take(made, NOW)
    assert first is not None
    assert (first.answer, story.ledger.take(made, NOW)) == (Answer.ACT, first)


def test_readers_agree(rng: np.random.Generator) -> None:
    """Two ledgers that read one random log come to the same rulings."""
    makes: list[Callable[[int], Record]] = [
        lambda n: claim(wish(service=f"s{n % 5}"), n),
        lambda n: Outcome(f"token-{n - 1:016d}", list(End)[n % 3]),
        lambda n: order(list(Word)[n % len(Word)], value="rollback"),
    ]
    log = [makes[int(rng.integers(3))](n) for n in range(500)]
    times = NOW + np.sort(rng.integers(0, HOUR, len(log)))
    read = [Ledger(), Ledger()]
    found = [
        [one.take(r, int(t)) for r, t in zip(log, times, strict=True)] for one in read
    ]
    assert found[0] == found[1]
    assert any(r is not None and r.answer is Answer.ACT for r in found[0])


@pytest.mark.parametrize(
    ("changes", "answer", "why"),
    [
        ({"expires_at": NOW - 1}, Answer.STALE, Why.EXPIRED),
        ({"issued_at": NOW + 2 * MINUTE}, Answer.STALE, Why.ISSUED_AHEAD),
        ({"state": RecommendationState.EXECUTED}, Answer.HANDLED, Why.EXECUTED),
        ({"state": RecommendationState.WITHDRAWN}, Answer.HANDLED, Why.CLOSED),
        ({"state": RecommendationState.SUPERSEDED}, Answer.HANDLED, Why.CLOSED),
        ({"action": Action.HOTFIX}, Answer.NEEDS_APPROVAL, Why.NOT_EXECUTABLE),
        ({"target": None}, Answer.NEEDS_APPROVAL, Why.NO_TARGET),
        ({"mode": "approve"}, Answer.NEEDS_APPROVAL, Why.APPROVAL),
        ({"mode": "recommend"}, Answer.MODE_TOO_LOW, Why.MODE),
        ({"mode": "shadow"}, Answer.MODE_TOO_LOW, Why.MODE),
        ({"mode": "whatever"}, Answer.MODE_TOO_LOW, Why.MODE),
        ({"id": "rec_" + "a" * 26}, Answer.STALE, Why.FORGED_ID),
    ],
)
def test_unfit_recommendation_is_refused(
    changes: dict[str, Any], answer: Answer, why: Why
) -> None:
    """What may not be executed is refused with its reason."""
    found = Story().ask(wish(**changes))
    assert (found.answer, found.why, bool(found.text)) == (answer, why, True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": b"{}"}, Why.DAMAGED),
        ({"value": b"[" * 100_000}, Why.DAMAGED),
        ({"key": "rec_other"}, Why.FORGED_ID),
    ],
)
def test_damaged_claim_is_refused(changes: dict[str, Any], why: Why) -> None:
    """What is no recommendation, or not the one it is called, is refused."""
    found = Story().ask(wish(), **changes)
    assert (found.answer, found.why) == (Answer.STALE, why)


def test_lower_revision_is_refused() -> None:
    """After somebody has shown revision 2, revision 1 is over; said again is not."""
    story = Story()
    story.ask(wish(revision=2, mode="recommend"))
    assert story.ask(wish(revision=1)).why is Why.SUPERSEDED
    assert story.ask(wish(revision=2, issued_at=NOW - 1)).answer is Answer.ACT


def test_executed_is_never_done_again() -> None:
    """Once its end was told, every later claim hears that it is done."""
    story = Story()
    story.ask(wish())
    story.end(End.EXECUTED)
    assert story.ask(wish(), NOW + MINUTE).why is Why.EXECUTED


@pytest.mark.parametrize("end", [End.FAILED, None])
def test_unclear_end_needs_a_person(end: End | None) -> None:
    """After a failure, or silence until the lease is over, a person has to look; their
    approval counts for one more try, an earlier one does not."""
    story, long = Story(), {"expires_at": NOW + HOUR}
    approval = order(
        Word.APPROVE, recommendation_id=wish().id, value=Action.ROLLBACK.value
    )
    story.tell(approval, NOW - 1)
    story.ask(wish(**long), lease_s=60)
    if end is not None:
        story.end(end)
    later = NOW + 2 * MINUTE
    assert story.ask(wish(**long), later).why is Why.FAILED_BEFORE
    story.tell(approval, later)
    assert story.ask(wish(**long), later).answer is Answer.ACT


def test_released_lease_is_free() -> None:
    """Who gave a lease back without doing anything left it to the next one."""
    story = Story()
    story.ask(wish())
    story.end(End.RELEASED)
    assert story.ask(wish()).answer is Answer.ACT


def test_strangers_end_nothing() -> None:
    """An outcome for a token that holds nothing changes nothing."""
    story = Story()
    story.ask(wish())
    story.tell(Outcome("someone-elses-token", End.RELEASED))
    assert story.ask(wish()).why is Why.IN_PROGRESS


@pytest.mark.parametrize(
    ("given", "taken", "why"),
    [
        (order(Word.STOP), order(Word.RESUME), Why.KILLED),
        (order(Word.FREEZE), order(Word.THAW), Why.FROZEN),
        (
            order(Word.FREEZE, service="shop"),
            order(Word.THAW, service="shop"),
            Why.FROZEN,
        ),
        (order(Word.MODE, value=Mode.SHADOW), order(Word.MODE), Why.MODE),
        (
            order(Word.MODE, value=Mode.RECOMMEND, service="shop"),
            order(Word.MODE, service="shop"),
            Why.MODE,
        ),
    ],
)
def test_people_can_stop_and_let_go(given: Order, taken: Order, why: Why) -> None:
    """An order holds everything it covers, and its opposite lets go."""
    story = Story()
    story.tell(given)
    assert story.ask(wish()).why is why
    story.tell(taken)
    assert story.ask(wish()).answer is Answer.ACT


def test_orders_cover_their_service_only() -> None:
    """Another service's freeze and mode hold nobody else."""
    story = Story()
    story.tell(order(Word.FREEZE, service="pay"))
    story.tell(order(Word.MODE, service="pay", value=Mode.SHADOW))
    assert story.ask(wish()).answer is Answer.ACT


def test_mode_order_only_lowers() -> None:
    """A rule that only recommends is not made to act by an order."""
    story = Story()
    story.tell(order(Word.MODE, value=Mode.AUTO))
    assert story.ask(wish(mode="recommend")).why is Why.MODE


def test_approval_is_of_one_action() -> None:
    """Who approved to hold did not approve to roll back."""
    story, wanted = Story(), wish(mode="approve")
    story.tell(order(Word.APPROVE, recommendation_id=wanted.id, value="hold"))
    assert story.ask(wanted).why is Why.APPROVAL
    story.tell(order(Word.APPROVE, recommendation_id=wanted.id, value="rollback"))
    assert story.ask(wanted).answer is Answer.ACT


def test_rejected_stays_rejected() -> None:
    """A recommendation that a person rejected is over."""
    story = Story()
    story.tell(order(Word.REJECT, recommendation_id=wish().id))
    assert story.ask(wish()).why is Why.WITHDRAWN


def test_service_cools_down() -> None:
    """After an action a service is left alone for half an hour, others are not."""
    story, soon = Story(), NOW + MINUTE
    story.ask(wish())
    story.end(End.EXECUTED)
    assert story.ask(wish(release="3"), soon).why is Why.COOLDOWN
    assert story.ask(wish(service="pay"), soon).answer is Answer.ACT


def later(at_ms: int, **changes: Any) -> RecommendationRecord:
    """The same, issued at another time."""
    return wish(issued_at=at_ms, expires_at=at_ms + MINUTE, **changes)


def test_budget_is_spent_by_the_hour_and_day() -> None:
    """One an hour, three a day of a service; then a person has to agree."""
    story = Story()
    at = [NOW, NOW + 45 * MINUTE, NOW + 61 * MINUTE, NOW + 122 * MINUTE]
    at.append(NOW + 183 * MINUTE)
    found = [
        story.ask(later(ms, release=str(10 + n), target=f"t{n}"), ms)
        for n, ms in enumerate(at)
    ]
    assert [r.why for r in found] == [
        Why.GRANTED,
        Why.BUDGET,
        Why.GRANTED,
        Why.GRANTED,
        Why.BUDGET,
    ]
    wanted = later(at[-1], release="14", target="t4")
    story.tell(order(Word.APPROVE, recommendation_id=wanted.id, value="rollback"))
    assert story.ask(wanted, at[-1]).answer is Answer.ACT


def test_never_back_and_forth() -> None:
    """A release that was left within a day is no target."""
    story, at = Story(), NOW + 2 * HOUR
    story.ask(wish(release="2", target="1"))
    assert story.ask(later(at, release="1", target="2"), at).why is Why.PING_PONG
    story, at = Story(), NOW + DAY + HOUR
    story.ask(wish(release="2", target="1"))
    assert story.ask(later(at, release="1", target="2"), at).answer is Answer.ACT


@pytest.mark.parametrize(("services", "most"), [(0, 2), (40, 2), (100, 5)])
def test_storm_needs_a_person(services: int, most: int) -> None:
    """More than two services, or five in a hundred, within a quarter of an hour: no
    faulty release does that. A person agrees, or says that it is over."""
    story = Story()
    found = [
        story.ask(wish(service=f"s{n}"), services=services) for n in range(most + 1)
    ]
    assert [r.why for r in found] == [Why.GRANTED] * most + [Why.STORM]
    story.tell(order(Word.CALM), NOW + 1)
    assert story.ask(wish(service="calm"), NOW + 1).answer is Answer.ACT


@pytest.mark.parametrize(
    ("services", "regressed", "refused"),
    [(0, 2, False), (0, 3, True), (4, 3, True), (10, 3, False), (10, 4, True)],
)
def test_common_cause_needs_a_person(
    services: int, regressed: int, refused: bool
) -> None:
    """Where three services and more than three in ten regress at the same time no
    release is to blame: a person agrees, or says that it is over for a while."""
    many = {"services": services, "regressed": regressed}
    story = Story()
    found = story.ask(wish(), **many)
    assert found.why is (Why.COMMON_CAUSE if refused else Why.GRANTED)
    other = wish(service="pay")
    agree(story, other, "ada")
    assert story.ask(other, **many).answer is Answer.ACT
    story.tell(order(Word.CALM))
    assert story.ask(wish(service="cart"), **many).answer is Answer.ACT
    part = wish(component="c", action=Action.WITHDRAW, target=None)
    assert Story().ask(part, **many).answer is Answer.ACT


def test_components_have_no_budget() -> None:
    """A component off is small: neither cooldown nor storm holds it back."""
    story = Story()
    found = [
        story.ask(wish(component=f"c{n}", action=Action.WITHDRAW, target=None))
        for n in range(10)
    ]
    assert {r.answer for r in found} == {Answer.ACT}


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{", b"[]", b'{"type":"x"}', b'{"type":"order","word":"stop"}'],
)
def test_other_bytes_are_named_damaged(value: bytes | None) -> None:
    """What is no record of the topic says so."""
    with pytest.raises(Damaged):
        decode(value)


def test_ten_thousand_forgeries_get_nothing(rng: np.random.Generator) -> None:
    """Forged, stale and replayed claims are refused with a reason; good ones, each of a
    service of its own, are granted."""
    story = Story()
    story.tell(order(Word.CALM))
    bad: list[dict[str, Any]] = [{"key": "rec_x"}, {"value": b"{}"}]
    for number in range(10_000):
        at = NOW + number * 16 * MINUTE  # so that no storm is seen
        wanted = later(at, service=f"s{number}")
        changes = bad[int(rng.integers(2))]
        assert story.ask(wanted, at, **changes).answer is Answer.STALE
        old = story.ask(wanted, at + HOUR)
        assert (old.answer, old.why) == (Answer.STALE, Why.EXPIRED)
        assert story.ask(wanted, at).answer is Answer.ACT
        assert story.ask(wanted, at).answer is Answer.HANDLED


def agree(story: Story, wanted: RecommendationRecord, *names: str) -> None:
    """Each of them approves the rollback."""
    for name in names:
        place = {"recommendation_id": wanted.id, "value": "rollback"}
        story.tell(order(Word.APPROVE, actor=name, **place))


def test_two_people_have_to_agree() -> None:
    """Of two approvals each is somebody else's, wherever they typed their name, and
    none is the deployer's; who is missing is said."""
    wanted = wish(mode="approve", approvals=2, deployed_by=("bot", "Eve"))
    story = Story()
    agree(story, wanted, "ada@laptop", "Ada@desk", "eve@desk", "bot")
    found = story.ask(wanted)
    assert (found.why, found.text[:6]) == (Why.APPROVAL, "1 of 2")
    agree(story, wanted, "bob@desk")
    assert story.ask(wanted).answer is Answer.ACT


def test_deployer_alone_may_agree() -> None:
    """Where one person has to agree it may be who deployed the release."""
    story, wanted = Story(), wish(mode="approve", deployed_by=("ada",))
    agree(story, wanted, "ada")
    assert story.ask(wanted).answer is Answer.ACT


@pytest.mark.parametrize("service", ["*", "shop"])
def test_order_asks_for_more_people(service: str) -> None:
    """An order raises the number and never lowers it; taken back the rule's holds."""
    story, wanted = Story(), wish(mode="approve", approvals=2)
    agree(story, wanted, "ada", "bob")
    story.tell(order(Word.APPROVALS, service=service, value="3"))
    assert story.ask(wanted).why is Why.APPROVAL
    story.tell(order(Word.APPROVALS, service=service, value="1"))
    assert story.ask(wanted).answer is Answer.ACT


@pytest.mark.parametrize(
    "value", ["0", "6", "-1", "two", "rule", "9" * 2_000, "\u0664"]
)
def test_other_numbers_take_the_order_back(value: str) -> None:
    """What is no number from one to five leaves the rule's, and breaks nothing."""
    story, wanted = Story(), wish(mode="approve")
    story.tell(order(Word.APPROVALS, value="2"))
    story.tell(order(Word.APPROVALS, value=value))
    agree(story, wanted, "ada")
    assert story.ask(wanted).answer is Answer.ACT


def test_limits_give_way_to_two() -> None:
    """Where two have to agree, one does not lift a cooldown."""
    story, soon = Story(), later(NOW + MINUTE, release="3", approvals=2)
    story.ask(wish())
    agree(story, soon, "ada")
    assert story.ask(soon, NOW + MINUTE).why is Why.COOLDOWN
    agree(story, soon, "bob")
    assert story.ask(soon, NOW + MINUTE).answer is Answer.ACT


def test_switches_hold_until_restored() -> None:
    """A component that was taken out stays out, however its lease ends up; a person
    restores it. What failed, or was no component, switches nothing."""
    ledger = Ledger()
    told = {"withdraw": End.EXECUTED, "replace": End.FAILED, "rollback": End.EXECUTED}
    for index, (action, end) in enumerate(told.items()):
        part = None if action == "rollback" else f"part{index}"
        wanted = wish(action=Action(action), component=part, service=f"s{index}")
        token = f"{index:016d}"
        ruling = ledger.take(claim(wanted, token=token), NOW)
        assert ruling is not None
        assert ruling.answer is Answer.ACT
        ledger.take(Outcome(token, end), NOW + 1)
    (place,) = ledger.known.switched
    assert place == ("s0", "production", "part0")
    for service, part in (("s1", "part0"), ("s0", "part1")):
        ledger.take(Order(Word.RESTORE, "ada", "fixed", service, part), NOW + 2)
    assert list(ledger.known.switched) == [place]
    ledger.take(Order(Word.RESTORE, "ada", "fixed", "s0", "part0"), NOW + 3)
    assert ledger.known.switched == {}


def test_environments_are_switched_apart() -> None:
    """A person takes a component out of staging; production is another matter, both to
    withdraw and to restore, and a restore without an environment is for all."""
    ledger = Ledger()

    def order(word: Word, at_ms: int, **where: str) -> list[str]:
        ledger.take(Order(word, "ada", "test", "shop", "cart", **where), at_ms)
        return sorted(place.environment for place in ledger.known.switched)

    staging, production = {"environment": "staging"}, {"environment": "production"}
    assert order(Word.WITHDRAW, NOW, **staging) == ["staging"]
    assert order(Word.RESTORE, NOW + 1, **production) == ["staging"]
    assert order(Word.WITHDRAW, NOW + 2, **production) == ["production", "staging"]
    assert order(Word.RESTORE, NOW + 3, **staging) == ["production"]
    (done,) = ledger.known.switched.values()
    assert done == ("withdraw", None, "", NOW + 2)
    order(Word.WITHDRAW, NOW + 4, **staging)
    assert order(Word.RESTORE, NOW + 5) == []


def test_unsaid_environment_is_not_written() -> None:
    """Gates of the version before know no environment of orders, and obey these."""
    stop = Order(Word.STOP, "ada", "INC-17")
    assert b"environment" not in encode(stop)
    assert decode(encode(stop)) == stop
    there = Order(Word.RESTORE, "ada", "fixed", "shop", "cart", environment="staging")
    assert decode(encode(there)) == there


def test_blocked_needs_a_person() -> None:
    """A recommendation that leads nowhere asks for a person, not for patience."""
    state = RecommendationState.BLOCKED
    ruling = Ledger().take(claim(wish(state=state, target=None)), NOW)
    assert ruling is not None
    assert (ruling.answer, ruling.why) == (Answer.NEEDS_APPROVAL, Why.NO_TARGET)
