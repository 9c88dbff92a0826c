"""What is to be told: the story from the audit, the course of evidence from the log.

Verdicts are written down when they change, so the audit alone has few points of the
course. With the log each window is made again, by the rules that held then, and the
records that come out on the way are compared with the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from math import log
from pathlib import Path
from typing import NamedTuple

from acting.known import Lease
from detector.audit import Audited, Kind, without_copies
from detector.records import LogRecord
from detector.replay import Replay
from detector.reproduce import Rerun, compare
from detector.rulefile import RuleSet
from detector.story import Point, Story, Watched, story_of
from streams.auditlog import chosen, read_audit
from streams.cli.common import lines_of
from streams.errors import Refused, Unreachable
from streams.gate.executions import Executions
from streams.pastlog import BATCH, KafkaPast, RecordedPast, is_exact
from streams.recording import plain_lines
from streams.reproducing import PLAIN_APART, VERSION_APART, Missing, Reproducer
from streams.settings import Settings
from streams.wallclock import monotonic_s


class Sources(NamedTuple):
    """Where to look.

    Attributes
    ----------
    audit : Path or None
        Recorded audit; the topic where it is None.
    histories : sequence of Path
        Recordings of the log; the topic where there are none. Without an audit they
        are judged anew and nothing else is asked.
    known : dict
        Rule sets at hand, by hash; the first where nothing names one.
    with_log : bool
        Whether the log is read at all.
    """

    audit: Path | None
    histories: Sequence[Path]
    known: dict[str, RuleSet]
    with_log: bool = True

    @property
    def is_recorded(self) -> bool:
        """Whether there is only a recording, no audit."""
        return self.audit is None and bool(self.histories)


class Found(NamedTuple):
    """All that can be told about one release.

    Attributes
    ----------
    story : Story
        What was said.
    points : list of Point
        The course of the evidence, by window if the log could be read.
    alpha : float or None
        Budget of the rule that judged, where that rule is known.
    leases : list of Lease
        Who carried something out.
    again : str
        How what came out on the way compares with the audit; empty if nothing did.
    differs : bool
        Whether something came out otherwise.
    notes : list of str
        What is missing, and why.
    """

    story: Story
    points: list[Point]
    alpha: float | None
    leases: list[Lease]
    again: str
    differs: bool
    notes: list[str]

    @property
    def level(self) -> float | None:
        """Evidence that the rule asks for."""
        return None if self.alpha is None else log(1.0 / self.alpha)


def gather(
    settings: Settings,
    wanted: str,
    sources: Sources,
    step: Callable[[int], None] = lambda count: None,
) -> Found:
    """Look everything up.

    Raises
    ------
    Refused
        Nothing has that name, or a file can not be read.
    Unreachable
        Kafka does not answer.
    """
    notes: list[str] = []
    audit = _records(settings, sources, notes)
    picked = chosen(audit, wanted)
    story = _story(audit, picked)
    alpha = _alpha(sources.known, story)
    found = Found(story, _sparse(story), alpha, [], "", False, notes)
    if sources.audit is None and not sources.is_recorded:
        found = found._replace(leases=_leases(settings, story, notes))
    if not sources.with_log:
        return found
    try:
        return _with_course(found, settings, audit, picked, sources, step)
    except (Missing, Unreachable) as error:
        notes.append(f"The evidence is known where the verdict changed only: {error}")
        return found


def _records(settings: Settings, sources: Sources, notes: list[str]) -> list[Audited]:
    """The audit; of a recording alone, what the rules at hand say about it."""
    if not sources.is_recorded:
        return read_audit(settings, sources.audit)
    names = ", ".join(map(str, sources.histories))
    replay = Replay(next(iter(sources.known.values())))
    rerun = Rerun(replay.partition)
    for records in _plain_records(replay, sources.histories):
        rerun.feed(records)
    if not rerun.said:
        raise Refused(f"{names}: leads to no verdict under these rules")
    notes.append(f"Judged anew from {names}; no audit was asked.")
    return without_copies(rerun.said)


def _story(audit: Sequence[Audited], picked: Sequence[Audited]) -> Story:
    try:
        return story_of(audit, picked)
    except ValueError as error:
        raise Refused(str(error)) from error


def _alpha(known: dict[str, RuleSet], story: Story) -> float | None:
    """The budget of the rule that judged, from the rule sets at hand."""
    rules = known.get(story.rules_hash)
    if rules is None:
        return None
    return next((r.alpha for r in rules.rules if r.name == story.rule), None)


def _sparse(story: Story) -> list[Point]:
    """The course as verdicts tell it: of the whole of a release, where it changed."""
    return [
        Point(
            verdict.window_end, one.signal, one.log_e, one.rate_ratio,
            one.candidate.units, one.candidate.bad,
            one.control_arm.units, one.control_arm.bad,
        )
        for verdict in story.verdicts
        for one in verdict.evidence
        if not one.segment
    ]  # fmt: skip


def _leases(settings: Settings, story: Story, notes: list[str]) -> list[Lease]:
    ids = {story.newest.id if story.newest else "", *story.others}
    try:
        with closing(Executions(settings, monotonic_s=monotonic_s)) as executions:
            executions.catch_up()
            leases = executions.ledger.known.leases.values()
            return [one for one in leases if one.recommendation.id in ids]
    except (Refused, Unreachable) as error:
        notes.append(f"What was carried out is not known: {error}")
        return []


def _with_course(
    found: Found,
    settings: Settings,
    audit: Sequence[Audited],
    picked: Sequence[Audited],
    sources: Sources,
    step: Callable[[int], None],
) -> Found:
    """The same with each window made again.

    Raises
    ------
    Missing
        The log or the rules do not reach back.
    """
    about, apart = found.story.about, VERSION_APART
    mine = [r for r in audit if r.about == about and r.kind is not Kind.COMMAND]
    last = max(record.offset for record in mine)
    if sources.is_recorded or not all(map(is_exact, sources.histories)):
        apart = apart | PLAIN_APART
        watched, chunks = _plain_course(about, audit, sources)
        last = -1
    else:
        past = (
            RecordedPast(sources.histories)
            if sources.histories
            else KafkaPast(settings)
        )
        maker = Reproducer(audit, past, sources.known)
        number = maker.partition_of(picked[0].service)
        watched = Watched(maker.begin(number), about)
        chunks = (chunk.records for chunk in past.chunks([number]))
    for records in chunks:
        watched.feed(records)
        step(len(records))
        if watched.is_over and records[-1].offset > last >= 0:
            break
    if not watched.points:
        raise Missing("nothing of it is in the log that is at hand")
    alpha = found.alpha or watched.alpha_of(found.story.rule)
    told = found._replace(points=watched.points, alpha=alpha)
    if sources.is_recorded:
        return told
    names = {record.name for record in mine}
    said = [one for one in watched.said if one.name in names]
    compared = compare(mine, said, apart=apart)
    same = compared.identical.total()
    again = f"{same} of {len(mine)} records came out the same"
    return told._replace(again=again, differs=bool(compared.differing))


def _plain_course(
    about: str, audit: Sequence[Audited], sources: Sources
) -> tuple[Watched, Iterator[list[LogRecord]]]:
    """Plain recordings, from the rules on that the first decision names."""
    rules = next(iter(sources.known.values()))
    if not sources.is_recorded:
        decided = (r for r in audit if r.kind is Kind.VERDICT)
        first = min(decided, key=lambda r: int(r.body.get("decided_at", 0)))
        wanted = str(first.body.get("rules_hash"))
        if wanted not in sources.known:
            raise Missing(
                f"{first.about} was judged first, under rules {wanted[:12]}: give that "
                "file with --rules"
            )
        rules = sources.known[wanted]
    replay = Replay(rules)
    watched = Watched(Rerun(replay.partition), about)
    return watched, _plain_records(replay, sources.histories)


def _plain_records(
    replay: Replay, histories: Iterable[Path]
) -> Iterator[list[LogRecord]]:
    lines = (line for path in histories for line in plain_lines(lines_of(path)))
    while batch := list(islice(lines, BATCH)):
        yield replay.records(batch)
