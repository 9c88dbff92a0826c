"""A release brings several components: the one that does harm is named, no more."""

from __future__ import annotations

from typing import Any

import pytest

from detector.engine import Partition
from tests.unit.detector.traffic import (
    QUICK,
    Event,
    Log,
    at,
    deploy,
    error,
    feed,
    recommendations,
    restored,
    run,
    said,
    usage,
)

OLD = {"cart": "6", "search": "2"}
NEW = {"cart": "7", "search": "3"}
Failed = dict[str, int]
"""Failed sessions by component, of 200 each."""

BEFORE, UNTIL = 6, 40


def records(window: int, release: str, versions: dict[str, str], bad: Failed) -> Any:
    """Usage and errors of one window, about each component."""
    for name, version in versions.items():
        about = {"component": name, "component_version": version}
        yield usage(window, release, 200, **about)
        yield error(window, release, bad.get(name, 2), **about)


def log_of(bad: Failed, old: dict[str, str] | None = None, **changes: Any) -> Log:
    """Release 2 brings both components; ``old`` are those that ran before, if any."""
    log, old = Log(), OLD if old is None else old
    told = changes.pop("told", NEW)

    def before(window: int) -> list[Event]:
        main = [usage(window, "1", 400), error(window, "1", 4)]
        return [*main, *records(window, "1", old, {})]

    for window in range(BEFORE):
        log.add(at(window + 1) + 500, *before(window))
    start = {"predecessor": "1", "strategy": "canary", "components": told, **changes}
    log.add(at(BEFORE), deploy(BEFORE, "2", **start))
    for window in range(BEFORE, UNTIL):
        after = records(window, "2", NEW, bad)
        log.add(at(window + 1) + 500, *before(window), *after)
    return log


def first(log: Log) -> tuple[str, str, str | None, str | None]:
    """Action, release, component and target of the first recommendation."""
    r = recommendations(run(log))[0]
    return r["action"], r["release"], r["component"], r["target"]


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (OLD, ("replace", "2", "cart", "6")),
        ({}, ("withdraw", "2", "cart", None)),
        ({"cart": "7", "search": "2"}, ("withdraw", "2", "cart", None)),
    ],
)
def test_bad_component_alone_goes(
    old: dict[str, str], expected: tuple[str, str, str | None, str | None]
) -> None:
    """It is replaced where another version ran before it, else taken out."""
    assert first(log_of({"cart": 20}, old)) == expected


def test_component_goes_with_the_verdict() -> None:
    """The recommendation and the verdict are of the same window; the other component
    and the release as a whole are recommended against nowhere."""
    outputs = run(log_of({"cart": 20}))
    opened = recommendations(outputs)[0]
    verdict = next(
        v for v in said(outputs, "verdicts") if v["recommendation_id"] == opened["id"]
    )
    assert verdict["verdict"] == "regressed"
    assert verdict["decided_at"] == opened["decided_at"]
    assert {r["component"] for r in recommendations(outputs)} == {"cart"}
    assert "component cart" in opened["sentence"]
    assert opened["rate_ratio"][1] == pytest.approx(10.0, rel=0.05)


def test_effects_tell_them_apart() -> None:
    """Without the cart 108 sessions a minute are spared, as by a rollback."""
    (*_, last) = recommendations(run(log_of({"cart": 20})))
    found = {e["action"]: e["spared_per_min"] for e in last["effects"]}
    assert list(found) == ["replace", "rollback", "hotfix"]
    assert found["replace"] == pytest.approx(108.0, rel=0.05)
    assert found["rollback"] == pytest.approx(108.0, rel=0.1)


def test_harm_in_both_goes_back() -> None:
    """Where all components fail more the release is rolled back."""
    assert first(log_of({"cart": 20, "search": 20})) == ("rollback", "2", None, "1")


def test_unnamed_components_are_no_parts() -> None:
    """Only what the deploy names can be taken out."""
    assert first(log_of({"cart": 20}, told={})) == ("rollback", "2", None, "1")


def test_forbidden_rollback_still_withdraws() -> None:
    """A schema change can not go back; a component can go off."""
    assert first(log_of({"cart": 20}, {}, rollback="forbidden"))[0] == "withdraw"


def test_spreading_harm_begins_anew() -> None:
    """Once other components fail too, another recommendation takes its place."""
    log = log_of({"cart": 20}, {})
    for window in range(UNTIL, UNTIL + 30):
        log.add(
            at(window + 1) + 500,
            usage(window, "1", 400),
            error(window, "1", 4),
            *records(window, "2", NEW, {"cart": 20, "search": 20}),
        )
    found = recommendations(run(log))
    told = list(dict.fromkeys((r["component"], r["action"], r["state"]) for r in found))
    assert told == [
        ("cart", "withdraw", "open"),
        ("cart", "withdraw", "superseded"),
        (None, "rollback", "open"),
    ]
    assert len({r["id"] for r in found}) == 2


def test_component_off_recovers() -> None:
    """Told or not, without the component the release is well again."""
    log = log_of({"cart": 20}, {})
    for window in range(UNTIL, UNTIL + 60):
        log.add(
            at(window + 1) + 500,
            usage(window, "1", 800),
            error(window, "1", 8),
            *records(window, "2", {"search": "3"}, {"search": 1}),
        )
    assert [r["state"] for r in recommendations(run(log))][-1] == "withdrawn"
    log = log_of({"cart": 20}, {})
    log.add(at(UNTIL), deploy(UNTIL, "2", phase="withdrawn", component="cart"))
    assert [r["state"] for r in recommendations(run(log))][-1] == "open"
    log.windows(range(UNTIL, UNTIL + 3), {"1": (800, 8), "2": (200, 2)})
    assert [r["state"] for r in recommendations(run(log))][-1] == "executed"


@pytest.mark.parametrize("cut", [9, 20, 30])
def test_restore_changes_nothing(cut: int) -> None:
    """A partition that is written and read in between says the same, byte by byte."""
    log = log_of({"cart": 20})
    whole = [o.value for o in run(log)]
    begun = Partition(0, QUICK)
    parts = feed(begun, log.records[:cut])
    parts += feed(restored(begun), log.records[cut:])
    assert [o.value for o in parts] == whole


def test_component_deploy_names_its_version() -> None:
    """A component that is deployed alone may name its release and its version, or its
    version in place of a release: both say the same."""
    found = []
    for told in ({"component_version": "7"}, {"release": "7"}):
        log = Log()
        for window in range(BEFORE):
            log.add(at(window + 1) + 500, *records(window, "1", OLD, {}))
        start = {"release": "1", "component": "cart", "predecessor": "6", **told}
        log.add(at(BEFORE), deploy(BEFORE, **start))
        for window in range(BEFORE, UNTIL):
            old = records(window, "1", OLD, {})
            new = records(window, "1", {"cart": "7"}, {"cart": 20})
            log.add(at(window + 1) + 500, *old, *new)
        found.append([(o.topic, o.value) for o in run(log)])
        assert first(log) == ("replace", "7", "cart", "6")
    assert found[0] == found[1]
