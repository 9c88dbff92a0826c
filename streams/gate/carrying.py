"""What whoever carries a recommendation out passes on."""

from __future__ import annotations

import os

from detector.verdicts import RecommendationRecord
from streams.settings import PREFIX


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


def environment_for(wanted: RecommendationRecord, token: str) -> dict[str, str]:
    """The whole environment of a program that we start.

    Settings of ours, secrets among them, are none of its business.
    """
    own = {n: v for n, v in os.environ.items() if not n.startswith(PREFIX)}
    return own | variables(wanted, token)
