"""Rule files tried on a history, each in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from detector.backtest import courses_of, judge
from detector.backtest.proposing import Measured, Truth, measure
from detector.rulefile import load_rules


class History(NamedTuple):
    """Lines of a recording, what is known of its releases, and when they began."""

    lines: list[bytes]
    truth: Truth
    begun: dict[tuple[str, str, str], int]


def measured(history: History, texts: Sequence[str]) -> Iterator[Measured]:
    """What each rule file does on the history, in the order given."""
    processes = min(len(texts), os.cpu_count() or 1)
    if processes < 2:
        yield from (_measured(history, text) for text in texts)
        return
    # The history is sent once, to each process; not once with each rule file.
    with ProcessPoolExecutor(processes, initializer=_keep, initargs=(history,)) as pool:
        yield from pool.map(_of_kept, texts)


_kept: list[History] = []


def _keep(history: History) -> None:
    _kept[:] = [history]


def _of_kept(text: str) -> Measured:
    return _measured(_kept[0], text)


def _measured(history: History, text: str) -> Measured:
    rules = load_rules(text, source="candidate")
    courses = courses_of(judge(history.lines, rules))
    return measure(courses, history.truth, history.begun)
