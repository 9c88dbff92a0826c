"""What another rule set would have said of the same history, release by release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from detector.backtest.courses import Course, ReleaseKey
from detector.verdicts import RecommendationState, Verdict


class Outcome(NamedTuple):
    """What became of a release; times are epoch ms, None where it was never said.

    ``recommended`` is the first action recommended, ``verdict`` the last one.
    """

    verdict: str | None
    regressed_ms: int | None
    recommended: str | None
    recommended_ms: int | None
    id: str | None
    rule: str | None


NOTHING = Outcome(None, None, None, None, None, None)


class Effect(NamedTuple):
    """How a release fares: ``word`` is same, earlier, later, gone, new or other.

    gone, new: it is recommended to act on it no longer, or only now. other: another
    action, or another last verdict. ``by_ms``: how much earlier or later.
    """

    key: ReleaseKey
    word: str
    by_ms: int
    before: Outcome
    after: Outcome


def outcome_of(course: Course) -> Outcome:
    """The first words of weight about a release, and the last verdict."""
    regressed = next(
        (v.decided_at for v in course.verdicts if v.verdict is Verdict.REGRESSED), None
    )
    first = next(
        (r for r in course.recommendations if r.state is RecommendationState.OPEN), None
    )
    verdicts = course.verdicts
    last = verdicts[-1] if verdicts else None
    return Outcome(
        last.verdict.value if last else None,
        regressed,
        first.action.value if first else None,
        first.decided_at if first else None,
        first.id if first else None,
        first.rule if first else (last.rule if last else None),
    )


def effects(
    before: Mapping[ReleaseKey, Course], after: Mapping[ReleaseKey, Course]
) -> list[Effect]:
    """Compare two courses of the same history, every release of either."""
    keys = dict.fromkeys((*before, *after))
    old = {key: outcome_of(course) for key, course in before.items()}
    new = {key: outcome_of(course) for key, course in after.items()}
    return [_effect(k, old.get(k, NOTHING), new.get(k, NOTHING)) for k in keys]


def _effect(key: ReleaseKey, old: Outcome, new: Outcome) -> Effect:
    if old.recommended_ms is None and new.recommended_ms is None:
        word = "same" if old.verdict == new.verdict else "other"
        return Effect(key, word, 0, old, new)
    if old.recommended_ms is None:
        return Effect(key, "new", 0, old, new)
    if new.recommended_ms is None:
        return Effect(key, "gone", 0, old, new)
    by_ms = new.recommended_ms - old.recommended_ms
    if by_ms:
        return Effect(key, "later" if by_ms > 0 else "earlier", abs(by_ms), old, new)
    same = (old.recommended, old.verdict) == (new.recommended, new.verdict)
    return Effect(key, "same" if same else "other", 0, old, new)
