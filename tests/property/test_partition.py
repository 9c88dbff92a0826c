"""What must hold for any log: batches, copies, restores, neighbours, symmetry."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector import state, turns
from detector.blocks import block_name
from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.simulate import Shop, burst, constant, daily, product, ramp
from tests.unit.detector.traffic import (
    QUICK,
    START_MS,
    Event,
    Log,
    at,
    command,
    deploy,
    feed,
    harmful,
    recommendations,
    restored,
    rules,
    run,
    said,
    tick,
    usage,
)

BOOK = rules(
    "persistence_s: 30",
    "hypercare: {min_hours: 0.0, min_exposure: 100}",
    strata="[{attr: os}, {attr: region}]",
)
ANDROID = (("os", "android"),)
SMALL = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def records_of(shops: list[Shop], windows: int, seed: int) -> list[LogRecord]:
    """Shops interleaved window by window, one record a window and shop."""
    rng = np.random.default_rng(seed)
    log = Log()
    streams = [shop.windows(rng, START_MS, windows) for shop in shops]
    for index, parts in enumerate(zip(*streams, strict=True)):
        for place, events in enumerate(parts):
            log.add(at(index + 1) + 100 * place, *events)
        if index % 11 == 10:
            log.add(at(index + 1) + 900, tick(index + 1))
    return log.records


@cache
def busy() -> tuple[LogRecord, ...]:
    """Three shops with harm, recovery and rollback, commands, garbage and a reload."""
    bad = product(constant(6.0), burst(40, 60, 1.0))
    shops = [
        Shop(harm=bad, harm_segment=ANDROID, weight=ramp([(12, 0.3)])),
        Shop(service="cart", harm=burst(15, 200, 8.0), weight=ramp([(12, 0.5)])),
        Shop(service="calm", ambient=burst(20, 30, 9.0), weight=ramp([(12, 0.2)])),
    ]
    log = Log()
    log.records = records_of(shops, 90, 1)
    middle = len(log.records) // 2
    tail = log.records[middle:]
    log.records = log.records[:middle]
    text = rules("persistence_s: 60", "alpha: 0.001").to_canonical_json().decode()
    reload = {**command(45, "ruleset", rules_text=text), "service": "all"}
    now = log.records[-1].timestamp_ms
    log.add(now, {"kind": "nonsense"}, reload)
    label = command(45, "label", recommendation_id="rec_a", value="wrong")
    log.add(now, command(45, "mode", value="shadow"), label, label)
    log.add(now, {**usage(10, "1", 5), "id": "late"}, usage(400, "1", 5))
    for record in tail:
        log.records.append(record._replace(offset=len(log.records)))
    log.add(at(91), deploy(91, "2.4.0", phase="rolled_back", service="cart"))
    log.ticks(range(92, 130))
    return tuple(log.records)


@cache
def undisturbed() -> tuple[Output, ...]:
    """What the busy log gives in one batch."""
    return tuple(run(busy(), BOOK))


def test_busy_log_is_eventful() -> None:
    """The log that the other tests disturb opens, closes and rejects something."""
    states = {r["state"] for r in recommendations(undisturbed())}
    assert {"open", "executed"} <= states
    assert {o.topic for o in undisturbed()} == {
        "verdicts",
        "recommendations",
        "commands",
        "deadletter",
    }


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batch_sizes_change_nothing(batch: int) -> None:
    """The same bytes, keys and ids for any batch size."""
    assert run(busy(), BOOK, batch) == list(undisturbed())


@pytest.mark.parametrize("step", [1, 5, 23])
def test_restores_change_nothing(step: int) -> None:
    """A snapshot of everything and a restore at every step-th record are unseen."""
    partition = Partition(0, BOOK)
    found: list[Output] = []
    for index, record in enumerate(busy()):
        found += partition.apply([record]).records
        if index % step == 0:
            partition = restored(partition)
    assert found == list(undisturbed())


@pytest.mark.parametrize("seed", range(4))
def test_incremental_snapshots_change_nothing(seed: int) -> None:
    """Dirty shards gathered at random points restore to the same future.

    Records after the last snapshot are read again, as after a kill.
    """
    rng = random.Random(seed)
    partition, shards = Partition(0, BOOK), state.all_blocks(Partition(0, BOOK))
    found: dict[str, Output] = {}
    records, cursor = list(busy()), 0
    while cursor < len(records):
        ahead = cursor + rng.randint(1, 15)
        for output in partition.apply(records[cursor:ahead]).records:
            assert found.setdefault(output.id, output) == output
        if rng.random() < 0.3:
            partition = state.restore(0, shards, cursor)
            continue
        for name, block in state.dirty_blocks(partition).items():
            if block is None:
                del shards[name]
            else:
                shards[name] = block
        state.mark_clean(partition)
        cursor = min(ahead, len(records))
    assert list(found.values()) == list(undisturbed())


@cache
def crowd() -> tuple[LogRecord, ...]:
    """Nine services, four in one record, with harm, garbage, ticks and a reload."""
    shops = [
        Shop(service=f"s{n}", harm=burst(14, 40, 1.0 + 2 * n), weight=ramp([(12, 0.4)]))
        for n in range(9)
    ]
    found: list[LogRecord] = []
    single = records_of(shops, 40, 7)
    text = rules("persistence_s: 60").to_canonical_json().decode()
    reload = {**command(20, "ruleset", rules_text=text), "service": "all"}
    for first in range(0, len(single), 4):
        some = single[first : first + 4]
        several = [json.loads(one.value or b"") for one in some]
        events = [e for s in several for e in (s if isinstance(s, list) else [s])]
        events += [{"kind": "nonsense"}] * (first % 28 == 0)
        events += [command(20, "freeze", service="s3")] * (first == 120)
        events += [reload] * (first == 200)
        value = json.dumps(events).encode()
        found.append(LogRecord(len(found), some[-1].timestamp_ms, b"k", value))
    return tuple(found)


@cache
def quiet_crowd() -> tuple[Partition, list[Output]]:
    """What nine services are and say if nobody disturbs them."""
    plain = Partition(0, BOOK)
    expected = plain.apply(crowd()).records
    return restored(plain), expected


@pytest.mark.parametrize("seed", range(4))
def test_snapshots_in_turns_change_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snapshot leaves scopes out; kills at random points are unseen.

    What was said and not yet saved when it was killed is said again, with the same
    bytes; in the end state and counts are those of an undisturbed run.
    """
    monkeypatch.setattr(turns, "SCOPES_MIN", 1)
    monkeypatch.setattr(turns, "TURNS", 4)
    plain, expected = quiet_crowd()
    rng = random.Random(seed)
    partition = Partition(0, BOOK)
    shards: dict[str, bytes] = {}
    found: dict[str, Output] = {}
    saved = reread = 0
    while partition.next_offset < len(crowd()) or partition.turns.behind:
        ahead = partition.next_offset + rng.randint(0, 9)
        for output in partition.apply(crowd()[:ahead]).records:
            assert found.setdefault(output.id, output) == output
        dice = rng.random()
        if dice < 0.25 and shards:
            partition = state.restore(0, shards, saved)
            reread += bool(partition.turns.bounds)
            continue
        if not shards or dice < 0.3:
            shards = state.all_blocks(partition)
            state.mark_clean(partition, whole=True)
        else:
            also = rng.sample(sorted(shards), 2) * (dice > 0.9)
            for name, block in state.dirty_blocks(partition, also).items():
                if block is None:
                    shards.pop(name)
                else:
                    shards[name] = block
            state.mark_clean(partition)
        saved = partition.turns.start(partition, ()).offset
    assert reread
    assert list(found.values()) == expected
    again = state.restore(0, shards, saved)
    assert again.scopes == plain.scopes
    theirs, ours = state.all_blocks(plain), state.all_blocks(again)
    assert theirs.keys() == ours.keys()
    # Bytes of scopes hold sets, which have no order.
    assert {n for n in ours if ours[n] != theirs[n]} <= set(
        map(block_name, plain.scopes)
    )


