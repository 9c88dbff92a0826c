"""Components beside a release: who is blamed, what is recommended, when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from detector import state
from detector.engine import Partition
from tests.unit.detector.traffic import (
    QUICK,
    Event,
    Log,
    at,
    deploy,
    error,
    recommendations,
    restored,
    run,
    said,
    usage,
)

OFF, ON = {"promo": "off"}, {"promo": "on"}
FLAG: dict[str, Any] = {"component": "promo", "strategy": "flag"}
CANARY: dict[str, Any] = {"predecessor": "1", "strategy": "canary"}
BEFORE = 6
"""Windows before any deploy."""

Cells = dict[tuple[str, bool], tuple[int, int]]
"""(release, flag) to (sessions, failed sessions)."""


def arms(window: int, cells: Cells) -> list[Event]:
    """Usage and errors of one window."""
    events = []
    for (release, runs), (sessions, failed) in cells.items():
        changes = ON if runs else OFF
        events.append(usage(window, release, sessions, changes=changes))
        if failed:
            events.append(error(window, release, failed, changes=changes))
    return events


def log_of(
    cells: Cells, *deploys: Event, windows: int = 40, log: Log | None = None
) -> Log:
    """Calm windows of release 1 alone, deploys, and windows of the cells."""
    if log is None:
        log = Log()
        for window in range(BEFORE):
            log.add(at(window + 1) + 500, *arms(window, {("1", False): (1000, 10)}))
    first = log.records[-1].timestamp_ms // 10_000 - at(0) // 10_000
    log.add(at(first), *deploys)
    for window in range(first, first + windows):
        log.add(at(window + 1) + 500, *arms(window, cells))
    return log


def crossed(main: int, flag: int) -> Cells:
    """Every combination, with failures times ``main`` and times ``flag``."""
    return {
        (release, runs): (500, 5 * (main if release == "2" else 1) * flag**runs)
        for release in "12"
        for runs in (False, True)
    }


def same_units(factor: int) -> Cells:
    """The flag is on for the units of release 2 and for nobody else."""
    return {("1", False): (500, 5), ("2", True): (500, 5 * factor)}


BOTH = (deploy(BEFORE, "2", **CANARY), deploy(BEFORE, "on", **FLAG))


def actions(log: Log) -> list[tuple[str, str]]:
    """Who was first recommended against, and what."""
    found = {}
    for r in recommendations(run(log)):
        found.setdefault(r["component"] or r["release"], r["action"])
    return list(found.items())


def last_words(log: Log) -> dict[str, tuple[str, str, str]]:
    """Last verdict, first reason and action of every candidate."""
    return {
        v["component"] or v["release"]: (v["verdict"], v["reasons"][0], v["action"])
        for v in said(run(log), "verdicts")
    }


def test_bad_flag_is_withdrawn() -> None:
    """A flag whose units fail beside others of the same release is switched off."""
    log = log_of(
        {("1", False): (800, 8), ("1", True): (200, 20)}, deploy(BEFORE, "on", **FLAG)
    )
    first = recommendations(run(log))[0]
    assert (first["action"], first["component"], first["release"]) == (
        "withdraw",
        "promo",
        "on",
    )
    assert first["rate_ratio"][1] == pytest.approx(10.0, rel=0.05)
    assert "promo on" in first["sentence"]
    (top,) = said(run(log), "verdicts")[-1]["top_signatures"]
    assert top["candidate"] == pytest.approx(2.5 * top["control"])


@pytest.mark.parametrize(
    ("main", "flag", "expected"),
    [
        (8, 1, [("2", "rollback")]),
        (1, 8, [("promo", "withdraw")]),
        (6, 6, [("2", "rollback"), ("promo", "withdraw")]),
        (1, 1, []),
    ],
)
def test_crossed_changes_are_told_apart(
    main: int, flag: int, expected: list[tuple[str, str]]
) -> None:
    """Release and flag are judged each by itself, and both when both are bad."""
    log = log_of(crossed(main, flag), *BOTH)
    assert actions(log) == expected
    words = last_words(log)
    for name, factor in (("2", main), ("promo", flag)):
        assert (words[name][0] == "regressed") == (factor > 1)
    if max(main, flag) > 1 == min(main, flag):  # with failures enough to say so
        assert "healthy" in {word for word, _, _ in words.values()}


def test_same_units_name_the_set() -> None:
    """Two changes in the same units from the same window on are held, not blamed."""
    log = log_of(same_units(8), *BOTH)
    assert actions(log) == []
    assert last_words(log) == {
        "2": ("inconclusive", "blame_unclear", "hold"),
        "promo": ("inconclusive", "blame_unclear", "hold"),
    }
    by_name = {v["component"] or v["release"]: v for v in said(run(log), "verdicts")}
    assert by_name["2"]["competing_changes"] == {"promo": "on"}
    assert by_name["promo"]["competing_releases"] == ["2"]
    assert by_name["2"]["sentence"].endswith("The others: promo on.")


def test_harm_with_the_flag_blames_it() -> None:
    """A flag after half an hour without harm is what has changed; the release waits."""
    log = log_of(
        {("1", False): (500, 5), ("2", False): (500, 5)}, deploy(BEFORE, "2", **CANARY)
    )
    log = log_of(same_units(8), deploy(46, "on", **FLAG), log=log)
    assert actions(log) == [("promo", "withdraw")]
    assert last_words(log)["2"] == ("inconclusive", "blame_unclear", "watch")


def test_harm_before_the_flag_blames_the_release() -> None:
    """What failed before the flag came is not laid at its door."""
    calm: Cells = {("1", False): (500, 5), ("2", False): (500, 5)}
    log = log_of(calm, deploy(BEFORE, "2", **CANARY), windows=6)
    log = log_of({**calm, ("2", False): (500, 40)}, log=log, windows=2)
    log = log_of(same_units(8), deploy(14, "on", **FLAG), log=log)
    assert actions(log) == [("2", "rollback")]


def test_overlap_settles_an_open_question() -> None:
    """Once the flag reaches units of the old release, only the guilty one is blamed."""
    log = log_of(same_units(8), *BOTH, windows=20)
    assert actions(log_of(crossed(1, 8), log=log)) == [("promo", "withdraw")]


def test_withdrawn_rival_leaves_no_trace() -> None:
    """Harm that went with the withdrawn flag is not held against the release."""
    log = log_of(same_units(8), *BOTH)
    calm: Cells = {("1", False): (500, 5), ("2", False): (500, 5)}
    log = log_of(calm, deploy(46, "on", phase="withdrawn", **FLAG), log=log)
    assert actions(log) == []


def test_harm_after_withdrawal_is_blamed() -> None:
    """Harm that stays when the flag is withdrawn is the release's."""
    log = log_of(same_units(8), *BOTH)
    lasting: Cells = {("1", False): (500, 5), ("2", False): (500, 40)}
    log = log_of(lasting, deploy(46, "on", phase="withdrawn", **FLAG), log=log)
    assert actions(log) == [("2", "rollback")]


