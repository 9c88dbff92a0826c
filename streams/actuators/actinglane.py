"""The lane of a receiver that acts: the lease first, once, and its end is told."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from acting.answers import Answer, Ruling, Why
from acting.records import End
from detector.verdicts import OPEN_STATES, RecommendationRecord
from streams.actuators.lane import PAUSE_MS, Lane, Tools, Troubles
from streams.actuators.leases import FINAL, Leases
from streams.actuators.parcel import SECOND, Parcel, Result, State, Word
from streams.actuators.receiver import Actuator, Receiver
from streams.gate.reading import Signed

logger = logging.getLogger(__name__)

LOOK_MS = 10 * SECOND
"""How often it is asked whether it may act now; nothing is written by asking."""

BACKOFF_MAX_MS = 60 * SECOND
ENDS = {
    Word.DONE: End.EXECUTED,
    Word.AGAIN: End.RELEASED,
    Word.FAILED: End.FAILED,
    Word.GONE: End.FAILED,
}


class ActingLane(Lane):
    """Acts for one receiver.

    Parameters
    ----------
    receiver, actuator, tools, bytes_max
        As of `Lane`.
    leases : Leases
        Who may act, and how it ended.
    token : callable
        A new name for a claim.
    rest : callable
        Waits so many seconds.
    """

    def __init__(
        self,
        receiver: Receiver,
        actuator: Actuator,
        tools: Tools,
        bytes_max: int,
        *,
        leases: Leases,
        token: Callable[[], str],
        rest: Callable[[float], Awaitable[None]],
    ) -> None:
        super().__init__(receiver, actuator, tools, bytes_max)
        self._leases, self._token, self._rest = leases, token, rest
        self._holder = f"act {receiver.name}"

    def restore(self, parcel: Parcel) -> None:
        """Take up what was not dropped: what expired is new when it is issued again."""
        if parcel.state is not State.DROPPED:
            super().restore(parcel)

    def wants(self, wanted: RecommendationRecord) -> bool:
        """Only what is open can be carried out."""
        return wanted.state in OPEN_STATES and super().wants(wanted)

    def refresh(self, parcel: Parcel) -> None:
        """The same revision was issued again: it holds for longer."""
        known = self.waiting.get(parcel.event)
        if known is not None and known.state is State.WAITING:
            known.value, known.signature = parcel.value, parcel.signature

    def oldest_ms(self) -> int | None:
        """Since when the oldest waits that was tried; others wait for people."""
        tried = [p.begun_ms for p in self.waiting.values() if p.attempts]
        return min(tried, default=None)

    async def drill(self, signed: Signed) -> Ruling:
        """What a drill's claim is answered: 24, where all is well."""
        return await self._leases.drill(signed, self._token(), f"drill {self._holder}")

    async def attempt(self, parcel: Parcel) -> None:
        """Act, if it may be done now."""
        if parcel.state is State.SENDING:
            text = "the actuator ended in the middle of it: look what was done"
            await self._end(parcel, Result(Word.FAILED, text))
            return
        if parcel.state is State.WAITING:
            if not await self._may(parcel):
                return
            parcel.token, parcel.state = self._token(), State.CLAIMING
            await self.tools.keep(parcel)
        ruling = await self._leases.claim(parcel, self._holder, self.receiver.lease_s)
        if ruling.answer is not Answer.ACT:
            parcel.state = State.WAITING
            await self._refused(parcel, ruling)
            return
        parcel.state = State.SENDING
        await self.tools.keep(parcel)
        result = await self.actuator.deliver(parcel, self.tools.now_ms())
        await self._end(parcel, result)

    async def _may(self, parcel: Parcel) -> bool:
        """Whether a claim would be granted; else it waits, or is over."""
        if self.tools.now_ms() > parcel.record().expires_at:
            await self._drop(parcel, "it expired")
            return False
        if not self.wants(parcel.record()):
            # Issued again under rules that name others: hooks narrow at once.
            await self._drop(parcel, "it is not for this receiver any more")
            return False
        obstacle = self.actuator.obstacle(parcel)
        if obstacle:
            self._look_again(parcel, obstacle)
            return False
        lease_s = self.receiver.lease_s
        ruling = await self._leases.foresee(parcel, self._holder, lease_s)
        # Back and forth is claimed once, too: the claim is what freezes the service.
        if ruling.answer is Answer.ACT or ruling.why is Why.PING_PONG:
            return True
        await self._refused(parcel, ruling)
        return False

    async def _refused(self, parcel: Parcel, ruling: Ruling) -> None:
        text = f"{ruling.why}: {ruling.text}"
        if ruling.why in FINAL:
            self.tools.tally.executed(self.receiver.name, ruling.why.value)
            await self.finish(parcel, State.DONE, text)
        elif ruling.why is Why.EXPIRED:
            await self._drop(parcel, text)
        else:
            self._look_again(parcel, text)

    def _look_again(self, parcel: Parcel, text: str) -> None:
        if text != parcel.detail:
            said = (self.receiver.name, parcel.event, text)
            logger.warning("act.held receiver=%s event=%s %s", *said)
        parcel.detail = text[:200]
        self.later(parcel, self.tools.now_ms() + LOOK_MS)

    async def _drop(self, parcel: Parcel, text: str) -> None:
        """Forget it altogether: issued again, it is new."""
        await self.finish(parcel, State.DROPPED, text)
        self.over.pop(parcel.event, None)

    async def _end(self, parcel: Parcel, result: Result) -> None:
        """Report how it ended, however long Kafka takes; then go on or end."""
        end = ENDS[result.word]
        while True:
            try:
                await self._leases.end(parcel.token, end, result.detail)
                break
            except Troubles as error:
                logger.warning("act.untold receiver=%s: %s", self._holder, error)
                await self._rest(PAUSE_MS / 1_000)
        self.tools.tally.executed(self.receiver.name, end.value)
        if end is End.EXECUTED:
            await self.finish(parcel, State.DONE, result.detail[:200])
            return
        # Released: again, soon. Failed: again, once a person has approved it anew.
        parcel.state, parcel.detail = State.WAITING, result.detail[:200]
        parcel.attempts += 1
        back_ms = min(PAUSE_MS * 2 ** min(parcel.attempts - 1, 8), BACKOFF_MAX_MS)
        parcel.next_ms = self.tools.now_ms() + max(back_ms, result.retry_after_ms)
        await self.tools.keep(parcel)
        self.later(parcel, parcel.next_ms)
        said = (self.receiver.name, parcel.event, end.value, parcel.detail)
        logger.warning("act.ended receiver=%s event=%s end=%s %s", *said)
