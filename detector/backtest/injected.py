"""Which injected regressions were found, and what was said without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec

from detector.backtest.courses import TAKES_BACK, Judged
from detector.backtest.injectdrops import is_aggregate
from detector.backtest.injectfailures import Past, units_of
from detector.backtest.injection import Injection
from detector.backtest.intervals import Share, share
from detector.events import DEFAULT_ENVIRONMENT
from detector.replay import arrival_ms
from detector.verdicts import Action, RecommendationRecord, RecommendationState

Json = dict[str, Any]
TAKEN_BACK = ("aborted", "rolled_back", "withdrawn")
"""Phases by which people say that a release was no good."""
SETTLING_MS = 30 * 60_000
"""So long after a release's last record a decision about it may still come."""
NOTICES = TAKES_BACK | {Action.HOLD, Action.INVESTIGATE}
"""Actions that tell people that something is wrong."""


class Candidate(NamedTuple):
    """A release of a history that a regression can be put into.

    ``begin_ms`` is the time of its first deploy event, else of its first record;
    ``end_ms`` that of its last record; ``units`` are sessions, else requests;
    ``is_taken_back`` says that a deploy event ended it; ``is_first`` that it was there
    before anything was deployed: nothing is compared with it.
    """

    service: str
    environment: str
    release: str
    begin_ms: int
    end_ms: int
    units: int
    is_taken_back: bool
    is_first: bool


def candidates_of(lines: Iterable[bytes]) -> list[Candidate]:
    """The releases of a service's history, in the order of their first word."""
    found: dict[tuple[str, str, str], Candidate] = {}
    first: dict[tuple[str, str], str] = {}
    deployed: set[tuple[str, str, str]] = set()
    for member in _members(lines):
        release, kind = member.get("release"), member.get("kind")
        if not isinstance(release, str) or kind not in ("usage", "deploy"):
            continue
        environment = member.get("environment", DEFAULT_ENVIRONMENT)
        key = (member["service"], environment, release)
        if kind == "usage":
            first.setdefault(key[:2], release)
        known = found.get(key)
        if known is None:
            is_first = kind == "usage" and first[key[:2]] == release
            known = Candidate(*key, member["ts"], member["ts"], 0, False, is_first)
        if kind == "deploy":
            if key not in deployed:
                deployed.add(key)
                known = known._replace(begin_ms=member["ts"])
            ended = member.get("phase") in TAKEN_BACK and not member.get("component")
            known = known._replace(is_taken_back=known.is_taken_back or ended)
        else:
            known = known._replace(
                end_ms=max(known.end_ms, member["ts"]),
                units=known.units + units_at_risk(member),
            )
        found[key] = known
    return list(found.values())


def units_at_risk(member: Json) -> int:
    """Units that a record of any kind brings."""
    if member.get("kind") != "usage" or member.get("step") is not None:
        return 0
    return units_of(member) if is_aggregate(member) else 1


def units_reached(lines: Iterable[bytes], injection: Injection) -> int:
    """Units at risk that a regression would reach."""
    return sum(units_at_risk(m) for m in _members(lines) if injection.hits(m))


def why_not(lines: Iterable[bytes], injection: Injection) -> str:
    """Why a regression would change nothing in the lines; empty where it would."""
    own = [m for m in _members(lines) if injection.hits(m)]
    if injection.what == "latency" and not any(
        m["kind"] == "latency" or m.get("duration_ms") is not None for m in own
    ):
        return "has no durations to make longer"
    if injection.what == "actions" and not any(
        m.get("sessions") or m.get("session") for m in own
    ):
        return "tells no sessions, so requests can not be missing from them"
    if injection.what == "errors":
        past = Past(_members(lines), injection.service, injection.environment)
        if not past.has_failures:
            return "its service has no failure in the history, so no rate to multiply"
    return ""


def _members(lines: Iterable[bytes]) -> Iterable[Json]:
    for line in lines:
        whole = msgspec.json.decode(line)
        for member in whole if isinstance(whole, list) else [whole]:
            if isinstance(member, dict) and isinstance(member.get("ts"), int):
                yield member


