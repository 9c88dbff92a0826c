"""Injected regressions judged in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from detector.backtest.courses import Judged, judge, without_rulesets
from detector.backtest.injected import (
    SETTLING_MS,
    Candidate,
    Trial,
    Word,
    lines_until,
    word_about,
)
from detector.backtest.injection import Injection, inject
from detector.rulefile import RuleSet, load_rules

History = Mapping[str, Sequence[bytes]]
"""Lines by service."""


class RulesText(NamedTuple):
    """A rule file: the name it is shown by, and its text."""

    name: str
    text: str


class Task(NamedTuple):
    """A regression, and when the last record of its release comes, in epoch ms."""

    injection: Injection
    end_ms: int


class _Work(NamedTuple):
    history: History
    rules: dict[str, RuleSet]


_work: list[_Work] = []
"""What a process works on: sent once, not with each task."""


def _begin(history: History, rules: Sequence[RulesText]) -> None:
    loaded = {one.name: load_rules(one.text, source=one.name) for one in rules}
    _work[:] = [_Work(history, loaded)]


def _control(service: str) -> dict[str, Judged]:
    work = _work[0]
    lines = list(without_rulesets(work.history[service]))
    return {name: judge(lines, rules) for name, rules in work.rules.items()}


def _words(task: Task) -> dict[str, Word]:
    work, made = _work[0], task.injection
    lines = list(without_rulesets(work.history[made.service]))
    kept = lines_until(lines, task.end_ms + SETTLING_MS)
    spoilt = inject(kept, made)
    release = (made.service, made.environment, made.release)
    return {
        name: word_about(judge(spoilt, rules), release)
        for name, rules in work.rules.items()
    }


class Injecting:
    """A history and rule sets, in as many processes as asked for.

    Parameters
    ----------
    history : mapping of str to sequence of bytes
        Lines by service, in arrival order.
    rules : sequence of RulesText
        The rule sets to compare.
    jobs : int
        Processes; with 1 all is done in this one. It changes no figure.
    """

    def __init__(self, history: History, rules: Sequence[RulesText], jobs: int) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if jobs == 1:
            _begin(history, rules)
        else:
            # Not forked: a fork of a process with threads may hang.
            self._pool = ProcessPoolExecutor(
                jobs,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(dict(history), list(rules)),
            )

    def control(self, services: Sequence[str]) -> dict[str, dict[str, Judged]]:
        """The untouched history: service, then name of the rule set."""
        found = self._pool.map(_control, services) if self._pool else None
        each = found if found is not None else map(_control, services)
        return dict(zip(services, each, strict=True))

    def trials(
        self, tasks: Sequence[Task], control: Mapping[str, Mapping[str, Judged]]
    ) -> Iterator[list[Trial]]:
        """Trials of each task, one for each rule set, in the order of the tasks."""
        found = self._pool.map(_words, tasks) if self._pool else map(_words, tasks)
        for task, words in zip(tasks, found, strict=True):
            made = task.injection
            release = (made.service, made.environment, made.release)
            without = control[made.service]
            yield [
                Trial(name, made, word_about(without[name], release), word)
                for name, word in words.items()
            ]

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def task_of(candidate: Candidate, injection: Injection) -> Task:
    """The task of a regression in a release."""
    return Task(injection, candidate.end_ms)
