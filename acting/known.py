"""What interlocks look at: leases, what was done, and what people ordered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from acting.records import Calendar, Claim, Mode, Order
from acting.switches import Switches
from detector.verdicts import RecommendationRecord

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class LeaseState(StrEnum):
    """Life of a lease."""

    HELD = "held"
    EXECUTED = "executed"
    FAILED = "failed"
    RELEASED = "released"


@dataclass(slots=True)
class Lease:
    """The right to carry out one action of one recommendation."""

    token: str
    holder: str
    recommendation: RecommendationRecord
    granted_ms: int
    until_ms: int
    state: LeaseState = LeaseState.HELD
    ended_ms: int = 0
    detail: str = ""

    def is_held(self, now_ms: int) -> bool:
        """Whether somebody may be at it."""
        return self.state is LeaseState.HELD and now_ms < self.until_ms


class Done(NamedTuple):
    """An action that was begun, whether or not its end was told."""

    recommendation: RecommendationRecord
    at_ms: int


class Request(NamedTuple):
    """A claim beside what it is about, at the time it was appended."""

    claim: Claim
    wanted: RecommendationRecord
    at_ms: int


class Drilled(NamedTuple):
    """A drill that went well: who, and when."""

    actor: str
    at_ms: int


@dataclass(slots=True)
class Known:
    """What interlocks look at.

    Attributes
    ----------
    leases : dict
        By (recommendation id, action).
    newest : dict
        Newest revision that anybody has shown, by recommendation id.
    done : list of Done
        Actions that were begun, oldest first.
    stopped : Order or None
        The kill switch.
    frozen : dict
        By service, ``*`` for every one.
    ping_pong : dict
        Services frozen because they went back and forth, until they are thawed.
    thawed_ms : dict
        When a person last thawed such a service.
    calendars : dict
        Freeze windows, by service.
    modes : dict
        The most that a service may do, whatever its rule says.
    approvals : dict
        By (recommendation id, action) and person: when.
    asked : dict
        How many people have to agree at least, by service.
    rejected : dict
        By recommendation id.
    calmed_ms : int
        When a person last said that a storm is over.
    drills : dict
        The last drill that went well, by its kind.
    switched : dict
        Components that were taken out or replaced, until a person restores them.
    """

    leases: dict[tuple[str, str], Lease] = field(default_factory=dict)
    newest: dict[str, RecommendationRecord] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    stopped: Order | None = None
    frozen: dict[str, Order] = field(default_factory=dict)
    ping_pong: dict[str, Order] = field(default_factory=dict)
    thawed_ms: dict[str, int] = field(default_factory=dict)
    calendars: dict[str, Calendar] = field(default_factory=dict)
    modes: dict[str, Mode] = field(default_factory=dict)
    approvals: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, Order] = field(default_factory=dict)
    calmed_ms: int = 0
    drills: dict[str, Drilled] = field(default_factory=dict)
    switched: Switches = field(default_factory=dict)