def lines_until(lines: Sequence[bytes], end_ms: int) -> list[bytes]:
    """The lines that arrived until then, in epoch ms: what comes later decides less."""
    kept = []
    so_far_ms = 0
    for line in lines:
        so_far_ms = arrival_ms(line, so_far_ms)
        if so_far_ms > end_ms:
            break
        kept.append(line)
    return kept


class Word(NamedTuple):
    """When a release was first to be taken back, and first doubted; epoch ms or None.

    A doubt is an open recommendation to hold, to investigate or of more.
    """

    taken_back_ms: int | None
    doubted_ms: int | None


def word_about(judged: Judged, release: tuple[str, str, str]) -> Word:
    """What a rule set said about (service, environment, release)."""
    back: int | None = None
    doubt: int | None = None
    for step in judged.steps:
        record = step.record
        if (
            not isinstance(record, RecommendationRecord)
            or (record.service, record.environment, record.release) != release
            or record.state is not RecommendationState.OPEN
        ):
            continue
        if record.action in NOTICES and doubt is None:
            doubt = step.decided_ms
        if record.action in TAKES_BACK and back is None:
            back = step.decided_ms
    return Word(back, doubt)


class Trial(NamedTuple):
    """One regression under one rule set, beside the untouched history."""

    rules: str
    injection: Injection
    control: Word
    found: Word

    @property
    def is_spoilt(self) -> bool:
        """The release was to be taken back without any injection: it tells nothing."""
        return self.control.taken_back_ms is not None

    @property
    def is_false_before(self) -> bool:
        """It was to be taken back before the regression began."""
        at_ms = self.control.taken_back_ms
        return at_ms is not None and at_ms <= self.injection.onset_ms

    @property
    def delay_s(self) -> float | None:
        """Seconds from the onset to the first word that takes it back."""
        at_ms = self.found.taken_back_ms
        if self.is_spoilt or at_ms is None:
            return None
        return (at_ms - self.injection.onset_ms) / 1000

    @property
    def is_doubted(self) -> bool:
        """A doubt came that the untouched history does not have."""
        return self.found.doubted_ms is not None and self.control.doubted_ms is None


class Row(NamedTuple):
    """A size and segment under one rule set.

    ``found`` are releases to be taken back, ``doubted`` those at least doubted, both of
    the releases that the untouched run leaves alone; ``median_s`` is the median time
    to the former from the onset; ``false_before`` and ``false_after`` count releases
    that the untouched run takes back before or after the onset.
    """

    rules: str
    what: str
    size: float
    segment: str
    found: Share
    doubted: Share
    median_s: float | None
    false_before: int
    false_after: int


def tabulate(trials: Iterable[Trial]) -> list[Row]:
    """Trials by kind, size, segment and rule set, in their first order."""
    groups: dict[tuple[str, str, float, str], list[Trial]] = {}
    for trial in trials:
        made = trial.injection
        key = (trial.rules, made.what, made.size, segment_text(made.segment))
        groups.setdefault(key, []).append(trial)
    return [_row(group) for group in groups.values()]


def _row(group: list[Trial]) -> Row:
    clean = [trial for trial in group if not trial.is_spoilt]
    delays = [t.delay_s for t in clean if t.delay_s is not None]
    doubted = sum(t.is_doubted or t.delay_s is not None for t in clean)
    before = sum(t.is_false_before for t in group)
    made = group[0].injection
    return Row(
        rules=group[0].rules,
        what=made.what,
        size=made.size,
        segment=segment_text(made.segment),
        found=share(len(delays), len(clean)),
        doubted=share(doubted, len(clean)),
        median_s=median(delays) if delays else None,
        false_before=before,
        false_after=len(group) - len(clean) - before,
    )


def segment_text(segment: tuple[tuple[str, str], ...]) -> str:
    """A segment in words: ``os=android``, ``all`` for everywhere."""
    return ",".join(f"{key}={value}" for key, value in segment) or "all"
