"""Who owns a partition, and where its state is kept: claim, snapshot, restore.

The order of records in the state partition decides everything. A new owner writes
a claim with an epoch above every epoch it finds, reads up to that claim, and takes
the newest complete manifest. A worker that was stopped and wakes up can still
write, so it looks at the OFFSETS of its own writes: if they do not follow each
other, somebody else wrote in between; it reads what, and ends when that is a higher
epoch. What it wrote behind the claim counts nothing (:mod:`streams.history`).

Rules that make this hold:

* the first snapshot of an epoch writes all shards, so a manifest never depends on
  records of an earlier owner, who might still delete them;
* records are deleted only after a manifest that does not need them is known to
  stand before any higher claim;
* a manifest says from which offset on its successor needs records. That is never
  behind its own last shard, and no higher claim stands before that one: so whoever
  begins to read there sees every claim that counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streams.history import (
    History,
    Key,
    Manifest,
    Restored,
    ShardRef,
    claim_bytes,
    epoch_in,
    manifest_bytes,
    order_key,
    reference,
    split,
    total_bytes,
)
from streams.statelog import StateLog, Write, fold, recent

logger = logging.getLogger(__name__)

CLAIM_ATTEMPTS = 10
"""Two workers can claim the same epoch at once; the later record tries again."""

APPEND_BYTES = 4 * 1024 * 1024
"""Shards of a large snapshot are acknowledged in parts of about this size."""


class Fenced(Exception):
    """A higher epoch owns the partition: emit nothing, commit nothing, end."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.ours = ours
        self.theirs = theirs
        super().__init__(
            f"epoch {theirs} has claimed the partition, ours is {ours}: "
            "this worker was thought dead and has been replaced"
        )


@dataclass(frozen=True, slots=True)
class Frozen:
    """The state at one offset, encoded: what one snapshot writes.

    ``shards`` are all of them when ``whole``, else those that changed (``None``: the
    shard does not exist any more).
    """

    next_offset: int
    shards: Mapping[str, bytes | None]
    whole: bool


