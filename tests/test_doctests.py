"""Examples in docstrings are tests: all of them run, and there are some to run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES_MIN = 40
"""Fewer than this would mean that the search below stopped finding them."""


@cache
def module_names() -> tuple[str, ...]:
    """Every module under detector and streams, except programs."""
    found: list[str] = []
    for name in ("acting", "detector", "streams"):
        package = importlib.import_module(name)
        walked = pkgutil.walk_packages(package.__path__, f"{name}.")
        found += [name, *(module.name for module in walked)]
    return tuple(name for name in found if not name.endswith("__main__"))


def examples(name: str) -> list[doctest.DocTest]:
    """The docstrings of a module that hold examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = importlib.import_module(name)
    return [test for test in finder.find(module, name) if test.examples]


@pytest.mark.parametrize("name", module_names())
def test_examples_give_what_they_say(name: str) -> None:
    """Each example of the module gives the answer that is printed under it."""
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    report: list[str] = []
    for test in examples(name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_search_misses_no_module() -> None:
    """Every Python file of the product is among the modules searched."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in ("acting", "detector", "streams")
        for path in (ROOT / name).rglob("*.py")
        if path.stem != "__main__"
    }
    assert files == set(module_names())


def test_examples_are_found() -> None:
    """The core is documented by examples, and the search sees them."""
    core = [name for name in module_names() if name.startswith(("acting", "detector"))]
    count = sum(len(test.examples) for name in core for test in examples(name))
    assert count >= EXAMPLES_MIN
