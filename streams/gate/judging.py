"""What the gates know of a release, and what they claim for those who ask."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from acting.answers import Ruling
from acting.interlocks import held_by_people
from acting.known import Known as Claims
from acting.ledger import Ledger
from acting.protocols import Standing, standing_of
from acting.records import Record
from streams.gate.asking import Question, ask, ask_drill, unclaimed
from streams.gate.board import Board
from streams.gate.executions import Executions
from streams.gate.reading import Release, Signed
from streams.gate.returning import MayReturn, anywhere
from streams.signing import Verifier

Found = TypeVar("Found")


class Known(NamedTuple):
    """How a release stands, why, and what is recommended against it."""

    standing: Standing
    text: str
    signed: Signed | None


class Judge:
    """Answers about releases, from what workers have said and people have done.

    Parameters
    ----------
    board : Board
        What workers have said.
    executions : Executions
        The topic of claims.
    verifier : Verifier
        Whose recommendations count.
    now_ms : callable
        Wall clock.
    stopped_here : callable
        Why nothing may be executed from this machine, or None.
    may_return : callable
        Who may object to a release to go back to.
    """

    def __init__(
        self,
        board: Board,
        executions: Executions,
        verifier: Verifier,
        *,
        now_ms: Callable[[], int],
        stopped_here: Callable[[], Ruling | None] = lambda: None,
        may_return: MayReturn = anywhere,
    ) -> None:
        self.board = board
        self._executions = executions
        self._verifier = verifier
        self._now_ms = now_ms
        self._stopped_here = stopped_here
        self._may_return = may_return
        self._one_at_a_time = asyncio.Lock()

    @property
    def known_claims(self) -> Claims:
        """What claims and orders have come to, as far as it was read."""
        return self._executions.ledger.known

    @property
    def is_stopped_here(self) -> bool:
        """Whether the kill switch of this machine is on."""
        return self._stopped_here() is not None

    async def known(self, asked: Release) -> Known:
        """How a release stands; claims nothing.

        Rollout controllers act on the answer by themselves, so a regression that
        people want nothing done about now is told as frozen.

        Raises
        ------
        Unreachable
            While Kafka does not answer.
        """
        now_ms = self._now_ms()
        seen = self.board.situation(asked, now_ms)
        signed, said = seen.recommendation, unclaimed(seen, self._verifier, now_ms)
        text = said.text if said else signed.record.sentence if signed else ""
        standing = standing_of(said)
        if standing is Standing.REGRESSED:
            held = await self._held_by_people(asked.service)
            if held is not None:
                standing = standing_of(held)
                text = f"{held.why}: {held.text}; {text}"
        return Known(standing, text, signed)

    async def _held_by_people(self, service: str) -> Ruling | None:
        """Why people want nothing done to a service by machine: newest orders count."""
        stopped = self._stopped_here()
        if stopped is not None:
            return stopped
        ledger = await self.ledger()
        return held_by_people(ledger.known, service, self._now_ms())

    async def claim(
        self, asked: Release, holder: str, token: str | None, lease_s: int
    ) -> Ruling:
        """Claim what is recommended against a release.

        Without a token the holder asks again and again, as Flagger does, and hears yes
        as long as it holds the lease.
        """
        stopped = self._stopped_here()
        if stopped is not None:
            return stopped
        if token is None:
            signed = self.board.situation(asked, self._now_ms()).recommendation
            held = None if signed is None else await self._held(signed, holder)
            if held is not None:
                return held
            token = secrets.token_hex(16)
        question = Question(asked, holder, token, lease_s)
        drilled = self.board.drill(asked)
        if drilled is not None:
            return await self._in_thread(
                partial(
                    ask_drill,
                    question,
                    drilled,
                    self._verifier,
                    lambda: self._executions,
                )
            )
        reply = await self._in_thread(
            partial(
                ask,
                question,
                self.board,
                self._verifier,
                lambda: self._executions,
                self._now_ms(),
                self._may_return,
            )
        )
        return reply.ruling

    async def append(self, record: Record) -> None:
        """Write an outcome or an order."""
        await self._in_thread(partial(self._executions.append, record))

    async def ledger(self) -> Ledger:
        """All claims and orders up to now."""
        await self._in_thread(self._executions.catch_up)
        return self._executions.ledger

    async def _held(self, signed: Signed, holder: str) -> Ruling | None:
        """The yes that the holder has heard before, while its lease lasts."""
        ledger = await self.ledger()
        lease = ledger.known.leases.get((signed.key, signed.record.action))
        if lease is None or lease.holder != holder:
            return None
        is_held = lease.is_held(self._now_ms())
        return ledger.rulings.get(lease.token) if is_held else None

    async def _in_thread(self, work: Callable[[], Found]) -> Found:
        """Kafka's blocking client, one call at a time, beside the loop."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(work)
