"""The real Prometheus and Alertmanager: where they are, or why a test can not run.

Debian's, which are old; the newest, built from their code, where ``MONITORING_CODE=1``
asks for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS_RULES = ROOT / "rules" / "prometheus"
ALERTMANAGER_EXAMPLE = ROOT / "rules" / "alertmanager" / "alertmanager.example.yml"


IS_NEWEST = bool(os.environ.get("MONITORING_CODE"))


@cache
def _find() -> tuple[Path | None, str]:
    tool = "build_monitoring.py" if IS_NEWEST else "fetch_monitoring.py"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / tool)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return None, done.stderr.strip()
    return Path(done.stdout.strip()), ""


def monitoring_folder() -> Path:
    """The folder with the programs; without them a test is skipped, in CI it fails."""
    folder, reason = _find()
    if folder is not None:
        return folder
    # Who asks for the newest is not served by a green run without them.
    if IS_NEWEST or os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(program: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """Run one of the programs to its end and return its answer; it must succeed."""
    done = subprocess.run(
        [str(monitoring_folder() / program), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
