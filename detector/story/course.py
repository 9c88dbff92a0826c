"""How the evidence about one release went, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

from detector.audit import Audited
from detector.engine import Partition
from detector.records import LogRecord
from detector.reproduce import Rerun
from detector.view import release_views
from detector.wire import scope_name

LOOK_MS = 10_000
"""Live, records that came within this time belong to a window or two."""

LOOKS_MOST = 50
"""Looks among records that came together: many windows, where a log was written faster
than life."""


class Point(NamedTuple):
    """One signal about a release, up to the end of a window.

    ``log_e`` is the natural logarithm of the evidence, ``ratio`` candidate / control as
    (low, best, high); units and failed ones count since the deploy.
    """

    at_ms: int
    signal: str
    log_e: float
    ratio: tuple[float, float, float]
    units: float
    bad: float
    units_control: float
    bad_control: float


def points_of(partition: Partition, about: str) -> list[Point]:
    """What each signal says about a release now; nothing if it is not judged."""
    service = about.partition("/")[0]
    for view in release_views(partition, service):
        name = scope_name(view.service, view.environment, view.release, view.component)
        if name == about and view.evaluated_ms is not None:
            return [
                Point(
                    view.evaluated_ms, s.signal, s.log_e, s.rate_ratio,
                    s.units, s.bad, s.units_control, s.bad_control,
                )
                for s in view.signals
            ]  # fmt: skip
    return []


@dataclass
class Watched:
    """A partition that is run again, with a look at one release after each window.

    Attributes
    ----------
    rerun : Rerun
        Before its first record.
    about : str
        service/environment/release[/component].
    points : list of Point
        What was seen, in order.
    is_over : bool
        It was judged once, and no longer is.
    """

    rerun: Rerun
    about: str
    points: list[Point] = field(default_factory=list)
    is_over: bool = False
    _looked_ms: int = -1

    @property
    def said(self) -> list[Audited]:
        """What the partition said."""
        return self.rerun.said

    @property
    def _service(self) -> str:
        return self.about.partition("/")[0]

    def feed(self, records: Sequence[LogRecord]) -> None:
        """Apply records of the log in their order."""
        for batch in _batches(records, self._service.encode()):
            self.rerun.feed(batch)
            closed_ms = self._closed_ms()
            if closed_ms == self._looked_ms:
                continue
            self._looked_ms = closed_ms
            now = points_of(self.rerun.partition, self.about)
            self.is_over = bool(self.points) and not now
            if now and (not self.points or now[0].at_ms > self.points[-1].at_ms):
                self.points += now

    def _closed_ms(self) -> int:
        """Up to which time its service has been judged."""
        scopes = self.rerun.partition.scopes.values()
        ends = (s.closed_until_ms for s in scopes if s.service == self._service)
        return max(ends, default=-1)

    def alpha_of(self, rule: str) -> float | None:
        """The budget of a rule in force; None if no rule is called so."""
        rules = self.rerun.partition.rulebook.default.rules
        return next((one.alpha for one in rules if one.name == rule), None)


def _batches(records: Iterable[LogRecord], service: bytes) -> Iterator[list[LogRecord]]:
    """Records that are applied together: a service's own ones close its windows."""
    for _, several in groupby(records, lambda r: r.timestamp_ms // LOOK_MS):
        together = list(several)
        own = [n for n, r in enumerate(together, 1) if r.key == service]
        ends = own[:: 1 + len(own) // LOOKS_MOST]
        for begin, end in pairwise([0, *ends, len(together)]):
            if begin < end:
                yield together[begin:end]
