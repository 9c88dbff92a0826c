"""Snapshots in turns: how much one holds, what comes first, what is never left out."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain

import pytest

from detector import engine, state, turns
from detector.engine import Partition
from detector.records import LogRecord
from tests.unit.detector.traffic import (
    QUICK,
    Log,
    at,
    command,
    deploy,
    feed,
    rules,
    tick,
    usage,
)

SERVICES = [f"s{number:02}" for number in range(20)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty services are many: a quarter of them, five, to a snapshot."""
    monkeypatch.setattr(turns, "SCOPES_MIN", 1)
    monkeypatch.setattr(turns, "TURNS", 4)


def window(partition: Partition, number: int, chosen: Collection[str]) -> None:
    """A window of usage of some services, in one record."""
    events = [usage(number, "1", 9, service=name) for name in chosen]
    one = Log().add(at(number + 1) + 500, *events).records[0]
    partition.apply([one._replace(offset=partition.next_offset)])


def settled() -> Partition:
    """All services after a window, in a snapshot as a whole."""
    partition = Partition(0, QUICK)
    window(partition, 0, SERVICES)
    state.mark_clean(partition, whole=True)
    return partition


def written(partition: Partition, *, everything: bool = False) -> list[str]:
    """The services that a snapshot holds."""
    blocks = state.dirty_blocks(partition, everything=everything)
    state.mark_clean(partition)
    names = [n for n, block in blocks.items() if block and n.startswith("scope/")]
    return [name.split("/")[1] for name in names]


def test_each_snapshot_holds_a_share() -> None:
    """What changed is written once in four snapshots, and the log read from there."""
    partition = settled()
    window(partition, 1, SERVICES)
    found = []
    for _ in range(4):
        assert partition.turns.start(partition, ()).offset == 1
        found.append(written(partition))
    assert [len(one) for one in found] == [5, 5, 5, 5]
    assert sorted(chain.from_iterable(found)) == SERVICES
    assert partition.turns.start(partition, ()).offset == 2
    assert written(partition) == []


def test_who_waits_longest_comes_first() -> None:
    """What changes all the time is written every fourth snapshot all the same."""
    partition = settled()
    found: list[str] = []
    for number in range(1, 13):
        window(partition, number, SERVICES)
        found += written(partition)
    assert found == SERVICES * 3


def test_few_changes_wait_for_nothing() -> None:
    """A quarter of the services is written at once."""
    partition = settled()
    window(partition, 1, SERVICES[7:12])
    assert written(partition) == SERVICES[7:12]
    assert not partition.turns.behind


def test_who_speaks_comes_first() -> None:
    """A scope with outputs is written with them; half of the share is for others."""
    partition = settled()
    window(partition, 1, SERVICES)
    loud = SERVICES[-4:]
    events = [deploy(1, "2", service=name, predecessor="1") for name in loud]
    log = Log().add(at(2) + 600, *events).add(at(9), tick(9))
    for one in log.records:
        partition.apply([one._replace(offset=partition.next_offset)])
    assert partition.turns.said == set(map(key_of, loud))
    first = written(partition)
    assert first == ["s00", "s01", "s02", *loud[:2]]
    assert written(partition) == ["s03", "s04", "s05", *loud[2:]]
    assert not partition.turns.said


def key_of(service: str) -> engine.ScopeKey:
    """The scope of a service."""
    return engine.ScopeKey(service, "production")


def test_last_snapshot_holds_everything() -> None:
    """Who asks for everything gets it, and nothing is read again."""
    partition = settled()
    window(partition, 1, SERVICES)
    written(partition)
    assert written(partition, everything=True) == sorted(SERVICES[5:])
    assert partition.turns.start(partition, ()).offset == partition.next_offset


@pytest.mark.parametrize("cause", ["rules", "room", "ids"])
def test_common_changes_are_written_together(
    cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules, and what a limit of the partition decides, leave nobody behind."""
    partition = settled()
    window(partition, 1, SERVICES)
    written(partition)
    if cause == "rules":
        text = rules("alpha: 0.01").to_canonical_json().decode()
        event = {**command(1, "ruleset", rules_text=text), "service": "all"}
    elif cause == "room":
        monkeypatch.setattr(engine, "SCOPES_MAX", len(SERVICES))
        event = usage(1, "1", 9, service="late")
    else:
        monkeypatch.setattr(engine, "REMEMBERED_MAX", 0)
        event = {**usage(1, "1", 9, service="s00"), "id": "x"}
    record = Log().add(at(2) + 700, event).records[0]
    partition.apply([record._replace(offset=partition.next_offset)])
    window(partition, 2, SERVICES[1:])
    assert set(written(partition)) == {name for name, _ in partition.scopes}
    assert not partition.turns.behind


def test_known_records_count_once() -> None:
    """A restore takes of each record what its scopes do not have yet."""
    partition, shards = settled(), dict[str, bytes]()
    shards = state.all_blocks(partition)
    log: list[LogRecord] = []
    for number in range(1, 7):
        events = [usage(number, "1", 9, service=name) for name in SERVICES]
        record = Log().add(at(number + 1) + 500, *events, {"kind": "x"}).records[0]
        log.append(record._replace(offset=partition.next_offset))
        assert feed(partition, log[-1:])
        shards |= {
            name: block
            for name, block in state.dirty_blocks(partition).items()
            if block is not None
        }
        state.mark_clean(partition)
    start = partition.turns.start(partition, ()).offset
    assert start < partition.next_offset
    heir = state.restore(0, shards, start)
    assert (heir.next_offset, heir.counts) == (start, partition.counts)
    again = [one for one in log if one.offset >= start]
    assert feed(heir, again, 1) == []
    assert (heir.counts, heir.scopes) == (partition.counts, partition.scopes)
    assert not heir.turns.bounds
