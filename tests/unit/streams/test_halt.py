"""The watchdog: a worker that hangs ends by itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streams.halt import Exit, Watchdog
from streams.readiness import LoopWatch
from streams.wallclock import monotonic_s

HANGING = """\
import threading
from streams.halt import Watchdog
dog = Watchdog(stall_limit_s=0.5)
dog.start()
{before}
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("before", "words"),
    [("", "the event loop hangs"), ("dog.ending(limit_s=0.5)", "the end of the")],
    ids=["loop", "end"],
)
def test_hanging_process_is_ended(before: str, words: str) -> None:
    """A loop or an end that takes too long ends the process with 70 and one line."""
    found = subprocess.run(
        [sys.executable, "-c", HANGING.format(before=before)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert found.returncode == Exit.HANDLER
    assert words in found.stderr
    assert "Traceback" not in found.stderr


def test_beats_put_the_end_off() -> None:
    """A beat moves the deadline; none does once the process is ending."""
    dog = Watchdog(stall_limit_s=100.0)
    dog.beat()
    now_s = monotonic_s()
    assert not dog.expired(now_s + 99.0)
    assert dog.expired(now_s + 101.0)
    dog.ending(limit_s=5.0)
    dog.beat()
    dog.ending(limit_s=1_000.0)
    assert dog.expired(monotonic_s() + 6.0)


def test_stall_is_measured_and_reported() -> None:
    """A beat that comes late counts as a stall; one that is still missing is a
    problem with a fix."""
    watch = LoopWatch(0.5)
    assert watch.beat(10.0) == 0.0
    assert watch.beat(10.5) == pytest.approx(0.0)
    assert watch.beat(14.0) == pytest.approx(3.0)
    assert watch.longest_s(14.1) == pytest.approx(3.0)
    assert watch.problems(14.1) == []
    (problem,) = watch.problems(30.0)
    assert "15.5 s" in problem.what
    assert problem.fix