DECISIONS = ("verdicts", "recommendations")


def test_one_service_never_affects_another() -> None:
    """Each service's verdicts and recommendations are those it has alone."""
    for service in ("shop", "cart", "calm"):
        name = f'"service": "{service}"'.encode()
        own = [
            r
            for r in busy()
            if name in (r.value or b"") or b'"service": "all"' in (r.value or b"")
        ]
        alone = [o for o in run(own, BOOK) if o.topic in DECISIONS]
        beside = [
            o
            for o in undisturbed()
            if o.topic in DECISIONS and json.loads(o.value)["service"] == service
        ]
        assert alone == beside


@pytest.mark.fault("11")
def test_duplicates_change_nothing() -> None:
    """Every record sent three times gives what it gives once, but for its offset."""
    log = Log()
    for record in harmful(30).records:
        events = json.loads(record.value or b"")
        several = events if isinstance(events, list) else [events]
        for index, event in enumerate(several):
            event["id"] = f"{record.offset}.{index}"
        for _ in range(3):
            log.add(record.timestamp_ms, *several)
    assert facts(run(log)) == facts(run(harmful(30)))


def facts(outputs: list[Output]) -> list[dict[str, Any]]:
    """Decoded outputs without the offsets, which copies shift."""
    skipped = ("offset", "evidence_offset")
    return [
        {k: v for k, v in json.loads(o.value).items() if k not in skipped}
        for o in outputs
    ]


