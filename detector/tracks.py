"""Which signals a release is watched by, and how much evidence each may carry."""

from __future__ import annotations

from detector.rulefile import Rule
from detector.scope import Scope, Track
from detector.signals.table import COMPARED, ERRORS


def open_tracks(scope: Scope, rule: Rule) -> dict[str, Track]:
    """The signals beside a concurrent control, with shares that sum to 1.

    A share is fixed before the release has data: a signal takes part if the service
    has ever sent it. A weighted mean of e-values is an e-value (``combine``).
    """
    weights = {ERRORS.NAME: rule.signals[ERRORS.NAME].weight}
    for signal in COMPARED:
        weight = rule.signals[signal.NAME].weight
        names = signal.tracks(scope)
        weights |= {name: weight / len(names) for name in names if weight}
    total = sum(weights.values())
    return {
        name: Track(
            signal=name,
            margin=rule.signals[name.partition(":")[0]].margin,
            share=weight / total if total else 0.0,
        )
        for name, weight in weights.items()
        if weight or name == ERRORS.NAME
    }
