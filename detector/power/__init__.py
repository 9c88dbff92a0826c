"""Which harm is found in this traffic, how soon, and with what probability.

`Traffic` says what a service looks like, `simulate` draws releases of it through the
evidence that runs live, `plan` answers for a grid of effects and shares.
"""

from detector.power.answers import Answer, Smallest, plan, smallest, under_way
from detector.power.learn import Begun, begun_of, learn
from detector.power.simulate import Cell, Fates, Pipeline, simulate
from detector.power.traffic import Part, Traffic, errors_share, plain_traffic

__all__ = [
    "Answer",
    "Begun",
    "Cell",
    "Fates",
    "Part",
    "Pipeline",
    "Smallest",
    "Traffic",
    "begun_of",
    "errors_share",
    "learn",
    "plain_traffic",
    "plan",
    "simulate",
    "smallest",
    "under_way",
]
