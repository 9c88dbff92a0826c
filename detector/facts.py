"""What a decision looks at, what comes out of it, and the episode it is part of."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from msgspec import Struct

from detector.findings import Finding
from detector.verdicts import Action, ReasonCode, RecommendationState, Verdict


class Facts(NamedTuple):
    """All a decision looks at, about one release at one moment of event time."""

    now_ms: int
    signal: str
    log_e: float
    persistent: bool
    recovered: bool
    ratio: tuple[float, float, float]
    margin: float
    units_candidate: float
    units_control: float
    last_usage_ms: int
    joint_windows: int
    control_windows: int
    errors_only_windows: int
    errors_only_lines: int
    mismatched: bool
    findings: tuple[Finding, ...] = ()
    seen_ms: int = -1
    bad_candidate: float = 0.0
    bad_control: float = 0.0
    past_ms: int = -1
    has_past: bool = False
    unfixed: tuple[str, ...] = ()
    exonerated: bool = False
    rivals: tuple[str, ...] = ()
    lead_log_e: float = inf
    explained: bool = False
    slow: bool = False
    troubles: tuple[str, ...] = ()


class Episode(Struct, array_like=True):
    """The present harm of one release and the recommendation it led to.

    ``finding`` is the newest one that shows the harm, None where the evidence beside
    a concurrent control does; ``seen_ms`` is when the harm was last seen.
    ``component`` is the part of the release that holds all of it; ``target`` is what to
    go back to, None while nothing is safe.
    """

    start_ms: int
    segment: tuple[tuple[str, str], ...]
    id: str
    revision: int
    action: Action
    state: RecommendationState
    issued_ms: int
    onset_ms: int
    signal: str
    reason: ReasonCode
    finding: Finding | None = None
    seen_ms: int = -1
    component: str | None = None
    target: str | None = None


class Judgement(NamedTuple):
    """A verdict with its reasons and the action that follows from it."""

    verdict: Verdict
    reasons: tuple[ReasonCode, ...]
    action: Action


REASON_OF = {
    "errors": ReasonCode.ERROR_RATE_UP,
    "latency": ReasonCode.LATENCY_UP,
    "feedback": ReasonCode.FEEDBACK_WORSE,
    "steps": ReasonCode.STEPS_DOWN,
}
"""What evidence beside a concurrent control says, by signal."""


def reason_of(signal: str) -> ReasonCode:
    """The reason code of a signal's evidence; ``latency:0.9`` is latency."""
    return REASON_OF[signal.partition(":")[0]]
