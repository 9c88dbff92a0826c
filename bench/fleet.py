"""A simulated company's releases through the whole core: who was taken back?

Run ``python -m bench.fleet`` for 2,000 releases, 240 of them bad; ``--releases``,
``--jobs`` and ``--seed`` change that. Prints Markdown: a line for each family, then
precision, recall of the harm that was owed a recommendation, and the net, each with
its exact interval.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median

import numpy as np
from scipy import stats

from detector.rulefile import RuleSet, load_rules
from detector.simulator import BAD, HARMLESS, Fate, Scenario, fleet, run_scenarios

SEED = 2026
BAD_SHARE = 0.12
CHUNK = 100
CONFIDENCE = 0.99
OWED_RATIO = 2.0
OWED_FAILURES = 60.0
MORE_FAILURES = (150.0, 500.0)

Part = tuple[str, int, int, int, int]
"""Population, its size, its seed, and from which release to which."""

RULES = """\
version: 1
rules:
  - name: simulated
    alpha: {alpha}
    window_s: 60
    strata: [{{attr: os}}, {{attr: region}}, {{attr: route}}]
end_of_rules: true
"""


def rules_at(alpha: float) -> RuleSet:
    """The shipped defaults with windows of a minute and this alpha."""
    return load_rules(RULES.format(alpha=alpha), source="simulated")


def interval(hits: int, runs: int) -> tuple[float, float]:
    """Clopper-Pearson limits, each one-sided at 99 %."""
    wrong = 1 - CONFIDENCE
    low = stats.beta.ppf(wrong, hits, runs - hits + 1) if hits else 0.0
    high = stats.beta.ppf(CONFIDENCE, hits + 1, runs - hits) if hits < runs else 1.0
    return float(low), float(high)


def scenarios_of(population: str, size: int, seed: int) -> list[Scenario]:
    """The releases of a family, or of the ``fleet``, the same in every process."""
    if population == "fleet":
        return fleet(np.random.default_rng(seed), size, BAD_SHARE)
    make = (HARMLESS | BAD)[population]
    return [make(np.random.default_rng([seed, i, 1])) for i in range(size)]


def run_part(part: Part, alpha: float) -> list[Fate]:
    """Run some releases of a population."""
    population, size, seed, low, high = part
    chosen = scenarios_of(population, size, seed)[low:high]
    return run_scenarios(chosen, rules_at(alpha), seed=seed, first=low)


def run_population(
    population: str, size: int, *, seed: int, alpha: float, jobs: int
) -> list[Fate]:
    """Run all releases of a population, in parts over processes."""
    parts = [
        ((population, size, seed, low, min(low + CHUNK, size)), alpha)
        for low in range(0, size, CHUNK)
    ]
    if jobs == 1:
        return [fate for part in parts for fate in run_part(*part)]
    with multiprocessing.Pool(jobs) as pool:
        return [f for fates in pool.starmap(run_part, parts, 1) for f in fates]


def is_owed(fate: Fate) -> bool:
    """Whether the harm was large, and there long enough, to have to be found."""
    return (
        "errors" in fate.kinds
        and fate.ratio >= OWED_RATIO
        and fate.failed_in_time >= OWED_FAILURES
    )


def net_of(fates: Iterable[Fate]) -> float:
    """1 - share of affected sessions served bad - 2 x share of harmless taken back."""
    shares, falses = [], []
    for fate in fates:
        if not fate.is_bad:
            falses.append(fate.is_false)
        elif fate.affected:
            shares.append(1.0 if fate.is_false else fate.served / fate.affected)
    cost = float(np.mean(shares)) if shares else 0.0
    return 1 - cost - (2 * float(np.mean(falses)) if falses else 0.0)


def share_cell(hits: int, runs: int) -> str:
    """A share with its limits and its counts."""
    if not runs:
        return "none"
    low, high = interval(hits, runs)
    return f"{hits / runs:.4f} ({low:.4f} to {high:.4f}; {hits} of {runs})"


def family_lines(fates: Iterable[Fate]) -> Iterator[str]:
    """The table of families, bad ones last."""
    yield "| family | releases | bad | taken back | wrongly | minutes | served bad |"
    yield "|---|---|---|---|---|---|---|"
    groups: dict[tuple[bool, str], list[Fate]] = defaultdict(list)
    for fate in fates:
        groups[fate.is_bad, fate.family].append(fate)
    for (bad, family), members in sorted(groups.items()):
        minutes = median(f.minutes for f in members)
        served = [f.served / f.affected for f in members if f.affected]
        cells = (
            family,
            len(members),
            "yes" if bad else "no",
            sum(f.decided_ms is not None for f in members),
            sum(f.is_false for f in members),
            f"{minutes:.1f}" if bad else "",
            f"{np.mean(served):.2f}" if served else "",
        )
        yield "| " + " | ".join(map(str, cells)) + " |"


def summary_lines(fates: list[Fate]) -> Iterator[str]:
    """Precision, recall and net of a fleet."""
    hits = sum(f.is_hit for f in fates)
    wrong = sum(f.is_false for f in fates)
    owed = [f for f in fates if is_owed(f)]
    segments = [f for f in fates if f.is_hit and f.segment]
    exact = sum(f.named == f.segment for f in segments)
    bad = sum(f.is_bad for f in fates)
    found = sum(f.is_hit for f in owed)
    yield f"precision: {share_cell(hits, hits + wrong)}"
    yield f"recall of owed harm: {share_cell(found, len(owed))}"
    for least in MORE_FAILURES:
        some = [f for f in owed if f.failed_in_time >= least]
        cell = share_cell(sum(f.is_hit for f in some), len(some))
        yield f"the same from {least:.0f} failures: {cell}"
    yield f"recall of all harm: {share_cell(hits, bad)}"
    yield f"harmless taken back: {share_cell(wrong, len(fates) - bad)}"
    yield f"segment exact: {share_cell(exact, len(segments))}"
    yield f"net: {net_of(fates):.3f}"
    for fate in owed:
        if not fate.is_hit:
            yield f"missed: {fate.family} x{fate.ratio:.2f}, {fate.failed:.0f} failed"


def main() -> None:
    """Run a fleet and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=2000)
    parser.add_argument("--alpha", type=float, default=0.0025)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=SEED)
    chosen = parser.parse_args()
    begun = time.perf_counter()
    fates = run_population(
        "fleet",
        chosen.releases,
        seed=chosen.seed,
        alpha=chosen.alpha,
        jobs=chosen.jobs,
    )
    took_s = time.perf_counter() - begun
    print("\n".join([*family_lines(fates), "", *summary_lines(fates)]))
    print(f"\n{took_s / len(fates):.2f} s a release, {took_s:.0f} s in all")


if __name__ == "__main__":
    main()
