"""Blocks: written and read back they are the same partition, or a clear refusal."""

from __future__ import annotations

import msgspec
import pytest

from detector import engine, state
from detector.engine import Partition
from detector.rowstate import row_names
from detector.scope import ScopeKey
from detector.steps import STEPS_MAX
from tests.unit.detector.samples import sketch
from tests.unit.detector.traffic import (
    QUICK,
    Log,
    at,
    command,
    deploy,
    error,
    feed,
    harmful,
    restored,
    rules,
    run,
    tick,
    usage,
)


def mixed() -> Log:
    """A log with every kind of state: sketches, ids, traces, several scopes."""
    log = harmful(8)
    base = {"kind": "usage", "ts": at(14), "service": "cart", "release": "1"}
    log.add(
        at(15),
        {**base, "session": "a", "user": "b", "id": "x"},
        {**base, "trace_id": "t", "outcome": "timeout"},
        {**usage(14, "1", 9, service="cart"), "users_sketch": sketch(30)},
        error(14, "1", 2, service="cart", sender="p", seq=1, sample_rate=0.5),
        usage(14, "1", 9, service="a/b", environment="c"),
        usage(14, "1", 9, service="a", environment="b/c"),
        {"kind": "latency", **usage(14, "1", 9), "bounds_ms": [1.0], "counts": [1, 2]}
        | {"kind": "latency"},
    )
    log.add(at(15), deploy(15, "2", service="cart", fixes=["x"]))
    return log


def test_restored_equals_original() -> None:
    """Restoring and writing again gives the same blocks, byte for byte."""
    partition = Partition(0, QUICK)
    feed(partition, mixed())
    blocks = state.all_blocks(partition)
    again = state.restore(0, blocks, partition.next_offset)
    assert state.all_blocks(again) == blocks
    assert again.counts == partition.counts


def test_restored_goes_on_alike() -> None:
    """After a restore the rest of the log gives what it gave before."""
    head = mixed()
    partition = Partition(0, QUICK)
    feed(partition, head)
    tail = mixed().windows(range(15, 30), {"1": (800, 8), "2": (200, 20)})
    rest = tail.records[len(head.records) :]
    assert feed(restored(partition), rest) == feed(partition, rest)


def test_scopes_with_slashes_stay_apart() -> None:
    """a/b in c and a in b/c are two scopes with a block each."""
    one = state.block_name(ScopeKey("a/b", "c"))
    assert one != state.block_name(ScopeKey("a", "b/c"))
    partition = Partition(0, QUICK)
    feed(partition, mixed())
    assert set(restored(partition).scopes) == set(partition.scopes)


def test_dirty_blocks_add_up() -> None:
    """A snapshot and the dirty blocks after it are the whole state, at each record."""
    partition = Partition(0, QUICK)
    shards: dict[str, bytes] = {}
    kinds: set[str] = set()
    log = mixed().windows(range(15, 22), {"1": (800, 8), "2": (200, 20)})
    log.add(at(22) + 3, tick(22)).add(at(22) + 4, tick(23))
    log.add(at(23), command(23, "freeze"))
    for record in log.records:
        partition.apply([record])
        for name, block in state.dirty_blocks(partition).items():
            if block is None:
                del shards[name]
            else:
                shards[name] = block
        state.mark_clean(partition)
        again = state.restore(0, shards, partition.next_offset)
        assert state.all_blocks(again) == state.all_blocks(restored(partition))
        kinds |= {name.partition("/")[0] for name in shards}
    assert {"partition", "scope", "rows", "steps"} <= kinds


def test_bookkeeping_names_what_is_held() -> None:
    """After each snapshot the rows and steps said to be held are those in the topic."""
    partition, shards = Partition(0, QUICK), dict[str, bytes]()
    log = mixed().windows(range(15, 40), {"1": (800, 8), "2": (200, 20)})
    log.add(at(40), deploy(40, phase="rolled_back"))
    for number, record in enumerate(log.records):
        partition.apply([record])
        also = sorted(shards)[number % 7 :: 11] if number % 3 == 0 else []
        changes(partition, shards, *also)
        held = {name for key in partition.scopes for name in row_names(partition, key)}
        assert held == {n for n in shards if n.startswith(("rows/", "steps/"))}
        again = state.restore(0, shards, partition.next_offset)
        assert state.all_blocks(again) == state.all_blocks(restored(partition))


def test_draft_says_what_would_be_decided() -> None:
    """What is kept while encoding equals what is decided without having encoded."""
    drafted, plain = Partition(0, QUICK), Partition(0, QUICK)
    for record in steady(24).records:
        for partition in (drafted, plain):
            partition.apply([record])
        state.dirty_blocks(drafted)
        state.mark_clean(drafted)
        state.mark_clean(plain)
        assert drafted.rows_written == plain.rows_written
        assert drafted.days_written == plain.days_written


