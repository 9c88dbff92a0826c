"""What can go wrong with the local Kafka, in words a person can act on."""

from __future__ import annotations


class KafkaLocalError(Exception):
    """The local Kafka can not do what was asked; the text says what to do."""


class DownloadError(KafkaLocalError):
    """A jar could not be fetched, or is not the one that was locked."""


class JavaMissingError(KafkaLocalError):
    """No usable Java runtime was found."""


class PortTakenError(KafkaLocalError):
    """Another program listens on a port the broker needs."""


class BrokerFailedError(KafkaLocalError):
    """The broker's process ended, or never became ready."""
