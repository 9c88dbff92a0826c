"""How the tests get Prometheus and Alertmanager, and what is said when they can not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.programs import ROOT, monitoring_folder

PROGRAMS = ["prometheus", "promtool", "prometheus-alertmanager", "amtool"]


def fetch(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the tool with nothing but a folder of ours on the PATH, and no cache."""
    environment = {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fetch_monitoring.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def programs(folder: Path, says: str) -> None:
    """Put four programs there that only say their version."""
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
        (folder / name).chmod(0o755)


def test_all_programs_are_in_the_folder() -> None:
    """The printed folder holds the four programs, ready to run."""
    folder = monitoring_folder()
    assert all(os.access(folder / name, os.X_OK) for name in PROGRAMS)


def test_installed_programs_are_taken(tmp_path: Path) -> None:
    """What is on the PATH is used; nothing is downloaded."""
    programs(tmp_path / "bin", "prometheus, version 2.53.1 (branch: debian)")
    done = fetch(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/bin\n")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("prometheus, version 2.31.2", "older than 2.42"),
        ("something else", "does not say its version"),
    ],
)
def test_useless_programs_are_refused(tmp_path: Path, says: str, reason: str) -> None:
    """A Prometheus without keep_firing_for is refused with the reason."""
    programs(tmp_path / "bin", says)
    done = fetch(tmp_path)
    assert done.returncode == 3
    assert reason in done.stderr


def test_no_apt_is_explained(tmp_path: Path) -> None:
    """Without Debian's tools one line says what to install, and nothing breaks."""
    done = fetch(tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "apt-get is not here: install Prometheus 2.42" in done.stderr
    assert done.stderr.count("\n") == 1
