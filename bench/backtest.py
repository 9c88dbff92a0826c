"""How many times faster than life does `hypercare backtest` judge a service?

Run ``python -m bench.backtest``. One service, windows of 10 s, 500 strata (10 regions,
50 routes) with two releases each: 1,000 series of usage, each with a line in every
window, and the lines of errors beside them. One process, with the code that
``hypercare backtest`` runs; prints one JSON object. Exit code 3 below 200 times.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from detector.rulefile import load_rules
from detector.simulate import Shop, ramp
from streams.backtest.pool import judged
from streams.backtest.spool import spool
from streams.rulesdata import DEFAULT_RULES, default_rules_text
from streams.wallclock import process_s

START_MS = 1_767_225_600_000
WINDOWS = 200
WINDOW_S = 10
TARGET = 200
STRATA = tuple(
    ((("region", f"r{i}"), ("route", f"/p{j}")), 1 / 500)
    for i in range(10)
    for j in range(50)
)


def lines() -> list[bytes]:
    """A record a window."""
    weight = ramp([(0, 1e-9), (20, 0.3)])
    shop = Shop(strata=STRATA, sessions_per_window=20_000, weight=weight)
    rng = np.random.default_rng(1)
    found = []
    for records in shop.windows(rng, START_MS, WINDOWS):
        last_ms = max(record["received_at"] for record in records)
        found.append(
            msgspec.json.encode([{**r, "received_at": last_ms} for r in records])
        )
    return found


def main() -> int:
    """Measure once; exit code 3 where the target is missed."""
    recorded = lines()
    rules = load_rules(default_rules_text(), source=DEFAULT_RULES)
    with tempfile.TemporaryDirectory() as folder:
        begun_s = process_s()
        spooled = spool(recorded, Path(folder), as_recorded=False)
        spooled_s = process_s() - begun_s
        ((part,),) = judged(spooled, [rules], 1, lambda _: None)
        took_s = process_s() - begun_s
    covered_s = WINDOWS * WINDOW_S
    ratio = covered_s / took_s
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {
        "times_real_time_per_core": round(ratio),
        "target": TARGET,
        "covered_s": covered_s,
        "processor_s": round(took_s, 2),
        "of_it_sharing_out_s": round(spooled_s, 2),
        "records": part.records,
        "lines": sum(len(msgspec.json.decode(line)) for line in recorded),
        "refused": part.refused,
        "commit": commit.stdout.strip(),
    }
    print(json.dumps(found, indent=2))
    return 0 if ratio >= TARGET else 3


if __name__ == "__main__":
    sys.exit(main())
