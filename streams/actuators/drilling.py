"""Drills in `hypercare act`: each receiver tries everything but the last step.

Who is only told is told, marked as a test; who acts claims as ever, is refused with 24
as every drill is, and looks whether it could have acted. What came of it is written
beside the deliveries, where `hypercare drill` reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from acting.answers import Why
from streams.actuators.actinglane import ActingLane
from streams.actuators.lane import Lane, Tools, Troubles
from streams.actuators.parcel import Parcel, Result, State, Word, event_of, parcel_of
from streams.gate.reading import Signed

logger = logging.getLogger(__name__)

ROLL = ""
"""In place of a receiver: the record that names all who were handed a drill."""

DETAIL_CHARS = 500


class Drills:
    """Hands drills to lanes, each in a task of its own: none delays another.

    Parameters
    ----------
    lanes : mapping
        By receiver.
    tools : Tools
        Clock and journal.
    """

    def __init__(self, lanes: Mapping[str, Lane], tools: Tools) -> None:
        self._lanes, self._tools = lanes, tools
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, signed: Signed) -> None:
        """Hand a drill to every lane; one that is over, or was handed, is passed by."""
        now_ms, event = self._tools.now_ms(), event_of(signed.record)
        lanes = [one for one in self._lanes.values() if event not in one.over]
        if now_ms > signed.record.expires_at or not lanes:
            return
        roll = parcel_of(ROLL, signed, now_ms)
        await self._note(roll, State.DONE, ",".join(self._lanes))
        for lane in lanes:
            task = asyncio.create_task(self._drill(lane, signed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Leave nothing behind."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Wait for all that were begun."""
        await asyncio.gather(*self._tasks)

    async def _drill(self, lane: Lane, signed: Signed) -> None:
        parcel = parcel_of(lane.receiver.name, signed, self._tools.now_ms())
        try:
            result = await self._tried(lane, parcel, signed)
        except Troubles as error:
            result = Result(Word.FAILED, f"Kafka: {error}")
        except Exception as error:
            logger.exception("act.defect receiver=%s", lane.receiver.name)
            result = Result(Word.FAILED, f"a defect: {error!r}")
        # A drill is not tried again: what did not work now is what it has found.
        is_fine = result.word is Word.DONE
        state = State.DONE if is_fine else State.FAILED
        lane.over[parcel.event] = parcel.begun_ms
        try:
            await self._note(parcel, state, result.detail)
        except Troubles as error:
            logger.warning("act.untold receiver=%s: %s", lane.receiver.name, error)

    async def _tried(self, lane: Lane, parcel: Parcel, signed: Signed) -> Result:
        if lane.is_disabled:
            name = lane.receiver.name
            return Result(
                Word.FAILED, f"it answered 410: `hypercare act --enable {name}`"
            )
        result = await lane.actuator.drill(parcel, self._tools.now_ms())
        if not isinstance(lane, ActingLane) or result.word is not Word.DONE:
            return result
        ruling = await lane.drill(signed)
        word = Word.DONE if ruling.why is Why.DRILL else Word.FAILED
        said = f"{ruling.answer:d} {ruling.why}"
        return Result(word, f"{said}: {result.detail or ruling.text}")

    async def _note(self, parcel: Parcel, state: State, detail: str) -> None:
        """Write down what came of it, without the recommendation itself."""
        over = Parcel(parcel.receiver, parcel.event, "", "", b"", "", state)
        over.attempts, over.begun_ms = 1, parcel.begun_ms
        over.next_ms = self._tools.now_ms()
        over.detail = detail if parcel.receiver == ROLL else detail[:DETAIL_CHARS]
        await self._tools.keep(over)
