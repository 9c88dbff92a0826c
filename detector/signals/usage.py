"""Usage of the candidate against its planned share of the traffic.

While a canary or an A/B split ramps, the deploy says which share the release should
get. Only cells where usage of both arms arrived are compared: a line that is
missing is missing, it is not zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.evidence import sample_ratio
from detector.evidence.order import quantile
from detector.evidence.plan import (
    MARGIN,
    SPREAD_PRIOR,
    PlanPast,
    Shortfall,
    Step,
    dispersion,
    errors_keep_plan,
    planned_log_odds,
    shortfall,
    spread,
    threshold_after,
)
from detector.evidence.types import BoolArray, FloatArray, IntArray
from detector.findings import Finding
from detector.ledger import BAD, FINE_KEPT_MS, FOLDED, LINES, REQUESTS, Table
from detector.releases import Registry, Release
from detector.series import Segment, initial_segments, segments_of
from detector.sight import Sight
from detector.windows import OpenWindow

NAME = "usage"
UNIT = "request"
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

FULL_SHARE = 0.9
"""Share of its usual lines that the candidate's bin must have to be whole."""

USUAL_QUANTILE = 0.8
TAKEN_BACK = frozenset({"aborted", "rolled_back", "withdrawn"})
Z95 = 1.959963984540054


class Shares(NamedTuple):
    """Counts of both arms by stratum and bin since the plan last changed.

    Arrays have shape (strata, bins); where a stratum lacks whole usage of either
    arm in a bin, all four are 0.
    """

    strata: list[int]
    ends_ms: IntArray
    bin_ms: int
    candidate: FloatArray
    control: FloatArray
    bad_candidate: FloatArray
    bad_control: FloatArray

    def of(self, chosen: BoolArray) -> Shares:
        """The same for some of the strata."""
        parts = (array[chosen] for array in self[3:])
        kept = [s for s, one in zip(self.strata, chosen, strict=True) if one]
        return Shares(kept, self.ends_ms, self.bin_ms, *parts)


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
        inverse_rates(sight.window, number),
    )
    # Nothing changes before the next bin is full.
    ledger, strata = sight.scope.ledger, sight.scope.strata
    cells = len(ledger.fine), strata.attrs, strata.next_number
    at = sight.now_ms // ledger.fine_ms, plan, cells
    known: tuple[object, list[Finding]] | None = sight.cache.get(NAME)
    if known is None or known[0] != at:
        known = at, _look_at(sight, plan, weight, past)
        sight.cache[NAME] = known
    return known[1]


def _look_at(sight: Sight, plan: Plan, weight: float, past: PlanPast) -> list[Finding]:
    shares = shares_since(sight, plan.since_ms)
    whole = _shortfall(shares, plan)
    if whole is None:
        return []
    past.note(plan.since_ms, _step_so_far(shares, plan, sight.release.number))
    threshold = threshold_after(max(1, _spans(shares)))
    found = [_finding(shares, plan, whole, (), threshold)]
    segment = _worst_segment(sight, shares, plan, threshold + SEGMENT_EXTRA)
    if segment is not None:
        found.append(segment)
    ratio = _sample_ratio(sight.release, shares, plan, weight)
    return found if ratio is None else [*found, ratio]


def _spans(shares: Shares) -> int:
    """How many shortest spans there were to look at."""
    return len(shares.ends_ms) * shares.bin_ms // max(SPAN_MS, shares.bin_ms)


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


def shares_since(sight: Sight, since_ms: int) -> Shares:
    """Counts per stratum and whole bin since the plan changed, from the ledger.

    The bin that holds the change and the one after it are left out: a balancer takes
    a moment.
    """
    ledger = sight.scope.ledger
    now_ms = sight.now_ms // ledger.fine_ms * ledger.fine_ms
    start_ms = max(since_ms, now_ms - FINE_KEPT_MS) + ledger.fine_ms
    table = ledger.table(start_ms, now_ms, coarse=False)
    return _joint(table, sight.release.number)


def inverse_rates(window: OpenWindow, candidate: int) -> tuple[float, float]:
    """One over the share of usage that sampling kept: candidate, all others."""
    seen, weighted = [0.0, 0.0], [0.0, 0.0]
    for (release, _), cell in sorted(window.cells.items()):
        arm = 0 if release == candidate else 1
        seen[arm] += cell.seen_units
        weighted[arm] += cell.weighted_units
    own, rest = (w / s if s else 1.0 for w, s in zip(weighted, seen, strict=True))
    return own, rest


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


