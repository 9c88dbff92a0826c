"""Back and forth: a service that goes to and fro is frozen, and a person is told.

A machine that takes the same release back twice in a day has not helped the first time:
whoever deploys it again and the machine would go on for ever. So the second time
nothing is done; the claim that asked for it freezes the service, for all who read the
log of claims, until a person thaws it by name.
"""

from __future__ import annotations

from datetime import UTC, datetime

from acting.answers import Answer, Ruling, Why
from acting.known import DAY_MS, Done, Known, Request
from acting.records import Order, Word
from detector.verdicts import LARGE, NEEDS_TARGET

ACTOR = "hypercare"
"""Who froze a service where no person did."""

WHY_CHARS = 1_000


def ping_pong(known: Known, request: Request) -> Ruling | None:
    """Never to and fro within a day; a release that was thawed begins anew."""
    wanted = request.wanted
    if wanted.action not in NEEDS_TARGET:
        return None
    thawed_ms = known.thawed_ms.get(wanted.service, 0)
    since_ms = max(request.at_ms - DAY_MS, thawed_ms)
    for done in reversed(known.done):
        if done.at_ms > since_ms and _is_beside(done, request):
            text = _to_and_fro(done, request)
            if text:
                help_ = f"page a person, who looks and says {thaw(wanted.service)}"
                return Ruling(Answer.FROZEN, Why.PING_PONG, f"{text}: {help_}")
    return None


def note(known: Known, request: Request, refused: Ruling) -> None:
    """Freeze the service of a claim that was refused as back and forth."""
    wanted = request.wanted
    if refused.why is not Why.PING_PONG or wanted.test:
        return
    text = f"{refused.text} ({wanted.id}, asked by {request.claim.holder})"
    order = Order(Word.FREEZE, ACTOR, text[:WHY_CHARS], wanted.service)
    known.ping_pong[wanted.service] = order


def lift(known: Known, service: str, at_ms: int) -> None:
    """A person thaws a service: what was done before counts no more."""
    if known.ping_pong.pop(service, None) is not None:
        known.thawed_ms[service] = at_ms


def thaw(service: str) -> str:
    """What a person says to go on."""
    return f"`hypercare order thaw --service {service}`"


def _is_beside(done: Done, request: Request) -> bool:
    """Whether an action was on the same thing: service, environment and component."""
    one, other = done.recommendation, request.wanted
    places = [(r.service, r.environment, r.component) for r in (one, other)]
    counts = one.action in LARGE or one.action in NEEDS_TARGET
    return places[0] == places[1] and one.id != other.id and counts


def _to_and_fro(done: Done, request: Request) -> str:
    """How an action and a wish are back and forth; "" if they are not.

    Another release that goes back to the same target is not: a hasty mend that is bad,
    too, has to go as well, within cooldown and budget.
    """
    before, wanted = done.recommendation, request.wanted
    at = f"{datetime.fromtimestamp(done.at_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if before.release == wanted.target:
        return f"{wanted.target} was itself left at {at}, within a day"
    # What was bad at the same time was not deployed again; each is taken back once.
    if wanted.episode_start_ms < done.at_ms:
        return ""
    if before.release == wanted.release:
        return f"{wanted.release} was taken back at {at} and does harm again"
    return ""
