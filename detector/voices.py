"""What users said in one cell of a window: how many reports, how many scored, how bad.

A score lies between 1 and 5. Its harm, ``(5 - score) / 4``, lies between 0 (content)
and 1, so that a mean of harms compares like a rate of failures.
"""

from __future__ import annotations

from msgspec import Struct, field

from detector.events import Feedback
from detector.identity import id64

SCORE_WORST, SCORE_BEST = 1.0, 5.0


class Voices(Struct, array_like=True):
    """Reports of one release in one stratum during one window.

    ``reporters`` are the distinct users of single reports, ``anonymous`` the reports
    whose sender is not known; an aggregated line is anonymous.
    """

    lines: int = 0
    reports: float = 0.0
    scored: float = 0.0
    harm: float = 0.0
    anonymous: float = 0.0
    reporters: set[int] = field(default_factory=set)

    def take(self, event: Feedback) -> None:
        """Count one feedback record, single or aggregated.

        Aggregated scores need both ``count`` and ``score_sum``; sums that no scores
        can have are cut to what scores can have.
        """
        reports = 1.0 if event.count is None else float(event.count)
        self.lines += 1
        self.reports += reports
        if event.user is not None and event.count is None:
            self.reporters.add(id64(event.user))
        else:
            self.anonymous += reports
        if event.score_sum is not None and event.count:
            self._score(reports, event.score_sum)
        elif event.score is not None:
            self._score(reports, reports * event.score)

    def _score(self, count: float, total: float) -> None:
        harm = (SCORE_BEST * count - total) / (SCORE_BEST - SCORE_WORST)
        self.scored += count
        self.harm += min(count, max(0.0, harm))

    @property
    def persons(self) -> float:
        """Reporters, each known one counted once."""
        return self.anonymous + len(self.reporters)

    def absorb(self, other: Voices) -> None:
        """Add the reports of the same cell in a narrower window."""
        self.lines += other.lines
        self.reports += other.reports
        self.scored += other.scored
        self.harm += other.harm
        self.anonymous += other.anonymous
        self.reporters |= other.reporters
