"""Files of tests: strict, and their outcome that of the core that runs live."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from detector.rulefile import RuleFileError, load_rules
from detector.ruletest import Result, load_tests, run_test, schema_of_tests
from detector.ruletest.making import START_MS, lines_of

ROOT = Path(__file__).parents[4]
RULES = load_rules(
    "version: 1\nrules: [{name: all, persistence_s: 30}]\nend_of_rules: true\n",
    source="test",
)
CANARY = """version: 1
tests:
  - name: three times the failures
    deploys: [{release: b, event: started at 2m weight 0.5, predecessor: a}]
    input:
      - {release: a, usage: "200x11 100x59", errors: "4x11 2x59"}
      - {release: b, usage: "_x12 100x59", errors: "_x12 8x59"}
    expect:
"""


def outcome(*expectations: str, text: str = CANARY) -> Result:
    """Result of the canary with other expectations."""
    whole = text + "".join(f"      - {{{e}}}\n" for e in expectations)
    loaded = load_tests(whole, source="t.yaml")
    return run_test(loaded.file.tests[0], loaded.lines[0], 10, RULES)


@pytest.mark.parametrize(
    "expectation",
    [
        "at: 10m, verdict: regressed, action: rollback, segment: {}",
        "at: 10m, reasons: [error_rate_up], rule: all, not_before: 2m30s",
        "at: 1m, verdict: none",
        "at: 10m, verdict: none, component: c",
        "by: 10m, verdict: inconclusive",
        "never: [hotfix, healthy]",
        "never: rollback, release: a",
    ],
)
def test_what_is_said_passes(expectation: str) -> None:
    """Expectations that the core meets."""
    assert outcome(expectation).failures == ()


@pytest.mark.parametrize(
    ("expectation", "expected", "said"),
    [
        ("at: 10m, verdict: healthy", "verdict: healthy", "verdict: regressed   since"),
        ("at: 10m, segment: {os: x}", "segment: os=x", "segment: everybody   since"),
        ("at: 10m, reasons: latency_up", "reasons: latency_up", "error_rate_up"),
        ("at: 10m, rule: none-such", "rule: none-such", "rule: all   since"),
        ("by: 2m, verdict: regressed", "verdict: regressed", "verdict: "),
        (
            "at: 10m, verdict: regressed, not_before: 9m",
            "not before 9m",
            "regressed  rollback of everybody",
        ),
        ("never: rollback", "never rollback", "rollback at "),
    ],
)
def test_what_is_not_said_fails(expectation: str, expected: str, said: str) -> None:
    """A failure holds both sides, the line, and what was said when."""
    found = outcome(expectation).failures
    assert found[0].line == 9
    assert expected in " ".join(found[0].expected)
    assert said in " ".join(found[0].said)
    assert any("regressed" in line for line in found[0].course) or "2m" in expectation


def test_failing_line_is_that_of_the_expectation() -> None:
    """The second of two expectations is the one that is named."""
    found = outcome("at: 1m, verdict: none", "at: 1m, verdict: healthy")
    assert [failure.line for failure in found.failures] == [10]


@pytest.mark.parametrize(
    ("old", "new", "place", "message", "hint"),
    [
        ("200x11 100", "200x11 1o0", (6, 37), "no part of a series", "write a, axn"),
        ("started at 2m", "startd at 2m", (4, 35), "no phase", "mean started"),
        ("at 2m weight", "at 2x weight", (4, 46), "no time", "such as"),
        ("weight 0.5", "weight 1.5", (4, 56), "no share", "0 to 1"),
        ('errors: "_x12', 'erors: "_x12', (7, 44), "unknown key", "errors"),
        ("8x59", "101x59", (7, 44), "101 of 100 sessions in interval 12", "no more"),
        ("at: 9m", "at: 9", (9, 14), "no time", "9s or 9m"),
        ("at: 9m", "at: 9m, by: 9m", (9, 9), "at and by", "exactly one"),
        ("at: 9m", "not_before: 9m", (9, 9), "neither at", "exactly one"),
        ("verdict: healthy", "verdict: fine", (9, 27), "valid words", "healthy"),
        ("verdict: healthy", "release: b", (9, 9), "expects nothing", "add verdict"),
        ("verdict: healthy", "rule: r, release: c", (9, 27), "in no deploy", "a, b"),
        ("verdict: healthy", "rule: r, not_before: 1h", (9, 27), "after 9m", "at most"),
        ("    input", "    seed: 4\n    input", (5, 5), "noise is missing", "belong"),
        ("version: 1\n", "version: 2\n", (1, 10), "version", "write 1"),
    ],
)
def test_slips_are_told_with_place_and_fix(
    old: str, new: str, place: tuple[int, int], message: str, hint: str
) -> None:
    """Line, column, what is wrong and what to write."""
    text = CANARY + "      - {at: 9m, verdict: healthy}\n"
    assert old in text
    with pytest.raises(RuleFileError) as caught:
        load_tests(text.replace(old, new, 1), source="t.yaml")
    problems = caught.value.problems
    found = next(p for p in problems if message in p.message)
    assert (found.line, found.column) == place
    assert hint in found.hint


def test_all_slips_at_once() -> None:
    """One look at a file tells all that is wrong with it."""
    text = CANARY.replace("100x59", "1oo") + "      - {at: soon, verdict: bad}\n"
    with pytest.raises(RuleFileError) as caught:
        load_tests(text, source="t.yaml")
    assert len(caught.value.problems) == 4


def arrivals(text: str) -> list[dict[str, object]]:
    """The lines of the first test."""
    test = load_tests(text, source="t.yaml").file.tests[0]
    return [msgspec.json.decode(line) for line in lines_of(test, 10)]


def test_lines_are_as_written() -> None:
    """Counts, times and fractions; ticks only where nothing else arrives."""
    text = """version: 1
