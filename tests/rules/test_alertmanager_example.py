"""Who is told what, asked of Alertmanager's own tool and program."""

from __future__ import annotations

import pytest
import yaml

from tests.rules.programs import ALERTMANAGER_EXAMPLE, run
from tests.rules.test_prometheus_rules import NAMES, alert


def test_example_is_valid() -> None:
    """amtool accepts the configuration, with its routes and inhibitions."""
    said = run("amtool", "check-config", ALERTMANAGER_EXAMPLE)
    assert "SUCCESS" in said
    assert "4 inhibit rules" in said


@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("payments-pager", "ReleaseRegression severity=page owner=team-payments"),
        ("payments-tickets", "ReleaseRegression severity=ticket owner=team-payments"),
        ("on-call-pager", "ReleaseRegression severity=page owner=team-unknown"),
        ("on-call-pager", "ReleaseRegression severity=page"),
        ("platform-tickets", "ReleaseRegression severity=ticket owner=team-unknown"),
        ("platform-pager", "HypercareDown severity=page"),
        ("platform-pager", "HypercareBlind severity=page reason=state"),
        ("platform-tickets", "HypercareBlind severity=ticket reason=telemetry"),
        ("platform-pager", "HypercareVerdictStale severity=page owner=team-payments"),
        ("platform-tickets", "SourceSilent severity=ticket service=shop"),
        ("platform-tickets", "ReleaseUnjudged severity=ticket owner=team-payments"),
        ("platform-tickets", "RulesReloadFailed severity=ticket"),
        ("platform-tickets", "KillSwitchOn severity=ticket"),
        ("platform-pager", "ApprovalWaiting severity=page service=shop"),
        ("platform-pager", "ReleasePingPong severity=page service=shop"),
        ("platform-tickets", "BudgetExhausted severity=ticket service=shop"),
    ],
)
def test_alerts_reach_their_receiver(receiver: str, labels: str) -> None:
    """Severity and owner decide who is told; nothing falls through."""
    said = run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER_EXAMPLE}",
        f"--verify.receivers={receiver}",
        *f"alertname={labels}".split(),
    )
    assert said.split() == [receiver]


def test_nothing_inhibits_a_regression() -> None:
    """No inhibition has ReleaseRegression as source or target, and each one names
    alerts that exist."""
    config = yaml.safe_load(ALERTMANAGER_EXAMPLE.read_text(encoding="utf-8"))
    for rule in config["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            assert "ReleaseRegression" not in matcher
            label, _, value = matcher.partition("=")
            if label == "alertname":
                assert set(value.strip('~"').split("|")) <= set(NAMES)


def test_stale_alerts_are_the_targets() -> None:
    """What is muted are the consequences: never a page about Hypercare's own state."""
    config = yaml.safe_load(ALERTMANAGER_EXAMPLE.read_text(encoding="utf-8"))
    muted = {
        name
        for rule in config["inhibit_rules"]
        for matcher in rule["target_matchers"]
        for name in matcher.partition("=")[2].strip('~"').split("|")
    }
    assert muted == {"HypercareVerdictStale", "SourceSilent", "ReleaseUnjudged"}
    assert all(alert(name) for name in muted)
