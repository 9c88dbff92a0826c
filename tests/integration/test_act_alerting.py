"""A real Alertmanager takes what `hypercare act` pushes, and tells once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from detector.verdicts import RecommendationState
from streams.actuators.alertlane import AlertLane
from streams.actuators.alertmanager import Alertmanager
from streams.kafka_local import free_ports
from streams.wallclock import now_ms
from tests.integration.monitoring import monitoring
from tests.integration.support import until
from tests.unit.streams.lanes import MB, World
from tests.unit.streams.receivers import receiver, recommendation, signed

pytestmark = pytest.mark.slow

ALERT = "ReleaseRegression"


@pytest.mark.fault("20")
def test_alert_begins_and_ends_once(tmp_path: Path) -> None:
    """Pushed again and again it is told once; an Alertmanager that was restarted holds
    the same alert after the next push; the end is told once, with the same start."""
    with monitoring(tmp_path, free_ports(2), []) as watching:
        watching.start_alertmanager()
        made = receiver(
            "name: one\nkind: alertmanager\nallow: [127.0.0.0/8]\nalertmanager:\n"
            f"  urls: ['http://127.0.0.1:{watching.alertmanager_port}']\n"
        )
        world = World()
        lane = AlertLane(made, Alertmanager(made), world.tools, MB)

        def push(**changes: object) -> None:
            world.at_ms = now_ms()

            async def once() -> None:
                times = {"expires_at": world.at_ms + 600_000}
                if changes:
                    record = recommendation(**{**facts, **times, **changes})
                    await lane.take(signed(record))
                await lane.step()
                assert lane.oldest_ms() is None

            asyncio.run(once())

        facts = {"episode_start_ms": now_ms() - 90_000}
        push(revision=1)
        push()
        until(lambda: bool(watching.receiver.about(ALERT)), what="it is told")
        (first,) = watching.alerts(ALERT)
        watching.stop_alertmanager()
        watching.start_alertmanager()
        push()
        (held,) = watching.alerts(ALERT)
        assert held["fingerprint"] == first["fingerprint"]
        assert held["startsAt"] == first["startsAt"]

        push(revision=2, state=RecommendationState.EXECUTED)
        push()
        until(lambda: len(watching.receiver.about(ALERT)) > 1, what="its end is told")
        told = [(state, one) for _, state, one in watching.receiver.about(ALERT)]
        assert [state for state, _ in told] == ["firing", "resolved"]
        assert told[0][1]["startsAt"] == told[1][1]["startsAt"]
        lane.actuator.close()
