"""Records of ``hypercare.executions``: claims, their outcomes, people's orders.

JSON, told apart by ``type``. Their order in the topic's one partition decides, their
time is the time at which Kafka appended them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from acting.calendars import Window

LEASE_MAX_S = 86_400
APPROVALS_MAX = 5
WINDOWS_MAX = 50
SAME_TIME_MS = 15 * 60_000
EVERY = "*"
"""In place of a service: all of them."""

Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=2_048)]


class Damaged(Exception):
    """The bytes are no record of this topic; the text says why."""


class End(StrEnum):
    """How a claim that was granted ended."""

    EXECUTED = "executed"
    FAILED = "failed"
    RELEASED = "released"


class Word(StrEnum):
    """What people order.

    stop, resume: the kill switch. freeze, thaw: a service, or all. approve, reject: a
    recommendation. mode: the most that a service may do by itself (any other value:
    what its rule says). calm: a storm is over. approvals: how many people have to
    agree (any other value: as many as the rule says). withdraw: a component is taken
    out of one environment. restore: a component that was taken out or replaced comes
    back as its owner wrote it.
    """

    STOP = "stop"
    RESUME = "resume"
    FREEZE = "freeze"
    THAW = "thaw"
    MODE = "mode"
    APPROVE = "approve"
    REJECT = "reject"
    CALM = "calm"
    APPROVALS = "approvals"
    WITHDRAW = "withdraw"
    RESTORE = "restore"


class Mode(StrEnum):
    """How far a rule may go by itself, least first."""

    SHADOW = "shadow"
    RECOMMEND = "recommend"
    APPROVE = "approve"
    AUTO = "auto"

    @property
    def rank(self) -> int:
        """Place in the order."""
        return list(Mode).index(self)


class Claim(
    Struct, tag_field="type", tag="claim", frozen=True, forbid_unknown_fields=True
):
    """Somebody wants to carry a recommendation out.

    Attributes
    ----------
    token : str
        Name of this wish, made by who has it; random.
    holder : str
        Who wants it: a job, an actuator, a person.
    topic, key, value, signature : str, str, bytes, str
        The recommendation's record as it was read, value byte by byte.
    lease_s : int
        Seconds after which the claim is void unless its end was told.
    services : int
        Number of services under judgement, for the limit on storms.
    regressed : int
        Of these, how many were found regressed within `SAME_TIME_MS`.
    """

    token: Token
    holder: Name
    topic: Name
    key: Name
    value: bytes
    signature: Text
    lease_s: Annotated[int, Meta(ge=1, le=LEASE_MAX_S)] = 600
    services: Annotated[int, Meta(ge=0)] = 0
    regressed: Annotated[int, Meta(ge=0)] = 0


class Outcome(
    Struct, tag_field="type", tag="outcome", frozen=True, forbid_unknown_fields=True
):
    """How what a claim was granted for ended."""

    token: Token
    end: End
    detail: Text = ""


class Order(
    Struct, tag_field="type", tag="order", frozen=True, forbid_unknown_fields=True
):
    """What a person said, with who and why; `EVERY` stands for all services.

    ``value`` is the mode, the action that is approved, the number of approvals, or the
    component that is withdrawn or restored; ``environment`` is where that is, for a
    component that is restored everywhere where nothing is said. It is not written where
    it is not said, so that older gates go on to obey all other orders.
    """

    word: Word
    actor: Name
    why: Text
    service: Name = EVERY
    value: Text = ""
    recommendation_id: Text = ""
    environment: Name | UnsetType = UNSET


class Calendar(
    Struct, tag_field="type", tag="calendar", frozen=True, forbid_unknown_fields=True
):
    """When nothing is executed for a service, or for all; it replaces the one before.

    No windows: nothing is frozen by the calendar any more.
    """

    actor: Name
    why: Text
    service: Name = EVERY
    windows: Annotated[tuple[Window, ...], Meta(max_length=WINDOWS_MAX)] = ()


class Drill(
    Struct, tag_field="type", tag="drill", frozen=True, forbid_unknown_fields=True
):
    """A drill went well; it counts if the claim of its token was stopped as a drill.

    ``kind`` is the way it took, ``took_ms`` how long each step lasted.
    """

    token: Token
    kind: Name
    actor: Name
    took_ms: dict[str, int] = {}


Record = Claim | Outcome | Order | Calendar | Drill

_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """A record as it stands in the topic."""
    return _encoder.encode(record)


def decode(value: bytes | None) -> Record:
    """The record of such bytes.

    Raises
    ------
    Damaged
        If they are none.
    """
    try:
        found: Record = _decoder.decode(value or b"")
        return found
    except (msgspec.DecodeError, RecursionError) as error:
        raise Damaged(str(error)) from error
