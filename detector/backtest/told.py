"""What rules said about each release of a service, small enough to be sent about."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from detector.backtest.courses import ReleaseKey, courses_of, judge
from detector.engine import Partition
from detector.reading import facts_of
from detector.rulefile import RuleSet
from detector.verdicts import RecommendationRecord, VerdictRecord

EVIDENCE_EVERY_MS = 60_000
EVIDENCE_MOST = 600
"""Points of a release's curve; beyond, every second one is dropped."""

ENDS = ("aborted", "rolled_back", "withdrawn")
"""Phases of a deploy event by which people or machines took a release back."""


class Word(Struct, frozen=True):
    """One thing that was said about a release.

    ``said`` is a verdict or, where ``id`` is set and ``revision`` is not 0, the action
    of that revision of a recommendation.
    """

    decided_ms: int
    said: str
    component: str | None
    rule: str
    log_e: float
    reasons: tuple[str, ...]
    sentence: str
    id: str | None = None
    revision: int = 0
    state: str = ""
    segment: dict[str, str] | None = None
    episode_start_ms: int = -1

    @property
    def is_verdict(self) -> bool:
        """Whether it is a verdict, no recommendation."""
        return self.revision == 0


class Told(Struct):
    """All that was said about a release and its components, in order.

    ``evidence`` are pairs of decision time in ms and natural logarithm of the evidence,
    ``ended_ms`` is when the history itself took the release back, if it did.
    """

    service: str
    environment: str
    release: str
    words: list[Word] = []
    evidence: list[tuple[int, float]] = []
    ended_ms: int | None = None


class Part(Struct):
    """A service's history under one rule set.

    ``seen`` are the environments and releases that occur in it, judged or not;
    times are those of arrival, -1 where there are no records.
    """

    service: str
    releases: list[Told]
    seen: list[tuple[str, str]]
    records: int
    refused: int
    begin_ms: int
    end_ms: int


class _Curves:
    """The evidence on every release, looked at now and then."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
        self.seen: dict[tuple[str, str], None] = {}
        self._next_ms = 0

    def look(self, partition: Partition) -> None:
        """Note the evidence, at most once a minute of the history."""
        if partition.arrival_ms < self._next_ms:
            return
        self._next_ms = partition.arrival_ms + EVIDENCE_EVERY_MS
        for scope in partition.scopes.values():
            for name in scope.registry.releases:
                shown = scope.registry.releases[name].shown
                self.seen[(scope.environment, shown)] = None
            for watch in scope.watches.values():
                release = scope.registry.releases.get(watch.release)
                if release is None or release.component is not None:
                    continue
                log_e = facts_of(watch, partition.rows, scope.closed_until_ms).log_e
                key = (scope.service, scope.environment, release.shown)
                points = self.points.setdefault(key, [])
                points.append((partition.arrival_ms, round(log_e, 3)))
                if len(points) > EVIDENCE_MOST:
                    del points[1::2]


def told_of(service: str, lines: Iterable[bytes], rules: RuleSet) -> Part:
    """Send a service's lines through the core and keep what was said.

    Parameters
    ----------
    service : str
        Whose lines they are.
    lines : iterable of bytes
        As :func:`detector.backtest.judge` takes them.
    """
    curves = _Curves()
    ended: dict[tuple[str, str, str], int] = {}
    judged = judge(_noting_ends(lines, ended), rules, curves.look)
    found: dict[tuple[str, str, str], Told] = {}
    for key, course in courses_of(judged).items():
        place = (key.service, key.environment, key.release)
        if place not in found:
            curve = curves.points.get(place, [])
            found[place] = Told(*place, [], curve, ended.get(place))
        spoken: set[tuple[str, int]] = set()
        for step in course.steps:
            word = _word(key, step.record)
            if word is None or (word.id or "", word.revision) in spoken:
                continue
            if not word.is_verdict:
                spoken.add((word.id or "", word.revision))
            found[place].words.append(word)
    for told in found.values():
        told.words.sort(key=lambda word: word.decided_ms)
        curves.seen[(told.environment, told.release)] = None
    return Part(
        service,
        sorted(found.values(), key=lambda t: (t.environment, t.release)),
        sorted(curves.seen),
        judged.records,
        judged.refused,
        judged.begin_ms,
        judged.end_ms,
    )


def _word(key: ReleaseKey, record: VerdictRecord | RecommendationRecord) -> Word | None:
    if isinstance(record, VerdictRecord):
        said: str = record.verdict
        more: dict[str, object] = {"id": record.recommendation_id}
    elif record.test:
        return None
    else:
        said = record.action
        more = {
            "id": record.id,
            "revision": record.revision,
            "state": record.state,
            "segment": record.segment,
            "episode_start_ms": record.episode_start_ms,
        }
    return Word(
        record.decided_at,
        said,
        key.component,
        record.rule,
        record.log_e,
        tuple(record.reasons),
        record.sentence,
        **more,  # type: ignore[arg-type]
    )


def _noting_ends(
    lines: Iterable[bytes], ended: dict[tuple[str, str, str], int]
) -> Iterable[bytes]:
    for line in lines:
        if b'"phase"' in line and any(end.encode() in line for end in ENDS):
            _note_ends(line, ended)
        yield line


def _note_ends(line: bytes, ended: dict[tuple[str, str, str], int]) -> None:
    try:
        whole = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return
    for member in whole if isinstance(whole, list) else [whole]:
        if not isinstance(member, dict) or member.get("phase") not in ENDS:
            continue
        if member.get("component") is None and isinstance(member.get("ts"), int):
            environment = str(member.get("environment") or "production")
            place = (str(member.get("service")), environment)
            ended.setdefault((*place, str(member.get("release"))), member["ts"])
