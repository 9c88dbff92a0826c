"""Are the probabilities that ``hypercare power`` states those of the whole core?

Run ``python -m bench.power``: for each cell (effect, share, traffic, segments) so many
simulated releases go through decoding, windows, evidence and decision, and the share
taken back by 5 minutes, a third of the horizon and the horizon is laid beside the
probability stated from counts alone. Prints Markdown. ``--releases``, ``--skip``,
``--cells``, ``--minutes`` (stops before the cell that would pass it), ``--jobs``,
``--seed``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass

from detector.backtest import Share, share
from detector.power import Cell, Part, Traffic, simulate
from detector.rulefile import RuleSet
from detector.simulate import DEFAULT_STRATA, Attrs, Shop, constant, ramp
from detector.simulate_trials import run_trials
from streams.cli.common import read_rules

SEED = 2026
STATED_RELEASES = 4000
CHUNK = 250
DEPLOY = 30
"""Window of the deploy: strata are known by then."""

WHOLE: tuple[tuple[Attrs, float], ...] = (((("os", "web"),), 1.0),)
KNOWN = "TimeoutError: cart"
"""Harm fails as before, only more often: a new signature would be found sooner."""


@dataclass(frozen=True)
class Place:
    """A cell of the grid and how long its releases are watched."""

    ratio: float
    share: float
    sessions_per_min: float
    error_rate: float
    segments: bool
    horizon_min: float

    @property
    def name(self) -> str:
        """The cell in words."""
        where = "9 series" if self.segments else "1 series"
        return (
            f"x{self.ratio:g}, {self.share:.0%} of {self.sessions_per_min:g}/min, "
            f"{self.error_rate:.1%} fail, {where}"
        )


GRID = (
    Place(10.0, 0.05, 2000, 0.01, False, 15),
    Place(4.0, 0.25, 2000, 0.01, True, 10),
    Place(2.0, 0.5, 2000, 0.01, False, 20),
    Place(4.0, 0.05, 2000, 0.01, True, 15),
    Place(2.0, 0.25, 2000, 0.01, True, 20),
    Place(10.0, 0.25, 50, 0.005, False, 30),
    Place(2.0, 0.05, 10_000, 0.01, True, 15),
    Place(4.0, 0.5, 2000, 0.002, True, 15),
    Place(1.5, 0.5, 10_000, 0.01, True, 30),
    Place(4.0, 0.25, 200, 0.01, True, 30),
    Place(1.25, 0.5, 10_000, 0.01, True, 15),
    Place(2.0, 0.05, 2000, 0.01, True, 60),
    Place(1.5, 0.25, 2000, 0.01, False, 60),
)


def observed_s(
    place: Place, rules: RuleSet, count: int, seed: int, least: int = 0
) -> list[float]:
    """Seconds from the deploy until each release was taken back, inf for never."""
    window_s = rules.rules[-1].window_s
    shop = Shop(
        window_s=window_s,
        sessions_per_window=place.sessions_per_min * window_s / 60,
        error_rate=place.error_rate,
        weight=ramp([(DEPLOY, place.share)]),
        harm=constant(place.ratio),
        strata=DEFAULT_STRATA if place.segments else WHOLE,
        signatures=(KNOWN,),
        harm_signature=KNOWN,
    )
    windows = DEPLOY + round(place.horizon_min * 60 / window_s)
    trials = run_trials([shop] * count, rules, windows=windows, seed=seed + least)
    return [60 * t.minutes_until_found(DEPLOY, window_s) for t in trials]


def stated(place: Place, rules: RuleSet, seed: int) -> list[float]:
    """The same from counts alone."""
    strata = DEFAULT_STRATA if place.segments else WHOLE
    parts = tuple(Part(attrs, part, place.error_rate) for attrs, part in strata)
    traffic = Traffic(place.sessions_per_min, parts)
    fates = simulate(
        [Cell(place.ratio, place.share)],
        traffic,
        rules.rules[-1],
        releases=STATED_RELEASES,
        horizon_s=place.horizon_min * 60,
        seed=seed,
    )
    found: list[float] = fates[0].decided_s.tolist()
    return found


def by(seconds: list[float], time_s: float) -> Share:
    """How many were taken back by then."""
    return share(sum(s <= time_s for s in seconds), len(seconds))


def main() -> None:
    """Lay stated and observed probabilities side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=len(GRID))
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=SEED)
    chosen = parser.parse_args()
    rules, begun = read_rules(None), time.perf_counter()
    print("| cell | by | stated | observed (95 % interval) | inside |")
    print("|---|---|---|---|---|", flush=True)
    inside = looks = longest = 0
    with multiprocessing.Pool(chosen.jobs) as pool:
        for place in GRID[chosen.skip :][: chosen.cells]:
            start = time.perf_counter()
            if start - begun + longest > chosen.minutes * 60:
                print("\nstopped: the time was up", flush=True)
                break
            parts = [
                (place, rules, min(CHUNK, chosen.releases - low), chosen.seed, low)
                for low in range(0, chosen.releases, CHUNK)
            ]
            seen = [s for part in pool.starmap(observed_s, parts, 1) for s in part]
            told = stated(place, rules, chosen.seed + 1)
            horizon_s = place.horizon_min * 60
            for time_s in sorted({300.0, horizon_s / 3, horizon_s}):
                real, said = by(seen, time_s), by(told, time_s)
                if real.value is None or said.value is None:
                    continue
                fits = real.low <= said.value <= real.high
                word = "yes" if fits else "NO"
                looks, inside = looks + 1, inside + fits
                print(
                    f"| {place.name} | {time_s / 60:.3g} min | {said.value:.3f} "
                    f"({said.low:.3f} to {said.high:.3f}) | {real.value:.3f} "
                    f"({real.low:.3f} to {real.high:.3f}) | {word} |",
                    flush=True,
                )
            took = time.perf_counter() - start
            longest = max(longest, took)
            print(f"{place.name}: {took:.0f} s", file=sys.stderr, flush=True)
    print(
        f"\n{inside} of {looks} inside; {chosen.releases} releases a cell, "
        f"{STATED_RELEASES} draws, seed {chosen.seed}, "
        f"{time.perf_counter() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
