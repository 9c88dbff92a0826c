"""Where ``hypercare pilot`` hears what was said: topics, or files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from acting.known import LeaseState
from detector.backtest.words import Heard, Label, Name, heard
from detector.people import LABELS
from streams.errors import Refused
from streams.gate.executions import Executions
from streams.logreader import open_partitions
from streams.settings import Settings
from streams.topictable import ShadowTopics
from streams.wallclock import monotonic_s

AUDIT = "audit"
COLUMNS = ["service", "environment", "release", "label"]
NEWEST_MS = 2**53
"""What a file says counts more than what was told before."""


def heard_in(source: Path) -> Heard:
    """What stands in a file of JSON lines.

    Raises
    ------
    Refused
        It can not be read; the text names file and line.
    """
    try:
        with source.open("rb") as lines:
            return heard(lines, str(source))
    except OSError as error:
        raise Refused(f"{source}: {error}: give a readable file") from error
    except ValueError as error:
        raise Refused(str(error)) from error


def heard_live(settings: Settings) -> Heard:
    """What workers said and people told, in the audit: 90 days."""
    return _heard(settings, AUDIT)


def heard_shadow(settings: Settings, name: str) -> Heard:
    """What a candidate said, in its topics: 90 days.

    Raises
    ------
    Unreachable
        There are no topics of that name.
    """
    topics = ShadowTopics.of(name)
    return _heard(settings, topics.verdicts, topics.recommendations)


def executed_in(settings: Settings) -> set[str]:
    """Ids of the recommendations that somebody carried out by a claim."""
    with closing(Executions(settings, monotonic_s=monotonic_s)) as executions:
        executions.catch_up()
        leases = executions.ledger.known.leases.values()
        carried = (LeaseState.EXECUTED, LeaseState.HELD)
        return {one.recommendation.id for one in leases if one.state in carried}


def labels_in(source: Path) -> list[Label]:
    """Labels of releases in a CSV file: of what only a candidate said, say.

    Raises
    ------
    Refused
        A line is none; the text names it.
    """
    try:
        with source.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != COLUMNS:
                raise Refused(f"{source}: line 1: must be {','.join(COLUMNS)}")
            return [_label(source, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{source}: {error}: give a readable CSV file") from error


def _label(source: Path, number: int, row: dict[str, str]) -> Label:
    if row["label"] not in LABELS:
        words = ", ".join(LABELS)
        raise Refused(f"{source}: line {number}: label must be one of {words}")
    name = Name(row["service"], row["environment"], row["release"])
    return Label(NEWEST_MS, name, None, row["label"])


def _heard(settings: Settings, *topics: str) -> Heard:
    named = [settings.topic(topic) for topic in topics]
    values = chain.from_iterable(_values(settings, topic) for topic in named)
    try:
        return heard(values, ", ".join(named))
    except ValueError as error:
        raise Refused(str(error)) from error


def _values(settings: Settings, topic: str) -> Iterator[bytes]:
    for records in open_partitions(settings, topic):
        for record in records:
            yield record.value or b""
