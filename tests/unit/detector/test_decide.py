"""What is concluded from which facts, question by question."""

from __future__ import annotations

from math import inf, log, nan
from typing import Any

import pytest

from detector.decide import CALM_MS, SILENT_MS, judge, strongest
from detector.facts import Episode
from detector.findings import Finding
from detector.releases import Release
from detector.target import action_against
from detector.verdicts import Action, ReasonCode, RecommendationState
from tests.unit.detector.calm import CALM, HOUR_MS, finding
from tests.unit.detector.traffic import rules

RULE = rules().rules[0]
HOLDING = rules("on_inconclusive: hold", "on_no_data: hold").rules[0]
SURE = log(1 / RULE.alpha)
EPISODE = Episode(
    start_ms=0,
    segment=(),
    id="rec_a",
    revision=1,
    action=Action.ROLLBACK,
    state=RecommendationState.OPEN,
    issued_ms=0,
    onset_ms=0,
    signal="errors",
    reason=ReasonCode.ERROR_RATE_UP,
)


def release(**fields: Any) -> Release:
    """A release deployed at time 0."""
    return Release(name="2", number=2, first_ms=0, **{"started_ms": 0, **fields})


def words(harmed: bool = False, **facts: Any) -> tuple[str, str, str]:
    """Verdict, first reason and action for the calm facts with changes."""
    episode = EPISODE if harmed else None
    found = judge(CALM._replace(**facts), release(), RULE, episode=episode)
    return found.verdict.value, found.reasons[0].value, found.action.value


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ("healthy", "upper_limit_below_margin", "continue")),
        ({"ratio": (0.8, 1.0, 1.25)}, ("inconclusive", "undecided", "watch")),
        ({"ratio": (0.0, nan, inf)}, ("inconclusive", "undecided", "watch")),
        ({"now_ms": HOUR_MS - 1}, ("inconclusive", "warming_up", "watch")),
        ({"units_candidate": 999.0}, ("inconclusive", "thin_traffic", "watch")),
        ({"units_control": 999.0}, ("inconclusive", "thin_traffic", "watch")),
        ({"log_e": log(11)}, ("inconclusive", "harm_suspected", "watch")),
        ({"log_e": log(101)}, ("inconclusive", "harm_suspected", "hold")),
        ({"log_e": SURE}, ("inconclusive", "harm_not_persistent", "hold")),
        (
            {"log_e": SURE, "persistent": True},
            ("regressed", "error_rate_up", "rollback"),
        ),
        (
            {"log_e": SURE - 1e-9, "persistent": True},
            ("inconclusive", "harm_suspected", "hold"),
        ),
        (
            {"log_e": 99.0, "persistent": True, "units_control": 50.0},
            ("inconclusive", "harm_suspected", "hold"),
        ),
        ({"last_usage_ms": -1}, ("no_data", "no_usage", "watch")),
        (
            {"last_usage_ms": 2 * HOUR_MS - SILENT_MS - 1},
            ("no_data", "went_silent", "watch"),
        ),
        (
            {"joint_windows": 0, "control_windows": 0},
            ("inconclusive", "no_control", "watch"),
        ),
        ({"joint_windows": 0}, ("inconclusive", "no_common_stratum", "watch")),
        (
            {"errors_only_windows": 3, "errors_only_lines": 10},
            ("unreliable", "errors_without_usage", "hold"),
        ),
        ({"mismatched": True}, ("unreliable", "unit_mismatch", "hold")),
    ],
)
def test_facts_give_their_verdict(
    facts: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    """Each set of facts has one verdict, reason and action."""
    assert words(**facts) == expected


def test_broken_telemetry_precedes_harm() -> None:
    """No evidence is believed while errors come without their usage."""
    found = words(
        log_e=99.0, persistent=True, errors_only_windows=3, errors_only_lines=10
    )
    assert found[0] == "unreliable"


def test_harm_stays_until_recovery() -> None:
    """In an episode single quiet windows change nothing; a proven recovery does."""
    assert words(harmed=True)[0] == "regressed"
    assert words(harmed=True, recovered=True) == ("inconclusive", "recovered", "watch")


def test_improvement_is_never_harm() -> None:
    """Fewer errors than the control lead to healthy, not to an action."""
    assert words(log_e=-60.0, ratio=(0.1, 0.2, 0.3))[0] == "healthy"


def test_rule_can_hold_meanwhile() -> None:
    """A rule may hold the rollout while nothing is known."""
    for facts in ({"last_usage_ms": -1}, {"joint_windows": 0}, {"units_control": 1.0}):
        found = judge(CALM._replace(**facts), release(), HOLDING, episode=None)
        assert found.action is Action.HOLD


def test_inferred_release_is_only_watched() -> None:
    """A release nobody announced never leads to more than watching."""
    for log_e in (log(11), log(101)):
        found = judge(
            CALM._replace(log_e=log_e), release(inferred=True), RULE, episode=None
        )
        assert found.action is Action.WATCH
    assert action_against(release(inferred=True), "1") is Action.WATCH


@pytest.mark.parametrize(
    ("fields", "target", "action"),
    [
        ({}, "1", Action.ROLLBACK),
        ({}, None, Action.ROLLBACK),
        ({"rollback": "forbidden"}, "1", Action.HOTFIX),
        ({"strategy": "mobile", "weight": 0.1}, "1", Action.HALT),
        ({"strategy": "mobile", "weight": 1.0}, "1", Action.HOTFIX),
        ({"strategy": "mobile"}, "1", Action.HOTFIX),
        ({"strategy": "flag"}, "1", Action.WITHDRAW),
        ({"component": "cart"}, None, Action.WITHDRAW),
        ({"component": "cart"}, "1", Action.REPLACE),
    ],
)
def test_smallest_action_that_stops(
    fields: dict[str, Any], target: str | None, action: Action
) -> None:
    """The way back that the release allows is recommended."""
    assert action_against(release(**fields), target) is action


def drop(**changes: Any) -> Finding:
    """Less usage than the release's own past has, with changes."""
    values = {"signal": "usage", "reason": "usage_down", "ratio": (0.4, 0.5, 0.6)}
    return finding(**{**values, **changes})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("regressed", "usage_down", "rollback")),
        ({"fires": False}, ("inconclusive", "harm_suspected", "hold")),
        (
            {"fires": False, "z": 2.4},
            ("healthy", "upper_limit_below_margin", "continue"),
        ),
        (
            {"acts": False, "reason": "unusual_client"},
            ("inconclusive", "unusual_client", "investigate"),
        ),
    ],
)
def test_findings_lead_to_verdicts(
    fields: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    """A finding acts only if it is beyond its threshold and a rollback can help."""
    assert words(findings=(drop(**fields),)) == expected


def test_furthest_finding_leads() -> None:
    """Of several findings the one furthest beyond its own threshold is named."""
    near, far = drop(z=5.0, threshold=4.0), drop(z=3.5, threshold=2.0)
    assert strongest((near, far, drop(z=99.0, fires=False))) is far
    assert strongest((drop(acts=False),)) is None


def test_finding_recovers_after_calm() -> None:
    """Harm seen without a control has gone when it was not seen for long enough."""
    seen_ms = CALM.now_ms - CALM_MS
    for later_ms, verdict in ((0, "inconclusive"), (1, "regressed")):
        episode = Episode(
            **{
                **{name: getattr(EPISODE, name) for name in EPISODE.__struct_fields__},
                "finding": drop(),
                "seen_ms": seen_ms + later_ms,
            }
        )
        assert judge(CALM, release(), RULE, episode=episode).verdict.value == verdict
