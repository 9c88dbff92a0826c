"""Fixtures every test may use: a real Kafka and seeded chance."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from streams.kafka_local import DEFAULT_VERSION, LocalKafka, free_ports


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One Apache Kafka for the whole session; KAFKA chooses its version.

    With several processes each has its own, as each is a session.

    Topics are shared by all tests: name them after the test. A test that kills
    or pauses the node starts or resumes it before it ends.
    """
    broker = LocalKafka(
        tmp_path_factory.mktemp("kafka"),
        version=os.environ.get("KAFKA", DEFAULT_VERSION),
        port=free_ports(2),
        tied=True,
    )
    broker.start(lambda line: print(line, file=sys.stderr))  # noqa: T201
    yield broker
    broker.wipe()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Chance that is the same in every run: seeded by the test's own name."""
    name = request.node.nodeid.encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:8]))
