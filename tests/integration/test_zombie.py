"""A worker that was stopped, replaced, and wakes up."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from streams.halt import Exit
from streams.kafka_local import LocalKafka
from streams.settings import SourceKind
from tests.integration.support import Load, stage, until
from tests.integration.test_kill_worker import RATE, assert_exact

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.fault("7")
@pytest.mark.parametrize("source", SourceKind)
def test_woken_worker_exits_fenced(
    kafka: LocalKafka, tmp_path: Path, source: SourceKind
) -> None:
    """A worker stopped beyond its session, replaced and woken, ends with the code
    for fenced, or, if it had nothing to write, claims anew; counts stay exact."""
    with stage(kafka.bootstrap, f"zombie-{source}", tmp_path, source) as made:
        stopped = made.start("stopped")
        with Load(made.settings, 40_000, RATE) as load:
            until(lambda: made.applied() > 0, what="the first worker counts")
            stopped.send_signal(signal.SIGSTOP)
            epochs = {p: m.epoch for p, (m, _) in made.manifests().items()}
            made.start("heir")
            until(
                lambda: all(
                    m.epoch > epochs.get(p, 0) for p, (m, _) in made.manifests().items()
                ),
                what="the heir owns all partitions",
            )
            owned = made.said("stopped").count("lane.ready")
            stopped.send_signal(signal.SIGCONT)
            # Stopped right after a snapshot it has nothing that a fence could refuse.
            until(
                lambda: (
                    stopped.poll() is not None
                    or made.said("stopped").count("lane.ready") > owned
                ),
                what="the woken worker ends, or owns anew",
            )
            if stopped.poll() is not None:
                assert stopped.returncode == Exit.FENCED
                assert "has claimed the partition" in made.said("stopped")
        assert_exact(made, load)
