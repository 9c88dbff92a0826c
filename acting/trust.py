"""Is a record a recommendation of a worker we know, and says what its id says?"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from acting.answers import Answer, Ruling, Why
from acting.drilling import drill_id
from detector.verdicts import RecommendationRecord, recommendation_id

Check = Callable[[str, bytes, bytes, bytes | None], str | None]
"""Topic, key, value, signature -> why it is not signed by a known key, or None."""

_decoder = msgspec.json.Decoder(RecommendationRecord)


def distrust(
    topic: str, key: str, value: bytes, signature: str, check: Check
) -> Ruling | None:
    """Why nothing of a record may be believed; None if a known worker wrote it."""
    unsigned = check(topic, key.encode(), value, signature.encode())
    if unsigned is None:
        return None
    return Ruling(Answer.STALE, Why.UNSIGNED, unsigned)


def recommendation_in(key: str, value: bytes) -> RecommendationRecord | Ruling:
    """The recommendation in a record, or why it is none."""
    try:
        found = _decoder.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        return Ruling(Answer.STALE, Why.DAMAGED, f"no recommendation: {error}")
    named = recommendation_id(
        found.service,
        found.environment,
        found.release,
        found.component,
        found.episode_start_ms,
    )
    if found.test:
        named = drill_id(named)
    if found.id != named or key != named:
        text = f"{found.id} is not the id of what it says ({named})"
        return Ruling(Answer.STALE, Why.FORGED_ID, text)
    return found
