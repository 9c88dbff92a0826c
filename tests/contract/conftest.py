"""Gates that know one release of each kind; shared by the tests of one module."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from detector.verdicts import Verdict
from streams.kafka_local import LocalKafka
from tests.integration.gating import Place, Served

RELEASES: dict[str, Verdict] = {one.value: one for one in Verdict}
"""Release names say how they stand; every other one is unknown."""


@pytest.fixture(scope="module")
def place(
    kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Topics in which workers have judged a release of each kind."""
    prefix = f"contract-{uuid.uuid4().hex[:8]}"
    made = Place(kafka.bootstrap, prefix, tmp_path_factory.mktemp(prefix))
    for release, verdict in RELEASES.items():
        made.judge(("shop", release), verdict)
    made.pulse()
    yield made
    made.close()


@pytest.fixture(scope="module")
def served(place: Place) -> Iterator[Served]:
    """Gates that have read them."""
    with place.served() as found:
        yield found


@pytest.fixture(autouse=True)
def _watched(place: Place) -> None:
    """Workers go on to say that they watch."""
    place.pulse()
