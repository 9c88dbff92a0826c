"""Print the folder of Prometheus, promtool, Alertmanager and amtool; get them first.

They come from Debian's or Ubuntu's own packages, whose hashes apt checks, unpacked
into a cache folder: nothing is installed and no root is needed. Exit code 3 when they
are neither here nor to be had; the reason goes to standard error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("prometheus", "prometheus-alertmanager")
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")
OLDEST = (2, 42)
"""The first Prometheus with keep_firing_for."""
TEXTS = "/usr/share/prometheus/alertmanager"
"""Debian's Alertmanager reads its templates here and does not start without them."""
TIMEOUT_S = 300
UNAVAILABLE = 3


class FetchError(Exception):
    """The programs can not be had; the text says why and what helps."""


def cache_folder() -> Path:
    """Where the unpacked programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hypercare" / "monitoring"


def missing(folder: Path) -> list[str]:
    """Which programs a folder lacks."""
    return [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]


def version(folder: Path) -> tuple[int, int]:
    """Version of the Prometheus in a folder."""
    said = _run([str(folder / "prometheus"), "--version"], folder)
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None:
        raise FetchError(f"{folder}/prometheus does not say its version: {said!r}")
    return int(found[1]), int(found[2])


def fetch(target: Path) -> None:
    """Download both packages and unpack them to ``target``, whole or not at all."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise FetchError(
                f"{tool} is not here: install Prometheus {OLDEST[0]}.{OLDEST[1]} or "
                f"newer and Alertmanager, and put {', '.join(PROGRAMS)} on the PATH"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        download(folder, PACKAGES)
        unpacked = unpack(folder)
        lacks = missing(unpacked / "usr" / "bin")
        if lacks:
            raise FetchError(f"the packages hold no {', '.join(lacks)}")
        relocate(unpacked)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def relocate(root: Path) -> None:
    """Let the unpacked Alertmanager find its templates in its working folder.

    The path is part of the program, and only root could put files there. A path of
    the same length that means "here" takes its place; nothing else is changed.
    """
    program = root / "usr" / "bin" / "prometheus-alertmanager"
    templates = list((root / TEXTS.lstrip("/")).glob("*.tmpl"))
    code = program.read_bytes()
    if not templates or TEXTS.encode() not in code:
        return  # another packaging: the templates are inside the program
    here = "/proc/self/cwd".ljust(len(TEXTS), "/")
    program.write_bytes(code.replace(TEXTS.encode(), here.encode()))
    for template in templates:
        shutil.copy(template, program.parent)


def unpack(folder: Path) -> Path:
    """Unpack the packages of a folder; return the root of their files."""
    for package in sorted(folder.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(folder / "root")], folder)
    return folder / "root"


def download(folder: Path, packages: Sequence[str]) -> None:
    """Get packages of the distribution into a folder, checked by apt."""
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
    try:
        _run(command, folder)
    except FetchError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "-qq", "update"], folder)  # the lists may be empty or old
        _run(command, folder)


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        raise FetchError(
            f"`{' '.join(command)}` failed: {error.stderr.strip()}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"`{' '.join(command)}` failed: {error}") from error
    return done.stdout + done.stderr


def programs_folder() -> Path:
    """The folder with all four programs, from the PATH, the cache or the packages."""
    installed = shutil.which("prometheus")
    if installed is not None and not missing(Path(installed).parent):
        folder = Path(installed).parent
    else:
        target = cache_folder()
        folder = target / "usr" / "bin"
        if missing(folder):
            fetch(target)
    if version(folder) < OLDEST:
        raise FetchError(
            f"the Prometheus in {folder} is older than {OLDEST[0]}.{OLDEST[1]}, which "
            "keep_firing_for needs: put a newer one on the PATH"
        )
    return folder


def main() -> int:
    """Print the folder, or say why there is none."""
    try:
        sys.stdout.write(f"{programs_folder()}\n")
    except FetchError as error:
        sys.stderr.write(f"no Prometheus for the tests: {error}\n")
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
