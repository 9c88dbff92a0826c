"""How long does a tick of the evidence kernel take, and what does a row weigh?

Run ``python -m bench.evidence``. Times are medians, and the best, of alternating
runs; the ratios compare the best with that of a plain numpy copy of the same columns
in the same run, so that they mean the same on a slow machine. Prints one JSON object.

``python -m bench.evidence errors`` prints the false alarms, delays and misses that
docs/math.md quotes, from the simulations of tests/calibration (about a minute);
``python -m bench.evidence episodes`` what becomes of regressions that begin
late or end soon.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from detector.evidence import rate_ratio
from detector.evidence.confidence import ratio_log_likelihood
from detector.evidence.rows import BYTES_PER_ROW, COLUMNS, RateRatioRows
from detector.evidence.types import FloatArray, IntArray

ROWS = 100_000
TOUCHED = 5_000
DISPLAYED = 1_000
REPEATS = 15
WINDOW_MS = 10_000


def counts(rng: np.random.Generator, rows: int) -> list[FloatArray]:
    """Counts of one cell a row in which every row has a bad unit."""
    units = [rng.integers(20, 200, rows).astype(np.float64) for _ in range(2)]
    bad = [rng.poisson(1.0, rows).astype(np.float64) for _ in range(2)]
    bad[0] += 1.0
    return [*bad, *units]


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


class Tick:
    """Ticks of one store: increments and update of some rows, window by window."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.series = RateRatioRows(ROWS)
        self.rows = self.series.allocate(ROWS)
        self.start_ms = 0

    def __call__(self, rows: IntArray, *, displayed: bool, step_ms: int) -> float:
        """Milliseconds of one tick that moves event time on by ``step_ms``."""
        cells = counts(self.rng, rows.size)
        totals = np.column_stack([cells[0], cells[2], cells[1], cells[3], cells[0]])
        self.start_ms += step_ms
        start = np.full(rows.size, self.start_ms)

        def work() -> None:
            evidence = rate_ratio.increments(*cells, margin=1.25)
            recovery = rate_ratio.recovery_increments(*cells, margin=1.25)
            likelihood = ratio_log_likelihood(*cells) if displayed else None
            self.series.update(
                rows,
                evidence,
                likelihood,
                recovery=recovery,
                totals=totals,
                window_start_ms=start,
                window_end_ms=start + WINDOW_MS,
            )

        return milliseconds(work)

    def copy(self, rows: int) -> float:
        """Milliseconds of copying the columns of the first ``rows`` rows."""
        columns = [getattr(self.series, name)[:rows] for name in COLUMNS]
        return milliseconds(lambda: [column.copy() for column in columns])


