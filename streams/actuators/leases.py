"""The right to act: asked of the same fold as every gate asks, without writing first.

A claim stays in its topic for ever, so who waits for a person's approval must not write
one every ten seconds: what would be answered is looked up beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from acting.answers import Answer, Ruling, Why
from acting.interlocks import refusal
from acting.known import Known, Request
from acting.records import Claim, End, Outcome
from detector.verdicts import RecommendationRecord
from streams.actuators.parcel import Parcel
from streams.gate.asking import Knows, Question, ask, claim_of, unclaimed
from streams.gate.executions import Executions
from streams.gate.reading import Release, Signed, Situation
from streams.gate.returning import MayReturn, anywhere
from streams.signing import Verifier

Found = TypeVar("Found")
DETAIL_CHARS = 500
DRILL_LEASE_S = 60

FINAL = frozenset(
    {
        Why.UNSIGNED,
        Why.DAMAGED,
        Why.FORGED_ID,
        Why.NOT_EXECUTABLE,
        Why.SUPERSEDED,
        Why.CLOSED,
        Why.WITHDRAWN,
        Why.EXECUTED,
    }
)
"""After these waiting helps nothing. Others may be lifted, by time or by a person."""


class _Exactly:
    """What is known, as long as it is about the very revision that is to be done."""

    def __init__(self, knows: Knows, parcel: Parcel) -> None:
        self._knows, self._parcel = knows, parcel

    def situation(self, asked: Release, now_ms: int) -> Situation:
        """What workers have said; without a recommendation if it is another one."""
        seen = self._knows.situation(asked, now_ms)
        signed = seen.recommendation
        if signed is None or not _same(signed.record, self._parcel.record()):
            return seen._replace(recommendation=None)
        return seen


def _same(one: RecommendationRecord, other: RecommendationRecord) -> bool:
    facts = [(r.id, r.revision, r.action) for r in (one, other)]
    return facts[0] == facts[1]


class Leases:
    """Asks, claims and reports for all receivers that act.

    Parameters
    ----------
    knows : Knows
        What workers have said.
    executions : Executions
        The topic of claims.
    verifier : Verifier
        Whose recommendations count.
    stopped : callable
        The kill switches of this machine.
    now_ms : callable
        Wall clock.
    may_return : callable
        Who may object to a release to go back to.
    """

    def __init__(
        self,
        knows: Knows,
        executions: Executions,
        verifier: Verifier,
        *,
        stopped: Callable[[], Ruling | None],
        now_ms: Callable[[], int],
        may_return: MayReturn = anywhere,
    ) -> None:
        self._knows = knows
        self._executions = executions
        self._verifier = verifier
        self._stopped = stopped
        self._now_ms = now_ms
        self._may_return = may_return
        # Kafka's client blocks and takes one call at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leases")

    def close(self) -> None:
        """End the thread, and the connection with it."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._executions.close()

    async def foresee(self, parcel: Parcel, holder: str, lease_s: int) -> Ruling:
        """What a claim would be answered now; nothing is written.

        Raises
        ------
        Unreachable
            If Kafka does not answer.
        """
        return await self._run(lambda: self._foresee(parcel, holder, lease_s))

    async def claim(self, parcel: Parcel, holder: str, lease_s: int) -> Ruling:
        """Take the lease under the parcel's token; asked again, the same answer.

        A lease that was ours and may run out before the work ends is not one.
        """
        return await self._run(lambda: self._claim(parcel, holder, lease_s))

    async def drill(self, signed: Signed, token: str, holder: str) -> Ruling:
        """Claim a drill, which no reader of the log grants; nothing else is asked."""
        return await self._run(lambda: self._drill(signed, token, holder))

    async def end(self, token: str, end: End, detail: str) -> None:
        """Say how it ended."""
        outcome = Outcome(token, end, detail[:DETAIL_CHARS])
        await self._run(lambda: self._executions.append(outcome))

    def _foresee(self, parcel: Parcel, holder: str, lease_s: int) -> Ruling:
        now_ms, wanted = self._now_ms(), parcel.record()
        stopped = self._stopped()
        if stopped is not None:
            return stopped
        seen = self._knows.situation(_asked(wanted), now_ms)
        said = unclaimed(seen, self._verifier, now_ms)
        if said is not None:
            return said
        signed = seen.recommendation
        assert signed is not None
        if not _same(signed.record, wanted):
            return _another(signed.record, wanted)
        self._executions.catch_up()
        question = Question(_asked(wanted), holder, parcel.token, lease_s)
        claim = claim_of(question, signed, seen)
        return foreseen(self._executions.ledger.known, claim, signed.record, now_ms)

    def _drill(self, signed: Signed, token: str, holder: str) -> Ruling:
        stopped = self._stopped()
        if stopped is not None:
            return stopped
        question = Question(_asked(signed.record), holder, token, DRILL_LEASE_S)
        return self._executions.claim(claim_of(question, signed, None))

    def _claim(self, parcel: Parcel, holder: str, lease_s: int) -> Ruling:
        wanted = parcel.record()
        stopped = self._stopped()
        if stopped is not None:
            return stopped
        question = Question(_asked(wanted), holder, parcel.token, lease_s)
        knows, now_ms = _Exactly(self._knows, parcel), self._now_ms()
        reply = ask(
            question,
            knows,
            self._verifier,
            lambda: self._executions,
            now_ms,
            self._may_return,
        )
        if reply.ruling.answer is not Answer.ACT:
            return reply.ruling
        known = self._executions.ledger.known
        lease = known.leases.get((wanted.id, wanted.action))
        half_ms = lease_s * 1_000 // 2
        is_ours = lease is not None and lease.token == parcel.token
        if lease is None or not is_ours or not lease.is_held(self._now_ms() + half_ms):
            text = "the lease was ours, and has run out or was ended"
            return Ruling(Answer.NEEDS_APPROVAL, Why.FAILED_BEFORE, text)
        return reply.ruling

    async def _run(self, work: Callable[[], Found]) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def foreseen(
    known: Known, claim: Claim, wanted: RecommendationRecord, at_ms: int
) -> Ruling:
    """What the interlocks would say to a claim that was appended now."""
    seen = known.newest.get(wanted.id)
    if seen is None or seen.revision < wanted.revision:
        known = replace(known, newest={**known.newest, wanted.id: wanted})
    granted = Ruling(Answer.ACT, Why.GRANTED, "it would be granted")
    return refusal(known, Request(claim, wanted, at_ms)) or granted


def _another(newest: RecommendationRecord, wanted: RecommendationRecord) -> Ruling:
    if newest.id == wanted.id and newest.revision < wanted.revision:
        text = f"revision {wanted.revision} is not known to all yet"
        return Ruling(Answer.STALE, Why.BEHIND, text)
    text = f"there is revision {newest.revision} of {newest.id}"
    return Ruling(Answer.HANDLED, Why.SUPERSEDED, text)


def _asked(wanted: RecommendationRecord) -> Release:
    return Release(wanted.service, wanted.environment, wanted.release, wanted.component)
