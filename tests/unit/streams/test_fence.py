"""Who owns a partition: claims, snapshots, and workers that were replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from streams import statelog
from streams.fence import APPEND_BYTES, CLAIM_ATTEMPTS, Fence, Fenced, Frozen
from streams.history import CHUNK_BYTES, DamagedState, History, Key
from streams.statelog import StateRecord, Write
from tests.unit.streams.memory import MemoryPartition, MemoryStateLog

Shards = dict[str, bytes | None]


def fence_on(partition: MemoryPartition, worker: str = "w") -> Fence:
    return Fence(MemoryStateLog(partition), worker=worker, log_partitions=4)


def whole(next_offset: int, **shards: bytes) -> Frozen:
    return Frozen(next_offset, shards, whole=True)


def part(next_offset: int, **shards: bytes | None) -> Frozen:
    return Frozen(next_offset, shards, whole=False)


async def owner(partition: MemoryPartition, worker: str = "w") -> Fence:
    fence = fence_on(partition, worker)
    await fence.claim()
    return fence


async def test_first_claim_finds_nothing() -> None:
    """On an empty partition the first claim has epoch 1 and restores nothing."""
    fence = fence_on(MemoryPartition())
    assert await fence.claim() is None
    assert fence.epoch == 1


async def test_snapshot_comes_back_exactly() -> None:
    """The next owner gets the bytes and the offset of the last snapshot."""
    partition = MemoryPartition()
    first = await owner(partition)
    await first.write(whole(7, a=b"1", b=b"", outbox=b"\x00\xff"))
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.manifest.next_offset == 7
    assert restored.shards == {"a": b"1", "b": b"", "outbox": b"\x00\xff"}


async def test_later_snapshots_add_changes() -> None:
    """Unchanged shards stay, changed ones are replaced, deleted ones are gone."""
    partition = MemoryPartition()
    fence = await owner(partition)
    await fence.write(whole(1, a=b"1", b=b"1", c=b"1"))
    await fence.write(part(2, a=b"2", c=None))
    await fence.clean()
    partition.compact()
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.shards == {"a": b"2", "b": b"1"}


async def test_first_snapshot_is_whole() -> None:
    """The first snapshot of an epoch is refused when it holds only changes."""
    fence = await owner(MemoryPartition())
    with pytest.raises(ValueError, match="all shards"):
        await fence.write(part(1, a=b"1"))


async def test_large_shards_are_cut() -> None:
    """A shard larger than a record comes back in one piece."""
    partition = MemoryPartition()
    fence = await owner(partition)
    blob = bytes(range(256)) * (CHUNK_BYTES // 100)
    await fence.write(whole(1, a=blob))
    assert max(len(r.value or b"") for r in partition.records) <= CHUNK_BYTES
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.shards["a"] == blob


async def test_large_snapshot_is_written_in_parts() -> None:
    """No call writes much more than a part, and the heir gets all of them."""
    partition = MemoryPartition()
    fence = await owner(partition)
    log = MemoryStateLog(partition)
    sizes = []

    async def note(writes: Sequence[Write]) -> None:
        sizes.append(sum(len(value or b"") for _, value in writes))
        log.before = note

    fence._log, log.before = log, note
    blobs = {f"pack/{n}": bytes([n]) * 700_000 for n in range(20)}
    await fence.write(Frozen(1, blobs, whole=True))
    assert len(sizes) > 3
    assert max(sizes) < APPEND_BYTES + CHUNK_BYTES
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.shards == blobs


async def test_many_shards_fit_one_manifest() -> None:
    """Twenty thousand shards with long names still make a manifest Kafka takes."""
    partition = MemoryPartition()
    fence = await owner(partition)
    names = [f"scope/service-number-{n}/production" for n in range(20_000)]
    await fence.write(Frozen(1, dict.fromkeys(names, b"x"), whole=True))
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert list(restored.shards) == names


@pytest.mark.parametrize("written", [0, 1, 2])
async def test_crash_before_manifest_changes_nothing(written: int) -> None:
    """A snapshot that ends after some of its shards leaves the former one."""
    partition = MemoryPartition()
    fence = await owner(partition)
    await fence.write(whole(1, a=b"old", b=b"old"))
    log = MemoryStateLog(partition)
    fence._log = log
    log.lost_after = written
    with pytest.raises(ConnectionError):
        await fence.write(part(2, a=b"new", b=b"new"))
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert (restored.manifest.next_offset, restored.shards["a"]) == (1, b"old")


async def test_lost_acknowledgement_still_counts() -> None:
    """A manifest that arrived without its acknowledgement is the newest one."""
    partition = MemoryPartition()
    fence = await owner(partition)

    async def lose_manifest(writes: Sequence[Write]) -> None:
        log.lost_after = 1

    log = MemoryStateLog(partition)
    fence._log = log
    log.before = None
    await fence.write(whole(1, a=b"1"))

    async def arm(writes: Sequence[Write]) -> None:
        log.before = lose_manifest

    log.before = arm
    with pytest.raises(ConnectionError):
        await fence.write(part(2, a=b"2"))
    assert fence.must_write_whole
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.manifest.next_offset == 2


async def test_failed_snapshot_leaves_no_garbage() -> None:
    """After a failed attempt the next snapshot cleans up what it left."""
    partition = MemoryPartition()
    fence = await owner(partition)
    await fence.write(whole(1, a=b"1"))
    log = MemoryStateLog(partition)
    fence._log = log
    log.lost_after = 1
    with pytest.raises(ConnectionError):
        await fence.write(part(2, a=b"2", b=b"2"))
    await fence.write(whole(3, a=b"3", b=b"3"))
    await fence.clean()
    partition.compact()
    kept = [Key.decode(r.key) for r in partition.records if r.value is not None]
    assert {key.seq for key in kept if key and key.kind != "c"} == {3}


async def test_zombie_snapshot_is_fenced() -> None:
    """A snapshot written behind a higher claim raises and counts nothing."""
    partition = MemoryPartition()
    zombie = await owner(partition, "zombie")
    await zombie.write(whole(5, a=b"5"))
    heir = fence_on(partition, "heir")
    taken = await heir.claim()
    with pytest.raises(Fenced, match="epoch 2"):
        await zombie.write(part(9, a=b"9"))
    assert taken is not None
    restored = await fence_on(partition, "third").claim()
    assert restored is not None
    assert restored.manifest.next_offset == 5


async def test_claim_between_shards_and_manifest() -> None:
    """A claim that falls between shards and manifest makes the manifest void."""
    partition = MemoryPartition()
    zombie = await owner(partition, "zombie")
    await zombie.write(whole(5, a=b"5"))
    log = MemoryStateLog(partition)
    zombie._log = log
    heir = fence_on(partition, "heir")

    async def claim_first(writes: Sequence[Write]) -> None:
        restored = await heir.claim()
        assert restored is not None
        assert restored.manifest.next_offset == 5

    async def after_shards(writes: Sequence[Write]) -> None:
        log.before = claim_first

    log.before = after_shards
    with pytest.raises(Fenced):
        await zombie.write(part(9, a=b"9"))
    third = await fence_on(partition).claim()
    assert third is not None
    assert third.manifest.next_offset == 5


async def test_zombie_cleaning_takes_nothing() -> None:
    """What a replaced worker deletes is not what its heir restored from."""
    partition = MemoryPartition()
    zombie = await owner(partition, "zombie")
    await zombie.write(whole(5, a=b"5"))
    await zombie.write(part(6, a=b"6"))
    heir = fence_on(partition, "heir")
    await heir.claim()
    with pytest.raises(Fenced):
        await zombie.clean()
    partition.compact()
    restored = await fence_on(partition, "third").claim()
    assert restored is not None
    assert restored.shards == {"a": b"6"}


async def test_verify_notices_an_heir() -> None:
    """A worker with nothing to write learns that it was replaced."""
    partition = MemoryPartition()
    idle = await owner(partition, "idle")
    await idle.verify()
    await owner(partition, "heir")
    with pytest.raises(Fenced):
        await idle.verify()


async def test_heir_tombstones_tell_too() -> None:
    """A gap that holds nothing but an heir's tombstone still fences."""
    partition = MemoryPartition()
    zombie = await owner(partition, "zombie")
    partition.append(Key("s", 7, 1, 0, "a").encode(), None)
    with pytest.raises(Fenced):
        await zombie.write(whole(1, a=b"1"))


