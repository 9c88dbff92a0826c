"""Failures that only the new release has, and that add to what was there before.

A renamed signature takes the place of another one; a scanner is not the release's
doing (``detector.signals.oddclients``); what is left beside them is found here at
total ratios that the errors signal could not tell from noise.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from math import exp, log, sqrt

import numpy as np

from detector.catalogue import Catalogue
from detector.evidence.novelty import added_hits, new_rate_log_e
from detector.evidence.types import FloatArray
from detector.findings import Control, Finding
from detector.localise import smallest_cut
from detector.series import Segment
from detector.sight import Sight
from detector.signals.census import Census, take_census
from detector.signals.errors import UNIT_WORDS
from detector.signals.oddclients import EVENTS_PER_USER_MIN

NAME = "new_signature"
ODD_CLIENT = "unusual_client"

LOG_E_MIN = log(1000.0)
HITS_MIN = 10.0
SHARE_MIN = 0.03
"""Share of the release's failed units that a new signature must have."""

LACK_SHARE_MAX = 0.3
ADDS_SD = 3.0
"""Where old signatures lack that share of what the new ones have, the total must be
up by so many standard deviations. Larger: fewer renames act, new failures later."""

ALIKE_MIN = 0.7
"""Resemblance of two names from which the one may be the other's new name."""

ADDED_MIN = 0.6
"""Share of a new signature that no vanished one may account for."""

SILENCE_GAPS = 3.0


def look(sight: Sight) -> list[Finding]:
    """New signatures of a release, and odd ones for people to look at."""
    catalogue, aside = sight.scope.catalogue, sight.aside
    release = sight.release.number
    if not aside and not any(_maybe_new(catalogue, release)):
        return []
    census = take_census(
        catalogue, sight.watch.novelty, release, _control_numbers(sight), aside
    )
    found = _odd(sight)
    if census.exposure_old > 0:
        found += _new(sight, census)
    return found


def _maybe_new(catalogue: Catalogue, release: int) -> list[int]:
    """Signatures that the release has more of than all others together."""
    return [
        number
        for number, entry in catalogue.entries.items()
        if not entry.known
        and (own := entry.counts.get(release, 0.0)) >= HITS_MIN
        and sum(entry.counts.values()) < 2.0 * own
    ]


def _control_numbers(sight: Sight) -> frozenset[int]:
    """Numbers of the releases that were live when this one came."""
    releases = sight.scope.registry.releases
    names = {sight.release.predecessor, *sight.release.live_before}
    found = {r.number for name, r in releases.items() if name in names}
    if not found:
        found = {r.number for r in releases.values()}
    return frozenset(found - {sight.release.number})


def _new(sight: Sight, census: Census) -> list[Finding]:
    catalogue, release = sight.scope.catalogue, sight.release.number
    size = len(census.numbers)
    usual = (float(census.old.sum()) + 0.5) / (census.exposure_old + 1.0)
    log_e = new_rate_log_e(
        census.own,
        np.full(size, census.exposure_own),
        census.old,
        np.full(size, census.exposure_old),
        usual_rate=usual,
    )
    near = _likeness(catalogue, census)
    lacking = census.expected > census.own
    added = added_hits(
        census.own, census.expected, census.fresh, near * lacking[:, None]
    )
    total = float(census.own.sum())
    adds = _adds_up(census)
    found = []
    fresh = np.flatnonzero(census.fresh).tolist()
    fresh.sort(key=lambda i: (_span(catalogue, release, census.numbers[i])[0], i))
    for rank, i in enumerate(fresh):
        nats = float(log_e[i]) - log((rank + 1) * (rank + 2))
        hits = float(census.own[i])
        if hits < HITS_MIN or hits < SHARE_MIN * total or nats <= 0:
            continue
        least = max(HITS_MIN, ADDED_MIN * hits)
        holds = nats >= LOG_E_MIN and float(added[i]) >= least
        holds = holds and adds and _adds_to_its_like(census, near, i)
        lasts = _lasts(sight, census.numbers[i])
        counts = (
            census.exposure_own,
            hits,
            census.exposure_old,
            float(census.old[i]),
        )
        number = census.numbers[i]
        found.append(_finding(sight, number, nats, holds and lasts, counts, census))
    return found


def _adds_up(census: Census) -> bool:
    """Whether all failures together are more, where old ones lack what is new.

    Beside a rename of a part no single signature says what was there before.
    """
    old = ~census.fresh
    lack = float(np.maximum(census.expected - census.own, 0.0)[old].sum())
    if lack < LACK_SHARE_MAX * float(census.own[census.fresh].sum()):
        return True
    expected = float(census.expected.sum())
    return float(census.own.sum()) - expected >= ADDS_SD * sqrt(expected)


def _adds_to_its_like(census: Census, near: FloatArray, new: int) -> bool:
    """Whether a new name and the known one that it resembles are more than that was.

    By chance few hits of an old name do not show that others are called anew.
    """
    old = int(np.argmax(near[:, new]))
    if near[old, new] < ALIKE_MIN:
        return True
    same = census.fresh & (near[old] >= ALIKE_MIN)
    own = float(census.own[old] + census.own[same].sum())
    expected = float(census.expected[old] + census.expected[same].sum())
    return own - expected >= ADDS_SD * sqrt(max(1.0, expected))


