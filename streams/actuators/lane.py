"""One receiver's queue, and its attempts: what is slow here is slow nowhere else."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from detector.verdicts import STANDING_STATES, RecommendationRecord
from streams.actuators.parcel import (
    HOUR,
    SECOND,
    Parcel,
    Result,
    State,
    Word,
    event_name,
    event_of,
    next_try_ms,
    parcel_of,
)
from streams.actuators.receiver import Actuator, Receiver
from streams.actuators.tally import Tally
from streams.errors import Refused, Unreachable
from streams.gate.reading import Signed

logger = logging.getLogger(__name__)

PARALLEL = 4
"""Attempts at once, so that one long command does not hold back the next service."""

KEPT_MS = 31 * 24 * HOUR
"""Longer than recommendations are kept: what was delivered is not delivered again."""

OVER_MAX = 100_000
REVISIONS_MAX = 1_000
"""So far back it is looked whether a receiver was told."""

PAUSE_MS = 5 * SECOND
IDLE_S = 60.0
REST_MAX_MS = HOUR
"""A receiver that asks for more than that is asked again by then."""

Keep = Callable[[Parcel], Awaitable[None]]
Troubles = (KafkaError, Unreachable, Refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every lane works with.

    Parameters
    ----------
    keep : callable
        Writes a delivery to its topic; returns once Kafka has it.
    now_ms : callable
        Wall clock.
    chance : callable
        Uniform on [0, 1).
    tally : Tally
        Counts what happens.
    """

    keep: Keep
    now_ms: Callable[[], int]
    chance: Callable[[], float]
    tally: Tally