tests:
  - name: t
    input:
      - {release: a, usage: "3 _ 0.5x1", latency: {"50": "4", over: "1"}, delay: 5s,
         feedback: {"1": "2", "5": "1"}, steps: {pay: "2"}}
    expect: [{at: 1m, verdict: none, release: a}]
"""
    lines = arrivals(text)
    usage = [x for x in lines if x["kind"] == "usage" and "step" not in x]
    assert [((x["ts"] - START_MS) // 1000, x["sessions"]) for x in usage] == [
        (0, 3),
        (20, 0),
        (30, 1),
    ]
    assert all(x["received_at"] == x["ts"] + 15_000 for x in usage)
    latency = next(x for x in lines if x["kind"] == "latency")
    assert (latency["bounds_ms"], latency["counts"]) == ([50.0], [4, 1])
    feedback = next(x for x in lines if x["kind"] == "feedback")
    assert (feedback["count"], feedback["score_sum"]) == (3, 7)
    assert [x["received_at"] for x in lines] == sorted(x["received_at"] for x in lines)
    assert lines[-1]["received_at"] >= START_MS + 60_000


def test_noise_is_drawn_from_the_seed_alone() -> None:
    """Same seed, same lines; another seed, others; no seed, no chance."""
    noisy = CANARY.replace("    input:", "    noise: poisson\n    seed: 1\n    input:")
    ended = "      - {never: healthy}\n"
    assert arrivals(noisy + ended) == arrivals(noisy + ended)
    assert arrivals(noisy + ended) != arrivals(
        noisy.replace("1\n    i", "2\n    i") + ended
    )
    exact = [x["sessions"] for x in arrivals(CANARY + ended) if x["kind"] == "usage"]
    assert set(exact) == {100, 200}


@pytest.mark.parametrize("path", sorted((ROOT / "rules/tests").glob("*.yaml")), ids=str)
def test_shipped_rules_keep_their_promises(path: Path) -> None:
    """The shipped tests fit their schema, and the shipped rules meet them."""
    text = path.read_text("utf-8")
    jsonschema.validate(yaml.safe_load(text), msgspec.json.decode(schema_of_tests()))
    loaded = load_tests(text, source=str(path))
    assert loaded.file.rules is not None
    rules = (path.parent / loaded.file.rules).read_text("utf-8")
    under_test = load_rules(rules, source=loaded.file.rules)
    for test, lines in zip(loaded.file.tests, loaded.lines, strict=True):
        found = run_test(test, lines, loaded.file.interval, under_test)
        assert found.failures == (), found.name


def test_schema_in_tree_is_new() -> None:
    """Run tools/generate_rule_docs.py after a change of the model."""
    assert (ROOT / "rules/tests.schema.json").read_text("utf-8") == schema_of_tests()
