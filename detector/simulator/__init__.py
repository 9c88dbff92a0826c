"""Seeded releases of simulated services, harmless and bad, with the truth beside.

`Scenario` = service + rollout + effects; `families` names populations of them,
`trials` runs them through the core.
"""

from detector.simulator.families import BAD, HARMLESS
from detector.simulator.fleets import fleet
from detector.simulator.scenario import Play, Scenario
from detector.simulator.service import Service
from detector.simulator.trials import Fate, run_scenarios

__all__ = [
    "BAD",
    "HARMLESS",
    "Fate",
    "Play",
    "Scenario",
    "Service",
    "fleet",
    "run_scenarios",
]
