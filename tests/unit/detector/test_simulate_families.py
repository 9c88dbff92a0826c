"""Families of simulated releases: valid, seeded, and with the truth beside."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from detector.decode import decode
from detector.records import Rejected
from detector.simulator import BAD, HARMLESS, fleet
from tests.unit.detector.simulated import lines

FAMILIES = HARMLESS | BAD


@pytest.mark.parametrize("family", FAMILIES)
def test_families_speak_the_envelope(family: str) -> None:
    """Every record of every family passes the decoder of the log."""
    scenario = FAMILIES[family](np.random.default_rng(3))
    short = replace(scenario, past_min=60, post_min=60)
    for _, batch in short.play(np.random.default_rng(4)).batches:
        found = decode(json.dumps(batch).encode()) if batch else []
        assert not [item for item in found if isinstance(item, Rejected)]


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_records(family: str) -> None:
    """A family and a play draw from the generators they are given alone."""
    plays = []
    for _ in range(2):
        scenario = FAMILIES[family](np.random.default_rng(5))
        plays.append(lines(replace(scenario, past_min=30, post_min=30), seed=6))
    assert plays[0] == plays[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_truth_says_who_is_bad(family: str) -> None:
    """Bad families name a kind of harm and affected sessions, harmless ones none."""
    scenario = FAMILIES[family](np.random.default_rng(7))
    play = scenario.play(np.random.default_rng(8))
    assert play.is_bad == (family in BAD)
    assert bool(play.affected.sum() > 0) == (family in BAD)
    assert play.onset_ms is None or play.onset_ms >= play.deploy_ms


def test_fleet_has_its_share_of_bad() -> None:
    """A fleet holds all families and as many bad releases as asked."""
    found = fleet(np.random.default_rng(1), 200, bad_share=0.2)
    names = [scenario.family for scenario in found]
    assert len(found) == 200
    assert sum(name in BAD for name in names) == 40
    assert set(names) == set(FAMILIES)
