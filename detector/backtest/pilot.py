"""A candidate rule set beside the live one: what each would have done, and what was so.

Everything here is a function of what was said and told. A release is the unit: a part
of it that would have been taken off counts with it, and it counts once however often
something was said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from detector.backtest.courses import TAKES_BACK
from detector.backtest.words import Heard, Label, Name, Word
from detector.verdicts import Action, RecommendationState, Verdict

JUDGED = frozenset({Verdict.HEALTHY, Verdict.REGRESSED, Verdict.INCONCLUSIVE})
STRENGTH = [
    *(Action.CONTINUE, Action.WATCH, Action.HOLD, Action.INVESTIGATE),
    *(Action.WITHDRAW, Action.REPLACE, Action.HALT, Action.ROLLBACK, Action.HOTFIX),
]
"""Actions from nothing to the largest."""


APART_MS = 3_600_000
"""Two rule sets speak first of a release at different times: so far apart at most, if
both have seen it from its beginning."""


class Truth(StrEnum):
    """Whether a release had to be taken back, as far as anybody said."""

    HARMFUL = "harmful"
    HARMLESS = "harmless"
    UNKNOWN = "unknown"


class Take(NamedTuple):
    """The first recommendation to take a release from its users."""

    at_ms: int
    action: Action
    recommendation_id: str
    mode: str


class Said(NamedTuple):
    """What one rule set said about a release.

    ``is_judged``: there was data to judge it by; ``largest``: the largest action.
    """

    first_ms: int
    verdict: Verdict | None
    is_judged: bool
    largest: Action
    take: Take | None
    acknowledged: bool


class Outcome(NamedTuple):
    """A release under both rule sets, and what became of it.

    ``tried`` is the candidate's word, or the live one's where there is no candidate.
    ``ended_ms`` is when it was taken back, by whomever.
    """

    name: Name
    live: Said | None
    tried: Said | None
    label: str | None
    ended_ms: int | None
    by_hypercare: bool
    is_over: bool

    @property
    def truth(self) -> Truth:
        """What people said, else what they did: without us they took it back."""
        if self.label is not None:
            return Truth.HARMLESS if self.label == "wrong" else Truth.HARMFUL
        if self.ended_ms is not None and not self.by_hypercare:
            return Truth.HARMFUL
        return Truth.UNKNOWN

    @property
    def take(self) -> Take | None:
        """When the candidate would have taken it back."""
        return self.tried.take if self.tried else None

    @property
    def lead_ms(self) -> int | None:
        """By how much the candidate was earlier than live; below 0: later."""
        if self.take is None or self.live is None or self.live.take is None:
            return None
        return self.live.take.at_ms - self.take.at_ms

    @property
    def cut_short(self) -> bool:
        """Taken back before the candidate spoke: whether it would have, nobody knows.

        Only where live spoke before that. Otherwise people saw it, and it did not.
        """
        spoke = self.live is not None and self.live.take is not None
        return self.take is None and self.ended_ms is not None and spoke


class Pilot(NamedTuple):
    """What a pilot has seen.

    Attributes
    ----------
    is_alone : bool
        There is no candidate: the live rules themselves are tried.
    begin_ms, end_ms : int
        First and last word of the period, -1 where nothing was said.
    outcomes : list of Outcome
        Releases that began in the period, in order of their first word.
    before : int
        Releases that began before it, and are left out.
    hashes : tuple of str
        Rule sets that the tried words were said under, oldest first.
    live_hashes : tuple of str
        Those of the live words.
    """

    is_alone: bool
    begin_ms: int
    end_ms: int
    outcomes: list[Outcome]
    before: int
    hashes: tuple[str, ...]
    live_hashes: tuple[str, ...]

    @property
    def days(self) -> float:
        """Length of the period in days."""
        return max(0, self.end_ms - self.begin_ms) / 86_400_000


def compare(
    live: Heard,
    tried: Heard | None,
    *,
    labels: Sequence[Label] = (),
    ended: Heard | None = None,
    executed: Collection[str] = (),
    since_ms: int = 0,
) -> Pilot:
    """Put side by side what two rule sets said about the same releases.

    Parameters
    ----------
    live, tried : Heard
        What the live rules said, and the candidate; None: the live rules are tried.
    labels : sequence of Label
        Labels beside those among the words, newer ones count.
    ended : Heard or None
        A recording in which deploys and labels stand.
    executed : collection of str
        Ids of recommendations that Hypercare itself carried out.
    since_ms : int
        Releases that began before are left out. A candidate that was changed counts
        from its last change on, whatever is given here.
    """
    told = [one for one in (live, tried, ended) if one is not None]
    arms = (live, live if tried is None else tried)
    words = [word for one in told for word in one.words]
    begin_ms = max(since_ms, _began(arms[1].words))
    first, tried_first = _first_ms(words), _first_ms(arms[1].words)
    names = [
        name
        for name, at_ms in first.items()
        if at_ms >= max(since_ms, begin_ms - APART_MS)
        and tried_first.get(name, at_ms) >= begin_ms
    ]
    sides = [_by_release(arm.words) for arm in arms]
    labelled = _labels(told, labels, words)
    over = _ended(told)
    newest = _newest(first)
    outcomes = []
    for name in names:
        live_words, tried_words = (side.get(name, []) for side in sides)
        ids = {word.id for word in live_words if word.verdict is None}
        outcomes.append(
            Outcome(
                name=name,
                live=_said(live_words),
                tried=_said(tried_words),
                label=labelled.get(name),
                ended_ms=over.get(name),
                by_hypercare=bool(ids & set(executed)),
                is_over=name in over or _is_over(name, newest, tried_words),
            )
        )
    end_ms = max((word.decided_at for word in words), default=-1)
    return Pilot(
        is_alone=tried is None,
        begin_ms=begin_ms if words else -1,
        end_ms=end_ms,
        outcomes=outcomes,
        before=len(first) - len(names),
        hashes=_hashes(arms[1].words),
        live_hashes=_hashes(w for w in arms[0].words if w.decided_at >= begin_ms),
    )


def _hashes(words: Iterable[Word]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.rules_hash for word in words if word.rules_hash))


def _began(words: Sequence[Word]) -> int:
    """The first word of the rule set that spoke last."""
    last = words[-1].rules_hash if words else ""
    return min((w.decided_at for w in words if w.rules_hash == last), default=0)


def _first_ms(words: Sequence[Word]) -> dict[Name, int]:
    """When each release was heard of first, in that order."""
    first: dict[Name, int] = {}
    for word in sorted(words, key=lambda w: w.decided_at):
        first.setdefault(word.name, word.decided_at)
    return first


def _by_release(words: Iterable[Word]) -> dict[Name, list[Word]]:
    found: dict[Name, list[Word]] = {}
    for word in words:
        found.setdefault(word.name, []).append(word)
    return found


def _newest(first: dict[Name, int]) -> dict[tuple[str, str], Name]:
    return {name[:2]: name for name in first}


def _is_over(
    name: Name, newest: dict[tuple[str, str], Name], words: Sequence[Word]
) -> bool:
    """Nothing more is to be expected: found healthy, or another one came after it."""
    said = [word.verdict for word in words if word.verdict is not None]
    is_healthy = bool(said) and said[-1] is Verdict.HEALTHY
    return is_healthy or newest[name[:2]] != name


def _ended(told: Iterable[Heard]) -> dict[Name, int]:
    over: dict[Name, int] = {}
    for one in sorted(e for heard in told for e in heard.ended):
        over.setdefault(one.name, one.at_ms)
    return over


def _labels(
    told: Iterable[Heard], labels: Sequence[Label], words: Iterable[Word]
) -> dict[Name, str]:
    """The newest label of each release; one of a recommendation is its release's."""
    about = {word.id: word.name for word in words if word.verdict is None}
    every = [label for heard in told for label in heard.labels] + list(labels)
    found: dict[Name, str] = {}
    for label in sorted(every, key=lambda one: one.at_ms):
        name = about.get(label.recommendation_id, label.name)
        if name is not None:
            found[name] = label.label
    return found


def _said(words: Sequence[Word]) -> Said | None:
    if not words:
        return None
    verdicts = [word.verdict for word in words if word.verdict is not None]
    asked = [word for word in words if word.verdict is None]
    actions = [w.action for w in asked if w.action and w.state in _ASKS]
    take = next(
        (
            Take(w.decided_at, w.action, w.id or "", w.mode)
            for w in asked
            if w.action in TAKES_BACK and w.state is RecommendationState.OPEN
        ),
        None,
    )
    return Said(
        first_ms=words[0].decided_at,
        verdict=verdicts[-1] if verdicts else None,
        is_judged=bool(JUDGED & set(verdicts)),
        largest=max(actions, key=STRENGTH.index, default=Action.CONTINUE),
        take=take,
        acknowledged=any(
            word.state is RecommendationState.ACKNOWLEDGED for word in asked
        ),
    )


_ASKS = (RecommendationState.OPEN, RecommendationState.ACKNOWLEDGED)