def batched(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """Cut writes into parts that Kafka takes within the time limit of one call."""
    part: list[Write] = []
    size = 0
    for key, value in writes:
        part.append((key, value))
        size += len(value or b"")
        if size >= APPEND_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


class Staked(NamedTuple):
    """A record that stands above everything before it, and what that was."""

    epoch: int
    offset: int
    before: History
    read_from: int


async def stake(log: StateLog, record: Callable[[int], tuple[Key, bytes]]) -> Staked:
    """Write a record with an epoch above every epoch that stands before it.

    Raises
    ------
    Fenced
        Others kept writing higher epochs at the same time.
    """
    position = await log.end()
    history, read_from, _ = await recent(log, position)
    for _ in range(CLAIM_ATTEMPTS):
        end = await log.end()
        await fold(history, log, position, end)
        epoch = max(history.epoch_seen, history.epoch_claimed) + 1
        key, value = record(epoch)
        (offset,) = await log.append([(key.encode(), value)])
        await fold(history, log, end, offset)
        position = offset
        if history.epoch_seen < epoch:
            return Staked(epoch, offset, history, read_from)
    raise Fenced(epoch, history.epoch_seen)


async def order(log: StateLog, offset: int, by: str) -> int:
    """Tell the next owner of a partition to begin at an offset; return the epoch.

    What stands before counts no more. An owner that is alive finds the higher epoch
    at its next write and ends.
    """
    staked = await stake(
        log, lambda epoch: (order_key(epoch, offset), claim_bytes(epoch, by))
    )
    return staked.epoch


class Fence:
    """Holds one partition for one owner.

    Parameters
    ----------
    log : StateLog
        The partition's records.
    worker : str
        Name in the claim, for people.
    log_partitions : int
        Number of partitions of the input log, kept in every manifest.

    Attributes
    ----------
    ordered : int or None
        Where an operator told the new owner to begin (``history.FROM_START``: at the
        first record there is), known after ``claim``.
    """

    def __init__(self, log: StateLog, *, worker: str, log_partitions: int) -> None:
        self._log = log
        self._worker = worker
        self._log_partitions = log_partitions
        self._tail = -1
        self._seq = 0
        self._shards: dict[str, ShardRef] = {}
        self._offsets: dict[str, int] = {}
        self._floor: int | None = 0
        self._garbage: set[bytes] = set()
        self._inherited: set[bytes] = set()
        self._attempted: set[bytes] = set()
        self._manifest_key: bytes | None = None
        self.epoch = 0
        self.ordered: int | None = None
        self.must_write_whole = True
        self.snapshot_bytes = 0

    async def claim(self) -> Restored | None:
        """Take the partition and return the newest complete snapshot.

        Raises
        ------
        DamagedState
            There are manifests, none is complete.
        Fenced
            Others kept claiming at the same time.
        """
        staked = await stake(
            self._log,
            lambda epoch: (
                Key("c", epoch, name=self._worker),
                claim_bytes(epoch, self._worker),
            ),
        )
        self.epoch, self._tail = staked.epoch, staked.offset
        self._floor = staked.read_from
        self._inherited = staked.before.keys_below(staked.epoch)
        self.ordered = staked.before.ordered()
        return staked.before.newest()

    async def write(self, frozen: Frozen) -> None:
        """Write a snapshot and return when it is safe and still ours.

        After an error the outcome is unknown, so the next snapshot must be whole:
        see :attr:`must_write_whole`.

        Raises
        ------
        Fenced
            A higher epoch claimed the partition before the manifest.
        """
        if self.must_write_whole and not frozen.whole:
            raise ValueError("this snapshot must hold all shards")
        self.must_write_whole = True
        self._seq += 1
        shards = self._next_shards(frozen)
        offsets = await self._append_shards(frozen)
        since = self._needed_since(offsets)
        manifest = Manifest(
            epoch=self.epoch,
            seq=self._seq,
            next_offset=frozen.next_offset,
            log_partitions=self._log_partitions,
            worker=self._worker,
            shards=shards,
            since=since,
        )
        key = Key("m", self.epoch, self._seq).encode()
        await self._append([(key, manifest_bytes(manifest))])
        self._acknowledged(key, shards)
        self._offsets = {name: offsets[name] for name in shards}
        self._floor = since
        self.snapshot_bytes = total_bytes(frozen.shards)

    async def clean(self) -> None:
        """Delete what our newest manifest does not need; safe to leave out.

        Before our first manifest that is nothing: the state still stands in
        the records of earlier owners.
        """
        garbage = sorted(self._garbage)
        if garbage:
            await self._append([(key, None) for key in garbage])
            self._garbage.difference_update(garbage)
        if self._manifest_key is not None:
            self._floor = None

    async def verify(self) -> None:
        """Raise ``Fenced`` if a higher epoch has been here since our last write."""
        end = await self._log.end()
        await self._inspect(self._tail + 1, end)
        self._tail = max(self._tail, end - 1)

    async def _append_shards(self, frozen: Frozen) -> dict[str, int]:
        """Append the shards; return the first offset of each that is still needed."""
        writes = self._shard_writes(frozen)
        placed: list[int] = []
        for part in batched(write for _, write in writes):
            placed += await self._append(part)
        offsets = dict(self._offsets)
        # From the last one back, so that a shard's first chunk counts.
        for (name, _), offset in zip(reversed(writes), reversed(placed), strict=True):
            offsets[name] = offset
        return offsets

    def _needed_since(self, offsets: Mapping[str, int]) -> int:
        """Where the next owner has to begin: at what is valid or not yet deleted.

        What this snapshot replaces is deleted after it, so it counts, too.
        """
        if self._floor is not None:
            return self._floor
        return min((*offsets.values(), *self._offsets.values()), default=self._tail)

    async def _append(self, writes: list[Write]) -> list[int]:
        """Append and look at the offsets: a hole is somebody else's write."""
        if not writes:
            return []
        self._attempted.update(key for key, value in writes if value is not None)
        offsets = await self._log.append(writes)
        first, last = self._tail + 1, max(offsets)
        if last - self._tail != len(writes):
            await self._inspect(first, last)
        self._tail = last
        return offsets

    async def _inspect(self, start: int, stop: int) -> None:
        if start >= stop:
            return
        async for record in self._log.read(start, stop):
            theirs = epoch_in(record.key)
            if theirs > self.epoch:
                raise Fenced(self.epoch, theirs)

    def _next_shards(self, frozen: Frozen) -> dict[str, ShardRef]:
        shards = {} if frozen.whole else dict(self._shards)
        for name, blob in frozen.shards.items():
            if blob is None:
                shards.pop(name, None)
            else:
                shards[name] = reference(self._seq, blob)
        return shards

    def _shard_writes(self, frozen: Frozen) -> list[tuple[str, Write]]:
        writes: list[tuple[str, Write]] = []
        for name, blob in frozen.shards.items():
            if blob is None:
                continue
            for chunk, part in enumerate(split(blob)):
                key = Key("s", self.epoch, self._seq, chunk, name).encode()
                writes.append((name, (key, part)))
        return writes

    def _acknowledged(self, key: bytes, shards: dict[str, ShardRef]) -> None:
        """Make the new manifest the one that counts; the rest becomes garbage."""
        needed = {key}
        for name, ref in shards.items():
            needed.update(ref.keys(self.epoch, name))
        for name, ref in self._shards.items():
            self._garbage.update(ref.keys(self.epoch, name))
        if self._manifest_key is not None:
            self._garbage.add(self._manifest_key)
        self._garbage |= self._attempted | self._inherited
        self._garbage -= needed
        self._attempted.clear()
        self._inherited.clear()
        self._shards, self._manifest_key = shards, key
        self.must_write_whole = False