async def test_foreign_records_are_harmless() -> None:
    """Records that are not ours open a gap, are read, and change nothing."""
    partition = MemoryPartition()
    fence = await owner(partition)
    for key in (None, b"", b"x/1", b"s/one/2/3/a", b"\xff\xfe", b"c/"):
        partition.append(key, b"noise")
    await fence.write(whole(1, a=b"1"))
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.manifest.next_offset == 1


async def test_same_epoch_claimed_twice() -> None:
    """Of two claims of one epoch at once, the later one goes higher and wins."""
    partition = MemoryPartition()
    early, late_log = fence_on(partition, "early"), MemoryStateLog(partition)
    late = Fence(late_log, worker="late", log_partitions=4)

    async def claim_first(writes: Sequence[Write]) -> None:
        await early.claim()

    late_log.before = claim_first
    await late.claim()
    assert (early.epoch, late.epoch) == (1, 2)
    with pytest.raises(Fenced):
        await early.write(whole(1, a=b"early"))
    await late.write(whole(1, a=b"late"))


async def test_endless_claims_give_up() -> None:
    """A claim that is overtaken again and again ends instead of looping."""
    partition = MemoryPartition()
    log = MemoryStateLog(partition)
    fence = Fence(log, worker="slow", log_partitions=4)

    async def overtake(writes: Sequence[Write]) -> None:
        log.before = overtake
        await owner(partition, "fast")

    log.before = overtake
    with pytest.raises(Fenced):
        await fence.claim()
    slow = [r for r in partition.records if (r.key or b"").endswith(b"/slow")]
    assert len(slow) == CLAIM_ATTEMPTS