def measure() -> dict[str, float]:
    """Medians of every kind of tick, in alternating order."""
    tick = Tick()
    some = np.sort(tick.rng.choice(ROWS, TOUCHED, replace=False))
    few = some[:DISPLAYED]
    kinds: dict[str, Callable[[], float]] = {
        "copy_all": lambda: tick.copy(ROWS),
        "copy_5pct": lambda: tick.copy(TOUCHED),
        "all": lambda: tick(tick.rows, displayed=False, step_ms=WINDOW_MS),
        "all_new_slot": lambda: tick(tick.rows, displayed=False, step_ms=300_000),
        "all_displayed": lambda: tick(tick.rows, displayed=True, step_ms=WINDOW_MS),
        "5pct": lambda: tick(some, displayed=False, step_ms=WINDOW_MS),
        "5pct_displayed": lambda: tick(some, displayed=True, step_ms=WINDOW_MS),
        "1000_displayed": lambda: tick(few, displayed=True, step_ms=WINDOW_MS),
        "1_displayed": lambda: tick(few[:1], displayed=True, step_ms=WINDOW_MS),
        "read_all": lambda: milliseconds(lambda: tick.series.log_evidence(tick.rows)),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(REPEATS):
        for kind, run in kinds.items():
            taken[kind].append(run())
    result: dict[str, float] = {}
    result |= {f"{k}_ms": round(statistics.median(v), 2) for k, v in taken.items()}
    result |= {f"{k}_best_ms": round(min(v), 2) for k, v in taken.items()}
    result["all_ratio_to_copy"] = round(
        result["all_best_ms"] / result["copy_all_best_ms"], 2
    )
    touched = result["5pct_best_ms"] / result["copy_5pct_best_ms"]
    result["5pct_ratio_to_copy"] = round(touched, 2)
    result["bytes_per_row"] = BYTES_PER_ROW
    return result


def errors() -> dict[str, float]:
    """False alarms of 1,000 null releases, delay against the table, misses."""
    from tests.calibration import test_rate_ratio_calibration as simulation

    result: dict[str, float] = {}
    for name, null in simulation.NULLS.items():
        for volume in simulation.VOLUMES:
            for window_s in (60, 10):
                result[f"false_alarms_{name}_{volume}_{window_s}s"] = (
                    simulation.ever_alarmed(
                        null, volume, window_s=window_s, alpha=0.01, seed=401
                    )
                )
    result["false_alarms_at_margin_outage_60s"] = simulation.ever_alarmed(
        simulation.NULLS["outage"],
        "busy",
        window_s=60,
        alpha=0.01,
        seed=402,
        margin=1.25,
    )
    for (share, ratio), bad in simulation.BAD_SESSIONS_NEEDED.items():
        median = np.median(simulation.bad_until_found(share, ratio, seed=403))
        result[f"bad_to_find_{share}_{ratio}"] = float(median)
        result[f"of_table_{share}_{ratio}"] = round(float(median) / bad, 3)
    for ratio in (0.5, 1.0, 3.0):
        missed, widest = simulation.ever_missed(ratio, seed=404)
        result[f"missed_{ratio}"] = missed
        result[f"widest_factor_{ratio}"] = round(widest, 2)
    return result


def episode(
    ratio: float, *, begins_s: int, ends_s: int, until_s: int, runs: int = 500
) -> dict[str, float]:
    """What is said of a regression with a beginning and an end, margin 1.25.

    A candidate with a quarter of 2,000 sessions a minute, 1 % of them bad. Acting
    means E >= 1000 and persistent; ``covered`` is the share of the runs whose 95 %
    interval since the onset holds the ratio at that moment.
    """
    rng = np.random.default_rng(405)
    series = RateRatioRows(runs)
    rows = series.allocate(runs)
    acted = np.full(runs, np.nan)
    covered = np.zeros(runs, dtype=bool)
    units = np.full(runs, 2000 / 24), np.full(runs, 2000 / 8)
    for start_s in range(0, until_s, 10):
        harm = ratio if begins_s <= start_s < ends_s else 1.0
        bad = rng.poisson(units[0] * 0.01 * harm), rng.poisson(units[1] * 0.01)
        start = np.full(runs, start_s * 1000)
        series.update(
            rows,
            rate_ratio.increments(*bad, *units, margin=1.25),
            ratio_log_likelihood(*bad, *units),
            window_start_ms=start,
            window_end_ms=start + WINDOW_MS,
        )
        acts = (series.log_evidence(rows) >= np.log(1000)) & series.persistent(rows)
        acts &= np.isnan(acted)
        if acts.any():
            low, _, high = series.confidence(rows, 0.05, "onset").T
            covered[acts] = ((low <= ratio) & (ratio <= high))[acts]
            acted[acts] = start_s + 10
    found = ~np.isnan(acted)
    minutes = (np.median(acted[found]) - begins_s) / 60 if found.any() else np.nan
    return {
        "acted": round(float(found.mean()), 3),
        "median_min": round(float(minutes), 1),
        "covered": round(float(covered[found].mean()), 3) if found.any() else np.nan,
    }


def episodes() -> dict[str, float]:
    """Regressions that stay, from the start or two hours late, and deploy blips."""
    never = 10**9
    cases = {
        "x2": episode(2, begins_s=0, ends_s=never, until_s=7200),
        "x2_late": episode(2, begins_s=7200, ends_s=never, until_s=14_400),
        "x5": episode(5, begins_s=0, ends_s=never, until_s=1800),
        "x5_late": episode(5, begins_s=7200, ends_s=never, until_s=9000),
    } | {
        f"blip_x10_{s}s": episode(10, begins_s=0, ends_s=s, until_s=3600)
        for s in (60, 120, 180, 240)
    }
    return {f"{c}_{k}": v for c, case in cases.items() for k, v in case.items()}


if __name__ == "__main__":
    chosen = {"": measure, "errors": errors, "episodes": episodes}
    what = "".join(sys.argv[1:])
    if what not in chosen:
        sys.exit(f"{what!r} is not known: say nothing, errors or episodes")
    sys.stdout.write(json.dumps(chosen[what](), indent=2) + "\n")
