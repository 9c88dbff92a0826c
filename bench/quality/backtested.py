"""An exam's cases through `hypercare backtest`: does it decide as the filter does?

``HYPERCARE_EXAM=FOLDER python -m bench.quality.backtested [CASES]`` compares every
recommendation to take a release back: release, time and segment. Exit code 3 where a
case differs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.quality.exam import ExamCase, exam_cases
from bench.quality.product import Product, shipped_rules, word_of
from bench.quality.scoring import Decision
from detector.backtest import by_service, told_of
from detector.verdicts import Action, RecommendationState

VARIABLE = "HYPERCARE_EXAM"
CASES = 20


def sampled(folder: Path, count: int) -> list[ExamCase]:
    """Cases at equal distances in an exam's order: of every family some."""
    cases = list(exam_cases(folder))
    return cases[:: max(1, len(cases) // count)][:count]


def backtested(lines: Iterable[bytes]) -> list[Decision]:
    """Releases to take back, as the backtest finds them."""
    found = []
    for service, part in by_service(lines).items():
        for told in told_of(service, part, shipped_rules()).releases:
            for word in told.words:
                is_open = word.state == RecommendationState.OPEN
                if word.is_verdict or not is_open:
                    continue
                if word_of(Action(word.said)) == Action.ROLLBACK:
                    segment = word.segment
                    found.append(
                        Decision(service, told.release, word.decided_ms, segment)
                    )
    return found


def main() -> int:
    """Compare a sample of cases."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise SystemExit(f"{VARIABLE} is not set: give the folder of an exam")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    cases, equal, decisions = sampled(Path(folder), count), 0, 0
    for case in cases:
        lines = list(case.tell()[1])
        expected = sorted(Product().decisions(lines), key=repr)
        decisions += len(expected)
        if sorted(backtested(lines), key=repr) == expected:
            equal += 1
        else:
            print(f"{case.family}: decided otherwise", file=sys.stderr)
    print(f"{equal} of {len(cases)} cases decided as the filter: {decisions} decisions")
    return 0 if equal == len(cases) else 3


if __name__ == "__main__":
    sys.exit(main())
