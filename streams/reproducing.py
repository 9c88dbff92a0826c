"""Past decisions made again: under which rules, from which part of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from detector.audit import Audited, Kind, read
from detector.engine import Partition
from detector.replay import Replay
from detector.reproduce import DECISIONS, Compared, Rerun, compare
from detector.rulefile import RuleSet
from detector.version import CODE_VERSION
from streams.errors import Refused
from streams.pastlog import BATCH, PastLog

PLAIN_APART = frozenset({"offset", "evidence_offset"})
"""What a plain recording can not give again: it has offsets of its own."""

VERSION_APART = frozenset({"code_version"})


class Ran(NamedTuple):
    """One partition that was run again: from which records, under which rules."""

    partition: int
    first: int
    end: int
    rules_hash: str


@dataclass
class Outcome:
    """What replay found.

    ``missing`` says of which partitions not enough is held, and what would help;
    ``apart`` names fields that were not compared.
    """

    compared: Compared = field(default_factory=Compared)
    ran: list[Ran] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unchecked: int = 0
    apart: frozenset[str] = frozenset()


class Missing(Refused):
    """The log or the rules do not reach back as far as needed."""


def other_versions(records: Iterable[Audited]) -> Counter[str]:
    """Versions of the code other than this one, and how many records are theirs."""
    named = (r.body.get("code_version", CODE_VERSION) for r in records)
    return Counter(str(name) for name in named if name != CODE_VERSION)


class Reproducer:
    """Runs partitions of a past log again.

    Parameters
    ----------
    audit : sequence of Audited
        The whole audit: it says which rules a partition began with.
    past : PastLog
        The log.
    known : dict
        Rule sets that are at hand, by hash; the first is taken where the audit does
        not say with which a partition began.
    """

    def __init__(
        self,
        audit: Sequence[Audited],
        past: PastLog,
        known: dict[str, RuleSet],
        step: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._audit = audit
        self._past = past
        self._known = known
        self._step = step

    def all(self, apart: frozenset[str] = frozenset()) -> Outcome:
        """Every record of the audit, each partition of the log in one pass."""
        outcome = Outcome(apart=apart)
        reruns: dict[int, Rerun] = {}
        for number in self._past.held():
            try:
                reruns[number] = self.begin(number)
            except Missing as error:
                outcome.missing.append(str(error))
        self._run(reruns, {})
        held = self._past.held()
        for number, rerun in sorted(reruns.items()):
            outcome.ran.append(_ran(rerun, held[number].end))
        mine = [r for r in self._audit if self._is_in(r, reruns, outcome)]
        outcome.unchecked = len(self._audit) - len(mine)
        said = [s for rerun in reruns.values() for s in rerun.said]
        outcome.compared = compare(mine, said, apart=apart)
        self._leave_newest(outcome.compared)
        return outcome

    def some(
        self, wanted: Sequence[Audited], apart: frozenset[str] = frozenset()
    ) -> Outcome:
        """Records about one release: its partition alone, no further than needed.

        Raises
        ------
        Missing
            Not enough of the log or of the rules is held.
        """
        number = self.partition_of(wanted[0].service)
        last = max(record.offset for record in wanted)
        held = self._past.held()[number]
        if held.end <= last:
            raise Missing(
                f"{self._past.name}: partition {number} ends at offset {held.end}, and "
                f"{last} decided it: give a later recording with --history"
            )
        rerun = self.begin(number)
        self._run({number: rerun}, {number: last + 1})
        names = {record.name for record in wanted}
        said = [s for s in rerun.said if s.name in names or s.offset == last]
        outcome = Outcome(ran=[_ran(rerun, last + 1)], apart=apart)
        outcome.compared = compare(wanted, said, apart=apart)
        outcome.compared.absent = []
        return outcome

    def partition_of(self, service: str) -> int:
        """The partition of a service.

        Raises
        ------
        Missing
            It does not occur in the log.
        """
        number = self._past.partition_of(service)
        if number is None or number not in self._past.held():
            raise Missing(
                f"{self._past.name}: nothing of service {service}: give the recording "
                "that holds it with --history"
            )
        return number

    def begin(self, number: int) -> Rerun:
        """A partition before its first record.

        Raises
        ------
        Missing
            Its first records or rules are not held.
        """
        held = self._past.held()[number]
        needed = [r for r in self._audit if self._past_of(r) == number]
        if held.first > 0 and (needed or held.end > held.first):
            raise Missing(
                f"{self._past.name}: partition {number} begins at offset {held.first}: "
                f"records 0 to {held.first - 1} are gone (retention), and a state that "
                "starts without them decides otherwise. Give recordings that reach "
                "back to offset 0 with --history (`hypercare record --exact`)"
            )
        if held.gap >= 0:
            raise Missing(
                f"{self._past.name}: partition {number} has nothing from offset "
                f"{held.gap} on to the next recording: give the one between, too"
            )
        rules = self._rules_of(number, needed)
        return Rerun(Partition(number, rules))

    def _past_of(self, record: Audited) -> int | None:
        if not record.service or record.is_for_all:
            return None
        return self._past.partition_of(record.service)

    def _rules_of(self, number: int, needed: Sequence[Audited]) -> RuleSet:
        """The rules that a partition began with, as its first decision names them."""
        given = next(iter(self._known.values()))
        if not needed:
            return given
        first = min(needed, key=lambda record: record.offset)
        wanted = str(first.body.get("rules_hash"))
        if wanted in self._known:
            return self._known[wanted]
        if wanted in self._past.rulesets(number):
            return given  # it came by a reload, before anything was decided
        raise Missing(
            f"partition {number} began under rules {wanted[:12]} ({first.about}, "
            f"offset {first.offset}), which no command in the log holds: give that "
            f"file with --rules; at hand are {', '.join(h[:12] for h in self._known)}"
        )

    def _run(self, reruns: dict[int, Rerun], ends: dict[int, int]) -> None:
        for number, records in self._past.chunks(reruns):
            end = ends.get(number)
            if end is not None and records[0].offset >= end:
                if len(reruns) == 1:
                    return
                continue
            own = [r for r in records if end is None or r.offset < end]
            reruns[number].feed(own)
            self._step(len(own))

    def _is_in(
        self, record: Audited, reruns: dict[int, Rerun], outcome: Outcome
    ) -> bool:
        """Whether a record belongs to what was run."""
        if not outcome.missing or record.kind is Kind.DAMAGED:
            return True
        number = self._past_of(record)
        return number is not None and number in reruns

    def _leave_newest(self, compared: Compared) -> None:
        """Set aside what the audit may not have yet, or no longer.

        Outputs leave in order, so what is behind the last that was heard of a release
        is on its way; what is before the first may be over its retention.
        """
        spans: dict[str, tuple[int, int]] = {}
        for record in self._audit:
            low, high = spans.get(record.about, (record.offset, record.offset))
            least, most = min(low, record.offset), max(high, record.offset)
            spans[record.about] = (least, most)
        compared.absent = [
            one
            for one in compared.absent
            if one.about in spans
            and spans[one.about][0] <= one.offset <= spans[one.about][1]
        ]


def _ran(rerun: Rerun, end: int) -> Ran:
    return Ran(rerun.partition.number, 0, end, rerun.partition.rulebook.default.hash)


def plain_outcome(
    audited: Sequence[Audited],
    lines: Iterable[bytes],
    known: dict[str, RuleSet],
    apart: frozenset[str],
) -> Outcome:
    """Compare with a plain recording, which keeps neither offsets nor partitions.

    Raises
    ------
    Missing
        The first decision was made under rules that are not at hand.
    """
    decisions = [r for r in audited if r.kind is not Kind.COMMAND]
    first = min(
        (r for r in decisions if r.offset >= 0),
        key=lambda r: int(r.body.get("decided_at", 0)),
        default=None,
    )
    wanted = str(first.body.get("rules_hash")) if first else next(iter(known))
    rules = known.get(wanted)
    if rules is None:
        raise Missing(
            f"{first.about if first else ''} was decided under rules {wanted[:12]}: "
            f"give that file with --rules; at hand are "
            f"{', '.join(h[:12] for h in known)}"
        )
    replay = Replay(rules)
    said: list[Audited] = []
    batch: list[bytes] = []

    def feed() -> None:
        for output in replay.partition.apply(replay.records(batch)).records:
            if output.topic in DECISIONS:
                said.append(read("replay", output.value))
        batch.clear()

    for line in lines:
        batch.append(line)
        if len(batch) >= BATCH:
            feed()
    feed()
    apart = apart | PLAIN_APART
    outcome = Outcome(apart=apart, unchecked=len(audited) - len(decisions))
    kept = [s for s in said if s.kind is not Kind.COMMAND]
    outcome.compared = compare(decisions, kept, apart=apart)
    outcome.compared.absent = []
    return outcome


def rules_at_hand(given: RuleSet, shipped: RuleSet) -> dict[str, RuleSet]:
    """Rule sets by hash, the given one first."""
    return {given.hash: given, shipped.hash: shipped}
