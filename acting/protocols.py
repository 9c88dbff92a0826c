"""One verdict, many protocols: what Argo Rollouts, Flagger and others hear of it.

Each tool takes our answer for something else: Argo a JSON document, Flagger a status,
which for one of its hooks means the opposite, Kayenta's clients a score. So there is
one table, here, and the servers only carry it. Nothing answered here claims anything:
who asks every ten seconds must not take a lease.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from acting.answers import Answer, Ruling, Why


class Standing(StrEnum):
    """What is known of a release, as far as gates tell it apart."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    UNKNOWN = "unknown"
    UNRELIABLE = "unreliable"
    STALE = "stale"
    FROZEN = "frozen"
    """Regressed, and people have said that nothing is to be done by machine."""


class Hook(StrEnum):
    """Flagger's webhooks by type, in the order in which it asks them."""

    CONFIRM_ROLLOUT = "confirm-rollout"
    PRE_ROLLOUT = "pre-rollout"
    ROLLOUT = "rollout"
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"
    CONFIRM_PROMOTION = "confirm-promotion"
    POST_ROLLOUT = "post-rollout"
    ROLLBACK = "rollback"
    EVENT = "event"


class Told(NamedTuple):
    """A status and a reason."""

    status: int
    reason: str


YES, NO = 200, 409
"""Exactly 200: Flagger calls 204 a failure; of 429 and 5xx it drops the text."""

NO_FAILED_CHECK = frozenset(Standing) - {Standing.REGRESSED}
"""Before a release has traffic there is no data, and a no would hold it for ever; and
a no here is counted: enough of them roll back, whatever people have ordered."""

KNOWN_BAD = frozenset({Standing.REGRESSED, Standing.FROZEN})
NOT_YET_BAD = frozenset(Standing) - KNOWN_BAD
"""A no to these only holds the release where it is."""

FLAGGER: dict[Hook, frozenset[Standing]] = {
    Hook.CONFIRM_ROLLOUT: NOT_YET_BAD,
    Hook.PRE_ROLLOUT: NO_FAILED_CHECK,
    Hook.ROLLOUT: NO_FAILED_CHECK,
    Hook.CONFIRM_TRAFFIC_INCREASE: NOT_YET_BAD - {Standing.UNRELIABLE, Standing.STALE},
    Hook.CONFIRM_PROMOTION: frozenset({Standing.HEALTHY}),
    Hook.POST_ROLLOUT: frozenset(Standing),
    # A yes rolls back.
    Hook.ROLLBACK: frozenset({Standing.REGRESSED}),
    Hook.EVENT: frozenset(Standing),
}
"""Standings to which a hook hears yes."""

ARGO: dict[Standing, str] = {
    Standing.HEALTHY: "healthy",
    Standing.REGRESSED: "regressed",
}
"""All others are ``inconclusive`` for Argo: an error five times aborts a rollout."""


class Grade(StrEnum):
    """What a Kayenta score says, in Kayenta's words."""

    GOOD = "Pass"
    MARGINAL = "Marginal"
    BAD = "Fail"


KAYENTA: dict[Standing, Grade] = {
    Standing.HEALTHY: Grade.GOOD,
    Standing.REGRESSED: Grade.BAD,
}
"""All others are marginal, which pauses: a low score would abort the rollout."""

EXITS: dict[Standing, Answer] = {
    Standing.HEALTHY: Answer.GO_ON,
    Standing.REGRESSED: Answer.ACT,
    Standing.INCONCLUSIVE: Answer.UNDECIDED,
    Standing.NO_DATA: Answer.UNDECIDED,
    Standing.UNKNOWN: Answer.UNDECIDED,
    Standing.UNRELIABLE: Answer.STALE,
    Standing.STALE: Answer.STALE,
    Standing.FROZEN: Answer.FROZEN,
}
"""What `hypercare gate` exits with, before any interlock refuses to act."""

_OF_WHY = {
    Why.HEALTHY: Standing.HEALTHY,
    Why.INCONCLUSIVE: Standing.INCONCLUSIVE,
    Why.NO_DATA: Standing.NO_DATA,
    Why.UNKNOWN: Standing.UNKNOWN,
    Why.UNRELIABLE: Standing.UNRELIABLE,
    Why.KILLED: Standing.FROZEN,
    Why.FROZEN: Standing.FROZEN,
    Why.CALENDAR: Standing.FROZEN,
}


def standing_of(ruling: Ruling | None) -> Standing:
    """The standing behind what ``acting.standing`` says; None stands for a regression
    with a recommendation to claim."""
    if ruling is None or ruling.why is Why.REGRESSED:
        return Standing.REGRESSED
    return _OF_WHY.get(ruling.why, Standing.STALE)


def flagger(hook: Hook, standing: Standing, refused: Ruling | None, text: str) -> Told:
    """What a Flagger hook hears.

    Parameters
    ----------
    hook : Hook
        Which one asks.
    standing : Standing
        What is known of the release.
    refused : Ruling or None
        Why nothing may be executed now, for ``rollback``.
    text : str
        Why the standing is what it is.
    """
    if hook is Hook.ROLLBACK and standing is Standing.REGRESSED and refused is not None:
        return Told(NO, f"{refused.why}: {refused.text}")
    said = f"{standing}: {text}"
    return Told(YES if standing in FLAGGER[hook] else NO, said)


def argo_verdict(standing: Standing) -> str:
    """The word that Argo's success and failure conditions compare with."""
    return ARGO.get(standing, "inconclusive")


def grade_of(standings: Iterable[Standing]) -> Grade:
    """The grade of several scopes: one that is bad fails all, all must be well to
    pass."""
    grades = [KAYENTA.get(one, Grade.MARGINAL) for one in standings]
    for worst in (Grade.BAD, Grade.MARGINAL):
        if worst in grades:
            return worst
    return Grade.GOOD if grades else Grade.MARGINAL


class Thresholds(NamedTuple):
    """From which score on who asks takes a release for good, or for undecided."""

    passing: float
    marginal: float

    def score(self, grade: Grade) -> int | None:
        """A whole number from 0 to 100 that reads as this grade; None if there is none.

        Whoever compares cuts the score to an integer first.
        """
        found = {Grade.GOOD: 100, Grade.MARGINAL: math.ceil(self.marginal)}
        score = found.get(grade, 0)
        return score if self._reads(score) is grade else None

    def _reads(self, score: int) -> Grade:
        if score >= self.passing:
            return Grade.GOOD
        return Grade.MARGINAL if score >= self.marginal else Grade.BAD
