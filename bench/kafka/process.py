"""One contestant in a process of its own: ``python -m bench.kafka.process ENTRY``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.kafka import contest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 300
RESULT = "result "


class Result(msgspec.Struct):
    """What a contestant used: seconds, megabytes, and its longest step."""

    events: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    longest_step_ms: float

    @property
    def per_core(self) -> float:
        """Events per second of processor time."""
        return self.events / self.cpu_s


class Failed(Exception):
    """A contestant that ended without a result."""


def ask(entry: contest.Entry) -> Result:
    """Start a contestant, wait for it, and return what it used.

    Raises
    ------
    Failed
        With the end of what it said.
    """
    own = ("HYPERCARE_",)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    asked = msgspec.json.encode(entry).decode()
    done = subprocess.run(
        [sys.executable, "-m", "bench.kafka.process", asked],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if not found:
        raise Failed(f"{entry.contestant}: {(done.stdout + done.stderr)[-3000:]}")
    return msgspec.convert(json.loads(found[-1].removeprefix(RESULT)), Result)


if __name__ == "__main__":
    contest.run(msgspec.json.decode(sys.argv[1], type=contest.Entry))
