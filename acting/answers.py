"""What a gate answers. The numbers are exit codes of ``hypercare gate``."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple


class Answer(IntEnum):
    """May one go on, must one act, or neither?"""

    GO_ON = 0
    """The release is healthy."""
    ACT = 10
    """The named recommendation is open, fresh, signed and not yet executed, and this
    call alone holds the lease to carry it out."""
    HANDLED = 11
    """Somebody else does it, or has done it."""
    UNDECIDED = 20
    """Inconclusive, or there is no data."""
    STALE = 21
    """What is known is too old, not signed by a known key, or not reliable."""
    FROZEN = 22
    """Nothing may be executed now: kill switch, freeze, cooldown."""
    NEEDS_APPROVAL = 23
    """A person has to agree, or to find a target."""
    MODE_TOO_LOW = 24
    """The rule recommends only."""
    UNREACHABLE = 30
    """Whoever knows does not answer."""


class Why(StrEnum):
    """Reason codes of rulings."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    UNKNOWN = "unknown"
    UNRELIABLE = "unreliable"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    BLIND = "blind"
    BEHIND = "behind"
    GRANTED = "granted"
    UNSIGNED = "unsigned"
    DAMAGED = "damaged"
    FORGED_ID = "forged_id"
    NOT_EXECUTABLE = "not_executable"
    EXPIRED = "expired"
    ISSUED_AHEAD = "issued_ahead"
    SUPERSEDED = "superseded"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    EXECUTED = "executed"
    IN_PROGRESS = "in_progress"
    FAILED_BEFORE = "failed_before"
    KILLED = "killed"
    FROZEN = "frozen"
    CALENDAR = "calendar"
    MODE = "mode"
    NO_TARGET = "no_target"
    NOT_SAFE = "not_safe_to_return"
    PING_PONG = "ping_pong"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    COMMON_CAUSE = "common_cause"
    STORM = "rollback_storm"
    APPROVAL = "approval"
    DRILL = "drill"


class Ruling(NamedTuple):
    """What became of a claim: the answer, its reason code, and a sentence."""

    answer: Answer
    why: Why
    text: str
