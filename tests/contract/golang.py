"""Clients that are written in Go: built from their own modules, where Go is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.support import ROOT

CLIENTS = ROOT / "tests" / "contract" / "clients"


def go(folder: Path, *words: str, limit_s: float = 300) -> str:
    """Run the go command; without it, or without its modules, the test is skipped."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    done = subprocess.run(
        ["go", *words],
        cwd=folder,
        env=os.environ | {"GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )
    if done.returncode:
        pytest.skip(f"go {words[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
