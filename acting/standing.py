"""What a gate says before anything is claimed: is there something to do at all?"""

from __future__ import annotations

from acting.answers import Answer, Ruling, Why
from detector.verdicts import Verdict, VerdictRecord

FRESH_MS = 30_000
"""How old the word of a partition's owner may be, and how far it may be behind: three
windows of ten seconds. Owners speak every five."""

BLIND = ("blind", "fenced")


def sight(
    *,
    told_ms: int | None,
    read_until_ms: int | None,
    state: str,
    reason: str,
    now_ms: int,
) -> Ruling | None:
    """Why nothing that was decided may be believed now; None if it may.

    Parameters
    ----------
    told_ms : int or None
        When the owner of the service's partition last spoke; None if it never did.
    read_until_ms : int or None
        Until when it had read its input then.
    state, reason : str
        What it called its state.
    now_ms : int
        The time of who asks.
    """
    if told_ms is None:
        text = "no worker has said that it watches this service"
        return Ruling(Answer.STALE, Why.SILENT, text)
    if state in BLIND:
        return Ruling(Answer.STALE, Why.BLIND, f"the detector is {state}: {reason}")
    if now_ms - told_ms > FRESH_MS:
        text = f"no worker has spoken for {(now_ms - told_ms) / 1000:.0f} s"
        return Ruling(Answer.STALE, Why.SILENT, text)
    if read_until_ms is None or told_ms - read_until_ms > FRESH_MS:
        behind_s = (told_ms - (read_until_ms or 0)) / 1000
        how = f"{behind_s:.0f} s behind" if read_until_ms else "still starting"
        return Ruling(Answer.STALE, Why.BEHIND, f"the detector is {how}")
    return None


def standing(verdict: VerdictRecord | None, *, is_recommended: bool) -> Ruling | None:
    """What the verdict alone answers; None where a recommendation is to be claimed."""
    if verdict is None:
        text = "no release of this name is, or was, under judgement"
        return Ruling(Answer.UNDECIDED, Why.UNKNOWN, text)
    word, text = verdict.verdict, verdict.sentence
    if word is Verdict.UNRELIABLE:
        return Ruling(Answer.STALE, Why.UNRELIABLE, text)
    if word is Verdict.HEALTHY:
        return Ruling(Answer.GO_ON, Why.HEALTHY, text)
    if word is Verdict.REGRESSED and is_recommended:
        return None
    return Ruling(Answer.UNDECIDED, Why(word.value), text)
