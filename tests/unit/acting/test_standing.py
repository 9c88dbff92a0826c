"""Before anything is claimed: is the detector awake, and what does the verdict say?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acting.answers import Answer, Why
from acting.standing import FRESH_MS, sight, standing
from detector.verdicts import Verdict, VerdictRecord

NOW = 1_795_356_000_000
AWAKE: dict[str, Any] = {
    "told_ms": NOW - 1_000,
    "read_until_ms": NOW - 2_000,
    "state": "ready",
    "reason": "",
    "now_ms": NOW,
}


def said(verdict: Verdict) -> VerdictRecord:
    """A verdict record with that word; all else is empty."""
    empty: dict[str, Any] = {
        "service": "shop", "environment": "production", "release": "2",
        "component": None, "verdict": verdict, "reasons": [], "sentence": "so it is",
        "action": "continue", "condition": None, "decided_at": NOW, "window_end": NOW,
        "log_e": 0.0, "evidence": [], "affected_units": 0.0, "excess_bad_units": 0.0,
        "onset_ms": None, "top_signatures": [], "ambient_ratio": None,
        "competing_releases": [], "competing_changes": {}, "change_needs": "",
        "inferred": False, "owner": None, "rule": "r", "rules_hash": "h",
        "code_version": "1", "offset": 1,
    }  # fmt: skip
    return msgspec.convert(empty, VerdictRecord)


def test_awake_detector_is_believed() -> None:
    """Who has spoken just now and is not behind is believed."""
    assert sight(**AWAKE) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"told_ms": None}, Why.SILENT),
        ({"told_ms": NOW - FRESH_MS - 1}, Why.SILENT),
        ({"state": "blind", "reason": "lost"}, Why.BLIND),
        ({"state": "fenced"}, Why.BLIND),
        ({"read_until_ms": None}, Why.BEHIND),
        ({"read_until_ms": NOW - FRESH_MS - 1_001}, Why.BEHIND),
    ],
)
def test_sleeping_detector_is_stale(changes: dict[str, Any], why: Why) -> None:
    """Silence, blindness and lag are answered as such, never as health."""
    found = sight(**(AWAKE | changes))
    assert found is not None
    assert (found.answer, found.why) == (Answer.STALE, why)


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (Verdict.HEALTHY, Answer.GO_ON),
        (Verdict.INCONCLUSIVE, Answer.UNDECIDED),
        (Verdict.NO_DATA, Answer.UNDECIDED),
        (Verdict.UNRELIABLE, Answer.STALE),
        (Verdict.REGRESSED, None),
    ],
)
def test_each_verdict_has_its_answer(verdict: Verdict, answer: Answer | None) -> None:
    """Only a regression leads on to a claim; only health lets go on."""
    found = standing(said(verdict), is_recommended=True)
    assert (found.answer if found else None) == answer


def test_regression_without_recommendation_waits() -> None:
    """Nothing to carry out: no action, and no going on either."""
    found = standing(said(Verdict.REGRESSED), is_recommended=False)
    assert found is not None
    assert found.answer is Answer.UNDECIDED


def test_unknown_release_waits() -> None:
    """A release nobody has judged is no healthy one."""
    found = standing(None, is_recommended=False)
    assert found is not None
    assert (found.answer, found.why) == (Answer.UNDECIDED, Why.UNKNOWN)
