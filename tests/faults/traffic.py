"""The seeded sender: one bad release, nine healthy ones, and what the broker took.

Every event has an id, so that copies can be told from more of the same. An event
counts as sent when it is handed to the producer and as acknowledged when all in-sync
replicas have it; between the two nobody can promise anything.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from detector.simulate import Record, Shop, burst, ramp
from streams.topics import LOG
from streams.wallclock import now_ms
from tests.faults.history import History
from tests.integration.detecting import START_MS, DetectorStage

BAD = "shop-bad"
HEALTHY = tuple(f"shop-well-{n}" for n in range(9))
BESIDE = "beside"
"""Mark of a record that nobody may count: too late, or from the future."""

INGRESS_OF_KIND = {"usage": "usage", "error": "errors", "deploy": "deploys"}

RULES = """\
version: 1
rules:
  - name: faults
    window_s: {self.window_s}
    grace_s: {self.grace_s}
    persistence_s: {self.persistence_s}
    strata: [{{attr: os}}, {{attr: region}}]
end_of_rules: true
"""

Change = Callable[[int, list[Record]], list[Record]]
"""Changes the records of a window before they are sent."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is sent, how fast, and by which way into the log.

    Attributes
    ----------
    windows : int
        How many windows each service sends.
    pace_s : float
        Time between two windows; with ``live`` it is the windows' own length.
    live : bool
        Events carry the time of day, and workers tick; otherwise they lie in the
        past and event time runs faster than the clock.
    ingress : bool
        Through the ingress topics and not straight into the log.
    parts : int
        Senders among which every count is shared out: more events, same sums.
    """

    seed: int
    windows: int = 130
    window_s: int = 10
    pace_s: float = 0.06
    live: bool = False
    ingress: bool = False
    parts: int = 1
    sessions: float = 800.0
    deploy_at: int = 20
    harm_at: int = 40
    harm: float = 6.0
    grace_s: int = 30
    persistence_s: int = 60

    @property
    def rules(self) -> str:
        """The rule file of the workers."""
        return RULES.format(self=self)

    @property
    def settled_ms(self) -> int:
        """How far behind the last window the last verdict may stay."""
        return (self.grace_s + 2 * self.window_s) * 1000

    def shops(self) -> list[Shop]:
        """The services."""
        weight = ramp([(self.deploy_at, 0.3)])
        common: dict[str, Any] = {
            "window_s": self.window_s,
            "weight": weight,
            "sessions_per_window": self.sessions,
        }
        bad = Shop(
            service=BAD,
            harm=burst(self.harm_at, 10**9, self.harm),
            harm_segment=(("os", "android"),),
            **common,
        )
        return [bad, *(Shop(service=name, **common) for name in HEALTHY)]

    def records(self, start_ms: int) -> Iterator[list[Record]]:
        """All records of one window after the other, each under its own id."""
        rng = np.random.default_rng(self.seed)
        streams = [s.windows(rng, start_ms, self.windows) for s in self.shops()]
        number = 0
        for group in zip(*streams, strict=True):
            window = []
            for record in (r for records in group for r in records):
                for part in range(1 if record["kind"] == "deploy" else self.parts):
                    window.append(self._part(record, part, number))
                    number += 1
            yield window

    def _part(self, record: Record, part: int, number: int) -> Record:
        made = {k: v for k, v in record.items() if k not in ("seq", "received_at")}
        if record["kind"] != "deploy":
            made["id"] = f"e{number}"
            made["sender"] = f"edge-{part}"
            for name in ("sessions", "count"):
                made[name] = _share(record[name], part, self.parts)
        return made


def _share(total: int, part: int, parts: int) -> int:
    return total * (part + 1) // parts - total * part // parts


class Traffic:
    """Sends a plan in a thread of its own and notes what became of it."""

    def __init__(
        self,
        made: DetectorStage,
        plan: Plan,
        history: History,
        change: Change = lambda _, records: records,
    ) -> None:
        self.window = 0
        self.sent_until_ms = 0
        self.error: BaseException | None = None
        self._made, self._plan, self._history = made, plan, history
        self._change = change
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        width_ms = plan.window_s * 1000
        now_or_then = now_ms() if plan.live else START_MS
        self.start_ms = now_or_then // width_ms * width_ms

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_over(self) -> bool:
        """Whether no more will be sent."""
        return self._stopped.is_set() or self.error is not None

    def join(self) -> None:
        """Wait until everything is sent."""
        self._thread.join()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        self.join()

    def _run(self) -> None:
        try:
            producer = self._made.producer()
            try:
                for index, records in enumerate(self._plan.records(self.start_ms)):
                    if self._stopped.wait(self._wait_s(index)):
                        break
                    self.send(producer, self._change(index, records))
                    self.window = index + 1
                    width_ms = self._plan.window_s * 1000
                    self.sent_until_ms = self.start_ms + self.window * width_ms
                producer.flush()
            finally:
                producer.close()
        except BaseException as error:
            self.error = error
            raise

    def _wait_s(self, index: int) -> float:
        if not self._plan.live:
            return self._plan.pace_s
        end_ms = self.start_ms + (index + 1) * self._plan.window_s * 1000
        return max(0.0, (end_ms - now_ms()) / 1000)

    def send(self, producer: Any, records: list[Record]) -> None:
        """Send records by the way of the plan."""
        if self._plan.ingress:
            for record in records:
                topic = INGRESS_OF_KIND[record["kind"]]
                self._send(producer, topic, [record], False)
            return
        by_service: dict[str, list[Record]] = {}
        for record in records:
            by_service.setdefault(record["service"], []).append(record)
        for group in by_service.values():
            self._send(producer, LOG, group, True)

    def _send(
        self, producer: Any, name: str, group: list[Record], is_array: bool
    ) -> None:
        bare = [{k: v for k, v in r.items() if k != BESIDE} for r in group]
        value = msgspec.json.encode(bare if is_array else bare[0])
        events = [
            (r["id"], r["service"], r["release"], units_of(r))
            for r in group
            if r["kind"] != "deploy" and BESIDE not in r
        ]
        topic, key = self._made.settings.topic(name), group[0]["service"].encode()
        self._history.note("sent", events=events)
        future = producer.send(topic, value, key=key)
        future.add_callback(
            lambda place: self._history.note(
                *("acked",),
                topic=name,
                partition=place.partition,
                offset=place.offset,
                events=events,
            )
        )
        future.add_errback(
            lambda error: self._history.note("refused", topic=name, error=repr(error))
        )


def units_of(record: Record) -> int:
    """How many units of a release an event adds; errors add failures only."""
    return int(record["count"]) if record["kind"] == "usage" else 0


def seeded(seed: int, *words: object) -> random.Random:
    """Chance for one purpose of a run, the same in every run of that seed."""
    return random.Random(f"{seed} {' '.join(map(str, words))}")
