"""One small busy release and what to read off its records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from detector.simulator import Scenario, Service, harms
from detector.simulator.lines import Record
from detector.simulator.rollout import ab_test

OLD, NEW = "2.3.1", "2.4.0"
BUSY = Scenario("busy", Service(1000.0), ab_test(), past_min=5, post_min=30)


def with_effects(*effects: harms.Effect, **changes: Any) -> Scenario:
    """A small busy scenario under some effects, its service changed."""
    return replace(BUSY, service=replace(BUSY.service, **changes), effects=effects)


def lines(scenario: Scenario, seed: int = 1) -> list[Record]:
    """All records of a play in order of arrival."""
    play = scenario.play(np.random.default_rng(seed))
    return [record for _, batch in play.batches for record in batch]


def total(
    records: Iterable[Record],
    field: str,
    kind: str,
    release: str = NEW,
    where: Callable[[Record], bool] = lambda _: True,
) -> float:
    """Sum of a field over the lines of a kind and release."""
    return float(
        sum(
            r[field]
            for r in records
            if r["kind"] == kind and r["release"] == release and where(r)
        )
    )


def rate(records: list[Record], release: str = NEW, **keep: str) -> float:
    """Failed sessions per session, inside some attributes."""

    def inside(record: Record) -> bool:
        return bool(keep.items() <= record["attrs"].items())

    bad = total(records, "sessions", "error", release, inside)
    return bad / total(records, "sessions", "usage", release, inside)


def identity(record: Record) -> tuple[str, int, int]:
    """By what a repeated line is recognised."""
    return record["sender"], record["ts"], record["seq"]


def content(record: Record) -> str:
    """A record without its arrival."""
    return json.dumps({k: v for k, v in record.items() if k != "received_at"})
