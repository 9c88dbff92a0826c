"""Who has agreed to an action, and whether that is enough."""

from __future__ import annotations

from acting.known import Known, Request
from acting.records import APPROVALS_MAX, EVERY

TWO_PERSON = 2
"""From so many on, who deployed the release is none of them: alone at night one must be
able to agree to take one's own release back."""


def person(name: str) -> str:
    """Whom a name stands for, wherever they typed it.

    Examples
    --------
    >>> person("Ada@laptop") == person(" ada@desk")
    True
    """
    whole = name.strip().casefold()
    return whole.partition("@")[0].strip() or whole


def approvals_needed(known: Known, request: Request) -> int:
    """How many people have to agree: what the rule says, or more if people ask so."""
    wanted = request.wanted
    told = (known.asked.get(name, 1) for name in (EVERY, wanted.service))
    return min(APPROVALS_MAX, max(1, wanted.approvals, *told))


def approvers(known: Known, request: Request, since_ms: int = -1) -> set[str]:
    """People whose approval of this action counts, given later than a time."""
    wanted = request.wanted
    given = known.approvals.get((wanted.id, wanted.action), {})
    found = {person(name) for name, at_ms in given.items() if at_ms > since_ms}
    if approvals_needed(known, request) < TWO_PERSON:
        return found
    return found - {person(name) for name in wanted.deployed_by}


def is_approved(known: Known, request: Request, since_ms: int = -1) -> bool:
    """Whether enough people have agreed, later than a time."""
    return len(approvers(known, request, since_ms)) >= approvals_needed(known, request)
