"""A test through the core that runs live, and what of it was not as expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from detector.backtest.courses import Course, ReleaseKey, courses_of, judge
from detector.rulefile import RuleSet
from detector.ruletest.loading import release_of
from detector.ruletest.making import START_MS, lines_of
from detector.ruletest.model import NONE, Expectation, Test
from detector.ruletest.notation import shown_time
from detector.verdicts import STANDING_STATES, RecommendationRecord, VerdictRecord

COURSE_SHOWN_MAX = 12
"""Changes of what was said that a failure lists; a flapping release has hundreds."""


class State(NamedTuple):
    """All that holds from one moment on: the verdict and what is recommended."""

    at_s: float
    verdict: str
    action: str | None
    segment: dict[str, str] | None
    reasons: tuple[str, ...]
    rule: str | None
    recommended: bool

    @property
    def told(self) -> str:
        """In a line, without the time."""
        action = f"  {self.action}" if self.action else ""
        cut = f" of {_words(self.segment)}" if self.recommended else ""
        why = f"  ({', '.join(self.reasons)})" if self.reasons else ""
        return f"{self.verdict}{action}{cut}{why}"


class Failure(NamedTuple):
    """An expectation that was not met.

    ``expected`` and ``said`` are lines of a diff; ``course`` is what was said, by time.
    """

    line: int
    what: str
    expected: tuple[str, ...]
    said: tuple[str, ...]
    course: tuple[str, ...]


class Result(NamedTuple):
    """What became of one test."""

    name: str
    line: int
    expectations: int
    failures: tuple[Failure, ...]


def run_test(
    test: Test, lines: tuple[int, tuple[int, ...]], interval_s: int, rules: RuleSet
) -> Result:
    """Run one test under a rule set.

    Parameters
    ----------
    lines : tuple
        Line of the test and of each of its expectations, for the answer.
    interval_s : int
        Length of an interval where the test does not say it.
    """
    judged = judge(lines_of(test, test.interval or interval_s), rules)
    courses = courses_of(judged)
    failures: list[Failure] = []
    if judged.refused:
        said = (f"{judged.refused} of {judged.records} records were refused",)
        failures.append(Failure(lines[0], "input", ("usable records",), said, ()))
    for wanted, line in zip(test.expect, lines[1], strict=True):
        failures += _compared(test, wanted, line, courses)
    return Result(test.name, lines[0], len(test.expect), tuple(failures))


def states_of(course: Course | None) -> list[State]:
    """What held from when on, changes only; nothing was said before the first."""
    found = [State(0.0, NONE, None, None, (), None, False)]
    verdict: VerdictRecord | None = None
    standing: RecommendationRecord | None = None
    steps = course.steps if course else []
    for index, step in enumerate(steps):
        if isinstance(step.record, VerdictRecord):
            verdict = step.record
        else:
            standing = step.record if step.record.state in STANDING_STATES else None
        if index + 1 < len(steps) and steps[index + 1].decided_ms == step.decided_ms:
            continue  # a verdict and its recommendation are one change
        state = _state((step.decided_ms - START_MS) / 1000, verdict, standing)
        if state[1:] != found[-1][1:]:
            found.append(state)
    return found


def _state(
    at_s: float, verdict: VerdictRecord | None, standing: RecommendationRecord | None
) -> State:
    action = standing.action if standing else verdict.action if verdict else None
    return State(
        at_s,
        verdict.verdict.value if verdict else NONE,
        action.value if action else None,
        (standing.segment or {}) if standing else None,
        tuple(reason.value for reason in verdict.reasons) if verdict else (),
        verdict.rule if verdict else None,
        standing is not None,
    )


def _compared(
    test: Test,
    wanted: Expectation,
    line: int,
    courses: dict[ReleaseKey, Course],
) -> Iterator[Failure]:
    service = wanted.service or test.service
    environment = wanted.environment or test.environment
    release = wanted.release or (None if wanted.never else release_of(test))
    if wanted.never:
        for key, course in courses.items():
            place = (service, environment, release or key.release)
            if key[:3] == place and wanted.component in (None, key.component):
                yield from _never(wanted, line, key, states_of(course))
        return
    assert release is not None
    key = ReleaseKey(service, environment, release, wanted.component)
    states = states_of(courses.get(key))
    yield from _held(wanted, line, key, states)


def _never(
    wanted: Expectation, line: int, key: ReleaseKey, states: list[State]
) -> Iterator[Failure]:
    for state in states:
        for word in (state.action, state.verdict):
            if word in wanted.never:
                said = f"{word} at {shown_time(state.at_s)}: {state.told}"
                what = f"never, {_place(key)}"
                course = _course(states, state.at_s)
                yield Failure(line, what, (f"never {word}",), (said,), course)
                return


def _held(
    wanted: Expectation, line: int, key: ReleaseKey, states: list[State]
) -> Iterator[Failure]:
    until = wanted.at if wanted.at is not None else wanted.by
    assert until is not None
    known = [state for state in states if state.at_s <= until]
    last = known[-1]
    fitting = [state for state in known if not _differing(wanted, state)]
    first = fitting[0] if fitting else None
    word = "at" if wanted.at is not None else "by"
    what = f"{word} {shown_time(until)}, {_place(key)}"
    course = _course(states, until)
    shown = {**wanted.wanted}
    if (last not in fitting) if wanted.at is not None else first is None:
        expected = tuple(f"{name}: {_words(value)}" for name, value in shown.items())
        since = f"   since {shown_time(last.at_s)}"
        said = tuple(
            f"{name}: {_words(getattr(last, name))}"
            + (since if name in _differing(wanted, last) else "")
            for name in shown
        )
        yield Failure(line, what, expected, said, course)
    elif wanted.not_before is not None and first and first.at_s < wanted.not_before:
        expected = (f"not before {shown_time(wanted.not_before)}",)
        said = (f"at {shown_time(first.at_s)}: {first.told}",)
        yield Failure(line, what, expected, said, course)


def _differing(wanted: Expectation, state: State) -> list[str]:
    """Names of the parts of a state that are not as expected."""
    found = []
    for name, value in wanted.wanted.items():
        said = getattr(state, name)
        fits = set(value) <= set(said) if name == "reasons" else said == value
        if not fits:
            found.append(name)
    return found


def _course(states: list[State], until_s: float) -> tuple[str, ...]:
    """What was said up to a little after ``until_s``, a line for each change."""
    known = [state for state in states if state.at_s <= until_s]
    later = [state for state in states if state.at_s > until_s][:3]
    shown = [*known, *later][-COURSE_SHOWN_MAX:]
    left = len(known) + len(later) - len(shown)
    lines = [f"{shown_time(s.at_s):>8}  {s.told}" for s in shown]
    return (f"     ... {left} changes before", *lines) if left else tuple(lines)


def _place(key: ReleaseKey) -> str:
    return " ".join(part for part in key if part)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "everybody"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "no recommendation" if value is None else str(value)