def _likeness(catalogue: Catalogue, census: Census) -> FloatArray:
    """Resemblance of every known name, in rows, to every new one, 0 elsewhere."""
    size = len(census.numbers)
    near = np.zeros((size, size))
    for new in np.flatnonzero(census.fresh).tolist():
        name = catalogue.name(census.numbers[new])
        for old in np.flatnonzero(~census.fresh).tolist():
            other = catalogue.name(census.numbers[old])
            near[old, new] = SequenceMatcher(None, other, name, False).ratio()
    return near


def _span(catalogue: Catalogue, release: int, number: int) -> tuple[int, int, int]:
    """First and last window of a signature in a release, and how many had it."""
    places = [
        p for (r, _), p in catalogue.entries[number].places.items() if r == release
    ]
    if not places:
        return 0, 0, 0
    return (
        min(p.first_ms for p in places),
        max(p.last_ms for p in places),
        max(p.windows for p in places),
    )


def _lasts(sight: Sight, number: int) -> bool:
    """Whether a signature has outlasted a blip at the deploy, and is there now.

    Now: in one of the last two windows, or silent for no longer than three of its
    usual gaps.
    """
    first, last, windows = _span(sight.scope.catalogue, sight.release.number, number)
    gap = (last - first) / max(1, windows - 1)
    silence = max(2.0 * sight.scope.width_ms, SILENCE_GAPS * gap)
    lasted = last - first >= sight.rule.persistence_ms
    return lasted and sight.now_ms - last < silence


def _segment(sight: Sight, number: int) -> Segment:
    """Where the signature is, if it is not everywhere the release is."""
    catalogue, release = sight.scope.catalogue, sight.release.number
    places = catalogue.entries[number].places
    rows = {
        s: (g.exposure, places[(release, s)].units if (release, s) in places else 0.0)
        for (r, s), g in sorted(catalogue.ground.items())
        if r == release and number not in sight.aside.get(s, ())
    }
    units = sum(n for n, _ in rows.values())
    rate = sum(k for _, k in rows.values()) / units if units > 0 else 0.0
    strata = sight.scope.strata
    return smallest_cut(
        strata.attrs,
        strata.key_of(),
        {s: (n, k, units, rate * units) for s, (n, k) in rows.items()},
    )


def _finding(
    sight: Sight,
    number: int,
    nats: float,
    fires: bool,
    counts: tuple[float, float, float, float],
    census: Census,
) -> Finding:
    control: Control = "concurrent" if census.concurrent else "history"
    return Finding(
        signal=NAME,
        control=control,
        guarantee="empirical",
        reason=NAME,
        z=sqrt(2.0 * nats),
        threshold=sqrt(2.0 * LOG_E_MIN),
        fires=fires,
        segment=_segment(sight, number),
        ratio=_ratio(counts),
        counts=counts,
        onset_ms=_span(sight.scope.catalogue, sight.release.number, number)[0]
        - sight.scope.width_ms,
        unit=UNIT_WORDS.get(sight.watch.errors.way, "user"),
        detail=sight.scope.catalogue.name(number),
    )


def _ratio(counts: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """Ratio of the signature's rates with a 95 % interval of its logarithm."""
    n1, k1, n0, k0 = counts
    if n1 <= 0 or n0 <= 0:
        return (0.0, 1.0, float("inf"))
    best = (k1 + 0.5) / n1 * n0 / (k0 + 0.5)
    spread = exp(1.96 * sqrt(1.0 / (k1 + 0.5) + 1.0 / (k0 + 0.5)))
    return (best / spread, best, best * spread)


def _odd(sight: Sight) -> list[Finding]:
    """One finding for people per signature that was set aside and goes on."""
    catalogue, release = sight.scope.catalogue, sight.release.number
    aside = sight.aside
    found = []
    for number in sorted({n for numbers in aside.values() for n in numbers}):
        strata = [s for s in sorted(aside) if number in aside[s]]
        places = [catalogue.entries[number].places[(release, s)] for s in strata]
        units = sum(catalogue.ground[(release, s)].exposure for s in strata)
        hits = sum(p.units for p in places)
        events = sum(p.events for p in places) / sum(p.persons for p in places)
        found.append(
            Finding(
                signal=NAME,
                control="concurrent",
                guarantee="empirical",
                reason=ODD_CLIENT,
                z=events,
                threshold=EVENTS_PER_USER_MIN,
                fires=hits >= HITS_MIN and _lasts(sight, number),
                segment=(),
                ratio=(0.0, events, float("inf")),
                counts=(units, hits, 0.0, 0.0),
                onset_ms=min(p.first_ms for p in places) - sight.scope.width_ms,
                unit=UNIT_WORDS.get(sight.watch.errors.way, "user"),
                acts=False,
                detail=catalogue.name(number),
            )
        )
    return found
