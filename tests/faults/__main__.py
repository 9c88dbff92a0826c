"""``python -m tests.faults``: run rows of the fault table, print a Markdown table.

The lines are what docs/faults.md holds: row, counts, what was found, seed; above them
the command and the commit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.kafka_local import DEFAULT_VERSION
from streams.wallclock import monotonic_s
from tests.faults.checker import Findings
from tests.faults.table import ROWS, Row

HEAD = (
    "| row | fault | runs x times | events | L | D | R | F | state | words | "
    "B worst, s | peak, MB | seconds |"
)


@dataclass
class Sum:
    """What several runs of one row showed together."""

    number: str
    row: Row
    count: int
    findings: list[Findings]
    wrong: list[str]
    took_s: float

    def line(self) -> str:
        """The row as Markdown."""
        found = self.findings
        fresh = [f.fresh_s for f in found if f.fresh_s is not None]
        cells = [
            *(self.number, self.row.what, f"{len(found)} x {self.count}"),
            f"{sum(f.events for f in found):,}",
            *(str(sum(getattr(f, n) for f in found)) for n in ("lost", "doubled")),
            _span([f.ids for f in found]),
            str(sum(f.false_ids for f in found)),
            *("same" if all(x) else "DIFFERS" for x in _sameness(found)),
            f"{max(fresh):.1f}" if fresh else "-",
            f"{max((f.peak_mb for f in found), default=0):.0f}",
            f"{self.took_s:.0f}",
        ]
        return f"| {' | '.join(cells)} |"


def _sameness(found: Sequence[Findings]) -> list[list[bool]]:
    return [[f.same_state for f in found], [f.same_words for f in found]]


def _span(values: Sequence[int]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    return str(low) if low == high else f"{low} to {high}"


def say(text: str) -> None:
    """Print a line now: a run takes its time."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_row(number: str, wanted: argparse.Namespace, folder: Path) -> Sum:
    """All runs of one row on a broker of their own."""
    row = ROWS[number]
    runs = wanted.runs or row.runs
    count = wanted.count or row.counts[1]
    sum_ = Sum(number, row, count, [], [], 0.0)
    begun_s = monotonic_s()
    place = folder / f"row-{number}"
    # What an earlier run kept would be read as part of this one.
    shutil.rmtree(place, ignore_errors=True)
    version = os.environ.get("KAFKA", DEFAULT_VERSION)
    kafka = row.cluster(place / "kafka", version)
    with kafka:
        for run in range(runs):
            seed = wanted.seed + run
            found, wrong = row.run(
                kafka,
                place / str(seed),
                name=f"row{number}-{seed}",
                seed=seed,
                count=count,
            )
            sum_.findings.append(found)
            sum_.wrong += [f"seed {seed}: {problem}" for problem in wrong]
            for note in (*found.notes, *wrong):
                sys.stderr.write(f"row {number} seed {seed}: {note}\n")
    sum_.took_s = monotonic_s() - begun_s
    return sum_


def commit() -> str:
    """The commit of this tree, marked when it was changed since."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    known = ",".join(ROWS)
    parser.add_argument("--rows", default=known, help=f"of {known}")
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--runs", type=int, help="runs of each row")
    parser.add_argument("--count", type=int, help="faults in each run")
    parser.add_argument("--keep", type=Path, help="folder for histories and logs")
    wanted = parser.parse_args(words)
    wanted.rows = wanted.rows.split(",")
    unknown = [number for number in wanted.rows if number not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {known}")
    return wanted


def main(words: Sequence[str]) -> int:
    """Run the rows; 1 when one of them showed a fault of ours."""
    wanted = parse(words)
    say(f'`make faults FAULTS_ARGS="{" ".join(words)}"`, commit {commit()}\n')
    say(HEAD)
    say("|" + "---|" * (HEAD.count("|") - 1))
    wrong = []
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        folder = wanted.keep or Path(temporary)
        for number in wanted.rows:
            done = run_row(number, wanted, folder)
            say(done.line())
            wrong += [f"row {number}, {problem}" for problem in done.wrong]
    for problem in wrong:
        say(f"\nFAULT: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
