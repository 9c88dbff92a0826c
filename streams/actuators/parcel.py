"""One delivery: what is to be told or done, to whom, and how far that has come."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import Struct

from detector.verdicts import RecommendationRecord
from streams.gate.reading import Signed

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
RETRIES_MS = (
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""After the first attempt, as Standard Webhooks has it; three days in all."""

JITTER = 0.1
RETRY_AFTER_MAX_MS = 24 * HOUR


class State(StrEnum):
    """How far a delivery has come.

    waiting: to be tried at its time. claiming: the lease was asked for. sending: what
    acts may have begun. standing: an alert that is repeated. The rest is the end.
    """

    WAITING = "waiting"
    CLAIMING = "claiming"
    SENDING = "sending"
    STANDING = "standing"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.DONE, State.FAILED, State.DROPPED)


class Word(StrEnum):
    """How an attempt ended.

    again: nothing happened, it may be tried again. failed: it did not work, or nobody
    knows, and only a person may try again. gone: this receiver wants nothing more.
    """

    DONE = "done"
    AGAIN = "again"
    FAILED = "failed"
    GONE = "gone"


class Result(NamedTuple):
    """How an attempt ended, why, and how long the receiver wants to be left alone."""

    word: Word
    detail: str = ""
    retry_after_ms: int = 0


def drilled(problems: list[str], seen: str) -> Result:
    """How a drill ended for who was only looked at."""
    if problems:
        return Result(Word.FAILED, "; ".join(problems))
    return Result(Word.DONE, seen)


class Parcel(Struct):
    """A delivery as it stands in its topic.

    Attributes
    ----------
    receiver, event : str
        To whom, and what: recommendation and revision, the same for every attempt.
    topic, key, value, signature : str, str, bytes, str
        The recommendation's record as it was read.
    state : State
        How far it has come.
    attempts, next_ms : int
        How often it was tried, and when it is tried next.
    token : str
        Name of the claim, where there was one.
    detail : str
        What was heard last.
    begun_ms : int
        When it was first seen, or, of an alert, when it ended; 0 while it lasts.
    """

    receiver: str
    event: str
    topic: str
    key: str
    value: bytes
    signature: str
    state: State = State.WAITING
    attempts: int = 0
    next_ms: int = 0
    token: str = ""
    detail: str = ""
    begun_ms: int = 0

    @property
    def name(self) -> str:
        """Key of its record."""
        return f"{self.receiver}|{self.event}"

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return len(self.value) + len(self.signature) + len(self.detail) + 500

    def record(self) -> RecommendationRecord:
        """The recommendation itself."""
        return _decoder.decode(self.value)

    def signed(self) -> Signed:
        """The recommendation with what proves it."""
        return Signed(self.topic, self.key, self.value, self.signature, self.record())


_decoder = msgspec.json.Decoder(RecommendationRecord)


def event_of(wanted: RecommendationRecord) -> str:
    """Name of a revision of a recommendation, for all that hear of it."""
    return event_name(wanted.id, wanted.revision)


def event_name(recommendation: str, revision: int) -> str:
    """The same of its id and number."""
    return f"{recommendation}_{revision}"


def parcel_of(receiver: str, signed: Signed, now_ms: int) -> Parcel:
    """A new delivery, to be tried at once."""
    return Parcel(
        receiver,
        event_of(signed.record),
        signed.topic,
        signed.key,
        signed.value,
        signed.signature,
        next_ms=now_ms,
        begun_ms=now_ms,
    )


def next_try_ms(
    attempts: int, now_ms: int, retry_after_ms: int, chance: Callable[[], float]
) -> int | None:
    """When to try again after so many attempts; None if there were enough.

    Parameters
    ----------
    attempts : int
        How many failed.
    now_ms : int
        Present time.
    retry_after_ms : int
        What the receiver asked for; it is never tried earlier.
    chance : callable
        Uniform on [0, 1): the wait becomes up to a tenth longer, so that what failed
        together does not come back together.
    """
    if attempts > len(RETRIES_MS):
        return None
    wait_ms = RETRIES_MS[attempts - 1] * (1 + JITTER * chance())
    return now_ms + int(max(wait_ms, min(retry_after_ms, RETRY_AFTER_MAX_MS)))
