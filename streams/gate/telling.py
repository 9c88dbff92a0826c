"""What people tell: to every gate at once, and to the workers through the log.

Gates are told first. What must not be executed then is not, even where no worker is
there to hear the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from acting.records import Order
from detector.events import Command
from streams.errors import Refused, Unreachable
from streams.gate.executions import Executions
from streams.gate.reading import Signed, Topics
from streams.greeting import explained_error, open_client
from streams.lanes import partition_of
from streams.settings import Settings
from streams.topics import LOG

RECOMMENDATION = "rec_"
NAMED_MOST = 10


class Place(NamedTuple):
    """Where a command stands in the log."""

    partition: int
    offset: int


class Telling:
    """Writes what people tell.

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

    def recommendation(self, name: str) -> Signed:
        """The newest revision of a recommendation.

        Raises
        ------
        Refused
            If there is none of this name.
        """
        if not name.startswith(RECOMMENDATION):
            raise Refused(
                f"{name!r} is no id of a recommendation ({RECOMMENDATION}...)"
            )
        with closing(self._topics()) as topics:
            found = topics.recommendation(name)
        if found is None:
            raise Refused(
                f"no recommendation {name} was written within the last 30 days: copy "
                "the id from the alert or from `hypercare status`"
            )
        return found

    def check_service(self, service: str, environment: str) -> None:
        """Refuse a service that no worker has ever judged."""
        with closing(self._topics()) as topics:
            known = topics.services()
        if (service, environment) in known:
            return
        names = sorted({f"{s} in {e}" for s, e in known})[:NAMED_MOST]
        raise Refused(
            f"no worker has judged {service} in {environment} yet; known: "
            f"{', '.join(names) or 'none'}. `hypercare order` tells the gates alone, "
            "of any service"
        )

    def tell(self, orders: Sequence[Order], commands: Sequence[Command]) -> list[Place]:
        """Tell the gates, then the workers; where in the log that stands.

        Raises
        ------
        Refused
            If a text is too long; nothing is told then.
        """
        values = [_checked(command) for command in commands]
        if orders:
            opened = Executions(self._settings, monotonic_s=self._monotonic_s)
            with closing(opened) as executions:
                executions.catch_up()
                for order in orders:
                    executions.append(order)
        try:
            return self._write(commands, values)
        except (Refused, Unreachable) as error:
            if not orders:
                raise
            text = f"gates know it and obey, workers do not, say it again: {error}"
            raise type(error)(text) from error

    def _write(
        self, commands: Sequence[Command], values: Sequence[bytes]
    ) -> list[Place]:
        conf = self._settings
        producer: Any = open_client(
            conf, KafkaProducer, "tell", acks="all", enable_idempotence=True
        )
        topic = conf.topic(LOG)
        try:
            numbers = len(producer.partitions_for(topic) or ())
            if not numbers:
                raise Refused(f"topic {topic} is missing: `hypercare topics create`")
            sent = [
                producer.send(
                    topic,
                    value,
                    key=command.service.encode(),
                    partition=partition_of(command.service.encode(), numbers),
                )
                for command, value in zip(commands, values, strict=True)
            ]
            told = [one.get(timeout=conf.io_timeout_s) for one in sent]
        except KafkaError as error:
            raise explained_error(conf, error) from error
        finally:
            producer.close()
        return [Place(one.partition, one.offset) for one in told]

    def _topics(self) -> Topics:
        return Topics(self._settings, monotonic_s=self._monotonic_s)


def _checked(command: Command) -> bytes:
    """The record of a command, if a worker would take it."""
    value = msgspec.json.encode(command)
    try:
        msgspec.json.decode(value, type=Command)
    except msgspec.ValidationError as error:
        raise Refused(f"no worker would take this: {error}") from error
    return value
