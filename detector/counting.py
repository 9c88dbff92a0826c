"""A cell's raw counts, read in the ways of counting that both arms may have."""

from __future__ import annotations

import math
from typing import NamedTuple

from detector.catalogue import aside_counts
from detector.ledger import Values
from detector.sketch import estimate
from detector.windows import Cell


class Arm(NamedTuple):
    """Units at risk and failed ones of one arm, by every usable way of counting."""

    usable: tuple[bool, ...]
    units: tuple[float, ...]
    bad: tuple[float, ...]
    usage_weight: float
    error_rate: float | None


WAYS = ("session", "user_sketch", "session_hour", "user_hour", "user", "request")
"""Ways of counting, best first. ``session_hour`` and ``user_hour`` are distinct
ids seen by us, a failure counted once in an hour."""

CLUSTERED_WAYS = frozenset({"request"})
"""Ways whose events may come in bursts: they need the robust kernel."""


def read_cell(cell: Cell) -> Arm:
    """Turn a cell's raw counts into one arm of a comparison.

    Units are scaled up to the unsampled population by the share of usage that
    survived sampling; failures stay as observed and their own share is kept,
    because a thinned Poisson stream is Poisson and an inflated one is not.
    """
    usage, errors = cell.usage_lines, cell.error_lines
    tallies = (
        cell.sessions,
        cell.sketch_tally,
        cell.session_tally,
        cell.user_tally,
        cell.users,
    )
    # Several times for each cell: lists are twice as fast as generators.
    *best, users = [t.usage_lines == usage and t.error_lines == errors for t in tallies]
    return Arm(
        usable=(*best, users and _single_sender(cell), True),
        units=(
            cell.sessions.units,
            estimate(cell.sketch),
            float(len(cell.session_ids)),
            float(len(cell.user_ids)),
            cell.users.units,
            cell.requests.units,
        ),
        bad=(
            cell.sessions.bad,
            estimate(cell.bad_sketch),
            cell.session_tally.bad,
            cell.user_tally.bad,
            cell.users.bad,
            len(cell.bad_traces) + max(cell.outcome_failures, cell.error_events),
        ),
        usage_weight=cell.weighted_units / cell.seen_units if cell.seen_units else 1.0,
        error_rate=kept_errors(cell),
    )


def _single_sender(cell: Cell) -> bool:
    """Whether distinct users of the lines may be added: those of one sender."""
    return len(cell.usage_senders | cell.error_senders) <= 1


def kept_errors(cell: Cell) -> float | None:
    """Share of the error records that survived sampling, None without any."""
    return cell.seen_bad / cell.weighted_bad if cell.weighted_bad else None


def kept_usage(cell: Cell) -> float | None:
    """Share of the usage that survived sampling, None without any."""
    return cell.seen_units / cell.weighted_units if cell.weighted_units else None


def read_without(cell: Cell, aside: frozenset[int]) -> Arm:
    """The cell's counts without units that set-aside signatures hit."""
    arm = read_cell(cell)
    if not aside:
        return arm
    gone = [aside_counts(cell.signatures, aside, way) for way in WAYS]
    return arm._replace(
        units=tuple(max(0.0, n - g) for n, (g, _) in zip(arm.units, gone, strict=True)),
        bad=tuple(max(0.0, n - g) for n, (_, g) in zip(arm.bad, gone, strict=True)),
    )


def ledger_values(cell: Cell, error_rate: float, aside: frozenset[int]) -> Values:
    """The counts of a cell that are kept over time, as before sampling.

    ``error_rate`` is the last known share of error records that survived sampling,
    for a cell without any; ``aside`` are signatures that do not count.
    """
    arm = read_without(cell, aside)
    usable = (
        i
        for i, ok in enumerate(arm.usable)
        if ok and (arm.units[i] or not cell.usage_lines)
    )
    index = next(usable, len(WAYS) - 1)
    rate = arm.error_rate or error_rate
    told = cell.ok_lines == cell.usage_lines
    return Values(
        units=arm.units[index] * arm.usage_weight,
        bad=arm.bad[index] / rate,
        requests=cell.weighted_units,
        lines=float(cell.usage_lines),
        sessions=arm.units[0] * arm.usage_weight if told else math.nan,
        ok=cell.weighted_ok if told else math.nan,
    )
