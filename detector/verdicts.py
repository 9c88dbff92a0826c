"""The words of a verdict and of a recommendation, and their identity.

Enums are the single source of the words that topics, HTTP, CLI, metrics and
gates share. Output structures are msgspec structs: their field order is the
order of the JSON that is published, so the same decision gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType


class Verdict(StrEnum):
    """What is known about a release."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"
    UNRELIABLE = "unreliable"


class Action(StrEnum):
    """Recommended actions, the smallest harm-stopping one first."""

    CONTINUE = "continue"
    WATCH = "watch"
    HOLD = "hold"
    WITHDRAW = "withdraw"
    REPLACE = "replace"
    HALT = "halt"
    ROLLBACK = "rollback"
    HOTFIX = "hotfix"
    INVESTIGATE = "investigate"


LARGE = (Action.ROLLBACK, Action.HALT)
"""What limits and the policy of a deploy are about: a component off harms nobody who
does not use it."""

NEEDS_TARGET = (Action.ROLLBACK, Action.REPLACE)
SWITCHING = (Action.WITHDRAW, Action.REPLACE)
"""What is about a component, which a flag can switch."""


class RecommendationState(StrEnum):
    """Life of a recommendation."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    EXECUTED = "executed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    BLOCKED = "blocked"


OPEN_STATES = (RecommendationState.OPEN, RecommendationState.ACKNOWLEDGED)
"""States in which a machine may carry it out."""

STANDING_STATES = (*OPEN_STATES, RecommendationState.BLOCKED)
"""Nobody has acted yet: an acknowledgement alone must not look like a recovery."""


class ReasonCode(StrEnum):
    """Why the verdict is what it is. Every verdict carries at least one."""

    ERROR_RATE_UP = "error_rate_up"
    LATENCY_UP = "latency_up"
    USAGE_DOWN = "usage_down"
    ACTIONS_DOWN = "actions_down"
    STEPS_DOWN = "steps_down"
    NEW_SIGNATURE = "new_signature"
    FEEDBACK_WORSE = "feedback_worse"
    UNUSUAL_CLIENT = "unusual_client"
    SAMPLE_RATIO_OFF = "sample_ratio_off"
    BLAME_UNCLEAR = "blame_unclear"
    HARM_SUSPECTED = "harm_suspected"
    HARM_NOT_PERSISTENT = "harm_not_persistent"
    RECOVERED = "recovered"
    UPPER_LIMIT_BELOW_MARGIN = "upper_limit_below_margin"
    UNDECIDED = "undecided"
    WARMING_UP = "warming_up"
    THIN_TRAFFIC = "thin_traffic"
    NO_CONTROL = "no_control"
    NO_HISTORY = "no_history"
    PAST_ONLY = "past_only"
    COHORTS_ONLY = "cohorts_only"
    USAGE_LATE = "usage_late"
    CLOCK_OFF = "clock_off"
    NO_COMMON_STRATUM = "no_common_stratum"
    NO_USAGE = "no_usage"
    WENT_SILENT = "went_silent"
    ERRORS_WITHOUT_USAGE = "errors_without_usage"
    UNIT_MISMATCH = "unit_mismatch"
    INFERRED_RELEASE = "inferred_release"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_HELPED = "rollback_helped"
    ROLLBACK_DID_NOT_HELP = "rollback_did_not_help"
    ROLLBACK_UNVERIFIED = "rollback_unverified"
    EXONERATED = "exonerated"
    FIX_INCOMPLETE = "fix_incomplete"
    WITHDRAWN_BY_COMMAND = "withdrawn_by_command"
    NO_SAFE_TARGET = "no_safe_target"
    COMPONENT_OFF = "component_off"
    HARM_SPREAD = "harm_spread"


class Arm(Struct, frozen=True):
    """Units at risk and failed ones of one arm since the evidence began."""

    releases: tuple[str, ...]
    units: float
    bad: float
    rate: float | None


class SignalEvidence(Struct, frozen=True):
    """What one signal says about one segment of one release.

    ``flagged``: found among the release's series at a false discovery rate of alpha,
    or beyond its own threshold where the guarantee is empirical.
    """

    signal: str
    segment: dict[str, str] | None
    unit: str
    candidate: Arm
    control_arm: Arm
    rate_ratio: tuple[float, float, float]
    log_e: float
    margin: float
    control: str
    guarantee: str
    onset_ms: int | None
    flagged: bool = False


class TopSignature(Struct, frozen=True):
    """A failure signature and how often each arm showed it."""

    signature: str
    candidate: float
    control: float
    url: str | None


class FixedSignature(Struct, frozen=True):
    """What became of a failure that a release claims to fix.

    ``fate`` is gone, still_there, too_early or unknown_signature; ``before`` and
    ``after`` are failed units per unit at risk, ``ratio`` their low, best and high
    ratio, ``units_needed`` what is still missing to call it gone.
    """

    signature: str
    fate: str
    before: float
    after: float
    ratio: tuple[float, float, float]
    units_needed: float


class Effect(Struct, frozen=True):
    """What an action would spare: failing units a minute, once it is carried out."""

    action: Action
    target: str | None
    spared_per_min: float
    unit: str


class VerdictRecord(Struct, frozen=True):
    """One record of ``hypercare.verdicts`` and ``hypercare.audit``."""

    service: str
    environment: str
    release: str
    component: str | None
    verdict: Verdict
    reasons: tuple[ReasonCode, ...]
    sentence: str
    action: Action
    condition: str | None
    decided_at: int
    window_end: int
    log_e: float
    evidence: tuple[SignalEvidence, ...]
    affected_units: float
    excess_bad_units: float
    onset_ms: int | None
    top_signatures: tuple[TopSignature, ...]
    ambient_ratio: float | None
    competing_releases: tuple[str, ...]
    competing_changes: dict[str, str]
    change_needs: str
    inferred: bool
    owner: str | None
    rule: str
    rules_hash: str
    code_version: str
    offset: int
    recommendation_id: str | None = None
    decision_eta_s: float | None = None
    fixed_signatures: tuple[FixedSignature, ...] = ()


class RecommendationRecord(Struct, frozen=True):
    """One revision of a recommendation, the data of its CloudEvent.

    ``hooks``: the receivers that its rule names, not written where it names none.
    """

    id: str
    revision: int
    action: Action
    state: RecommendationState
    service: str
    environment: str
    release: str
    component: str | None
    target: str | None
    mode: str
    decided_at: int
    issued_at: int
    expires_at: int
    episode_start_ms: int
    segment: dict[str, str] | None
    log_e: float
    rate_ratio: tuple[float, float, float]
    expected_effect: str
    sentence: str
    reasons: tuple[ReasonCode, ...]
    evidence_offset: int
    rule: str
    rules_hash: str
    effects: tuple[Effect, ...] = ()
    approvals: int = 1
    deployed_by: tuple[str, ...] = ()
    test: bool = False
    hooks: tuple[str, ...] | UnsetType = UNSET


def recommendation_id(
    service: str,
    environment: str,
    release: str,
    component: str | None,
    episode_start_ms: int,
) -> str:
    """Name a recommendation after its facts alone (contracts, section 4).

    No rule hash, worker, offset or time of day takes part: replay, restart, a
    second worker and a rule reload in the middle of an episode give one id.
    """
    facts = "\x1f".join(
        ("v1", service, environment, release, component or "", str(episode_start_ms))
    )
    digest = hashlib.sha256(facts.encode()).digest()
    return "rec_" + base64.b32encode(digest).decode().lower().rstrip("=")[:26]
