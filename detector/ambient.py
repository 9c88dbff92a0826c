"""Is there trouble everywhere? The other releases beside their own past."""

from __future__ import annotations

from detector.ledger import BAD, DAY_MS, UNITS, Table
from detector.releases import Release
from detector.scope import Scope

NOW_MS = 1_800_000
PAST_MIN_MS = 3_600_000
PSEUDO_BAD = 0.5


def ambient_ratio(scope: Scope, release: Release, now_ms: int) -> float | None:
    """Failure rate of the other releases over half an hour, by that of the day before.

    A display: high beside a healthy release it says that something else is wrong. A
    trouble that both arms share never speaks against the release, because the
    comparison conditions on it. None without an hour of past.
    """
    if scope.ledger.coarse_ms == 0:
        return None
    bin_ms = scope.ledger.coarse_ms
    split_ms = (now_ms - max(NOW_MS, bin_ms)) // bin_ms * bin_ms
    past = scope.ledger.table(split_ms - DAY_MS, split_ms)
    if scope.ledger.oldest_ms() > split_ms - PAST_MIN_MS:
        return None
    units, bad = _totals(past, release)
    units_now, bad_now = _totals(scope.ledger.table(split_ms, now_ms), release)
    if units <= 0 or units_now <= 0:
        return None
    before = (bad + PSEUDO_BAD) / units
    return float(f"{(bad_now + PSEUDO_BAD) / units_now / before:.4g}")


def _totals(table: Table, release: Release) -> tuple[float, float]:
    others = table.sum_of(lambda key: key[0] != release.number).sum(axis=0)
    return float(others[UNITS]), float(others[BAD])
