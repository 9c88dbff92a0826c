"""What is remembered about the durations of one service in one environment."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from detector.alone import Alone, Joint, after_window
from detector.durationledger import DurationLedger
from detector.durations import Durations, Histogram
from detector.evidence.exceedance import spread_of, spread_step
from detector.evidence.saturating import Trail
from detector.ledger import (
    COARSE_KEPT_MS,
    DAY_MS,
    FINE_KEPT_MS,
    FINE_MIN_MS,
    Key,
    coarse_bin_ms,
)
from detector.series import Segment

RECENT_WINDOWS = 30
"""Windows of the control that choose the thresholds, as a decay. Longer: thresholds
follow the load more slowly."""

RECENT_MIN = 1.0
"""Records below which a release's recent durations are forgotten."""

SEGMENTS_MAX = 24
"""Segments of one threshold with a second lock of their own."""

Open = dict[Key, Durations]
"""Durations of an open window, by release and stratum."""

Point = tuple[float, float, float]
"""Threshold, log odds ratio and its sampling variance, of one window."""


class Beside(Struct, array_like=True):
    """A release beside its control: what their windows did so far.

    ``weight`` and ``square`` are summed steps between neighbouring windows,
    ``last`` is the newest window by stratum, ``trails`` the second lock's sums by
    threshold and segment. ``lost_ms`` is since when nothing but the release sends
    durations, -1 while others do (``alone_ms``: not yet for long enough to say so),
    ``alone_records`` how many it has sent since.
    """

    weight: float = 0.0
    square: float = 0.0
    last: dict[int, Point] = field(default_factory=dict)
    trails: dict[str, dict[Segment, Trail]] = field(default_factory=dict)
    alone_ms: int = -1
    lost_ms: int = -1
    alone_records: float = 0.0
    accompanied: bool = False

    @property
    def spread(self) -> float:
        """Log-sd of one window's odds ratio beside sampling, as far as learnt."""
        return spread_of(self.weight, self.square)

    def note(self, stratum: int, point: Point) -> None:
        """Learn from one more window of a stratum, of the same threshold."""
        before = self.last.get(stratum)
        if before is not None and before[0] == point[0]:
            weight, square = spread_step(before[1:], point[1:], self.spread)
            self.weight += weight
            self.square += square
        self.last[stratum] = point

    def note_company(
        self, end_ms: int, width_ms: int, joint: Joint, *, planned: bool
    ) -> None:
        """Note how many records the release and the others sent in a window.

        ``planned`` says that the rollout leaves the others nothing.
        """
        before = Alone(self.alone_ms, self.alone_records, self.lost_ms)
        at_once = planned or not self.accompanied
        now = after_window(before, joint, end_ms, width_ms, at_once=at_once)
        self.alone_ms, self.alone_records, self.lost_ms = now
        self.accompanied |= joint.candidate > 0 and now == Alone()


class LatencyState(Struct, array_like=True):
    """Recent durations of each release, thresholds by time, and pairs of arms."""

    recent: dict[Key, Durations] = field(default_factory=dict)
    beside: dict[int, Beside] = field(default_factory=dict)
    fine: DurationLedger = field(
        default_factory=lambda: DurationLedger(kept_ms=FINE_KEPT_MS)
    )
    coarse: DurationLedger = field(
        default_factory=lambda: DurationLedger(kept_ms=COARSE_KEPT_MS)
    )

    def close(
        self, end_ms: int, width_ms: int, window: Open, candidates: Mapping[int, bool]
    ) -> None:
        """Remember a closed window, after it was compared with the ones before.

        ``candidates`` are the numbers of the releases under judgement, and whether
        their rollout leaves nothing beside them.
        """
        if not window and not self.recent:
            return
        fine_ms = min(width_ms * -(-FINE_MIN_MS // width_ms), DAY_MS)
        self.fine.set_bin(fine_ms)
        self.coarse.set_bin(coarse_bin_ms(fine_ms))
        for key in sorted(window):
            durations = window[key]
            known = self.recent.setdefault(key, Durations())
            known.decay(1.0 - 1.0 / RECENT_WINDOWS)
            known.absorb(durations)
            known.unread = 0.0
            self.fine.add(end_ms, key, durations)
            self.coarse.add(end_ms, key, durations)
        for number, planned in candidates.items():
            own = sum(d.total for (r, _), d in window.items() if r == number)
            others = sum(d.total for (r, _), d in window.items() if r != number)
            beside = self.beside.setdefault(number, Beside())
            joint = Joint(own, others)
            beside.note_company(end_ms, width_ms, joint, planned=planned)

    def forget_releases(self, live: set[int]) -> None:
        """Drop recent durations and pairs of releases that are no longer known."""
        for key in [k for k in self.recent if k[0] not in live]:
            del self.recent[key]
        for release in [r for r in self.beside if r not in live]:
            del self.beside[release]


def take(window: Open, key: Key, histogram: Histogram | None) -> None:
    """Count a histogram into an open window; None is a record that can not be read."""
    if histogram is not None and histogram.counts:
        window.setdefault(key, Durations()).add(histogram)
