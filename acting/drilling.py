"""Drills: a recommendation that takes the whole way and stops before its last step."""

from __future__ import annotations

from detector.verdicts import (
    Action,
    RecommendationRecord,
    RecommendationState,
    recommendation_id,
)

PREFIX = "drill_"
"""In place of ``rec_``: who does not know drills takes the id for a forged one."""

SERVICE, RELEASE, TARGET = "hypercare-drill", "drill", "drill-before"
FRESH_MS = 600_000


def drill_id(recommendation: str) -> str:
    """The id of a drill that says the same as a recommendation.

    Examples
    --------
    >>> drill_id("rec_abc")
    'drill_abc'
    """
    return PREFIX + recommendation.removeprefix("rec_")


def drill(actor: str, at_ms: int) -> RecommendationRecord:
    """A rollback of a service that does not exist, that nobody may carry out."""
    named = recommendation_id(SERVICE, "production", RELEASE, None, at_ms)
    return RecommendationRecord(
        id=drill_id(named),
        revision=1,
        action=Action.ROLLBACK,
        state=RecommendationState.OPEN,
        service=SERVICE,
        environment="production",
        release=RELEASE,
        component=None,
        target=TARGET,
        mode="auto",
        decided_at=at_ms,
        issued_at=at_ms,
        expires_at=at_ms + FRESH_MS,
        episode_start_ms=at_ms,
        segment=None,
        log_e=0.0,
        rate_ratio=(1.0, 1.0, 1.0),
        expected_effect="none: a drill",
        sentence=f"A drill of {actor}: nothing is wrong, and nothing may be done.",
        reasons=(),
        evidence_offset=-1,
        rule="drill",
        rules_hash="",
        deployed_by=(),
        test=True,
    )
