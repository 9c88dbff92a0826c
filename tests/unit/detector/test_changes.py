"""Telemetry by the changes it carries: what counts for whom, and beside what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from detector.changes import (
    COMPONENTS_MAX,
    GROUPS_MAX,
    OTHER_COMPONENT,
    Changes,
    close_apart,
    count_apart,
    is_told,
    watch_components,
    widen_apart,
)
from detector.events import Error, Telemetry, Usage
from detector.mix import Exposures, Mix
from detector.releases import Release

END_MS = 10_000


def component(number: int, name: str, version: str = "on") -> Release:
    """A component candidate."""
    return Release(version, number, 0, component=name)


def watching(*releases: Release) -> Changes:
    """Changes with these candidates under watch from the first window on."""
    changes = Changes()
    watch_components(changes, list(releases), 0)
    return changes


def usage(**more: Any) -> Telemetry:
    """Usage of release 1 in the first window."""
    return Usage(ts=0, window_s=10, service="shop", release="1", **more)


def failure(**more: Any) -> Telemetry:
    """A failure of release 1 in the first window."""
    return Error(ts=0, window_s=10, service="shop", release="1", **more)


def groups_of(
    changes: Changes, *events: Telemetry
) -> list[tuple[str, tuple[int, ...]]]:
    """In which groups records are counted, in order."""
    for event in events:
        counted = count_apart(changes, event, 1, END_MS)
        assert counted is not None
        counted.window.cell(1, 0)
    return list(close_apart(changes, END_MS))


def test_nothing_watched_costs_nothing() -> None:
    """Without a component under judgement no record is counted twice."""
    changes = Changes()
    assert count_apart(changes, usage(), 1, END_MS) is None
    assert msgspec.to_builtins(changes) == msgspec.to_builtins(Changes())


@pytest.mark.parametrize(
    ("more", "group"),
    [
        ({"changes": {"cart": "on"}}, ("", (7,))),
        ({"changes": {"cart": "off"}}, ("", ())),
        ({"changes": {"other": "on"}}, ("", ())),
        ({"component": "cart", "component_version": "on"}, ("cart", (7,))),
        ({"component": "cart", "component_version": "off"}, ("cart", ())),
        ({"component": "menu", "component_version": "on"}, (OTHER_COMPONENT, ())),
        ({"component": "menu", "changes": {"cart": "on"}}, (OTHER_COMPONENT, (7,))),
        ({"changes": {"cart": "on", "promo": "v2"}}, ("", (7, 9))),
    ],
)
def test_version_in_force_decides(
    more: dict[str, Any], group: tuple[str, tuple[int, ...]]
) -> None:
    """A record belongs to a component whose version it names, however it names it."""
    changes = watching(component(7, "cart"), component(9, "promo", "v2"))
    assert groups_of(changes, usage(**more)) == [group]


def test_newest_components_are_watched() -> None:
    """Beyond the limit the components deployed first make room."""
    every = [component(n, f"c{n}") for n in range(1, COMPONENTS_MAX + 3)]
    watched = watching(*every).watched
    assert [c.number for c in watched] == list(range(3, COMPONENTS_MAX + 3))


def test_combinations_are_bounded() -> None:
    """Units of a combination without room are left out, and counted as such."""
    names = [component(n, f"c{n}") for n in range(1, COMPONENTS_MAX + 1)]
    changes = watching(*names)
    for bits in range(2 * GROUPS_MAX):
        runs = {f"c{n + 1}": "on" for n in range(COMPONENTS_MAX) if bits >> n & 1}
        count_apart(changes, usage(changes=runs), 1, END_MS)
    assert len(changes.groups) == GROUPS_MAX
    assert changes.overflow == GROUPS_MAX


def test_dead_combinations_make_room() -> None:
    """Combinations with a component that is over are forgotten once it gets tight."""
    names = [component(n, f"c{n}") for n in range(1, COMPONENTS_MAX + 1)]
    changes = watching(*names)
    for bits in range(2 * GROUPS_MAX):
        runs = {f"c{n + 1}": "on" for n in range(COMPONENTS_MAX) if bits >> n & 1}
        count_apart(changes, usage(changes=runs), 1, END_MS)
    close_apart(changes, END_MS)
    fresh = component(99, "fresh")
    watch_components(changes, [fresh], END_MS)
    assert groups_of(changes, usage(changes={"fresh": "on"})) == [("", (99,))]


def test_failures_are_told_before() -> None:
    """The window in which failures first say what they run does not count yet."""
    changes = watching(component(7, "cart"))
    count_apart(changes, usage(changes={"cart": "on"}), 1, END_MS)
    assert not is_told(changes, "cart", "error", 2 * END_MS)
    count_apart(changes, failure(changes={"x": "1"}), 1, END_MS)
    assert not is_told(changes, "cart", "error", END_MS)
    assert is_told(changes, "cart", "error", 2 * END_MS)


def test_a_component_tells_of_itself() -> None:
    """A failure of one component says nothing about whether another one ran."""
    changes = watching(component(7, "cart"), component(9, "promo"))
    count_apart(changes, failure(component="cart"), 1, END_MS)
    assert is_told(changes, "cart", "error", 2 * END_MS)
    assert not is_told(changes, "promo", "error", 2 * END_MS)


def test_wider_windows_keep_counts() -> None:
    """Counts of narrow windows are those of the wide one that covers them."""
    changes = watching(component(7, "cart"))
    for end_ms in (10_000, 20_000, 30_000):
        counted = count_apart(changes, usage(changes={"cart": "on"}), 1, end_ms)
        assert counted is not None
        counted.window.cell(1, 0).weighted_units += 5.0
    widen_apart(changes, lambda end_ms: -(-end_ms // 20_000) * 20_000)
    units = [
        sum(w.cells[1, 0].weighted_units for w in close_apart(changes, end).values())
        for end in (20_000, 40_000)
    ]
    assert units == [10.0, 5.0]


def exposed(*cells: tuple[int, tuple[int, ...], float]) -> Exposures:
    """Exposures of a main release: (side, other changes, units) in one stratum."""
    found = Exposures(2)
    for side, others, units in cells:
        found.add(side, [("", 0, others), ("", 0, ())], 0, units, others)
    return found


def noted(*windows: Exposures) -> Mix:
    """The mix after these windows."""
    mix = Mix()
    for window in windows:
        mix.note(window)
    return mix


def test_overlap_is_compared_closely() -> None:
    """With units that differ in the candidate alone nothing else is looked at."""
    mix = noted(exposed((0, (7,), 50), (0, (), 50), (1, (7,), 40), (1, (), 60)))
    assert (mix.level, mix.differing()) == (0, [])


def test_same_units_are_pooled() -> None:
    """A change that all of the candidate's units run, and no other, is its rival."""
    mix = noted(exposed((0, (7,), 100), (1, (), 100)))
    assert (mix.level, mix.differing()) == (1, [7])


def test_change_of_the_control_is_no_rival() -> None:
    """What the control runs and the candidate does not can not have harmed it."""
    mix = noted(exposed((0, (), 100), (1, (7,), 100)))
    assert (mix.level, mix.differing()) == (1, [])


def test_few_testers_are_no_overlap() -> None:
    """A handful of units elsewhere can not carry the comparison alone."""
    mix = noted(exposed((0, (7,), 100), (1, (7,), 2), (1, (), 98)))
    assert mix.level == 1


def test_new_overlap_drops_mixed_evidence() -> None:
    """Once arms can be told apart, what was seen while they could not is dropped."""
    mix = noted(exposed((0, (7,), 100), (1, (), 100)))
    apart = exposed((0, (7,), 50), (0, (), 50), (1, (7,), 50), (1, (), 50))
    dropped = [mix.note(apart) for _ in range(10)]
    assert dropped.count(True) == 1
    assert mix.level == 0


def test_window_without_units_changes_nothing() -> None:
    """A candidate that is not seen keeps what is known of it."""
    mix = noted(exposed((0, (7,), 100), (1, (), 100)))
    before = msgspec.to_builtins(mix)
    assert not mix.note(exposed((1, (), 100)))
    assert msgspec.to_builtins(mix) == before
