"""``python -m bench.quality``: the product beside its rivals on labelled releases.

    python -m bench.quality                          # families of the simulator
    python -m bench.quality --exam FOLDER            # and the suites of an exam
    python -m bench.quality --only hypercare,cusum --families bot,wave

Same arguments, same bytes on standard output, whatever the number of jobs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import msgspec

from bench.quality.contest import Case, Result, compare, detectors
from bench.quality.exam import exam_cases
from bench.quality.rivals import Adwin
from bench.quality.simulated import simulated_cases
from bench.quality.table import tables

SEED = 2026
RESAMPLES = 1000


def main() -> None:
    """Run the contest and print its tables."""
    chosen = _arguments()
    try:
        names = [d.name for d in detectors(_words(chosen.only))]
        cases = list(_cases(chosen))
    except (LookupError, FileNotFoundError) as error:
        raise SystemExit(f"quality: {error.args[0]}") from error
    if Adwin.name in names and find_spec("river") is None:
        raise SystemExit("quality: river is missing: `make quality` installs it")
    if not cases:
        raise SystemExit("quality: no case is left: give other --families")
    rows = list(_run(cases, names, chosen.jobs))
    results = dict(zip(names, zip(*rows, strict=True), strict=True))
    if chosen.decisions:
        _write(chosen.decisions, results)
    outcomes = {n: [r.outcome for r in found] for n, found in results.items()}
    print(f"seed {chosen.seed}; brackets: 95 %, Wilson for shares, bootstrap else\n")
    for line in tables(outcomes, seed=chosen.seed, resamples=RESAMPLES):
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--exam", type=Path, help="folder with an exam's suites")
    parser.add_argument("--only", default="", help="detectors, by part of their name")
    parser.add_argument("--families", default="", help="families, by part of the name")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"({SEED})")
    parser.add_argument(
        "--releases", type=int, default=20, help="of each simulated family (20)"
    )
    parser.add_argument(
        "--decisions", type=Path, help="folder to write each detector's decisions to"
    )
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _cases(chosen: argparse.Namespace) -> Iterator[Case]:
    words = _words(chosen.families)
    sources: list[Iterator[Case]] = [simulated_cases(chosen.releases, chosen.seed)]
    if chosen.exam:
        sources.append(exam_cases(chosen.exam))
    for case in chain(*sources):
        if not words or any(word in case.family for word in words):
            yield case


def _run(
    cases: Sequence[Case], names: Sequence[str], jobs: int
) -> Iterator[list[Result]]:
    """Results of each case, in their order; one process for each case at a time."""
    task = partial(compare, tuple(names))
    if jobs <= 1:
        yield from _counted(map(task, cases), len(cases))
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from _counted(pool.map(task, cases), len(cases))


def _counted(rows: Iterator[list[Result]], total: int) -> Iterator[list[Result]]:
    for number, row in enumerate(rows, 1):
        if sys.stderr.isatty():
            print(f"\r{number}/{total} cases", end="", file=sys.stderr, flush=True)
        yield row
    if sys.stderr.isatty():
        print(file=sys.stderr)


def _write(folder: Path, results: Mapping[str, Sequence[Result]]) -> None:
    """Decisions of each detector in the format of an exam's scorer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in results.items():
        lines = [
            msgspec.json.encode(
                {
                    "ts": decision.decided_ms / 1000,
                    "service": decision.service,
                    "release": decision.release,
                    "action": "rollback",
                    "segment": decision.segment,
                }
            )
            for result in found
            for decision in result.decisions
        ]
        stem = "".join(c if c.isalnum() else "-" for c in name.lower())
        (folder / f"{stem}.jsonl").write_bytes(b"".join(x + b"\n" for x in lines))


if __name__ == "__main__":
    main()
