"""A simulated shop that sends its events to the ingress topics, in real time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaProducer

from detector.simulate import Record, Shop, ramp
from streams.cli.produce import INGRESS_OF_KIND
from streams.greeting import open_client
from streams.settings import Settings
from streams.wallclock import now_ms

DEPLOY_AT_S = 10
HARM_AT_S = 15
HARM_RATIO = 8.0
CANDIDATE_SHARE = 0.3
SESSIONS_PER_S = 200.0
SEED = 7


def demo_shop() -> Shop:
    """A shop whose release 2.4.0 fails eight times as often on Android in the EU."""
    return Shop(
        window_s=1,
        sessions_per_window=SESSIONS_PER_S,
        error_rate=0.02,
        weight=ramp([(DEPLOY_AT_S, CANDIDATE_SHARE)]),
        harm=lambda second: HARM_RATIO if second >= HARM_AT_S else 1.0,
        harm_segment=(("os", "android"), ("region", "eu")),
    )


class ShopTraffic(threading.Thread):
    """Sends one second of events a second until it is told to stop.

    Parameters
    ----------
    tell : callable
        Gets a sentence when something happens in the shop: ``tell(second, text)``.
    """

    def __init__(self, settings: Settings, tell: Callable[[int, str], None]) -> None:
        super().__init__(name="shop", daemon=True)
        self._settings = settings
        self._tell = tell
        self._stop_asked = threading.Event()
        self.problem: Exception | None = None

    def stop(self) -> None:
        """Send nothing more."""
        self._stop_asked.set()

    def run(self) -> None:
        """Send until stopped; a failure is kept for whoever joins."""
        try:
            self._send_all()
        except Exception as error:  # noqa: BLE001 - shown by the thread that waits
            self.problem = error

    def _send_all(self) -> None:
        producer: Any = open_client(
            self._settings, KafkaProducer, "shop", acks="all", linger_ms=20
        )
        shop = demo_shop()
        rng = np.random.default_rng(SEED)
        start_ms = now_ms()
        second = 0
        try:
            while not self._stop_asked.is_set():
                ts = start_ms + second * 1000
                self._announce(shop, second)
                if second == DEPLOY_AT_S:
                    self._send(producer, shop.deploy(ts, CANDIDATE_SHARE, "started"))
                for record in shop.events(rng, ts, second):
                    self._send(producer, record)
                producer.flush(timeout=10)
                second += 1
                wait_ms = start_ms + second * 1000 - now_ms()
                self._stop_asked.wait(max(0, wait_ms) / 1000)
        finally:
            producer.close(timeout=5)

    def _send(self, producer: Any, record: Record) -> None:
        record = {k: v for k, v in record.items() if k != "received_at"}
        topic = self._settings.topic(INGRESS_OF_KIND[record["kind"]])
        key = record["service"].encode()
        producer.send(topic, msgspec.json.encode(record), key=key)

    def _announce(self, shop: Shop, second: int) -> None:
        if second == 0:
            who = f"{shop.service} {shop.baseline}"
            load = f"{SESSIONS_PER_S:.0f} sessions/s"
            self._tell(second, f"{who} serves {load}, 2 in 100 fail")
        elif second == DEPLOY_AT_S:
            self._tell(
                second, f"deploy: {shop.candidate} gets {CANDIDATE_SHARE:.0%} of them"
            )
        elif second == HARM_AT_S:
            self._tell(
                second,
                f"(behind the scenes: {shop.candidate} begins to fail "
                f"{HARM_RATIO:.0f} times as often on Android in the EU)",
            )
