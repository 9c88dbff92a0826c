"""The shipped alert rules: valid, tested, and about things that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from streams.cli.main import main
from streams.metrictable import METRICS, PREFIX
from tests.rules.programs import PROMETHEUS_RULES, ROOT, run

RULES = PROMETHEUS_RULES / "hypercare.yml"
UNIT_TESTS = PROMETHEUS_RULES / "hypercare_test.yml"
RUNBOOKS = ROOT / "docs" / "runbooks"
HEADINGS = [
    "## What it means",
    "## Who is hurt",
    "## First steps",
    "## When to ignore it",
    "## How it clears",
]
ABOUT_A_RELEASE = {"since", "segment", "owner", "evidence_url", "recommendation"}
EVERYWHERE = {"summary", "hurt", "next", "runbook_url"}


def rules() -> list[dict[str, Any]]:
    """All rules of the shipped file."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alerts among them."""
    return [rule for rule in rules() if "alert" in rule]


NAMES = [alert["alert"] for alert in alerts()]


def alert(name: str) -> dict[str, Any]:
    """One alert by name."""
    (found,) = [rule for rule in alerts() if rule["alert"] == name]
    return found


def test_rule_files_are_valid(tmp_path: Path) -> None:
    """promtool accepts the rules, and the example configuration that loads them."""
    assert f"{len(rules())} rules found" in run("promtool", "check", "rules", RULES)
    run("promtool", "check", "config", PROMETHEUS_RULES / "prometheus.example.yml")


def test_unit_tests_of_rules_pass() -> None:
    """Firing, silence, failover, recovery and absence, as promtool computes them."""
    assert "SUCCESS" in run("promtool", "test", "rules", UNIT_TESTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taken", "given"),
    [
        ("        keep_firing_for: 5m\n", ""),
        ("instance, pod, job", "pod, job"),
        ('{mode!="shadow"}', ""),
        ("absent(hypercare_build_info)", "absent(hypercare_other_info)"),
        ("> 600", "> 60"),
        ("for: 2m", "for: 1m"),
        ('{verdict!="no_data"}', ""),
        ("topk by (service, environment, release) (1,", "max without () ("),
    ],
)
def test_unit_tests_notice_a_broken_rule(
    tmp_path: Path, taken: str, given: str
) -> None:
    """Each habit that keeps alerts right is covered: without it promtool fails."""
    text = RULES.read_text(encoding="utf-8")
    assert taken in text
    (tmp_path / RULES.name).write_text(text.replace(taken, given), encoding="utf-8")
    shutil.copy(UNIT_TESTS, tmp_path)
    run("promtool", "check", "rules", tmp_path / RULES.name)
    with pytest.raises(AssertionError, match="FAILED"):
        run("promtool", "test", "rules", tmp_path / UNIT_TESTS.name)


def test_rules_name_existing_metrics() -> None:
    """Every metric and label that rules mention is in the table of metrics."""
    text = re.sub("#.*", "", RULES.read_text(encoding="utf-8"))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for name in recorded:
        text = text.replace(name, "")
    mentioned = set(re.findall(rf"\b{PREFIX}[a-z_]+", text))
    assert mentioned
    assert mentioned <= {PREFIX + name for name in METRICS}
    labels = set(re.findall(r"\$labels\.([a-z]+)", text))
    assert labels <= {label for m in METRICS.values() for label in m.labels}


@pytest.mark.parametrize("name", NAMES)
def test_alerts_survive_a_failover(name: str) -> None:
    """No label of a worker is left, and a gap is bridged or waited out."""
    rule = alert(name)
    assert "instance" not in re.findall(r"by \(([^)]*)\)", rule["expr"])
    for inside in re.findall(r"without \(([^)]*)\)", rule["expr"]):
        assert {"instance", "pod", "job"} <= set(inside.split(", "))
    assert "keep_firing_for" in rule or rule["for"] == "2m"


@pytest.mark.parametrize("name", NAMES)
def test_alerts_say_what_people_need(name: str) -> None:
    """One sentence, who is hurt, the next command, the runbook; harm also says since
    when, where, whose and on what evidence."""
    said = set(alert(name)["annotations"])
    assert said >= EVERYWHERE
    if name == "ReleaseRegression":
        assert said >= ABOUT_A_RELEASE


@pytest.mark.parametrize("name", NAMES)
def test_runbook_of_alert_exists(name: str) -> None:
    """The linked page exists, has the common headings, and its links resolve."""
    page = ROOT / alert(name)["annotations"]["runbook_url"]
    assert page == RUNBOOKS / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## .*$", text, flags=re.MULTILINE) == HEADINGS


def test_links_of_runbooks_resolve() -> None:
    """Every relative link of a runbook leads to a file; the index names every page."""
    pages = {path.name for path in RUNBOOKS.glob("*.md")}
    assert pages == {f"{name}.md" for name in NAMES} | {"README.md"}
    for path in RUNBOOKS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text("utf-8")):
            assert (path.parent / link).resolve().exists(), f"{path.name}: {link}"
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(([A-Z]\w+\.md)\)", index)) == pages - {"README.md"}


def commands() -> list[str]:
    """Every `hypercare` command that runbooks and annotations tell people to run."""
    lines = [rule["annotations"]["next"] for rule in alerts()]
    for path in sorted(RUNBOOKS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        lines += re.findall(r"(?m)^ {4}(.*)$", text) + re.findall(r"`([^`\n]+)`", text)
    found = re.findall(r"\bhypercare ([a-z]+(?: [a-z]+)?)", "\n".join(lines))
    return sorted(set(found))


def test_commands_in_texts_exist() -> None:
    """What people are told to type at night is a command of this program."""
    assert {"status", "doctor", "rules check"} <= set(commands())
    for command in commands():
        known: click.Command = main
        for word in command.split():
            if not isinstance(known, click.Group):
                break
            child = known.get_command(click.Context(known), word)
            assert child is not None, command
            known = child


def test_commands_hold_no_foreign_text() -> None:
    """Names from events reach no command: only the worker's address is filled in."""
    for rule in alerts():
        shown = re.sub(r"printf .*?query", "", rule["annotations"]["next"])
        assert "$labels" not in shown
        assert set(re.findall(r'label "([a-z]+)"', shown)) <= {"instance"}
