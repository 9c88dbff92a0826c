"""Successes per session: do as many requests end well in each session as beside it?

A button that does nothing makes no error, and its sessions begin as ever. Asked of
any release with a concurrent control, in the strata they share, where the lines tell
requests and the sessions that began with them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from detector.evidence.plan import DISPERSION_MIN, threshold_after
from detector.evidence.plansteps import PlanPast, Step
from detector.evidence.types import BoolArray, FloatArray
from detector.evidence.yields import (
    Decline,
    could_decline,
    decline,
    dispersion,
    over_spans,
    pair,
)
from detector.findings import Finding
from detector.ledger import BAD, OK, SESSIONS
from detector.releases import Release
from detector.series import Segment
from detector.sight import Sight
from detector.signals.split import (
    Split,
    at_bin,
    inverse_rates,
    segment_rows,
    split_since,
    sums_of,
)
from detector.signals.usage import SPAN_MS, Z95, learnt_spread

NAME = "actions"
REASON = "actions_down"
UNIT = "request"

SEGMENT_EXTRA = 0.75
"""How much further beyond the margin one of many segments must be."""

LATER_STEP_MS = 3_600_000
"""Time since a later step of a ramp below which nothing is said: it mixes the young
sessions of the users it brought with grown ones, whose slow rise looks like a lack."""

PAST_MS = 2 * 3_600_000
"""What the control did before the deploy is told by so much of it."""


class Done(NamedTuple):
    """Requests that ended well and sessions of both arms, shape (strata, bins).

    Sessions of the candidate that failed are left out: what they did not do errors
    tell of. Those of the control count, or its own trouble would raise what is due.
    ``usual`` is what a session did before the deploy by stratum, NaN if unknown.
    """

    split: Split
    done: tuple[FloatArray, FloatArray]
    begun: tuple[FloatArray, FloatArray]
    usual: FloatArray


class Terms(NamedTuple):
    """What counts as a decline, and how well arms without harm agree here."""

    margin: float
    spread: float
    threshold: float
    inverse_rates: tuple[float, float]
    sessions_min: int


def look(sight: Sight) -> list[Finding]:
    """What sessions get done beside the control, after this window.

    Nothing where no span is beyond the margin.
    """
    return look_with(sight, sight.scope.actions_past)


def look_with(sight: Sight, past: PlanPast) -> list[Finding]:
    """The same with finished steps given; notes the running one in them."""
    release = sight.release
    beside = _control(sight)
    alone = sight.watch.control_lost_ms >= 0 or not beside
    # Parts of the fleet that flip wholly have no arms to lay beside each other.
    if alone or release.flips or sight.rule.signals[NAME].weight <= 0:
        return []
    rates = inverse_rates(sight)
    rule = sight.rule
    at = at_bin(sight), beside, rates, rule.signals[NAME].margin, rule.min_exposure
    known: tuple[Hashable, list[Finding]] | None = sight.cache.get(NAME)
    if known is None or known[0] != at:
        known = at, _look_at(sight, beside, rates, past)
        sight.cache[NAME] = known
    return known[1]


def last_change(release: Release, now_ms: int) -> int:
    """Since when the release has had the share that it has now, as far as told."""
    since_ms, weight = release.started_ms, -1.0
    for at_ms, share in release.ramp:
        if at_ms <= now_ms and share != weight:
            since_ms, weight = at_ms, share
    return since_ms


def _control(sight: Sight) -> frozenset[int]:
    """Numbers of the releases that are its control, those not under blame."""
    blamed = frozenset(
        name for name, watch in sight.scope.watches.items() if watch.episode is not None
    )
    groups = sight.scope.registry.control_of(sight.release, blamed)
    return frozenset(number for group in groups for number in group)


def _look_at(
    sight: Sight,
    beside: frozenset[int],
    rates: tuple[float, float],
    past: PlanPast,
) -> list[Finding]:
    since_ms = last_change(sight.release, sight.now_ms)
    is_later = since_ms > sight.release.started_ms and sight.watch.episode is None
    if is_later and sight.now_ms - since_ms < LATER_STEP_MS:
        return []
    split = split_since(sight, since_ms, beside)
    if not split.told.any():
        return []
    done = _done(sight, split, beside)
    each = pair(done.done, done.begun)
    whole = each.sum(axis=1)
    spans = len(split.ends_ms) * split.bin_ms // max(SPAN_MS, split.bin_ms)
    terms = Terms(
        sight.rule.signals[NAME].margin,
        learnt_spread(past, sight.scope.registry, sight.release.number),
        threshold_after(max(1, spans)),
        rates,
        sight.rule.min_exposure,
    )
    sums = over_spans(each, split.bin_ms)
    if not sums.shape[2]:
        return []
    found: list[Finding] = []
    phi = DISPERSION_MIN
    if len(_reached(sums.sum(axis=1, keepdims=True), terms, 0.0)):
        phi = dispersion(whole, split.bin_ms)
        seen = _decline(whole, terms, split, phi)
        if seen is not None:
            found.append(_finding(done, terms, seen, (), slice(None)))
    past.note(since_ms, _step_so_far(whole, phi, sight.release.number))
    segment = _worst_segment(sight, done, each, sums, terms)
    return found if segment is None else [*found, segment]


def _reached(sums: FloatArray, terms: Terms, at_least: float) -> list[int]:
    """Rows that may be ``at_least`` beyond the margin; the others cost no more."""
    rows: list[int] = could_decline(
        sums, margin=terms.margin, spread=terms.spread, at_least=at_least
    ).tolist()
    return rows


def _done(sight: Sight, split: Split, beside: frozenset[int]) -> Done:
    own, others = split.counts()
    begun = np.maximum(0.0, own[:, :, SESSIONS] - own[:, :, BAD])
    return Done(
        split,
        (own[:, :, OK], others[:, :, OK]),
        (begun, others[:, :, SESSIONS]),
        _usual(sight, split, beside),
    )


def _usual(sight: Sight, split: Split, beside: frozenset[int]) -> FloatArray:
    """What a session of the control did before the deploy, by stratum."""
    start_ms = sight.release.started_ms
    at = start_ms, beside, tuple(split.strata)
    known: tuple[Hashable, FloatArray] | None = sight.cache.get("usual")
    if known is None or known[0] != at:
        table = sight.scope.ledger.table(start_ms - PAST_MS, start_ms)
        sums = np.zeros((len(split.strata), 2))
        place = {where: row for row, where in enumerate(split.strata)}
        for (release, where), values in zip(table.keys, table.values, strict=True):
            if release in beside and where in place:
                told = values[:, [SESSIONS, OK]]
                sums[place[where]] += told[~np.isnan(told[:, 0])].sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            known = at, sums[:, 1] / sums[:, 0]
        sight.cache["usual"] = known
    return known[1]


def _decline(
    pairs: FloatArray, terms: Terms, split: Split, phi: float | None = None
) -> Decline | None:
    return decline(
        pairs,
        margin=terms.margin,
        spread=terms.spread,
        bin_ms=split.bin_ms,
        inverse_rates=terms.inverse_rates,
        phi=phi,
    )


def _step_so_far(whole: FloatArray, phi: float, number: int) -> Step:
    """How far the arms were apart in the latest half, the variance of that."""
    latest = whole[:, whole.shape[1] // 2 :]
    got, due, own, others = (latest.sum(axis=1) + 0.5).tolist()
    return Step(number, math.log(got / due), phi / own + phi / others)


def _worst_segment(
    sight: Sight, done: Done, each: FloatArray, sums: FloatArray, terms: Terms
) -> Finding | None:
    """The segment furthest behind, if any is beyond the threshold of segments."""
    split = done.split
    segments, inside = segment_rows(sight, split.strata)
    if not segments:
        return None
    terms = terms._replace(threshold=terms.threshold + SEGMENT_EXTRA)
    worst: tuple[float, Decline, int] | None = None
    for row in _reached(sums_of(inside, sums), terms, terms.threshold):
        seen = _decline(each[:, inside[row]].sum(axis=1), terms, split)
        if seen is None or seen.z < terms.threshold:
            continue
        if worst is None or seen.z > worst[0]:
            worst = seen.z, seen, row
    if worst is None:
        return None
    return _finding(done, terms, worst[1], segments[worst[2]], inside[worst[2]])


def _finding(
    done: Done,
    terms: Terms,
    seen: Decline,
    segment: Segment,
    where: slice | BoolArray,
) -> Finding:
    span = where, slice(seen.first, None)
    came, beside = (float(arm[span].sum()) for arm in done.done)
    low, point, high = (
        math.exp(seen.log_ratio + k * seen.sd) for k in (-Z95, 0.0, Z95)
    )
    due = came / point if came > 0 else seen.due * (1.0 + seen.own / seen.others)
    enough = min(seen.own, seen.others) >= terms.sessions_min
    over = seen.z >= terms.threshold and enough and seen.present
    return Finding(
        signal=NAME,
        control="concurrent",
        guarantee="empirical",
        reason=REASON,
        z=seen.z,
        threshold=terms.threshold,
        fires=over and _is_below_usual(done, terms, span),
        segment=segment,
        ratio=(low, point, high),
        counts=(due, max(0.0, due - came), beside, 0.0),
        onset_ms=int(done.split.ends_ms[seen.first]) - done.split.bin_ms,
        unit=UNIT,
        margin=1.0 / terms.margin,
    )


def _is_below_usual(
    done: Done, terms: Terms, span: tuple[slice | BoolArray, slice]
) -> bool:
    """Whether the candidate does less than was done before, not the control more.

    A client that makes requests without sessions, on the old release only, raises
    what is due there and harms nobody.
    """
    begun = done.begun[0][span].sum(axis=1)
    usual = done.usual[span[0]]
    known = ~np.isnan(usual)
    if not known.any():
        return True
    came = float(done.done[0][span][known].sum())
    due = float((begun[known] * usual[known]).sum())
    return math.log((came + 0.5) / (due + 0.5)) < -math.log(terms.margin)
