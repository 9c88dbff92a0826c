"""Figures about acting: what waits for people, what machines may still do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from acting.interlocks import DAILY_MAX, approval, effective_mode
from acting.known import DAY_MS, Known, Request
from acting.records import Claim, Mode
from detector.verdicts import LARGE, OPEN_STATES, RecommendationRecord

NOBODY = Claim("nobody-claims-this", "nobody", "-", "-", b"", "-")
DRILL_KINDS = ("gate",)
"""Ways that ought to be drilled: shown as never drilled until they are."""


def waits_for_person(known: Known, wanted: RecommendationRecord, at_ms: int) -> bool:
    """Whether a recommendation could be carried out now if a person agreed."""
    if wanted.state not in OPEN_STATES or at_ms > wanted.expires_at:
        return False
    if wanted.id in known.rejected or (wanted.id, wanted.action) in known.leases:
        return False
    return approval(known, Request(NOBODY, wanted, at_ms)) is not None


def budget_left(known: Known, at_ms: int) -> dict[tuple[str, str], int]:
    """How many large actions machines may take alone before a day is over.

    By service and environment, of those that have had one within a day.
    """
    spent = Counter(
        (done.recommendation.service, done.recommendation.environment)
        for done in known.done
        if done.at_ms > at_ms - DAY_MS and done.recommendation.action in LARGE
    )
    return {place: max(0, DAILY_MAX - number) for place, number in spent.items()}


def ping_pong(known: Known) -> dict[str, bool]:
    """Services that went back and forth: whether they are still frozen for it.

    Those that a person thawed are forgotten after two days.
    """
    thawed = known.thawed_ms.keys() - known.ping_pong.keys()
    return dict.fromkeys(known.ping_pong, True) | dict.fromkeys(thawed, False)


def drills(known: Known) -> dict[str, int]:
    """When the last drill of each kind went well; 0 for one that never did."""
    found = dict.fromkeys(DRILL_KINDS, 0)
    return found | {kind: one.at_ms for kind, one in sorted(known.drills.items())}


def modes(known: Known, recommended: Iterable[RecommendationRecord]) -> dict[str, Mode]:
    """How far machines may go by service.

    Where something is recommended the least of its rule's mode and what people allow,
    else what people allow; ``*`` is every service.
    """
    found = dict(known.modes)
    newest: dict[str, RecommendationRecord] = {}
    for one in recommended:
        before = newest.get(one.service)
        if before is None or one.issued_at > before.issued_at:
            newest[one.service] = one
    for service, one in newest.items():
        found[service] = effective_mode(known, Request(NOBODY, one, one.issued_at))
    return found
