"""Traffic as recorded history has it: how much, how bad, where and at what hours."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from detector.engine import Partition
from detector.evidence.types import FloatArray
from detector.ledger import BAD, UNITS
from detector.power.traffic import FLAT, HOURS, Part, Traffic
from detector.scope import Scope
from detector.tracks import open_tracks

HOUR_MS = 3_600_000
PRIOR_UNITS = 20.0
"""Weight of the service's error rate in that of a part. Larger: parts more alike."""


class Begun(NamedTuple):
    """What a release under way has so far: seconds of age, units, failed units."""

    age_s: float
    units: float
    bad: float
    units_control: float
    bad_control: float

    @property
    def share(self) -> float:
        """Its share of the units since it came."""
        total = self.units + self.units_control
        return self.units / total if total else 0.0


def scope_of(partition: Partition, service: str) -> Scope:
    """The scope of a service with the most recent events.

    Raises
    ------
    LookupError
        If the history has no such service, or no usage of it.
    """
    scopes = [s for s in partition.scopes.values() if s.service == service]
    if not scopes:
        known = ", ".join(sorted({s.service for s in partition.scopes.values()}))
        raise LookupError(
            f"service {service!r} is not in this history: it has {known or 'none'}"
        )
    scope = max(scopes, key=lambda s: (s.environment == "production", s.watermark_ms))
    if scope.ledger.newest_ms < 0:
        raise LookupError(
            f"no window of {service!r} closed in this history: record more of its "
            "usage, some minutes at least"
        )
    return scope


def learn(partition: Partition, service: str) -> Traffic:
    """The traffic of a service, all its releases together.

    Hours of the day that the history does not cover are taken as the mean of the
    others.
    """
    scope = scope_of(partition, service)
    ledger = scope.ledger
    table = ledger.table(ledger.oldest_ms(), ledger.newest_ms + ledger.coarse_ms)
    counted = [i for i, (number, _) in enumerate(table.keys) if number >= 0]
    values = np.nan_to_num(table.values[counted][:, :, [UNITS, BAD]])
    by_part: dict[tuple[str, ...], FloatArray] = defaultdict(lambda: np.zeros(2))
    keys = scope.strata.key_of()
    for i, each in zip(counted, values.sum(axis=1), strict=True):
        by_part[keys.get(table.keys[i][1], ())] += each
    by_bin = values.sum(axis=0)
    seen = by_bin[:, 0] > 0
    units, bad = by_bin[seen].sum(axis=0)
    seen = _whole(seen)
    if not units or not bad:
        raise LookupError(
            f"{service!r} has {units:.0f} units and {bad:.0f} failed ones in this "
            "history: record more, or give --sessions-per-minute and --error-rate"
        )
    hour = ((table.ends_ms[seen] - 1) // HOUR_MS % HOURS).astype(np.int64)
    hours, error_hours = _hours(hour, by_bin[seen])
    rule = partition.rulebook.find(scope.service, scope.environment).rule
    return Traffic(
        # The day's mean from the mean of each hour: a history may end at noon.
        sessions_per_min=_daily_mean(hour, by_bin[seen, 0]) * 60_000 / table.bin_ms,
        parts=_parts(scope.strata.attrs, by_part, float(bad / units)),
        hours=hours,
        error_hours=error_hours,
        errors_share=open_tracks(scope, rule)["errors"].share,
    )


def begun_of(partition: Partition, service: str, release: str) -> Begun:
    """What a release has at the end of a history."""
    scope = scope_of(partition, service)
    for name, watch in scope.watches.items():
        found = scope.registry.releases[name]
        if release in (name, found.shown):
            track = watch.errors
            age_s = max(0.0, (scope.closed_until_ms - found.started_ms) / 1000)
            return Begun(
                age_s,
                track.units_candidate,
                track.bad_candidate,
                track.units_control,
                track.bad_control,
            )
    known = ", ".join(scope.watches) or "none"
    raise LookupError(f"release {release!r} is not under judgement: {known} is")


def _parts(
    attrs: tuple[str, ...], by_part: dict[tuple[str, ...], FloatArray], rate: float
) -> tuple[Part, ...]:
    total = sum(float(each[0]) for each in by_part.values())
    return tuple(
        Part(
            tuple((a, v) for a, v in zip(attrs, key, strict=False) if v),
            float(units) / total,
            float((bad + PRIOR_UNITS * rate) / (units + PRIOR_UNITS)),
        )
        for key, (units, bad) in sorted(by_part.items())
        if units > 0
    )


def _whole(seen: np.ndarray) -> np.ndarray:
    """Bins that are covered whole: history begins and ends in the middle of one.

    Of less than three bins nothing can be left out: a short history is thought to have
    less traffic than it has, never more.
    """
    places = np.flatnonzero(seen)
    whole = seen.copy()
    if len(places) >= 3:
        whole[places[[0, -1]]] = False
    return whole


def _daily_mean(hour: np.ndarray, units: FloatArray) -> float:
    means = [units[hour == h].mean() for h in range(HOURS) if (hour == h).any()]
    return float(np.mean(means))


def _hours(
    hour: np.ndarray, counts: FloatArray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factors on sessions and error rates, 1 where the history says nothing."""
    mean, rate = (
        _daily_mean(hour, counts[:, 0]),
        counts[:, 1].sum() / counts[:, 0].sum(),
    )
    busy, worse = list(FLAT), list(FLAT)
    for h in range(HOURS):
        own = counts[hour == h]
        if len(own):
            busy[h] = float(own[:, 0].mean() / mean)
            prior = PRIOR_UNITS / rate
            shrunk = (own[:, 1].sum() + prior * rate) / (own[:, 0].sum() + prior)
            worse[h] = float(shrunk / rate)
    return tuple(busy), tuple(worse)
