"""One question of a job: may I go on, must I act, or neither?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from acting.answers import Answer, Ruling
from acting.records import Claim
from acting.standing import sight, standing
from acting.trust import Check, distrust
from detector.verdicts import RecommendationRecord
from streams.gate.executions import Executions
from streams.gate.reading import Release, Signed, Situation
from streams.gate.returning import MayReturn, anywhere
from streams.signing import Unsigned, Verifier


class Knows(Protocol):
    """Who knows what workers have said: topics read once, or a board that follows."""

    def situation(self, asked: Release, now_ms: int) -> Situation:
        """What workers have said of a release."""


class Question(NamedTuple):
    """Whom it is about, and who asks.

    ``token`` names this question; the same one asked again gets the same answer.
    """

    asked: Release
    holder: str
    token: str
    lease_s: int


class Reply(NamedTuple):
    """The ruling, and what it is about, as far as that is known."""

    ruling: Ruling
    situation: Situation | None = None
    recommendation: RecommendationRecord | None = None


def may_act(reply: Reply) -> bool:
    """Whether a reply lets its caller carry something out; a drill never does."""
    wanted = reply.recommendation
    is_granted = reply.ruling.answer is Answer.ACT
    return is_granted and wanted is not None and not wanted.test


def ask(
    question: Question,
    knows: Knows,
    verifier: Verifier,
    executions: Callable[[], Executions],
    now_ms: int,
    may_return: MayReturn = anywhere,
) -> Reply:
    """Answer a question; the lease is taken where the answer is to act.

    ``may_return`` is asked before anything is claimed.

    Raises
    ------
    Unreachable
        If Kafka does not answer.
    """
    seen = knows.situation(question.asked, now_ms)
    signed, ruling = seen.recommendation, unclaimed(seen, verifier, now_ms)
    if ruling is None:
        assert signed is not None
        ruling = may_return(signed.record)
    if ruling is None and signed is not None:
        ruling = executions().claim(claim_of(question, signed, seen))
    assert ruling is not None
    return Reply(ruling, seen, signed.record if signed else None)


def ask_drill(
    question: Question,
    signed: Signed,
    verifier: Verifier,
    executions: Callable[[], Executions],
) -> Ruling:
    """Claim a drill: no worker judges what does not exist, all else is as in `ask`."""
    said = distrust(*signed[:4], checker(verifier))
    return said or executions().claim(claim_of(question, signed, None))


def unclaimed(seen: Situation, verifier: Verifier, now_ms: int) -> Ruling | None:
    """What is answered without claiming; None where a recommendation is to be claimed.

    Signatures are checked here, before anything is claimed: what a stranger wrote must
    not hold a lease.
    """
    pulse, signed = seen.pulse, seen.recommendation
    blind = sight(
        told_ms=seen.told_ms,
        read_until_ms=pulse.read_until_ms if pulse else None,
        state=pulse.state.value if pulse else "",
        reason=pulse.reason if pulse else "",
        now_ms=now_ms,
    )
    said = blind or standing(seen.verdict, is_recommended=signed is not None)
    if said is None and signed is not None:
        said = distrust(*signed[:4], checker(verifier))
    return said


def claim_of(question: Question, signed: Signed, seen: Situation | None) -> Claim:
    """The claim that a question leads to."""
    return Claim(
        token=question.token,
        holder=question.holder,
        topic=signed.topic,
        key=signed.key,
        value=signed.value,
        signature=signed.signature,
        lease_s=question.lease_s,
        services=seen.services if seen else 0,
        regressed=seen.regressed if seen else 0,
    )


def checker(verifier: Verifier) -> Check:
    """A verifier in the words of ``acting``: why not, or None."""

    def check(
        topic: str, key: bytes, value: bytes, signature: bytes | None
    ) -> str | None:
        try:
            verifier.check(topic, key, value, signature)
        except Unsigned as error:
            return str(error)
        return None

    return check
