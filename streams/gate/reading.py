"""What is known of a release, read from the topics that workers write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from kafka.errors import KafkaError
from msgspec import Struct

from acting.records import SAME_TIME_MS
from detector.verdicts import RecommendationRecord, Verdict, VerdictRecord
from detector.version import CODE_VERSION
from detector.wire import scope_name
from streams.errors import Unreachable
from streams.greeting import explained_error
from streams.lanes import partition_of
from streams.logreader import consumer_of, partitions_of
from streams.pulse import Pulse
from streams.settings import Settings
from streams.signing import HEADER
from streams.topics import LOG, PULSE

POLL_MS = 500
RECOMMENDED_WITHIN_MS = 20 * 60_000
"""Twice as long as a recommendation is fresh; older ones are of no use."""


class Unreadable(Exception):
    """A worker's record is of no known form; the text says what to do."""


class Release(NamedTuple):
    """What a question is about: a release, or a component of it."""

    service: str
    environment: str
    release: str
    component: str | None

    @property
    def names(self) -> list[bytes]:
        """Keys of the verdicts that may be about it: its own, then the release's.

        A component that a release brings has no verdict of its own.
        """
        whole = self._replace(component=None)
        return [scope_name(*one).encode() for one in dict.fromkeys((self, whole))]


class Signed(NamedTuple):
    """A recommendation as it stands in its topic."""

    topic: str
    key: str
    value: bytes
    signature: str
    record: RecommendationRecord


class Situation(NamedTuple):
    """What workers have said of one release.

    ``told_ms`` is when the owner of its partition last spoke, ``services`` how many
    services have a verdict, ``regressed`` how many of them have got a bad one just now.
    """

    verdict: VerdictRecord | None
    recommendation: Signed | None
    pulse: Pulse | None
    told_ms: int | None
    services: int
    regressed: int = 0


class _Named(Struct):
    service: str
    environment: str
    verdict: Verdict
    decided_at: int