def test_withdrawal_ends_the_episode() -> None:
    """The record that a component was withdrawn executes its recommendation."""
    log = log_of(crossed(1, 8), *BOTH)
    log.add(at(46), deploy(46, "on", phase="withdrawn", **FLAG))
    last = recommendations(run(log))[-1]
    assert (last["component"], last["state"]) == ("promo", "executed")


@pytest.mark.parametrize(
    ("more", "action", "target"),
    [
        ({"strategy": "rolling", "predecessor": "off"}, "replace", "off"),
        ({"strategy": "rolling"}, "withdraw", None),
        ({"strategy": "flag", "predecessor": "off"}, "withdraw", "off"),
    ],
)
def test_last_good_version_is_put_back(
    more: dict[str, Any], action: str, target: str | None
) -> None:
    """A component goes back where its last good version is known, a flag goes off."""
    log = log_of(
        {("1", False): (800, 8), ("1", True): (200, 20)},
        deploy(BEFORE, "on", component="promo", **more),
    )
    first = recommendations(run(log))[0]
    assert (first["action"], first["target"]) == (action, target)


def test_flags_may_share_a_version() -> None:
    """Two flags that are both "on" are two candidates."""
    log = Log()
    for window in range(BEFORE):
        log.add(at(window + 1) + 500, usage(window, "1", 1000), error(window, "1", 10))
    flags = [
        deploy(BEFORE, "on", component=name, strategy="flag")
        for name in ("promo", "search")
    ]
    log.add(at(BEFORE), *flags)
    for window in range(BEFORE, 40):
        events = []
        for runs in ({}, {"promo": "on"}, {"search": "on"}):
            events.append(usage(window, "1", 300, changes=runs))
            failed = 24 if "search" in runs else 3
            events.append(error(window, "1", failed, changes=runs))
        log.add(at(window + 1) + 500, *events)
    assert actions(log) == [("search", "withdraw")]
    assert last_words(log)["promo"] == ("inconclusive", "undecided", "watch")


def test_silent_failures_are_unreliable() -> None:
    """Where failures do not say what they ran, a component is not called healthy."""
    log = Log()
    log.add(at(0), deploy(0, "on", **FLAG))
    for window in range(30):
        events = [usage(window, "1", 500, changes=runs) for runs in (OFF, ON)]
        log.add(at(window + 1) + 500, *events, error(window, "1", 10))
    assert last_words(log)["promo"] == ("unreliable", "unit_mismatch", "hold")


def test_flag_for_everybody_has_its_past() -> None:
    """A flag that all units run at once is compared with what was before it."""
    log = Log()
    for window in range(400):
        log.add(at(window + 1) + 500, *arms(window, {("1", False): (1000, 10)}))
    log = log_of(
        {("1", True): (1000, 100)}, deploy(400, "on", **FLAG), log=log, windows=45
    )
    first = recommendations(run(log))[0]
    assert (first["component"], first["action"]) == ("promo", "withdraw")
    assert "its own past" in first["sentence"]


def test_batches_and_restores_change_nothing() -> None:
    """The same bytes come out for any batch size and after a restore at any record."""
    log = log_of(same_units(8), *BOTH, windows=12)
    log = log_of(crossed(1, 8), log=log, windows=12)
    whole = [(o.topic, o.value) for o in run(log)]
    assert [(o.topic, o.value) for o in run(log, batch=3)] == whole
    partition, found = Partition(0, QUICK), []
    for record in log.records:
        found += partition.apply([record]).records
        partition = restored(partition)
    assert [(o.topic, o.value) for o in found] == whole
    assert state.all_blocks(partition).keys() == {
        "forms",
        "partition",
        "rows/shop/production",
        "scope/shop/production",
    }
