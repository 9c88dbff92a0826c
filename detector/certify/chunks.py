"""Pieces of a certificate: so many releases of one kind, each with its own seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from detector.certify.splitting import History, block_of
from detector.replay import Replay
from detector.rulefile import RuleSet
from detector.simulator import HARMLESS, Scenario, Service, run_scenarios
from detector.simulator.harms import MoreErrors
from detector.simulator.rollout import ab_test
from detector.simulator.trials import TAKING_BACK
from detector.verdicts import RecommendationRecord, RecommendationState
from detector.wire import RECOMMENDATIONS

CHUNK = 50
"""Releases of a piece: what is lost at most when a run is interrupted."""

SPLIT_CHUNK = 5
"""The same where each release is hours of recorded lines."""

NULL, BAD, SPLIT = "harmless", "bad", "split"

RATIOS = (1.5, 2.0, 4.0, 10.0)
SHARES = (0.05, 0.25, 0.5)
SESSIONS_PER_MIN = (200.0, 2000.0)
BAD_MINUTES = 120.0
BATCH = 100

_recommendation = msgspec.json.Decoder(RecommendationRecord)


class Chunk(NamedTuple):
    """What is to be run: ``size`` releases of a kind from number ``first`` on.

    ``family`` names a population of the simulator, or the bad cell as
    ``ratio/share/sessions a minute``.
    """

    kind: str
    family: str
    first: int
    size: int


class Outcome(Struct, frozen=True):
    """What became of a chunk's releases.

    ``minutes`` has the delay of each that was taken back, from its deploy on;
    ``reasons`` those of the wrong ones; ``commit`` names the code that ran.
    """

    kind: str
    family: str
    first: int
    size: int
    taken_back: int
    minutes: list[float]
    reasons: list[str]
    took_s: float = 0.0
    commit: str = ""

    @property
    def chunk(self) -> Chunk:
        """The chunk it is of."""
        return Chunk(self.kind, self.family, self.first, self.size)


def chunks(
    releases: int, bad_releases: int, *, families: tuple[str, ...] = (), split: bool
) -> Iterator[Chunk]:
    """All pieces of a run, harmless families in turn, then bad cells in turn.

    A run that is cut short has as much of each family. ``split`` stands for history
    in place of the simulator.
    """
    names = ("history",) if split else families or tuple(HARMLESS)
    yield from _in_turn(SPLIT if split else NULL, names, releases)
    if split:
        return
    cells = [
        f"{ratio:g}/{share:g}/{sessions:g}"
        for sessions in SESSIONS_PER_MIN
        for share in SHARES
        for ratio in RATIOS
    ]
    yield from _in_turn(BAD, tuple(cells), bad_releases * len(cells))


def _in_turn(kind: str, names: tuple[str, ...], total: int) -> Iterator[Chunk]:
    """``total`` releases over the names, alike but for rounding."""
    own = {
        name: total // len(names) + (i < total % len(names))
        for i, name in enumerate(names)
    }
    length = SPLIT_CHUNK if kind == SPLIT else CHUNK
    for first in range(0, max(own.values(), default=0), length):
        for name in names:
            size = min(length, own[name] - first)
            if size > 0:
                yield Chunk(kind, name, first, size)


def done(
    chunk: Chunk, rules: RuleSet, seed: int, history: History | None = None
) -> Outcome:
    """Run a chunk through the whole core; the same again whatever runs beside it."""
    if chunk.kind == SPLIT:
        assert history is not None
        return _split(chunk, rules, seed, history)
    numbers = range(chunk.first, chunk.first + chunk.size)
    if chunk.kind == BAD:
        scenarios = [bad_scenario(chunk.family)] * chunk.size
    else:
        make = HARMLESS[chunk.family]
        scenarios = [make(np.random.default_rng([seed, i, 1])) for i in numbers]
    fates = run_scenarios(scenarios, rules, seed=seed, first=chunk.first)
    taken = [f for f in fates if f.decided_ms is not None]
    return Outcome(
        *chunk,
        taken_back=len(taken),
        minutes=[
            round((f.decided_ms - f.deploy_ms) / 60_000, 3)
            for f in taken
            if f.decided_ms is not None
        ],
        reasons=[" ".join(f.reasons) for f in taken] if chunk.kind == NULL else [],
    )


def bad_scenario(family: str) -> Scenario:
    """A release that fails more often in every segment, without any wander."""
    ratio, share, sessions = map(float, family.split("/"))
    return Scenario(
        family,
        Service(sessions_per_min=sessions),
        ab_test(share),
        (MoreErrors(ratio),),
        post_min=BAD_MINUTES,
    )


def _split(chunk: Chunk, rules: RuleSet, seed: int, history: History) -> Outcome:
    minutes, reasons = [], []
    for number in range(chunk.first, chunk.first + chunk.size):
        block = block_of(history, np.random.default_rng([seed, number]))
        run = Replay(rules)
        found = None
        for low in range(0, len(block.lines), BATCH):
            records = run.records(block.lines[low : low + BATCH])
            for output in run.partition.apply(records).records:
                if output.topic == RECOMMENDATIONS and found is None:
                    told = _recommendation.decode(output.value)
                    acts = told.action in TAKING_BACK and told.release == block.release
                    if acts and told.state is RecommendationState.OPEN:
                        found = told
            if found is not None:
                break
        if found is not None:
            minutes.append(round((found.decided_at - block.deploy_ms) / 60_000, 3))
            reasons.append(" ".join(found.reasons))
    return Outcome(*chunk, taken_back=len(minutes), minutes=minutes, reasons=reasons)
