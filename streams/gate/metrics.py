"""Metrics of the gates: what was asked, and what the topic of claims tells.

There is no ``build_info`` here: the alert on absent workers would take a gate for one.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from acting.figures import (
    budget_left,
    drills,
    modes,
    ping_pong,
    waits_for_person,
)
from acting.known import Known, LeaseState
from streams.errors import Unreachable
from streams.families import Families
from streams.gate.judging import Judge

ACTUATOR = re.compile(r"([a-z][a-z-]{0,19}) ")
OTHER = "job"
"""Who claims under a name without a kind in front: jobs and people."""

PLACES_MAX = 1_000


class Watched(Protocol):
    """A file that is read again when it changes."""

    @property
    def is_current(self) -> bool:
        """Whether the file as it is now is in force."""


class GateMetrics(Collector):
    """All metrics of one gate.

    Parameters
    ----------
    judge : Judge
        Whose claims and recommendations are counted.
    now_ms : callable
        Wall clock.

    Attributes
    ----------
    files : dict of str to Watched
        Files that the gate reads again, by what they hold.
    requests : Counter
        By protocol and what was heard.
    """

    def __init__(self, judge: Judge, *, now_ms: Callable[[], int]) -> None:
        self._judge = judge
        self._now_ms = now_ms
        self.files: Mapping[str, Watched] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self._ended: dict[str, LeaseState] = {}
        self._executions: Counter[tuple[str, str]] = Counter()
        self._families = Families()
        self._one_at_a_time = asyncio.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count(self, protocol: str, answer: str) -> None:
        """Note a request and what it heard."""
        self.requests[protocol, answer] += 1

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page as of now, and its content type.

        While Kafka is away what was read before is shown: a kill switch that was on
        must not seem to go off.
        """
        encoder, content_type = choose_encoder(accept)
        async with self._one_at_a_time:
            with suppress(Unreachable):
                await self._judge.ledger()
            self._families = self._taken()
            return encoder(self._registry), content_type

    def collect(self) -> Iterator[Family]:
        """Families of the newest page, for prometheus_client."""
        yield from self._families

    def _taken(self) -> Families:
        made, known = Families(), self._judge.known_claims
        for place, number in self.requests.items():
            made.put("gate_requests_total", place, number)
        is_stopped = known.stopped is not None or self._judge.is_stopped_here
        made.put("kill_switch_engaged", (), is_stopped)
        for name, file in self.files.items():
            made.put("gate_file_last_reload_successful", (name,), file.is_current)
        self._count_ends(known)
        for place, number in self._executions.items():
            made.put("executions_total", place, number)
        for service, frozen in sorted(ping_pong(known).items())[:PLACES_MAX]:
            made.put("ping_pong_frozen", (service,), frozen)
        for way, at_ms in drills(known).items():
            made.put("drill_last_success_timestamp_seconds", (way,), at_ms / 1000)
        now_ms = self._now_ms()
        left = budget_left(known, now_ms)
        for place in sorted(left, key=lambda one: (left[one], one))[:PLACES_MAX]:
            made.put("action_budget_remaining", place, left[place])
        self._put_recommended(made, known, now_ms)
        return made

    def _put_recommended(self, made: Families, known: Known, now_ms: int) -> None:
        records = [one.record for one in self._judge.board.recommendations()]
        for one in records[:PLACES_MAX]:
            place = one.service, one.environment, one.release
            waits = waits_for_person(known, one, now_ms)
            waiting_s = max(0, now_ms - one.episode_start_ms) / 1000 if waits else 0.0
            made.put("approval_waiting_seconds", place, waiting_s)
        for service, mode in sorted(modes(known, records).items())[:PLACES_MAX]:
            made.put("mode_info", (service, mode.value), 1)

    def _count_ends(self, known: Known) -> None:
        """Each end once, though the ledger forgets leases after days."""
        present = {lease.token: lease for lease in known.leases.values()}
        for token, lease in present.items():
            if lease.state is LeaseState.HELD or self._ended.get(token) is lease.state:
                continue
            self._ended[token] = lease.state
            kind = ACTUATOR.match(lease.holder)
            actuator = kind.group(1) if kind else OTHER
            self._executions[actuator, lease.state.value] += 1
        self._ended = {t: s for t, s in self._ended.items() if t in present}
