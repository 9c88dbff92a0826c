"""Releases of the simulator's families as cases, harmless and bad."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from bench.quality.scoring import Truth
from detector.simulator import BAD, HARMLESS, Play, Scenario
from detector.simulator.lines import ARRIVAL_LAG_MS

SUITE = "simulator"
SERVICE = "shop"
SETTLING_MS = 15 * 60_000
"""Harm that began later than this before the end is not owed a decision."""

PLAIN = frozenset(
    {
        "stationary",
        "ramp",
        "daily",
        "waves",
        "rolling updates",
        "blue/green",
        "tiny",
        "improvement",
        "routes",
    }
)
"""Harmless families in which nothing happens but the rollout itself."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class SimulatedCase:
    """One release of a family, drawn from a seed and its number."""

    name: str
    number: int
    seed: int

    @property
    def family(self) -> str:
        """Name of the population it is drawn from."""
        return self.name

    def tell(self) -> tuple[Truth, Iterator[bytes]]:
        """Draw the release: its truth, and one line for each window's records."""
        family = (BAD | HARMLESS)[self.name]
        rng = np.random.default_rng(
            [self.seed, zlib.crc32(self.name.encode()), self.number]
        )
        scenario = family(rng)
        play = scenario.play(rng, SERVICE)
        lines = (_encode(records) for _, records in play.batches if records)
        return self._truth(scenario, play), lines

    def _truth(self, scenario: Scenario, play: Play) -> Truth:
        strata = scenario.service.strata
        whole = sum(s.share for s in strata)
        end_ms = int(play.window_ends_ms[-1]) + ARRIVAL_LAG_MS
        onset_ms = play.deploy_ms if play.onset_ms is None else play.onset_ms
        kind = "plain" if self.name in PLAIN else "trap"
        return Truth(
            case=f"{self.name} {self.number}",
            service=SERVICE,
            suite=SUITE,
            family=self.name,
            kind="bad" if play.is_bad else kind,
            release=scenario.service.candidate,
            is_bad=play.is_bad,
            is_decidable=play.onset_ms is not None and end_ms - onset_ms >= SETTLING_MS,
            has_exposure=play.is_bad,
            onset_ms=onset_ms,
            end_ms=end_ms,
            exposed_at_ms=tuple(play.window_ends_ms.tolist()),
            exposed=tuple(np.cumsum(play.affected).tolist()),
            segment={name: (value,) for name, value in play.segment.items()},
            cells=tuple(dict(s.attrs) for s in strata),
            cell_traffic=tuple(s.share / whole for s in strata),
        )


def simulated_cases(releases: int, seed: int) -> Iterator[SimulatedCase]:
    """So many releases of every family, harmless ones first.

    Parameters
    ----------
    releases : int
        Of each family.
    """
    for name in (*HARMLESS, *BAD):
        for number in range(releases):
            yield SimulatedCase(name, number, seed)
