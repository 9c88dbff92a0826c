"""How the newest Prometheus is built, and what is said when it can not be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.programs import IS_NEWEST, ROOT, run
from tools.build_monitoring import ALERTMANAGER, PROMETHEUS, Module
from tools.fetch_monitoring import PROGRAMS


def build(tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the tool with a cache and a PATH of our own."""
    environment = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)} | more
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build_monitoring.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "release"), [("v0.316.0", "3.16.0"), ("v0.302.11", "3.2.11")]
)
def test_releases_of_prometheus(module: str, release: str) -> None:
    """Its modules are numbered in a way of their own."""
    assert PROMETHEUS._replace(version=module).release == release


def test_all_programs_are_built() -> None:
    """What the tests ask for is what the two modules make."""
    made = [
        kept for one in (PROMETHEUS, ALERTMANAGER) for kept in one.programs.values()
    ]
    assert sorted(made) == sorted(PROGRAMS)


def test_cache_is_taken(tmp_path: Path) -> None:
    """Programs that were built are used; nothing is asked of anybody."""
    name = f"prometheus-{PROMETHEUS.release}-alertmanager-{ALERTMANAGER.release}"
    folder = tmp_path / "hypercare" / name
    folder.mkdir(parents=True)
    for program in PROGRAMS:
        (folder / program).touch(0o755)
    done = build(tmp_path, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{folder}\n")


def test_no_go_is_explained(tmp_path: Path) -> None:
    """Without Go one line says what to install, and nothing is left behind."""
    done = build(tmp_path, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert "go is not installed: see https://go.dev/doc/install" in done.stderr
    assert list((tmp_path / "hypercare").iterdir()) == []


def test_other_code_is_refused(tmp_path: Path) -> None:
    """A module whose checksum is another one is not built."""
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\necho \'{"Dir": "/nowhere", "Sum": "h1:other="}\'\n')
    go.chmod(0o755)
    done = build(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 3
    assert f"h1:other=, not {ALERTMANAGER.checksum}" in done.stderr


@pytest.mark.skipif(not IS_NEWEST, reason="MONITORING_CODE=1 builds the newest")
@pytest.mark.parametrize(
    ("program", "module"),
    [
        ("prometheus", PROMETHEUS),
        ("promtool", PROMETHEUS),
        ("prometheus-alertmanager", ALERTMANAGER),
        ("amtool", ALERTMANAGER),
    ],
)
def test_newest_says_its_version(program: str, module: Module) -> None:
    """What runs is what was asked for."""
    assert f"version {module.release} " in run(program, "--version")
