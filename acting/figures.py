"""What the claims say in numbers, for whoever shows them."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from acting.interlocks import BUDGETS, LARGE
from acting.known import DAY_MS, Known

DRILL_KINDS = ("gate",)
"""Ways that ought to be drilled: shown as never drilled until they are."""


class Budget(NamedTuple):
    """What is left of what machines may do for a service by themselves."""

    service: str
    environment: str
    span: str
    left: float


def drills(known: Known) -> dict[str, int]:
    """When the last drill of each kind went well; 0 for one that never did."""
    found = dict.fromkeys(DRILL_KINDS, 0)
    return found | {kind: one.at_ms for kind, one in sorted(known.drills.items())}


def budgets(known: Known, at_ms: int) -> list[Budget]:
    """Budgets of all services that had an action within a day, the spent ones too."""
    done = [one for one in known.done if one.at_ms > at_ms - DAY_MS]
    large = [one for one in done if one.recommendation.action in LARGE]
    found = []
    for most, span_ms, word in BUDGETS:
        used = Counter(
            (one.recommendation.service, one.recommendation.environment)
            for one in large
            if one.at_ms > at_ms - span_ms
        )
        places = {
            (one.recommendation.service, one.recommendation.environment)
            for one in large
        }
        found += [
            Budget(*place, word, max(0.0, 1 - used[place] / most))
            for place in sorted(places)
        ]
    return found
