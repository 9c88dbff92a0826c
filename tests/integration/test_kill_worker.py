"""kill -9 and SIGTERM under load: nothing lost, nothing counted twice."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from streams.kafka_local import LocalKafka
from streams.settings import SourceKind
from tests.integration.support import Load, Stage, stage, until
from tests.integration.workers import OUTPUT_EVERY

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RECORDS = 60_000
RATE = 3_000
KILLS = 4


def reached(load: Load, point: int) -> bool:
    return load.sent >= point


def assert_exact(made: Stage, load: Load) -> None:
    """Compare counts, sums and outputs with those of an undisturbed run."""
    counts, sums = load.expected()
    until(lambda: made.applied() >= load.total, what="all records counted")
    assert made.counts() == (counts, sums)
    wanted = {
        f"{key}-{n}"
        for key, count in counts.items()
        for n in range(OUTPUT_EVERY, count + 1, OUTPUT_EVERY)
    }
    until(lambda: {i for i, _ in made.outputs()} >= wanted, what="all outputs sent")
    outputs = made.outputs()
    assert {output_id for output_id, _ in outputs} == wanted
    values: dict[str, set[bytes]] = {}
    for output_id, value in outputs:
        values.setdefault(output_id, set()).add(value)
    assert max(Counter({i: len(v) for i, v in values.items()}).values()) == 1


@pytest.mark.fault("1")
@pytest.mark.parametrize("source", SourceKind)
def test_kill_nine_counts_exactly(
    kafka: LocalKafka, tmp_path: Path, rng: np.random.Generator, source: SourceKind
) -> None:
    """Workers killed at seeded points leave counts, sums and output ids exact."""
    with (
        stage(kafka.bootstrap, f"killnine-{source}", tmp_path, source) as made,
        Load(made.settings, RECORDS, RATE) as load,
    ):
        made.start("w0")
        current = made.start("w1")
        points = np.sort(rng.integers(RECORDS // 10, RECORDS, size=KILLS))
        for number, point in enumerate(points, start=2):
            until(partial(reached, load, int(point)), what="load goes on")
            current.kill()
            current.wait()
            current = made.start(f"w{number}")
        assert_exact(made, load)


@pytest.mark.fault("2")
@pytest.mark.parametrize("source", SourceKind)
def test_sigterm_ends_in_order(
    kafka: LocalKafka, tmp_path: Path, source: SourceKind
) -> None:
    """A worker told to end does so with 0 within ten seconds and leaves a manifest
    at the end of what it read."""
    with stage(kafka.bootstrap, f"sigterm-{source}", tmp_path, source) as made:
        worker = made.start("w0")
        with Load(made.settings, 9_000, RATE) as load:
            until(lambda: made.applied() > 0, what="the worker counts")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=10) == 0
        made.start("w1")
        assert_exact(made, load)
