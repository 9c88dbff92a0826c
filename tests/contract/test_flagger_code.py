"""Flagger's own code asks the gates: `callWebhook` of 1.36.1, as it stands there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from acting.protocols import FLAGGER, Hook, Standing
from tests.contract.golang import CLIENTS, go
from tests.integration.gating import Served

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MODULE = "github.com/fluxcd/flagger@v1.36.1"
DIGEST = "e2b440fc666695655af82379d6b375438868535e3f07fcdbe251c8abe21bf3c8"
"""Of the function's text: what runs is what was read when the traps were noted."""

HEAD = """package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

"""
STANDINGS = {
    "healthy": Standing.HEALTHY,
    "inconclusive": Standing.INCONCLUSIVE,
    "no_data": Standing.NO_DATA,
    "unreliable": Standing.UNRELIABLE,
    "never-seen": Standing.UNKNOWN,
    "regressed": Standing.REGRESSED,
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, built from Flagger's text."""
    folder = tmp_path_factory.mktemp("flagger") / "client"
    shutil.copytree(CLIENTS / "flagger", folder)
    home = json.loads(go(folder, "mod", "download", "-json", MODULE))["Dir"]
    path = Path(home) / "pkg" / "controller" / "webhook.go"
    found = re.search(
        r"^func callWebhook.*?^}\n", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    text = found.group()
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST
    (folder / "webhook.go").write_text(HEAD + text, encoding="utf-8")
    go(folder, "build", "-o", "client", ".")
    return folder / "client"


def test_flagger_hears_the_table(served: Served, program: Path) -> None:
    """Each hook succeeds or fails to Flagger as the table says, at once and with the
    reason in its error; only a regression whose claim is granted rolls back."""
    said = subprocess.run(
        [str(program), served.url, served.tokens["act"], *STANDINGS],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers = json.loads(said.stdout)
    assert len(answers) == len(Hook) * len(STANDINGS)
    for release, standing in STANDINGS.items():
        for hook in Hook:
            heard = answers[f"{hook} {release}"]
            assert (heard == "ok") == (standing in FLAGGER[hook]), (hook, heard)
            assert heard == "ok" or json.loads(heard)["reason"].startswith(standing)