def test_stale_draft_is_not_used() -> None:
    """Records applied after the encoding do not count as decided upon."""
    partition, twin = Partition(0, QUICK), Partition(0, QUICK)
    log = steady(24).records
    for each in (partition, twin):
        feed(each, log[:6])
        state.mark_clean(each)
        feed(each, log[6:8])
    state.dirty_blocks(partition)
    for each in (partition, twin):
        feed(each, log[8:])
        state.mark_clean(each)
    assert partition.rows_written == twin.rows_written


def steady(windows: int) -> Log:
    """A candidate beside its control, a record a window, ripe to be closed."""
    log = Log().add(at(0), deploy(0, predecessor="1"))
    return log.windows(range(windows), {"1": (800, 8), "2": (200, 2)})


def changes(partition: Partition, shards: dict[str, bytes], *also: str) -> set[str]:
    """Take a snapshot of what changed; the names of what was written."""
    found = state.dirty_blocks(partition, also)
    for name, block in found.items():
        if block is None:
            shards.pop(name)
        else:
            shards[name] = block
    state.mark_clean(partition)
    return {name for name, block in found.items() if block is not None}


def test_rows_are_whole_now_and_then() -> None:
    """Between two whole images of the rows stand as many windows as are allowed."""
    partition, shards = Partition(0, QUICK), dict[str, bytes]()
    kinds = []
    for record in steady(40).records:
        partition.apply([record])
        written = {name.partition("/")[0] for name in changes(partition, shards)}
        kinds.append("r" if "rows" in written else "s" if "steps" in written else "-")
        assert not {"rows", "steps"} <= written
    assert "r" + "s" * STEPS_MAX + "r" in "".join(kinds).replace("-", "")
    assert "s" * (STEPS_MAX + 1) not in "".join(kinds).replace("-", "")


def test_late_snapshot_writes_rows_whole() -> None:
    """After more windows than a restore should take again there are no steps."""
    partition, shards = Partition(0, QUICK), dict[str, bytes]()
    log = steady(40).records
    feed(partition, log[:5])
    changes(partition, shards)
    feed(partition, log[5:])
    assert max(map(len, partition.steps.values())) == STEPS_MAX + 1
    assert "rows/shop/production" in changes(partition, shards)
    again = state.restore(0, shards, partition.next_offset)
    assert state.all_blocks(again) == state.all_blocks(restored(partition))


@pytest.mark.parametrize("name", ["scope/shop/production", "steps/shop/production/0"])
def test_named_block_is_written_again(name: str) -> None:
    """A block that is asked for is written although nothing changed: steps as rows."""
    partition, shards = Partition(0, QUICK), dict[str, bytes]()
    for record in steady(8).records:
        partition.apply([record])
        changes(partition, shards)
    assert name in shards
    asked = changes(partition, shards, name, "scope/gone/production", "outbox")
    rows = {"rows/shop/production"} if name.startswith("steps") else set()
    assert asked == {"partition", "scope/shop/production"} | rows
    assert bool(rows) != any(one.startswith("steps/") for one in shards)
    again = state.restore(0, shards, partition.next_offset)
    assert state.all_blocks(again) == state.all_blocks(restored(partition))


def test_foreign_rows_are_refused() -> None:
    """Rows of another length than the series of their scope are not used."""
    partition = Partition(0, QUICK)
    feed(partition, steady(8))
    blocks = state.all_blocks(partition)
    rows = msgspec.msgpack.decode(blocks["rows/shop/production"])
    short = msgspec.msgpack.encode({**rows, "image": rows["image"][:-8]})
    with pytest.raises(state.StateError, match="rows/shop/production holds"):
        state.restore(
            0, {**blocks, "rows/shop/production": short}, partition.next_offset
        )


def test_rules_survive_restore() -> None:
    """The rule sets in force, of one service too, are part of the state."""
    other = rules("alpha: 0.01")
    text = other.to_canonical_json().decode()
    partition = Partition(0, QUICK)
    feed(partition, Log().add(at(0), command(0, "ruleset", rules_text=text)))
    book = restored(partition).rulebook
    assert book.default.hash == QUICK.hash
    assert book.find("shop", "production").rules_hash == other.hash


def test_missing_head_is_refused() -> None:
    """Blocks without the partition's own are not a fresh start."""
    with pytest.raises(state.StateError, match="partition is missing"):
        state.restore(0, {}, 0)


def test_wrong_offset_is_refused() -> None:
    """Blocks that end elsewhere than the manifest says are not used."""
    partition = Partition(0, QUICK)
    feed(partition, harmful())
    with pytest.raises(state.StateError, match="ends at offset 19"):
        state.restore(0, state.all_blocks(partition), 7)


