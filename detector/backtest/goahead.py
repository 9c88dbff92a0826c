"""Go, no-go or too early: what a pilot has shown, against limits, with exact bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from scipy import stats

from detector.backtest.pilot import Pilot, Truth

RELEASES_MAX = 1_000_000
"""No pilot needs more; beyond, the bound can not be reached by waiting."""


class Limits(NamedTuple):
    """What has to be shown before a candidate goes live.

    ``false_per_100``: upper bound on false rollbacks per 100 releases, at one-sided
    ``confidence``. ``days``: shortest period. ``harmful``: least number of releases
    that had to be taken back. ``caught``: least share of those that it would have taken
    back. ``later_s``: how much later than live it may be, in the median. ``covered``:
    least share of live's releases that it has judged.
    """

    false_per_100: float = 1.0
    confidence: float = 0.95
    days: float = 14.0
    harmful: int = 1
    caught: float = 0.5
    later_s: float = 300.0
    covered: float = 0.95


class Standing(StrEnum):
    """Of one question."""

    MET = "met"
    OPEN = "open"
    REFUTED = "refuted"


class Decision(StrEnum):
    """Of the whole."""

    GO = "go"
    NO_GO = "no-go"
    TOO_EARLY = "too early"


class Check(NamedTuple):
    """One question, how it stands and why."""

    question: str
    standing: Standing
    why: str


class Tally(NamedTuple):
    """Releases counted by what the candidate would have done and what was so.

    ``seen`` were judged to their end, or taken back by it; ``running`` are not over.
    ``missed`` were harmful and not taken back; ``cut_short`` are harmful ones that were
    gone, because live spoke, before it did: they say nothing of it.
    """

    seen: int
    running: int
    unjudged: int
    taken: int
    right: int
    false: int
    unlabelled: int
    missed: int
    cut_short: int
    earlier: int
    later: int
    same: int
    only_tried: int
    only_live: int


def upper(hits: int, of: int, confidence: float) -> float:
    """One-sided exact upper bound of a share (Clopper and Pearson 1934).

    Examples
    --------
    >>> round(upper(0, 299, 0.95), 4), upper(0, 0, 0.95)
    (0.01, 1.0)
    """
    return 1.0 if hits >= of else float(stats.beta.ppf(confidence, hits + 1, of - hits))


def lower(hits: int, of: int, confidence: float) -> float:
    """One-sided exact lower bound of a share."""
    return float(stats.beta.ppf(1 - confidence, hits, of - hits + 1)) if hits else 0.0


def more_needed(hits: int, of: int, limit: float, confidence: float) -> int | None:
    """How many more, none of them a hit, bring the upper bound down to a limit.

    Examples
    --------
    >>> more_needed(0, 0, 0.01, 0.95), more_needed(0, 299, 0.01, 0.95)
    (299, 0)
    """
    if upper(hits, of, confidence) <= limit:
        return 0
    if upper(hits, of + RELEASES_MAX, confidence) > limit:
        return None
    low, high = 0, RELEASES_MAX
    while high - low > 1:
        middle = (low + high) // 2
        fits = upper(hits, of + middle, confidence) <= limit
        low, high = (low, middle) if fits else (middle, high)
    return high


def tally(pilot: Pilot) -> Tally:
    """Count."""
    every = pilot.outcomes
    taken = [one for one in every if one.take is not None]
    judged = [one for one in every if one.tried and one.tried.is_judged]
    quiet = [one for one in judged if one.take is None and not one.cut_short]
    unheard = [o for o in every if o.take is None and o.truth is Truth.HARMFUL]
    leads = [one.lead_ms for one in every if one.lead_ms is not None]
    truths = Counter(one.truth for one in taken)
    return Tally(
        seen=len(taken) + sum(one.is_over for one in quiet),
        running=sum(not one.is_over for one in quiet),
        unjudged=len(every) - len({o.name for o in (*judged, *taken)}),
        taken=len(taken),
        right=truths[Truth.HARMFUL],
        false=truths[Truth.HARMLESS],
        unlabelled=truths[Truth.UNKNOWN],
        missed=sum(not one.cut_short for one in unheard),
        cut_short=sum(one.cut_short for one in unheard),
        earlier=sum(lead > 0 for lead in leads),
        later=sum(lead < 0 for lead in leads),
        same=leads.count(0),
        only_tried=0 if pilot.is_alone else len(taken) - len(leads),
        only_live=sum(
            one.take is None and one.live is not None and one.live.take is not None
            for one in every
        ),
    )


def checks(pilot: Pilot, limits: Limits) -> list[Check]:
    """Every question with its answer, the ones that end a pilot first."""
    found = tally(pilot)
    made = [
        _false(found, limits),
        _caught(found, limits),
        _labelled(found),
        _length(pilot, limits),
    ]
    if not pilot.is_alone:
        made += [_covered(pilot, limits), _delay(pilot, limits)]
    return made


def decide(made: Iterable[Check]) -> Decision:
    """No-go where anything is refuted, too early while anything is open, else go."""
    standings = {one.standing for one in made}
    if Standing.REFUTED in standings:
        return Decision.NO_GO
    return Decision.TOO_EARLY if Standing.OPEN in standings else Decision.GO


def _false(found: Tally, limits: Limits) -> Check:
    of = (found.false, found.seen)
    limit = limits.false_per_100 / 100
    high = upper(*of, limits.confidence)
    question = f"at most {limits.false_per_100:g} false rollbacks per 100 releases"
    said = (
        f"{found.false} of {found.seen} releases: at most {100 * high:.2g} per 100 "
        f"({100 * limits.confidence:g} % sure)"
    )
    if high <= limit:
        return Check(question, Standing.MET, said)
    if lower(*of, limits.confidence) > limit:
        return Check(question, Standing.REFUTED, said)
    more = more_needed(*of, limit, limits.confidence)
    wait = f"{more} more without a false one would show it" if more else "it is too far"
    return Check(question, Standing.OPEN, f"{said}; {wait}")


def _caught(found: Tally, limits: Limits) -> Check:
    question = f"takes back {100 * limits.caught:g} % of the harmful releases"
    harmful = found.right + found.missed
    said = f"{found.right} of {harmful}"
    if found.cut_short:
        said += (
            f"; {found.cut_short} more were gone before it spoke, which says nothing"
        )
    if harmful < limits.harmful:
        wanted = f"{said}: at least {limits.harmful} must have been seen"
        return Check(question, Standing.OPEN, wanted)
    if harmful and upper(found.right, harmful, limits.confidence) < limits.caught:
        return Check(question, Standing.REFUTED, said)
    met = not harmful or found.right / harmful >= limits.caught
    return Check(question, Standing.MET if met else Standing.OPEN, said)


def _labelled(found: Tally) -> Check:
    question = "somebody said of each rollback whether it was right"
    if not found.unlabelled:
        return Check(question, Standing.MET, f"{found.taken} of {found.taken}")
    said = f"{found.unlabelled} of {found.taken} are unlabelled"
    return Check(question, Standing.OPEN, said)


def _length(pilot: Pilot, limits: Limits) -> Check:
    question = f"ran for {limits.days:g} days"
    met = pilot.days >= limits.days
    said = f"{pilot.days:.1f} days"
    return Check(question, Standing.MET if met else Standing.OPEN, said)


def _covered(pilot: Pilot, limits: Limits) -> Check:
    question = f"judged {100 * limits.covered:g} % of what live judged"
    live = [one for one in pilot.outcomes if one.live and one.live.is_judged]
    both = sum(bool(one.tried and one.tried.is_judged) for one in live)
    if not live:
        return Check(question, Standing.OPEN, "live judged no release")
    met = both / len(live) >= limits.covered
    said = f"{both} of {len(live)}"
    if not met:
        said += ": did it run all the time, do its rules fit these services?"
    return Check(question, Standing.MET if met else Standing.OPEN, said)


def _delay(pilot: Pilot, limits: Limits) -> Check:
    question = f"at most {limits.later_s:g} s later than live, in the median"
    leads = [one.lead_ms for one in pilot.outcomes if one.lead_ms is not None]
    if not leads:
        return Check(question, Standing.MET, "no release was taken back by both")
    later_s = -median(leads) / 1000
    word = f"{later_s:.0f} s later" if later_s > 0 else f"{-later_s:.0f} s earlier"
    met = later_s <= limits.later_s
    said = f"{word} over {len(leads)} releases"
    return Check(question, Standing.MET if met else Standing.REFUTED, said)
