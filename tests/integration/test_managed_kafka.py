"""Topics on a Kafka that does not let everybody set everything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from streams.kafka_local import (
    DEFAULT_VERSION,
    Extras,
    Listener,
    LocalKafka,
    free_ports,
)
from streams.settings import Settings
from streams.topics import TOPICS, TopicsError, check_or_explain, create_topics
from tests.integration.managed import INVALID_CONFIG, POLICY_VIOLATION, ManagedProxy
from tests.integration.support import ROOT

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

REFUSED = ("segment.", "compression.type", "min.cleanable")

COMPACTED = ("state", "pulse", "deliveries")
"""Topics of small segments: what a managed Kafka may refuse of them is economy."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker that sends its clients to the proxy."""
    port = free_ports(4)
    listener = Listener("PROXIED", port + 2, advertised_port=port + 3)
    made = LocalKafka(
        tmp_path_factory.mktemp("managed"),
        version=os.environ.get("KAFKA", DEFAULT_VERSION),
        port=port,
        tied=True,
        extras=Extras((listener,)),
    )
    made.start(lambda line: print(line, file=sys.stderr))  # noqa: T201
    yield made
    made.wipe()


def proxy(broker: LocalKafka, refused: tuple[str, ...], code: int) -> ManagedProxy:
    """The managed offer in front of the broker."""
    return ManagedProxy(broker.port + 3, broker.port + 2, refused, code)


def settings_for(broker: LocalKafka, prefix: str) -> Settings:
    """Settings of a client of the managed offer."""
    return Settings(kafka=f"127.0.0.1:{broker.port + 3}", prefix=prefix)


@pytest.mark.parametrize("code", [INVALID_CONFIG, POLICY_VIOLATION])
def test_refused_economy_is_left_out(broker: LocalKafka, code: int) -> None:
    """Topics come to be without what is refused; that is named, and is a warning."""
    settings = settings_for(broker, f"managed{code}")
    with proxy(broker, REFUSED, code):
        made = create_topics(settings)
        found = check_or_explain(settings)
    assert len(made.names) == len(TOPICS)
    assert set(made.refused) == {
        f"{settings.topic(name)}: {setting}"
        for name in COMPACTED
        for setting in (
            "segment.bytes=16777216",
            "segment.ms=600000",
            "min.cleanable.dirty.ratio=0.1",
        )
    }
    assert {d.what for d in found} == {
        "segment.bytes",
        "segment.ms",
        "min.cleanable.dirty.ratio",
    }
    assert not any(d.fatal for d in found)


def test_allowed_settings_are_kept(broker: LocalKafka) -> None:
    """Only what is refused is left out: the rest is as the table wants it."""
    settings = settings_for(broker, "partly")
    with proxy(broker, ("segment.bytes",), POLICY_VIOLATION):
        made = create_topics(settings)
        found = check_or_explain(settings)
    assert set(made.refused) == {
        f"{settings.topic(name)}: segment.bytes=16777216" for name in COMPACTED
    }
    assert {d.what for d in found} == {"segment.bytes"}


def test_refused_vital_setting_is_an_error(broker: LocalKafka) -> None:
    """What counting stands on is not given up: the error names it."""
    settings = settings_for(broker, "vital")
    with (
        proxy(broker, ("message.timestamp.type",), INVALID_CONFIG),
        pytest.raises(TopicsError, match=r"message\.timestamp\.type=LogAppendTime"),
    ):
        create_topics(settings)


def test_command_warns_of_what_was_refused(broker: LocalKafka) -> None:
    """`topics create` succeeds and names each refused setting on standard error."""
    settings = settings_for(broker, "warned")
    with proxy(broker, REFUSED, POLICY_VIOLATION):
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", "topics", "create"],
            cwd=ROOT,
            env=os.environ
            | {"HYPERCARE_KAFKA": settings.kafka, "HYPERCARE_PREFIX": "warned"},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    assert done.returncode == 0, done.stderr
    warnings = done.stderr.strip().splitlines()
    assert len(warnings) == 3 * len(COMPACTED)
    begins = tuple(f"warning: warned.{name}: " for name in COMPACTED)
    assert all(line.startswith(begins) for line in warnings)