@pytest.mark.parametrize("damage", [b"", b"\xff", b"x" * 40])
def test_damaged_block_is_named(damage: bytes) -> None:
    """A block that can not be read is named, with the way out."""
    partition = Partition(0, QUICK)
    feed(partition, harmful())
    blocks = {**state.all_blocks(partition), "scope/shop/production": damage}
    with pytest.raises(state.StateError, match="scope/shop/production"):
        state.restore(0, blocks, partition.next_offset)


def test_truncated_block_is_refused() -> None:
    """No prefix of a block is taken for a whole one."""
    partition = Partition(0, QUICK)
    feed(partition, harmful())
    blocks = state.all_blocks(partition)
    whole = blocks["scope/shop/production"]
    for cut in range(0, len(whole), 97):
        with pytest.raises(state.StateError):
            state.restore(
                0,
                {**blocks, "scope/shop/production": whole[:cut]},
                partition.next_offset,
            )


def test_newer_block_is_refused() -> None:
    """A block of a newer version is refused by name, not guessed at."""
    partition = Partition(0, QUICK)
    blocks = state.all_blocks(partition)
    head = msgspec.msgpack.decode(blocks["partition"])
    head["version"] = state.VERSION + 1
    blocks["partition"] = msgspec.msgpack.encode(head)
    with pytest.raises(state.StateError, match="version"):
        state.restore(0, blocks, 0)


def test_rows_are_given_back() -> None:
    """A thousand releases one after the other leave no row behind."""
    log = harmful()
    log.add(at(18), deploy(18, phase="rolled_back"))
    partition = Partition(0, QUICK)
    feed(partition, log)
    assert len(partition.rows) == 0
    assert run(log)


def days() -> Log:
    """Three days of a canary service that sends durations, too, an event an hour."""
    log = Log()
    for hour in range(72):
        window = hour * 360
        events = [usage(window, "1", 90), error(window, "1", 2)]
        events.append(
            {**usage(window, "1", 0), "kind": "latency", "bounds_ms": [9.0]}
            | {"counts": [50, 40], "count": None, "sessions": None}
        )
        log.add(at(window + 1) + 500, *events)
    return log


def test_days_that_are_over_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each day but today has a block that is written once, and restores with it."""
    monkeypatch.setattr(state, "DAY_BLOCK_MIN_BYTES", 1)
    partition = Partition(0, QUICK)
    shards: dict[str, bytes] = {}
    written: list[str] = []
    for record in days().records:
        partition.apply([record])
        for name, block in state.dirty_blocks(partition).items():
            assert block is not None
            shards[name] = block
            written += [name] * name.startswith("ledger/")
        state.mark_clean(partition)
        assert shards == state.all_blocks(partition)
    assert len(written) == len(set(written)) >= 2
    again = state.restore(0, shards, partition.next_offset)
    assert state.all_blocks(again) == shards
    assert state.dirty_blocks(again).keys() == {"partition"}
    assert not again.scopes[ScopeKey("shop", "production")].ledger.pages.keys() - (
        partition.scopes[ScopeKey("shop", "production")].ledger.pages.keys()
    )


def test_small_days_stay_inside() -> None:
    """A day of few counts is no block of its own: a manifest names every block."""
    partition = Partition(0, QUICK)
    feed(partition, days())
    assert len(state.all_blocks(partition)) == 3


def test_missing_day_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope whose past is gone is not restored without it."""
    monkeypatch.setattr(state, "DAY_BLOCK_MIN_BYTES", 1)
    partition = Partition(0, QUICK)
    feed(partition, days())
    blocks = state.all_blocks(partition)
    lost = min(name for name in blocks if name.startswith("ledger/"))
    del blocks[lost]
    with pytest.raises(state.StateError, match=f"{lost} is missing"):
        state.restore(0, blocks, partition.next_offset)


def test_forgotten_scope_takes_days_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a scope makes room for another one, the blocks of its days go too."""
    monkeypatch.setattr(state, "DAY_BLOCK_MIN_BYTES", 1)
    monkeypatch.setattr(engine, "SCOPES_MAX", 1)
    partition = Partition(0, QUICK)
    feed(partition, days())
    shards = state.all_blocks(partition)
    state.mark_clean(partition)
    late = usage(72 * 360, "1", 9, service="cart")
    offset = partition.next_offset
    record = Log().add(at(72 * 360 + 1), late).records[0]._replace(offset=offset)
    partition.apply([record])
    for name, block in state.dirty_blocks(partition).items():
        if block is None:
            del shards[name]
        else:
            shards[name] = block
    assert shards == state.all_blocks(partition)
    assert not any("shop" in name for name in shards)
