"""What whoever carries a recommendation out looks at and passes on."""

from __future__ import annotations

from acting.answers import Answer, Ruling, Why
from detector.verdicts import RecommendationRecord
from streams.settings import Settings


def stopped_here(conf: Settings) -> Ruling | None:
    """The kill switches that need no Kafka: a variable and a file."""
    if conf.stop:
        text = "HYPERCARE_STOP is set: unset it to let actions happen"
        return Ruling(Answer.FROZEN, Why.KILLED, text)
    if conf.stop_file.exists():
        text = f"{conf.stop_file} is there: remove it to let actions happen"
        return Ruling(Answer.FROZEN, Why.KILLED, text)
    return None


def variables(wanted: RecommendationRecord, token: str) -> dict[str, str]:
    """What a command that carries a recommendation out finds in its environment."""
    found = {
        "ACTION": wanted.action.value,
        "TARGET": wanted.target or "",
        "SERVICE": wanted.service,
        "ENVIRONMENT": wanted.environment,
        "RELEASE": wanted.release,
        "COMPONENT": wanted.component or "",
        "RECOMMENDATION": wanted.id,
        "REVISION": str(wanted.revision),
        "REASON": wanted.sentence,
        "TOKEN": token,
    }
    return {f"HYPERCARE_GATE_{name}": value for name, value in found.items()}
