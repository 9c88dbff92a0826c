"""What people install: the wheel, its data, the locks and the compose file."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
BUILD_BACKEND = {"hatchling>=1.27", "editables"}
LOCKS = ["runtime", "demo", "java", "dev", "supply"]


def canonical(requirement: str) -> str:
    return requirement.lower().replace(" ", "")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def named_requirements(path: Path) -> set[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {line for line in lines if line and line[0] not in "#-"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(tree: Path, folder: Path) -> Path:
    """Build with the locked backend, without a network."""
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation",
        "--outdir", folder, tree, cwd=folder,
    )  # fmt: skip
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def tree_files() -> set[str]:
    """What of the source tree belongs into a wheel, under its names there."""
    found: set[str] = set()
    for name, installed in [
        ("acting", "acting"),
        ("detector", "detector"),
        ("streams", "streams"),
        ("rules", "hypercare_rules"),
    ]:
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(f"{installed}/{path.relative_to(ROOT / name).as_posix()}")
    return found


@pytest.mark.slow
def test_wheel_holds_the_whole_tree(wheel: Path) -> None:
    """Every module and data file of the tree is in the wheel, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {x for x in archive.namelist() if ".dist-info/" not in x}
    assert tree_files() == names


def copied_tree(folder: Path, *, at_s: int, mode: int) -> Path:
    """A copy of what the wheel is made of, with other times and permissions."""
    folder.mkdir()
    for name in ("acting", "detector", "streams", "rules"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
            os.utime(path, (at_s, at_s))
    return folder


@pytest.mark.slow
def test_wheel_is_reproducible(tmp_path: Path) -> None:
    """Two copies of the tree, of other ages, places and modes, give the same bytes."""
    sums = set()
    for name, at_s, mode in (
        ("one", 1_000_000_000, 0o644),
        ("two", 1_700_000_000, 0o600),
    ):
        out = tmp_path / f"wheel-{name}"
        out.mkdir()
        built = build_wheel(copied_tree(tmp_path / name, at_s=at_s, mode=mode), out)
        sums.add(hashlib.sha256(built.read_bytes()).hexdigest())
    assert len(sums) == 1


@pytest.mark.slow
def test_wheel_says_what_it_is(wheel: Path) -> None:
    """The metadata name licence, Python, command and every dependency."""
    data = project()["project"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (x for x in archive.namelist() if x.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        files = {
            x.rpartition("/")[2]: archive.read(x).decode()
            for x in archive.namelist()
            if ".dist-info/" in x
        }
    assert (data["name"], data["version"]) == (metadata["Name"], metadata["Version"])
    assert data["license"] == metadata["License-Expression"]
    assert data["requires-python"] == metadata["Requires-Python"]
    assert (ROOT / "LICENSE").read_text("utf-8") == files["LICENSE"]
    assert "hypercare = streams.cli.main:main" in files["entry_points.txt"]
    asked = {x for x in metadata.get_all("Requires-Dist") if "extra ==" not in x}
    assert {canonical(x) for x in data["dependencies"]} == {canonical(x) for x in asked}


@pytest.mark.slow
def test_installed_wheel_finds_its_rules(wheel: Path, tmp_path: Path) -> None:
    """Outside the tree an installed wheel gives the tree's default rules."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))",
        cwd=tmp_path,
    ).strip()  # fmt: skip
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
        "--target", site, wheel, cwd=tmp_path,
    )  # fmt: skip
    program = "from streams import rulesdata as r; print(r.default_rules_text())"
    text = run(python, "-I", "-c", program, cwd=tmp_path)
    expected = (ROOT / "rules" / "default.yaml").read_text(encoding="utf-8")
    assert expected.strip() == text.strip()


@pytest.mark.slow
def test_installed_wheel_finds_kafka_locks(wheel: Path, tmp_path: Path) -> None:
    """The lock files and templates of the local Kafka travel with the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = "from streams.kafka_local.jars import *; print(len(locked_jars('4.4.0')))"
    assert run(sys.executable, "-c", program, cwd=tmp_path) == "45\n"


def test_locked_names_match_the_project() -> None:
    """requirements/*.in ask for what pyproject.toml asks for."""
    data = project()["project"]
    extras = data["optional-dependencies"]
    runtime = named_requirements(REQUIREMENTS / "runtime.in") - BUILD_BACKEND
    assert set(data["dependencies"]) == runtime
    assert set(extras["demo"]) == named_requirements(REQUIREMENTS / "demo.in")
    assert set(extras["java"]) == named_requirements(REQUIREMENTS / "java.in")


def pins(name: str) -> dict[str, str]:
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_locks_are_hashed_and_hostless(name: str) -> None:
    """Every pin has a hash, and no lock names an index or an address."""
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [b.split()[0] for b in blocks if "--hash=sha256:" not in b] == []
    assert "://" not in text
    assert not re.search(r"^--(index|extra-index|find-links|trusted)", text, re.M)


def test_locks_agree_with_each_other() -> None:
    """Worker, demo and developers run the same versions."""
    runtime, demo, dev = pins("runtime"), pins("demo"), pins("dev")
    assert runtime.items() <= demo.items()
    assert demo.items() <= dev.items()


def test_faust_is_pinned_exactly() -> None:
    """The version whose private methods are overridden is the only one allowed."""
    assert "faust-streaming==0.15.3" in project()["project"]["dependencies"]
    assert pins("runtime")["faust-streaming"] == "0.15.3"


def test_compose_runs_pinned_images_on_loopback() -> None:
    """The compose file pins its images and publishes ports on loopback only."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    for name, service in compose["services"].items():
        image = service["image"]
        assert not image.endswith(":latest"), name
        assert ":" in image, name
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), name


def test_every_make_target_is_explained() -> None:
    """`make help` names every target a person may type."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert set(phony.split()) == explained
