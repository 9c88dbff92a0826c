"""Increases of counters: all that can be told is told once, whatever restarts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from streams.prometheus.convert import SourceLines
from streams.prometheus.counters import Increases, Series, SeriesTable, Targets
from streams.prometheus.mapping import Part, Source
from streams.prometheus.naming import Namer

PROCESS = {"__name__": "requests_total", "job": "shop", "instance": "a"}
STEPS = st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.booleans()))


@dataclass
class Course:
    """What happened at a boundary: increase, value shown, whether it was scraped."""

    more: int
    value: int
    is_read: bool


def courses(steps: list[tuple[int, bool, bool]], *, always: bool) -> list[Course]:
    """A counter that restarts; a restart is seen where the new value is below."""
    made: list[Course] = []
    value = 0
    for more, restarts, is_read in steps:
        value = more if restarts and more < value else value + more
        made.append(Course(more, value, is_read or always))
    return made


def told(made: list[Course]) -> tuple[dict[int, float], Increases]:
    """Increases by boundary, and what counted them."""
    series = SeriesTable().of(PROCESS)
    increases, targets = Increases(), Targets()
    found = {}
    for at, one in enumerate(made):
        present = {series: float(one.value)} if one.is_read else {}
        for increase in increases.step(at, present, targets).values():
            found[at] = increase
        targets.note(at, present)
    return found, increases


@given(STEPS)
def test_differences_sum_to_the_increase(steps: list[tuple[int, bool, bool]]) -> None:
    """Without gaps every count but the base is told, over any restarts."""
    made = courses(steps, always=True)
    found, increases = told(made)
    assert sum(one.more for one in made[1:]) == sum(found.values())
    assert (0, set()) == (increases.gaps, increases.dropped)


@given(STEPS)
def test_no_window_gets_the_counts_of_another(
    steps: list[tuple[int, bool, bool]],
) -> None:
    """With gaps a window has its own count or none, and what has none is counted."""
    made = courses(steps, always=False)
    found, increases = told(made)
    pairs = enumerate(itertools.pairwise(made), 1)
    whole = {at: new.more for at, (old, new) in pairs if old.is_read and new.is_read}
    last = max((at for at, one in enumerate(made) if one.is_read), default=0)
    assert whole == found
    assert set(range(1, last + 1)) - set(whole) == increases.dropped


@given(st.lists(st.integers(0, 9), min_size=2), st.data())
def test_series_of_a_read_process_begins_at_zero(
    counts: list[int], data: st.DataObject
) -> None:
    """The first failure counts: somebody looked before, and there was none."""
    born = data.draw(st.integers(1, len(counts) - 1))
    table = SeriesTable()
    fine, bad = table.of({**PROCESS, "code": "200"}), table.of({**PROCESS, "code": "5"})
    increases, targets = Increases(), Targets()
    total = value = 0
    for at, count in enumerate(counts):
        present: dict[Series, float] = {fine: 1.0}
        if at >= born:
            value += count
            present[bad] = float(value)
        total += int(increases.step(at, present, targets).get(bad, 0))
        targets.note(at, present)
    assert sum(counts[born:]) == total


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=50))
def test_fractions_wait_for_the_next_window(parts: list[float]) -> None:
    """Whole numbers are written, and less than one is missing in the end."""
    source = Source("a", "b", *(Part(const="x"),) * 3)
    lines = SourceLines(source, Namer(source, {}), [])
    series, value, counts = SeriesTable().of(PROCESS), 0.0, 0
    for at, part in enumerate([0.0, *parts]):
        value += part
        for line in lines.window(at, at * 10_000, 10, {series: value}, {}):
            counts += line["count"]
    assert -0.001 <= value - counts < 1
