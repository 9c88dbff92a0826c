"""Size and place of a harm, whichever procedure saw it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.evidence.confidence import ratio_interval, ratio_log_likelihood
from detector.evidence.rows import RateRatioRows
from detector.findings import Finding
from detector.history import Counts
from detector.localise import smallest_cut
from detector.reading import CONFIDENCE_ALPHA, leading_series, unit_word
from detector.releases import Release
from detector.scope import Scope, Track, Watch
from detector.series import Segment


class Harm(NamedTuple):
    """What is known of a harm since its onset.

    Attributes
    ----------
    segment : Segment
        Smallest cut with a clean complement, () for everywhere.
    counts : tuple of float
        (units candidate, bad candidate, units control, bad control) inside it.
    ratio : tuple of float
        Low, best and high ratio inside it.
    excess : float
        Bad units of the candidate beyond what the control leads to expect.
    """

    signal: str
    control: str
    unit: str
    segment: Segment
    onset_ms: int
    counts: Counts
    ratio: tuple[float, float, float]
    excess: float


def harm_of(
    scope: Scope, watch: Watch, onset_ms: int, segment: Segment | None, signal: str
) -> Harm:
    """The harm of an episode as it stands now, or of what might become one."""
    episode = watch.episode
    if episode is not None and episode.component is not None:
        inside = watch.parts.inside(episode.component, onset_ms)
        if inside:
            return _harm_inside(watch.errors, onset_ms, (), inside)
    return release_harm_of(scope, watch, onset_ms, segment, signal)


def release_harm_of(
    scope: Scope, watch: Watch, onset_ms: int, segment: Segment | None, signal: str
) -> Harm:
    """The harm of a whole release, also where one component holds all of it."""
    episode = watch.episode
    if episode is not None and episode.finding is not None:
        return _harm_of_finding(episode.finding)
    track = watch.tracks.get(signal, watch.errors)
    return _harm_of_track(scope, track, onset_ms, segment)


def harm_within(
    scope: Scope, watch: Watch, harm: Harm, component: str | None, since_ms: int
) -> Harm | None:
    """The same harm since a later time; None where windows do not show it."""
    if component is not None:
        inside = watch.parts.inside(component, since_ms)
        return _harm_inside(watch.errors, since_ms, (), inside) if inside else None
    track = watch.tracks.get(harm.signal)
    if harm.control != "concurrent" or track is None:
        return None
    if not track.history.since(since_ms):
        return None
    return _harm_of_track(scope, track, since_ms, harm.segment)


def onset_of(watch: Watch, rows: RateRatioRows, release: Release) -> tuple[str, int]:
    """Leading signal and estimated start of its harm: of the leading series' run."""
    lead = leading_series(watch, rows)
    if lead is None:
        return "errors", release.started_ms
    onset = int(rows.onset_ms([lead.track.series.series[lead.place].row])[0])
    return lead.track.signal, onset if onset >= 0 else release.started_ms


def _harm_of_finding(finding: Finding) -> Harm:
    units, bad, units_control, bad_control = finding.counts
    rate = bad_control / units_control if units_control > 0 else 0.0
    return Harm(
        signal=finding.signal,
        control=finding.control,
        unit=finding.unit,
        segment=finding.segment,
        onset_ms=finding.onset_ms,
        counts=finding.counts,
        ratio=finding.ratio,
        excess=max(0.0, bad - units * rate),
    )


def _harm_of_track(
    scope: Scope, track: Track, onset_ms: int, segment: Segment | None
) -> Harm:
    counts = track.history.since(onset_ms)
    strata = scope.strata
    if segment is None:
        segment = smallest_cut(strata.attrs, strata.key_of(), counts)
    belongs = strata.within(segment)
    inside = [c for s, c in sorted(counts.items()) if belongs(s)]
    if not inside:  # other strata are in force than when the episode began
        segment = ()
        inside = [c for _, c in sorted(counts.items())]
    return _harm_inside(track, onset_ms, segment, inside)


def _harm_inside(
    track: Track, onset_ms: int, segment: Segment, inside: list[Counts]
) -> Harm:
    columns = np.array(inside).reshape(-1, 4).T
    total = columns.sum(axis=1).tolist()
    likelihood = ratio_log_likelihood(columns[1], columns[3], columns[0], columns[2])
    whole = likelihood.sum(axis=0, keepdims=True)
    low, point, high = ratio_interval(whole, CONFIDENCE_ALPHA)[0].tolist()
    both = (columns[0] > 0) & (columns[2] > 0)
    expected = columns[0] * columns[3] / np.where(both, columns[2], 1.0)
    return Harm(
        signal=track.signal,
        control="concurrent",
        unit=unit_word(track),
        segment=segment,
        onset_ms=onset_ms,
        counts=(total[0], total[1], total[2], total[3]),
        ratio=(low, point, high),
        excess=float(np.where(both, columns[1] - expected, 0.0).sum()),
    )
