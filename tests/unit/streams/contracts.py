"""What this project stands on in its libraries: signatures and fingerprints.

``python -m tests.unit.streams.contracts`` writes ``contracts.json`` anew. Do so only
after reading what changed in each method it names: the file says that somebody has.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import inspect
import json
import pkgutil
import sys
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from streams.pins import PINNED

FILE = Path(__file__).with_name("contracts.json")
ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = ("faust", "mode", "aiokafka", "kafka")


def modules() -> Iterator[Any]:
    """Give every module of the shell."""
    package = importlib.import_module("streams")
    for found in pkgutil.walk_packages(package.__path__, "streams."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def pinned() -> list[str]:
    """Return ``module:owner.method`` of every method the project stands on."""
    return sorted(f"{place}.{method}" for place, method in PINNED)


@lru_cache
def _source(module: str) -> tuple[list[str], ast.Module]:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    loader = cast(Any, spec.loader)
    text: str = loader.get_source(module)
    return text.splitlines(), ast.parse(text)


def installed(name: str) -> list[str]:
    """Return signature and fingerprint of ``module:owner.method`` as installed.

    Read from the file: what runs may have been replaced by ours.
    """
    module, _, path = name.partition(":")
    lines, tree = _source(module)
    node: Any = tree
    for part in path.split("."):
        wanted = part.removeprefix(f"_{getattr(node, 'name', '').lstrip('_')}")
        names = {part, wanted} if wanted.startswith("__") else {part}
        node = next(n for n in node.body if getattr(n, "name", None) in names)
    return [signature_of(node), fingerprint_of(node, lines)]


def signature_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return names, kinds and defaults of the parameters, without annotations."""
    given = copy.deepcopy(node.args)
    for one in ast.walk(given):
        if isinstance(one, ast.arg):
            one.annotation = None
    kind = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{kind}({ast.unparse(given)})"


def fingerprint_of(
    node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]
) -> str:
    """Return a digest of the source as installed, with its decorators."""
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    source = textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def known() -> dict[str, list[str]]:
    """Return what the methods were when they were read."""
    found: dict[str, list[str]] = json.loads(FILE.read_text("utf-8"))
    return found


def overridden() -> Iterator[tuple[str, str]]:
    """Give (our method, the library's that it takes the place of)."""
    for module in modules():
        for _, ours in inspect.getmembers(module, inspect.isclass):
            if ours.__module__ != module.__name__:
                continue
            for name, value in vars(ours).items():
                base = _library_base(ours, name)
                if base is not None and inspect.isfunction(value):
                    place = f"{base.__module__}:{base.__qualname__}.{name}"
                    yield f"{module.__name__}:{ours.__qualname__}.{name}", place


def _library_base(ours: type, name: str) -> type | None:
    for base in ours.__mro__[1:]:
        if base.__module__.startswith(LIBRARIES) and name in vars(base):
            return base
    return None


def foreign_privates() -> Iterator[tuple[str, str]]:
    """Give (place, name) of each private attribute that the shell does not define."""
    trees = {
        path: ast.parse(path.read_text("utf-8"))
        for path in sorted((ROOT / "streams").rglob("*.py"))
    }
    for path, tree in trees.items():
        ours = {*_defined(tree), "_asdict", "_replace"}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
                continue
            inherited = isinstance(node.value, ast.Call)  # super()._method
            if node.attr.startswith("__") or ast.unparse(node.value) == "os":
                continue
            if inherited or node.attr not in ours:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.attr


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) == "self":
                yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def main() -> None:
    """Write what is installed now as known."""
    before, now = known() if FILE.exists() else {}, {n: installed(n) for n in pinned()}
    for name in sorted(set(before) | set(now)):
        if before.get(name) != now.get(name):
            sys.stdout.write(f"{name}\n  {before.get(name)}\n  {now.get(name)}\n")
    FILE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
