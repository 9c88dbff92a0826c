"""Past decisions made again from the log, and compared byte by byte.

A partition of the log from its first record on, with the offsets and timestamps that
Kafka gave, through the core that runs live: the same bytes come out, or something is
not as it was.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from detector.audit import Audited, Difference, Kind, difference, read, stripped
from detector.engine import Partition
from detector.records import LogRecord
from detector.wire import COMMANDS, RECOMMENDATIONS, VERDICTS

DECISIONS = (VERDICTS, RECOMMENDATIONS, COMMANDS)
NEAREST_MOST = 200
"""Records among which one that fits none by name is looked for."""


@dataclass
class Rerun:
    """A partition that is run again, and what it said.

    Attributes
    ----------
    partition : Partition
        As it was before the first record that is given.
    floor : int
        Only what was decided at this offset or later is said anew: the state that it
        began with knows what was said before.
    said : list of Audited
        What came out, in order.
    """

    partition: Partition
    floor: int = 0
    said: list[Audited] = field(default_factory=list)

    def feed(self, records: Sequence[LogRecord]) -> None:
        """Apply records of the log in their order."""
        for output in self.partition.apply(records).records:
            if output.topic in DECISIONS:
                self.said.append(read("replay", output.value))


@dataclass
class Disagreement:
    """A record of the audit that replay does not give, or the other way round."""

    record: Audited
    difference: Difference | None
    replayed: Audited | None = None


@dataclass
class Compared:
    """How the audit of a partition and its replay compare.

    ``identical`` counts records by kind; ``differing`` are records of the audit that
    came out otherwise or not at all, ``absent`` decisions the audit does not have.
    """

    identical: Counter[Kind] = field(default_factory=Counter)
    differing: list[Disagreement] = field(default_factory=list)
    absent: list[Audited] = field(default_factory=list)

    def add(self, other: Compared) -> None:
        """Take another partition's figures in."""
        self.identical.update(other.identical)
        self.differing += other.differing
        self.absent += other.absent


def compare(
    audited: Sequence[Audited],
    said: Iterable[Audited],
    *,
    apart: Collection[str] = (),
    floor: int = 0,
) -> Compared:
    """Compare the audit with what replay says about the same part of the log.

    Parameters
    ----------
    audited : sequence of Audited
        Of one partition of the log.
    apart : collection of str
        Fields that are not compared.
    floor : int
        Offsets below it are not compared.
    """
    found = Compared()
    left: defaultdict[str, list[Audited]] = defaultdict(list)
    for one in said:
        if one.offset >= floor:
            left[one.name].append(one)
    unlike: list[Audited] = []
    taken: set[int] = set()
    for record in audited:
        if record.kind is not Kind.DAMAGED and record.offset < floor:
            continue
        body = stripped(record, apart)
        same = [s for s in left[record.name] if stripped(s, apart) == body]
        if same:
            taken.update(map(id, same))
            found.identical[record.kind] += 1
        else:
            unlike.append(record)
    rest = [s for several in left.values() for s in several if id(s) not in taken]
    for record in unlike:
        nearest = _nearest(record, rest)
        if nearest is None:
            found.differing.append(Disagreement(record, None))
            continue
        rest.remove(nearest)
        told = difference(record, nearest, apart)
        found.differing.append(Disagreement(record, told, nearest))
    found.absent = rest
    return found


def _nearest(record: Audited, rest: Sequence[Audited]) -> Audited | None:
    """What a record that was changed may have been: the same name, or most alike."""
    named = [s for s in rest if record.name and s.name == record.name]
    if named:
        return named[0]
    alike = [s for s in rest if s.about == record.about and s.kind is record.kind]
    pool = (alike or list(rest))[:NEAREST_MOST]
    best = max(pool, key=lambda s: _likeness(record.value, s.value), default=None)
    if best is None or 2 * _likeness(record.value, best.value) < len(best.value):
        return None
    return best


def _likeness(one: bytes, other: bytes) -> int:
    """How many bytes two records have in common at their beginning and end."""
    most = min(len(one), len(other))
    head = next((n for n in range(most) if one[n] != other[n]), most)
    tail = next((n for n in range(most - head) if one[-1 - n] != other[-1 - n]), 0)
    return head + tail
