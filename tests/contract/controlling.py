"""Rollout controllers of others, run on the YAML of docs/gate.md as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.contract.golang import CLIENTS, go
from tests.integration.support import ROOT

ADDRESS = "http://hypercare:9109"
NOBODY = "http://127.0.0.1:1"
"""Where nobody listens."""


def written(heading: str, number: int = 0) -> str:
    """A block of YAML under a heading of docs/gate.md, the first by default."""
    text = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    return textwrap.dedent(blocks[number])


def built(client: str, switch: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A controller's program, built from its own module where a switch asks for it."""
    if switch not in os.environ:
        pytest.skip(f"{switch}=1 builds it, ten minutes or more the first time")
    folder = tmp_path_factory.mktemp(client) / "client"
    shutil.copytree(CLIENTS / client, folder)
    go(folder, "build", "-o", "client", ".", limit_s=3_600)
    return folder / "client"


def run(program: Path, cases: list[dict[str, Any]]) -> Any:
    """What became of each case, by name."""
    said = subprocess.run(
        [str(program)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr[-1_000:]
    return json.loads(said.stdout)


def release_of_docs() -> str:
    """The release that the canary of the docs names."""
    found = re.search(r'release: "([^"]+)"', written("Flagger"))
    assert found is not None
    return found.group(1)


def canary(url: str, release: str, token: str, **types: str) -> str:
    """The canary of the docs, about a release; hooks may be given another type."""
    text = written("Flagger").replace(ADDRESS, url)
    text = text.replace(f'"{release_of_docs()}"', json.dumps(release))
    text = text.replace('"..."', json.dumps(token))
    for one, other in types.items():
        name = one.replace("_", "-")
        text = text.replace(f"type: {name},", f"type: {other},")
        text = text.replace(f"/flagger/{name},", f"/flagger/{other},")
    return text


def lost(gates: Any) -> None:
    """From now on these gates do not hear Kafka any more."""
    gates.board.stop()
    gates.board.problem = "Kafka does not answer"
