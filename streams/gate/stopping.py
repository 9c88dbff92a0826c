"""The kill switches that need no Kafka: a variable and a file."""

from __future__ import annotations

from acting.answers import Answer, Ruling, Why
from streams.settings import Settings


def stopped_here(conf: Settings) -> Ruling | None:
    """Why nothing may be executed from this machine; None if it may."""
    if conf.stop:
        text = "HYPERCARE_STOP is set: unset it to let actions happen"
        return Ruling(Answer.FROZEN, Why.KILLED, text)
    if conf.stop_file.exists():
        text = f"{conf.stop_file} is there: remove it to let actions happen"
        return Ruling(Answer.FROZEN, Why.KILLED, text)
    return None
