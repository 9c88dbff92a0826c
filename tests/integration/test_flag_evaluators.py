"""The evaluators that services use read the document of flags as we mean it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from acting.flags import encoded
from acting.switches import Switched
from tests.integration.support import ROOT
from tests.unit.acting.test_flags import off, served

NODE = ROOT / "tests" / "node"
MAIL = {"email": "ada@example.org"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the evaluator for JavaScript, as its lock file says."""
    if not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for path in NODE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder


Asked = list[tuple[str, str, Any]]
"""Flag, kind as JavaScript calls it, the caller's default."""


def in_node(node: Path, document: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """What the evaluator for JavaScript says."""
    given = {
        "document": encoded(document).decode(),
        "asked": [[*one, MAIL] for one in asked],
    }
    done = subprocess.run(
        ["node", "evaluate.cjs"],
        cwd=node,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_python(path: Path, document: dict[str, Any], asked: Asked) -> list[Any]:
    """What flagd's provider for Python says, in process, with the document as file."""
    path.write_bytes(encoded(document))
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(path)
    )
    context = EvaluationContext("u1", dict(MAIL))
    provider.initialize(context)
    try:
        ways: dict[str, Any] = {
            "Boolean": provider.resolve_boolean_details,
            "String": provider.resolve_string_details,
        }
        return [ways[kind](key, value, context).value for key, kind, value in asked]
    finally:
        provider.shutdown()


CASES: list[tuple[dict[str, Switched], list[Any]]] = [
    ({}, ["7", True, True]),
    ({"cart": off()}, ["", True, True]),
    ({"cart": off("replace", "6")}, ["6", True, True]),
    ({"search": off()}, ["7", False, True]),
    ({"dark": off()}, ["7", True, False]),
]
"""What is switched, and what a friend gets whose callers fall back to on."""

ASKED: Asked = [("cart", "String", "7"), ("search", "Boolean", True)]
ASKED.append(("dark", "Boolean", True))


@pytest.mark.parametrize(("switched", "values"), CASES)
def test_evaluators_agree(
    node: Path, tmp_path: Path, switched: dict[str, Switched], values: list[Any]
) -> None:
    """Withdrawn, replaced or neither: both give what the document is to say, and take
    it without a complaint."""
    document = served(**switched)
    found = in_node(node, document, ASKED)
    assert (found["refused"], found["said"]) == (None, [])
    assert [answer[0] for answer in found["answers"]] == values
    assert in_python(tmp_path / "flags.json", document, ASKED) == values


def test_bad_default_breaks_another(node: Path) -> None:
    """Why a default variant has to exist: one that does not, and no flag is read."""
    document = served()
    broken = {**document["flags"]["plain"], "defaultVariant": "nix"}
    document["flags"] = {**document["flags"], "plain": broken}
    assert in_node(node, document, ASKED)["refused"]
