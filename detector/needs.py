"""What would change a verdict, how many units that needs, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, isfinite, log
from typing import NamedTuple

import numpy as np

from detector.combine import release_log_e
from detector.decide import CALM_MS
from detector.evidence.rate_ratio import RECOVERY_RATIOS
from detector.evidence.rows import RateRatioRows
from detector.facts import Facts, Judgement
from detector.findings import Finding
from detector.lineage import Fixed
from detector.outlook import gain_per_failure
from detector.reading import CONFIDENCE_ALPHA, series_log_e
from detector.releases import Release
from detector.rulefile import Rule
from detector.scope import Watch
from detector.verdicts import ReasonCode, Verdict

HOUR_MS = 3_600_000
PAST_LEAST_MS = HOUR_MS
Z95 = 1.96
RATIO_MOST = 100.0
"""Beyond it a smallest ratio is not worth a number."""

CONTROL_WORDS = {
    "history": "its own past",
    "regions": "the other regions",
    "plan": "the plan of the rollout",
    "cohort": "sessions of the same age",
    "concurrent": "the releases beside it",
}
PLAIN = {
    ReasonCode.NO_USAGE: "usage of this release: none has come",
    ReasonCode.WENT_SILENT: "usage of this release: it has stopped",
    ReasonCode.ERRORS_WITHOUT_USAGE: "usage of this release beside its errors",
    ReasonCode.UNIT_MISMATCH: "usage and errors counted in the same unit",
    ReasonCode.NO_CONTROL: "usage of another release in the same minutes",
    ReasonCode.NO_COMMON_STRATUM: "usage of another release in a segment it serves",
    ReasonCode.RECOVERED: "a harm that begins anew: the evidence starts at nothing",
    ReasonCode.ROLLED_BACK: "a new deploy of it",
}
"""Needs that no count of units describes."""


class Rates(NamedTuple):
    """How evidence has grown so far: log evidence, counts, seconds of watching."""

    log_e: float
    ratio: float
    units: float
    units_control: float
    failures: float
    watched_s: float


def eta_s(rates: Rates, margin: float, log_threshold: float) -> float | None:
    """Seconds of event time until the evidence decides, None if it is not on its way.

    Expected growth of log evidence per failed unit (``gain_per_failure``) times
    failed units per second: a little early, because some of the stakes are lost.

    Examples
    --------
    >>> rates = Rates(1.0, 2.0, 500.0, 500.0, 60.0, 600.0)
    >>> round(eta_s(rates, 1.1, 5.99))
    1191
    """
    need = log_threshold - rates.log_e
    if need <= 0:
        return 0.0
    total = rates.units + rates.units_control
    part = rates.units / total if total > 0 else 0.0
    usable = 0.0 < part < 1.0 and margin < rates.ratio < inf
    if not usable or rates.watched_s <= 0 or rates.failures <= 0:
        return None
    gain = gain_per_failure(part, margin, rates.ratio)
    return need * rates.watched_s / (gain * rates.failures) if gain > 0 else None


def watch_eta_s(watch: Watch, rows: RateRatioRows, alpha: float) -> float | None:
    """Seconds until one of the signals decides; None where none is on its way."""
    if watch.control_lost_ms >= 0:
        return None
    found = []
    for track in watch.tracks.values():
        if not track.series.series:
            continue
        row = track.series.series[0].row
        total = rows.totals[row]
        begun_ms = int(rows.first_ms[row])
        seconds = (int(rows.last_end_ms[row]) - begun_ms) / 1000 if begun_ms >= 0 else 0
        weights = np.array([s.weight for s in track.series.series])
        rates = Rates(
            log_e=release_log_e(series_log_e(track, rows), weights),
            ratio=float(rows.confidence([row], CONFIDENCE_ALPHA)[0][1]),
            units=float(total[1]),
            units_control=float(total[3]),
            failures=float(total[0] + total[2]),
            watched_s=seconds,
        )
        found.append(eta_s(rates, track.margin, log(1.0 / (alpha * track.share))))
    least = min((e for e in found if e is not None), default=None)
    return None if least is None else float(f"{least:.6g}")


def change_needs(
    facts: Facts,
    judgement: Judgement,
    release: Release,
    rule: Rule,
    unit: str,
    fixed: Sequence[Fixed] = (),
) -> str:
    """What would change the verdict and how much of it, in words.

    Parameters
    ----------
    unit : str
        What is counted: session, user or request.
    fixed : sequence of Fixed
        What became of the signatures that the release claims to fix.
    """
    reason = judgement.reasons[0]
    if reason in PLAIN:
        return PLAIN[reason]
    if judgement.verdict is Verdict.REGRESSED:
        return _recovery(facts, reason)
    waiting = _finding_needs(facts.findings)
    if reason is ReasonCode.THIN_TRAFFIC:
        return _joined(_exposure(facts, rule, unit), waiting)
    if reason is ReasonCode.WARMING_UP:
        return _joined(_age(facts, release, rule), _concurrent(facts, rule, unit))
    if reason is ReasonCode.NO_HISTORY:
        return _past(facts)
    if reason is ReasonCode.PAST_ONLY:
        return waiting or "a harm beside its own past, or another release beside it"
    if reason is ReasonCode.FIX_INCOMPLETE:
        return _fixes(fixed)
    if reason is ReasonCode.HARM_NOT_PERSISTENT:
        return (
            "the same excess in the windows to come: "
            f"{rule.persistence_ms / 1000:g} s after its onset it must still be there"
        )
    if reason is ReasonCode.UPPER_LIMIT_BELOW_MARGIN:
        return _joined(_found_by_now(facts, rule), _fixes(fixed))
    return _joined(_concurrent(facts, rule, unit), waiting)


def smallest_ratio(finding: Finding) -> float | None:
    """The smallest ratio that a comparison could have found, as noisy as it was.

    ``margin * exp(threshold * sigma)`` (statistics-controls 4), sigma read off its
    95 % interval; below 1 where less is worse. None where the interval is open.

    Examples
    --------
    >>> seen = Finding("errors", "history", "empirical", "error_rate_up", 1.2, 2.5,
    ...     False, (), (0.9, 1.4, 2.2), (1e4, 140, 1e4, 100), 0, "session", 1.25)
    >>> round(smallest_ratio(seen), 2)
    2.21
    """
    low, _, high = finding.ratio
    if not (0.0 < low < high and isfinite(high)):
        return None
    sigma = log(high / low) / (2.0 * Z95)
    direction = 1.0 if finding.margin >= 1.0 else -1.0
    found = finding.margin * exp(direction * finding.threshold * sigma)
    return found if 1.0 / RATIO_MOST <= found <= RATIO_MOST else None


def ratio_found_by_now(facts: Facts, log_threshold: float) -> float | None:
    """The smallest lasting rate ratio that the units so far would have shown."""
    if facts.units_control <= 0 or facts.bad_control <= 0 or facts.units_candidate <= 0:
        return None
    odds = facts.units_candidate / facts.units_control
    share = odds / (1.0 + odds)

    def found(ratio: float) -> bool:
        failures = facts.bad_control * (1.0 + ratio * odds)
        gain = gain_per_failure(share, facts.margin, ratio)
        return failures * gain >= log_threshold

    low, high = facts.margin, RATIO_MOST
    if not found(high):
        return None
    while high - low > 0.005 * low:
        middle = (low + high) / 2.0
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _concurrent(facts: Facts, rule: Rule, unit: str) -> str:
    """Failed units still needed at the present ratio."""
    need = log(1.0 / rule.alpha) - facts.log_e
    total = facts.units_candidate + facts.units_control
    share = facts.units_candidate / max(1.0, total)
    ratio = facts.ratio[1]
    if need <= 0 or not 0.0 < share < 1.0 or not isfinite(ratio):
        return ""
    if ratio <= facts.margin:
        return f"a rate ratio above the margin {facts.margin:g} that lasts"
    gain = gain_per_failure(share, facts.margin, ratio)
    return (
        f"about {need / gain:,.0f} more failed units of both releases together "
        f"at the present ratio of {ratio:.2g} would reach the threshold"
    )


def _exposure(facts: Facts, rule: Rule, unit: str) -> str:
    least = rule.hypercare.min_exposure
    parts = [
        f"{least - units:,.0f} more {unit}s {words}"
        for units, words in (
            (facts.units_candidate, "of the release"),
            (facts.units_control, "beside it"),
        )
        if units < least
    ]
    return " and ".join(parts)


def _age(facts: Facts, release: Release, rule: Rule) -> str:
    missing_ms = rule.hypercare.min_hours * HOUR_MS - facts.now_ms + release.started_ms
    return f"{max(0.0, missing_ms) / 60_000:,.0f} more minutes without harm"


def _past(facts: Facts) -> str:
    have = max(0, facts.past_ms) / 60_000
    return (
        f"a past of {PAST_LEAST_MS / 60_000:.0f} minutes before it took over, there "
        f"are {have:.0f}: let another release run beside it, the next one will have it"
    )


def _recovery(facts: Facts, reason: ReasonCode) -> str:
    """What it takes to call a harm gone."""
    finding = next(
        (
            f
            for f in facts.findings
            if f.reason == reason
            and (f.control != "concurrent" or reason == ReasonCode.ACTIONS_DOWN)
        ),
        None,
    )
    if finding is not None:
        return (
            f"{CALM_MS / 60_000:.0f} minutes in which the harm beside "
            f"{CONTROL_WORDS[finding.control]} is less than half of what raised it"
        )
    total = facts.units_candidate + facts.units_control
    share = facts.units_candidate / max(1.0, total)
    level = max(RECOVERY_RATIOS)
    if not 0.0 < share < 1.0 or level >= facts.margin:
        return "an evidence of 100 that the rate ratio is back below the margin"
    failures = log(100.0) / gain_per_failure(share, facts.margin, level)
    return (
        f"about {failures:,.0f} failed units of both releases together at a rate "
        f"ratio of {level:g} would show that the harm has gone"
    )


def _finding_needs(findings: Sequence[Finding]) -> str:
    """How far the nearest of the measured comparisons is from its threshold."""
    waiting = [f for f in findings if not f.fires and f.acts]
    nearest = max(waiting, key=lambda f: f.z / f.threshold, default=None)
    if nearest is None:
        return ""
    control = CONTROL_WORDS[nearest.control]
    text = f"beside {control} {nearest.signal} stand at z {nearest.z:.1f}"
    text = text.replace("latency stand", "latencies stand")
    if nearest.z >= nearest.threshold:
        return f"{text}, enough, once it is seen to last"
    text += f" of the {nearest.threshold:.1f} it takes"
    least = smallest_ratio(nearest)
    if least is None:
        return text
    word = "less" if nearest.margin < 1.0 else "more"
    return f"{text}; a ratio of {least:.2g} or {word} would be found at this noise"


def _found_by_now(facts: Facts, rule: Rule) -> str:
    least = ratio_found_by_now(facts, log(1.0 / rule.alpha))
    if least is None:
        return f"a rate ratio above the margin {facts.margin:g} that lasts"
    return (
        f"a rate ratio above the margin {facts.margin:g} that lasts; "
        f"one of {least:.2g} since the start would have been found by now"
    )


def _fixes(fixed: Sequence[Fixed]) -> str:
    """What is missing to call each named fix done."""
    parts = [
        f"{one.units_needed:,.0f} more units without {one.signature}"
        for one in fixed
        if one.fate == "too_early" and isfinite(one.units_needed)
    ]
    parts += [
        f"{one.signature} below half of its earlier rate"
        for one in fixed
        if one.fate == "still_there"
    ]
    return "; ".join(parts)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