def _joint(table: Table, candidate: int) -> Shares:
    strata = sorted({where for release, where in table.keys if release == candidate})
    place = {where: row for row, where in enumerate(strata)}
    own, rest = (np.zeros((len(strata), *table.values.shape[1:])) for _ in range(2))
    for (release, where), values in zip(table.keys, table.values, strict=True):
        if where in place and release != FOLDED:
            arm = own if release == candidate else rest
            arm[place[where]] += values
    whole = np.array([_whole(lines) for lines in own[:, :, LINES]], dtype=np.bool_)
    both = whole.reshape(own.shape[:2]) & (rest[:, :, LINES] > 0)
    arms = (own[..., REQUESTS], rest[..., REQUESTS], own[..., BAD], rest[..., BAD])
    counts = (np.where(both, arm, 0.0) for arm in arms)
    return Shares(strata, table.ends_ms, table.bin_ms, *counts)


def _whole(lines: FloatArray) -> BoolArray:
    """Bins with as many usage lines as usual: no sender's line is missing."""
    present = lines > 0
    if not present.any():
        return present
    usual = quantile(lines[present], USUAL_QUANTILE)
    whole: BoolArray = present & (lines >= FULL_SHARE * usual)
    return whole


def _shortfall(
    shares: Shares,
    plan: Plan,
    inside: BoolArray | None = None,
    at_least: float = -math.inf,
) -> Shortfall | None:
    chosen = slice(None) if inside is None else inside
    return shortfall(
        shares.candidate[chosen].sum(axis=0),
        shares.control[chosen].sum(axis=0),
        plan.log_odds,
        bin_ms=shares.bin_ms,
        spread=plan.spread,
        inverse_rates=plan.inverse_rates,
        at_least=at_least,
    )


def _step_so_far(shares: Shares, plan: Plan, number: int) -> Step:
    t, c = shares.candidate.sum(axis=0), shares.control.sum(axis=0)
    phi = dispersion(t, c)
    units_t, units_c = float(t.sum()) + 0.5, float(c.sum()) + 0.5
    residual = math.log(units_t / units_c) - plan.log_odds
    return Step(number, residual, phi / units_t + phi / units_c)


def _worst_segment(
    sight: Sight, shares: Shares, plan: Plan, threshold: float
) -> Finding | None:
    """The segment furthest short of its share, if it stands for itself.

    Plans hold for all traffic. Where a segment lacks what others have too much, the
    arms differ in kind (early adopters), and nothing is missing.
    """
    if sight.release.strategy not in PLANNED_BY_SEGMENT:
        return None
    strata = sight.scope.strata
    keys = strata.key_of()
    belongs = [set(segments_of(strata.attrs, keys.get(s, ()))) for s in shares.strata]
    best: Finding | None = None
    for segment in initial_segments(strata):
        inside = np.array([segment in segments for segments in belongs])
        if not segment or not inside.any() or inside.all():
            continue
        short = _shortfall(shares, plan, inside, threshold)
        if short is None or short.z < threshold:
            continue
        if not _kept_elsewhere(shares.of(~inside), plan, short):
            continue
        if best is None or short.z > best.z:
            best = _finding(shares.of(inside), plan, short, segment, threshold)
    return best


def _kept_elsewhere(rest: Shares, plan: Plan, short: Shortfall) -> bool:
    """Whether the rest keeps its plan, and has not got what the segment lacks."""
    t = float(rest.candidate[:, short.first : short.last].sum())
    c = float(rest.control[:, short.first : short.last].sum())
    off = math.log((t + 0.5) / (c + 0.5)) - plan.log_odds
    odds = math.exp(plan.log_odds)
    missing = short.units_control * odds - short.units_candidate
    surplus = t - c * odds
    kept = abs(off) <= math.log(MARGIN) + plan.spread
    return kept and surplus < MOVED_SHARE_MAX * missing


def _finding(
    shares: Shares, plan: Plan, short: Shortfall, segment: Segment, threshold: float
) -> Finding:
    span = slice(short.first, short.last)
    bad_t = float(shares.bad_candidate[:, span].sum())
    bad_c = float(shares.bad_control[:, span].sum())
    over = short.z >= threshold
    lost = over and errors_keep_plan(short.log_ratio, bad_t, bad_c, plan.log_odds)
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
        onset_ms=int(shares.ends_ms[short.first]) - shares.bin_ms,
        unit=UNIT,
        margin=1.0 / MARGIN,
    )


def _sample_ratio(
    release: Release, shares: Shares, plan: Plan, weight: float
) -> Finding | None:
    """Whether a planned split of an experiment came out otherwise; blames nobody."""
    t, c = shares.candidate.sum(axis=0), shares.control.sum(axis=0)
    units_t, units_c = float(t.sum()), float(c.sum())
    if release.strategy != "ab" or units_t + units_c <= 0:
        return None
    # Requests of one user come together: as many as independent ones would say it.
    phi = max(dispersion(t, c), *plan.inverse_rates)
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
        unit=UNIT,
        acts=False,
    )
