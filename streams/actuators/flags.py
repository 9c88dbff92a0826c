"""Turns a component off, or back, for those who read the flag document.

The document is a fold over what was executed: to claim and to say that it is done is
all there is to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from detector.verdicts import Action
from streams.actuators.keys import Spec
from streams.actuators.parcel import Parcel, Result, Word
from streams.actuators.receiver import Context, Kind, Receiver

CARRIED_OUT = (Action.WITHDRAW.value, Action.REPLACE.value)


class Flags:
    """Carries out what is about a component."""

    def __init__(self, receiver: Receiver) -> None:
        self.name = receiver.name

    def obstacle(self, parcel: Parcel) -> str:
        """Nothing stands in its way."""
        return ""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Say that it is done."""
        return Result(Word.DONE)

    async def check(self) -> list[str]:
        """Nothing is reached."""
        return []

    def close(self) -> None:
        """Nothing is held."""


def _keys(_: Context) -> Mapping[str, Spec]:
    return {}


KIND = Kind(_keys, Flags, acts=True, actions=CARRIED_OUT)
