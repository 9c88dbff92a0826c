"""What must hold for decisions of whole rollouts, whichever procedure reaches them.

Simulated rollouts of every kind - with segments, a past, waves, late crashes, durations
and new signatures - are disturbed in ways that must not be seen.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasketches import hll_sketch

from detector import state
from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.rulefile import load_rules
from detector.simulator import harms
from detector.simulator.families import BAD, HARMLESS
from detector.simulator.rollout import Rolling, ab_test, blue_green
from detector.simulator.scenario import START_MS, Scenario
from detector.simulator.service import FeedbackShape, LatencyShape, Service, Stratum
from tests.unit.detector.traffic import Event, recommendations, said

SHIPPED = Path(__file__).parents[2] / "rules" / "default.yaml"
BOOK = load_rules(SHIPPED.read_text(encoding="utf-8"), source=str(SHIPPED))

WORLD = (
    Stratum((("os", "android"), ("region", "eu")), 0.4),
    Stratum((("os", "android"), ("region", "us")), 0.2),
    Stratum((("os", "ios"), ("region", "eu")), 0.2),
    Stratum((("os", "ios"), ("region", "us")), 0.2),
)
SHOP = Service(sessions_per_min=2000.0, strata=WORLD)
OLD, NEW = SHOP.olds[0][0], SHOP.candidate
ANDROID = (("os", "android"),)

Batch = tuple[int, list[Event]]


def past_of(service: Service, *effects: harms.Effect, **more: Any) -> Scenario:
    """A rolling update after half a day in windows of five minutes."""
    changed = replace(service, window_s=300, daily_errors=0.2)
    lengths = {"past_min": 12 * 60, "post_min": 180, "rollout": Rolling(), **more}
    return Scenario("past", changed, effects=effects, **lengths)


KINDS: dict[str, Callable[[np.random.Generator], Scenario]] = {
    "segment": lambda rng: Scenario(
        "segment",
        SHOP,
        effects=(harms.MoreErrors(4.0, segment=ANDROID),),
        post_min=80,
    ),
    "latency": lambda rng: Scenario(
        "latency",
        replace(SHOP, latency=LatencyShape()),
        effects=(harms.Slower(1.5),),
        post_min=60,
    ),
    "signature": BAD["signature"],
    "past": lambda rng: past_of(SHOP, harms.MoreErrors(3.0, after_min=30)),
    "slower past": lambda rng: past_of(
        replace(SHOP, latency=LatencyShape(), strata=WORLD[:2]), harms.Slower(1.6)
    ),
    "waves": lambda rng: replace(BAD["bad waves"](rng), past_min=720, post_min=300),
    "launches": lambda rng: replace(
        BAD["bad launches"](rng), past_min=720, post_min=360
    ),
    "sampled": BAD["bad sampled"],
    "senders": BAD["bad senders"],
    "bots": HARMLESS["bots"],
}
"""Rollouts in which different procedures have the say."""


def batches(scenario: Scenario, seed: int) -> list[Batch]:
    """Arrival time and events of each window of one draw."""
    play = scenario.play(np.random.default_rng(seed))
    return [(at_ms, list(events)) for at_ms, events in play.batches]


@cache
def drawn(kind: str) -> tuple[Batch, ...]:
    """One draw of a kind of rollout."""
    scenario = KINDS[kind](np.random.default_rng(11))
    return tuple(batches(scenario, 12))


def records(parts: Iterable[Batch]) -> list[LogRecord]:
    """A record a window, in order."""
    return [
        LogRecord(offset, at_ms, b"shop", json.dumps(events).encode())
        for offset, (at_ms, events) in enumerate(parts)
        if events
    ]


def run(parts: Iterable[Batch]) -> list[Output]:
    """What a fresh partition with the shipped rules says to all of it."""
    return Partition(0, BOOK).apply(records(parts)).records


@cache
def undisturbed(kind: str) -> tuple[Output, ...]:
    """What is said to a rollout as it was drawn."""
    return tuple(run(drawn(kind)))


def taken_back(outputs: Iterable[Output]) -> bool:
    """Whether somebody was told to take the release back."""
    return any(r["action"] == "rollback" for r in recommendations(outputs))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"bots"}))
def test_kinds_are_eventful(kind: str) -> None:
    """Every rollout that the tests disturb ends in a recommendation or so."""
    words = {v["verdict"] for v in said(undisturbed(kind), "verdicts")}
    assert len(words) + len(recommendations(undisturbed(kind))) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_restores_are_unseen(kind: str) -> None:
    """Snapshots and restores at a dozen moments change no byte."""
    rng = random.Random(kind)
    log = records(drawn(kind))
    moments = set(rng.sample(range(len(log)), 12))
    partition = Partition(0, BOOK)
    found: list[Output] = []
    for index, record in enumerate(log):
        found += partition.apply([record]).records
        if index in moments:
            blocks = state.all_blocks(partition)
            partition = state.restore(0, blocks, partition.next_offset)
    assert found == list(undisturbed(kind))


@pytest.mark.parametrize("kind", ["segment", "past", "waves", "launches", "signature"])
def test_dirty_blocks_restore_alike(kind: str) -> None:
    """Blocks gathered as they changed restore to a partition that goes on alike."""
    rng = random.Random(kind)
    partition, shards = Partition(0, BOOK), state.all_blocks(Partition(0, BOOK))
    found: list[Output] = []
    for record in records(drawn(kind)):
        found += partition.apply([record]).records
        if rng.random() > 0.2:
            continue
        for name, block in state.dirty_blocks(partition).items():
            if block is None:
                shards.pop(name, None)
            else:
                shards[name] = block
        state.mark_clean(partition)
        if rng.random() < 0.2:
            partition = state.restore(0, shards, partition.next_offset)
    assert found == list(undisturbed(kind))


@pytest.mark.parametrize("kind", ["past", "waves", "launches", "bots"])
def test_batches_are_unseen(kind: str) -> None:
    """Record by record the same bytes come out as all at once."""
    partition = Partition(0, BOOK)
    found = [o for r in records(drawn(kind)) for o in partition.apply([r]).records]
    assert found == list(undisturbed(kind))


def shuffled(parts: Iterable[Batch], seed: int) -> list[Batch]:
    """Telemetry of each window in another order; what is deployed stays first.

    The first window stays as it is: there usage tells the service's attributes.
    """
    rng = random.Random(seed)
    mixed, later = [], list(parts)
    mixed.append(later.pop(0))
    for at_ms, events in later:
        deploys = [e for e in events if e["kind"] == "deploy"]
        others = [e for e in events if e["kind"] != "deploy"]
        rng.shuffle(others)
        mixed.append((at_ms, [*deploys, *others]))
    return mixed


@pytest.mark.parametrize("kind", KINDS)
def test_order_in_window_is_irrelevant(kind: str) -> None:
    """Whatever comes first within its window, the same bytes are said."""
    outputs = run(shuffled(drawn(kind), 1))
    assert values(outputs) == values(undisturbed(kind))


def values(outputs: Iterable[Output]) -> list[dict[str, Any]]:
    """What was said, decoded."""
    return [json.loads(o.value) for o in outputs if o.topic != "deadletter"]


HARMS: dict[str, tuple[Service, harms.Effect]] = {
    "errors": (SHOP, harms.MoreErrors(4.0)),
    "segment": (SHOP, harms.MoreErrors(6.0, segment=ANDROID)),
    "latency": (replace(SHOP, latency=LatencyShape()), harms.Slower(1.8)),
    "usage": (SHOP, harms.LessUse(0.4)),
    "steps": (replace(SHOP, steps=(("pay", 0.8),)), harms.StuckStep(0.5)),
    "signature": (SHOP, harms.NewSignature(1.5)),
    "feedback": (
        replace(SHOP, feedback=FeedbackShape(0.05)),
        harms.WorseFeedback(3.0, 1.0),
    ),
}


def mirrored(parts: Iterable[Batch]) -> list[Batch]:
    """The same with the telemetry of both releases exchanged."""
    other = {OLD: NEW, NEW: OLD}
    return [
        (
            at_ms,
            [
                e if e["kind"] == "deploy" else e | {"release": other[e["release"]]}
                for e in events
            ],
        )
        for at_ms, events in parts
    ]


@pytest.mark.parametrize("name", HARMS)
def test_exchanged_arms_flip_direction(name: str) -> None:
    """A harm of the release is found, the same of its predecessor is nobody's.

    Half of 2,000 sessions a minute for an hour: each harm is tens of standard
    errors wide, in its own direction as in the mirror's, so that a correct program
    fails with a probability below 1e-9.
    """
    service, harm = HARMS[name]
    split = Scenario("split", service, ab_test(), (harm,), post_min=60)
    parts = batches(split, 21)
    since = next(i for i, (_, es) in enumerate(parts) if es[0]["kind"] == "deploy")
    assert taken_back(run(parts))
    assert not taken_back(run([*parts[:since], *mirrored(parts[since:])]))


IMPROVEMENTS: dict[str, Scenario] = {
    "canary": Scenario(
        "better", SHOP, ab_test(), (harms.MoreErrors(0.3),), post_min=60
    ),
    "past": past_of(SHOP, harms.MoreErrors(0.3)),
    "flip": past_of(SHOP, harms.MoreErrors(0.3), rollout=blue_green()),
    "faster": Scenario(
        "faster",
        replace(SHOP, latency=LatencyShape()),
        ab_test(),
        (harms.Slower(0.5),),
        post_min=45,
    ),
    "faster past": past_of(
        replace(SHOP, latency=LatencyShape(), strata=WORLD[:1]), harms.Slower(0.5)
    ),
    "more use": Scenario("more", SHOP, ab_test(), (harms.LessUse(1.8),), post_min=60),
    "voices": Scenario(
        "voices",
        replace(SHOP, feedback=FeedbackShape(0.05)),
        ab_test(),
        (harms.WorseFeedback(0.4, -0.5),),
        post_min=60,
    ),
}


@pytest.mark.parametrize("name", IMPROVEMENTS)
def test_improvements_are_never_blamed(name: str) -> None:
    """A release that is better in some way leads to no recommendation.

    The effect is tens of standard errors away from harm and nothing else differs; by
    the remaining signals' thresholds (each beyond six standard errors of this
    traffic) a correct program fails with a probability below 1e-6.
    """
    assert not recommendations(run(batches(IMPROVEMENTS[name], 31)))


SENDERS = 5
ADDITIVE = ("count", "sessions")


def scattered(parts: Iterable[Batch], seed: int) -> list[Batch]:
    """The same lines as sent by five senders, each with a share of the counts."""
    rng = np.random.default_rng(seed)
    shares = np.full(SENDERS, 1.0 / SENDERS)
    found = []
    for at_ms, events in parts:
        lines: list[Event] = []
        for event in events:
            if event["kind"] not in ("usage", "error"):
                lines.append(event)
                continue
            split = {
                name: rng.multinomial(event[name], shares).tolist()
                for name in ADDITIVE
                if name in event
            }
            lines += [
                event
                | {name: split[name][i] for name in split}
                | {"sender": f"pod-{i}"}
                for i in range(SENDERS)
                if event["kind"] == "usage" or any(split[n][i] for n in split)
            ]
        found.append((at_ms, lines))
    return found


@pytest.mark.parametrize("kind", ["segment", "past"])
def test_merged_shards_equal_one(kind: str) -> None:
    """Lines of five senders are judged like those of one with their sums."""
    assert values(run(scattered(drawn(kind), 3))) == values(undisturbed(kind))


@cache
def counted_whole() -> dict[str, tuple[float, float]]:
    """The same of the segment rollout as it was drawn."""
    return counted(drawn("segment"))


def counted(parts: Iterable[Batch]) -> dict[str, tuple[float, float]]:
    """Failed sessions and sessions of each release, as the comparison counts them."""
    partition = Partition(0, BOOK)
    partition.apply(records(parts))
    (scope,) = partition.scopes.values()
    track = scope.watches[NEW].errors
    return {
        NEW: (track.bad_candidate, track.units_candidate),
        OLD: (track.bad_control, track.units_control),
    }


def thinned(parts: Iterable[Batch], keep: float, seed: int) -> list[Batch]:
    """A part of all records, each with the rate it was kept at."""
    rng = np.random.default_rng(seed)
    found = []
    for at_ms, events in parts:
        lines = []
        for event in events:
            if event["kind"] in ("usage", "error"):
                kept = {n: int(rng.binomial(event[n], keep)) for n in ADDITIVE}
                event = event | kept | {"sample_rate": keep}
            lines.append(event)
        found.append((at_ms, lines))
    return found


@pytest.mark.parametrize("keep", [0.5, 0.1])
def test_sampled_rates_agree(keep: float) -> None:
    """A correctly weighted sample has the failure rates of the whole, in both arms.

    Off by more than six standard errors of the sampled failures a correct program
    is with a probability below 1e-8.
    """
    whole = counted_whole()
    sample = counted(thinned(drawn("segment"), keep, 41))
    for release in (NEW, OLD):
        bad, units = sample[release]
        expected = whole[release][0] / whole[release][1] * units
        assert abs(bad - expected) <= 6 * expected**0.5


MINUTE_MS = 60_000
PEOPLE = 200
"""Users of each release in a minute, every one of them once."""


def crowd(factor: float) -> list[dict[str, tuple[list[str], list[str]]]]:
    """By minute and release, who was there and who failed."""
    rng = np.random.default_rng(51)
    minutes = []
    for minute in range(25):
        there = {}
        for release in (OLD, NEW) if minute >= 5 else (OLD,):
            users = [f"{release}-{minute}-{i}" for i in range(PEOPLE)]
            rate = 0.02 * (factor if release == NEW else 1.0)
            there[release] = users, [u for u in users if rng.random() < rate]
        minutes.append(there)
    return minutes


def sketch_of(users: list[str]) -> str:
    """A base64 HLL sketch of some users."""
    found = hll_sketch(12)
    for user in users:
        found.update(user)
    return base64.b64encode(found.serialize_compact()).decode()


def raw_lines(kind: str, common: Event, users: list[str]) -> list[Event]:
    """An event a user."""
    return [
        {"kind": kind, "user": user, "id": f"{kind}-{user}", **common} for user in users
    ]


def sketch_lines(senders: int) -> Callable[[str, Event, list[str]], list[Event]]:
    """A line a sender, with a sketch of the users it saw."""

    def lines(kind: str, common: Event, users: list[str]) -> list[Event]:
        parts = [users[i::senders] for i in range(senders)]
        return [
            {
                "kind": kind,
                "window_s": 60,
                "count": len(part),
                "users_sketch": sketch_of(part),
                "sender": f"pod-{i}",
                **common,
            }
            for i, part in enumerate(parts)
            if part or kind == "usage"
        ]

    return lines


def told(
    minutes: list[dict[str, tuple[list[str], list[str]]]],
    lines: Callable[[str, Event, list[str]], list[Event]],
) -> list[Batch]:
    """The crowd in one way of telling it."""
    found: list[Batch] = []
    for minute, there in enumerate(minutes):
        ts = START_MS + minute * MINUTE_MS
        events: list[Event] = []
        if minute == 5:
            events.append(
                {
                    "kind": "deploy",
                    "ts": ts,
                    "service": "shop",
                    "release": NEW,
                    "predecessor": OLD,
                    "phase": "started",
                    "strategy": "canary",
                    "weight": 0.5,
                }
            )
        for release, (users, failed) in there.items():
            common = {"ts": ts, "service": "shop", "release": release}
            events += lines("usage", common, users)
            events += lines("error", common | {"signature": "KeyError: price"}, failed)
        found.append((ts + MINUTE_MS + 1000, events))
    return found


@pytest.mark.parametrize(("factor", "harmful"), [(5.0, True), (1.0, False)])
def test_ways_of_telling_agree(factor: float, harmful: bool) -> None:
    """Single events, ten senders and one sketch lead to the same decision.

    Five times 2 % of 4,000 users is over twenty standard errors; without harm the
    proven evidence must reach 400 and findings six standard errors: a correct program
    fails with a probability below 1e-6 where the seed is drawn anew.
    """
    minutes = crowd(factor)
    ways = (raw_lines, sketch_lines(10), sketch_lines(1))
    assert [taken_back(run(told(minutes, way))) for way in ways] == [harmful] * 3
