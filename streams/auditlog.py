"""The audit: everything that was said, from its topic or from a file of its records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from kafka.errors import KafkaError

from detector.audit import Audited, Kind, about, read, without_copies
from streams.errors import Refused
from streams.greeting import explained_error
from streams.logreader import consumer_of, partitions_of
from streams.settings import Settings

AUDIT = "audit"
ID = re.compile(r"rec_[a-z2-7]{26}")
"""What ids of recommendations look like."""

POLL_MS = 1000


class Placed(NamedTuple):
    """A record of the audit and where it stands."""

    place: str
    value: bytes


def read_audit(settings: Settings, file: Path | None) -> list[Audited]:
    """All records of the audit, each once, in the order of what they are about.

    Parameters
    ----------
    file : Path, optional
        Made by ``hypercare record --audit``; the topic where it is None.

    Raises
    ------
    Refused
        The file can not be read, or there is nothing in the audit.
    Unreachable
        Kafka does not answer or has no such topic.
    """
    placed = topic_records(settings) if file is None else _file_records(file)
    found = without_copies(read(one.place, one.value) for one in placed)
    if not found:
        raise Refused(
            f"{file or settings.topic(AUDIT)}: no record: nothing was decided yet, or "
            "its retention is over; `hypercare record --audit FILE` keeps it"
        )
    return found


def topic_records(settings: Settings) -> Iterator[Placed]:
    """The audit in Kafka up to its present end, partition by partition."""
    topic = settings.topic(AUDIT)
    try:
        with closing(consumer_of(settings)) as consumer:
            reader: Any = consumer
            parts = partitions_of(settings, reader, topic)
            ends = reader.end_offsets(parts)
            for part in parts:
                reader.assign([part])
                reader.seek_to_beginning(part)
                while reader.position(part) < ends[part]:
                    for records in reader.poll(POLL_MS).values():
                        for one in records:
                            place = f"{topic}[{part.partition}]@{one.offset}"
                            yield Placed(place, one.value or b"")
    except KafkaError as error:
        raise explained_error(settings, error) from error


def _file_records(path: Path) -> Iterator[Placed]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                value = line.rstrip(b"\r\n")
                if value:
                    yield Placed(f"{path}:{number}", value)
    except OSError as error:
        raise Refused(f"{path}: {error}: give a readable file") from error


def chosen(records: Sequence[Audited], wanted: str) -> list[Audited]:
    """The records that an ID names.

    A recommendation: all its revisions. A release: its newest verdict.

    Raises
    ------
    Refused
        Nothing has that name; the message says what there is.
    """
    if ID.fullmatch(wanted):
        found = [
            r
            for r in records
            if r.kind is Kind.RECOMMENDATION and r.body.get("id") == wanted
        ]
        if found:
            return sorted(found, key=_moment)
        raise Refused(
            f"{wanted}: no such recommendation in the audit, which keeps 90 days: "
            + _known(records, Kind.RECOMMENDATION)
        )
    found = [r for r in records if r.kind is Kind.VERDICT and r.about == wanted]
    if found:
        return [max(found, key=_moment)]
    raise Refused(
        f"{wanted}: neither rec_... nor service/environment/release[/component] with a "
        f"verdict in the audit: {_known(records, Kind.VERDICT)}"
    )


def _known(records: Sequence[Audited], kind: Kind) -> str:
    own = [r for r in sorted(records, key=_moment) if r.kind is kind]
    name = "id" if kind is Kind.RECOMMENDATION else ""
    names = [str(r.body.get("id")) if name else about(r.body) for r in own]
    newest = list(dict.fromkeys(reversed(names)))[:5]
    return f"newest there: {', '.join(newest)}" if newest else "it holds none"


def _moment(record: Audited) -> tuple[int, int, int]:
    """When something was said, and in which order within one moment."""
    body = record.body
    facts = (body.get(n) for n in ("decided_at", "revision", "window_end"))
    decided, revision, end = (f if isinstance(f, int) else 0 for f in facts)
    return decided, revision, end
