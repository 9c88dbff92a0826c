"""What an open harm looks like from outside: where, how much, compared with whom."""

from __future__ import annotations

from msgspec import Struct

from detector.harm import harm_of
from detector.scope import Scope, Watch


class HarmView(Struct, frozen=True):
    """Size and place of a harm since its onset.

    ``rate_ratio`` is candidate / control as (low, best, high) inside ``segment``,
    which is empty for everywhere; ``units``, ``bad`` and ``excess_units`` are the
    candidate's inside it since ``onset_ms``.
    """

    segment: dict[str, str]
    onset_ms: int
    rate_ratio: tuple[float, float, float]
    units: float
    bad: float
    excess_units: float


def harm_view(scope: Scope, watch: Watch) -> HarmView | None:
    """How large is the harm of the present episode; None without one.

    An episode whose history is empty, because it has just been reset, has no size
    that could be shown.
    """
    episode = watch.episode
    if episode is None:
        return None
    track = watch.tracks.get(episode.signal, watch.errors)
    if episode.finding is None and not track.history.blocks:
        return None
    harm = harm_of(scope, watch, episode.onset_ms, episode.segment, episode.signal)
    return HarmView(
        segment=dict(harm.segment),
        onset_ms=harm.onset_ms,
        rate_ratio=harm.ratio,
        units=harm.counts[0],
        bad=harm.counts[1],
        excess_units=max(0.0, harm.excess),
    )
