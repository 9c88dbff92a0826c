"""Acts by running a program that finds what `hypercare gate` would tell it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress

from detector.rulefile.kinds import Text
from detector.rulefile.shapes import Listing
from streams.actuators.keys import Spec
from streams.actuators.parcel import Parcel, Result, Word, drilled
from streams.actuators.receiver import Context, Kind, Receiver
from streams.gate.carrying import environment_for

END_S = 5.0
"""Seconds of the lease that are kept for saying how it ended."""


class Command:
    """Runs a program; its exit code says how it ended.

    Parameters
    ----------
    receiver : Receiver
        Its plan has ``run``: the program and its arguments, without a shell.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._words: list[str] = receiver.plan["run"]
        self._limit_s = max(1.0, receiver.lease_s - END_S)

    def obstacle(self, parcel: Parcel) -> str:
        """Nothing stands in its way before it runs."""
        return ""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Run it once. Not started is as if nothing had been tried."""
        try:
            running = await asyncio.create_subprocess_exec(
                *self._words,
                env=environment_for(parcel.record(), parcel.token),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Result(Word.AGAIN, f"could not run: {error}")
        try:
            async with asyncio.timeout(self._limit_s):
                code = await running.wait()
        except (TimeoutError, asyncio.CancelledError) as error:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            await running.wait()
            if isinstance(error, asyncio.CancelledError):
                raise
            return Result(Word.FAILED, f"not done after {self._limit_s:g} s: killed")
        if code:
            return Result(Word.FAILED, f"exit code {code}")
        return Result(Word.DONE)

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """Whether the program is there; it is not run."""
        return drilled(await self.check(), f"not run: {self._words[0]}")

    async def check(self) -> list[str]:
        """Whether the program is there."""
        program = self._words[0]
        return [] if shutil.which(program) else [f"{program}: no such program"]

    def close(self) -> None:
        """Nothing is held."""


def _keys(_: Context) -> Mapping[str, Spec]:
    return {"run": Spec(Listing(Text(1_024), 64, 1))}


KIND = Kind(_keys, Command, acts=True)
