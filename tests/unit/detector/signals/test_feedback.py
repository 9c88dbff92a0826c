"""Reports and scores, lined up beside the control."""

from __future__ import annotations

from typing import Any

import pytest

from detector.events import Feedback
from detector.releases import Release
from detector.scope import Scope
from detector.signals.errors import Comparison
from detector.signals.feedback import REPORTS, SCORE, compare, tracks
from detector.voices import Voices
from detector.windows import OpenWindow

OLD, NEW = 1, 2
CANDIDATE = Release(name="2", number=NEW, first_ms=0)
LIMITS = (("os", 4), ("region", 4))


def record(**fields: Any) -> Feedback:
    """A feedback record of ten seconds."""
    return Feedback(ts=0, service="s", release="2", window_s=10, **fields)


class Scene:
    """One window with usage by os and region, and feedback by os or nothing."""

    def __init__(self) -> None:
        self.scope = Scope("s", "production", 10_000)
        self.scope.last_event_ms["feedback"] = 0
        self.window = OpenWindow(10_000)
        for release, users in ((OLD, 900.0), (NEW, 100.0)):
            for os in ("ios", "android"):
                for region in ("eu", "us"):
                    self.usage(release, users, os=os, region=region)

    def stratum(self, **attrs: str) -> int:
        """Number of a stratum."""
        return self.scope.strata.number(attrs, LIMITS, "x")

    def usage(self, release: int, users: float, **attrs: str) -> None:
        """Users at risk."""
        cell = self.window.cell(release, self.stratum(**attrs))
        cell.usage_lines += 1
        cell.users.usage_lines += 1
        cell.users.units += users

    def say(self, release: int, event: Feedback, **attrs: str) -> None:
        """A record of feedback."""
        cell = self.window.cell(release, self.stratum(**attrs))
        if cell.voices is None:
            cell.voices = Voices()
        cell.voices.take(event)

    def compare(self) -> dict[str, list[Comparison]]:
        """The comparisons by track."""
        return dict(compare(self.scope, self.window, CANDIDATE, [[OLD]]))


def test_silent_service_has_no_track() -> None:
    """A service that never sent feedback spends no evidence on it."""
    scene = Scene()
    assert tracks(scene.scope) == [REPORTS, SCORE]
    scene.scope.last_event_ms.clear()
    assert tracks(scene.scope) == []


def test_missing_attributes_cover_all() -> None:
    """Feedback without attributes is compared with all usage of the arm."""
    scene = Scene()
    scene.say(NEW, record(count=12, score_sum=36.0))
    scene.say(OLD, record(count=30, score_sum=150.0))
    found = scene.compare()
    (reports,), (score,) = found[REPORTS], found[SCORE]
    assert (reports.units_candidate, reports.bad_candidate) == (400, 12)
    assert (reports.units_control, reports.bad_control) == (3600, 30)
    assert (score.units_candidate, score.bad_candidate) == (12, 6)
    assert (score.units_control, score.bad_control) == (30, 0)


def test_part_of_attributes_covers_part() -> None:
    """Feedback that names the os is compared with usage on that os."""
    scene = Scene()
    scene.say(NEW, record(count=3), os="ios")
    (reports,) = scene.compare()[REPORTS]
    assert (reports.units_candidate, reports.units_control) == (200, 1800)
    assert reports.bad_control == 0


def test_reporter_counts_once() -> None:
    """Several reports of one user are one reporter; unknown ones count each."""
    scene = Scene()
    for user in ("a", "a", "b", None):
        scene.say(NEW, record(text="broken", user=user))
    (reports,) = scene.compare()[REPORTS]
    assert reports.bad_candidate == 3


@pytest.mark.parametrize(("score", "harm"), [(1.0, 1.0), (3.0, 0.5), (5.0, 0.0)])
def test_score_becomes_harm(score: float, harm: float) -> None:
    """Scores map onto harm between 0 and 1, single and aggregated alike."""
    single, counted = Voices(), Voices()
    for _ in range(4):
        single.take(record(score=score))
    counted.take(record(count=4, score_sum=4 * score))
    assert single.harm == counted.harm == 4 * harm
    assert single.scored == counted.scored == 4


def test_impossible_sums_are_cut() -> None:
    """A sum that no scores can have stays within the bounds."""
    voices = Voices()
    voices.take(record(count=4, score_sum=0.0))
    voices.take(record(count=4, score_sum=99.0))
    assert voices.harm == 4


def test_texts_have_no_score() -> None:
    """A report without a score counts as a report only."""
    voices = Voices()
    voices.take(record(text="nice"))
    assert (voices.reports, voices.scored) == (1, 0)


def test_parts_of_window_add_up() -> None:
    """Cells of narrower windows absorb each other, users counted once."""
    first, second = Voices(), Voices()
    first.take(record(text="x", user="a"))
    second.take(record(text="y", user="a"))
    second.take(record(count=2, score_sum=4.0))
    first.absorb(second)
    assert (first.lines, first.reports, first.persons) == (3, 4, 3)
