"""What `hypercare act` counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streams.actuators.parcel import State
from streams.metrictable import METRICS, PREFIX


class Queue(NamedTuple):
    """One receiver's queue as it stands."""

    receiver: str
    pending: int
    oldest_s: float
    is_disabled: bool


class Tally(Collector):
    """Counters of one process, and its queues as they stand.

    Parameters
    ----------
    queues : callable
        The queue of every receiver.
    is_active : callable
        Whether this process is the one that delivers.
    unknown_hooks : callable
        How many names of receivers rules asked for that nobody has.
    """

    def __init__(
        self,
        queues: Callable[[], Iterable[Queue]] = tuple,
        is_active: Callable[[], bool] = bool,
        unknown_hooks: Callable[[], int] = int,
    ) -> None:
        self.queues, self.is_active = queues, is_active
        self.unknown_hooks = unknown_hooks
        self._deliveries = _counter("deliveries_total")
        self._executions = _counter("receiver_actions_total")
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def delivered(self, receiver: str, state: State) -> None:
        """Count a delivery that is over."""
        self._deliveries.labels(receiver, state.value).inc()

    def executed(self, actuator: str, outcome: str) -> None:
        """Count an action that was carried out, or was not."""
        self._executions.labels(actuator, outcome).inc()

    def collect(self) -> Iterator[Metric]:
        """Everything, for prometheus_client."""
        yield from self._deliveries.collect()
        yield from self._executions.collect()
        pending, age, off = (
            _gauge(name)
            for name in (
                "delivery_pending",
                "delivery_oldest_seconds",
                "delivery_disabled",
            )
        )
        for one in self.queues():
            pending.add_metric([one.receiver], one.pending)
            age.add_metric([one.receiver], one.oldest_s)
            off.add_metric([one.receiver], float(one.is_disabled))
        active = _gauge("act_active")
        active.add_metric([], float(self.is_active()))
        unknown = _gauge("act_unknown_hooks")
        unknown.add_metric([], self.unknown_hooks())
        yield from (pending, age, off, active, unknown)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type


def _counter(name: str) -> Counter:
    row = METRICS[name]
    name = (PREFIX + name).removesuffix("_total")
    return Counter(name, row.help, row.labels, registry=None)


def _gauge(name: str) -> GaugeMetricFamily:
    row = METRICS[name]
    return GaugeMetricFamily(PREFIX + name, row.help, labels=row.labels)
