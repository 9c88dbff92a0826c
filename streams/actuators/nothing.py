"""Takes everything and does nothing: what a receiver is until it is told its kind."""

from __future__ import annotations

from collections.abc import Mapping

from streams.actuators.keys import Spec
from streams.actuators.parcel import Parcel, Result, Word
from streams.actuators.receiver import Context, Kind, Receiver


class Nothing:
    """The null object."""

    def __init__(self, receiver: Receiver) -> None:
        self.name = receiver.name

    def obstacle(self, parcel: Parcel) -> str:
        """Nothing stands in its way."""
        return ""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Nothing happens, and that is well."""
        return Result(Word.DONE)

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """Nothing happens in earnest either."""
        return Result(Word.DONE)

    async def check(self) -> list[str]:
        """Nothing can go wrong."""
        return []

    def close(self) -> None:
        """Nothing is held."""


def no_keys(_: Context) -> Mapping[str, Spec]:
    """Its block has no keys."""
    return {}


KIND = Kind(no_keys, Nothing)
