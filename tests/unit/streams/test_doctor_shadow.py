"""``hypercare doctor --shadow`` names what is wrong with a candidate, with the fix."""

from __future__ import annotations

import pytest

from streams.doctor import Finding, Level
from streams.doctor_shadow import (
    Look,
    Said,
    apart_findings,
    group_findings,
    topic_findings,
)
from streams.groups import Group
from streams.settings import Settings
from streams.topics import Difference

SETTINGS = Settings()
OWN = frozenset(
    f"hypercare.shadow.strict.{last}"
    for last in ("state", "verdicts", "recommendations")
)
LOG = ("hypercare.events", 0)
FINE = Said(is_signed=False, mode="shadow")


def levels(found: list[Finding]) -> list[Level]:
    """How bad; what is not well has a fix, each is one line."""
    for one in found:
        assert "\n" not in str(one)
        assert (one.level is Level.OK) == (one.fix == "")
    return [one.level for one in found]


def test_topics_of_candidate_alone_are_told() -> None:
    """Of all differences those of its topics and its group are its own."""
    name = "hypercare.shadow.strict.state"
    lost = Difference(name, "topic", "missing", "4 partitions", "b", True)
    right = Difference("hypercare-shadow-strict", "Read", "no", "yes", "c", True)
    other = Difference("hypercare.usage", "it", "missing", "a", "b", False)
    found = list(topic_findings(SETTINGS, "strict", [other, lost, right]))
    assert levels(found) == [Level.ERROR, Level.ERROR]
    assert [one.what.split(":")[0] for one in found] == [lost.topic, right.topic]
    assert [one.fix for one in found] == [
        "`hypercare topics create --shadow strict`",
        "c",
    ]
    assert levels(list(topic_findings(SETTINGS, "strict", [other]))) == [Level.OK]


@pytest.mark.parametrize(
    ("members", "committed", "expected"),
    [
        ((), 0, [Level.WARNING, Level.WARNING]),
        (("a on b",), 49_000, [Level.OK, Level.OK]),
    ],
)
def test_candidate_that_stands_still_is_named(
    members: tuple[str, ...], committed: int, expected: list[Level]
) -> None:
    """Nobody in its group, and what waits for it in the log."""
    group = Group("Stable", members, {LOG: committed})
    found = list(group_findings(SETTINGS, "strict", group, {LOG: 50_000}))
    assert levels(found) == expected
    assert f"{50_000 - committed} records of the log wait" in found[1].what
    assert "hypercare-shadow-strict" in found[0].what


@pytest.mark.parametrize(
    ("topics", "said", "words"),
    [
        (set(), (), "nobody acts on it: 0 looked at"),
        ({"hypercare.shadow.strict2.executions"}, (FINE,), "nobody acts on it: 1"),
        ({"hypercare.shadow.strict.executions"}, (FINE,), "lives under its names"),
        (set(), (FINE, Said(True, "shadow")), "1 of the newest 2 recommendations"),
        (set(), (Said(False, "auto"),), "1 of the newest 1 recommendations"),
        (set(), (Said(False, ""),), "not in mode shadow"),
    ],
)
def test_words_that_somebody_could_act_on_are_named(
    topics: set[str], said: tuple[Said, ...], words: str
) -> None:
    """An installation under its names, and recommendations that it did not write."""
    look = Look(OWN | topics, {}, said)
    (found,) = apart_findings(SETTINGS, "strict", look)
    assert words in found.what
    fine = words.startswith("nobody")
    assert levels([found]) == [Level.OK if fine else Level.ERROR]