class Topics:
    """Reads whole topics up to their present end.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    monotonic_s : callable
        Clock for time limits.
    """

    def __init__(self, settings: Settings, *, monotonic_s: Callable[[], float]) -> None:
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._consumer: Any = consumer_of(settings, "gate")

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def situation(self, asked: Release, now_ms: int) -> Situation:
        """What workers have said of a release.

        Raises
        ------
        Unreachable
            If Kafka does not answer, or has no such topics.
        Unreadable
            If what a worker wrote can not be read.
        """
        with self._explained():
            verdict, services, regressed = self._verdict(asked, now_ms)
            wanted = verdict.recommendation_id if verdict else None
            since_ms = now_ms - RECOMMENDED_WITHIN_MS
            recommendation = (
                self._recommendation(wanted, since_ms) if wanted is not None else None
            )
            if not is_about(asked, verdict, recommendation):
                verdict = recommendation = None
            pulse, told_ms = self._pulse(asked.service)
        return Situation(verdict, recommendation, pulse, told_ms, services, regressed)

    def recommendation(self, name: str, since_ms: int | None = None) -> Signed | None:
        """The newest revision of a recommendation, however old; raises as `situation`.

        ``since_ms`` spares reading what was written before.
        """
        with self._explained():
            return self._recommendation(name, since_ms)

    def services(self) -> set[tuple[str, str]]:
        """Services and environments that have a verdict; raises as `situation`."""
        with self._explained():
            named = (
                msgspec.json.decode(record.value, type=_Named)
                for record in self._read(self._parts("verdicts"))
                if record.value
            )
            return {(one.service, one.environment) for one in named}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            raise explained_error(self._settings, error) from error
        except msgspec.DecodeError as error:
            raise Unreadable(
                f"what a worker wrote can not be read ({error}): is it newer than "
                f"this hypercare {CODE_VERSION}?"
            ) from error

    def _verdict(
        self, asked: Release, now_ms: int
    ) -> tuple[VerdictRecord | None, int, int]:
        """The newest about it; number of services, and of those just regressed."""
        names = asked.names
        newest: dict[bytes, bytes] = {}
        known: dict[bytes, _Named] = {}
        for record in self._read(self._parts("verdicts")):
            if record.key in names:
                newest[record.key] = record.value
            if record.value:
                known[record.key] = msgspec.json.decode(record.value, type=_Named)
            else:
                known.pop(record.key, None)
        value = next((newest[name] for name in names if newest.get(name)), None)
        found = msgspec.json.decode(value, type=VerdictRecord) if value else None
        services = {one.service for one in known.values()}
        return found, len(services), regressed_now(known.values(), now_ms)

    def _recommendation(self, name: str, since_ms: int | None) -> Signed | None:
        parts = self._parts("recommendations")
        part = parts[partition_of(name.encode(), len(parts))]
        newest: Signed | None = None
        for record in self._read([part], since_ms):
            if record.key != name.encode():
                continue
            found = signed_of(record)
            if is_newer(found, newest):
                newest = found
        return newest

    def _pulse(self, service: str) -> tuple[Pulse | None, int | None]:
        partitions = len(self._parts(LOG))
        wanted = str(partition_of(service.encode(), partitions)).encode()
        newest: Any = None
        for record in self._read(self._parts(PULSE)):
            if record.key == wanted:
                newest = record
        if newest is None:
            return None, None
        return msgspec.json.decode(newest.value, type=Pulse), int(newest.timestamp)

    def _parts(self, name: str) -> list[Any]:
        return partitions_of(self._settings, self._consumer, self._settings.topic(name))

    def _read(self, parts: list[Any], since_ms: int | None = None) -> Iterator[Any]:
        consumer, ends = self._consumer, self._consumer.end_offsets(parts)
        consumer.assign(parts)
        if since_ms is None:
            consumer.seek_to_beginning(*parts)
        else:
            found = consumer.offsets_for_times(dict.fromkeys(parts, since_ms))
            for part in parts:
                at = found.get(part)
                consumer.seek(part, ends[part] if at is None else at.offset)
        until_s = self._monotonic_s() + self._settings.io_timeout_s
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(POLL_MS).values():
                yield from records
                until_s = self._monotonic_s() + self._settings.io_timeout_s
            if self._monotonic_s() > until_s:
                raise Unreachable(
                    f"topic {parts[0].topic} gives no records: ask Kafka's operator"
                )


def regressed_now(verdicts: Iterable[_Named | VerdictRecord], now_ms: int) -> int:
    """Number of services with a release that was found regressed just now."""
    since_ms = now_ms - SAME_TIME_MS
    return len(
        {
            one.service
            for one in verdicts
            if one.verdict is Verdict.REGRESSED and one.decided_at >= since_ms
        }
    )


def signed_of(record: Any) -> Signed:
    """A record of the topic of recommendations, decoded.

    Raises
    ------
    msgspec.DecodeError
        If it is none, whatever it is: nobody who reads may stop at what a stranger, or
        a tool that empties records, has written.
    """
    try:
        key = record.key.decode()
        body = msgspec.json.decode(record.value or b"", type=RecommendationRecord)
    except (UnicodeDecodeError, AttributeError, RecursionError) as error:
        raise msgspec.DecodeError(f"no recommendation: {error}") from error
    signature = (dict(record.headers).get(HEADER) or b"").decode("ascii", "replace")
    return Signed(record.topic, key, record.value, signature, body)


def is_about(
    asked: Release, verdict: VerdictRecord | None, found: Signed | None
) -> bool:
    """Whether a verdict answers a question about a component.

    That of a whole release does only as far as its recommendation is about it.
    """
    if verdict is None or asked.component == verdict.component:
        return True
    return found is not None and found.record.component == asked.component


def is_newer(found: Signed, known: Signed | None) -> bool:
    """Whether a record replaces the one that was known."""
    if known is None:
        return True
    ages = [(one.record.revision, one.record.issued_at) for one in (found, known)]
    return ages[0] >= ages[1]
