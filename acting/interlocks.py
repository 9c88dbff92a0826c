"""Interlocks: each may refuse a claim, in this order. Add one: a function, a line.

What was seen to do harm elsewhere: rollbacks executed twice, on stale evidence, to a
release that is as bad, back and forth, many at once, or during a freeze. Each lock
says why, and what helps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from acting.answers import Answer, Ruling, Why
from acting.approving import (
    TWO_PERSON,
    approvals_needed,
    approvers,
    is_approved,
)
from acting.calendars import frozen_until
from acting.known import DAY_MS, HOUR_MS, Done, Known, LeaseState, Request
from acting.pingpong import ping_pong, thaw
from acting.records import EVERY, SAME_TIME_MS, Mode
from detector.verdicts import (
    LARGE,
    NEEDS_TARGET,
    OPEN_STATES,
    Action,
    RecommendationState,
)

Lock = Callable[[Known, Request], Ruling | None]

EXECUTABLE = (
    Action.WITHDRAW,
    Action.REPLACE,
    Action.HOLD,
    Action.HALT,
    Action.ROLLBACK,
)
"""What a machine can do. A hotfix is written by people, the rest is no action."""

SKEW_MAX_MS = 60_000
COOLDOWN_MS = HOUR_MS // 2
HOURLY_MAX, DAILY_MAX = 1, 3
BUDGETS = ((HOURLY_MAX, HOUR_MS, "hour"), (DAILY_MAX, DAY_MS, "day"))
STORM_MS = 15 * 60_000
STORM_SHARE, STORM_MIN = 0.05, 2
COMMON_SHARE, COMMON_MIN = 0.3, 3


def executable(_: Known, request: Request) -> Ruling | None:
    """Only what a machine can do is granted to one."""
    action = request.wanted.action
    if action in EXECUTABLE:
        return None
    text = f"{action} is nothing that can be executed: tell a person"
    return Ruling(Answer.NEEDS_APPROVAL, Why.NOT_EXECUTABLE, text)


def handled(known: Known, request: Request) -> Ruling | None:
    """One execution of an action, whoever asks."""
    lease = known.leases.get((request.wanted.id, request.wanted.action))
    if lease is None:
        return None
    if lease.state is LeaseState.EXECUTED:
        text = f"{lease.holder} has done it"
        return Ruling(Answer.HANDLED, Why.EXECUTED, text)
    if lease.is_held(request.at_ms):
        left_s = (lease.until_ms - request.at_ms) // 1000
        text = f"{lease.holder} is at it, for at most {left_s} s more"
        return Ruling(Answer.HANDLED, Why.IN_PROGRESS, text)
    if lease.state is LeaseState.RELEASED:
        return None
    # Begun and not known to have ended well: doing it again may do harm.
    if is_approved(known, request, lease.granted_ms):
        return None
    how = "failed" if lease.state is LeaseState.FAILED else "never told its end"
    detail = lease.detail or "no detail"
    text = f"{lease.holder} began it and {how} ({detail}): look, then approve it anew"
    return Ruling(Answer.NEEDS_APPROVAL, Why.FAILED_BEFORE, text)


def open_still(known: Known, request: Request) -> Ruling | None:
    """A recommendation that was closed, by anybody, is over."""
    wanted = request.wanted
    if wanted.state is RecommendationState.EXECUTED:
        return Ruling(Answer.HANDLED, Why.EXECUTED, "it was carried out, as events say")
    rejected = known.rejected.get(wanted.id)
    if rejected is not None:
        text = f"{rejected.actor} rejected it: {rejected.why}"
        return Ruling(Answer.HANDLED, Why.WITHDRAWN, text)
    if wanted.state is RecommendationState.BLOCKED:
        return target(known, request)
    if wanted.state in OPEN_STATES:
        return None
    return Ruling(Answer.HANDLED, Why.CLOSED, f"it is {wanted.state}")


def fresh(_: Known, request: Request) -> Ruling | None:
    """An old recommendation says nothing about now."""
    wanted, at_ms = request.wanted, request.at_ms
    if at_ms > wanted.expires_at:
        text = f"it expired {(at_ms - wanted.expires_at) / 1000:.0f} s ago"
        return Ruling(Answer.STALE, Why.EXPIRED, text)
    if wanted.issued_at > at_ms + SKEW_MAX_MS:
        text = f"it was issued {(wanted.issued_at - at_ms) / 1000:.0f} s ahead of now"
        return Ruling(Answer.STALE, Why.ISSUED_AHEAD, text)
    return None


def newest(known: Known, request: Request) -> Ruling | None:
    """A revision that somebody has seen replaces those before it."""
    wanted = request.wanted
    seen = known.newest[wanted.id]
    if wanted.revision >= seen.revision:
        return None
    text = f"revision {wanted.revision}, there is {seen.revision}: read it again"
    return Ruling(Answer.STALE, Why.SUPERSEDED, text)


def held_by_people(known: Known, service: str, at_ms: int) -> Ruling | None:
    """Why people want nothing to be done to a service by machine; None if they do not.

    Who acts on an answer without claiming, as rollout controllers do, hears of these.
    """
    return (
        _stopped(known)
        or _frozen(known, service)
        or _in_calendar(known, service, at_ms)
    )


def kill_switch(known: Known, _: Request) -> Ruling | None:
    """One order stops everything."""
    return _stopped(known)


def freeze(known: Known, request: Request) -> Ruling | None:
    """A frozen service is left as it is."""
    return _frozen(known, request.wanted.service)


def calendar(known: Known, request: Request) -> Ruling | None:
    """Nothing is done in times that people have named beforehand."""
    return _in_calendar(known, request.wanted.service, request.at_ms)


def _stopped(known: Known) -> Ruling | None:
    stopped = known.stopped
    if stopped is None:
        return None
    text = f"{stopped.actor} stopped all actions: {stopped.why}"
    return Ruling(Answer.FROZEN, Why.KILLED, text)


def _frozen(known: Known, service: str) -> Ruling | None:
    order = known.frozen.get(EVERY) or known.frozen.get(service)
    if order is not None:
        text = f"{order.actor} froze {order.service}: {order.why}"
        return Ruling(Answer.FROZEN, Why.FROZEN, text)
    order = known.ping_pong.get(service)
    if order is not None:
        text = f"frozen as back and forth until {thaw(order.service)}: {order.why}"
        return Ruling(Answer.FROZEN, Why.FROZEN, text)
    return None


def _in_calendar(known: Known, service: str, at_ms: int) -> Ruling | None:
    for name in (EVERY, service):
        found = known.calendars.get(name)
        for window in found.windows if found else ():
            until_ms = frozen_until(window, at_ms)
            if found and until_ms is not None:
                until = datetime.fromtimestamp(until_ms / 1000, UTC)
                text = (
                    f"{window.name}, in the calendar of {found.actor}, lasts until "
                    f"{until:%Y-%m-%dT%H:%M:%SZ}"
                )
                return Ruling(Answer.FROZEN, Why.CALENDAR, text)
    return None


def mode(known: Known, request: Request) -> Ruling | None:
    """The rule and the service's owner say how far machines may go."""
    least = effective_mode(known, request)
    if least.rank >= Mode.APPROVE.rank:
        return None
    text = f"mode is {least}: machines may act from {Mode.APPROVE} on"
    return Ruling(Answer.MODE_TOO_LOW, Why.MODE, text)


