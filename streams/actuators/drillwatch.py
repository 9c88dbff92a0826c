"""What came back of a drill from the receivers of `hypercare act`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError

from streams.actuators.drilling import ROLL
from streams.actuators.parcel import Parcel, State
from streams.greeting import explained_error
from streams.logreader import consumer_of
from streams.settings import Settings
from streams.topictable import DELIVERIES

POLL_MS = 250


class Heard(NamedTuple):
    """A receiver, whether its drill went well, how long it took, what was seen."""

    receiver: str
    is_fine: bool
    took_ms: int
    text: str


class DrillWatch:
    """Reads what receivers note of a drill; made before the drill is written.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    monotonic_s : callable
        Clock for the limit.

    Raises
    ------
    Unreachable
        If Kafka does not answer.
    """

    def __init__(self, settings: Settings, *, monotonic_s: Callable[[], float]) -> None:
        self._settings, self._monotonic_s = settings, monotonic_s
        self._part = TopicPartition(settings.topic(DELIVERIES), 0)
        self._consumer: Any = consumer_of(settings, "drill")
        try:
            self._consumer.assign([self._part])
            self._consumer.seek_to_end(self._part)
            self._consumer.position(self._part)
        except KafkaError as error:
            self._consumer.close()
            raise explained_error(settings, error) from error

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def heard(self, event: str, limit_s: float) -> Iterator[Heard]:
        """Each receiver's answer as it comes; who gave none by the limit comes last.

        Raises
        ------
        Unreachable
            If Kafka does not answer.
        """
        until_s = self._monotonic_s() + limit_s
        # Who was handed it is told first, in one record before all answers.
        roll: list[str] = []
        told: set[str] = set()
        while self._monotonic_s() < until_s and not (roll and told >= set(roll)):
            for parcel in self._poll(event):
                if parcel.receiver == ROLL:
                    roll = parcel.detail.split(",")
                    continue
                told.add(parcel.receiver)
                is_fine = parcel.state is State.DONE
                took_ms = parcel.next_ms - parcel.begun_ms
                yield Heard(parcel.receiver, is_fine, took_ms, parcel.detail)
        limit, waited_ms = f"no answer within {limit_s:g} s", round(limit_s * 1000)
        if not roll:
            text = f"{limit}: does `hypercare act` run, with these public keys?"
            yield Heard("all receivers", False, waited_ms, text)
        for name in roll:
            if name not in told:
                yield Heard(name, False, waited_ms, limit)

    def _poll(self, event: str) -> Iterator[Parcel]:
        try:
            found = self._consumer.poll(POLL_MS)
        except KafkaError as error:
            raise explained_error(self._settings, error) from error
        for records in found.values():
            for record in records:
                if record.key.decode("utf-8", "replace").endswith(f"|{event}"):
                    yield msgspec.json.decode(record.value, type=Parcel)
