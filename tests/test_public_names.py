"""What others may use says what it is: words, types, and no name by accident."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
CORE = sorted(p for n in ("acting", "detector") for p in (ROOT / n).rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in CORE]


def tree_of(path: Path) -> ast.Module:
    """A module as syntax."""
    return ast.parse(path.read_text(encoding="utf-8"))


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Functions, classes and their methods whose names have no underscore."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


@cache
def documented_methods() -> set[str]:
    """Names of methods that a class documents: those of the same shape need not."""
    return {
        name.rpartition(".")[2]
        for path in CORE
        for name, node in public(tree_of(path).body)
        if "." in name and ast.get_docstring(node)
    }


@pytest.mark.parametrize("path", CORE, ids=IDS)
def test_public_names_say_what_they_are(path: Path) -> None:
    """Every public function, class and kind of method has a docstring."""
    shared = documented_methods()
    silent = [
        name
        for name, node in public(tree_of(path).body)
        if not ast.get_docstring(node)
        and not ("." in name and name.rpartition(".")[2] in shared)
    ]
    assert silent == []


@pytest.mark.parametrize("path", CORE, ids=IDS)
def test_first_lines_are_sentences(path: Path) -> None:
    """The first paragraph of a docstring ends like a sentence."""
    first = {
        name: doc.partition("\n\n")[0]
        for name, node in public(tree_of(path).body)
        if (doc := ast.get_docstring(node))
    }
    odd = [n for n, line in first.items() if not line.endswith((".", "?", ":", '"'))]
    assert odd == []


@pytest.mark.parametrize("path", CORE, ids=IDS)
def test_times_carry_their_unit(path: Path) -> None:
    """An argument called after a time or a length of time says in which unit."""
    bare = {"timeout", "duration", "grace", "window", "delay", "interval", "age"}
    found = [
        f"{name}({argument.arg})"
        for name, node in public(tree_of(path).body)
        if not isinstance(node, ast.ClassDef)
        for argument in (*node.args.args, *node.args.kwonlyargs)
        if argument.arg in bare
        and getattr(argument.annotation, "id", "") in ("int", "float")
    ]
    # An index of a window, in the simulator, is no length of time.
    assert [name for name in found if not name.startswith(("at(", "Shop."))] == []
