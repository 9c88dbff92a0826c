"""Which topic is read with which codec, and which kinds it may carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from detector.decode import decode_edge
from detector.events import Deploy, Error, Event, Feedback, Latency, Usage
from detector.records import Rejected

Decoder = Callable[[bytes | None], list[Event | Rejected]]

TELEMETRY: tuple[type, ...] = (Usage, Error, Latency, Feedback)

DECODERS: dict[str, Decoder] = {"native": decode_edge}
"""Codec name -> decoder. Total: any bytes give events or rejections."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """How one ingress topic is read.

    ``kinds`` is a boundary of rights as well: who may write usage may not announce
    deploys, and nobody steers through ingress (commands enter the log directly).
    """

    codec: str
    kinds: tuple[type, ...]


CODECS: dict[str, Ingress] = {
    "usage": Ingress("native", TELEMETRY),
    "errors": Ingress("native", TELEMETRY),
    "feedback": Ingress("native", TELEMETRY),
    "deploys": Ingress("native", (Deploy,)),
}
"""Last part of the topic's name -> how it is read."""