def target(_: Known, request: Request) -> Ruling | None:
    """Back to nowhere is no rollback."""
    wanted = request.wanted
    if wanted.action not in NEEDS_TARGET or wanted.target:
        return None
    text = "no release is known to be safe to go back to: page a person"
    return Ruling(Answer.NEEDS_APPROVAL, Why.NO_TARGET, text)


def cooldown(known: Known, request: Request) -> Ruling | None:
    """After an action a service is left in peace, or nobody sees what it did."""
    if not _is_limited(known, request):
        return None
    for done in _large(known, request, COOLDOWN_MS):
        left_s = (done.at_ms + COOLDOWN_MS - request.at_ms) // 1000
        text = f"an action on this service was begun, {left_s} s of cooldown are left"
        return Ruling(Answer.FROZEN, Why.COOLDOWN, text)
    return None


def budget(known: Known, request: Request) -> Ruling | None:
    """So many by machine alone, then people decide."""
    if not _is_limited(known, request):
        return None
    for most, span_ms, word in BUDGETS:
        if sum(1 for _ in _large(known, request, span_ms)) >= most:
            text = f"{most} an {word} of this service are spent: a person has to agree"
            return Ruling(Answer.NEEDS_APPROVAL, Why.BUDGET, text)
    return None


def common_cause(known: Known, request: Request) -> Ruling | None:
    """What harms many services at once is none of their releases."""
    claim, calmed_ms = request.claim, known.calmed_ms
    if not _is_limited(known, request) or calmed_ms > request.at_ms - SAME_TIME_MS:
        return None
    most = max(COMMON_MIN, math.floor(COMMON_SHARE * claim.services) + 1)
    if claim.regressed < most:
        return None
    text = (
        f"{claim.regressed} of {claim.services} services regressed within 15 min: no "
        "release does that; a person has to agree, or to say that it is over"
    )
    return Ruling(Answer.NEEDS_APPROVAL, Why.COMMON_CAUSE, text)