class Lane:
    """Tells one receiver; base of the lane that acts.

    Parameters
    ----------
    receiver : Receiver
        Whose lane it is.
    actuator : Actuator
        Carries attempts out.
    tools : Tools
        Clock, chance, journal, counts.
    bytes_max : int
        Size of the queue; beyond it the oldest deliveries are dropped, and counted.

    Attributes
    ----------
    waiting : dict
        Deliveries that are not over, by event.
    over : dict
        When those that are had begun, by event.
    size : int
        Bytes in the queue.
    wake : asyncio.Event
        Set where something may be due.
    """

    def __init__(
        self, receiver: Receiver, actuator: Actuator, tools: Tools, bytes_max: int
    ) -> None:
        self.receiver, self.actuator, self.tools = receiver, actuator, tools
        self.waiting: dict[str, Parcel] = {}
        self.is_disabled = False
        self.size = 0
        self.over: dict[str, int] = {}
        self.wake = asyncio.Event()
        self._bytes_max = bytes_max
        self._sizes: dict[str, int] = {}
        self._due: list[tuple[int, int, str]] = []
        self._flying: dict[str, asyncio.Task[None]] = {}
        self._numbers = 0
        self._failed_once = False
        self._rests_until_ms = 0

    # What is to be done.

    def restore(self, parcel: Parcel) -> None:
        """Take up a delivery where its record says it stands."""
        if parcel.event == "":
            self.is_disabled = True
        elif parcel.state.is_over:
            self._note_over(parcel)
        else:
            self.hold(parcel)

    async def take(self, signed: Signed) -> None:
        """Queue a recommendation, unless it is not for this receiver or known."""
        event = event_of(signed.record)
        is_known = event in self.over or event in self.waiting
        if not is_known and not self.wants(signed.record):
            return
        parcel = parcel_of(self.receiver.name, signed, self.tools.now_ms())
        if is_known:
            self.refresh(parcel)
            return
        if self.is_disabled:
            self.tools.tally.delivered(self.receiver.name, State.DROPPED)
            return
        await self.tools.keep(parcel)
        self.hold(parcel)
        await self._shrink()

    def wants(self, wanted: RecommendationRecord) -> bool:
        """Whether a recommendation is for this receiver; drills go another way."""
        if wanted.test or not self.receiver.takes(wanted):
            return False
        return self.receiver.is_named(wanted) or self._has_heard_of(wanted)

    def _has_heard_of(self, wanted: RecommendationRecord) -> bool:
        """Whether this ends what it was told while the rule still named it: who was
        told to act, or to look, must hear that it is over."""
        if wanted.state in STANDING_STATES:
            return False
        first = max(1, wanted.revision - REVISIONS_MAX)
        earlier = (event_name(wanted.id, n) for n in range(first, wanted.revision))
        return any(one in self.over or one in self.waiting for one in earlier)

    def refresh(self, parcel: Parcel) -> None:
        """The same revision was issued again: whoever is only told knows it."""

    def oldest_ms(self) -> int | None:
        """Since when the oldest delivery waits."""
        first = next(iter(self.waiting.values()), None)
        return None if first is None else first.begun_ms

    # When.

    async def run(self) -> None:
        """Attempt what is due, for ever."""
        try:
            while True:
                self.wake.clear()
                next_ms = self._start_due()
                idle_s = IDLE_S
                if next_ms is not None:
                    left_ms = next_ms - self.tools.now_ms()
                    idle_s = min(IDLE_S, max(0.0, left_ms / 1_000))
                # Not `wait_for`: before Python 3.12 it can lose a cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout(idle_s):
                        await self.wake.wait()
        finally:
            tasks = list(self._flying.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self) -> None:
        """Attempt what is due now, and what becomes due by that."""
        while True:
            self._start_due()
            if not self._flying:
                return
            await asyncio.gather(*self._flying.values())

    def _start_due(self) -> int | None:
        """Start attempts that are due; the time of the next one, if it is known."""
        now_ms = self.tools.now_ms()
        if now_ms < self._rests_until_ms:
            return self._rests_until_ms
        while self._due and len(self._flying) < PARALLEL:
            at_ms, _, event = self._due[0]
            if at_ms > now_ms:
                return at_ms
            heapq.heappop(self._due)
            parcel = self.waiting.get(event)
            if parcel is None or parcel.next_ms != at_ms or event in self._flying:
                continue
            task = asyncio.create_task(self._attempt(parcel))
            self._flying[event] = task
        return None

    async def _attempt(self, parcel: Parcel) -> None:
        try:
            await self.attempt(parcel)
        except Troubles as error:
            # Kafka is away: nothing is lost, as nothing was said to be done.
            logger.warning("act.waiting receiver=%s: %s", self.receiver.name, error)
            self.later(parcel, self.tools.now_ms() + PAUSE_MS)
        except Exception as error:
            logger.exception("act.defect receiver=%s", self.receiver.name)
            parcel.detail = repr(error)[:200]
            self.later(parcel, self.tools.now_ms() + 60 * SECOND)
        finally:
            self._flying.pop(parcel.event, None)
            self.wake.set()

    # What becomes of an attempt.

    async def attempt(self, parcel: Parcel) -> None:
        """Tell it once, and remember what came of it."""
        if self.is_disabled:
            await self.finish(parcel, State.DROPPED, "the receiver answered 410")
            return
        result = await self.actuator.deliver(parcel, self.tools.now_ms())
        if result.word is Word.DONE:
            await self.finish(parcel, State.DONE)
            self._hurry()
        elif result.word is Word.GONE:
            await self._disable(parcel, result)
        elif result.word is Word.FAILED:
            await self.finish(parcel, State.FAILED, result.detail)
        else:
            await self._again(parcel, result)

    async def finish(self, parcel: Parcel, state: State, detail: str = "") -> None:
        """End a delivery and remember that it was made."""
        before = parcel.state
        # What was heard before it went well says nothing any more.
        kept = "" if state is State.DONE else parcel.detail
        parcel.state, parcel.detail = state, detail or kept
        try:
            await self.tools.keep(_slim(parcel))
        except Troubles:
            parcel.state = before
            raise
        self.forget(parcel)
        self._note_over(parcel)
        self.tools.tally.delivered(self.receiver.name, state)
        said = (self.receiver.name, parcel.event, state.value, parcel.detail)
        logger.info("act.over receiver=%s event=%s state=%s %s", *said)

    def later(self, parcel: Parcel, at_ms: int) -> None:
        """Attempt it again at a time, unless it is over."""
        if parcel.event in self.waiting:
            parcel.next_ms = at_ms
            self._queue(parcel)

    async def _again(self, parcel: Parcel, result: Result) -> None:
        now_ms = self.tools.now_ms()
        parcel.attempts += 1
        parcel.detail = result.detail[:200]
        self._failed_once = True
        at_ms = next_try_ms(
            parcel.attempts, now_ms, result.retry_after_ms, self.tools.chance
        )
        if at_ms is None:
            await self.finish(parcel, State.FAILED)
            return
        said = (self.receiver.name, parcel.event, parcel.attempts, parcel.detail)
        logger.warning("act.again receiver=%s event=%s attempts=%d: %s", *said)
        parcel.next_ms = at_ms
        await self.tools.keep(parcel)
        self.later(parcel, at_ms)
        # It asked for rest: all others wait, too.
        self._rests_until_ms = max(
            self._rests_until_ms, now_ms + min(result.retry_after_ms, REST_MAX_MS)
        )

    def _hurry(self) -> None:
        """It is back: what waits for its next time needs not wait any more."""
        if not self._failed_once:
            return
        self._failed_once = False
        now_ms = self.tools.now_ms()
        for parcel in self.waiting.values():
            if parcel.next_ms > now_ms and parcel.event not in self._flying:
                self.later(parcel, now_ms)

    async def _disable(self, parcel: Parcel, result: Result) -> None:
        logger.error("act.disabled receiver=%s: it answered 410", self.receiver.name)
        mark = Parcel(self.receiver.name, "", "", "", b"", "", begun_ms=1)
        mark.state = State.FAILED
        await self.tools.keep(mark)
        self.is_disabled = True
        await self.finish(parcel, State.FAILED, result.detail)
        self._failed_once = True
        self._hurry()

    async def _shrink(self) -> None:
        for event in list(self.waiting):
            if self.size <= self._bytes_max:
                return
            if event not in self._flying:
                parcel = self.waiting[event]
                await self.finish(parcel, State.DROPPED, "the queue is full")

    def hold(self, parcel: Parcel) -> None:
        """Put a delivery into the queue."""
        self.waiting[parcel.event] = parcel
        self._sizes[parcel.event] = parcel.size
        self.size += parcel.size
        self._queue(parcel)

    def _queue(self, parcel: Parcel) -> None:
        self._numbers += 1
        heapq.heappush(self._due, (parcel.next_ms, self._numbers, parcel.event))
        self.wake.set()

    def forget(self, parcel: Parcel) -> None:
        """Take a delivery out of the queue."""
        if self.waiting.pop(parcel.event, None) is not None:
            self.size -= self._sizes.pop(parcel.event)

    def _note_over(self, parcel: Parcel) -> None:
        self.over[parcel.event] = parcel.begun_ms
        since_ms = self.tools.now_ms() - KEPT_MS
        while self.over:
            first = next(iter(self.over))
            if self.over[first] >= since_ms and len(self.over) <= OVER_MAX:
                return
            del self.over[first]


def _slim(parcel: Parcel) -> Parcel:
    """What has to be remembered of a delivery that is over."""
    return Parcel(
        parcel.receiver,
        parcel.event,
        "",
        "",
        b"",
        "",
        state=parcel.state,
        attempts=parcel.attempts,
        detail=parcel.detail,
        begun_ms=parcel.begun_ms,
    )