def totals(partition: Partition) -> dict[str, Any]:
    """What was counted, whatever the order: units and failures by watch."""
    return {
        f"{key}/{name}": (
            watch.errors.units_candidate,
            watch.errors.bad_candidate,
            watch.errors.units_control,
            watch.errors.bad_control,
            watch.errors.joint_windows,
        )
        for key, scope in partition.scopes.items()
        for name, watch in scope.watches.items()
    }


SINGLE = st.fixed_dictionaries(
    {
        "release": st.sampled_from(["1", "2"]),
        "session": st.sampled_from([f"s{i}" for i in range(12)]),
        "failed": st.booleans(),
        "window": st.integers(0, 3),
        # Not 0: an instant that ends where a window begins is of the one before.
        "at_ms": st.integers(1, 9_999),
    }
)


def single_events(drawn: list[dict[str, Any]]) -> list[Event]:
    """Usage with its error where it failed; a session belongs to one release."""
    events: list[Event] = []
    for index, one in enumerate(drawn):
        common = {
            "ts": at(one["window"]) + one["at_ms"],
            "service": "shop",
            "release": one["release"],
            "session": one["release"] + one["session"],
            "id": f"e{index}",
        }
        events.append({"kind": "usage", **common})
        if one["failed"]:
            events.append({"kind": "error", "type": "E", **common})
    return events


@SMALL
@given(st.lists(SINGLE, min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_order_inside_windows_is_irrelevant(
    drawn: list[dict[str, Any]], chance: random.Random
) -> None:
    """Shuffled within each window the events give the same counts and no late one."""
    events = single_events(drawn)

    def counted(order: Callable[[list[Event]], None]) -> dict[str, Any]:
        partition = Partition(0, QUICK)
        log = Log().add(at(0), deploy(0, predecessor="1"), usage(0, "1", 0))
        for window in range(4):
            part = [e for e in events if at(window) <= e["ts"] < at(window + 1)]
            order(part)
            for event in part:
                log.add(at(window + 1), event)
        feed(partition, log.ticks(range(5, 12)))
        assert not any(scope.late for scope in partition.scopes.values())
        return totals(partition)

    assert counted(chance.shuffle) == counted(lambda part: None)


@SMALL
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 500), st.integers(0, 60)),
        min_size=1,
        max_size=12,
    )
)
def test_merged_senders_equal_one(parts: list[tuple[int, int, int]]) -> None:
    """Additive sessions of many senders are those of one sender with their sums."""

    def counted(split: bool) -> dict[str, Any]:
        log = Log().add(at(0), deploy(0, predecessor="1"))
        for window, (senders, sessions, failed) in enumerate(parts):
            times, scale = (senders, 1) if split else (1, senders)
            events = []
            for release in ("1", "2"):
                for index in range(times):
                    sender = {"sender": f"pod-{index}", "seq": window}
                    events.append(usage(window, release, sessions * scale, **sender))
                    lost = usage(window, release, failed * scale, **sender)
                    events.append({**lost, "kind": "error", "seq": window + 1000})
            log.add(at(window + 1), *events)
        partition = Partition(0, QUICK)
        feed(partition, log.ticks(range(len(parts) + 1, len(parts) + 8)))
        return totals(partition)

    assert counted(True) == counted(False)


def swapped(value: bytes | None) -> bytes:
    """A record with the traffic of both releases exchanged, deploys as they are."""
    events = json.loads(value or b"")
    for event in events if isinstance(events, list) else [events]:
        if event["kind"] in ("usage", "error"):
            event["release"] = {"2.3.1": "2.4.0", "2.4.0": "2.3.1"}[event["release"]]
    return json.dumps(events).encode()


