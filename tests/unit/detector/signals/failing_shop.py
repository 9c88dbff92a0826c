"""A service whose failures have signatures, window by window, for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detector.catalogue import Hits
from detector.events import Deploy
from detector.findings import Finding
from detector.releases import Release
from detector.rulefile import BUILT_IN_RULE
from detector.scope import Scope, Track, Watch
from detector.sight import Sight
from detector.signals.oddclients import Aside, read_window, set_aside
from detector.signals.signatures import look
from detector.windows import Cell, OpenWindow

WIDTH_MS = 60_000
OLD, NEW = "1.0", "2.0"
SPLITS = (0.5, 0.3, 0.2)
BAD_RATE = 0.02
USUAL = {"Timeout at gateway": 0.7, "KeyError in cart": 0.3}


class Fault(NamedTuple):
    """Failures of the new release: users hit of those at risk, or at a fixed pace.

    ``share`` of the users of the strata, or ``pace`` extra users a window in the
    first of them, each with ``events`` failures.
    """

    name: str
    share: float = 0.0
    pace: float = 0.0
    events: float = 1.0
    strata: tuple[int, ...] = (0, 1, 2)


@dataclass
class Shop:
    """Users in three strata, an old release and a new one beside it."""

    seed: int
    share: Callable[[int], float] = lambda _: 0.25
    users: float = 1000.0
    faults: tuple[Fault, ...] = ()
    renamed: bool = False
    only_new: tuple[int, ...] = ()
    before: int = 60
    scope: Scope = field(init=False)
    watch: Watch = field(init=False)
    now: int = 0

    def __post_init__(self) -> None:
        """Run the old release alone, then deploy the new one."""
        self.draw = np.random.Generator(np.random.PCG64(self.seed))
        self.scope = Scope("shop", "production", WIDTH_MS)
        for number in range(len(SPLITS)):
            attrs = {"region": f"r{number}"}
            self.scope.strata.number(attrs, (("region", 8),), OLD)
        self.old = self.scope.registry.admit(OLD, 0)
        for _ in range(self.before):
            self.close({self.old.number: 1.0})
        deploy = Deploy(
            ts=self.now, service="shop", release=NEW, predecessor=OLD, strategy="canary"
        )
        self.new: Release = self.scope.registry.on_deploy(deploy)
        self.watch = Watch(
            release=NEW,
            tracks={"errors": Track(signal="errors", margin=1.25, share=1.0)},
            novelty=self.scope.catalogue.begin(self.new.number),
        )

    def close(self, shares: dict[int, float]) -> OpenWindow:
        """One window of traffic, closed."""
        self.now += WIDTH_MS
        window = OpenWindow(self.now)
        for release, share in shares.items():
            for stratum, split in enumerate(SPLITS):
                if release == self.old.number and stratum in self.only_new:
                    continue
                at_risk = float(self.draw.poisson(self.users * split * share))
                if at_risk:
                    self._fill(window.cell(release, stratum), release, stratum, at_risk)
        releases = self.scope.registry.candidates()
        self.scope.catalogue.close(read_window(window, releases), self.now)
        return window

    def _fill(self, cell: Cell, release: int, stratum: int, at_risk: float) -> None:
        fresh = release != self.old.number
        for name, part in USUAL.items():
            hit = float(self.draw.poisson(at_risk * BAD_RATE * part))
            self._hit(cell, f"{name} v2" if fresh and self.renamed else name, hit, 1.2)
        for fault in self.faults if fresh else ():
            if stratum in fault.strata:
                hit = float(self.draw.binomial(int(at_risk), fault.share))
                extra = 0.0
                if stratum == fault.strata[0]:
                    extra = float(self.draw.poisson(fault.pace))
                self._hit(cell, fault.name, hit + extra, fault.events)
                at_risk += extra
        cell.usage_lines += 1
        cell.users.usage_lines += 1
        cell.users.units += at_risk

    def _hit(self, cell: Cell, name: str, users: float, events: float) -> None:
        if not users:
            return
        cell.error_lines += 1
        cell.users.error_lines += 1
        cell.users.bad += users
        number = self.scope.catalogue.number(name, self.now)
        hits = cell.signatures.setdefault(number, Hits())
        hits.take(float(self.draw.poisson(users * (events - 1)) + users), users=users)

    def step(self) -> list[Finding]:
        """One window of both releases; what the signal says after it."""
        share = self.share((self.now - self.new.started_ms) // WIDTH_MS)
        window = self.close({self.old.number: 1.0 - share, self.new.number: share})
        aside = set_aside(self.scope.catalogue, self.new.number)
        sight = Sight(
            self.scope,
            self.watch,
            self.new,
            BUILT_IN_RULE,
            self.now,
            window,
            aside,
            {},
        )
        return look(sight)

    def run(self, windows: int) -> list[Finding]:
        """All findings that fired in so many windows."""
        return [f for _ in range(windows) for f in self.step() if f.fires]

    @property
    def aside(self) -> set[str]:
        """Names of what is set aside now."""
        found: Aside = set_aside(self.scope.catalogue, self.new.number)
        return {self.scope.catalogue.name(n) for s in found.values() for n in s}
