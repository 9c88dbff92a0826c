"""Lines of the libraries: each kind once per interval, ours always."""

from __future__ import annotations

import asyncio
import logging

from streams.quiet import Repeats


def record(name: str, text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, None)


def test_repeats_are_left_out() -> None:
    """The first of a kind passes, copies do not, and the next one counts them."""
    now_s = 0.0
    quiet = Repeats(10.0, clock_s=lambda: now_s)
    assert quiet.filter(record("aiokafka", "Unable connect to %s", "a:1"))
    for _ in range(3):
        assert not quiet.filter(record("aiokafka", "Unable connect to %s", "b:1"))
    assert quiet.filter(record("aiokafka", "something else"))
    now_s = 11.0
    again = record("aiokafka", "Unable connect to %s", "a:1")
    assert quiet.filter(again)
    assert again.getMessage() == "Unable connect to a:1 (left out: 3 like this)"


def test_our_lines_always_pass() -> None:
    """What Hypercare itself says is never left out."""
    quiet = Repeats(10.0, clock_s=lambda: 0.0)
    assert all(quiet.filter(record("streams.lane", "lane.blind")) for _ in range(5))


def test_cancelled_tasks_are_no_errors() -> None:
    """A traceback of a task that was cancelled at the end is not written."""
    line = record("mode", "Thread crashed")
    line.exc_info = (asyncio.CancelledError, asyncio.CancelledError(), None)
    assert not Repeats().filter(line)
