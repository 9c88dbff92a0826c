"""Labels into precision, and the choice of one change of a knob."""

from __future__ import annotations

import json

import pytest

from detector.backtest.courses import ReleaseKey
from detector.backtest.precision import Labels, precision_by_rule
from detector.backtest.proposing import (
    Knob,
    Measured,
    best,
    knobs,
    truth_of,
)
from detector.rulefile import BUILT_IN_RULE


def recommended(name: str, rule: str = "r", **more: object) -> bytes:
    """A recommendation as the audit keeps it; its release has its name."""
    body = {
        "id": name,
        "revision": 1,
        "action": "rollback",
        "service": "s",
        "environment": "production",
        "release": name,
        "component": None,
        "decided_at": 5,
        "reasons": ["error_rate_up"],
        "rule": rule,
        **more,
    }
    return json.dumps(body).encode()


def said(name: str, word: str, at: int) -> bytes:
    """A label as the audit keeps it."""
    body = {"command": "label", "recommendation_id": name, "value": word, "at": at}
    return json.dumps(body).encode()


def read(*lines: bytes) -> Labels:
    """Labels of these lines."""
    found = Labels()
    found.read(lines)
    return found


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        ([], None),
        (["right"], "right"),
        (["right", "wrong"], "wrong"),
        (["wrong", "right"], "right"),
        (["late", "right"], "late"),
        (["late", "wrong"], "wrong"),
        (["late", "wrong", "right"], "right"),
    ],
)
def test_last_word_counts(words: list[str], outcome: str | None) -> None:
    """Somebody who looks again may think otherwise, in whatever order it is read."""
    lines = [said("a", word, at) for at, word in enumerate(words)]
    assert read(recommended("a"), *reversed(lines)).word_of("a") == outcome


def test_precision_by_rule() -> None:
    """Each recommendation once, late ones right, unlabelled ones apart; worst first."""
    labels = read(
        recommended("a"),
        recommended("a", revision=2, rule="later"),
        recommended("b"),
        recommended("c", rule="other"),
        recommended("d", rule="other"),
        recommended("drill", test=True),
        b'{"verdict": "healthy", "rule": "r", "service": "s"}',
        said("a", "late", 1),
        said("c", "wrong", 1),
        said("d", "right", 1),
        said("x", "right", 1),
        b"no json",
    )
    found = precision_by_rule(labels)
    assert [(p.rule, p.right, p.late, p.wrong, p.unlabelled) for p in found] == [
        ("other", 1, 0, 1, 0),
        ("r", 0, 1, 0, 1),
    ]
    assert found[0].precision[:2] == (1, 2)
    assert found[0].precision[2:] == pytest.approx((0.0126, 0.9874), abs=1e-4)
    assert (labels.unknown, labels.unreadable) == (["x"], 1)


def test_labels_of_a_recording() -> None:
    """In the log a label is a command, alone or in an array."""
    log = {
        "kind": "command",
        "name": "label",
        "recommendation_id": "a",
        "value": "wrong",
        "ts": 3,
    }
    assert read(recommended("a"), json.dumps([log]).encode()).word_of("a") == "wrong"


def test_truth_of_releases() -> None:
    """A release that was rightly found once is harmful, whatever else was wrong."""
    labels = read(
        recommended("a"),
        recommended("a2", release="a"),
        recommended("b"),
        recommended("c"),
        said("a", "wrong", 1),
        said("a2", "late", 1),
        said("b", "wrong", 1),
    )
    found = truth_of(labels)
    names = [{key.release for key in keys} for keys in found]
    assert names == [{"a"}, {"a"}, {"b"}]


def result(
    right: str, wrong: str, unlabelled: str = "", late_ms: float | None = None
) -> Measured:
    """What rules do, with a letter for each release."""
    sets = (
        frozenset(ReleaseKey("s", "p", name, None) for name in names)
        for names in (right, wrong, unlabelled)
    )
    return Measured(*sets, 1000.0, late_ms)


def knob(name: str) -> Knob:
    """Some knob."""
    return Knob("r", name, 1, 2)


def test_best_loses_nothing_and_adds_nothing() -> None:
    """Fewest wrong ones among those that keep every right one; the first of equals."""
    before = result("ab", "xy")
    tried = [
        (knob("loses"), result("a", "")),
        (knob("adds"), result("ab", "", "z")),
        (knob("swaps"), result("ab", "w")),
        (knob("some"), result("ab", "x")),
        (knob("all"), result("ab", "")),
        (knob("more"), result("ab", "")),
    ]
    found = best(before, tried, sooner=False)
    assert found is not None
    assert found[0].key == "all"
    assert best(before, tried[:3], sooner=False) is None
    assert best(before, [(knob("same"), before)], sooner=False) is None


def test_best_for_late_ones_is_sooner() -> None:
    """Sooner for those called late, and nobody else disturbed."""
    before = result("ab", "x", late_ms=900.0)
    tried = [
        (knob("disturbs"), result("ab", "x", "z", late_ms=100.0)),
        (knob("a bit"), result("ab", "x", late_ms=800.0)),
        (knob("most"), result("ab", "x", late_ms=500.0)),
    ]
    found = best(before, tried, sooner=True)
    assert found is not None
    assert found[0].key == "most"
    assert best(before, [(knob("same"), before)], sooner=True) is None


@pytest.mark.parametrize("sooner", [False, True])
def test_knobs_turn_one_way(sooner: bool) -> None:
    """All of them towards fewer alarms, or all towards sooner ones."""
    tried = knobs(BUILT_IN_RULE, ["latency_up", "sample_ratio_off"], sooner=sooner)
    assert {k.key for k in tried} == {
        "persistence_s",
        "signals.latency.margin",
        "min_exposure",
        "alpha",
    }
    for one in tried:
        smaller = one.after < one.before
        assert smaller is (sooner if one.key != "alpha" else not sooner)
