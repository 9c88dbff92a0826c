"""Services of a history judged by several processes at once.

A process is given one service and one rule set at a time, the largest first. What it
finds depends on nothing else, so the number of processes changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from detector.backtest.told import Part, told_of
from detector.rulefile import RuleSet
from streams.backtest.spool import Spooled
from streams.errors import Refused
from streams.heap import collect_rarely

LOOK_S = 0.25
TOLD_BYTES = 1 << 20
"""Read by a process before it says so."""

Say = Callable[[int], None]

_read: Any = None


def judged(
    spooled: Spooled, rulesets: list[RuleSet], jobs: int, say: Say
) -> list[list[Part]]:
    """What each rule set says of each service, in the order of the services.

    Parameters
    ----------
    jobs : int
        Processes; with one there is none beside this.
    say : callable
        Is told from time to time how many bytes have been read, over all rule sets.

    Raises
    ------
    Refused
        A process died, most likely for want of memory.
    """
    services = sorted(spooled.files)
    sizes = spooled.sizes
    order = sorted(services, key=lambda name: (-sizes[name], name))
    tasks = [(name, number) for name in order for number in range(len(rulesets))]
    found: dict[tuple[str, int], Part] = {}
    texts = [rules.to_canonical_json() for rules in rulesets]
    if jobs == 1 or len(tasks) == 1:
        _begin(None)
        for name, number in tasks:
            found[name, number] = _part(
                name, str(spooled.files[name]), texts[number], say
            )
    else:
        found = _by_processes(spooled, tasks, texts, min(jobs, len(tasks)), say)
    return [[found[name, n] for name in services] for n in range(len(rulesets))]


def _by_processes(
    spooled: Spooled,
    tasks: list[tuple[str, int]],
    texts: list[bytes],
    jobs: int,
    say: Say,
) -> dict[tuple[str, int], Part]:
    # Spawned: a forked process would inherit locks of threads that Kafka's client runs.
    context = get_context("spawn")
    read = context.Value("q", 0)
    told = 0
    with ProcessPoolExecutor(jobs, context, _begin, (read,)) as pool:
        try:
            futures: dict[tuple[str, int], Future[bytes]] = {
                task: pool.submit(
                    _task, task[0], str(spooled.files[task[0]]), texts[task[1]]
                )
                for task in tasks
            }
            left = set(futures.values())
            while left:
                left = wait(left, LOOK_S, "FIRST_COMPLETED").not_done
                now = int(read.value)
                say(now - told)
                told = now
            return {
                task: msgspec.msgpack.decode(future.result(), type=Part)
                for task, future in futures.items()
            }
        except BrokenProcessPool as error:
            raise Refused(
                "a process died, most likely for want of memory: give fewer --jobs"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(read: Any) -> None:
    """Prepare a process: the counter it shares, and as a worker collects garbage."""
    global _read
    _read = read
    collect_rarely()


def _task(service: str, path: str, text: bytes) -> bytes:
    def say(count: int) -> None:
        with _read.get_lock():
            _read.value += count

    return msgspec.msgpack.encode(_part(service, path, text, say))


def _part(service: str, path: str, text: bytes, say: Say) -> Part:
    rules = RuleSet.from_canonical_json(text)
    return told_of(service, _lines(Path(path), say), rules)


def _lines(path: Path, say: Say) -> Iterator[bytes]:
    count = 0
    with path.open("rb") as file:
        for line in file:
            yield line
            count += len(line)
            if count >= TOLD_BYTES:
                say(count)
                count = 0
    say(count)
