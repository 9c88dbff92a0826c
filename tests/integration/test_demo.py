"""``hypercare demo`` as a newcomer sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kafka_local import free_ports
from tests.integration.support import ROOT, until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def start(kafka_port: int, web_port: int) -> subprocess.Popen[str]:
    """The demonstration as a process."""
    environment = {k: v for k, v in os.environ.items() if k != "HYPERCARE_KAFKA_PORT"}
    ports = ["--kafka-port", str(kafka_port), "--web-port", str(web_port)]
    return subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "demo", *ports],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def mentions(port: int) -> list[str]:
    """Command lines of live processes that name a port."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(port).encode() in b" ".join(words):
            found.append(b" ".join(words).decode(errors="replace"))
    return found


def answers(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_demo_recommends_the_rollback() -> None:
    """It ends by itself with the right recommendation, and leaves no process."""
    kafka_port, web_port = free_ports(2), free_ports(1)
    demo = start(kafka_port, web_port)
    output, _ = demo.communicate(timeout=240)
    assert demo.returncode == 0, output
    assert "verdict" in output
    assert "Roll back to 2.3.1" in " ".join(output.replace("|", " ").split())
    assert "os=android, region=eu" in output
    assert not answers(kafka_port)
    assert not answers(web_port)


def test_interrupted_demo_leaves_nothing() -> None:
    """Ctrl-C in the middle ends broker and worker too."""
    kafka_port, web_port = free_ports(2), free_ports(1)
    demo = start(kafka_port, web_port)
    until(lambda: answers(web_port), what="the worker serves its pages")
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert not answers(kafka_port)
    assert not answers(web_port)
    assert mentions(kafka_port) == []


def test_taken_port_is_named() -> None:
    """A port that is taken is named with the variable that changes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = start(port, free_ports(1))
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert str(port) in output
    assert "HYPERCARE_KAFKA_PORT" in output
    assert "Traceback" not in output
