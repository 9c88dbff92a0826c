"""Components that were taken out, or put back to an earlier version, and stay so.

What a machine carried out holds until a person takes it back: a flag that comes on
again because a lease was forgotten would do the harm anew.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import UNSET

from acting.records import EVERY, Order
from detector.verdicts import SWITCHING, Action, RecommendationRecord


class Place(NamedTuple):
    """A component of a service, where it runs."""

    service: str
    environment: str
    component: str


class Switched(NamedTuple):
    """What was done to a component: off, or back to ``target``.

    ``recommendation`` is empty where a person did it.
    """

    action: str
    target: str | None
    recommendation: str
    at_ms: int


Switches = dict[Place, Switched]


def note_executed(switches: Switches, done: RecommendationRecord, at_ms: int) -> None:
    """Remember what was carried out; the newest holds."""
    if done.action not in SWITCHING or done.component is None:
        return
    place = Place(done.service, done.environment, done.component)
    switches[place] = Switched(done.action.value, done.target, done.id, at_ms)


def withdraw(switches: Switches, order: Order, at_ms: int) -> None:
    """A person takes a component out of one environment."""
    if order.environment is UNSET:
        return
    place = Place(order.service, order.environment, order.value)
    switches[place] = Switched(Action.WITHDRAW.value, None, "", at_ms)


def restore(switches: Switches, order: Order) -> None:
    """A person takes it back: a component of a service, in the environment that was
    named, or in every one."""
    for place in list(switches):
        of_service = order.service in (EVERY, place.service)
        is_there = order.environment in (UNSET, place.environment)
        if of_service and is_there and place.component == order.value:
            del switches[place]
