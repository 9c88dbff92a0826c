"""How often is a harmless release recommended, how soon is a bad one found?

Run ``python -m bench.release_quality`` for everything, or name parts: ``nulls``,
``families``, ``delays``, ``shipped``, ``segments``, ``blips``. Prints the Markdown
tables that docs/calibration.md quotes; ``--runs 0.1`` runs a tenth of the streams,
``--only`` names families, ``--jobs`` runs them in several processes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench import fleet
from detector.simulate import Attrs, Shop, burst, constant, ramp
from detector.simulate_trials import run_trials
from detector.simulator import HARMLESS
from tests.calibration import test_release_calibration as cases

SEED = 2026
WINDOW_S = 10
DEPLOY = 30

CALIBRATED = (
    "stationary",
    "ramp",
    "daily",
    "outage",
    "bursts",
    "private noise",
    "early adopters",
    "waves",
    "rolling updates",
)
"""Families with a bound of 1 % in 10,000 releases."""


@dataclass(frozen=True)
class Run:
    """What the command line asks for.

    Attributes
    ----------
    scale : float
        Factor on the number of streams.
    jobs : int
        Processes, where a part can use them.
    only : tuple of str
        Families of the part ``families``.
    """

    scale: float = 1.0
    jobs: int = 1
    only: tuple[str, ...] = CALIBRATED


def row(*cells: object) -> None:
    """One line of a Markdown table."""
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def header(*names: str) -> None:
    """The head of a Markdown table."""
    print()
    row(*names)
    row(*("---" for _ in names))


def spread(three: tuple[float, float, float]) -> str:
    """Median with quartiles."""
    low, middle, high = three
    return f"{middle:.3g} ({low:.3g}..{high:.3g})"


def nulls(run: Run) -> None:
    """False alarms under the bare rule: margin 1, alpha .01, three windows."""
    header(
        "null", "streams", "reached 1/alpha", "recommended", "bound (P <= 1e-6)", "s"
    )
    bare = cases.bare_rule(alpha=cases.NULL_ALPHA, strata=("os",))
    sizes = dict.fromkeys(cases.NULLS, 1000) | {
        "early adopters": 1000,
        "small counts": 1000,
        "bursts": 100,
    }
    for name, size in sizes.items():
        runs = max(10, round(size * run.scale))
        begun = time.perf_counter()
        found = cases.alarms(name, runs=runs, windows=120, rules=bare, seed=SEED)
        row(
            name,
            runs,
            found.crossed,
            found.recommended,
            cases.most(cases.NULL_ALPHA, runs),
            round(time.perf_counter() - begun),
        )


def families(run: Run) -> None:
    """Harmless releases of drawn services at alpha .01, all signals, full guards."""
    header("family", "releases", "rolled back", "rate", "99 % upper limit", "s a run")
    size = max(10, round(10_000 * run.scale))
    for name in run.only:
        begun = time.perf_counter()
        fates = fleet.run_population(
            name, size, seed=SEED, alpha=cases.NULL_ALPHA, jobs=run.jobs
        )
        wrong = sum(f.is_false for f in fates)
        upper = fleet.interval(wrong, size)[1]
        took_s = (time.perf_counter() - begun) / size
        row(name, size, wrong, f"{wrong / size:.4f}", f"{upper:.4f}", f"{took_s:.2f}")


def delays(run: Run) -> None:
    """Bad sessions against the table of growth rates, with and without segments."""
    header(
        "share",
        "ratio",
        "table",
        "whole: median / table",
        "<= 1.2",
        "9 series",
        "<= 1.2",
    )
    runs = max(20, round(500 * run.scale))
    for (share, ratio), needed in cases.BAD_SESSIONS_NEEDED.items():
        cells: list[object] = []
        for segments in (False, True):
            got = cases.bad_until_found(
                share, ratio, segments=segments, runs=runs, seed=SEED
            )
            within = sum(x <= 1.2 for x in got) / runs
            cells += [spread(cases.quartiles(got)), f"{within:.2f}"]
        row(f"{share:.0%}", ratio, needed, *cells)


def shop(**changes: Any) -> Shop:
    """2,000 sessions a minute in windows of 10 s, one in a hundred fails."""
    plain = Shop(window_s=WINDOW_S, sessions_per_window=2000 * WINDOW_S / 60)
    return replace(plain, **changes)


def shipped(run: Run) -> None:
    """The shipped rule: bad sessions and minutes until the recommendation."""
    header("share", "ratio", "streams", "found in 3 h", "bad sessions", "minutes")
    runs = max(10, round(100 * run.scale))
    for share, ratio in cases.BAD_SESSIONS_NEEDED:
        bad = shop(weight=ramp([(DEPLOY, share)]), harm=constant(float(ratio)))
        trials = run_trials(
            [bad] * runs, cases.shipped_rule(), windows=DEPLOY + 1080, seed=SEED
        )
        got = cases.delay_of(trials, DEPLOY, WINDOW_S)
        row(
            f"{share:.0%}", ratio, runs, got.found, spread(got.bad), spread(got.minutes)
        )


SEGMENTS: tuple[Attrs, ...] = (
    (("os", "android"), ("region", "us")),
    (("os", "ios"), ("region", "us")),
    (("os", "android"),),
)


def segments(run: Run) -> None:
    """One segment fails five times as often: power, place and minutes."""
    header("segment", "share of traffic", "found in 2 h", "exact", "minutes")
    runs = max(10, round(200 * run.scale))
    for segment in SEGMENTS:
        bad = shop(
            weight=ramp([(DEPLOY, 0.25)]), harm=constant(5.0), harm_segment=segment
        )
        trials = run_trials(
            [bad] * runs, cases.shipped_rule(), windows=DEPLOY + 720, seed=SEED
        )
        got = cases.delay_of(trials, DEPLOY, WINDOW_S)
        exact = sum(t.segment == dict(segment) for t in trials if t.found_ms)
        traffic = sum(part for attrs, part in bad.strata if set(segment) <= set(attrs))
        place = " ".join(f"{a}={v}" for a, v in segment)
        row(place, f"{traffic:.0%}", got.found, exact / runs, spread(got.minutes))


def blips(run: Run) -> None:
    """Errors times ten for some minutes at the deploy, then all is well."""
    header("blip", "share", "streams", "reached 1/alpha", "recommended")
    runs = max(10, round(100 * run.scale))
    for share in (0.2, 0.5):
        for minutes in (1, 2, 3):
            end = DEPLOY + minutes * 60 // WINDOW_S
            blip = shop(weight=ramp([(DEPLOY, share)]), harm=burst(DEPLOY, end, 10.0))
            trials = run_trials(
                [blip] * runs, cases.shipped_rule(), windows=end + 120, seed=SEED
            )
            crossed = sum(t.crossed for t in trials)
            recommended = sum(t.found_ms is not None for t in trials)
            row(f"{minutes} min", f"{share:.0%}", runs, crossed, recommended)


PARTS: dict[str, Callable[[Run], None]] = {
    f.__name__: f for f in (nulls, families, delays, shipped, segments, blips)
}


def main() -> None:
    """Run the named parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="part")
    parser.add_argument("--runs", type=float, default=1.0, help="factor on streams")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", nargs="*", default=CALIBRATED, choices=HARMLESS)
    chosen = parser.parse_args()
    run = Run(chosen.runs, chosen.jobs, tuple(chosen.only))
    unknown = [p for p in chosen.parts if p not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]}; choose from {', '.join(PARTS)}")
    print(f"seed {SEED}, numpy generator per stream, Python {sys.version.split()[0]}")
    for part in chosen.parts:
        print(f"\n{part}: {PARTS[part].__doc__}")
        PARTS[part](run)


if __name__ == "__main__":
    main()
