"""The topic of claims: append, read up to it, and see what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from acting.answers import Ruling
from acting.ledger import Ledger
from acting.records import Claim, Damaged, Record, decode, encode
from streams.errors import Refused, Unreachable
from streams.greeting import explained_error, open_client
from streams.logreader import consumer_of
from streams.settings import Settings
from streams.topics import EXECUTIONS

logger = logging.getLogger(__name__)

POLL_MS = 500


class Executions:
    """All claims, outcomes and orders up to now, and a way to add one.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    monotonic_s : callable
        Clock for time limits.
    """

    def __init__(self, settings: Settings, *, monotonic_s: Callable[[], float]) -> None:
        self.ledger = Ledger()
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._part = TopicPartition(settings.topic(EXECUTIONS), 0)
        self._consumer: Any = consumer_of(settings, "executions")
        self._producer: Any = None
        self._has_read = False
        with self._explained():
            self._consumer.assign([self._part])
            self._consumer.seek_to_beginning(self._part)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()
        if self._producer is not None:
            self._producer.close()

    def catch_up(self) -> None:
        """Read what stands in the topic now."""
        with self._explained():
            self._read_to(self._consumer.end_offsets([self._part])[self._part])
        self._has_read = True

    def append(self, record: Record) -> None:
        """Write a record and read up to it.

        Raises
        ------
        Refused
            If no reader would take the record; nothing is written then.
        """
        value = encode(record)
        try:
            decode(value)
        except Damaged as error:
            raise Refused(f"nobody would read this: {error}") from error
        if not self._has_read:
            # Who may write and not read would take a lease and never hear of it.
            self.catch_up()
        with self._explained():
            if self._producer is None:
                self._producer = open_client(
                    self._settings,
                    KafkaProducer,
                    "executions",
                    acks="all",
                    enable_idempotence=True,
                )
            sent = self._producer.send(
                self._part.topic, value, partition=self._part.partition
            )
            told = sent.get(timeout=self._settings.io_timeout_s)
            self._read_to(told.offset + 1)

    def claim(self, claim: Claim) -> Ruling:
        """Write a claim; what became of it is the same for every reader."""
        self.append(claim)
        return self.ledger.rulings[claim.token]

    def _read_to(self, end: int) -> None:
        until_s = self._monotonic_s() + self._settings.io_timeout_s
        while self._consumer.position(self._part) < end:
            for records in self._consumer.poll(POLL_MS).values():
                for record in records:
                    self._take(record)
            if self._monotonic_s() > until_s:
                raise Unreachable(
                    f"topic {self._part.topic} gives no records: ask Kafka's operator"
                )

    def _take(self, record: Any) -> None:
        try:
            found = decode(record.value)
        except Damaged as error:
            # Somebody else writes here; it decides nothing, and nothing stops.
            place = f"{self._part.topic}[0]@{record.offset}"
            logger.warning("executions.damaged %s: %s", place, error)
        else:
            self.ledger.take(found, record.timestamp)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            raise explained_error(self._settings, error) from error