async def test_damaged_shard_is_refused() -> None:
    """A shard with another checksum is no state; the message names it."""
    partition = MemoryPartition()
    fence = await owner(partition)
    await fence.write(whole(1, a=b"1"))
    partition.append(Key("s", 1, 1, 0, "a").encode(), b"2")
    with pytest.raises(DamagedState, match="shard 'a' has another checksum"):
        await fence_on(partition).claim()


async def test_nothing_goes_before_a_manifest() -> None:
    """An owner without a manifest of its own deletes nothing of the earlier ones."""
    partition = MemoryPartition()
    first = await owner(partition)
    await first.write(whole(5, a=b"5"))
    heir = await owner(partition, "heir")
    log = MemoryStateLog(partition)
    heir._log = log
    log.lost_after = 1
    with pytest.raises(ConnectionError):
        await heir.write(whole(6, a=b"6", b=b"6"))
    await heir.clean()
    partition.compact()
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.manifest.next_offset == 5


async def test_earlier_owners_are_cleaned_up() -> None:
    """After its first snapshot an owner deletes everything of earlier epochs."""
    partition = MemoryPartition()
    for number in range(3):
        fence = await owner(partition, f"w{number}")
        await fence.write(whole(number, a=b"%d" % number, b=b""))
        await fence.clean()
    partition.compact()
    live = [Key.decode(r.key) for r in partition.records if r.value is not None]
    assert {key.epoch for key in live if key} == {3}


def test_keys_survive_any_name() -> None:
    """Names with slashes and other letters come back from their key."""
    for name in ("a", "scope/shop/production", "", "ä/ü", "1/2/3"):
        key = Key("s", 3, 4, 5, name)
        assert Key.decode(key.encode()) == key
        claim = Key("c", 3, name=name)
        assert Key.decode(claim.encode()) == claim


@pytest.mark.parametrize("tail", [1, 3, 64])
async def test_random_histories_lose_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tail: int
) -> None:
    """Whatever claims, snapshots, lost connections, zombies and compactions come
    in whatever order: a snapshot that was reported safe is never lost, and what is
    restored is the state of exactly one offset, however little of the partition is
    read first. (Deterministic: seeded.)"""
    monkeypatch.setattr(statelog, "TAIL_RECORDS", tail)
    for _ in range(300):
        await one_history(rng, steps=40)


