"""The page that gets people started does what it says, block by block."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kafka_local import LocalKafka, free_ports
from tests.integration.support import ROOT

PAGE = ROOT / "docs" / "getting-started.md"
BLOCK = re.compile(r"^```bash tested\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PREFIX = "getting-started"
LIMIT_S = 180


def script(bootstrap: str) -> str:
    """The tested blocks of the page in order, against this Kafka."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 7
    text = "set -eu\n" + "\n".join(
        f"echo '== block {number}'\n{block}" for number, block in enumerate(blocks, 1)
    )
    changed = {
        "HYPERCARE_KAFKA=127.0.0.1:9092": f"HYPERCARE_KAFKA={bootstrap}",
        '"hypercare.recommendations"': f'"{PREFIX}.recommendations"',
    }
    for found, wanted in changed.items():
        assert found in text
        text = text.replace(found, wanted)
    return text


def environment(folder: Path) -> dict[str, str]:
    """A shell where Hypercare is installed, and nothing is set."""
    tools = folder / "bin"
    tools.mkdir()
    for name, arguments in (("hypercare", "-m streams.cli "), ("python", "")):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        tool.chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HYPERCARE_")}
    return {
        **clean,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HYPERCARE_PREFIX": PREFIX,
        "HYPERCARE_GROUP": PREFIX,
        "HYPERCARE_WEB_PORT": str(free_ports(1)),
    }


@pytest.mark.kafka
@pytest.mark.slow
def test_page_works_as_written(kafka: LocalKafka, tmp_path: Path) -> None:
    """Every tested block succeeds in one shell; the last line of each is shown."""
    shell = subprocess.Popen(
        ["bash", "-c", script(kafka.bootstrap)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=LIMIT_S)
    finally:
        end_group(shell)
    log = tmp_path / "worker.log"
    worker = log.read_text(errors="replace") if log.exists() else "no worker.log"
    assert shell.returncode == 0, f"{said}\n{worker[-3000:]}"
    assert "Roll back to 2.3.1" in said
    assert '"action":"rollback"' in said
    assert "alice@example.com" not in said
    assert '"session":"h:' in said


def end_group(shell: subprocess.Popen[str]) -> None:
    """Leave no worker behind where a block failed."""
    try:
        os.killpg(shell.pid, 9)
    except ProcessLookupError:
        return
    shell.wait()
