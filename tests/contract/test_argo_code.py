"""Argo Rollouts' own web and kayenta providers ask the gates: 1.10.1, as a module.

Its module brings half of Kubernetes, ten minutes of building the first time: so only
where ``ARGO_CODE=1`` asks for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.golang import CLIENTS, go
from tests.integration.gating import Place, Served

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif("ARGO_CODE" not in os.environ, reason="ARGO_CODE=1 builds Argo"),
]

PHASES = {
    "healthy": "Successful",
    "regressed": "Failed",
    "inconclusive": "Inconclusive",
    "no_data": "Inconclusive",
    "unreliable": "Inconclusive",
    "never-seen": "Inconclusive",
    "1.2.0+build.7": "Inconclusive",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, built from Argo's module."""
    folder = tmp_path_factory.mktemp("argo") / "client"
    shutil.copytree(CLIENTS / "argo", folder)
    go(folder, "build", "-o", "client", ".", limit_s=1_800)
    return folder / "client"


def ask(program: Path, url: str, token: str, *releases: str) -> dict[str, str]:
    """Phase, value and message of each measurement, by provider and release."""
    said = subprocess.run(
        [str(program), url, token, *releases],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, str] = json.loads(said.stdout)
    return found


def test_argo_measures_the_table(served: Served, program: Path) -> None:
    """Both providers come to the same phase, by the template's conditions and by the
    thresholds: only health is a success, only a regression a failure."""
    found = ask(program, served.url, served.tokens["read"], *PHASES)
    for release, phase in PHASES.items():
        for provider in ("web", "kayenta"):
            heard = found[f"{provider} {release}"]
            assert heard.split()[0] == phase, (provider, release, heard)


def test_lost_kafka_is_no_error(place: Place, program: Path) -> None:
    """While nobody knows Argo measures inconclusive: five errors would abort."""
    with place.served() as gates:
        gates.board.stop()
        gates.board.problem = "Kafka does not answer"
        found = ask(program, gates.url, gates.tokens["read"], "healthy")
    assert {heard.split()[0] for heard in found.values()} == {"Inconclusive"}


def test_unknown_token_is_an_error(served: Served, program: Path) -> None:
    """Who is not let in is told so, and never promoted."""
    found = ask(program, served.url, "x" * 43, "healthy")
    assert {heard.split()[0] for heard in found.values()} == {"Error"}
