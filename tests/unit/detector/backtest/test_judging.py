"""History through the core: whole, by service, and its shares with intervals."""

from __future__ import annotations

import heapq

import msgspec
import numpy as np
import pytest

from detector.backtest import by_service, courses_of, judge, share
from detector.backtest.courses import without_rulesets
from detector.replay import Replay
from detector.rulefile import load_rules
from detector.simulate import Shop, burst, ramp
from detector.verdicts import VerdictRecord

RULES = load_rules(
    "version: 1\nrules: [{name: all, persistence_s: 30, strata: [{attr: os}]}]\n"
    "end_of_rules: true\n",
    source="test",
)
START_MS = 1_800_000_000_000


def history() -> list[bytes]:
    """Three services of which one has a bad release, in order of arrival."""
    weight = ramp([(10, 0.3)])
    shops = [
        Shop(service="bad", weight=weight, harm=burst(12, 10**9, 8.0)),
        Shop(service="well", weight=weight),
        Shop(service="also-well", weight=weight),
    ]
    rng = np.random.default_rng(7)
    streams = [shop.windows(rng, START_MS, 60) for shop in shops]
    lines = []
    for group in zip(*streams, strict=True):
        lines += [msgspec.json.encode(records) for records in group]
        # One line about several services, as a gateway writes it.
        lines.append(
            msgspec.json.encode(
                list(heapq.merge(*([r[0]] for r in group), key=lambda r: r["ts"]))
            )
        )
    return lines


def test_parts_decide_as_the_whole() -> None:
    """By service or all at once: the same words about each release, to the letter."""
    lines = history()
    whole = courses_of(judge(lines, RULES))
    apart = {}
    for part in by_service(lines).values():
        apart.update(courses_of(judge(part, RULES)))
    assert set(apart) == set(whole)
    for key, course in whole.items():
        assert words(apart[key].steps) == words(course.steps)
    assert [k.service for k, c in whole.items() if c.taken_back] == ["bad"]


def words(steps: list) -> list[object]:
    """What was said, without the places in the log, which the parts do not share."""
    return [
        msgspec.structs.replace(s.record, offset=0)
        if isinstance(s.record, VerdictRecord)
        else msgspec.structs.replace(s.record, evidence_offset=0)
        for s in steps
    ]


def test_judging_says_what_replay_prints() -> None:
    """Same decisions at the same times as ``hypercare replay``."""
    lines = history()
    printed = [msgspec.json.decode(line) for line in Replay(RULES).feed(lines)]
    steps = judge(lines, RULES).steps
    verdicts = [s for s in steps if isinstance(s.record, VerdictRecord)]
    assert [
        (line["decided_at"], line["release"], line["verdict"])
        for line in printed
        if line["type"] == "verdict"
    ] == [(s.decided_ms, s.record.release, s.record.verdict) for s in verdicts]


def test_recorded_rule_sets_can_be_left_out() -> None:
    """A rule set of the recording would take the place of the one under test."""
    told = b'[{"kind":"command","name":"ruleset","service":"s"},{"kind":"tick"}]'
    alone = b'{"kind":"command","name":"ruleset","service":"s"}'
    assert list(without_rulesets([told, alone, b"{}"])) == [b'[{"kind":"tick"}]', b"{}"]


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 100, 0.0, 0.0362), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0)],
)
def test_exact_interval(hits: int, of: int, low: float, high: float) -> None:
    """Limits of Clopper and Pearson, from their tables."""
    found = share(hits, of)
    assert found[2:] == pytest.approx((low, high), abs=5e-5)
