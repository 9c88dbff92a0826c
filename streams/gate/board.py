"""What workers have said, kept in memory: for those who are asked again and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
from kafka.errors import KafkaError

from acting.drilling import SERVICE as DRILL_SERVICE
from detector.verdicts import VerdictRecord
from streams.errors import Unreachable
from streams.gate.reading import (
    RECOMMENDED_WITHIN_MS,
    Release,
    Signed,
    Situation,
    is_about,
    is_newer,
    regressed_now,
    signed_of,
)
from streams.greeting import explained_error
from streams.lanes import partition_of
from streams.logreader import consumer_of, partitions_of
from streams.pulse import Pulse
from streams.settings import Settings
from streams.topics import LOG, PULSE

logger = logging.getLogger(__name__)

POLL_MS = 250
VERDICTS, RECOMMENDATIONS = "verdicts", "recommendations"


class Board:
    """Follows the topics of workers in a thread.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    now_ms : callable
        Wall clock, for what is too old to matter.
    """

    def __init__(self, settings: Settings, *, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._verdicts: dict[bytes, VerdictRecord] = {}
        self._recommended: dict[str, Signed] = {}
        self._drilled: Signed | None = None
        self._pulses: dict[int, tuple[Pulse, int]] = {}
        self._partitions = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)
        self._takes: dict[str, Callable[[Any], None]] = {
            settings.topic(VERDICTS): self._verdict,
            settings.topic(RECOMMENDATIONS): self._recommendation,
            settings.topic(PULSE): self._pulse,
        }
        self.problem = "the topics have not been read yet"

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def situation(self, asked: Release, now_ms: int) -> Situation:
        """What workers have said of a release.

        Raises
        ------
        Unreachable
            While Kafka does not answer: what was read before may be over.
        """
        if self.problem:
            raise Unreachable(self.problem)
        with self._lock:
            known = [self._verdicts.get(name) for name in asked.names]
            verdict = next((one for one in known if one is not None), None)
            wanted = verdict.recommendation_id if verdict else None
            found = self._recommended.get(wanted) if wanted else None
            if not is_about(asked, verdict, found):
                verdict = found = None
            pulse, told_ms = self._pulses.get(
                partition_of(asked.service.encode(), self._partitions), (None, None)
            )
            services = len({one.service for one in self._verdicts.values()})
            regressed = regressed_now(self._verdicts.values(), now_ms)
        return Situation(verdict, found, pulse, told_ms, services, regressed)

    def recommendations(self) -> list[Signed]:
        """All that were issued within the last minutes, newest first."""
        since_ms = self._now_ms() - RECOMMENDED_WITHIN_MS
        with self._lock:
            found = [
                one
                for one in self._recommended.values()
                if one.record.issued_at >= since_ms
            ]
        return sorted(found, key=lambda one: (-one.record.issued_at, one.key))

    def drill(self, asked: Release) -> Signed | None:
        """The newest drill, where it is what is asked about."""
        with self._lock:
            found = self._drilled
        if found is None:
            return None
        wanted = found.record
        about = wanted.service, wanted.environment, wanted.release, wanted.component
        return found if wanted.service == DRILL_SERVICE and about == asked else None

    # In the thread.

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                with closing(consumer_of(self._settings, "board")) as consumer:
                    self._follow(consumer)
            except (KafkaError, Unreachable) as error:
                found = (
                    explained_error(self._settings, error)
                    if isinstance(error, KafkaError)
                    else error
                )
                self.problem = str(found)
                logger.warning("board.waiting: %s", found)
                self._ending.wait(self._settings.io_timeout_s / 5)
            except Exception as error:
                # Whoever asks hears that nobody knows, until it works again.
                self.problem = f"the gates can not read: {error!r}"
                logger.exception("board.failed")
                self._ending.wait(self._settings.io_timeout_s)

    def _follow(self, consumer: Any) -> None:
        conf = self._settings
        self._partitions = len(partitions_of(conf, consumer, conf.topic(LOG)))
        parts = [p for t in self._takes for p in partitions_of(conf, consumer, t)]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        waiting = consumer.end_offsets(parts)
        while not self._ending.is_set():
            for records in consumer.poll(POLL_MS).values():
                for record in records:
                    self._take(record)
            waiting = {p: e for p, e in waiting.items() if consumer.position(p) < e}
            if not waiting:
                self.problem = ""
                self._forget()

    def _take(self, record: Any) -> None:
        try:
            with self._lock:
                self._takes[record.topic](record)
        except msgspec.DecodeError as error:
            place = f"{record.topic}[{record.partition}]@{record.offset}"
            logger.warning("board.unreadable %s: %s", place, error)

    def _verdict(self, record: Any) -> None:
        if record.value is None:
            self._verdicts.pop(record.key, None)
            return
        self._verdicts[record.key] = msgspec.json.decode(
            record.value, type=VerdictRecord
        )

    def _recommendation(self, record: Any) -> None:
        found = signed_of(record)
        if found.record.test:
            # A drill goes its own way and is nobody else's; the newest one is kept.
            self._drilled = found
            return
        if is_newer(found, self._recommended.get(found.key)):
            self._recommended[found.key] = found

    def _pulse(self, record: Any) -> None:
        pulse = msgspec.json.decode(record.value or b"", type=Pulse)
        self._pulses[pulse.partition] = pulse, int(record.timestamp)

    def _forget(self) -> None:
        since_ms = self._now_ms() - 3 * RECOMMENDED_WITHIN_MS
        with self._lock:
            for name in [
                n
                for n, one in self._recommended.items()
                if one.record.issued_at < since_ms
            ]:
                del self._recommended[name]
