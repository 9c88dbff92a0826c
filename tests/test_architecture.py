"""The shape of the code: who imports whom, who reads a clock, what is public."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("acting", "detector", "streams")
FILE_LINES_MAX = 500
CLOCK_MODULE = ROOT / "streams" / "wallclock.py"
CLOCKS = {
    "time": {
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "perf_counter_ns",
        "localtime",
        "gmtime",
    },
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def sources() -> list[Path]:
    return sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))


def module_names() -> list[str]:
    found: list[str] = []
    for name in PACKAGES:
        package = importlib.import_module(name)
        walked = pkgutil.walk_packages(package.__path__, f"{name}.")
        found += [name, *(module.name for module in walked)]
    # Importing a `__main__` runs it.
    return [name for name in found if not name.endswith("__main__")]


def clock_reads(source: str) -> Iterator[int]:
    """Give the line of every mention of a clock, imported or called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = getattr(owner, "id", getattr(owner, "attr", ""))
            names = {node.attr}
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            names = {alias.name for alias in node.names}
        else:
            continue
        if names & CLOCKS.get(name, set()):
            yield node.lineno


def test_imports_run_one_way() -> None:
    """The import contracts of pyproject.toml hold."""
    program = "from importlinter.cli import lint_imports_command as main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_core_imports_nothing_that_acts() -> None:
    """A module of the core imports calculation and text only, by name."""
    allowed = {
        "acting", "detector", "msgspec", "numpy", "scipy", "yaml", "datasketches",
        "dateutil",
        "__future__",
        "abc", "array", "ast", "base64", "binascii", "bisect", "collections",
        "contextlib", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum",
        "fractions", "functools", "hashlib", "heapq", "hmac", "html", "inspect",
        "importlib", "io", "itertools", "json", "math", "operator", "re", "statistics",
        "string", "struct", "textwrap", "types", "typing", "unicodedata", "urllib",
        "zlib", "zoneinfo",
    }  # fmt: skip
    for path in sources():
        if path.relative_to(ROOT).parts[0] in ("acting", "detector"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            surplus = set(imported(tree)) - allowed
            assert not surplus, f"{path.relative_to(ROOT)} imports {sorted(surplus)}"


def imported(tree: ast.AST) -> Iterator[str]:
    """Give the first part of the name of every module imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_only_one_module_reads_clocks() -> None:
    """No module but streams/wallclock.py mentions a clock."""
    places = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        if path != CLOCK_MODULE
        for line in clock_reads(path.read_text(encoding="utf-8"))
    ]
    assert places == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.monotonic()",
        "from time import time",
        "datetime.now(UTC)",
        "dt.datetime.now()",
    ],
)
def test_clock_search_finds_clocks(source: str) -> None:
    """The search above sees a call, an import and a date."""
    assert len(list(clock_reads(source))) == 1


def test_files_stay_readable() -> None:
    """No file of the product is longer than 500 lines."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in sources()
    }
    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}


@pytest.mark.parametrize("name", module_names())
def test_public_names_resolve(name: str) -> None:
    """Every name in ``__all__`` exists, and the module says what it is."""
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [x for x in public if not hasattr(module, x)] == []
    assert len(public) == len(set(public))
    assert module.__doc__
