"""Print the folder of the newest Prometheus and Alertmanager; build them first.

Debian's packages are years old. This builds upstream's code, as the Go module proxy has
it, into a cache folder: no download page is needed, and Go checks what it fetches
against its public log of checksums and ours below. Without their web pages, which are
not in the modules, and with the service discoveries alone that our files use. Half an
hour on two cores the first time. Exit code 3 when it can not be done; the reason goes
to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.fetch_monitoring import UNAVAILABLE, cache_folder, missing

TIMEOUT_S = 3_600


class Module(NamedTuple):
    """One module, what is built of it, and under which names it is kept.

    ``stubs`` are files that upstream generates and its code embeds.
    """

    path: str
    version: str
    checksum: str
    tags: str
    programs: dict[str, str]
    stubs: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What Go calls it."""
        return f"{self.path}@{self.version}"

    @property
    def release(self) -> str:
        """What upstream calls this version: Prometheus 3.16.0 is module v0.316.0."""
        major, minor, patch = self.version.removeprefix("v").split(".")
        if self.path.endswith("/prometheus"):
            major, minor = minor[:-2], str(int(minor[-2:]))
        return f"{major}.{minor}.{patch}"


PROMETHEUS = Module(
    "github.com/prometheus/prometheus",
    "v0.316.0",
    "h1:f1GRFerhTMKQma+awCoC9T820ecWeGSdF+xAlMHzZzM=",
    # Half of its code are the clients of clouds; static_configs are always there.
    "remove_all_sd,enable_dns_sd",
    {"prometheus": "prometheus", "promtool": "promtool"},
)
ALERTMANAGER = Module(
    "github.com/prometheus/alertmanager",
    "v0.34.2",
    "h1:4oOnHs4J41X9n+7MucFjA3I5i5MtasjWTnIY27q5Qkw=",
    "",
    # Debian's name for it, which the tests use.
    {"alertmanager": "prometheus-alertmanager", "amtool": "amtool"},
    ("ui/app/dist/index.html",),
)


class BuildError(Exception):
    """The programs can not be built; the text says why and what helps."""


def build(module: Module, folder: Path, target: Path) -> None:
    """Build a module's programs into ``target``; ``folder`` is for its code."""
    told = json.loads(_go(folder, "mod", "download", "-json", module.place))
    if told["Sum"] != module.checksum:
        raise BuildError(
            f"{module.path} {module.version} has the checksum {told['Sum']}, not "
            f"{module.checksum}: the module proxy delivers something else"
        )
    # A copy, because Go lets nobody add files to what it has fetched.
    code = folder / "code"
    shutil.copytree(told["Dir"], code, copy_function=shutil.copyfile)
    for name in module.stubs:
        stub = code / name
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("<!doctype html>\n", encoding="utf-8")
    version = f"-X github.com/prometheus/common/version.Version={module.release}"
    for name, kept in module.programs.items():
        _go(
            code,
            "build",
            "-trimpath",
            f"-tags={module.tags}",
            f"-ldflags=-s -w {version}",
            f"-o={target / kept}",
            f"./cmd/{name}",
        )


def _go(folder: Path, *words: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise BuildError("go is not installed: see https://go.dev/doc/install")
    command = ["nice", go, *words]
    # The module's own lock decides, not a workspace or flags of somebody's.
    environment = os.environ | {"GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip()[-600:]
        raise BuildError(f"`go {' '.join(words)}` failed: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"`go {' '.join(words)}` failed: {error}") from error
    return done.stdout


def programs_folder() -> Path:
    """The folder with all four programs, from the cache or built now."""
    name = f"prometheus-{PROMETHEUS.release}-alertmanager-{ALERTMANAGER.release}"
    target = cache_folder().parent / name
    if not missing(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        built = Path(made) / "built"
        for module in (ALERTMANAGER, PROMETHEUS):
            folder = Path(made) / module.path.rpartition("/")[2]
            folder.mkdir()
            build(module, folder, built)
        # Whole or not at all.
        shutil.rmtree(target, ignore_errors=True)
        built.rename(target)
    return target


def main() -> int:
    """Print the folder, or say why there is none."""
    try:
        sys.stdout.write(f"{programs_folder()}\n")
    except BuildError as error:
        sys.stderr.write(f"the newest Prometheus can not be built: {error}\n")
        return UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
