"""The lane of an Alertmanager: alerts stand, and are said again and again."""

from __future__ import annotations

import asyncio
import logging

from yarl import URL

from streams.actuators.alertmanager import (
    Alertmanager,
    ended_ms,
    is_past,
    name_of,
    settle,
    stands,
)
from streams.actuators.lane import Lane, Tools
from streams.actuators.parcel import Parcel, State, parcel_of
from streams.actuators.receiver import Receiver
from streams.gate.reading import Signed

logger = logging.getLogger(__name__)


class AlertLane(Lane):
    """Repeats what stands to every peer.

    Parameters
    ----------
    receiver, actuator, tools, bytes_max
        As of `Lane`.
    """

    def __init__(
        self, receiver: Receiver, actuator: Alertmanager, tools: Tools, bytes_max: int
    ) -> None:
        super().__init__(receiver, actuator, tools, bytes_max)
        self._alerts = actuator
        self._pushing: dict[URL, asyncio.Task[None]] = {}
        self._problems: dict[URL, str] = {}
        self._unheard_ms: dict[URL, int] = {}

    async def take(self, signed: Signed) -> None:
        """Begin, renew or end alerts: a revision ends those of its earlier actions."""
        record, now_ms = signed.record, self.tools.now_ms()
        is_wanted = self.receiver.takes(record) and self.receiver.is_named(record)
        if not is_wanted and not self._of(record.id):
            return
        name = name_of(record) if is_wanted and stands(record) else ""
        if name:
            parcel = parcel_of(self.receiver.name, signed, now_ms)
            parcel.event, parcel.state, parcel.begun_ms = name, State.STANDING, 0
            await self._keep(parcel)
        for other in self._of(record.id):
            if other.event != name and not ended_ms(other):
                other.begun_ms = now_ms
                await self._keep(other)
        self.wake.set()

    async def run(self) -> None:
        """Push at once what changed, and everything each interval."""
        try:
            while True:
                self.wake.clear()
                await self.settle()
                self.push()
                try:
                    async with asyncio.timeout(self._alerts.interval_s):
                        await self.wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._pushing.values():
                task.cancel()

    async def step(self) -> None:
        """Push once to every peer, and wait for all."""
        await self.settle()
        self.push()
        await asyncio.gather(*self._pushing.values())

    async def settle(self) -> None:
        """End what was not issued again; forget what ended long ago."""
        now_ms = self.tools.now_ms()
        for one in settle(self.waiting.values(), now_ms):
            await self.tools.keep(one)
        for one in list(self.waiting.values()):
            if is_past(one, now_ms):
                await self.finish(one, State.DONE)
                self.over.pop(one.event, None)

    def push(self) -> None:
        """Begin to tell every peer that is not still being told."""
        now_ms = self.tools.now_ms()
        bodies = self._alerts.body(self.waiting.values(), now_ms)
        for peer in self._alerts.peers:
            busy = self._pushing.get(peer)
            if bodies and (busy is None or busy.done()):
                self._pushing[peer] = asyncio.create_task(self._tell(peer, bodies))

    def oldest_ms(self) -> int | None:
        """Since when a peer has not taken what was said."""
        return min(self._unheard_ms.values(), default=None)

    async def _tell(self, peer: URL, bodies: list[bytes]) -> None:
        problem = await self._alerts.push(peer, bodies)
        if problem != self._problems.get(peer, ""):
            said = (self.receiver.name, peer.host, problem or "it is back")
            logger.warning("act.peer receiver=%s host=%s: %s", *said)
        self._problems[peer] = problem
        if problem:
            self._unheard_ms.setdefault(peer, self.tools.now_ms())
        else:
            self._unheard_ms.pop(peer, None)

    def _of(self, name: str) -> list[Parcel]:
        return [one for one in self.waiting.values() if one.key == name]

    async def _keep(self, parcel: Parcel) -> None:
        await self.tools.keep(parcel)
        self.forget(parcel)
        self.hold(parcel)

    def _queue(self, parcel: Parcel) -> None:
        """Nothing is due on its own: all is said at each interval."""
