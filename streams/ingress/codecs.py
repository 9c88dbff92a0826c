"""Which topic is read with which codec, and which kinds it may carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detector.decode import decode_edge
from detector.events import Deploy, Error, Event, Feedback, Latency, Usage
from detector.records import Rejected

Decoder = Callable[[bytes | None], list[Event | Rejected]]

TELEMETRY: tuple[type, ...] = (Usage, Error, Latency, Feedback)

NATIVE = "native"

DECODERS: dict[str, Decoder] = {NATIVE: decode_edge}
"""Codec name -> decoder. Total: any bytes give events or rejections."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """How one ingress topic is read.

    ``kinds`` is a boundary of rights as well: who may write usage may not announce
    deploys, and nobody steers through ingress (commands enter the log directly).
    ``in_batches`` says which way its records go, and a topic has only one: whole
    fetches, merged by Kafka's time with the other topics of this way, or an agent of
    its own, for formats of low rate (decision 0017).
    """

    codec: str
    kinds: tuple[type, ...]
    in_batches: bool = True


CODECS: dict[str, Ingress] = {
    "usage": Ingress(NATIVE, TELEMETRY),
    "errors": Ingress(NATIVE, TELEMETRY),
    "feedback": Ingress(NATIVE, TELEMETRY),
    "deploys": Ingress(NATIVE, (Deploy,)),
}
"""Last part of the topic's name -> how it is read."""
