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


FLAGS = """\
metadata: {flagSetId: shop}
flags:
  cart:
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    targeting: {if: [{sem_ver: [{var: app_version}, "<", "2.4.0"]}, "off", null]}
    switches: {service: shop, environment: "*", component: cart, withdrawn: "off"}
  share:
    state: ENABLED
    variants: {"a": 1, "b": 2}
    defaultVariant: "a"
    targeting: {fractional: [["a", 50], ["b", 50]]}
  dark:
    state: DISABLED
    variants: {"on": true}
    defaultVariant: "on"
"""


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
    """Gates that have read them, and serve flags."""
    flags = place.folder / "flags.yaml"
    flags.write_text(FLAGS)
    with place.served(flags=flags) as found:
        yield found


@pytest.fixture(autouse=True)
def _watched(place: Place) -> None:
    """Workers go on to say that they watch."""
    place.pulse()