async def one_history(rng: np.random.Generator, steps: int) -> None:
    partition = MemoryPartition()
    living: list[tuple[Fence, dict[str, int]]] = []
    safe = -1
    clock = 0
    for step in range(steps):
        action = rng.choice(["claim", "write", "write", "lose", "clean", "compact"])
        if action == "compact":
            partition.compact()
        elif action == "claim" or not living:
            fence = fence_on(partition, f"w{step}")
            restored = await fence.claim()
            state = {} if restored is None else decoded(restored.shards)
            offset = -1 if restored is None else restored.manifest.next_offset
            assert offset >= safe, "a snapshot reported safe was lost"
            all_of_it = History()
            for record in partition.records[:-1]:
                all_of_it.add(record.key, record.value)
            assert restored == all_of_it.newest()
            assert max(state.values(), default=-1) == offset
            living.append((fence, state))
        else:
            chosen = int(rng.integers(len(living)))
            fence, state = living[chosen]
            clock += 1
            log = fence._log
            assert isinstance(log, MemoryStateLog)
            if action == "lose":
                log.lost_after = int(rng.integers(0, 2))
            try:
                if action == "clean":
                    await fence.clean()
                else:
                    safe = max(safe, await changed(fence, state, clock, rng))
            except Fenced:
                living.pop(chosen)
            except ConnectionError:
                log.lost_after = None
            log.lost_after = None


async def changed(
    fence: Fence, state: dict[str, int], clock: int, rng: np.random.Generator
) -> int:
    """Change one shard and write it; return the offset that is safe now."""
    name = f"s{int(rng.integers(3))}"
    state[name] = clock
    names = list(state) if fence.must_write_whole else [name]
    shards: Shards = {one: b"%d" % state[one] for one in names}
    await fence.write(Frozen(clock, shards, whole=fence.must_write_whole))
    return clock


def decoded(shards: dict[str, bytes]) -> dict[str, int]:
    return {name: int(blob) for name, blob in shards.items()}


class CountingLog(MemoryStateLog):
    """Counts the records that are read."""

    count = 0

    async def read(self, start: int, stop: int) -> AsyncIterator[StateRecord]:
        """Yield what stands there."""
        async for record in super().read(start, stop):
            self.count += 1
            yield record


async def test_claim_reads_back_from_the_end() -> None:
    """Where nothing is ever compacted a claim still reads what is needed only."""
    partition = MemoryPartition()
    fence = await owner(partition)
    read = []
    for seq in range(1, 1200):
        await fence.write(Frozen(seq, {"a": b"1", "b": b"2"}, whole=seq == 1))
        await fence.clean()
        if seq % 400 == 399:
            log = CountingLog(partition)
            fence = Fence(log, worker="w", log_partitions=4)
            restored = await fence.claim()
            assert restored is not None
            assert restored.manifest.next_offset == seq
            read.append(log.count)
            await fence.write(Frozen(seq, restored.shards, whole=True))
    assert len(partition.records) > 6000
    assert max(read) <= statelog.TAIL_RECORDS


async def test_old_shard_is_read_from_afar() -> None:
    """A shard that has not changed for long is found, with nothing before it."""
    partition = MemoryPartition()
    fence = await owner(partition)
    await fence.write(whole(0, a=b"0", old=b"0"))
    for seq in range(1, 300):
        await fence.write(Frozen(seq, {"a": b"1", "old": b"1"}, whole=False))
        await fence.clean()
    begun = partition.end
    for seq in range(300, 500):
        await fence.write(part(seq, a=b"2"))
        await fence.clean()
    log = CountingLog(partition)
    restored = await Fence(log, worker="w", log_partitions=4).claim()
    assert restored is not None
    assert restored.shards == {"a": b"2", "old": b"1"}
    assert partition.end - begun <= log.count <= partition.end - begun + 10


async def test_incomplete_newest_falls_back() -> None:
    """Where the newest snapshot lost a shard, an older complete one is looked for."""
    partition = MemoryPartition()
    fence = await owner(partition)
    for seq in range(1, 100):
        await fence.write(Frozen(seq, {"a": b"%d" % seq}, whole=seq == 1))
    lost = Key("s", 1, 99, 0, "a").encode()
    partition.records = [r for r in partition.records if r.key != lost]
    restored = await fence_on(partition).claim()
    assert restored is not None
    assert restored.manifest.next_offset == 98


def test_history_ignores_replaced_owners() -> None:
    """Records of a lower epoch behind a higher claim are counted as ignored."""
    history = History()
    history.add(Key("c", 2, name="w").encode(), b"{}")
    history.add(Key("m", 1, 1).encode(), b"{}")
    assert (history.ignored, history.newest()) == (1, None)