def storm(known: Known, request: Request) -> Ruling | None:
    """Many services at once are no faulty release."""
    if not _is_limited(known, request):
        return None
    since_ms = max(request.at_ms - STORM_MS, known.calmed_ms)
    services = {
        done.recommendation.service
        for done in known.done
        if done.at_ms > since_ms and done.recommendation.action in LARGE
    } - {request.wanted.service}
    most = max(STORM_MIN, math.ceil(STORM_SHARE * request.claim.services))
    if len(services) < most:
        return None
    text = (
        f"{len(services)} other services within 15 min: no faulty release does that; "
        "a person has to agree, or to say that it is over"
    )
    return Ruling(Answer.NEEDS_APPROVAL, Why.STORM, text)


def approval(known: Known, request: Request) -> Ruling | None:
    """In mode approve a person has to agree."""
    asks = effective_mode(known, request) is Mode.APPROVE
    if not asks or is_approved(known, request):
        return None
    most = approvals_needed(known, request)
    text = f"{most} approval is needed: `hypercare order approve`"
    if most >= TWO_PERSON:
        count = len(approvers(known, request))
        text = (
            f"{count} of {most} approvals, each of somebody else and none of who "
            "deployed it: `hypercare order approve`"
        )
    return Ruling(Answer.NEEDS_APPROVAL, Why.APPROVAL, text)


def drill(_: Known, request: Request) -> Ruling | None:
    """A drill takes the whole way, and stops where something would be done."""
    if not request.wanted.test:
        return None
    text = "a drill: all locks are open, and it ends before anything is done"
    return Ruling(Answer.MODE_TOO_LOW, Why.DRILL, text)


LOCKS: tuple[Lock, ...] = (
    open_still,
    fresh,
    newest,
    executable,
    handled,
    kill_switch,
    freeze,
    calendar,
    mode,
    target,
    ping_pong,
    cooldown,
    budget,
    common_cause,
    storm,
    approval,
    drill,
)
"""In the order in which they are asked: what is over before what is forbidden, what is
forbidden before what a person can allow; a drill is stopped last."""


def refusal(known: Known, request: Request) -> Ruling | None:
    """The first lock that refuses a claim; None if all let it pass."""
    for lock in LOCKS:
        refused = lock(known, request)
        if refused is not None:
            return refused
    return None


def effective_mode(known: Known, request: Request) -> Mode:
    """The least of the rule's mode and what people allow the service."""
    told = request.wanted.mode
    own = Mode(told) if told in list(Mode) else Mode.SHADOW
    allowed = [
        known.modes[name]
        for name in (EVERY, request.wanted.service)
        if name in known.modes
    ]
    return min([own, *allowed], key=lambda one: one.rank)


def _is_limited(known: Known, request: Request) -> bool:
    """Whether limits hold it: they count large actions that nobody approved."""
    return request.wanted.action in LARGE and not is_approved(known, request)


def _large(known: Known, request: Request, span_ms: int) -> Iterator[Done]:
    """Large actions on the same service and environment, newest first."""
    wanted = request.wanted
    for done in reversed(known.done):
        other = done.recommendation
        if done.at_ms <= request.at_ms - span_ms:
            continue
        same = (other.service, other.environment) == (
            wanted.service,
            wanted.environment,
        )
        if same and other.id != wanted.id and other.action in LARGE:
            yield done