def test_swapping_arms_flips_direction() -> None:
    """Exchanged arms give the reciprocal ratio and no recommendation.

    The harmful direction must recommend: with a fivefold rate over 70 windows a
    correct program fails with a probability below 1e-12; the other direction can
    only by an e-value of at least 400 under the null, here against a fifth of the
    rate, below 1e-12 too.
    """
    shop = Shop(harm=constant(5.0), weight=ramp([(0, 0.5)]))
    records = records_of([shop], 70, 5)
    other = [
        r if b"tick" in (r.value or b"") else r._replace(value=swapped(r.value))
        for r in records
    ]
    assert recommendations(run(records, BOOK))
    assert not recommendations(run(other, BOOK))


def test_ratio_is_reciprocal_when_swapped() -> None:
    """The interval of exchanged arms is the reciprocal interval."""
    steady = {"1": (500, 30), "2": (500, 33)}
    turned = {"1": (500, 33), "2": (500, 30)}

    partition, other = Partition(0, QUICK), Partition(0, QUICK)
    for one, counts in ((partition, steady), (other, turned)):
        log = Log().add(at(0), deploy(0, predecessor="1"))
        feed(one, log.windows(range(200), counts))
    low, best, high = partition.rows.confidence([0], 0.05)[0]
    low2, best2, high2 = other.rows.confidence([0], 0.05)[0]
    assert [1 / high2, 1 / best2, 1 / low2] == pytest.approx([low, best, high])


@pytest.mark.parametrize("factor", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("seed", [1, 2])
def test_improvements_never_recommend(factor: float, seed: int) -> None:
    """A release that fails less often is never recommended against.

    Evidence has a mean far below 1 here: a correct program recommends with a
    probability of at most alpha = 0.0025 for factor 1 and below 1e-9 for these,
    where 400 would have to be reached against a drift of -0.1 nats a window.
    """
    shop = Shop(
        harm=constant(factor),
        weight=ramp([(10, 0.5)]),
        ambient=daily(0.5, 10),
        sessions_per_window=3000.0,
    )
    outputs = run(records_of([shop], 150, seed), BOOK)
    assert not recommendations(outputs)
    actions = {v["action"] for v in said(outputs, "verdicts")}
    assert actions <= {"continue", "watch"}


ODD_EVENTS = st.one_of(
    st.builds(
        usage,
        st.integers(0, 40),
        st.sampled_from(["1", "2", "3", "other"]),
        st.integers(0, 500),
        window_s=st.sampled_from([0, 1, 10, 15, 60, 3600]).map(lambda s: s or 10),
        sample_rate=st.sampled_from([1.0, 0.01]),
        attrs=st.dictionaries(
            st.sampled_from(["os", "region"]), st.sampled_from(["a", "b", ""])
        ),
        service=st.sampled_from(["shop", "all"]),
    ),
    st.builds(
        lambda *a, **k: {**usage(*a, **k), "kind": "error"},
        st.integers(0, 40),
        st.sampled_from(["1", "2", "3"]),
        st.integers(0, 500),
        service=st.sampled_from(["shop", "all"]),
    ),
    st.builds(
        deploy,
        st.integers(0, 40),
        st.sampled_from(["1", "2", "3"]),
        phase=st.sampled_from(["started", "progressed", "aborted", "rolled_back"]),
        predecessor=st.sampled_from(["1", "2", "nobody"]),
        service=st.sampled_from(["shop", "all"]),
    ),
    st.builds(tick, st.integers(0, 400)),
    st.builds(
        command,
        st.integers(0, 40),
        st.sampled_from(["freeze", "acknowledge", "label", "mode"]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.lists(ODD_EVENTS, min_size=1, max_size=4)),
        max_size=40,
    ),
    st.integers(1, 9),
)
def test_any_order_of_events_is_survived(
    drawn: list[tuple[int, list[Event]]], step: int
) -> None:
    """Clock jumps, odd widths and repeated deploys: no crash, same after restores."""
    log = Log()
    for window, events in drawn:
        log.add(at(window), *events)
    partition = Partition(0, BOOK)
    found: list[Output] = []
    for index, record in enumerate(log.records):
        found += partition.apply([record]).records
        if index % step == 0:
            partition = restored(partition)
    assert found == run(log, BOOK)
    for output in found:
        assert b"NaN" not in output.value
        assert b"Infinity" not in output.value
