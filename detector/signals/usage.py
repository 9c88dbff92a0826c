"""Usage of the candidate against its planned share of the traffic.

While a canary or an A/B split ramps, the deploy says which share the release should
get. It is asked of the sessions that began, where all lines tell them: a split assigns
users, so the sessions that begin, over those that the plan gives, are sessions per
assigned user. Elsewhere it is asked of the requests.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence import sample_ratio
from detector.evidence.plan import (
    MARGIN,
    Shortfall,
    could_reach,
    dispersion,
    errors_keep_plan,
    planned_log_odds,
    shortfall,
    threshold_after,
)
from detector.evidence.plansteps import SPREAD_PRIOR, PlanPast, Step, spread
from detector.evidence.types import BoolArray, FloatArray
from detector.findings import Finding
from detector.ledger import BAD, REQUESTS, SESSIONS
from detector.releases import Registry, Release
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

NAME = "usage"
REQUEST, SESSION = "request", "session"
SPAN_MS = 300_000
"""The shortest span that is looked at."""

PLANNED = frozenset({"canary", "ab"})
"""Strategies whose weight is a share of the traffic from now on. A mobile or rolling
release only heads for its weight."""

PLANNED_BY_SEGMENT = frozenset({"ab"})
"""Strategies that split every segment alike. A canary's early adopters choose
themselves, and their mix says nothing about usage."""

SEGMENT_EXTRA = 0.75
"""How much further beyond the margin one of many segments must be."""

MOVED_SHARE_MAX = 0.5
"""Of what a segment lacks so much may be found elsewhere: more of it has moved."""

TAKEN_BACK = frozenset({"aborted", "rolled_back", "withdrawn"})
Z95 = 1.959963984540054


class Shares(NamedTuple):
    """Units of one kind and failures of both arms, shape (strata, bins)."""

    unit: str
    split: Split
    candidate: FloatArray
    control: FloatArray
    bad_candidate: FloatArray
    bad_control: FloatArray


class Plan(NamedTuple):
    """The share in force, since when, and how well plans are kept here."""

    since_ms: int
    log_odds: float
    spread: float
    inverse_rates: tuple[float, float]


def look(sight: Sight) -> list[Finding]:
    """What the planned share of a ramping release says after this window."""
    return look_with(sight, sight.scope.plan_past)


def look_with(sight: Sight, past: PlanPast) -> list[Finding]:
    """The same with the finished steps given; notes the running step in them."""
    step = planned_step(sight.release, sight.now_ms)
    if step is None:
        return []
    since_ms, weight = step
    number = sight.release.number
    plan = Plan(
        since_ms,
        planned_log_odds(weight),
        learnt_spread(past, sight.scope.registry, number),
        inverse_rates(sight),
    )
    # Nothing changes before the next bin is full.
    at = at_bin(sight), plan
    known: tuple[object, list[Finding]] | None = sight.cache.get(NAME)
    if known is None or known[0] != at:
        known = at, _look_at(sight, plan, weight, past)
        sight.cache[NAME] = known
    return known[1]


def _look_at(sight: Sight, plan: Plan, weight: float, past: PlanPast) -> list[Finding]:
    split = split_since(sight, plan.since_ms)
    spans = len(split.ends_ms) * split.bin_ms // max(SPAN_MS, split.bin_ms)
    threshold = threshold_after(max(1, spans))
    shares = _sessions(split) if split.told.any() else _requests(split)
    t, c = shares.candidate.sum(axis=0), shares.control.sum(axis=0)
    phi = dispersion(t, c)
    whole = _shortfall(t, c, split, plan, phi=phi)
    if whole is None:
        return []
    units = float(t.sum()), float(c.sum())
    past.note(plan.since_ms, _step_so_far(units, phi, plan, sight.release.number))
    found = [_finding(shares, plan, whole, (), threshold)]
    segment = _worst_segment(sight, shares, plan, threshold + SEGMENT_EXTRA)
    if segment is not None:
        found.append(segment)
    if sight.release.strategy == "ab":
        found.append(_sample_ratio(shares.unit, units, phi, plan, weight))
    return found


def planned_step(release: Release, now_ms: int) -> tuple[int, float] | None:
    """Since when the share in force is planned, and how large it is.

    None unless the strategy plans shares and this one leaves a control. A step that
    is announced again with the same weight does not start anew.
    """
    if release.strategy not in PLANNED:
        return None
    since: tuple[int, float] | None = None
    for at_ms, weight in release.ramp:
        if at_ms <= now_ms and (since is None or since[1] != weight):
            since = (at_ms, weight)
    return since if since is not None and 0.0 < since[1] < 1.0 else None


def learnt_spread(past: PlanPast, registry: Registry, candidate: int) -> float:
    """How far this service's traffic strays from plans that nobody complained of.

    The steps of the release itself are left out, or its shortfall would excuse
    itself, and so are those of releases that were taken back.
    """
    taken_back = {
        r.number for r in registry.releases.values() if r.ended_by in TAKEN_BACK
    }
    kept = [s for s in past.steps if s.release not in (candidate, *taken_back)]
    return spread([s.residual for s in kept], [s.variance for s in kept])


def _requests(split: Split) -> Shares:
    arms = (arm[:, :, m] for m in (REQUESTS, BAD) for arm in (split.own, split.others))
    return Shares(REQUEST, split, *arms)


def _sessions(split: Split) -> Shares:
    """Sessions that began, which for a planned share are sessions per assigned user.

    Requests keep the plan where half of the users get in and try twice as often
    (statistics 2.5), and fall short of it while sessions are young: where sessions are
    told they are what the plan is asked of. What each of them gets done is another
    question (``detector.signals.actions``).
    """
    arms = (arm[:, :, m] for m in (SESSIONS, BAD) for arm in split.counts())
    return Shares(SESSION, split, *arms)


def _shortfall(
    candidate: FloatArray,
    control: FloatArray,
    split: Split,
    plan: Plan,
    *,
    phi: float | None = None,
    at_least: float = -math.inf,
) -> Shortfall | None:
    return shortfall(
        candidate,
        control,
        plan.log_odds,
        bin_ms=split.bin_ms,
        spread=plan.spread,
        inverse_rates=plan.inverse_rates,
        phi=phi,
        at_least=at_least,
    )


def _step_so_far(
    units: tuple[float, float], phi: float, plan: Plan, number: int
) -> Step:
    """How far the step is off its plan so far, and the variance of that."""
    t, c = units[0] + 0.5, units[1] + 0.5
    return Step(number, math.log(t / c) - plan.log_odds, phi / t + phi / c)


def _worst_segment(
    sight: Sight, shares: Shares, plan: Plan, threshold: float
) -> Finding | None:
    """The segment furthest short of its share, if it stands for itself.

    Plans hold for all traffic. Where a segment lacks what others have too much, the
    arms differ in kind (early adopters), and nothing is missing.
    """
    if sight.release.strategy not in PLANNED_BY_SEGMENT:
        return None
    split = shares.split
    segments, inside = segment_rows(sight, split.strata)
    if not segments:
        return None
    t, c = sums_of(inside, np.stack([shares.candidate, shares.control]))
    best: Finding | None = None
    for row in could_reach(
        t,
        c,
        plan.log_odds,
        at_least=threshold,
        spread=plan.spread,
        bin_ms=split.bin_ms,
    ).tolist():
        short = _shortfall(t[row], c[row], split, plan, at_least=threshold)
        if short is None or short.z < threshold:
            continue
        if not _kept_elsewhere(shares, ~inside[row], plan, short):
            continue
        if best is None or short.z > best.z:
            where = segments[row]
            best = _finding(shares, plan, short, where, threshold, inside[row])
    return best


def _kept_elsewhere(
    shares: Shares, rest: BoolArray, plan: Plan, short: Shortfall
) -> bool:
    """Whether the rest keeps its plan, and has not got what the segment lacks."""
    t = float(shares.candidate[rest, short.first : short.last].sum())
    c = float(shares.control[rest, short.first : short.last].sum())
    off = math.log((t + 0.5) / (c + 0.5)) - plan.log_odds
    odds = math.exp(plan.log_odds)
    missing = short.units_control * odds - short.units_candidate
    surplus = t - c * odds
    kept = abs(off) <= math.log(MARGIN) + plan.spread
    return kept and surplus < MOVED_SHARE_MAX * missing


def _finding(
    shares: Shares,
    plan: Plan,
    short: Shortfall,
    segment: Segment,
    threshold: float,
    inside: BoolArray | None = None,
) -> Finding:
    where = slice(None) if inside is None else inside
    span = where, slice(short.first, short.last)
    bad_t = float(shares.bad_candidate[span].sum())
    bad_c = float(shares.bad_control[span].sum())
    over = short.z >= threshold
    lost = over and errors_keep_plan(short.log_ratio, bad_t, bad_c, plan.log_odds)
    if lost and shares.unit == SESSION:
        # Their own lines tell of requests: if those keep the plan none is missing.
        t, c = (float(arm[span][..., REQUESTS].sum()) for arm in shares.split[3:5])
        kept = math.log((t + 0.5) / (c + 0.5)) - plan.log_odds > short.log_ratio / 2
        lost = not kept
    planned = short.units_control * math.exp(plan.log_odds)
    low, point, high = (
        math.exp(short.log_ratio + k * short.sd) for k in (-Z95, 0.0, Z95)
    )
    return Finding(
        signal=NAME,
        control="plan",
        guarantee="empirical",
        reason="errors_without_usage" if lost else "usage_down",
        z=short.z,
        threshold=threshold,
        fires=over and short.present and not lost,
        segment=segment,
        ratio=(low, point, high),
        counts=(
            planned,
            max(0.0, planned - short.units_candidate),
            short.units_control,
            0.0,
        ),
        onset_ms=int(shares.split.ends_ms[short.first]) - shares.split.bin_ms,
        unit=shares.unit,
        margin=1.0 / MARGIN,
    )


def _sample_ratio(
    unit: str, units: tuple[float, float], dispersion: float, plan: Plan, weight: float
) -> Finding:
    """Whether a planned split of an experiment came out otherwise; blames nobody."""
    units_t, units_c = units
    # Requests of one user come together: as many as independent ones would say it.
    phi = max(dispersion, *plan.inverse_rates)
    spread = max(plan.spread, SPREAD_PRIOR)
    log_e = float(
        sample_ratio.log_evidence(
            units_t / phi, (units_t + units_c) / phi, weight, spread=spread
        )[0]
    )
    log_ratio = math.log((units_t + 0.5) / (units_c + 0.5)) - plan.log_odds
    threshold = math.sqrt(2.0 * sample_ratio.LOG_THRESHOLD)
    half = Z95 * math.sqrt(phi / (units_t + 0.5) + phi / (units_c + 0.5) + spread**2)
    z = math.sqrt(2.0 * max(0.0, log_e))
    planned = (units_t + units_c) * weight
    return Finding(
        signal="sample_ratio",
        control="plan",
        guarantee="empirical",
        reason="sample_ratio_off",
        z=z,
        threshold=threshold,
        fires=z >= threshold and abs(log_ratio) > math.log(MARGIN),
        segment=(),
        ratio=(
            math.exp(log_ratio - half),
            math.exp(log_ratio),
            math.exp(log_ratio + half),
        ),
        counts=(planned, abs(planned - units_t), units_c, 0.0),
        onset_ms=plan.since_ms,
        unit=unit,
        acts=False,
    )
